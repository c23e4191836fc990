//! How often agents report, and how old what they say may become.

use std::time::Duration;

use scope_totals_wire::{ASKED, INTERVALS};

use crate::time::Moment;

/// From a reply to the next report, for up to [`PER_SECOND`] × 4 agents.
pub const SHORTEST: Duration = Duration::from_secs(4);
/// Beyond that a total says little about now.
pub const LONGEST: Duration = Duration::from_secs(48);
/// While nobody asks any agent for a report, at least. Agents look at their nodes every 15 s by themselves then; a
/// report shortly before that takes the place of such a look and costs none of its own.
pub const RESTING: Duration = Duration::from_secs(14);
/// Reports in a second, however many agents there are, up to [`LONGEST`]. Each takes some 0.6 ms of CPU with all that
/// belongs to it, where the agent has thirty controllers and as many Services: a third of a CPU in sum.
pub const PER_SECOND: usize = 500;

/// The least that an interval is longer than a period: then a total outlasts an exchange that is refused or cut off at
/// once, with the pause and the look before the next try.
const LEEWAY: Duration = Duration::from_secs(2);

/// The pace of all agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    period: Duration,
    /// When somebody was last known to look at what agents report.
    watched: Moment,
    resting: bool,
    /// When it last ended to rest.
    woken: Option<Moment>,
}

impl Pace {
    /// At the start, with so many nodes. That nobody looks is not known yet.
    pub fn new(nodes: usize, now: Moment) -> Self {
        Self {
            period: wanted(nodes),
            watched: now,
            resting: false,
            woken: None,
        }
    }

    /// The time from a reply to the next report, and from one round to the next.
    pub fn period(self) -> Duration {
        self.period
    }

    /// The interval, three of which a total may be old. It is longer than the period: a sample waits for a round and
    /// the round for a reply, a period each, and the look before each report takes up to a second.
    pub fn interval(self) -> Duration {
        self.period + LEEWAY.max(self.period / 4)
    }

    /// How old a sample may be.
    pub fn reach(self) -> Duration {
        self.interval() * INTERVALS
    }

    /// Whether nobody looks, so that there is no need for totals.
    pub fn is_resting(self) -> bool {
        self.resting
    }

    /// The interval by which an agent was heard of lately. What they said while all rested is not old yet.
    pub fn heard(self, now: Moment) -> Duration {
        let rest = Self {
            period: self.period.max(RESTING),
            ..self
        };
        match self.woken {
            Some(woken) if woken.within(rest.reach(), now) => rest.interval(),
            _ => self.interval(),
        }
    }

    /// The pace after a round of so many agents. It grows at once and shrinks slowly: what was reported at a longer
    /// period is judged by the shorter one already.
    #[must_use]
    pub fn next(self, agents: usize, is_watched: bool, now: Moment) -> Self {
        let watched = if is_watched { now } else { self.watched };
        let resting = !watched.within(ASKED, now);
        if self.resting && !resting {
            return self.wake(agents, now);
        }
        let wanted = wanted(agents);
        let period = match resting {
            true => wanted.max(RESTING),
            false => wanted.max(
                self.period
                    .saturating_sub(Duration::from_secs(1))
                    .min(LONGEST),
            ),
        };
        Self {
            period,
            watched,
            resting,
            ..self
        }
    }

    /// The pace from the moment on at which somebody looks again. Totals are soon to be of now, so what was reported
    /// at rest does not count any more.
    #[must_use]
    pub fn wake(self, agents: usize, now: Moment) -> Self {
        match self.resting {
            true => Self {
                woken: Some(now),
                ..Self::new(agents, now)
            },
            false => self,
        }
    }
}

/// The period for so many agents.
fn wanted(agents: usize) -> Duration {
    Duration::from_secs(agents.div_ceil(PER_SECOND) as u64).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_large_fleet_reports_more_slowly() {
        let next = |period, agents| {
            let now = Pace {
                period: Duration::from_secs(period),
                ..Pace::new(0, at(0))
            };
            now.next(agents, true, at(1)).period().as_secs()
        };
        assert_eq!(next(4, 0), 4);
        assert_eq!(next(4, 2000), 4);
        assert_eq!(next(4, 2001), 5);
        assert_eq!(next(4, 5000), 10);
        assert_eq!(next(4, 20_000), 40);
        assert_eq!(next(20, 100), 19);
        assert_eq!(next(5, 2000), 4);
        assert_eq!(next(4, usize::MAX), 48);
    }

    #[test]
    fn a_sample_lasts_until_the_reply_after_the_next_round_though_one_exchange_is_cut_off() {
        for agents in [0, 5000, 100_000] {
            let pace = Pace::new(agents, at(0));
            let look = Duration::from_secs(1);
            // Until the agent's next report, until the round after, until the other agent's reply, and its next one.
            let waits = (pace.period() + look) + pace.period() + look;
            // One of the two is cut off, pauses for up to a second, and looks anew.
            let failure = Duration::from_secs(1) + look;
            assert!(waits + pace.period() + failure < pace.reach(), "{pace:?}");
        }
    }

    #[test]
    fn agents_rest_a_minute_after_anybody_looked() {
        let pace = Pace::new(100, at(10)).next(100, true, at(20));
        let still = pace.next(100, false, at(79));
        assert_eq!((still.is_resting(), still.period().as_secs()), (false, 4));
        let rests = still.next(100, false, at(80));
        assert_eq!((rests.is_resting(), rests.period()), (true, RESTING));
        assert_eq!(rests.next(100, false, at(95)), rests);
        assert_eq!(rests.next(20_000, false, at(95)).period().as_secs(), 40);

        for woken in [rests.wake(100, at(99)), rests.next(100, true, at(99))] {
            assert_eq!((woken.is_resting(), woken.period()), (false, SHORTEST));
            assert_eq!(woken.heard(at(99)), RESTING + RESTING / 4);
            assert_eq!(woken.heard(at(200)), woken.interval());
            assert!(woken.next(100, false, at(158)).period() == SHORTEST);
            assert!(woken.next(100, false, at(159)).is_resting());
            assert_eq!(woken.wake(100, at(120)), woken, "it is awake");
        }
    }
}
