//! The files of a cgroup that are read every few seconds: disk, throttling, pressure and OOM kills;
//! and the freezer's, which is read each time. They are not kept open: that would take more memory than it saves time.

use std::time::Duration;

use scope_crds::Collector;

use super::bandwidth;
use super::cgroup_files::{CgroupReader, Place};
use super::cgroup_index::Further;
use super::disk;
use super::hierarchy::{Hierarchy, Version};
use super::number::keyed;
use super::pressure;
use super::reader::{End, ReadError, bytes_path, path_bytes};
use super::seldom::seed;
use super::{Cause, CpuLimit, Datum, FurtherSample, PressureSample, Span, Throttling};

/// Whose cgroup it is: not all has a meaning for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Pod,
}

const MALFORMED: ReadError = ReadError::Missing(Cause::Malformed);

/// A cgroup that lacks a hierarchy for this long is not being removed from one after the other: its
/// runtime does not use that one.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// Whether the cgroup that is being read lacks a hierarchy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Half {
    /// So it was for [`REMOVED_WITHIN`].
    lasting: bool,
    /// So it is now.
    seen: bool,
}

impl CgroupReader<'_> {
    /// What the cgroup at this place says, read anew if it is its turn. Whether it is frozen is read
    /// each time where it can be: who clicked waits to see it.
    pub(super) fn further(
        &mut self,
        kind: Kind,
        place: Place<'_>,
        kept: &mut Further,
    ) -> FurtherSample {
        let now = (self.clock)().monotonic;
        let since = |since| now.saturating_sub(since) >= REMOVED_WITHIN;
        self.half = Half {
            lasting: kept.half_since.is_some_and(since),
            seen: false,
        };
        if kept.turn.take(self.turns, seed(place.relative)) {
            let before = kept.sample;
            let mut sample = FurtherSample {
                pressure: self.pressure(place, before.pressure),
                frozen: (kind == Kind::Container)
                    .then(|| self.frozen(place))
                    .flatten(),
                ..FurtherSample::default()
            };
            if self.collectors.has(Collector::Resources) {
                sample.disk = self.disk(kind, place, before);
                sample.throttling = self.throttling(place, before);
                sample.cpu_limit = self.cpu_limit(place);
                sample.oom_kills = (kind == Kind::Pod).then(|| self.oom_kills(place)).flatten();
            }
            kept.sample = sample;
            kept.half_since = self.half.seen.then(|| kept.half_since.unwrap_or(now));
        } else if kept.sample.frozen.is_some() {
            kept.sample.frozen = self.frozen(place);
        }
        kept.sample
    }

    fn disk(
        &mut self,
        kind: Kind,
        place: Place<'_>,
        before: FurtherSample,
    ) -> Option<Span<super::DiskBytes>> {
        let hierarchy = self.hierarchies.disk.as_ref()?;
        let stacked = self.stacked?;
        let bytes = match hierarchy.version {
            Version::V2 => self.value(Datum::CgroupDisk, place, hierarchy, "io.stat", |text| {
                disk::parse_v2(text, stacked).ok_or(MALFORMED)
            })?,
            Version::V1 => {
                // Nothing runs in the pod's own cgroup, so without sums its file says nothing.
                let file = match (kind, self.hierarchies.disk_sums) {
                    (_, true) => "blkio.throttle.io_service_bytes_recursive",
                    (Kind::Container, false) => "blkio.throttle.io_service_bytes",
                    (Kind::Pod, false) => return None,
                };
                self.value(Datum::CgroupDisk, place, hierarchy, file, |text| {
                    disk::parse_v1(text, stacked).ok_or(MALFORMED)
                })?
            }
        };
        let at = (self.clock)().monotonic;
        Some(Span::next(before.disk, at, bytes))
    }

    fn throttling(&mut self, place: Place<'_>, before: FurtherSample) -> Option<Span<Throttling>> {
        let hierarchy = self.hierarchies.bandwidth.as_ref()?;
        let datum = Datum::CgroupThrottling;
        let value = self.value(datum, place, hierarchy, "cpu.stat", throttling)?;
        let at = (self.clock)().monotonic;
        Some(Span::next(before.throttling, at, value))
    }

    fn cpu_limit(&mut self, place: Place<'_>) -> Option<CpuLimit> {
        let hierarchy = self.hierarchies.bandwidth.as_ref()?;
        let datum = Datum::CgroupThrottling;
        match hierarchy.version {
            Version::V2 => self
                .value(datum, place, hierarchy, "cpu.max", |text| {
                    bandwidth::parse_max(text).ok_or(MALFORMED)
                })
                .flatten(),
            Version::V1 => {
                let quota = self.value(datum, place, hierarchy, "cpu.cfs_quota_us", |text| {
                    bandwidth::parse_quota(text).ok_or(MALFORMED)
                });
                let quota = quota.flatten()?;
                self.value(datum, place, hierarchy, "cpu.cfs_period_us", |text| {
                    let period = super::number::only(text).ok_or(MALFORMED)?;
                    bandwidth::limit(quota, period).ok_or(MALFORMED)
                })
            }
        }
    }

    fn pressure(&mut self, place: Place<'_>, before: PressureSample) -> PressureSample {
        let Some(hierarchy) = &self.hierarchies.pressure else {
            return PressureSample::default();
        };
        let all = self.collectors.has(Collector::Resources);
        let io = all || self.collectors.has(Collector::IOWait);
        let mut read = |wanted: bool, file, before| {
            if !wanted {
                return None;
            }
            let stall = self.value(Datum::CgroupPressure, place, hierarchy, file, |text| {
                pressure::parse(text).ok_or(MALFORMED)
            })?;
            let at = (self.clock)().monotonic;
            Some(Span::next(before, at, stall))
        };
        PressureSample {
            cpu: read(all, "cpu.pressure", before.cpu),
            memory: read(all, "memory.pressure", before.memory),
            io: read(io, "io.pressure", before.io),
        }
    }

    fn oom_kills(&mut self, place: Place<'_>) -> Option<u64> {
        let memory = self.hierarchies.memory.as_ref();
        let hierarchy = memory.filter(|_| self.hierarchies.counts_oom_kills())?;
        let datum = Datum::OomKills;
        self.value(datum, place, hierarchy, "memory.events", oom_kills)
    }

    fn frozen(&mut self, place: Place<'_>) -> Option<bool> {
        let hierarchy = self.hierarchies.freezer.as_ref()?;
        let datum = Datum::CgroupFrozen;
        match hierarchy.version {
            Version::V2 => self.value(datum, place, hierarchy, "cgroup.events", frozen_v2),
            Version::V1 => self.value(datum, place, hierarchy, "freezer.state", frozen_v1),
        }
    }

    /// What the file says. It is missing where the cgroup is there in this hierarchy; where it is not, it
    /// may be about to be gone, since runtimes remove it from one after the other.
    fn value<T>(
        &mut self,
        datum: Datum,
        place: Place<'_>,
        hierarchy: &Hierarchy,
        file: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, ReadError>,
    ) -> Option<T> {
        let root = path_bytes(&hierarchy.root);
        let parts = [&*root, place.relative, b"/", file.as_bytes()];
        let text = self
            .reader
            .read_at(rustix::fs::CWD, &parts, End::OnePiece)
            .and_then(parse);
        let cause = match text {
            Ok(value) => return Some(value),
            Err(ReadError::Gone) => {
                let half = !bytes_path(&parts[..2].concat()).exists();
                self.half.seen |= half;
                if half && !self.half.lasting {
                    return None;
                }
                Cause::Absent
            }
            Err(ReadError::Missing(cause)) => cause,
        };
        self.problems.add(datum, cause, || {
            bytes_path(&parts[..2].concat())
                .join(file)
                .display()
                .to_string()
        });
        None
    }
}

