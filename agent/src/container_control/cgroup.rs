//! Where a container's cgroup lies, which processes are in it, and how its freezer is worked.
//!
//! The walk is made for each click, since a click is rare and has to be right: it is led by the
//! pod, so that it looks at the directories of one pod only, and the container is known by its
//! whole ID.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sample::Place;

/// More hierarchies than v1 has controllers: a limit for a root that is something else.
const MAX_MOUNTS: usize = 64;
/// A node holds a few thousand cgroups (500 pods, and the host's services).
const MAX_DIRECTORIES: usize = 20_000;
/// Kubernetes inside of a container of another Kubernetes is ten levels deep.
const MAX_DEPTH: usize = 16;
/// Nested cgroups of one container that are looked through for processes.
const MAX_NESTED: usize = 1_000;
/// More processes than a pod may have by any default.
const MAX_PROCESSES: usize = 100_000;
/// The states are words and digits.
const MAX_STATE_BYTES: u64 = 1024;
/// How often the kernel is asked whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The two versions freeze by different files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The cgroup of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    directory: PathBuf,
    freezer: Option<Version>,
}

/// What the kernel says about a freezer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The processes run.
    Thawed,
    /// They are to stop, and one does not yet: it waits in the kernel for something.
    Freezing,
    /// They stand, by this cgroup or one above it.
    Frozen,
}

impl Cgroup {
    /// Finds the cgroup of a container of this pod. The one that can be frozen is preferred; on a
    /// machine with both versions that of v1, which runtimes use there too.
    ///
    /// `None` says that it is gone, so whatever keeps the search from being a whole one is an error.
    pub(super) fn find(root: &Path, pod: &str, container: &str) -> io::Result<Option<Cgroup>> {
        for (root, freezer) in hierarchies(root)? {
            if let Some(directory) = find_below(&root, pod, container, MAX_DIRECTORIES)? {
                return Ok(Some(Cgroup { directory, freezer }));
            }
        }
        Ok(None)
    }

    /// The processes in it and its nested cgroups, as the agent's process namespace counts them.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut pending = vec![self.directory.clone()];
        let mut seen = 0;
        while let Some(directory) = pending.pop() {
            seen += 1;
            // Cannot be read in a threaded cgroup of v2, whose processes are listed above it.
            let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0 stands for a process of another namespace.
            let pids = listed.lines().filter_map(|line| line.parse::<u32>().ok());
            found.extend(
                pids.filter(|&pid| pid != 0)
                    .take(MAX_PROCESSES - found.len()),
            );
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let inner = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if inner && seen + pending.len() < MAX_NESTED {
                    pending.push(entry.path());
                }
            }
        }
        found
    }

    /// Whether the container has a freezer at all.
    pub(super) fn can_freeze(&self) -> bool {
        self.freezer.is_some()
    }

    /// What the kernel says.
    pub(super) fn state(&self) -> io::Result<State> {
        let (state, file) = match self.version()? {
            Version::V1 => (state_v1(&self.read("freezer.state")?), "freezer.state"),
            Version::V2 => {
                let (asked, events) = (self.read("cgroup.freeze")?, self.read("cgroup.events")?);
                (state_v2(&asked, &events), "cgroup.events")
            }
        };
        state.ok_or_else(|| self.not_a_state(file))
    }

    /// Asks the kernel to freeze or thaw.
    pub(super) fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let (file, text) = match (self.version()?, frozen) {
            (Version::V1, true) => ("freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED"),
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
        };
        let path = self.directory.join(file);
        let written = OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|e| at(&path, &e))
    }

    /// Waits until the kernel says this state, at most so long; then what it says.
    pub(super) fn await_state(&self, wanted: State, patience: Duration) -> io::Result<State> {
        let deadline = Instant::now() + patience;
        loop {
            let state = self.state()?;
            if state == wanted || Instant::now() >= deadline {
                return Ok(state);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn version(&self) -> io::Result<Version> {
        self.freezer.ok_or_else(|| {
            let said = "this node has no cgroup freezer (v1 `freezer` or cgroup v2)";
            io::Error::new(io::ErrorKind::Unsupported, said)
        })
    }

    fn read(&self, file: &str) -> io::Result<String> {
        let path = self.directory.join(file);
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_STATE_BYTES).read_to_string(&mut text))
            .map_err(|e| at(&path, &e))?;
        Ok(text)
    }

    fn not_a_state(&self, file: &str) -> io::Error {
        let path = self.directory.join(file);
        let said = format!("{} says nothing that is known", path.display());
        io::Error::new(io::ErrorKind::InvalidData, said)
    }
}

