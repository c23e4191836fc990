//! Streams from the API server, each with a back-off, a counter and words for what goes wrong.

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, future};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use scope_leader::jitter;
use serde::de::DeserializeOwned;

use crate::metrics::Metrics;

/// All events of one kind. Errors are counted, said once and waited out; the stream goes on.
pub fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut failing = false;
    watcher::watcher(api, config)
        .backoff(Delays::default())
        .inspect(move |event| match event {
            Ok(event) => {
                metrics.watch_event(kind);
                if failing && !matches!(event, Event::Init) {
                    failing = false;
                    tracing::info!("{kind} objects are received again");
                }
            }
            // The server has compacted what was missed; the watcher lists anew. That is its course.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                tracing::debug!("{kind} objects are listed anew: {}", status.message);
            }
            Err(error) => {
                metrics.watch_error(kind);
                if failing {
                    tracing::debug!(%error, "{kind} objects are still not received");
                } else {
                    failing = true;
                    tracing::warn!("{kind} objects are not received: {error}");
                }
            }
        })
        .filter_map(|event| future::ready(event.ok()))
}

/// One object: what it is, each time it changes, or nothing when it is gone.
pub fn one<K>(
    api: Api<K>,
    name: &str,
    kind: &'static str,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Option<K>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = false;
    events(api, config, kind, metrics).filter_map(move |event| {
        future::ready(match event {
            Event::Apply(object) | Event::InitApply(object) => {
                seen = true;
                Some(Some(object))
            }
            Event::Delete(_) => Some(None),
            Event::Init => {
                seen = false;
                None
            }
            Event::InitDone => (!seen).then_some(None),
        })
    })
}

/// A quarter of a second, doubled up to two seconds: two replicas with a few watches are no load. Up to a
/// quarter of each is added by chance. The watcher says `Init` before each attempt, so what comes is no
/// reason to start over; a quiet time is.
#[derive(Clone, Debug)]
struct Delays {
    next: Duration,
    /// When the last attempt was due.
    due: Option<Instant>,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            next: Self::FIRST,
            due: None,
        }
    }
}

impl Delays {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(2);
    /// After so long without a failure the next one is a first one.
    const QUIET: Duration = Duration::from_secs(30);

    fn after(&mut self, now: Instant, chance: Duration) -> Duration {
        let quiet = |due: Instant| now.saturating_duration_since(due) > Self::QUIET;
        if self.due.is_some_and(quiet) {
            self.next = Self::FIRST;
        }
        let delay = self.next + chance;
        self.next = (self.next * 2).min(Self::LONGEST);
        self.due = Some(now + delay);
        delay
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now(), jitter(self.next / 4)))
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_start_over_after_a_quiet_time() {
        let mut delays = Delays::default();
        let mut now = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..5 {
            let delay = delays.after(now, Duration::ZERO);
            delays.reset();
            taken.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(taken, [250, 500, 1000, 2000, 2000]);
        now += Delays::QUIET + Duration::from_secs(1);
        assert_eq!(delays.after(now, Duration::ZERO), Delays::FIRST);
    }
}
