//! The pace of a watch that fails.

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

use super::watch::random;

/// How long to wait after each failure of the watch: 0.8 s, doubled up to 30 s, and up to half as much
/// again by chance, so that the agents of a fleet do not come back together. An event is no reason to
/// start over, since one comes before each attempt; a quiet time is.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    last: Option<Instant>,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(800);
    const LONGEST: Duration = Duration::from_secs(30);
    /// After so long without a failure the next one is a first one.
    const QUIET: Duration = Duration::from_secs(60);

    fn after(&mut self, now: Instant, chance: f64) -> Duration {
        if self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) > Self::QUIET)
        {
            self.failures = 0;
        }
        let doubled = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(Self::LONGEST).mul_f64(1.0 + chance / 2.0);
        // The time counts from when the next attempt is made.
        self.last = Some(now + delay);
        delay
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now(), random()))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over_after_a_quiet_time() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = patience.after(now, 0.0);
            patience.reset();
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(waits, [800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(patience.after(now, 1.0), Duration::from_secs(45));
        now += Duration::from_secs(45) + Patience::QUIET + Duration::from_secs(1);
        assert_eq!(patience.after(now, 0.0), Patience::FIRST);
    }
}
