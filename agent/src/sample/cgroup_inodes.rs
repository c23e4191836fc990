//! Containers by the inodes of their cgroups: by which the kernel names the cgroup of a process that is
//! gone.

use std::collections::HashMap;
use std::sync::Arc;

use super::cgroup_index::CgroupIndex;
use super::reader::bytes_path;

/// A container, and its pod where the path tells it.
type Place = (Arc<str>, Option<Arc<str>>);

/// Filled when somebody asks, once for each walk of the tree at most: 2 µs a container.
#[derive(Debug, Default)]
pub(super) struct CgroupInodes {
    places: HashMap<u64, Place>,
    /// Whether it is that of the last walk.
    filled: bool,
}

impl CgroupInodes {
    /// The tree was walked.
    pub(super) fn walked(&mut self) {
        self.filled = false;
    }

    /// The container whose cgroup has this inode: in the hierarchy that counts memory, whose cgroups
    /// the kernel names also where there are several.
    pub(super) fn container(&mut self, index: &CgroupIndex, inode: u64) -> Option<Place> {
        if !self.filled {
            self.filled = true;
            self.places = index
                .containers
                .iter()
                .filter_map(|(id, container)| {
                    let directories = &container.directories;
                    let path = directories.memory.as_ref().or(directories.cpu.as_ref())?;
                    let stat = rustix::fs::stat(bytes_path(path)).ok()?;
                    Some((stat.st_ino, (id.clone(), container.pod.clone())))
                })
                .collect();
        }
        self.places.get(&inode).cloned()
    }
}
