//! When the next report is due, on a grid of absolute times.

use std::time::{Duration, Instant};

/// Whether one more look that is wanted will come before the next report is due, which would be the one to take its
/// place: as long after this one as this one after that before. Where there was none before, whether that report is
/// far away.
pub(super) fn is_in_between(
    now: Instant,
    next: Instant,
    cadence: Duration,
    wanted_before: Option<Instant>,
) -> bool {
    match wanted_before {
        Some(before) => now + now.saturating_duration_since(before) <= next,
        None => next.saturating_duration_since(now) > cadence / 3,
    }
}

/// When the next report is due after a look in between: when it was before that, or at once if that took too long.
pub(super) fn after_in_between(due: Instant, cadence: Duration, now: Instant) -> Instant {
    (due + cadence).max(now)
}

/// The next point of the grid that lies ahead, and how many were missed: a late tick is left out,
/// not caught up in a burst.
pub(super) fn next_deadline(due: Instant, cadence: Duration, now: Instant) -> (Instant, u64) {
    let late = now.saturating_duration_since(due).as_nanos();
    let missed = late / cadence.as_nanos().max(1);
    let missed = u32::try_from(missed).unwrap_or(u32::MAX - 1);
    (due + cadence * (missed + 1), u64::from(missed))
}

#[cfg(test)]
mod tests {
    use super::super::sampler::SLOW_CADENCE;
    use super::*;

    #[test]
    fn late_ticks_are_left_out() {
        let due = Instant::now();
        let s = Duration::from_secs;
        for (late_ms, next, skipped) in [
            (0, 1, 0),
            (300, 1, 0),
            (999, 1, 0),
            (1000, 2, 1),
            (3700, 4, 3),
        ] {
            let now = due + Duration::from_millis(late_ms);
            assert_eq!(
                next_deadline(due, s(1), now),
                (due + s(next), skipped),
                "{late_ms}"
            );
        }
    }

    #[test]
    fn a_look_in_between_takes_no_report_away() {
        let due = Instant::now();
        let at = |second| due + Duration::from_secs(second);
        for (ended, next) in [(4, 15), (14, 15), (15, 15), (16, 16), (40, 40)] {
            assert_eq!(
                after_in_between(due, SLOW_CADENCE, at(ended)),
                at(next),
                "{ended}"
            );
        }
    }

    #[test]
    fn of_wanted_looks_the_last_one_before_a_report_is_in_its_place() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        // Looks every so often, for a report 15 s after the last one: when is each made?
        let reports = |every: usize, first: u64| -> Vec<u64> {
            let (mut due, mut before, mut reports) = (15, None, Vec::new());
            for now in (first..200).step_by(every) {
                while due < now {
                    reports.push(due);
                    due += 15;
                }
                if !is_in_between(at(now), at(due), SLOW_CADENCE, before) {
                    reports.push(now);
                    due = now + 15;
                }
                before = Some(at(now));
            }
            reports
        };
        assert_eq!(reports(4, 4)[..4], [12, 24, 36, 48]);
        assert_eq!(reports(6, 1)[..4], [13, 25, 37, 49]);
        // Whoever wants one a little more often than it is due soon pays for no other.
        for first in 1..15 {
            let all = reports(14, first);
            assert!(all.windows(2).all(|two| two[1] - two[0] <= 15), "{all:?}");
            let later: Vec<_> = all.into_iter().filter(|at| *at > first + 1).collect();
            assert!(
                later.windows(2).skip(1).all(|two| two[1] - two[0] == 14),
                "{first}: {later:?}"
            );
        }
    }
}
