//! Bytes read from and written to disks by a cgroup: `blkio.throttle.io_service_bytes` of v1 and
//! `io.stat` of v2.
//!
//! The kernel counts a request at each block device that it passes, so one to a volume of LVM is
//! there twice: at the volume and at the disk below. Summed are the disks alone. Multipath volumes
//! of the device mapper and DRBD devices without a disk of their own are the exceptions that this
//! loses: the kernel counts their requests at the volume only.

use super::DiskBytes;
use super::number::decimal;

/// Drivers whose devices lie on other devices, or on no disk at all (the last two).
const STACKED: [&[u8]; 8] = [
    b"device-mapper",
    b"md",
    b"mdp",
    b"loop",
    b"bcache",
    b"drbd",
    b"zram",
    b"ramdisk",
];

/// What the kernel calls a queue without a device: a path to a disk that NVMe multipath hides behind
/// another, a pool of ZFS. Its requests are counted at a disk, too.
const UNKNOWN: &[u8] = b"(unknown)";

/// The major numbers of devices that are no disks of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stacked(Vec<u32>);

impl Stacked {
    /// Reads `/proc/devices`.
    pub(super) fn parse(text: &[u8]) -> Option<Stacked> {
        let mut lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        lines.find(|line| *line == b"Block devices:")?;
        let mut majors = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let space = line.iter().position(|&b| b == b' ')?;
            let (number, name) = (&line[..space], line[space..].trim_ascii());
            let major = u32::try_from(decimal(number)?).ok()?;
            if STACKED.contains(&name) {
                majors.push(major);
            }
        }
        Some(Stacked(majors))
    }

    /// Whether the device of this `major:minor`, or `(unknown)`, is a disk. `None` for what is
    /// neither.
    fn is_disk(&self, device: &[u8]) -> Option<bool> {
        if device == UNKNOWN {
            return Some(false);
        }
        let colon = device.iter().position(|&b| b == b':')?;
        decimal(&device[colon + 1..])?;
        let major = u32::try_from(decimal(&device[..colon])?).ok()?;
        Some(!self.0.contains(&major))
    }
}

/// The disks of `/proc/diskstats` that have had I/O, as `major:minor`: no volumes, no partitions, and none
/// of the paths that NVMe multipath hides, which have no number in the files of cgroups.
pub(super) fn used(diskstats: &[u8], stacked: &Stacked) -> Option<Vec<Vec<u8>>> {
    let mut used = Vec::new();
    let mut names: Vec<&[u8]> = Vec::new();
    for line in diskstats.split(|&b| b == b'\n') {
        let columns: Vec<&[u8]> = words(line).collect();
        if columns.is_empty() {
            continue;
        }
        // Device, name, then reads, merged, sectors and milliseconds, and the same of writes.
        let &[major, minor, name, _, _, read, _, _, _, written, ..] = &columns[..] else {
            return None;
        };
        let device = [major, b":", minor].concat();
        let disk = stacked.is_disk(&device)?;
        let io = decimal(read)? > 0 || decimal(written)? > 0;
        let partition = names.iter().any(|whole| is_partition(name, whole));
        names.push(name);
        if disk && io && !partition && !is_hidden_path(name) {
            used.push(device);
        }
    }
    Some(used)
}

/// Whether the first is called as a partition of the other: `sda1`, and `nvme0n1p1` after a digit.
fn is_partition(name: &[u8], whole: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(whole) else {
        return false;
    };
    let number = match whole.last().is_some_and(u8::is_ascii_digit) {
        true => rest.strip_prefix(b"p"),
        false => Some(rest),
    };
    number.is_some_and(|number| decimal(number).is_some())
}

/// `nvme0c1n1` is a path to `nvme0n1`.
fn is_hidden_path(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b"nvme");
    rest.is_some_and(|rest| rest.contains(&b'c'))
}

