//! The time of a world.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What passes between two things that happen one after another in the same tick of simulated time.
const STEP: i64 = 1_000_000;

/// Time since 1970 in nanoseconds, shared with the probes.
#[derive(Clone, Debug)]
pub(super) enum Clock {
    /// Stands still until it is set; each look costs a millisecond, so that what is done later has a
    /// later stamp.
    Simulated(Arc<AtomicI64>),
    /// The machine's.
    Real,
}

impl Clock {
    pub(super) fn simulated(start: SystemTime) -> Self {
        Self::Simulated(Arc::new(AtomicI64::new(nanos(start))))
    }

    /// The time, without passing any.
    pub(super) fn now(&self) -> i64 {
        match self {
            Self::Simulated(now) => now.load(Ordering::SeqCst),
            Self::Real => nanos(SystemTime::now()),
        }
    }

    /// The time for somebody who does something.
    fn step(&self) -> i64 {
        match self {
            Self::Simulated(now) => now.fetch_add(STEP, Ordering::SeqCst),
            Self::Real => nanos(SystemTime::now()),
        }
    }

    /// Waits, or jumps, until a time.
    pub(super) fn wait_until(&self, time: i64) {
        match self {
            Self::Simulated(now) => {
                now.fetch_max(time, Ordering::SeqCst);
            }
            Self::Real => {
                let left = u64::try_from(time - self.now()).unwrap_or(0);
                thread::sleep(Duration::from_nanos(left));
            }
        }
    }

    /// The clock of a machine that is off by so many milliseconds.
    pub(super) fn skewed(&self, skew: i64) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let clock = self.clone();
        move || time(clock.step() + skew * 1_000_000)
    }
}

fn nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn nanos_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn time(nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
