//! Files that stay open between samples: opening is most of what a cgroup's file costs.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file that may be open since an earlier sample.
#[derive(Debug, Default)]
pub(super) struct KeptFile(Option<(OwnedFd, Permit)>);

impl KeptFile {
    /// The open file.
    pub(super) fn open(&self) -> Option<&OwnedFd> {
        self.0.as_ref().map(|(file, _)| file)
    }

    /// Keeps the file if there is room for one more.
    pub(super) fn keep(&mut self, file: OwnedFd, room: &Room) {
        self.0 = room.permit().map(|permit| (file, permit));
    }

    /// Closes the file.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }
}

/// How many files may be kept open.
#[derive(Debug, Clone)]
pub(super) struct Room {
    limit: usize,
    open: Arc<AtomicUsize>,
}

/// Three files for each container and pod of a node with 500 pods, and a network's for each pod.
/// Each costs the agent 5 KiB of kernel memory.
const MOST_FILES: usize = 5_000;

/// The file systems whose files tell when what they describe is gone. An open file of any other
/// would show its last content for ever.
const CGROUP: u64 = 0x27_e0eb;
const CGROUP2: u64 = 0x6367_7270;
const PROC: u64 = 0x9fa0;

impl Room {
    /// Room for a part of the files that this process may have open: the rest is for sockets.
    pub(super) fn new() -> Room {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit / 2).unwrap_or(usize::MAX)
        });
        Room {
            limit: half.min(MOST_FILES),
            open: Arc::default(),
        }
    }

    /// No room at all where files of this file system cannot be kept.
    pub(super) fn on(&self, root: &Path) -> Room {
        let kind = rustix::fs::statfs(root).map(|statfs| statfs.f_type as u64);
        match kind {
            Ok(CGROUP | CGROUP2 | PROC) => self.clone(),
            _ => self.none(),
        }
    }

    /// No room.
    pub(super) fn none(&self) -> Room {
        Room {
            limit: 0,
            ..self.clone()
        }
    }

    fn permit(&self) -> Option<Permit> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.open.clone());
        (before < self.limit).then_some(permit)
    }
}

/// Whether this is the kernel's process file system.
pub(super) fn is_proc(root: &Path) -> bool {
    rustix::fs::statfs(root).is_ok_and(|statfs| statfs.f_type as u64 == PROC)
}

/// One file's place in the room.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn there_is_room_for_so_many() {
        let room = Room {
            limit: 2,
            open: Arc::default(),
        };
        let mut files: Vec<KeptFile> = (0..3).map(|_| KeptFile::default()).collect();
        files.iter_mut().for_each(|kept| kept.keep(file(), &room));
        let open: Vec<bool> = files.iter().map(|kept| kept.open().is_some()).collect();
        assert_eq!(open, [true, true, false]);
        files.remove(0);
        files[1].keep(file(), &room);
        assert!(files[1].open().is_some(), "the place of the closed one");
        files[1].close();
        drop(files);
        assert_eq!(room.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_the_kernels_files_are_kept() {
        let room = Room {
            limit: 1,
            open: Arc::default(),
        };
        assert_eq!(room.on(Path::new("/proc")).limit, 1);
        assert_eq!(room.on(&std::env::temp_dir()).limit, 0);
        assert_eq!(room.on(Path::new("/nonexistent")).limit, 0);
    }
}
