//! What is read every few seconds only: dear files, and figures that say more over some seconds.

use std::time::Duration;

/// From one reading to the next. Reports carry these figures as often.
const EVERY: Duration = Duration::from_secs(5);

/// A tick that comes a little early is still the one that was meant.
const SLACK: Duration = Duration::from_millis(250);

/// When something is to be read next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    readings: u8,
    due: Duration,
}

impl Turn {
    /// Whether it is to be read now, and takes the turn if so. The first two are at once, one after
    /// the other, so that there are rates soon; from then on the seeds spread what was found at the
    /// same time over all ticks.
    pub(super) fn take(&mut self, now: Duration, seed: u64) -> bool {
        if self.readings > 0 && now + SLACK < self.due {
            return false;
        }
        self.readings = self.readings.saturating_add(1);
        self.due = match self.readings {
            1 => now,
            2 => now + Duration::from_secs(1 + seed % EVERY.as_secs()),
            _ if self.due + EVERY > now => self.due + EVERY,
            _ => now + EVERY,
        };
        true
    }
}

/// FNV-1a: any hash does that spreads paths evenly.
pub(super) fn seed(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(seed: u64, cadence_millis: u64, ticks: u64) -> Vec<u64> {
        let mut turn = Turn::default();
        (0..ticks)
            .filter(|tick| turn.take(Duration::from_millis(tick * cadence_millis), seed))
            .collect()
    }

    #[test]
    fn twice_at_once_and_then_every_five_seconds() {
        assert_eq!(turns(0, 1000, 14), [0, 1, 2, 7, 12]);
        assert_eq!(turns(4, 1000, 14), [0, 1, 6, 11]);
        assert_eq!(turns(2, 15_000, 4), [0, 1, 2, 3], "at the slow cadence");
        assert_eq!(turns(0, 999, 8), [0, 1, 2, 7], "a tick that is early");
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let mut turn = Turn::default();
        let at = Duration::from_secs;
        assert!(turn.take(at(0), 0) && turn.take(at(1), 0) && turn.take(at(2), 0));
        assert!(turn.take(at(100), 0));
        assert!(!turn.take(at(101), 0) && !turn.take(at(104), 0));
        assert!(turn.take(at(105), 0));
    }

    #[test]
    fn while_time_stands_still_only_what_is_new_is_read() {
        let mut turn = Turn::default();
        let now = Duration::from_secs(60);
        assert_eq!(
            [(); 4].map(|()| turn.take(now, 3)),
            [true, true, false, false]
        );
    }

    #[test]
    fn seeds_spread_what_was_found_together() {
        let mut due = [0; 5];
        for n in 0..1000u32 {
            let path = format!("/kubepods/pod{n}");
            due[(seed(path.as_bytes()) % 5) as usize] += 1;
        }
        assert!(due.iter().all(|&n| n > 150), "{due:?}");
    }
}
