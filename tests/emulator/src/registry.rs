//! The plugins of a directory, and the handlers of their controls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::controls::{Offer, public_id};
use crate::plugin::Plugin;
use crate::script::SharedScript;

/// Lines of the log that are kept. Scope writes one per failing plugin and second.
const LOG_LINES: usize = 1000;

#[derive(Debug)]
pub(crate) struct Registry {
    root: PathBuf,
    decode_speed: Option<u64>,
    /// By the bytes of the path, which is the order in which they are asked.
    plugins: BTreeMap<OsString, Plugin>,
    /// Which of several sockets of one id gets the clicks: the last one found.
    by_id: BTreeMap<String, OsString>,
    /// The controls that a plugin's last report offered, by its own names.
    offered: BTreeMap<String, BTreeSet<String>>,
    /// The public ids of all controls that can be clicked.
    handlers: BTreeSet<String>,
    log: VecDeque<String>,
    /// Plugins without sockets, which a scan neither finds nor misses.
    scripted: bool,
}

impl Registry {
    pub(crate) fn new(root: &Path, decode_speed: Option<u64>) -> Self {
        Self {
            root: root.to_owned(),
            decode_speed,
            plugins: BTreeMap::new(),
            by_id: BTreeMap::new(),
            offered: BTreeMap::new(),
            handlers: BTreeSet::new(),
            log: VecDeque::new(),
            scripted: false,
        }
    }

    /// A registry of plugins without sockets.
    pub(crate) fn scripted() -> Self {
        Self {
            scripted: true,
            ..Self::new(Path::new(""), None)
        }
    }

    /// Adds a plugin without a socket, as if its socket were at this path.
    pub(crate) fn add_script(&mut self, path: &Path, script: SharedScript) -> Result<(), String> {
        let plugin = Plugin::scripted(path, script)?;
        let key = path.as_os_str().to_owned();
        let id = plugin.state.spec.id.clone();
        self.plugins.insert(key, plugin);
        // The last path of an id gets the clicks, whenever it came.
        let last = self.plugins.iter().rev();
        let mut of_id = last.filter(|(_, plugin)| plugin.state.spec.id == id);
        if let Some((path, _)) = of_id.next() {
            self.by_id.insert(id.clone(), path.clone());
        }
        Ok(())
    }

