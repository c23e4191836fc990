//! Where the cgroups of pods and containers lie, whatever stands in front of them.

use std::collections::HashMap;
use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, RawDir};

use super::cgroup_path::Place;
use super::hierarchy::{Hierarchies, Hierarchy};
use super::kept_file::KeptFile;
use super::reader::{ReadError, bytes_path, open_directory, path_bytes};
use super::seldom::Turn;
use super::{Cause, Datum, FurtherSample, Problems, Runtime};

/// A node holds a few thousand cgroups (500 pods of two containers, two levels each, and the
/// host's services); this many would take a tenth of a second to walk.
const MAX_DIRECTORIES: usize = 20_000;

/// Kubernetes inside of a container of another Kubernetes is ten levels deep.
const MAX_DEPTH: usize = 16;

/// An unknown container makes a walk due at once, but not more often than this.
const BETWEEN_WALKS: Duration = Duration::from_secs(1);

/// Walks that one container is a reason for. It may be in the making at the first; one without a
/// cgroup of its own is never found.
const TRIES: u8 = 3;

/// How often to walk without such a reason: finds what has no process that can be seen, looks
/// again for what was not found, and forgets what is gone.
const WALK_ANYWAY: Duration = Duration::from_secs(30);

/// The directories of one cgroup. A hierarchy that it is not in leaves its field empty.
#[derive(Debug, Default)]
pub(super) struct Directories {
    pub(super) cpu: Option<Box<[u8]>>,
    pub(super) memory: Option<Box<[u8]>>,
    pub(super) cache: Cache,
}

/// What is kept of a cgroup from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) cpu: KeptFile,
    pub(super) memory_usage: KeptFile,
    pub(super) memory_stat: KeptFile,
    pub(super) limit: CachedLimit,
    pub(super) further: Further,
}

/// What was read of the files that are not read each time.
#[derive(Debug, Default)]
pub(super) struct Further {
    pub(super) turn: Turn,
    pub(super) sample: FurtherSample,
    /// Since when the cgroup lacks a hierarchy.
    pub(super) half_since: Option<Duration>,
}

impl Directories {
    /// Takes over what was kept of the same cgroup before a walk.
    fn inherit(&mut self, old: Option<Directories>) {
        if let Some(old) = old
            && old.cpu == self.cpu
            && old.memory == self.memory
        {
            self.cache = old.cache;
        }
    }
}

/// A limit hardly ever changes, so it is not read each time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CachedLimit {
    pub(super) value: Option<u64>,
    pub(super) read: Option<Duration>,
}

/// A container that was found.
#[derive(Debug, Default)]
pub(super) struct IndexedContainer {
    pub(super) pod: Option<Arc<str>>,
    pub(super) runtime: Option<Runtime>,
    pub(super) directories: Directories,
}

/// All pods and containers that were found by the last walk.
#[derive(Debug, Default)]
pub(super) struct CgroupIndex {
    pub(super) hierarchies: Hierarchies,
    pub(super) containers: HashMap<Arc<str>, IndexedContainer>,
    pub(super) pods: HashMap<Arc<str>, Directories>,
    /// How often each container was looked for in vain.
    tries: HashMap<Box<str>, u8>,
    walked: Option<Duration>,
}