/// Reads `freezer.state`.
pub(super) fn state_v1(text: &str) -> Option<State> {
    match text.trim() {
        "THAWED" => Some(State::Thawed),
        "FREEZING" => Some(State::Freezing),
        "FROZEN" => Some(State::Frozen),
        _ => None,
    }
}

/// Reads `cgroup.freeze`, which says what was asked for, and `cgroup.events`, which says what is.
pub(super) fn state_v2(asked: &str, events: &str) -> Option<State> {
    let frozen = events
        .lines()
        .find_map(|line| line.strip_prefix("frozen "))?;
    match (frozen.trim(), asked.trim()) {
        ("1", _) => Some(State::Frozen),
        ("0", "1") => Some(State::Freezing),
        ("0", _) => Some(State::Thawed),
        _ => None,
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The mounted hierarchies, those with a freezer first. There is one at least.
fn hierarchies(root: &Path) -> io::Result<Vec<(PathBuf, Option<Version>)>> {
    let unified = |path: &Path| path.join("cgroup.controllers").is_file();
    if unified(root) {
        return Ok(vec![(root.to_owned(), Some(Version::V2))]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| at(root, &e))? {
        let path = entry.map_err(|e| at(root, &e))?.path();
        let Some(name) = path.file_name().filter(|_| path.is_dir()) else {
            continue;
        };
        if found.len() == MAX_MOUNTS {
            return Err(too_many(root, MAX_MOUNTS));
        }
        // The root of the freezer has no file of its own, so there the name has to tell.
        let mut controllers = name.as_bytes().split(|&b| b == b',');
        let freezer = if controllers.any(|part| part == b"freezer") {
            Some(Version::V1)
        } else {
            unified(&path).then_some(Version::V2)
        };
        found.push((path, freezer));
    }
    if found.is_empty() {
        let said = format!("{}: no cgroup hierarchy is there", root.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, said));
    }
    found.sort_by_key(|(path, freezer)| {
        let order = match freezer {
            Some(Version::V1) => 0,
            Some(Version::V2) => 1,
            None => 2,
        };
        (order, path.clone())
    });
    Ok(found)
}

/// The directory of the container in one hierarchy, of which so many directories are looked at. What
/// was not found for an error may be there; a directory that goes meanwhile took its inner ones along.
fn find_below(root: &Path, pod: &str, container: &str, most: usize) -> io::Result<Option<PathBuf>> {
    let mut pending = vec![(root.to_owned(), Place::default(), 0)];
    let mut seen = 0;
    let mut unseen: Option<io::Error> = None;
    let mut note = |path: &Path, error: &io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            unseen.get_or_insert_with(|| at(path, error));
        }
    };
    while let Some((directory, place, depth)) = pending.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) => {
                note(&directory, &e);
                continue;
            }
        };
        for entry in entries {
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let (kind, entry) = match kind {
                Ok(known) => known,
                Err(e) => {
                    note(&directory, &e);
                    continue;
                }
            };
            if !kind.is_dir() {
                continue;
            }
            seen += 1;
            let inner = place.enter(entry.file_name().as_bytes());
            let of_pod = inner.pod.as_deref().is_none_or(|found| found == pod);
            if of_pod && inner.container.as_deref() == Some(container) {
                return Ok(Some(entry.path()));
            }
            if seen > most {
                return Err(too_many(root, most));
            }
            // Deeper ones are no error: none of them was ever found, and so none was frozen.
            if of_pod && !inner.is_final() && depth < MAX_DEPTH {
                pending.push((entry.path(), inner, depth + 1));
            }
        }
    }
    unseen.map_or(Ok(None), Err)
}