    /// Takes a plugin without a socket away.
    pub(crate) fn remove_script(&mut self, path: &Path) {
        if let Some(plugin) = self.plugins.remove(path.as_os_str()) {
            self.register(Offer {
                plugin_id: plugin.state.spec.id,
                controls: BTreeSet::new(),
            });
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn log(&self) -> impl Iterator<Item = &str> {
        self.log.iter().map(String::as_str)
    }

    pub(crate) fn note(&mut self, line: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.plugins.values()
    }

    pub(crate) fn plugins_mut(&mut self) -> impl Iterator<Item = &mut Plugin> {
        self.plugins.values_mut()
    }

    /// Looks for sockets; keeps the plugins it knows, adds new ones, drops those that have gone.
    pub(crate) fn scan(&mut self) -> std::io::Result<()> {
        if self.scripted {
            return Ok(());
        }
        let mut complaints = Vec::new();
        let sockets = sockets(&self.root, &mut complaints)?;
        for complaint in complaints {
            self.note(format!("plugins: {complaint}"));
        }
        let mut found = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for path in sockets {
            let key = path.clone().into_os_string();
            let plugin = match self.plugins.remove(&key) {
                Some(known) => known,
                None => match Plugin::new(&path, self.decode_speed) {
                    Ok(plugin) => {
                        self.note(format!("plugins: added plugin {}", path.display()));
                        plugin
                    }
                    Err(words) => {
                        let path = path.display();
                        self.note(format!("plugins: error loading plugin {path}: {words}"));
                        continue;
                    }
                },
            };
            by_id.insert(plugin.state.spec.id.clone(), key.clone());
            found.insert(key, plugin);
        }
        let gone = std::mem::replace(&mut self.plugins, found);
        self.by_id = by_id;
        for plugin in gone.into_values() {
            self.note(format!(
                "plugins: removed plugin {}",
                plugin.state.path.display()
            ));
            // The handlers go even if another socket has the same id; its next report restores them.
            self.register(Offer {
                plugin_id: plugin.state.spec.id,
                controls: BTreeSet::new(),
            });
        }
        Ok(())
    }

    /// Makes the controls of a report the only ones of its plugin.
    pub(crate) fn register(&mut self, offer: Offer) {
        let Offer {
            plugin_id,
            controls,
        } = offer;
        for control in self.offered.remove(&plugin_id).unwrap_or_default() {
            self.handlers.remove(&public_id(&plugin_id, &control));
        }
        self.handlers.extend(
            controls
                .iter()
                .map(|control| public_id(&plugin_id, control)),
        );
        self.offered.insert(plugin_id, controls);
    }

    pub(crate) fn handlers(&self) -> impl Iterator<Item = &str> {
        self.handlers.iter().map(String::as_str)
    }

    pub(crate) fn handles(&self, control: &str) -> bool {
        self.handlers.contains(control)
    }

    pub(crate) fn plugin_of(&mut self, id: &str) -> Option<&mut Plugin> {
        let path = self.by_id.get(id)?;
        self.plugins.get_mut(path)
    }
}

/// Every socket under a path, folder by folder in the order of names. Links are followed.
fn sockets(path: &Path, complaints: &mut Vec<String>) -> std::io::Result<Vec<PathBuf>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_socket() {
        return Ok(vec![path.to_owned()]);
    }
    if !kind.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let path = path.join(name);
        match sockets(&path, complaints) {
            Ok(more) => found.extend(more),
            Err(error) => {
                complaints.push(format!("error loading path {}: {error}", path.display()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn ids(registry: &Registry) -> Vec<&str> {
        registry
            .plugins()
            .map(|plugin| plugin.state.spec.id.as_str())
            .collect()
    }

    fn bind(root: &Path, name: &str) -> UnixListener {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    #[test]
    fn finds_sockets_through_folders_and_links() {
        let root = tempfile::tempdir().unwrap();
        let _kept = [
            bind(root.path(), "a/one.sock"),
            bind(root.path(), "a-b/two.sock"),
            bind(root.path(), "bad_id"),
        ];
        fs::write(root.path().join("file.sock"), "").unwrap();
        symlink(
            root.path().join("a/one.sock"),
            root.path().join("link.sock"),
        )
        .unwrap();
        symlink(root.path().join("nowhere"), root.path().join("dangling")).unwrap();
        symlink(root.path(), root.path().join("a/loop")).unwrap();

        let mut registry = Registry::new(root.path(), None);
        registry.scan().unwrap();
        let found: Vec<&Path> = registry
            .plugins()
            .map(|plugin| plugin.state.path.strip_prefix(root.path()).unwrap())
            .collect();
        let place = |path: &str| found.iter().position(|known| *known == Path::new(path));
        // By the bytes of the paths: '-' comes before '/'.
        assert_eq!(place("a-b/two.sock"), Some(0));
        assert!(place("a/one.sock").is_some() && place("link.sock").is_some());
        assert_eq!(place("file.sock"), None);
        // A link to a folder above is gone round until the system has enough of it.
        assert!(place("a/loop/a/loop/link.sock").is_some());
        assert!(found.len() < 200, "{}", found.len());
        let log: Vec<&str> = registry.log().collect();
        assert!(
            log.iter()
                .any(|line| line.contains("invalid plugin id \"bad_id\"")),
            "{log:?}"
        );
        assert!(
            log.iter()
                .any(|line| line.contains("error loading path") && line.contains("dangling"))
        );
    }

    #[test]
    fn a_vanished_socket_takes_its_handlers_along() {
        let root = tempfile::tempdir().unwrap();
        let _kept = [bind(root.path(), "one.sock"), bind(root.path(), "two.sock")];
        let mut registry = Registry::new(root.path(), None);
        registry.scan().unwrap();
        for id in ["one", "two"] {
            let controls = BTreeSet::from(["go".to_owned(), "stop".to_owned()]);
            registry.register(Offer {
                plugin_id: id.to_owned(),
                controls,
            });
        }
        fs::remove_file(root.path().join("one.sock")).unwrap();
        registry.scan().unwrap();
        assert_eq!(ids(&registry), ["two"]);
        assert_eq!(
            registry.handlers().collect::<Vec<_>>(),
            ["two~go", "two~stop"]
        );
        // A later report that offers less removes the rest.
        registry.register(Offer {
            plugin_id: "two".to_owned(),
            controls: BTreeSet::from(["go".to_owned()]),
        });
        assert_eq!(registry.handlers().collect::<Vec<_>>(), ["two~go"]);
        fs::remove_dir_all(root.path()).unwrap();
        assert!(registry.scan().is_err());
        assert_eq!(ids(&registry), ["two"], "an error keeps what was known");
    }
}
