//! The machine as a whole: `/proc/stat`, `/proc/meminfo`, `/proc/pressure`.

use std::path::Path;
use std::time::Duration;

use scope_crds::Collector;

use super::number::{decimal, only};
use super::pressure;
use super::reader::{End, ReadError, Reader, path_bytes};
use super::seldom::Turn;
use super::{
    Cause, Counter, CpuTimes, Datum, HostSample, Moment, PressureSample, Problems, Span, Stall,
};
use crate::Collectors;

/// Reads the machine's own files; keeps what is read every few seconds.
#[derive(Debug, Default)]
pub(super) struct HostReader {
    turn: Turn,
    pressure: PressureSample,
    delay_accounting: bool,
}

const MALFORMED: ReadError = ReadError::Missing(Cause::Malformed);

impl HostReader {
    /// Reads them below this root.
    #[allow(clippy::too_many_arguments)] // A part of `Sampler::take`, with its borrows.
    pub(super) fn read(
        &mut self,
        root: &Path,
        collectors: Collectors,
        reader: &mut Reader,
        turns: Duration,
        nanoseconds: impl Fn(u64) -> u64,
        clock: &dyn Fn() -> Moment,
        problems: &mut Problems,
    ) -> HostSample {
        let path = path_bytes(root);
        let mut sample = HostSample::default();
        let mut missing = |datum, error: ReadError, file: &str| {
            problems.add(datum, error.cause(), || {
                root.join(file).display().to_string()
            });
        };
        let stat = reader.read_path(&path, "stat", End::Records);
        match stat.and_then(|text| parse_stat(text).ok_or(MALFORMED)) {
            Ok((times, cpus)) => {
                sample.cpu = Some(Counter {
                    at: clock().monotonic,
                    value: nanoseconds(times.busy),
                });
                sample.cpu_times = Some(times);
                sample.cpus = Some(cpus);
            }
            Err(error) => missing(Datum::HostCpu, error, "stat"),
        }
        let meminfo = reader.read_path(&path, "meminfo", End::Records);
        match meminfo.and_then(|text| parse_meminfo(text).ok_or(MALFORMED)) {
            Ok((total, available)) => {
                sample.memory_total = Some(total);
                sample.memory_available = available;
            }
            Err(error) => missing(Datum::HostMemory, error, "meminfo"),
        }
        let all = collectors.has(Collector::Resources);
        let io = all || collectors.has(Collector::IOWait);
        if io && self.turn.take(turns, 0) {
            let mut read = |wanted: bool, file, before| {
                if !wanted {
                    return None;
                }
                let text = reader.read_path(&path, file, End::OnePiece);
                match text.and_then(|text| pressure::parse(text).ok_or(MALFORMED)) {
                    Ok(stall) => Some(Span::next(before, clock().monotonic, stall)),
                    Err(error) => {
                        missing(Datum::HostPressure, error, file);
                        None
                    }
                }
            };
            self.pressure = PressureSample {
                // The kernel writes a line of zeros for what has no meaning: something always runs
                // while something waits for a CPU.
                cpu: read(all, "pressure/cpu", self.pressure.cpu).map(without_full),
                memory: read(all, "pressure/memory", self.pressure.memory),
                io: read(io, "pressure/io", self.pressure.io),
            };
            let file = "sys/kernel/task_delayacct";
            self.delay_accounting = all && {
                let text = reader.read_path(&path, file, End::OnePiece);
                match text.and_then(|text| only(text).ok_or(MALFORMED)) {
                    Ok(0) => {
                        missing(Datum::BlockDelay, ReadError::Missing(Cause::Absent), file);
                        false
                    }
                    Ok(_) => true,
                    Err(error) => {
                        missing(Datum::BlockDelay, error, file);
                        false
                    }
                }
            };
        }
        sample.pressure = self.pressure;
        sample.delay_accounting = self.delay_accounting;
        sample
    }
}

fn without_full(span: Span<Stall>) -> Span<Stall> {
    let strip = |stall| Stall {
        full: None,
        ..stall
    };
    Span {
        at: span.at,
        value: strip(span.value),
        before: span.before.map(|(at, stall)| (at, strip(stall))),
    }
}

