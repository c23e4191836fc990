//! How full volumes are, where a volume is a file system of its own.
//!
//! A file system may hang for hours: an NFS server that is away, a FUSE process that was stopped.
//! Which volumes are file systems is therefore read from the kernel's list of mounts, which asks none
//! of them, and each is asked by a thread that may hang with it. The report waits for nothing here.

mod asker;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod kernel;
mod look;
mod mounts;
mod watch;

use std::collections::BTreeMap;
use std::io;

pub use asker::{Ask, Asker, Counts, MOST_STUCK, PATIENCE};
pub use kernel::{Place, ask_kernel};
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
    /// What came of asking it the last time.
    pub standing: Standing,
}

/// What came of asking a file system the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It said how full it is.
    Answers,
    /// It does not answer.
    Silent,
    /// It, or the kernel before it, refuses to say so.
    Refuses(io::ErrorKind),
    /// It was not asked, since too many others do not answer.
    NotAsked,
}

impl VolumeUse {
    /// How full it is, if it says so at present.
    pub fn fresh(&self) -> Option<Space> {
        self.space.filter(|_| self.standing == Standing::Answers)
    }
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
}
