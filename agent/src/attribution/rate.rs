//! From two readings of a counter to a rate.

use std::time::Duration;

use super::Cpu;
use crate::sample::Counter;

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
