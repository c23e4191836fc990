//! CPU and memory of one cgroup, read for every sample.

use std::time::Duration;

use super::cgroup_index::{CachedLimit, Directories};
use super::disk::Stacked;
use super::further_files::{Half, Kind};
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::kept_file::{KeptFile, Room};
use super::number::{keyed, only};
use super::reader::{End, ReadError, Reader, bytes_path};
use super::{Cause, CgroupSample, Counter, Datum, MemorySample, Moment, Problems};
use crate::Collectors;

/// How long a limit is taken to be what it was: it changes only when a pod is resized in place.
const LIMIT_AGE: Duration = Duration::from_secs(10);

/// In v1 "no limit" is the largest number of whole pages, whatever the size of a page.
pub(super) const UNLIMITED_V1: u64 = (i64::MAX as u64) & !0xffff;

/// Reads cgroups.
pub(super) struct CgroupReader<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) hierarchies: &'a Hierarchies,
    /// Which devices are no disks; `None` while that is unknown.
    pub(super) stacked: Option<&'a Stacked>,
    pub(super) room: &'a Room,
    pub(super) clock: &'a dyn Fn() -> Moment,
    /// The time by which turns are taken.
    pub(super) turns: Duration,
    /// What is read is what these tell.
    pub(super) collectors: Collectors,
    /// What is found out of the present cgroup.
    pub(super) half: Half,
    pub(super) problems: &'a mut Problems,
}

/// Where a cgroup is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its directory without the hierarchy's root, with a slash in front: the same in all of them.
    pub(super) relative: &'a [u8],
}

impl<'a> Place<'a> {
    fn new(hierarchy: Option<&Hierarchy>, path: Option<&'a [u8]>) -> Option<Self> {
        let (hierarchy, path) = hierarchy.zip(path)?;
        let relative = path.strip_prefix(hierarchy.root.as_os_str().as_encoded_bytes())?;
        Some(Place { relative })
    }
}

impl CgroupReader<'_> {
    /// What the cgroup in these directories has used. `None` if it is not there any more.
    pub(super) fn read(
        &mut self,
        kind: Kind,
        directories: &mut Directories,
    ) -> Option<CgroupSample> {
        let Directories { cpu, memory, cache } = directories;
        let (mut cpu_found, mut memory_found) = (false, false);
        let mut sample = CgroupSample::default();
        if let (Some(hierarchy), Some(path)) = (&self.hierarchies.cpu, cpu.as_deref()) {
            let (file, parse) = match hierarchy.version {
                Version::V1 => ("cpuacct.usage", only as Parse),
                Version::V2 => ("cpu.stat", v2_nanoseconds as Parse),
            };
            let value = self.number(&mut cache.cpu, path, file, parse);
            cpu_found = value != Err(ReadError::Gone);
            let value = self.note(value, Datum::CgroupCpu, path, file);
            sample.cpu = value.map(|value| Counter {
                at: (self.clock)().monotonic,
                value,
            });
        }
        if let (Some(hierarchy), Some(path)) = (&self.hierarchies.memory, memory.as_deref()) {
            let files = match hierarchy.version {
                Version::V1 => &MEMORY_V1,
                Version::V2 => &MEMORY_V2,
            };
            let usage = self.number(&mut cache.memory_usage, path, files.usage, only);
            memory_found = usage != Err(ReadError::Gone);
            // The cgroup may have gone this instant; if not, its memory is not being counted.
            if cpu_found && !memory_found && bytes_path(path).exists() {
                let shown = || shown(path, files.usage);
                self.problems.add(Datum::CgroupMemory, Cause::Absent, shown);
            }
            if let Some(usage) = self.note(usage, Datum::CgroupMemory, path, files.usage) {
                let inactive =
                    self.number(&mut cache.memory_stat, path, "memory.stat", files.inactive);
                let inactive = self.note(inactive, Datum::CgroupMemory, path, "memory.stat");
                let limit = self.limit(&mut cache.limit, path, files);
                sample.memory = inactive.map(|inactive| MemorySample {
                    working_set: usage.saturating_sub(inactive),
                    limit,
                });
            }
        }
        if !cpu_found && !memory_found {
            return None;
        }
        let Hierarchies {
            cpu: by_cpu,
            memory: by_memory,
            ..
        } = self.hierarchies;
        let place = Place::new(by_cpu.as_ref(), cpu.as_deref())
            .or_else(|| Place::new(by_memory.as_ref(), memory.as_deref()));
        if let Some(place) = place {
            sample.further = self.further(kind, place, &mut cache.further);
        }
        Some(sample)
    }

    fn limit(&mut self, cached: &mut CachedLimit, path: &[u8], files: &MemoryFiles) -> Option<u64> {
        let now = (self.clock)().monotonic;
        if cached
            .read
            .is_none_or(|read| now.saturating_sub(read) >= LIMIT_AGE)
        {
            let text = self.reader.read_path(path, files.limit, End::OnePiece);
            let value = text.and_then(|text| {
                (files.parse_limit)(text).ok_or(ReadError::Missing(Cause::Malformed))
            });
            let value = self
                .note(value, Datum::CgroupMemory, path, files.limit)
                .flatten();
            *cached = CachedLimit {
                value,
                read: Some(now),
            };
        }
        cached.value
    }

    fn number(
        &mut self,
        kept: &mut KeptFile,
        path: &[u8],
        file: &str,
        parse: Parse,
    ) -> Result<u64, ReadError> {
        let text = self
            .reader
            .read_kept(kept, self.room, path, file, End::OnePiece)?;
        parse(text).ok_or(ReadError::Missing(Cause::Malformed))
    }

    fn note<T>(
        &mut self,
        result: Result<T, ReadError>,
        datum: Datum,
        path: &[u8],
        file: &str,
    ) -> Option<T> {
        if let Err(ReadError::Missing(cause)) = result {
            self.problems.add(datum, cause, || shown(path, file));
        }
        result.ok()
    }
}

type Parse = fn(&[u8]) -> Option<u64>;

pub(super) fn v2_nanoseconds(cpu_stat: &[u8]) -> Option<u64> {
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
pub(super) struct MemoryFiles {
    usage: &'static str,
    pub(super) inactive: Parse,
    limit: &'static str,
    pub(super) parse_limit: fn(&[u8]) -> Option<Option<u64>>,
}

pub(super) const MEMORY_V1: MemoryFiles = MemoryFiles {
    usage: "memory.usage_in_bytes",
    // With the children's, as the usage is: a container may have cgroups inside of it.
    inactive: |stat| keyed(stat, b"total_inactive_file"),
    limit: "memory.limit_in_bytes",
    parse_limit: |text| Some(Some(only(text)?).filter(|&limit| limit < UNLIMITED_V1)),
};

pub(super) const MEMORY_V2: MemoryFiles = MemoryFiles {
    usage: "memory.current",
    inactive: |stat| keyed(stat, b"inactive_file"),
    limit: "memory.max",
    parse_limit: |text| match text.trim_ascii() {
        b"max" => Some(None),
        number => Some(Some(only(number)?)),
    },
};

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
