//! Until when which container is frozen, on disk, so that the next agent knows after a SIGKILL.
//!
//! Times are of the boot clock, which neither a restart of the agent nor a change of the wall
//! clock touches. An entry is written before its container is frozen: the file may name one that is
//! not frozen, which is harmless, but never lacks one that is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arguments::MAX_DURATION;

/// The file in the plugin's directory. Scope's probe looks for sockets only.
const FILE: &str = "frozen.json";
/// Containers that are frozen at a time: twice what a node runs pods by default. A file with more is
/// not ours.
pub(super) const MAX_FROZEN: usize = 256;
/// What they take at most in the file.
pub(super) const MAX_BYTES: u64 = 256 * 1024;

/// A frozen container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frozen {
    /// UID of its pod.
    pub(super) pod_uid: String,
    /// The pod's namespace.
    pub(super) namespace: String,
    /// The pod's name.
    pub(super) pod: String,
    /// Its name in the pod.
    pub(super) name: String,
    /// When it thaws, in milliseconds of the boot clock.
    pub(super) until_ms: u64,
}

/// The frozen containers by ID, and their file.
#[derive(Debug)]
pub(super) struct Deadlines {
    path: PathBuf,
    frozen: BTreeMap<String, Frozen>,
}

impl Deadlines {
    /// What an earlier agent left in this directory. What cannot be true is dropped, and said.
    pub(super) fn adopt(directory: &Path, now: Duration) -> Self {
        let path = directory.join(FILE);
        let frozen = match read(&path) {
            Ok(Some(text)) => parse(&text, now),
            Ok(None) => BTreeMap::new(),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "cannot read which containers are frozen");
                BTreeMap::new()
            }
        };
        Deadlines { path, frozen }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Frozen)> {
        self.frozen.iter()
    }

    pub(super) fn get(&self, container: &str) -> Option<&Frozen> {
        self.frozen.get(container)
    }

    pub(super) fn is_full(&self) -> bool {
        self.frozen.len() >= MAX_FROZEN
    }

    /// When the next one thaws.
    pub(super) fn next(&self) -> Option<Duration> {
        let next = self.frozen.values().map(|frozen| frozen.until_ms).min();
        next.map(Duration::from_millis)
    }

    /// Those that are due.
    pub(super) fn due(&self, now: Duration) -> Vec<(String, Frozen)> {
        let due = |frozen: &Frozen| Duration::from_millis(frozen.until_ms) <= now;
        self.iter()
            .filter(|(_, frozen)| due(frozen))
            .map(|(id, frozen)| (id.clone(), frozen.clone()))
            .collect()
    }

    /// Adds one and writes the file; without the file nothing is added.
    pub(super) fn add(&mut self, container: &str, frozen: Frozen) -> io::Result<()> {
        let before = self.frozen.insert(container.to_owned(), frozen);
        let written = self.write();
        if written.is_err() {
            match before {
                Some(before) => self.frozen.insert(container.to_owned(), before),
                None => self.frozen.remove(container),
            };
        }
        written
    }

    /// Puts one off without writing: after a crash it is tried at once.
    pub(super) fn put_off(&mut self, container: &str, until: Duration) {
        if let Some(frozen) = self.frozen.get_mut(container) {
            frozen.until_ms = millis(until);
        }
    }

    /// Forgets one that is frozen no more.
    pub(super) fn remove(&mut self, container: &str) {
        if self.frozen.remove(container).is_some()
            && let Err(e) = self.write()
        {
            // The next agent finds it thawed.
            tracing::warn!(path = %self.path.display(), error = %e, "cannot note that a container is not frozen any more");
        }
    }

    /// A whole new file under the old name, or none where nothing is frozen.
    fn write(&self) -> io::Result<()> {
        if self.frozen.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(&self.frozen)?;
        let new = self.path.with_extension("json.new");
        // The directory is ours alone; what lies there was left by an agent that was killed here.
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

/// Milliseconds of a time on the boot clock.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file: File = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too large to be ours",
        ));
    }
    Ok(Some(text))
}

