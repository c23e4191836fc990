//! Asking the kernel how full one file system is.

use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, fstat, fstatvfs, major, minor, open, statx};
use rustix::io::Errno;

use super::mounts::{Device, Mount};
use super::{Files, Space};

/// Where which file system was mounted when the list was read. What is mounted there later is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where.
    pub(super) point: PathBuf,
    mount: u32,
    device: Device,
}

impl Place {
    /// That of this mount.
    pub(super) fn of(mount: &Mount) -> Self {
        Place {
            point: mount.point.clone(),
            mount: mount.id,
            device: mount.device,
        }
    }
}

/// Asks the file system that is mounted there. It returns when that answers; `None` says that it is mounted
/// there no more. Without that look, the answer would be that of the directory below.
pub fn ask_kernel(place: &Place) -> io::Result<Option<Space>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match open(&place.point, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other?,
    };
    if !is_it(&root, place)? {
        return Ok(None);
    }
    let said = fstatvfs(&root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
    Ok(Some(Space {
        capacity: bytes(said.f_blocks),
        used: bytes(said.f_blocks.saturating_sub(said.f_bfree)),
        available: bytes(said.f_bavail),
        files: (said.f_files > 0).then(|| Files {
            most: said.f_files,
            used: said.f_files.saturating_sub(said.f_ffree),
        }),
    }))
}

/// By the number of the mount, which kernels tell from 5.8 on; else by its device, which Btrfs has another one of
/// in `stat` than in the list of mounts.
fn is_it(root: impl std::os::fd::AsFd, place: &Place) -> rustix::io::Result<bool> {
    // What the kernel knows by itself is enough.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(&root, c"", flags, StatxFlags::MNT_ID) {
        Ok(said) if StatxFlags::from_bits_retain(said.stx_mask).contains(StatxFlags::MNT_ID) => {
            Ok(said.stx_mnt_id == u64::from(place.mount))
        }
        Ok(said) => Ok(Device::new(said.stx_dev_major, said.stx_dev_minor) == place.device),
        Err(Errno::NOSYS) => {
            let device = fstat(root)?.st_dev;
            Ok(Device::new(major(device), minor(device)) == place.device)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mounts::parse;
    use super::*;

    /// The mounts of this machine on which nothing else lies.
    fn tops() -> Vec<Place> {
        let list = std::fs::read("/proc/self/mountinfo").expect("a list");
        let mounts = parse(&list);
        let tops = mounts.iter().enumerate().filter(|(n, mount)| {
            mounts[n + 1..]
                .iter()
                .all(|later| !mount.point.starts_with(&later.point))
        });
        tops.map(|(_, mount)| Place::of(mount)).collect()
    }

    #[test]
    fn what_is_mounted_tells_how_full_it_is() {
        let root = tops()
            .into_iter()
            .find(|place| place.point.ends_with("proc"));
        let root = root.or_else(|| tops().pop()).expect("something is mounted");
        assert!(matches!(ask_kernel(&root), Ok(Some(_))), "{root:?}");
        // The same place, when something else was mounted there.
        let before = Place {
            mount: root.mount + 1_000_000,
            device: Device::new(4095, 1_000_000),
            ..root
        };
        assert!(matches!(ask_kernel(&before), Ok(None)), "{before:?}");
    }

    #[test]
    fn a_directory_in_the_place_of_a_mount_that_is_gone_tells_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let gone = Place {
            point: directory.path().to_owned(),
            mount: 4_000_000,
            device: Device::new(4095, 1_000_000),
        };
        assert!(matches!(ask_kernel(&gone), Ok(None)));
        drop(directory);
        assert!(matches!(ask_kernel(&gone), Ok(None)), "nor does nothing");
    }
}
