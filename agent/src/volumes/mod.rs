//! How full volumes are, where a volume is a file system of its own.
//!
//! A file system may hang for hours: an NFS server that is away, a FUSE process that was stopped.
//! Which volumes are file systems is therefore read from the kernel's list of mounts, which asks none
//! of them, and each is asked by a thread that may hang with it. The report waits for nothing here.

mod asker;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod look;
mod mounts;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

pub use asker::{Ask, Asker, Counts, MOST_STUCK, PATIENCE};
pub use look::{Look, Processes};
pub use watch::VolumeWatch;

/// How full the volumes of pods are: by pod ID and by the volume's name in the pod. What is no file
/// system of its own is absent.
pub type VolumeUses = BTreeMap<String, BTreeMap<String, VolumeUse>>;

/// What is known of a volume that is a file system of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeUse {
    /// What its file system said last; `None` if it never did.
    pub space: Option<Space>,
    /// Whether it does not say so at present.
    pub stale: bool,
}

/// What a file system says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that are left for who is not root.
    pub available: u64,
    /// Files in all and in use; `None` where their number has no limit.
    pub files: Option<Files>,
}

/// Files (inodes) of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// As many as there can be.
    pub most: u64,
    /// As many as there are.
    pub used: u64,
}

impl Space {
    /// Percent in use, as `df` has it: of what is in use and what is left for who is not root.
    pub fn percent(&self) -> Option<f64> {
        let usable = self.used.saturating_add(self.available);
        (usable > 0).then(|| self.used as f64 / usable as f64 * 100.0)
    }
}

impl Files {
    /// Percent in use.
    pub fn percent(&self) -> f64 {
        self.used as f64 / self.most as f64 * 100.0
    }
}

/// Asks the file system that is mounted there. It returns when that answers.
pub fn ask_kernel(path: &Path) -> std::io::Result<Space> {
    let said = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
    Ok(Space {
        capacity: bytes(said.f_blocks),
        used: bytes(said.f_blocks.saturating_sub(said.f_bfree)),
        available: bytes(said.f_bavail),
        files: (said.f_files > 0).then(|| Files {
            most: said.f_files,
            used: said.f_files.saturating_sub(said.f_ffree),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_that_of_df() {
        let space = |used, available| Space {
            capacity: 1000,
            used,
            available,
            files: None,
        };
        assert_eq!(space(100, 300).percent(), Some(25.0), "the rest is root's");
        assert_eq!(space(0, 0).percent(), None);
        assert_eq!(space(u64::MAX, u64::MAX).percent(), Some(100.0));
    }

    #[test]
    fn the_kernel_tells_of_a_directory() {
        let space = ask_kernel(Path::new("/")).expect("an answer");
        assert!(space.capacity > 0 && space.used <= space.capacity);
        assert!(ask_kernel(Path::new("/nowhere/at/all")).is_err());
    }
}
