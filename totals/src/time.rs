//! Moments of this process, and how agents give them back.

use std::time::Duration;

use scope_totals_wire::{Sampled, Stamp};

/// Time since the process began, by the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// So long after the process began.
    pub const fn after_start(time: Duration) -> Self {
        Self(time)
    }

    /// A later moment.
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long it was before `now`; nothing if it was not.
    pub fn age(self, now: Self) -> Duration {
        now.0.saturating_sub(self.0)
    }

    /// How long it is until then; nothing if that is over.
    pub fn until(self, then: Self) -> Duration {
        self.age(then)
    }

    /// Whether it was less than `time` before `now`.
    pub fn within(self, time: Duration, now: Self) -> bool {
        now < self.plus(time)
    }
}

/// Makes stamps and reads them. Those of another term, as of another replica, say nothing here.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    term: u64,
}

impl Stamps {
    /// For a term with a number that no other term has.
    pub const fn new(term: u64) -> Self {
        Self { term }
    }

    /// For a reply that is given `now`.
    pub fn stamp(self, now: Moment) -> Stamp {
        Stamp(format!("{:016x}-{}", self.term, now.0.as_millis()))
    }

    /// When a sample was taken, at the earliest; nothing if that cannot be told. It is not of the future,
    /// whatever an agent says.
    pub fn sampled(self, sampled: &Sampled, now: Moment) -> Option<Moment> {
        let (term, at) = sampled.stamp.0.split_once('-')?;
        if u64::from_str_radix(term, 16) != Ok(self.term) {
            return None;
        }
        let at = Moment(Duration::from_millis(at.parse().ok()?));
        Some(at.plus(Duration::from_millis(sampled.after_ms)).min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    fn after(stamp: &str, after_ms: u64) -> Sampled {
        Sampled {
            stamp: Stamp(stamp.into()),
            after_ms,
        }
    }

    #[test]
    fn a_stamp_comes_back() {
        let stamps = Stamps::new(7);
        let stamp = stamps.stamp(at(1500));
        let sampled = Sampled {
            stamp,
            after_ms: 250,
        };
        assert_eq!(stamps.sampled(&sampled, at(9000)), Some(at(1750)));
        assert_eq!(
            stamps.sampled(&sampled, at(1600)),
            Some(at(1600)),
            "the future"
        );
        assert_eq!(
            Stamps::new(8).sampled(&sampled, at(9000)),
            None,
            "another term"
        );
    }

    #[test]
    fn nonsense_is_no_stamp() {
        let stamps = Stamps::new(7);
        for text in [
            "",
            "-",
            "7-",
            "7-x",
            "-5",
            "7--5",
            "7-99999999999999999999999",
            "7",
        ] {
            assert_eq!(stamps.sampled(&after(text, 0), at(1)), None, "{text}");
        }
        let late = after("7-18446744073709551615", u64::MAX);
        assert_eq!(stamps.sampled(&late, at(5)), Some(at(5)));
    }

    #[test]
    fn ages() {
        assert!(at(10).within(Duration::from_millis(5), at(14)));
        assert!(!at(10).within(Duration::from_millis(5), at(15)));
        assert_eq!(at(10).age(at(5)), Duration::ZERO);
    }
}