fn too_many(root: &Path, most: usize) -> io::Error {
    io::Error::other(format!(
        "{}: more than {most} directories, not all of which are looked at",
        root.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "2804a43f-78e8-43ee-ae3f-77f071579273";
    const OTHER_POD: &str = "11111111-78e8-43ee-ae3f-77f071579273";

    fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    fn tree(files: &[(String, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn v1(state: &'static str) -> Vec<(String, &'static str)> {
        let pod = format!("freezer/t0/node1/kubepods/burstable/pod{POD}");
        vec![
            (format!("{pod}/freezer.state"), "THAWED\n"),
            (format!("{pod}/{}/freezer.state", id("a")), state),
            (format!("{pod}/{}/cgroup.procs", id("a")), "40\n41\n0\n"),
            (format!("{pod}/{}/inner/cgroup.procs", id("a")), "42\n"),
            (format!("{pod}/{}/freezer.state", id("b")), "THAWED\n"),
            (
                format!(
                    "freezer/t0/node1/kubepods/pod{OTHER_POD}/{}/freezer.state",
                    id("c")
                ),
                "THAWED\n",
            ),
            (
                format!("memory/t0/node1/kubepods/pod{POD}/{}/cgroup.procs", id("d")),
                "50\n",
            ),
            (
                format!(
                    "unified/t0/node1/kubepods/burstable/pod{POD}/{}/cgroup.freeze",
                    id("a")
                ),
                "0\n",
            ),
            ("unified/cgroup.controllers".into(), ""),
        ]
    }

    fn v2(freeze: &'static str, events: &'static str) -> Vec<(String, &'static str)> {
        let slice = format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{}.scope",
            POD.replace('-', "_"),
            id("a")
        );
        vec![
            ("cgroup.controllers".into(), "cpu memory\n"),
            (format!("{slice}/cgroup.freeze"), freeze),
            (format!("{slice}/cgroup.events"), events),
            (format!("{slice}/cgroup.procs"), "7\n"),
            (format!("{slice}/init.scope/cgroup.procs"), "8\n"),
        ]
    }

    #[test]
    fn v1_is_read_and_written_in_exactly_that_container() {
        let dir = tree(&v1("THAWED\n"));
        let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
        assert_eq!(
            found.freezer,
            Some(Version::V1),
            "before the v2 tree beside it"
        );
        let mut processes = found.processes();
        processes.sort_unstable();
        assert_eq!(processes, [40, 41, 42]);
        assert_eq!(found.state().unwrap(), State::Thawed);
        found.set_frozen(true).unwrap();
        let changed: Vec<_> = v1("")
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| {
                fs::read_to_string(dir.path().join(path))
                    .unwrap()
                    .contains("FROZEN")
            })
            .collect();
        assert_eq!(changed, [v1("")[1].0.clone()]);
        assert_eq!(
            found.await_state(State::Frozen, Duration::ZERO).unwrap(),
            State::Frozen
        );
        found.set_frozen(false).unwrap();
        assert_eq!(found.state().unwrap(), State::Thawed);
    }

    #[test]
    fn v2_is_read_and_written() {
        for (freeze, events, state) in [
            ("0\n", "populated 1\nfrozen 0\n", State::Thawed),
            ("1\n", "populated 1\nfrozen 0\n", State::Freezing),
            ("1\n", "populated 1\nfrozen 1\n", State::Frozen),
            // By a cgroup above it.
            ("0\n", "populated 1\nfrozen 1\n", State::Frozen),
        ] {
            let dir = tree(&v2(freeze, events));
            let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
            assert_eq!(found.state().unwrap(), state, "{freeze} {events}");
            assert_eq!(found.processes().len(), 2);
            found.set_frozen(true).unwrap();
            let written = fs::read_to_string(found.directory.join("cgroup.freeze")).unwrap();
            assert!(written.starts_with('1'));
            found.set_frozen(false).unwrap();
            let written = fs::read_to_string(found.directory.join("cgroup.freeze")).unwrap();
            assert!(written.starts_with('0'));
        }
    }

    #[test]
    fn without_a_freezer_the_processes_are_still_found() {
        let dir = tree(&v1("THAWED\n"));
        let found = Cgroup::find(dir.path(), POD, &id("d")).unwrap().unwrap();
        assert!(!found.can_freeze());
        assert_eq!(found.processes(), [50]);
        assert!(found.state().is_err() && found.set_frozen(true).is_err());
    }

    #[test]
    fn what_is_not_that_container_is_not_found() {
        let dir = tree(&v1("THAWED\n"));
        for (pod, container) in [
            (POD, id("e")),
            (POD, id("c")),
            (OTHER_POD, id("a")),
            (POD, "a".repeat(63)),
        ] {
            assert_eq!(
                Cgroup::find(dir.path(), pod, &container).unwrap(),
                None,
                "{pod} {container}"
            );
        }
    }

    #[test]
    fn a_search_that_is_not_whole_is_an_error_and_not_an_answer() {
        let said = |root: &Path| {
            let found = Cgroup::find(root, POD, &id("a"));
            found.expect_err("not known").to_string()
        };
        assert!(said(Path::new("/nonexistent")).contains("/nonexistent: "));
        let empty = tempfile::tempdir().unwrap();
        assert!(said(empty.path()).contains("no cgroup hierarchy is there"));

        // Of more directories than are looked at, one that lies among the first is still found.
        let dir = tree(&v1("THAWED\n"));
        let root = dir.path().join("freezer");
        let find = |container: &str, most| find_below(&root, POD, container, most);
        assert!(find(&id("a"), 100).unwrap().is_some());
        assert!(find(&id("e"), 100).unwrap().is_none(), "a whole one");
        let error = find(&id("e"), 5).unwrap_err().to_string();
        assert!(error.contains("more than 5 directories"), "{error}");

        // What is no directory any more cannot be read, and for another reason than that it is gone.
        let file = root.join("file");
        fs::write(&file, "").unwrap();
        let error = find_below(&file, POD, &id("a"), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(error.to_string().contains("freezer/file: "), "{error}");
        let gone = find_below(&root.join("gone"), POD, &id("a"), 100);
        assert!(gone.unwrap().is_none());
    }

    #[test]
    fn malformed_states_are_errors_that_name_the_file() {
        for (files, name) in [
            (v1("MELTING\n"), "freezer.state"),
            (v1(""), "freezer.state"),
            (v2("0\n", "populated 1\n"), "cgroup.events"),
            (v2("0\n", "populated 1\nfrozen x\n"), "cgroup.events"),
        ] {
            let dir = tree(&files);
            let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
            let said = found.state().unwrap_err().to_string();
            assert!(said.contains(name), "{said}");
        }
        let dir = tree(&v1("THAWED\n"));
        let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
        fs::remove_dir_all(&found.directory).unwrap();
        assert_eq!(found.state().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(found.processes().is_empty());
    }

    /// The machine's own kernel, where it lets us.
    #[test]
    fn the_kernel_freezes_a_real_process() {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("scope-agent-test-{}", std::process::id());
        let all = hierarchies(root).unwrap_or_default();
        let Some((hierarchy, freezer)) = all.into_iter().find(|(_, f)| f.is_some()) else {
            return;
        };
        let (pod, container) = (format!("kubepods/pod{POD}"), id("f"));
        let directory = hierarchy.join(&name).join(pod).join(&container);
        if fs::create_dir_all(&directory).is_err() {
            // Not root, or a read-only mount: the made trees have to do.
            return;
        }
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let checked = std::panic::catch_unwind(|| {
            fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
            // Found below our own directory only: the machine's own pods stay out of it.
            let found = find_below(&hierarchy.join(&name), POD, &container, 100);
            let found = found.unwrap().unwrap();
            let cgroup = Cgroup {
                directory: found,
                freezer,
            };
            assert_eq!(cgroup.processes(), [child.id()]);
            cgroup.set_frozen(true).unwrap();
            let patience = Duration::from_secs(10);
            assert_eq!(
                cgroup.await_state(State::Frozen, patience).unwrap(),
                State::Frozen
            );
            cgroup.set_frozen(false).unwrap();
            assert_eq!(
                cgroup.await_state(State::Thawed, patience).unwrap(),
                State::Thawed
            );
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let mut leaf = directory.as_path();
        while leaf != hierarchy {
            let _ = fs::remove_dir(leaf);
            leaf = leaf.parent().unwrap();
        }
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    }
}
