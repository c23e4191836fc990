//! How many actions a plugin may have per minute, as a sliding window.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The last minute of each plugin, by name.
#[derive(Debug, Default)]
pub(super) struct Rates {
    plugins: HashMap<String, VecDeque<Timestamp>>,
}

impl Rates {
    /// Takes one of `limit` places of the last minute. Where none is free: how many seconds until
    /// one is.
    pub(super) fn take(&mut self, plugin: &str, limit: usize, now: Timestamp) -> Result<(), i64> {
        self.forget(now);
        let window = self.plugins.entry(plugin.to_owned()).or_default();
        if window.len() < limit {
            window.push_back(now);
            return Ok(());
        }
        // The limit may have been lowered: then more than one has to leave first.
        let oldest = window.get(window.len() - limit).copied().unwrap_or(now);
        let wait = MINUTE - now.duration_since(oldest);
        Err(wait.as_secs().max(0) + 1)
    }

    /// Gives the place taken at `taken` back: nothing came of it.
    pub(super) fn give_back(&mut self, plugin: &str, taken: Timestamp) {
        if let Some(window) = self.plugins.get_mut(plugin)
            && let Some(place) = window.iter().rposition(|time| *time == taken)
        {
            window.remove(place);
        }
    }

    /// Starts over with what others did in the last minute.
    pub(super) fn restart(
        &mut self,
        done: impl IntoIterator<Item = (String, Timestamp)>,
        now: Timestamp,
    ) {
        self.plugins.clear();
        for (plugin, time) in done {
            self.plugins.entry(plugin).or_default().push_back(time);
        }
        for window in self.plugins.values_mut() {
            window.make_contiguous().sort();
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Timestamp) {
        self.plugins.retain(|_, window| {
            while window
                .front()
                .is_some_and(|time| now.duration_since(*time) >= MINUTE)
            {
                window.pop_front();
            }
            !window.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + second.seconds()
    }

    #[test]
    fn a_minute_has_so_many_places() {
        let mut rates = Rates::default();
        for second in 0..3 {
            assert_eq!(rates.take("a", 3, at(second)), Ok(()));
        }
        assert_eq!(
            rates.take("a", 3, at(10)),
            Err(51),
            "the place of second 0 is free at 60"
        );
        assert_eq!(rates.take("b", 3, at(10)), Ok(()), "per plugin");
        assert_eq!(rates.take("a", 3, at(60)), Ok(()));
        assert_eq!(rates.take("a", 3, at(60)), Err(2));
    }

    #[test]
    fn a_lowered_limit_waits_for_more_to_leave() {
        let mut rates = Rates::default();
        for second in [0, 20, 40] {
            rates.take("a", 3, at(second)).unwrap();
        }
        assert_eq!(rates.take("a", 1, at(50)), Err(51));
    }

    #[test]
    fn a_place_can_be_given_back() {
        let mut rates = Rates::default();
        rates.take("a", 1, at(5)).unwrap();
        rates.give_back("a", at(4));
        assert!(rates.take("a", 1, at(6)).is_err(), "not taken then");
        rates.give_back("a", at(5));
        assert_eq!(rates.take("a", 1, at(6)), Ok(()));
        rates.give_back("nobody", at(5));
    }

    #[test]
    fn a_new_leader_counts_what_the_last_one_did() {
        let mut rates = Rates::default();
        let done = [
            ("a".to_owned(), at(50)),
            ("a".to_owned(), at(30)),
            ("a".to_owned(), at(0)),
        ];
        rates.restart(done, at(60));
        assert_eq!(
            rates.take("a", 3, at(61)),
            Ok(()),
            "the oldest is forgotten"
        );
        assert_eq!(rates.take("a", 3, at(62)), Err(29));
    }

    #[test]
    fn quiet_plugins_take_no_room() {
        let mut rates = Rates::default();
        rates.take("a", 1, at(0)).unwrap();
        rates.take("b", 1, at(100)).unwrap();
        assert_eq!(rates.plugins.len(), 1);
    }

    #[test]
    fn a_clock_that_was_set_back_frees_nothing_early() {
        let mut rates = Rates::default();
        rates.take("a", 1, at(1000)).unwrap();
        assert_eq!(rates.take("a", 1, at(990)), Err(71));
    }
}
