//! What the controller remembers between two looks at a plugin. All of it may be lost: it saves
//! requests and gives patience, and nothing else depends on it.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use scope_crds::ScopePluginStatus;

use crate::leader::jitter;

/// First wait after a failure; doubled with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A cache may be so far behind our own write of a status.
const LAG: Duration = Duration::from_secs(5);
/// Pods may be missing for so long before somebody is asked why.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How often Events are read while pods are missing.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the DaemonSet controller is woken while it cannot create pods.
const WAKE_EVERY: Duration = Duration::from_secs(60);

/// By UID of the ScopePlugin.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    plugins: HashMap<String, Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    failures: u32,
    /// UID and generation of the DaemonSet that our last apply returned.
    applied: Option<(String, i64)>,
    wrote: Option<(ScopePluginStatus, Instant)>,
    missing: Option<Missing>,
}

/// Pods that are not there.
#[derive(Clone, Debug)]
struct Missing {
    since: Instant,
    looked: Option<Instant>,
    woken: Instant,
    words: Option<String>,
}

/// What to do about pods that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Memory {
    /// Forgets all plugins but these.
    pub(crate) fn keep_only(&mut self, uids: &HashSet<String>) {
        self.plugins.retain(|uid, _| uids.contains(uid));
    }

    /// Counts a failure and says how long to wait.
    pub(crate) fn failed(&mut self, plugin: &str) -> Duration {
        let remembered = self.of(plugin);
        let delay = FIRST_DELAY
            .saturating_mul(2_u32.saturating_pow(remembered.failures.min(16)))
            .min(LONGEST_DELAY);
        remembered.failures = remembered.failures.saturating_add(1);
        delay + jitter(delay / 4)
    }

    /// Forgets failures.
    pub(crate) fn succeeded(&mut self, plugin: &str) {
        self.of(plugin).failures = 0;
    }

    /// The generation that our last apply returned, if it was to this very DaemonSet.
    pub(crate) fn known_generation(
        &self,
        plugin: &str,
        daemon_set_uid: Option<&str>,
    ) -> Option<i64> {
        let (uid, generation) = self.plugins.get(plugin)?.applied.as_ref()?;
        (Some(uid.as_str()) == daemon_set_uid).then_some(*generation)
    }

    /// Remembers what an apply returned, or a comparison confirmed.
    pub(crate) fn applied(&mut self, plugin: &str, daemon_set_uid: &str, generation: i64) {
        self.of(plugin).applied = Some((daemon_set_uid.to_owned(), generation));
    }

    /// The status to compare with: our own write, while the cache may not have it yet.
    pub(crate) fn newest_status<'a>(
        &'a self,
        plugin: &str,
        cached: Option<&'a ScopePluginStatus>,
        now: Instant,
    ) -> Option<&'a ScopePluginStatus> {
        match self
            .plugins
            .get(plugin)
            .and_then(|remembered| remembered.wrote.as_ref())
        {
            Some((status, at)) if now.saturating_duration_since(*at) < LAG => Some(status),
            _ => cached,
        }
    }

    /// The status that this process wrote last.
    pub(crate) fn written(&self, plugin: &str) -> Option<&ScopePluginStatus> {
        self.plugins
            .get(plugin)?
            .wrote
            .as_ref()
            .map(|(status, _)| status)
    }

    /// Remembers a status that was written.
    pub(crate) fn wrote(&mut self, plugin: &str, status: ScopePluginStatus, now: Instant) {
        self.of(plugin).wrote = Some((status, now));
    }

    /// Says what to do while `missing` pods are not there.
    pub(crate) fn patience(&mut self, plugin: &str, missing: bool, now: Instant) -> Patience {
        let remembered = self.of(plugin);
        if !missing {
            remembered.missing = None;
            return Patience {
                look: false,
                wake: false,
                words: None,
                again: None,
            };
        }
        let state = remembered.missing.get_or_insert(Missing {
            since: now,
            looked: None,
            woken: now,
            words: None,
        });
        let waited = now.saturating_duration_since(state.since);
        if waited < PATIENCE {
            return Patience {
                look: false,
                wake: false,
                words: None,
                again: Some(PATIENCE - waited),
            };
        }
        let due = |last: Instant, every| now.saturating_duration_since(last) >= every;
        let look = state.looked.is_none_or(|looked| due(looked, LOOK_EVERY));
        let wake = state.words.is_some() && due(state.woken, WAKE_EVERY);
        if look {
            state.looked = Some(now);
        }
        if wake {
            state.woken = now;
        }
        Patience {
            look,
            wake,
            words: state.words.clone(),
            again: Some(LOOK_EVERY),
        }
    }

    /// Remembers what the Events said.
    pub(crate) fn heard(&mut self, plugin: &str, words: Option<String>) {
        if let Some(missing) = self.of(plugin).missing.as_mut() {
            missing.words = words;
        }
    }

    fn of(&mut self, plugin: &str) -> &mut Remembered {
        self.plugins.entry(plugin.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_and_longer() {
        let mut memory = Memory::default();
        let first = memory.failed("a");
        assert!(first >= FIRST_DELAY && first < FIRST_DELAY * 2);
        for _ in 0..40 {
            memory.failed("a");
        }
        let late = memory.failed("a");
        assert!(late >= LONGEST_DELAY && late <= LONGEST_DELAY * 5 / 4);
        assert!(memory.failed("b") < FIRST_DELAY * 2, "per plugin");
        memory.succeeded("a");
        assert!(memory.failed("a") < FIRST_DELAY * 2);
    }

    #[test]
    fn a_generation_belongs_to_one_daemon_set() {
        let mut memory = Memory::default();
        memory.applied("a", "uid-1", 4);
        assert_eq!(memory.known_generation("a", Some("uid-1")), Some(4));
        assert_eq!(memory.known_generation("a", Some("uid-2")), None);
        assert_eq!(memory.known_generation("a", None), None);
        memory.keep_only(&HashSet::new());
        assert_eq!(memory.known_generation("a", Some("uid-1")), None);
    }

    #[test]
    fn our_own_write_is_newer_than_the_cache_for_a_while() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let cached = ScopePluginStatus::default();
        let written = ScopePluginStatus {
            observed_generation: Some(2),
            ..ScopePluginStatus::default()
        };
        assert_eq!(memory.newest_status("a", Some(&cached), now), Some(&cached));
        memory.wrote("a", written.clone(), now);
        assert_eq!(
            memory.newest_status("a", Some(&cached), now),
            Some(&written)
        );
        assert_eq!(
            memory.newest_status("a", Some(&cached), now + LAG),
            Some(&cached)
        );
    }

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