/// Whether a file of `blkio` names all of these devices.
pub(super) fn names_all(blkio: &[u8], devices: &[Vec<u8>]) -> bool {
    let lines = || blkio.split(|&b| b == b'\n');
    let named = |device: &Vec<u8>| lines().any(|line| words(line).next() == Some(device));
    devices.iter().all(named)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// Reads the lines `8:0 Read 4096` of v1. The last line is a total; without it, it is another file.
pub(super) fn parse_v1(text: &[u8], stacked: &Stacked) -> Option<DiskBytes> {
    let mut bytes = DiskBytes::default();
    let mut total = false;
    for line in text.split(|&b| b == b'\n') {
        let mut words = words(line);
        let Some(device) = words.next() else {
            continue;
        };
        if device == b"Total" {
            decimal(words.next()?)?;
            total = true;
            continue;
        }
        let disk = stacked.is_disk(device)?;
        let operation = words.next()?;
        let value = decimal(words.next()?)?;
        let sum = match operation {
            b"Read" => &mut bytes.read,
            b"Write" => &mut bytes.written,
            _ => continue,
        };
        if disk {
            *sum = sum.saturating_add(value);
        }
    }
    total.then_some(bytes)
}

/// Reads the lines `8:0 rbytes=4096 wbytes=0 rios=1 …` of v2. A cgroup without I/O has none. Some
/// kernels put a device without figures in front of the next one on the same line.
pub(super) fn parse_v2(text: &[u8], stacked: &Stacked) -> Option<DiskBytes> {
    let mut bytes = DiskBytes::default();
    for line in text.split(|&b| b == b'\n') {
        let mut device = None;
        for word in words(line) {
            let Some(equals) = word.iter().position(|&b| b == b'=') else {
                device = Some(stacked.is_disk(word)?);
                continue;
            };
            let sum = match &word[..equals] {
                b"rbytes" => &mut bytes.read,
                b"wbytes" => &mut bytes.written,
                _ => continue,
            };
            let value = decimal(&word[equals + 1..])?;
            if device? {
                *sum = sum.saturating_add(value);
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICES: &str = "Character devices:\n  1 mem\n  9 st\n\nBlock devices:\n  7 loop\n  8 sd\n  9 md\n\
                           147 drbd\n253 device-mapper\n259 blkext\n";

    fn stacked() -> Stacked {
        Stacked::parse(DEVICES.as_bytes()).unwrap()
    }

    fn bytes(read: u64, written: u64) -> Option<DiskBytes> {
        Some(DiskBytes { read, written })
    }

    #[test]
    fn stacked_devices_are_told_by_their_drivers() {
        assert_eq!(stacked(), Stacked(vec![7, 9, 147, 253]));
        assert_eq!(
            Stacked::parse(b"Block devices:\n"),
            Some(Stacked::default())
        );
        for bad in [
            &b""[..],
            b"Character devices:\n 1 mem\n",
            b"Block devices:\nx sd\n",
            b"Block devices:\n8\n",
        ] {
            assert_eq!(Stacked::parse(bad), None);
        }
    }

    #[test]
    fn a_request_through_a_volume_counts_once() {
        let v1 = "8:0 Read 100\n8:0 Write 20\n8:0 Sync 120\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 120\n\
                  253:0 Read 100\n253:0 Write 20\n253:0 Total 120\n259:0 Read 1\n259:0 Write 2\nTotal 243\n";
        assert_eq!(parse_v1(v1.as_bytes(), &stacked()), bytes(101, 22));
        let v2 = "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=7 dios=1\n\
                  253:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n\
                  259:0 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0 cost.usage=5\n";
        assert_eq!(parse_v2(v2.as_bytes(), &stacked()), bytes(101, 22));
    }

    #[test]
    fn no_requests_are_nothing_and_not_unknown() {
        assert_eq!(parse_v1(b"Total 0\n", &stacked()), bytes(0, 0));
        assert_eq!(parse_v2(b"", &stacked()), bytes(0, 0));
        assert_eq!(
            parse_v2(b"8:0 259:0 rbytes=5 wbytes=6\n8:16 \n", &stacked()),
            bytes(5, 6),
            "devices without figures"
        );
    }

    #[test]
    fn a_queue_without_a_device_is_no_disk() {
        let v1 = "(unknown) Read 70\n(unknown) Write 7\n(unknown) Total 77\n8:0 Read 1\n8:0 Write 2\nTotal 80\n";
        assert_eq!(parse_v1(v1.as_bytes(), &stacked()), bytes(1, 2));
        let v2 = "259:1 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n\
                  (unknown) rbytes=70 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n\
                  (unknown) 259:2 rbytes=10 wbytes=20\n";
        assert_eq!(parse_v2(v2.as_bytes(), &stacked()), bytes(11, 22));
        for other in ["unknown", "(none)", "(unknown", "(unknown):0"] {
            let v2 = format!("{other} rbytes=1\n");
            assert_eq!(parse_v2(v2.as_bytes(), &stacked()), None, "{other}");
            let v1 = format!("{other} Read 1\nTotal 1\n");
            assert_eq!(parse_v1(v1.as_bytes(), &stacked()), None, "{other}");
        }
        for bad in ["(unknown) rbytes=x", "(unknown) rbytes=-1"] {
            assert_eq!(parse_v2(bad.as_bytes(), &stacked()), None, "{bad}");
        }
    }

    #[test]
    fn disks_in_use_are_told_from_partitions_volumes_and_paths() {
        let line = |device: &str, name: &str, read: u64, written: u64| {
            format!("   {device} {name} 9 0 {read} 5 8 0 {written} 4 0 3 3 0 0 0 0 7 1\n")
        };
        let text = [
            line("8 0", "sda", 100, 20),
            line("8 1", "sda1", 100, 20),
            line("8 16", "sdb", 0, 1),
            line("8 32", "sdc", 0, 0),
            line("253 0", "dm-0", 70, 70),
            line("259 0", "nvme0n1", 5, 5),
            line("259 1", "nvme0n1p1", 5, 5),
            line("259 2", "nvme0c1n1", 5, 5),
            line("179 0", "mmcblk0", 1, 0),
            line("179 8", "mmcblk0boot0", 1, 0),
            line("7 0", "loop0", 9, 0),
        ];
        let text = text.concat();
        let used = used(text.as_bytes(), &stacked()).unwrap();
        let want = ["8:0", "8:16", "259:0", "179:0", "179:8"];
        assert_eq!(used, want.map(|device| device.as_bytes().to_vec()));
        let blkio = want.map(|device| format!("{device} Read 0\n{device} Write 0\n"));
        assert!(names_all((blkio.concat() + "Total 0\n").as_bytes(), &used));
        assert!(!names_all(
            (blkio[1..].concat() + "Total 0\n").as_bytes(),
            &used
        ));
        assert!(
            !names_all(b"8:01 Read 0\nTotal 0\n", &used[..1]),
            "the whole word"
        );
        for bad in [
            "8 0 sda 1 2\n",
            "8 x sda 9 0 1 5 8 0 1 4\n",
            "8 0 sda 9 0 x 5 8 0 1 4\n",
        ] {
            assert_eq!(super::used(bad.as_bytes(), &stacked()), None, "{bad}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            "",
            "8:0 Read 1\n",
            "8:0 Read x\nTotal 0\n",
            "8:0\nTotal 0\n",
            "8 Read 1\nTotal 1\n",
            "Total\n",
        ] {
            assert_eq!(parse_v1(bad.as_bytes(), &stacked()), None, "{bad:?}");
        }
        for bad in [
            "x",
            "8:0 rbytes=x",
            "rbytes=1",
            "8:x rbytes=1",
            "8:0 rbytes=-1",
            "\u{1}",
        ] {
            assert_eq!(parse_v2(bad.as_bytes(), &stacked()), None, "{bad:?}");
        }
        let max = u64::MAX;
        let huge = format!("8:0 rbytes={max} wbytes=1\n8:16 rbytes=1 wbytes={max}\n");
        assert_eq!(parse_v2(huge.as_bytes(), &stacked()), bytes(max, max));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Stacked::parse(&bytes);
            let _ = used(&bytes, &stacked()).map(|used| names_all(&bytes, &used));
            let _ = parse_v1(&bytes, &stacked());
            let _ = parse_v2(&bytes, &stacked());
        }

        #[test]
        fn no_lines_panic(text in "([0-9]{0,3}:?[0-9]{0,2} ?(Read|Write|Total|rbytes=|wbytes=)? ?[0-9]{0,21}\n){0,5}") {
            let _ = parse_v1(text.as_bytes(), &stacked());
            let _ = parse_v2(text.as_bytes(), &stacked());
        }
    }
}
