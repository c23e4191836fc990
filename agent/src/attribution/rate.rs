//! From two readings of a counter to a rate.

use std::time::Duration;

use super::{Cpu, Disk, Pressure, Stalled, Waiting};
use crate::sample::{
    Counter, CpuLimit, CpuTimes, DiskBytes, PressureSample, Span, Stall, Throttling,
};

/// A counter that claims more than this many times what the machine can do is broken. Rates of a
/// little over 1 are real: the clock and the counter are not read at the same instant.
const IMPOSSIBLE: f64 = 2.0;

/// Growth of a counter per nanosecond. `None` when it stepped back, since then it counts something
/// else, and when no time has passed.
pub(super) fn rate(previous: Counter, current: Counter) -> Option<f64> {
    over(
        current.value.checked_sub(previous.value)?,
        current.at.checked_sub(previous.at)?,
    )
}

/// This much growth per nanosecond of the interval.
pub(super) fn over(growth: u64, interval: Duration) -> Option<f64> {
    let nanoseconds = interval.as_nanos();
    (nanoseconds > 0).then(|| growth as f64 / nanoseconds as f64)
}

/// Growth per nanosecond of one of the counters of a span, between its two readings.
pub(super) fn of_span<T: Copy>(span: Span<T>, counter: impl Fn(T) -> u64) -> Option<f64> {
    let (at, before) = span.before?;
    let before = Counter {
        at,
        value: counter(before),
    };
    let now = Counter {
        at: span.at,
        value: counter(span.value),
    };
    rate(before, now)
}

impl Disk {
    /// From bytes.
    pub(super) fn new(bytes: Span<DiskBytes>) -> Option<Disk> {
        Some(Disk {
            read: of_span(bytes, |bytes| bytes.read)? * 1e9,
            written: of_span(bytes, |bytes| bytes.written)? * 1e9,
        })
    }
}

impl Stalled {
    /// From microseconds of waiting.
    pub(super) fn new(stall: Span<Stall>) -> Option<Stalled> {
        // No more than all of the time: the clock and the counter are not read at the same instant.
        let percent = |used: f64| (used * 1000.0 * 100.0).min(100.0);
        let full = |stall: Stall| stall.full.unwrap_or_default();
        Some(Stalled {
            some: percent(of_span(stall, |stall| stall.some)?),
            full: stall
                .value
                .full
                .and_then(|_| of_span(stall, full))
                .map(percent),
        })
    }
}

impl Pressure {
    /// From microseconds of waiting.
    pub(super) fn new(sample: PressureSample) -> Pressure {
        Pressure {
            cpu: sample.cpu.and_then(Stalled::new),
            memory: sample.memory.and_then(Stalled::new),
            io: sample.io.and_then(Stalled::new),
        }
    }
}

/// Percent of a CPU limit's periods that ended in waiting. Without a limit there are no periods;
/// with one, only those are counted in which something ran.
pub(super) fn throttled(span: Span<Throttling>, limited: bool) -> Option<f64> {
    let (_, before) = span.before?;
    let periods = span.value.periods.checked_sub(before.periods)?;
    let throttled = span.value.throttled.checked_sub(before.throttled)?;
    if periods == 0 {
        return limited.then_some(0.0);
    }
    // The two numbers are not counted at the same instant.
    Some((throttled as f64 / periods as f64 * 100.0).min(100.0))
}

impl Waiting {
    /// From the ticks of two readings: shares of what passed between them, not since boot. `None`
    /// when none passed, or when the counters began anew.
    pub(super) fn new(before: CpuTimes, now: CpuTimes) -> Option<Waiting> {
        let busy = now.busy.checked_sub(before.busy)?;
        // The kernel says of these two that they may step back a little: a CPU's waiting is told from
        // what other CPUs write meanwhile. Nothing was added to one that did.
        let idle = now.idle.saturating_sub(before.idle);
        let io_wait = now.io_wait.saturating_sub(before.io_wait);
        let stolen = now.stolen.saturating_sub(before.stolen);
        let all = [idle, io_wait, stolen]
            .into_iter()
            .fold(busy, u64::saturating_add);
        let percent = |ticks: u64| ticks as f64 / all as f64 * 100.0;
        (all > 0).then(|| Waiting {
            io: percent(io_wait),
            idle: percent(idle),
        })
    }
}

impl CpuLimit {
    /// In thousandths of one CPU.
    pub(super) fn millicores(self) -> f64 {
        self.quota as f64 / self.period as f64 * 1000.0
    }
}

