//! How many reports an agent may send, and how often the operator may ask.

use std::{collections::HashMap, time::Duration};

use crate::{time::Moment, trust::Speaker};

/// In a row: a first one, the one after the first stamp, and some that are sent again.
const BURST: f64 = 6.0;
/// In an interval, in the long run.
const PER_INTERVAL: f64 = 2.0;

/// What each may still send.
#[derive(Debug, Default)]
pub struct Rates {
    left: HashMap<Speaker, (f64, Moment)>,
}

impl Rates {
    /// Takes one from somebody's share, if there is one.
    pub fn take(&mut self, speaker: &Speaker, now: Moment, interval: Duration) -> bool {
        let (left, since) = match self.left.get_mut(speaker) {
            Some(share) => (&mut share.0, &mut share.1),
            None => {
                let share = self.left.entry(speaker.clone()).or_insert((BURST, now));
                (&mut share.0, &mut share.1)
            }
        };
        *left = filled(*left, *since, now, interval);
        *since = now;
        let may = *left >= 1.0;
        if may {
            *left -= 1.0;
        }
        may
    }

    /// Forgets those whose share is full again; they would be as well off as new ones.
    pub fn forget(&mut self, now: Moment, interval: Duration) {
        self.left
            .retain(|_, (left, since)| filled(*left, *since, now, interval) < BURST);
    }
}

fn filled(left: f64, since: Moment, now: Moment, interval: Duration) -> f64 {
    let intervals = since.age(now).as_secs_f64() / interval.as_secs_f64();
    (left + intervals * PER_INTERVAL).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Agent;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn an_agent_may_keep_the_pace_and_no_more() {
        let agent = |node: &str| {
            Speaker::Agent(Agent {
                plugin: "p".into(),
                node: node.into(),
            })
        };
        let at = |ms| Moment::after_start(Duration::from_millis(ms));
        let mut rates = Rates::default();
        let mut taken = |node, ms| rates.take(&agent(node), at(ms), INTERVAL);
        assert_eq!((0..100).filter(|_| taken("a", 0)).count(), 6);
        assert!(taken("b", 0), "another's share is its own");
        assert!(rates.take(&Speaker::Operator, at(0), INTERVAL));
        let mut taken = |node, ms| rates.take(&agent(node), at(ms), INTERVAL);
        assert!(!taken("a", 2400));
        assert!(taken("a", 2600));
        let over_a_minute = (1..=6000).filter(|tick| taken("a", 2600 + 10 * tick));
        assert_eq!(over_a_minute.count(), 24);
        rates.forget(at(100_000), INTERVAL);
        assert!(rates.left.is_empty());
    }
}
