//! Whether this replica is fit to serve: its caches are filled, and it hears from the API server.
//! Leading has nothing to do with it; otherwise a rolling update of the operator would never end.

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use tokio::sync::Notify;

use crate::leader::Heard;

/// What has been seen so far.
#[derive(Debug)]
pub(crate) struct Readiness {
    state: Mutex<State>,
    progress: Notify,
}

#[derive(Debug)]
struct State {
    waiting_for: Vec<&'static str>,
    lease: Heard,
}

impl Readiness {
    /// Not ready until each of `kinds` is [filled](Self::filled) and the Lease was seen.
    pub(crate) fn new(kinds: &[&'static str]) -> Self {
        Self {
            state: Mutex::new(State {
                waiting_for: kinds.to_vec(),
                lease: Heard::default(),
            }),
            progress: Notify::new(),
        }
    }

    /// The cache of this kind holds everything there was at the start.
    pub(crate) fn filled(&self, kind: &'static str) {
        self.state().waiting_for.retain(|waiting| *waiting != kind);
        self.progress.notify_waiters();
    }

    /// Whether the cache of this kind is filled.
    pub(crate) fn is_filled(&self, kind: &str) -> bool {
        !self.state().waiting_for.contains(&kind)
    }

    /// Waits until the caches of all these kinds are filled, however many wait. (A store's own
    /// `wait_until_ready` wakes only the last of several waiters in kube 5.0.)
    pub(crate) async fn wait_for(&self, kinds: &[&str]) {
        loop {
            let progress = self.progress.notified();
            if !self
                .state()
                .waiting_for
                .iter()
                .any(|kind| kinds.contains(kind))
            {
                return;
            }
            progress.await;
        }
    }

    /// The Lease was received.
    pub(crate) fn lease_seen(&self) {
        self.state().lease.heard(Instant::now());
    }

    /// Nothing if this replica is ready, else what it waits for.
    pub(crate) fn missing(&self, now: Instant) -> Option<String> {
        let state = self.state();
        if !state.waiting_for.is_empty() {
            return Some(format!(
                "the first list of {} is not there yet",
                state.waiting_for.join(", ")
            ));
        }
        state.lease.missing(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ready_when_all_is_filled_and_the_lease_lives() {
        let readiness = Readiness::new(&["ScopePlugin", "DaemonSet"]);
        let now = Instant::now();
        assert!(
            readiness
                .missing(now)
                .unwrap()
                .contains("ScopePlugin, DaemonSet")
        );
        readiness.filled("ScopePlugin");
        assert!(readiness.is_filled("ScopePlugin") && !readiness.is_filled("DaemonSet"));
        readiness.filled("DaemonSet");
        assert_eq!(
            readiness.missing(now).unwrap(),
            "the lease was not seen yet"
        );
        readiness.lease_seen();
        assert_eq!(readiness.missing(Instant::now()), None);
        let later = Instant::now() + Duration::from_secs(61);
        assert!(readiness.missing(later).unwrap().contains("renewed"));
        readiness.lease_seen();
        assert_eq!(readiness.missing(Instant::now()), None);
    }

    #[tokio::test]
    async fn all_who_wait_for_a_kind_are_woken() {
        let readiness = std::sync::Arc::new(Readiness::new(&["A", "B"]));
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let readiness = std::sync::Arc::clone(&readiness);
                tokio::spawn(async move { readiness.wait_for(&["A"]).await })
            })
            .collect();
        tokio::task::yield_now().await;
        readiness.filled("A");
        for waiter in waiters {
            tokio::time::timeout(Duration::from_secs(5), waiter)
                .await
                .unwrap()
                .unwrap();
        }
        readiness.wait_for(&["A"]).await;
        let other = tokio::time::timeout(Duration::from_millis(20), readiness.wait_for(&["B"]));
        assert!(other.await.is_err());
    }
}
