//! The kernel's list of mounts: `/proc/<pid>/mountinfo`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The number of a device, as the kernel writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Device {
    major: u32,
    minor: u32,
}

impl Device {
    pub(super) fn new(major: u32, minor: u32) -> Self {
        Device { major, minor }
    }
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The kernel's number for it, while it is there.
    pub(super) id: u32,
    parent: u32,
    /// Which file system.
    pub(super) device: Device,
    /// Who answers for it.
    pub(super) server: Server,
    /// Whether it shows the file system from its root on, and not a directory of it.
    whole: bool,
    /// Where.
    pub(super) point: PathBuf,
}

/// Who answers for a file system, and so lets who asks it wait.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    /// The kernel by itself, from its memory or a disk.
    Kernel,
    /// This machine, for all that is mounted from it.
    Host(Vec<u8>),
    /// A process, or something that is not known here, for this file system alone.
    Own,
}

/// Kinds of file system for which the kernel answers from memory: their figures are in the superblock.
const BY_KERNEL: [&[u8]; 16] = [
    b"tmpfs",
    b"ramfs",
    b"hugetlbfs",
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"vfat",
    b"exfat",
    b"f2fs",
    b"zfs",
    b"overlay",
    b"squashfs",
    b"erofs",
    b"iso9660",
];

