//! How often agents report.

use std::time::Duration;

/// The interval for up to [`PER_SECOND`] × 5 agents.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// Beyond that a total says little about now.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Reports in a second, whatever the number of agents.
pub const PER_SECOND: usize = 1000;

/// The interval after one of `now`, with so many agents. It grows at once and shrinks slowly: what was
/// reported at a longer one is judged by the shorter one already.
pub fn next(now: Duration, agents: usize) -> Duration {
    let wanted = Duration::from_secs(agents.div_ceil(PER_SECOND) as u64).clamp(SHORTEST, LONGEST);
    wanted.max(now.saturating_sub(Duration::from_secs(1)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_reports_more_slowly() {
        let next = |now, agents| next(Duration::from_secs(now), agents).as_secs();
        assert_eq!(next(5, 0), 5);
        assert_eq!(next(5, 5000), 5);
        assert_eq!(next(5, 5001), 6);
        assert_eq!(next(5, 20_000), 20);
        assert_eq!(next(20, 100), 19);
        assert_eq!(next(6, 5000), 5);
        assert_eq!(next(5, usize::MAX), 60);
    }
}
