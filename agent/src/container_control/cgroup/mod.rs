//! A container's cgroup: which processes are in it, and how its freezer is worked.

mod search;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use search::{MAX_DIRECTORIES, find_below, hierarchies};

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
        Self::find_any(root, pod, Some(container))
    }

    /// The same of the whole pod: the cgroups of all its containers, that of its network included, are in it.
    pub(super) fn of_pod(root: &Path, pod: &str) -> io::Result<Option<Cgroup>> {
        Self::find_any(root, pod, None)
    }

    fn find_any(root: &Path, pod: &str, container: Option<&str>) -> io::Result<Option<Cgroup>> {
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