impl Cpu {
    /// From CPUs in use on average, on a machine with so many.
    pub(super) fn new(used: f64, cpus: Option<u32>) -> Option<Cpu> {
        let cpus = cpus.map(f64::from).filter(|&cpus| cpus > 0.0);
        if cpus.is_some_and(|cpus| used > cpus * IMPOSSIBLE) {
            return None;
        }
        Some(Cpu {
            millicores: used * 1000.0,
            percent: cpus.map(|cpus| (used / cpus * 100.0).min(100.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(millis: u64, value: u64) -> Counter {
        Counter {
            at: Duration::from_millis(millis),
            value,
        }
    }

    #[test]
    fn a_rate_needs_time_and_growth() {
        assert_eq!(rate(counter(0, 0), counter(1000, 500_000_000)), Some(0.5));
        assert_eq!(rate(counter(0, 7), counter(1000, 7)), Some(0.0));
        assert_eq!(rate(counter(0, 7), counter(1000, 6)), None, "stepped back");
        assert_eq!(rate(counter(5, 7), counter(5, 8)), None, "no time");
        assert_eq!(
            rate(counter(6, 7), counter(5, 8)),
            None,
            "time stepped back"
        );
    }

    fn span<T>(before: T, now: T) -> Span<T> {
        Span {
            at: Duration::from_secs(15),
            value: now,
            before: Some((Duration::from_secs(10), before)),
        }
    }

    #[test]
    fn waiting_is_a_share_of_the_time_between_the_readings() {
        let stall = |some, full| Stall { some, full };
        let stalled = |before, now| Stalled::new(span(before, now));
        assert_eq!(
            stalled(stall(100, Some(7)), stall(2_500_100, Some(500_007))),
            Some(Stalled {
                some: 50.0,
                full: Some(10.0)
            })
        );
        let idle = Some(Stalled {
            some: 0.0,
            full: None,
        });
        assert_eq!(stalled(stall(5, None), stall(5, None)), idle);
        assert_eq!(
            stalled(stall(5, None), stall(4, None)),
            None,
            "stepped back"
        );
        let all = stalled(stall(0, None), stall(5_000_900, None));
        assert_eq!(all.map(|all| all.some), Some(100.0));
        let first = Span {
            before: None,
            ..span(stall(0, None), stall(9, None))
        };
        assert_eq!(Stalled::new(first), None);
    }

    #[test]
    fn throttling_is_a_share_of_periods() {
        let throttling = |periods, throttled| Throttling { periods, throttled };
        let share = |before, now, limited| throttled(span(before, now), limited);
        let before = throttling(100, 10);
        assert_eq!(share(before, throttling(150, 20), true), Some(20.0));
        assert_eq!(share(before, before, true), Some(0.0), "nothing ran");
        assert_eq!(share(before, before, false), None, "no limit");
        assert_eq!(share(before, throttling(99, 20), true), None);
        assert_eq!(share(before, throttling(110, 9), true), None);
        assert_eq!(share(before, throttling(101, 15), true), Some(100.0));
    }

    #[test]
    fn disk_rates_are_per_second() {
        let bytes = |read, written| DiskBytes { read, written };
        let disk = |before, now| Disk::new(span(before, now));
        assert_eq!(
            disk(bytes(1, 2), bytes(5_001, 2)),
            Some(Disk {
                read: 1000.0,
                written: 0.0
            })
        );
        assert_eq!(disk(bytes(1, 2), bytes(2, 1)), None, "a device was removed");
    }

    #[test]
    fn waiting_for_io_is_a_share_of_the_interval_and_not_of_the_time_since_boot() {
        let times = |busy, idle, io_wait, stolen| CpuTimes {
            busy,
            idle,
            io_wait,
            stolen,
        };
        let waiting = |before, now| Waiting::new(before, now).map(|w| (w.io, w.idle));
        // A day of idling, then a second of four CPUs: half of it waiting, a tenth idle.
        let day = times(1_000, 34_000_000, 5_000, 100);
        let after = times(1_120, 34_000_040, 5_200, 140);
        assert_eq!(waiting(day, after), Some((50.0, 10.0)));
        assert_eq!(waiting(day, day), None, "no tick passed");
        assert_eq!(waiting(after, times(3, 9, 1, 0)), None, "began anew");
        let stepped = times(1_150, 34_000_090, 5_198, 140);
        assert_eq!(waiting(after, stepped), Some((0.0, 62.5)), "a little back");
        let max = u64::MAX;
        let most = waiting(times(0, 0, 0, 0), times(max, max, max, max));
        assert!(most.is_some_and(|(io, idle)| io <= 100.0 && idle <= 100.0));
    }

    #[test]
    fn percent_is_of_all_cpus() {
        let cpu = Cpu::new(0.5, Some(4)).unwrap();
        assert_eq!((cpu.millicores, cpu.percent), (500.0, Some(12.5)));
        let cpu = Cpu::new(0.5, None).unwrap();
        assert_eq!((cpu.millicores, cpu.percent), (500.0, None));
        // A little more than all is the jitter of reading, much more is a broken counter.
        assert_eq!(Cpu::new(4.1, Some(4)).unwrap().percent, Some(100.0));
        assert_eq!(Cpu::new(9.0, Some(4)), None);
        assert_eq!(Cpu::new(u64::MAX as f64, Some(4)), None);
    }
}