/// What the CPUs did since boot, and how many of them are online.
pub(super) fn parse_stat(text: &[u8]) -> Option<(CpuTimes, u32)> {
    let mut times = None;
    let mut cpus = 0u32;
    for line in text.split(|&b| b == b'\n') {
        let Some(rest) = line.strip_prefix(b"cpu") else {
            // The lines of the CPUs come first, and those behind them can be long.
            break;
        };
        let mut columns = rest
            .split(u8::is_ascii_whitespace)
            .filter(|c| !c.is_empty());
        if rest.first() == Some(&b' ') {
            // user nice system idle iowait irq softirq steal …; the time of guests is in user and nice.
            let ticks = columns.map(decimal).take(8).collect::<Option<Vec<u64>>>()?;
            let &[user, nice, system, idle, io_wait, irq, softirq, stolen] = &ticks[..] else {
                return None;
            };
            let busy = [nice, system, irq, softirq]
                .into_iter()
                .fold(user, u64::saturating_add);
            times = Some(CpuTimes {
                busy,
                idle,
                io_wait,
                stolen,
            });
        } else {
            decimal(columns.next()?)?;
            cpus = cpus.saturating_add(1);
        }
    }
    Some((times?, cpus)).filter(|&(_, cpus)| cpus > 0)
}

/// Bytes in total and available.
pub(super) fn parse_meminfo(text: &[u8]) -> Option<(u64, Option<u64>)> {
    let kib = |key: &[u8]| {
        text.split(|&b| b == b'\n').find_map(|line| {
            let value = line.strip_prefix(key)?.trim_ascii().strip_suffix(b"kB")?;
            decimal(value.trim_ascii())?.checked_mul(1024)
        })
    };
    // MemAvailable exists since Linux 3.14.
    Some((
        kib(b"MemTotal:").filter(|&total| total > 0)?,
        kib(b"MemAvailable:"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn busy_is_what_was_computed() {
        let text = b"cpu  10 2 30 1000 500 4 5 60 7 8\ncpu0 5 1 15 500 250 2 2 30 3 4\n\
            cpu1 5 1 15 500 250 2 3 30 4 4\nintr 99 1 2\nctxt 5\n";
        let times = CpuTimes {
            busy: 51,
            idle: 1000,
            io_wait: 500,
            stolen: 60,
        };
        assert_eq!(parse_stat(text), Some((times, 2)));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            &b""[..],
            b"intr 1\ncpu  1 2 3 4 5 6 7 8\ncpu0 1\n",
            b"cpu  1 2 3 4 5 6 7 8\n",
            b"cpu  1 2 3 4 5 6 7\ncpu0 1 2\n",
            b"cpu  1 2 3 x 5 6 7 8\ncpu0 1 2\n",
            b"cpu0 1 2 3 4 5 6 7 8\n",
            b"cpu  1 2 3 4 5 6 7 8\ncpux 1 2\n",
        ] {
            assert_eq!(parse_stat(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        let max = u64::MAX;
        let text = format!("cpu  {max} {max} 1 1 1 1 1 1\ncpu0 1 1 1 1 1 1 1 1\n");
        let busy = parse_stat(text.as_bytes()).map(|(times, cpus)| (times.busy, cpus));
        assert_eq!(busy, Some((max, 1)));
    }

    #[test]
    fn memory_is_in_bytes() {
        let text = b"MemTotal:       24683116 kB\nMemFree:  1 kB\nMemAvailable:   24131004 kB\n";
        assert_eq!(
            parse_meminfo(text),
            Some((24683116 << 10, Some(24131004 << 10)))
        );
        assert_eq!(parse_meminfo(b"MemTotal: 1 kB\n"), Some((1024, None)));
        for bad in [
            &b""[..],
            b"MemTotal: 0 kB",
            b"MemTotal: 5",
            b"MemTotal: x kB",
            b"MemTotal: 18446744073709551615 kB",
        ] {
            assert_eq!(parse_meminfo(bad), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_stat(&bytes);
            let _ = parse_meminfo(&bytes);
        }

        #[test]
        fn no_lines_panic(text in "(cpu[0-9]{0,2}( [0-9]{0,22}){0,12}\n|MemTotal: [0-9]{0,22} kB\n){0,6}") {
            let _ = parse_stat(text.as_bytes());
            let _ = parse_meminfo(text.as_bytes());
        }
    }
}
