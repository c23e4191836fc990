//! What holds for each parser of the kernel's files, whatever stands in the file.
//!
//! Mostly that is: what was understood, written as the kernel writes it, is understood as the same.

use std::fmt::Debug;

use super::cgroup_files::{MEMORY_V1, MEMORY_V2, UNLIMITED_V1, v2_nanoseconds};
use super::disk::{self, Stacked};
use super::number::{decimal, keyed, only};
use super::reader::ReadError;
use super::{
    Cause, CpuTimes, DiskBytes, ProcessName, Runtime, bandwidth, cgroup_path, further_files, host,
    net_dev, pressure, process_io as io, process_stat as stat, sandboxes,
};
use crate::container_control::is_container_id;

/// Asserts that this text is understood as that.
fn means<T: PartialEq + Debug>(text: &str, parse: impl Fn(&[u8]) -> Option<T>, want: T) {
    assert_eq!(parse(text.as_bytes()), Some(want), "{text:?}");
}

/// The numbers that all others are read by, against those of the standard library.
pub(crate) fn number(text: &[u8]) {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let want = || str::from_utf8(text).ok()?.parse().ok();
    assert_eq!(decimal(text), plain.then(want).flatten());
    assert_eq!(only(text), decimal(text.trim_ascii()));
    if let Some(value) = keyed(text, b"usage_usec") {
        means(
            &format!("usage 1\nusage_usec {value}\n"),
            |text| keyed(text, b"usage_usec"),
            value,
        );
    }
}

/// `/proc/<pid>/stat`.
pub(crate) fn process_stat(text: &[u8]) {
    let Some(read) = stat::parse(text) else {
        return;
    };
    let name = read.name;
    assert!(name.as_bytes().len() <= ProcessName::MAX);
    assert!(!name.to_string().contains(char::is_control));
    let mut line = b"1 (".to_vec();
    line.extend(name.as_bytes());
    line.extend(
        format!(
            ") S 1 1 1 0 -1 {} 0 0 0 0 {} 0 0 0 20 0 {} 0 {} 0 {}{} {}\n",
            if read.kernel { 0x20_0000 } else { 0 },
            read.cpu_ticks,
            read.threads,
            read.start,
            read.rss_pages,
            " 0".repeat(17),
            read.block_delay_ticks
        )
        .bytes(),
    );
    assert_eq!(stat::parse(&line), Some(read));
}

/// `/proc/<pid>/io`.
pub(crate) fn process_io(text: &[u8]) {
    if let Some(bytes) = io::parse(text) {
        let DiskBytes { read, written } = bytes;
        let text = format!("rchar: 1\nread_bytes: {read}\nwrite_bytes: {written}\n");
        means(&text, io::parse, bytes);
    }
}

/// `/proc/<pid>/cmdline` of a shim, and `stat` of what it is the parent of.
pub(crate) fn sandbox(text: &[u8]) {
    if let Some(parent) = sandboxes::parent(text) {
        means(&format!("1 (a) b) S {parent} 1"), sandboxes::parent, parent);
    }
    if let Some(id) = sandboxes::sandbox_of_shim(text) {
        let given: [&[u8]; 3] = [b"containerd-shim\0-namespace\0k8s.io\0-id\0", id, b"\0"];
        assert_eq!(sandboxes::sandbox_of_shim(&given.concat()), Some(id));
    }
}

