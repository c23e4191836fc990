//! CPU and memory of one cgroup.

use std::time::Duration;

use super::cgroup_index::{CachedLimit, Directories};
use super::hierarchy::{Hierarchies, Version};
use super::number::{keyed, only};
use super::reader::{End, ReadError, Reader, bytes_path};
use super::{Cause, CgroupSample, Counter, Datum, MemorySample, Problems};

/// How long a limit is taken to be what it was: it changes only when a pod is resized in place.
const LIMIT_AGE: Duration = Duration::from_secs(10);

/// In v1 "no limit" is the largest number of whole pages, whatever the size of a page.
const UNLIMITED_V1: u64 = (i64::MAX as u64) & !0xffff;

/// Reads what the cgroup in these directories has used. `None` if it is not there any more.
pub(super) fn read(
    reader: &mut Reader,
    hierarchies: &Hierarchies,
    directories: &mut Directories,
    clock: &dyn Fn() -> Duration,
    problems: &mut Problems,
) -> Option<CgroupSample> {
    let mut sample = CgroupSample::default();
    let mut found = false;
    if let (Some(hierarchy), Some(path)) = (&hierarchies.cpu, &directories.cpu) {
        let (file, value) = match hierarchy.version {
            Version::V1 => ("cpuacct.usage", number(reader, path, "cpuacct.usage", only)),
            Version::V2 => ("cpu.stat", number(reader, path, "cpu.stat", v2_nanoseconds)),
        };
        found |= value != Err(ReadError::Gone);
        let value = note(value, Datum::CgroupCpu, path, file, problems);
        sample.cpu = value.map(|value| Counter { at: clock(), value });
    }
    if let (Some(hierarchy), Some(path)) = (&hierarchies.memory, &directories.memory) {
        let files = match hierarchy.version {
            Version::V1 => &MEMORY_V1,
            Version::V2 => &MEMORY_V2,
        };
        let usage = number(reader, path, files.usage, only);
        if usage == Err(ReadError::Gone) && found {
            // The cgroup may have gone this instant; if not, its memory is not being counted.
            if bytes_path(path).exists() {
                problems.add(Datum::CgroupMemory, Cause::Absent, || {
                    shown(path, files.usage)
                });
            }
        }
        found |= usage != Err(ReadError::Gone);
        if let Some(usage) = note(usage, Datum::CgroupMemory, path, files.usage, problems) {
            let inactive = number(reader, path, "memory.stat", |text| {
                keyed(text, files.inactive)
            });
            let inactive = note(inactive, Datum::CgroupMemory, path, "memory.stat", problems);
            let limit = limit(
                reader,
                path,
                files,
                &mut directories.limit,
                clock(),
                problems,
            );
            sample.memory = inactive.map(|inactive| MemorySample {
                working_set: usage.saturating_sub(inactive),
                limit,
            });
        }
    }
    found.then_some(sample)
}

fn v2_nanoseconds(cpu_stat: &[u8]) -> Option<u64> {
    Some(keyed(cpu_stat, b"usage_usec")?.saturating_mul(1000))
}

/// Whether the process is in the cgroup in these directories itself.
pub(super) fn holds(reader: &mut Reader, directories: &Directories, pid: u32) -> bool {
    let Some(path) = directories.memory.as_deref().or(directories.cpu.as_deref()) else {
        return false;
    };
    reader
        .read_path(path, "cgroup.procs", End::Records)
        .is_ok_and(|text| {
            text.split(|&b| b == b'\n')
                .any(|line| only(line) == Some(u64::from(pid)))
        })
}

/// The files of memory. The kubelet subtracts the same file cache.
struct MemoryFiles {
    usage: &'static str,
    inactive: &'static [u8],
    limit: &'static str,
    parse_limit: fn(&[u8]) -> Option<Option<u64>>,
}

const MEMORY_V1: MemoryFiles = MemoryFiles {
    usage: "memory.usage_in_bytes",
    // With the children's, as the usage is: a container may have cgroups inside of it.
    inactive: b"total_inactive_file",
    limit: "memory.limit_in_bytes",
    parse_limit: |text| Some(Some(only(text)?).filter(|&limit| limit < UNLIMITED_V1)),
};

const MEMORY_V2: MemoryFiles = MemoryFiles {
    usage: "memory.current",
    inactive: b"inactive_file",
    limit: "memory.max",
    parse_limit: |text| match text.trim_ascii() {
        b"max" => Some(None),
        number => Some(Some(only(number)?)),
    },
};

fn limit(
    reader: &mut Reader,
    path: &[u8],
    files: &MemoryFiles,
    cached: &mut CachedLimit,
    now: Duration,
    problems: &mut Problems,
) -> Option<u64> {
    if cached
        .read
        .is_none_or(|read| now.saturating_sub(read) >= LIMIT_AGE)
    {
        let value = number(reader, path, files.limit, files.parse_limit);
        let value = note(value, Datum::CgroupMemory, path, files.limit, problems).flatten();
        *cached = CachedLimit {
            value,
            read: Some(now),
        };
    }
    cached.value
}

fn number<T>(
    reader: &mut Reader,
    path: &[u8],
    file: &str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, ReadError> {
    let text = reader.read_path(path, file, End::OnePiece)?;
    parse(text).ok_or(ReadError::Missing(Cause::Malformed))
}

fn note<T>(
    result: Result<T, ReadError>,
    datum: Datum,
    path: &[u8],
    file: &str,
    problems: &mut Problems,
) -> Option<T> {
    if let Err(ReadError::Missing(cause)) = result {
        problems.add(datum, cause, || shown(path, file));
    }
    result.ok()
}

fn shown(path: &[u8], file: &str) -> String {
    bytes_path(path).join(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        for (text, want) in [
            ("9223372036854771712\n", Some(None)),
            ("9223372036854710272\n", Some(None)),
            ("67108864\n", Some(Some(64 << 20))),
            ("0\n", Some(Some(0))),
            ("max\n", None),
            ("-1\n", None),
        ] {
            assert_eq!((MEMORY_V1.parse_limit)(text.as_bytes()), want, "v1 {text}");
        }
        for (text, want) in [
            ("max\n", Some(None)),
            ("67108864\n", Some(Some(64 << 20))),
            ("", None),
            ("maximum\n", None),
        ] {
            assert_eq!((MEMORY_V2.parse_limit)(text.as_bytes()), want, "v2 {text}");
        }
    }
}