impl Server {
    /// Of a file system of this kind from this source: `server:/export`, `//server/share`, or any other word.
    fn of(kind: &[u8], source: &[u8]) -> Self {
        if BY_KERNEL.contains(&kind) {
            return Server::Kernel;
        }
        let shared = source.strip_prefix(b"//");
        let named = shared.unwrap_or(source);
        let slash = named.iter().position(|&b| b == b'/');
        match slash.map(|slash| &named[..slash]) {
            Some([host @ .., b':']) if shared.is_none() && !host.is_empty() => {
                Server::Host(host.to_vec())
            }
            Some(host) if shared.is_some() && !host.is_empty() => Server::Host(host.to_vec()),
            Some(_) | None => Server::Own,
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Mount {
    /// As the kernel writes it.
    pub(super) fn line(&self) -> Vec<u8> {
        let Device { major, minor } = self.device;
        let root = if self.whole { "/" } else { "/part" };
        let mut line = format!("{} {} {major}:{minor} {root} ", self.id, self.parent).into_bytes();
        escape(self.point.as_os_str().as_bytes(), &mut line);
        match &self.server {
            Server::Kernel => line.extend(b" rw - ext4 /dev/sda rw\n"),
            Server::Host(host) => {
                line.extend(b" rw - nfs ");
                escape(host, &mut line);
                line.extend(b":/x rw\n");
            }
            Server::Own => line.extend(b" rw - fuse x rw\n"),
        }
        line
    }
}

#[cfg(any(test, feature = "fuzzing"))]
fn escape(plain: &[u8], line: &mut Vec<u8>) {
    for &byte in plain {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => line.extend(format!("\\{byte:03o}").bytes()),
            _ => line.push(byte),
        }
    }
}

/// Mounts on one path, one over the other: a bound against a list that leads in a circle.
const MAX_STACKED: usize = 64;

/// Reads the list. A line that is not understood is left out.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(mount).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut columns = line.split(|&b| b == b' ');
    let id = number(columns.next()?)?;
    let parent = number(columns.next()?)?;
    let device = columns.next()?;
    let colon = device.iter().position(|&b| b == b':')?;
    let device = Device {
        major: number(&device[..colon])?,
        minor: number(&device[colon + 1..])?,
    };
    let whole = columns.next()? == b"/";
    let point = unescaped(columns.next().filter(|point| !point.is_empty())?);
    // Options and optional fields, up to a dash.
    let mut rest = columns.skip_while(|&column| column != b"-").skip(1);
    let kind = rest.next().unwrap_or_default();
    let source = unescaped(rest.next().unwrap_or_default());
    Some(Mount {
        id,
        parent,
        device,
        server: Server::of(kind, &source),
        whole,
        point: PathBuf::from(OsStr::from_bytes(&point)),
    })
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Blanks, tabs, ends of lines and backslashes are written as `\` and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = (first == b'\\')
            .then(|| behind.split_at_checked(3))
            .flatten()
            .and_then(|(digits, behind)| {
                let octal = digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
                let digits = str::from_utf8(digits).ok().filter(|_| octal)?;
                Some((u8::from_str_radix(digits, 8).ok()?, behind))
            });
        let (byte, behind) = escaped.unwrap_or((first, behind));
        plain.push(byte);
        rest = behind;
    }
    plain
}

/// The mounts below this directory that are file systems of their own: seen from their roots on, and
/// not of the device that they are mounted on. `stat` would say the same by `st_dev`, and hang with a
/// file system that hangs. Of several on one path it is the uppermost.
pub(super) fn own_file_systems<'a>(
    mounts: &'a [Mount],
    directory: &'a Path,
) -> impl Iterator<Item = &'a Mount> {
    let by_id: HashMap<u32, &Mount> = mounts.iter().map(|mount| (mount.id, mount)).collect();
    // Later ones lie over earlier ones.
    let tops: HashMap<&Path, usize> = mounts
        .iter()
        .enumerate()
        .map(|(n, mount)| (&*mount.point, n))
        .collect();
    let all = mounts.iter().enumerate();
    let own = all.filter(move |(n, mount)| {
        let below = || {
            std::iter::successors(by_id.get(&mount.parent), |parent| by_id.get(&parent.parent))
                .take(MAX_STACKED)
                .find(|parent| parent.point != mount.point)
        };
        mount.point.starts_with(directory)
            && mount.point != directory
            && mount.whole
            && tops.get(&*mount.point) == Some(n)
            && below().is_none_or(|parent| parent.device != mount.device)
    });
    own.map(|(_, mount)| mount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[u8] = b"\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 8:1 /var/lib/kubelet/pods /k/pods rw master:1 - ext4 /dev/sda1 rw
31 30 0:50 / /k/pods/u1/volumes/kubernetes.io~empty-dir/cache rw master:2 - tmpfs tmpfs rw,size=64k
32 30 8:1 /srv/vol /k/pods/u1/volumes/kubernetes.io~local-volume/pv-dir rw - ext4 /dev/sda1 rw
33 30 8:17 / /k/pods/u1/volumes/kubernetes.io~local-volume/pv-disk rw - ext4 /dev/sdb1 rw
34 30 8:33 /part /k/pods/u1/volumes/kubernetes.io~local-volume/pv-part rw - ext4 /dev/sdc1 rw
35 30 0:60 / /k/pods/u2/volumes/kubernetes.io~nfs/export rw - nfs4 server:/export rw
36 35 0:61 / /k/pods/u2/volumes/kubernetes.io~nfs/export rw - tmpfs tmpfs rw
37 21 0:62 / /k/podsy/u3 rw - tmpfs tmpfs rw
38 30 0:63 / /k/pods/with\\040blank rw - tmpfs tmpfs rw
no mount at all
39 30 8:1
";

    #[test]
    fn a_file_system_of_its_own_is_whole_and_on_another_device() {
        let mounts = parse(LIST);
        assert_eq!(mounts.len(), 10);
        let own: Vec<(u32, &str)> = own_file_systems(&mounts, Path::new("/k/pods"))
            .map(|mount| (mount.id, mount.point.to_str().expect("UTF-8")))
            .collect();
        let below = "/k/pods/u1/volumes/kubernetes.io~";
        assert_eq!(
            own,
            [
                (31, &*format!("{below}empty-dir/cache")),
                (33, &*format!("{below}local-volume/pv-disk")),
                (36, "/k/pods/u2/volumes/kubernetes.io~nfs/export"),
                (38, "/k/pods/with blank"),
            ]
        );
    }

    #[test]
    fn what_lies_on_the_same_device_again_is_no_file_system_of_its_own() {
        // The root of the node's own disk, bound into a pod and once more over itself.
        let list = b"1 1 8:1 / / rw - ext4 a rw\n2 1 8:1 / /k/a rw - ext4 a rw\n3 2 8:1 / /k/a rw - ext4 a rw\n";
        assert_eq!(own_file_systems(&parse(list), Path::new("/k")).count(), 0);
        // One that names a mount twice names no two of them.
        let list = b"2 1 8:1 / /k/a rw - ext4 a rw\n2 1 8:1 / /k/a rw - ext4 a rw\n";
        assert_eq!(own_file_systems(&parse(list), Path::new("/k")).count(), 1);
        // Of a list that leads in a circle nothing is known.
        let list = b"1 2 8:1 / /k/a rw - ext4 a rw\n2 1 8:2 / /k/a rw - ext4 a rw\n";
        assert_eq!(own_file_systems(&parse(list), Path::new("/k")).count(), 1);
    }

    #[test]
    fn who_answers_is_told_by_kind_and_source() {
        let host = |name: &str| Server::Host(name.into());
        for (end, server) in [
            ("rw - tmpfs tmpfs rw", Server::Kernel),
            ("rw master:1 shared:2 - ext4 /dev/sdb1 rw", Server::Kernel),
            (
                "rw - nfs4 files.example:/export/a rw",
                host("files.example"),
            ),
            (
                "rw - nfs4 files.example:/export/b rw",
                host("files.example"),
            ),
            ("rw - nfs [fe80::1]:/export rw", host("[fe80::1]")),
            ("rw - cifs //smb/share/dir rw", host("smb")),
            (
                "rw - ceph mon1:6789,mon2:6789:/dir rw",
                host("mon1:6789,mon2:6789"),
            ),
            ("rw - fuse.glusterfs gfs:/volume rw", host("gfs")),
            ("rw - fuse.s3fs s3fs rw", Server::Own),
            ("rw - fuse /dev/fuse rw", Server::Own),
            ("rw - nfs4 :/ rw", Server::Own),
            ("rw - cifs /// rw", Server::Own),
            ("rw - none", Server::Own),
            ("rw -", Server::Own),
            ("rw", Server::Own),
        ] {
            let line = format!("2 1 0:9 / /k/a {end}");
            assert_eq!(parse(line.as_bytes())[0].server, server, "{end}");
        }
    }

    #[test]
    fn paths_are_written_plainly() {
        for (text, plain) in [
            (&b"/a"[..], &b"/a"[..]),
            (b"/a\\040b\\011c\\012d\\134e", b"/a b\tc\nd\\e"),
            (b"/a\\", b"/a\\"),
            (b"/a\\04", b"/a\\04"),
            (b"/a\\999", b"/a\\999"),
            (b"/a\\777", b"/a\\777"),
        ] {
            assert_eq!(unescaped(text), plain);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = own_file_systems(&parse(&bytes), Path::new("/")).count();
        }

        #[test]
        fn no_lists_panic(text in "([0-3] [0-3] [0-2]:[0-1] /a? /(a|b|k/a) rw - x y z\n){0,8}") {
            let mounts = parse(text.as_bytes());
            let own = own_file_systems(&mounts, Path::new("/k"));
            prop_assert!(own.count() <= mounts.len());
        }
    }
}
