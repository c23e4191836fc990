//! How many actions a minute may have, as a sliding window.

use std::collections::VecDeque;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The actions of the last minute. It holds at most as many as one minute may have.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Duration>);

impl Window {
    /// Takes one of `limit` places. Where none is free: how long until one is. `now` is on a clock
    /// that never jumps.
    pub(super) fn take(&mut self, limit: usize, now: Duration) -> Result<(), Duration> {
        while self
            .0
            .front()
            .is_some_and(|&then| now.saturating_sub(then) >= MINUTE)
        {
            self.0.pop_front();
        }
        if self.0.len() < limit {
            self.0.push_back(now);
            return Ok(());
        }
        let oldest = self.0.front().copied().unwrap_or(now);
        Err(MINUTE - now.saturating_sub(oldest))
    }

    /// Gives the place taken at `then` back: nothing came of it.
    pub(super) fn give_back(&mut self, then: Duration) {
        if let Some(place) = self.0.iter().rposition(|&time| time == then) {
            self.0.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_places() {
        let s = Duration::from_secs;
        let mut window = Window::default();
        for second in 100..103 {
            assert_eq!(window.take(3, s(second)), Ok(()));
        }
        assert_eq!(window.take(3, s(110)), Err(s(50)));
        window.give_back(s(101));
        window.give_back(s(7));
        assert_eq!(window.take(3, s(111)), Ok(()));
        assert_eq!(window.take(3, s(160)), Ok(()), "the first has left");
        assert_eq!(window.take(3, s(161)), Err(s(1)));
        assert_eq!(window.take(0, s(500)), Err(s(60)), "none at all");
        for second in 1000..2000 {
            let _ = window.take(3, s(second));
        }
        assert!(window.0.len() <= 3);
    }
}
