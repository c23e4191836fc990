//! What holds for the list of mounts, whatever stands in the file.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::mounts::{own_file_systems, parse};

/// `/proc/<pid>/mountinfo`.
pub(crate) fn mounts(text: &[u8]) {
    let mounts = parse(text);
    assert!(mounts.len() <= text.split(|&b| b == b'\n').count());
    let below = Path::new("/k");
    let own: Vec<_> = own_file_systems(&mounts, below).collect();
    for (n, mount) in own.iter().enumerate() {
        assert!(mount.point.starts_with(below) && mount.point != below);
        assert!(own[..n].iter().all(|other| other.point != mount.point));
    }
    // What was understood, written as the kernel writes it, is understood as the same.
    let mut list = Vec::new();
    for mount in &mounts {
        list.extend(mount.line());
    }
    assert_eq!(parse(&list), mounts);
    for mount in &mounts {
        assert!(!mount.point.as_os_str().as_bytes().is_empty());
    }
}
