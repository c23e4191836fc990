//! Counting HTTP in the kernel, and reading what was counted.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use rustix::time::{ClockId, clock_gettime};

use super::counts::{self, Key, Value};
use super::{HttpReading, programs};
use crate::bpf::kernel::loading;
use crate::bpf::refused::{chain, one_line};
use crate::bpf::{Refused, Skipped, Why};

/// The map of counters, in both objects.
const COUNTS: &str = "counts";
/// The map of figures about the counting.
const STATS: &str = "stats";

/// How HTTP is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpMode {
    /// At the return of the functions that read and write sockets. Costs something for each of their
    /// calls, and nothing else. Linux 5.14 on x86-64, 6.4 on arm64, with `BPF` and `PERFMON`; some
    /// kernels refuse such programs whatever the rights.
    Fexit,
    /// At the end of every system call on the node, hence only when asked for. Sees nothing of
    /// io_uring and of 32-bit programs. Linux 5.11 on x86-64, with `BPF` and `PERFMON`.
    SysExit,
}

impl HttpMode {
    /// The word for it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            HttpMode::Fexit => "fexit",
            HttpMode::SysExit => "sys_exit",
        }
    }
}

impl fmt::Display for HttpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How the counting itself went, since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpStats {
    /// Reads and writes of which the first bytes were looked at; for `sys_exit` reads of files too.
    pub looked_at: u64,
    /// Those whose bytes could not be read, such as pages of a file that `sendfile` sends.
    pub skipped: u64,
    /// Status lines that were sent in pieces, the first without the code: not counted.
    pub short: u64,
    /// What looked like a request while one waited for its response, and was taken for its body.
    pub suppressed: u64,
    /// Requests and responses that found no room in the map.
    pub lost: u64,
    /// Runs that the kernel left out, since the same program was at work on that CPU: with a kernel that
    /// preempts itself a few, else none. `None` where it does not tell.
    pub missed: Option<u64>,
}

/// What is tried, and with how much room. The default is what [`HttpCounter::load`] does.
#[derive(Debug, Clone, Copy)]
pub struct HttpSetup {
    /// Try [`HttpMode::Fexit`].
    pub fexit: bool,
    /// Try [`HttpMode::SysExit`] after it.
    pub sys_exit: bool,
    /// How many counters there is room for, if not for as many as the object says (16,384).
    pub room: Option<u32>,
}

impl Default for HttpSetup {
    fn default() -> Self {
        HttpSetup {
            fexit: true,
            sys_exit: false,
            room: None,
        }
    }
}

/// Programs that count HTTP in the kernel. They stop when it is dropped.
pub struct HttpCounter {
    mode: HttpMode,
    skipped: Vec<Skipped>,
    since: Duration,
    counts: HashMap<MapData, Key, Value>,
    stats: PerCpuArray<MapData, u64>,
    last: HttpStats,
    /// Holds the programs and what attaches them.
    programs: Ebpf,
}

impl fmt::Debug for HttpCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCounter")
            .field("mode", &self.mode)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// The counters could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's HTTP counters cannot be read: {0}")]
pub struct ReadError(String);

impl HttpCounter {
    /// Begins to count, in the first mode that this kernel takes: [`HttpMode::Fexit`], then
    /// [`HttpMode::SysExit`] if that is allowed. Takes some 0.2 s of CPU and, for that time, 19 MiB.
    pub fn load(allow_sys_exit: bool) -> Result<HttpCounter, Refused> {
        HttpCounter::with(HttpSetup {
            sys_exit: allow_sys_exit,
            ..HttpSetup::default()
        })
    }

    /// Begins to count as the setup says.
    pub fn with(setup: HttpSetup) -> Result<HttpCounter, Refused> {
        loading(|loader, btf| {
            if let Some(room) = setup.room {
                loader.map_max_entries(COUNTS, room);
            }
            let since = now();
            let mut skipped = Vec::new();
            if setup.fexit {
                match programs::fexit(loader, btf) {
                    Ok((programs, missing)) => {
                        return HttpCounter::new(HttpMode::Fexit, programs, missing, since);
                    }
                    Err(all) => skipped = all,
                }
            }
            if !setup.sys_exit {
                skipped.push(programs::sys_exit_not_asked());
                return Err(Refused::Programs(skipped));
            }
            match programs::sys_exit(loader, btf) {
                Ok(programs) => HttpCounter::new(HttpMode::SysExit, programs, skipped, since),
                Err(this) => {
                    skipped.push(this);
                    Err(Refused::Programs(skipped))
                }
            }
        })
    }

