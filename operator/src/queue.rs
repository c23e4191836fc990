//! The plugins whose look was asked for and has not begun yet: how many, and how long each waited.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// What waits for a look. It holds a plugin once, however often it is asked for, and so never more than
/// there are plugins.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<HashMap<String, Instant>>);

impl Queue {
    /// A look at this plugin was asked for; the first of several counts.
    pub(crate) fn asked(&self, plugin: &str, now: Instant) {
        let mut waiting = self.waiting();
        if !waiting.contains_key(plugin) {
            waiting.insert(plugin.to_owned(), now);
        }
    }

    /// The look begins, or there is no such plugin: how long it waited, if it was asked for at all and
    /// is not simply due.
    pub(crate) fn taken(&self, plugin: &str, now: Instant) -> Option<Duration> {
        let asked = self.waiting().remove(plugin)?;
        Some(now.saturating_duration_since(asked))
    }

    /// How many wait.
    pub(crate) fn depth(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // A panic elsewhere leaves nothing half done in a map of times.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_waits_once_and_since_it_was_first_asked_for() {
        let queue = Queue::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        queue.asked("a", start);
        queue.asked("b", after(10));
        queue.asked("a", after(50));
        assert_eq!(queue.depth(), 2);
        assert_eq!(
            queue.taken("a", after(100)),
            Some(Duration::from_millis(100))
        );
        assert_eq!(
            queue.taken("a", after(200)),
            None,
            "only due, not asked for"
        );
        queue.asked("a", after(300));
        assert_eq!(
            queue.taken("b", start),
            Some(Duration::ZERO),
            "never negative"
        );
        assert_eq!(queue.depth(), 1);
    }
}
