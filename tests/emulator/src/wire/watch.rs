//! The time that a request takes.

use std::time::{Duration, Instant};

/// What Scope gives a request, from dialling to the last decoded byte.
pub const TIME_LIMIT: Duration = Duration::from_millis(500);

/// Adds up the time spent waiting for the plugin, which is measured, and the time spent decoding,
/// which is modelled.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    waited: Duration,
    decoded: u64,
    /// Bytes per second; `None` decodes in no time.
    speed: Option<u64>,
}

impl Watch {
    pub(super) fn new(speed: Option<u64>) -> Self {
        Self {
            waited: Duration::ZERO,
            decoded: 0,
            speed,
        }
    }

    pub(super) fn spent(&self) -> Duration {
        let decoding = match self.speed {
            None | Some(0) => Duration::ZERO,
            Some(speed) => Duration::from_secs_f64(self.decoded as f64 / speed as f64),
        };
        self.waited + decoding
    }

    pub(super) fn decoded(&mut self, bytes: usize) {
        self.decoded += bytes as u64;
    }

    /// Does something that may wait, with the time that is left; `None` if there is none.
    pub(super) fn wait<T>(&mut self, act: impl FnOnce(Duration) -> T) -> Option<T> {
        let left = TIME_LIMIT
            .checked_sub(self.spent())
            .filter(|left| !left.is_zero())?;
        let begun = Instant::now();
        let out = act(left);
        self.waited += begun.elapsed();
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_costs_what_it_would_cost_the_probe() {
        let mut watch = Watch::new(Some(70_000_000));
        watch.decoded(7_000_000);
        assert_eq!(watch.spent(), Duration::from_millis(100));
        assert!(
            watch
                .wait(|left| left <= Duration::from_millis(400))
                .unwrap()
        );
        watch.decoded(28_000_000);
        assert!(watch.wait(|_| ()).is_none());
        let mut quick = Watch::new(None);
        quick.decoded(1 << 40);
        assert_eq!(quick.spent(), Duration::ZERO);
    }
}
