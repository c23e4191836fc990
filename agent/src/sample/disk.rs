//! Bytes read from and written to disks by a cgroup: `blkio.throttle.io_service_bytes` of v1 and
//! `io.stat` of v2.
//!
//! The kernel counts a request at each block device that it passes, so one to a volume of LVM is
//! there twice: at the volume and at the disk below. Summed are the disks alone. Multipath volumes
//! are the exception that this loses: the kernel counts their requests at the volume only.

use super::DiskBytes;
use super::number::decimal;

/// Drivers whose devices lie on other devices, or on no disk at all (the last two).
const STACKED: [&[u8]; 7] = [
    b"device-mapper",
    b"md",
    b"mdp",
    b"loop",
    b"bcache",
    b"zram",
    b"ramdisk",
];

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

    /// Whether the device of this `major:minor` is a disk. `None` for what is no such pair.
    fn is_disk(&self, device: &[u8]) -> Option<bool> {
        let colon = device.iter().position(|&b| b == b':')?;
        decimal(&device[colon + 1..])?;
        let major = u32::try_from(decimal(&device[..colon])?).ok()?;
        Some(!self.0.contains(&major))
    }
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
                           253 device-mapper\n259 blkext\n";

    fn stacked() -> Stacked {
        Stacked::parse(DEVICES.as_bytes()).unwrap()
    }

    fn bytes(read: u64, written: u64) -> Option<DiskBytes> {
        Some(DiskBytes { read, written })
    }

    #[test]
    fn stacked_devices_are_told_by_their_drivers() {
        assert_eq!(stacked(), Stacked(vec![7, 9, 253]));
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