/// What the text says, as far as it can be true. Nobody is frozen for longer than may be from now on.
pub(super) fn parse(text: &[u8], now: Duration) -> BTreeMap<String, Frozen> {
    let read: BTreeMap<String, Frozen> = match serde_json::from_slice(text) {
        Ok(read) => read,
        Err(e) => {
            tracing::warn!(error = %e, "the file of frozen containers cannot be read; it is ignored");
            return BTreeMap::new();
        }
    };
    let all = read.len();
    let latest = millis(now + MAX_DURATION);
    let kept: BTreeMap<_, _> = read
        .into_iter()
        .filter(|(id, frozen)| is_container_id(id) && frozen.fits())
        .take(MAX_FROZEN)
        .map(|(id, mut frozen)| {
            frozen.until_ms = frozen.until_ms.min(latest);
            (id, frozen)
        })
        .collect();
    if kept.len() < all {
        tracing::warn!(
            dropped = all - kept.len(),
            "entries of the file of frozen containers are not ours; they are ignored"
        );
    }
    kept
}

impl Frozen {
    /// Whether the names can be names of Kubernetes: they go into a record and into log lines.
    pub(super) fn fits(&self) -> bool {
        let name = |text: &str, max: usize| {
            (1..=max).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        name(&self.pod_uid, 64)
            && name(&self.namespace, 63)
            && name(&self.pod, 253)
            && name(&self.name, 63)
    }
}

/// 64 hex digits in lower case, as every runtime names containers.
pub(crate) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(until_ms: u64) -> Frozen {
        Frozen {
            pod_uid: "5aeb7ae0-1d5a".into(),
            namespace: "demo".into(),
            pod: "web-1".into(),
            name: "web".into(),
            until_ms,
        }
    }

    fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn the_next_agent_knows_what_is_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Deadlines::adopt(dir.path(), NOW);
        assert_eq!(first.next(), None);
        first.add(&id("a"), frozen(1_500_000)).unwrap();
        first.add(&id("b"), frozen(1_200_000)).unwrap();
        fs::write(dir.path().join("frozen.json.new"), "cut off").unwrap();

        let mut next = Deadlines::adopt(dir.path(), NOW);
        assert_eq!(next.frozen, first.frozen);
        assert_eq!(next.next(), Some(Duration::from_secs(1200)));
        let due = |at| {
            next.due(Duration::from_secs(at))
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(due(1199), Vec::<String>::new());
        assert_eq!(due(1200), [id("b")]);
        assert_eq!(due(9999), [id("a"), id("b")]);

        next.put_off(&id("b"), Duration::from_secs(1201));
        assert_eq!(next.next(), Some(Duration::from_secs(1201)));
        next.remove(&id("b"));
        next.remove(&id("b"));
        assert_eq!(Deadlines::adopt(dir.path(), NOW).frozen.len(), 1);
        next.remove(&id("a"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn what_cannot_be_true_is_dropped() {
        let adopt = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), text).unwrap();
            Deadlines::adopt(dir.path(), NOW).frozen
        };
        let one = |id: &str, frozen: &Frozen| {
            serde_json::to_string(&BTreeMap::from([(id, frozen)])).unwrap()
        };
        let mut bad = frozen(1);
        bad.pod = "x\n[evil]".into();
        for text in [
            String::new(),
            "null".into(),
            "[]".into(),
            "{\"a\":1}".into(),
            one("../../etc", &frozen(1)),
            one(&"A".repeat(64), &frozen(1)),
            one(&id("a"), &bad),
            "x".repeat(1 << 20),
        ] {
            assert!(adopt(&text).is_empty(), "{:.80}", text);
        }
        // Days ahead: as long as may be from now on, and not longer.
        let ahead = adopt(&one(&id("a"), &frozen(u64::MAX)));
        assert_eq!(ahead[&id("a")].until_ms, 1_000_000 + 3_600_000);
        let past = adopt(&one(&id("a"), &frozen(0)));
        assert_eq!(past[&id("a")].until_ms, 0);
        let many: BTreeMap<String, Frozen> = (0..1000)
            .map(|n| (format!("{n:064x}"), frozen(1)))
            .collect();
        assert_eq!(
            adopt(&serde_json::to_string(&many).unwrap()).len(),
            MAX_FROZEN
        );
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(
            &elsewhere,
            serde_json::to_string(&BTreeMap::from([(id("a"), frozen(1))])).unwrap(),
        )
        .unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join(FILE)).unwrap();
        assert!(Deadlines::adopt(dir.path(), NOW).frozen.is_empty());
    }

    #[test]
    fn without_the_file_nothing_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let mut deadlines = Deadlines::adopt(&dir.path().join("missing"), NOW);
        assert!(deadlines.add(&id("a"), frozen(1)).is_err());
        assert!(deadlines.get(&id("a")).is_none() && !deadlines.is_full());
    }
}