    fn new(
        mode: HttpMode,
        mut programs: Ebpf,
        skipped: Vec<Skipped>,
        since: Duration,
    ) -> Result<HttpCounter, Refused> {
        let counts = take(&mut programs, COUNTS)?;
        let stats = take(&mut programs, STATS)?;
        Ok(HttpCounter {
            mode,
            skipped,
            since,
            counts,
            stats,
            last: HttpStats::default(),
            programs,
        })
    }

    /// How it counts.
    pub fn mode(&self) -> HttpMode {
        self.mode
    }

    /// The programs that are not at work, and why: those of a mode before this one, or of a family of
    /// sockets whose HTTP is then not counted.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Reads all counters. Costs two system calls per counter, some 1 µs.
    ///
    /// Those of a process stay until [`HttpCounter::forget`] is called for it, so that what it did last
    /// is read after its end.
    pub fn read(&mut self) -> Result<HttpReading, ReadError> {
        let stats = self.read_stats()?;
        let mut counted = Vec::new();
        for entry in self.counts.iter() {
            match entry {
                Ok((key, value)) => counted.extend(counts::count(key, value)),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(ReadError(one_line(&chain(&error)))),
            }
        }
        self.last = stats;
        Ok(HttpReading {
            at: now(),
            since: self.since,
            counts: counted,
            lost: stats.lost,
        })
    }

    /// How the counting went, as of the last reading.
    pub fn stats(&self) -> HttpStats {
        self.last
    }

    /// Makes room: removes the counters of processes that are gone, each named by its pid and start
    /// as in [`super::HttpCount`]. Those that have no counters now: what they do next counts from 0.
    pub fn forget(&mut self, gone: &[(u32, Duration)]) -> Vec<(u32, Duration)> {
        let mut gone: HashSet<(u32, Duration)> = gone.iter().copied().collect();
        // All of them before the first is removed: the kernel goes on from the key before.
        let keys: Vec<Key> = self
            .counts
            .keys()
            .filter_map(Result::ok)
            .filter(|key| gone.contains(&counts::process(*key)))
            .collect();
        for key in keys {
            // One that is gone already is what was wanted.
            if let Err(error) = self.counts.remove(&key)
                && !matches!(error, MapError::KeyNotFound)
            {
                gone.remove(&counts::process(key));
            }
        }
        gone.into_iter().collect()
    }

    fn read_stats(&self) -> Result<HttpStats, ReadError> {
        let sum = |stat: u32| match self.stats.get(&stat, 0) {
            Ok(per_cpu) => Ok(per_cpu.iter().sum()),
            Err(error) => Err(ReadError(one_line(&chain(&error)))),
        };
        Ok(HttpStats {
            looked_at: sum(counts::LOOKED_AT)?,
            skipped: sum(counts::SKIPPED)?,
            short: sum(counts::SHORT)?,
            suppressed: sum(counts::SUPPRESSED)?,
            lost: sum(counts::LOST)?,
            missed: programs::missed(&self.programs),
        })
    }
}

/// A map of an object that is part of this program.
fn take<M: TryFrom<Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<M, Refused> {
    let unfit = |why: String| {
        Refused::Programs(vec![Skipped {
            program: name,
            why: Why::Unfit(why),
        }])
    };
    let map = programs.take_map(name);
    let map = map.ok_or_else(|| unfit("the object has no such map".into()))?;
    M::try_from(map).map_err(|error| unfit(one_line(&chain(&error))))
}

/// Time since boot, sleep included: the kernel's clock for when processes started.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_can_go_to_another_thread() {
        fn goes<T: Send>() {}
        goes::<HttpCounter>();
        assert_eq!(HttpMode::SysExit.to_string(), "sys_exit");
    }
}
