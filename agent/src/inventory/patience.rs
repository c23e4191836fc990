//! The pace of a watch that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kubernetes::Contact;

/// How long to wait after each failure of the watch: from 0.8 s, doubled up to 30 s, and by chance up
/// to half of it less, so that the agents of a fleet do not come back together. An event is no reason
/// to start over, since one comes before each attempt. A quiet time is, and so is word from the
/// server, but once in a while only: a server that answers and breaks off must not be hammered.
#[derive(Debug)]
pub(super) struct Patience {
    contact: Arc<Contact>,
    failures: u32,
    /// When the last attempt was due.
    last: Option<Instant>,
    /// When waiting last started over.
    over: Option<Instant>,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(800);
    const LONGEST: Duration = Duration::from_secs(30);
    /// After so long without a failure the next one is a first one.
    const QUIET: Duration = Duration::from_secs(60);

    pub(super) fn new(contact: Arc<Contact>) -> Patience {
        Patience {
            contact,
            failures: 0,
            last: None,
            over: None,
        }
    }

    /// How long to wait after a failure now. `chance` from 0 to 1 spreads it.
    pub(super) fn after(&mut self, now: Instant, chance: f64) -> Duration {
        let quiet = |since: Option<Instant>| {
            since.is_none_or(|since| now.saturating_duration_since(since) > Self::QUIET)
        };
        // A watch that was opened and then told that its version is gone is no outage.
        let heard = self.last.is_some_and(|last| self.contact.heard_after(last));
        if quiet(self.last) || (heard && quiet(self.over)) {
            self.failures = 0;
            self.over = Some(now);
        }
        let doubled = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(Self::LONGEST).mul_f64(1.0 - chance / 2.0);
        self.last = Some(now + delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over_after_a_quiet_time() {
        let mut patience = Patience::new(Arc::default());
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = patience.after(now, 0.0);
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(waits, [800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(patience.after(now, 1.0), Duration::from_secs(15));
        now += Duration::from_secs(15) + Patience::QUIET + Duration::from_secs(1);
        assert_eq!(patience.after(now, 0.0), Patience::FIRST);
    }

    #[test]
    fn word_from_the_server_ends_the_outage_but_not_again_and_again() {
        let contact = Arc::new(Contact::default());
        let mut patience = Patience::new(contact.clone());
        // Attempts that were due in the past, so that what is heard now is after them.
        let mut now = Instant::now()
            .checked_sub(Duration::from_secs(600))
            .expect("a clock that runs for ten minutes");
        for _ in 0..9 {
            now += patience.after(now, 0.0);
        }
        contact.heard();
        let waits: Vec<_> = (0..3)
            .map(|_| patience.after(now, 0.0).as_millis())
            .collect();
        assert_eq!(waits, [800, 1600, 3200]);
    }
}
