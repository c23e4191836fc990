//! Patience with pods that are not there: the DaemonSet controller may be about to make them.

use std::time::{Duration, Instant};

/// Pods may be missing for so long before somebody is asked why.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often Events are read while pods are missing.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the DaemonSet controller is woken while it cannot create pods.
const WAKE_EVERY: Duration = Duration::from_secs(60);

/// Pods that are not there.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    since: Instant,
    looked: Option<Instant>,
    woken: Instant,
    /// What the Events said when they were last read.
    pub(super) words: Option<String>,
}

/// What to do about pods that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Read the Events now.
    pub(crate) look: bool,
    /// Wake the DaemonSet controller now.
    pub(crate) wake: bool,
    /// What the Events said when they were last read.
    pub(crate) words: Option<String>,
    /// When to look at the plugin again, if pods are missing.
    pub(crate) again: Option<Duration>,
}

impl Missing {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            since: now,
            looked: None,
            woken: now,
            words: None,
        }
    }

    /// What to do now, which is noted as done.
    pub(super) fn patience(&mut self, now: Instant) -> Patience {
        let waited = now.saturating_duration_since(self.since);
        if waited < PATIENCE {
            return Patience {
                again: Some(PATIENCE - waited),
                ..Patience::default()
            };
        }
        let due = |last: Instant, every| now.saturating_duration_since(last) >= every;
        let look = self.looked.is_none_or(|looked| due(looked, LOOK_EVERY));
        let wake = self.words.is_some() && due(self.woken, WAKE_EVERY);
        if look {
            self.looked = Some(now);
        }
        if wake {
            self.woken = now;
        }
        Patience {
            look,
            wake,
            words: self.words.clone(),
            again: Some(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;

    #[test]
    fn missing_pods_are_asked_about_after_a_while_and_not_too_often() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = memory.patience("a", true, at(0));
        assert_eq!((first.look, first.again), (false, Some(PATIENCE)));
        assert_eq!(
            memory.patience("a", true, at(2)).again,
            Some(Duration::from_secs(1))
        );
        assert!(memory.patience("a", true, at(3)).look);
        memory.heard("a", Some("forbidden".into()));
        let next = memory.patience("a", true, at(4));
        assert_eq!(
            (next.look, next.words.as_deref()),
            (false, Some("forbidden"))
        );
        assert!(memory.patience("a", true, at(13)).look);
        assert!(!memory.patience("a", true, at(59)).wake);
        assert!(memory.patience("a", true, at(60)).wake);
        assert!(!memory.patience("a", true, at(61)).wake);

        assert_eq!(memory.patience("a", false, at(62)).again, None);
        let again = memory.patience("a", true, at(63));
        assert_eq!(
            (again.look, again.words),
            (false, None),
            "patience starts over"
        );
    }

    #[test]
    fn nobody_is_woken_for_nothing() {
        let mut memory = Memory::default();
        let start = Instant::now();
        memory.patience("a", true, start);
        assert!(
            !memory
                .patience("a", true, start + Duration::from_secs(3600))
                .wake
        );
    }
}
