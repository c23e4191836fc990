//! Time limits that a machine's suspension does not eat up.

use std::time::{Duration, Instant};

/// The longest time between two looks that counts in full. A virtual machine that was suspended
/// for minutes would otherwise look like a component that is too slow.
const LONGEST_TICK: Duration = Duration::from_secs(5);

/// A limit for something that is looked at again and again.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    last: Instant,
}

impl Patience {
    /// Patience for this long.
    pub fn new(limit: Duration) -> Patience {
        Patience {
            left: limit,
            last: Instant::now(),
        }
    }

    /// Whether it is over. To be asked at every look.
    pub fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now())
    }

    fn is_over_at(&mut self, now: Instant) -> bool {
        let tick = now.saturating_duration_since(self.last).min(LONGEST_TICK);
        self.last = now;
        self.left = self.left.saturating_sub(tick);
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_passes_counts_and_a_suspension_does_not() {
        let mut patience = Patience::new(Duration::from_secs(12));
        let start = patience.last;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!patience.is_over_at(after(1)));
        // Four minutes, of which 5 s count.
        assert!(!patience.is_over_at(after(241)));
        assert!(!patience.is_over_at(after(246)));
        assert!(patience.is_over_at(after(247)));
    }
}