impl CgroupIndex {
    /// Walks if it is due: an unknown container is wanted, or the last walk is old. Says whether
    /// it did.
    pub(super) fn refresh<'a>(
        &mut self,
        root: &Path,
        wanted: impl Iterator<Item = &'a str> + Clone,
        now: Duration,
        problems: &mut Problems,
    ) -> bool {
        let due = match self.walked.map(|walked| now.saturating_sub(walked)) {
            None => true,
            Some(age) if age >= WALK_ANYWAY => true,
            Some(age) if age >= BETWEEN_WALKS => wanted
                .clone()
                .any(|id| !self.is_known(id) && self.tries.get(id).is_none_or(|&n| n < TRIES)),
            Some(_) => false,
        };
        if due {
            self.walk(root, problems);
            self.walked = Some(now);
            let mut before = std::mem::take(&mut self.tries);
            self.tries = wanted
                .filter(|id| !self.is_known(id))
                .map(|id| (id.into(), before.remove(id).unwrap_or(0).saturating_add(1)))
                .collect();
        }
        due
    }

    /// Whether the container was found in every hierarchy: a walk may pass while it is being made
    /// in one after the other.
    fn is_known(&self, id: &str) -> bool {
        let Hierarchies { cpu, memory, .. } = &self.hierarchies;
        self.containers
            .get(id)
            .is_some_and(|IndexedContainer { directories, .. }| {
                directories.cpu.is_some() == cpu.is_some()
                    && directories.memory.is_some() == memory.is_some()
            })
    }

    fn walk(&mut self, root: &Path, problems: &mut Problems) {
        self.hierarchies = Hierarchies::discover(root);
        let mut old = std::mem::take(&mut self.containers);
        let mut old_pods = std::mem::take(&mut self.pods);
        let Hierarchies { cpu, memory, .. } = self.hierarchies.clone();
        if cpu == memory {
            if let Some(both) = &cpu {
                self.walk_hierarchy(both, problems, |directories, path| {
                    directories.cpu = Some(path.clone());
                    directories.memory = Some(path);
                });
            }
        } else {
            if let Some(cpu) = &cpu {
                self.walk_hierarchy(cpu, problems, |directories, path| {
                    directories.cpu = Some(path);
                });
            }
            if let Some(memory) = &memory {
                self.walk_hierarchy(memory, problems, |directories, path| {
                    directories.memory = Some(path);
                });
            }
        }
        for (id, container) in &mut self.containers {
            container
                .directories
                .inherit(old.remove(id).map(|old| old.directories));
        }
        for (id, pod) in &mut self.pods {
            pod.inherit(old_pods.remove(id));
        }
    }

    fn walk_hierarchy(
        &mut self,
        hierarchy: &Hierarchy,
        problems: &mut Problems,
        set: impl Fn(&mut Directories, Box<[u8]>),
    ) {
        let mut listing = Listing::new();
        let mut seen = 0;
        let mut pending = vec![(hierarchy.root.clone(), Place::default(), 0)];
        while let Some((directory, place, depth)) = pending.pop() {
            let result = listing.subdirectories(&directory, |name| {
                seen += 1;
                let inner = place.enter(name);
                let path = directory.join(bytes_path(name));
                if let Some(id) = inner.container.as_ref()
                    && inner.container != place.container
                {
                    let container = self.containers.entry(id.clone()).or_default();
                    container.pod = inner.pod.clone();
                    container.runtime = inner.runtime;
                    set(&mut container.directories, path_bytes(&path));
                } else if let Some(pod) = inner.pod.as_ref()
                    && inner.pod != place.pod
                {
                    set(self.pods.entry(pod.clone()).or_default(), path_bytes(&path));
                }
                if !inner.is_final() && depth < MAX_DEPTH && seen <= MAX_DIRECTORIES {
                    pending.push((path, inner, depth + 1));
                }
            });
            if let Err(ReadError::Missing(cause)) = result {
                problems.add(Datum::CgroupTree, cause, || directory.display().to_string());
            }
            if seen > MAX_DIRECTORIES {
                let root = &hierarchy.root;
                problems.add(Datum::CgroupTree, Cause::TooLarge, || {
                    root.display().to_string()
                });
                return;
            }
        }
    }
}

/// A buffer for listing directories: enough for 500 names of the usual length at a time.
struct Listing(Vec<u8>);

impl Listing {
    fn new() -> Self {
        Listing(Vec::with_capacity(32 << 10))
    }

    fn subdirectories(
        &mut self,
        directory: &Path,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), ReadError> {
        let fd = open_directory(directory)?;
        let mut entries = RawDir::new(fd, self.0.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            // A type that the file system does not tell shows when the directory is opened.
            let directory = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if directory && name != c"." && name != c".." {
                each(name.to_bytes());
            }
        }
        Ok(())
    }
}