/// Reads `cpu.stat`.
pub(super) fn throttling(text: &[u8]) -> Result<Throttling, ReadError> {
    bandwidth::parse_throttling(text).ok_or_else(|| {
        // In v2 the file is there without the controller, and without its lines.
        let counts = keyed(text, b"usage_usec").is_some();
        let cause = match counts && !text.windows(3).any(|word| word == b"nr_") {
            true => Cause::Absent,
            false => Cause::Malformed,
        };
        ReadError::Missing(cause)
    })
}

/// Reads `memory.events`.
pub(super) fn oom_kills(text: &[u8]) -> Result<u64, ReadError> {
    keyed(text, b"oom_kill").ok_or(MALFORMED)
}

/// Reads `cgroup.events`.
pub(super) fn frozen_v2(text: &[u8]) -> Result<bool, ReadError> {
    match keyed(text, b"frozen") {
        Some(frozen @ 0..=1) => Ok(frozen == 1),
        // Linux before 5.2 has no freezer in v2.
        None if keyed(text, b"populated").is_some() => Err(ReadError::Missing(Cause::Absent)),
        _ => Err(MALFORMED),
    }
}

/// Reads `freezer.state`.
pub(super) fn frozen_v1(text: &[u8]) -> Result<bool, ReadError> {
    match text.trim_ascii() {
        b"FROZEN" => Ok(true),
        b"THAWED" | b"FREEZING" => Ok(false),
        _ => Err(MALFORMED),
    }
}