/// `/proc/<pid>/cgroup`.
pub(crate) fn process_cgroup(text: &[u8]) {
    let Some(place) = cgroup_path::parse_process(text) else {
        return;
    };
    if place.is_final() {
        let inner = place.enter(b"kubepods").enter(b"podother");
        assert_eq!(
            (&inner.pod, &inner.container),
            (&place.pod, &place.container)
        );
    }
    let mut path = String::from("0::");
    if let Some(pod) = &place.pod {
        assert!((1..=64).contains(&pod.len()), "{pod}");
        assert!(pod.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        path += &format!("/kubepods/pod{pod}");
    }
    if let Some(container) = &place.container {
        assert!(is_container_id(container), "{container}");
        path += &match place.runtime {
            None => format!("/{container}"),
            Some(Runtime::Docker) => format!("/docker-{container}.scope"),
            Some(Runtime::Podman) => format!("/libpod-{container}.scope"),
            Some(Runtime::Containerd) => format!("/cri-containerd-{container}.scope"),
            Some(Runtime::Crio) => format!("/crio-{container}.scope"),
        };
    }
    let told = |text: &[u8]| {
        let place = cgroup_path::parse_process(text)?;
        Some((place.pod, place.container, place.runtime))
    };
    means(&path, told, (place.pod, place.container, place.runtime));
}

/// `/proc/stat`.
pub(crate) fn host_stat(text: &[u8]) {
    if let Some((times, cpus)) = host::parse_stat(text) {
        let CpuTimes {
            busy,
            idle,
            io_wait,
            stolen,
        } = times;
        let lines = text.split(|&b| b == b'\n').count();
        assert!(cpus >= 1 && cpus as usize <= lines);
        let each: String = (0..cpus).map(|n| format!("cpu{n} 1\n")).collect();
        let text = format!("cpu  {busy} 0 0 {idle} {io_wait} 0 0 {stolen} 0 0\n{each}intr 5\n");
        means(&text, host::parse_stat, (times, cpus));
    }
}

/// `/proc/meminfo`.
pub(crate) fn host_meminfo(text: &[u8]) {
    if let Some((total, available)) = host::parse_meminfo(text) {
        let line = |key: &str, bytes: u64| {
            assert!(bytes.is_multiple_of(1024));
            format!("{key}: {} kB\n", bytes / 1024)
        };
        assert!(total > 0);
        let mut text = line("MemTotal", total);
        text.extend(available.map(|bytes| line("MemAvailable", bytes)));
        means(&text, host::parse_meminfo, (total, available));
    }
}

/// `/proc/pressure/*` and `*.pressure`.
pub(crate) fn pressure_file(text: &[u8]) {
    if let Some(stall) = pressure::parse(text) {
        let line =
            |kind, total| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
        let mut text = line("some", stall.some);
        text.extend(stall.full.map(|total| line("full", total)));
        means(&text, pressure::parse, stall);
    }
}

/// `/proc/<pid>/net/dev`.
pub(crate) fn network(text: &[u8]) {
    if let Some(bytes) = net_dev::parse(text) {
        let columns = |bytes| format!("{bytes} 1 0 0 0 0 0 0 ");
        let text = format!(
            "Inter-| Receive | Transmit\n  lo: {}{}\neth0: {}{}\n",
            columns(9),
            columns(9),
            columns(bytes.received),
            columns(bytes.sent)
        );
        means(&text, net_dev::parse, bytes);
    }
}

/// `/proc/devices`.
pub(crate) fn devices(text: &[u8]) {
    if let Some(stacked) = Stacked::parse(text) {
        // A driver of disks changes nothing, one of volumes whose number is known already neither.
        let mut more = text.to_vec();
        more.extend(b"\n 8 sd\n");
        assert_eq!(Stacked::parse(&more).as_ref(), Some(&stacked));
        more.extend(b"253 device-mapper\n");
        let Some(with) = Stacked::parse(&more) else {
            panic!("a line of the kernel's is refused");
        };
        let volume = b"253:0 rbytes=5 wbytes=5\n";
        assert_eq!(disk::parse_v2(volume, &with), Some(DiskBytes::default()));
    }
}

fn usual_devices() -> Stacked {
    let devices = b"Block devices:\n  7 loop\n  9 md\n253 device-mapper\n";
    Stacked::parse(devices).unwrap_or_default()
}

/// `blkio.throttle.io_service_bytes`.
pub(crate) fn blkio(text: &[u8]) {
    let line = |device, bytes: DiskBytes| {
        format!(
            "{device} Read {}\n{device} Write {}\n{device} Sync 7\n{device} Total 7\n",
            bytes.read, bytes.written
        )
    };
    let end = |lines: String| format!("{lines}Total 7\n");
    disk_bytes(text, disk::parse_v1, line, end);
}

/// `io.stat`.
pub(crate) fn io_stat(text: &[u8]) {
    let line = |device, bytes: DiskBytes| {
        let DiskBytes { read, written } = bytes;
        format!("{device} rbytes={read} wbytes={written} rios=1 wios=1 dbytes=0 dios=0\n")
    };
    disk_bytes(text, disk::parse_v2, line, |lines| lines);
}

fn disk_bytes(
    text: &[u8],
    parse: fn(&[u8], &Stacked) -> Option<DiskBytes>,
    line: impl Fn(&'static str, DiskBytes) -> String,
    end: impl Fn(String) -> String,
) {
    let devices = usual_devices();
    let Some(bytes) = parse(text, &devices) else {
        assert_eq!(parse(text, &Stacked::default()), None);
        return;
    };
    means(&end(line("8:0", bytes)), |t| parse(t, &devices), bytes);
    // What passes through a volume is not counted again.
    let volume = DiskBytes {
        read: 5,
        written: 5,
    };
    let mut more = line("253:0", volume).into_bytes();
    more.extend(text);
    assert_eq!(parse(&more, &devices), Some(bytes));
    let Some(all) = parse(text, &Stacked::default()) else {
        panic!("the devices decide whether the file is well-formed");
    };
    assert!(all.read >= bytes.read && all.written >= bytes.written);
}

/// `cpu.stat` of v1 and v2.
pub(crate) fn cpu_stat(text: &[u8]) {
    match further_files::throttling(text) {
        Ok(read) => {
            let text = format!(
                "nr_periods {}\nnr_throttled {}\nthrottled_time 1\n",
                read.periods, read.throttled
            );
            means(&text, bandwidth::parse_throttling, read);
        }
        Err(error) => absent_or_malformed(error),
    }
    if let Some(nanoseconds) = v2_nanoseconds(text) {
        let micros = nanoseconds / 1000;
        // At the end of the range the unit does not divide it.
        assert!(nanoseconds.is_multiple_of(1000) || nanoseconds == u64::MAX);
        let want = micros * 1000;
        means(&format!("usage_usec {micros}\n"), v2_nanoseconds, want);
    }
}

fn absent_or_malformed(error: ReadError) {
    let known = [Cause::Absent, Cause::Malformed].map(ReadError::Missing);
    assert!(known.contains(&error), "{error:?}");
}

/// `cpu.max`, `cpu.cfs_quota_us`, `cpu.cfs_period_us`.
pub(crate) fn cpu_limit(text: &[u8]) {
    if let Some(limit) = bandwidth::parse_max(text) {
        let text = match limit {
            Some(limit) => {
                assert!(limit.quota > 0 && limit.period > 0);
                format!("{} {}\n", limit.quota, limit.period)
            }
            None => "max 100000\n".to_owned(),
        };
        means(&text, bandwidth::parse_max, limit);
    }
    if let Some(quota) = bandwidth::parse_quota(text) {
        let text = quota.map_or("-1\n".to_owned(), |quota| format!("{quota}\n"));
        means(&text, bandwidth::parse_quota, quota);
    }
}

/// `memory.current`, `memory.stat`, `memory.max` and their counterparts of v1.
pub(crate) fn memory(text: &[u8]) {
    for (files, unlimited) in [
        (&MEMORY_V1, UNLIMITED_V1.to_string()),
        (&MEMORY_V2, "max".to_owned()),
    ] {
        if let Some(limit) = (files.parse_limit)(text) {
            let text = limit.map_or(unlimited, |limit| limit.to_string());
            means(&format!("{text}\n"), files.parse_limit, limit);
        }
        if let Some(inactive) = (files.inactive)(text) {
            let text = format!("inactive_file {inactive}\ntotal_inactive_file {inactive}\n");
            means(&text, files.inactive, inactive);
        }
    }
}

/// `memory.events`, `cgroup.events` and `freezer.state`.
pub(crate) fn events(text: &[u8]) {
    if let Ok(kills) = further_files::oom_kills(text) {
        let parse = |text: &[u8]| further_files::oom_kills(text).ok();
        means(&format!("oom 9\noom_kill {kills}\n"), parse, kills);
    }
    match further_files::frozen_v2(text) {
        Ok(frozen) => {
            let text = format!("populated 1\nfrozen {}\n", u8::from(frozen));
            means(&text, |text| further_files::frozen_v2(text).ok(), frozen);
        }
        Err(error) => absent_or_malformed(error),
    }
    match further_files::frozen_v1(text) {
        Ok(frozen) => {
            let text = if frozen { "FROZEN\n" } else { "THAWED\n" };
            means(text, |text| further_files::frozen_v1(text).ok(), frozen);
        }
        Err(error) => absent_or_malformed(error),
    }
}
