//! Streams from the API server: one way to make them, so that each has a back-off, a counter and
//! words for what goes wrong.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        utils::Backoff,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use crate::{metrics::Metrics, readiness::Readiness};

/// The kinds that are watched and cached, as they are called in messages and metrics.
pub(crate) mod kind {
    pub(crate) const PLUGINS: &str = "ScopePlugin";
    pub(crate) const DAEMON_SETS: &str = "DaemonSet";
    pub(crate) const ACCOUNTS: &str = "ServiceAccount";
    pub(crate) const ACTIONS: &str = "ScopeAction";
}

/// An object of our own kinds: an undecodable one arrives as its metadata and its error, deletes
/// included, instead of stopping the watch.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// All events of one kind. Errors are counted, said once and waited out; the stream goes on.
fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    delays: Delays,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut failing = false;
    watcher::watcher(api, config)
        .backoff(delays)
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
                    tracing::warn!("{kind} objects are not received: {}", explain(kind, error));
                }
            }
        })
}

/// What a failed watch means and what to do, where that is known.
fn explain(kind: &str, error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    };
    match status {
        Some(status) if status.is_not_found() => {
            format!("the API server does not know the kind; install the CRD of {kind} (crds/)")
        }
        Some(status) if status.is_forbidden() => {
            format!(
                "{}; install the rights that the chart gives",
                status.message
            )
        }
        Some(status) => format!("{} ({})", status.message, status.code),
        None => error.to_string(),
    }
}

/// A cache of one kind and the stream that fills it: the touched objects, deleted ones included.
/// `prune` takes out what nobody reads before an object is kept.
pub(crate) fn cache<K, F>(
    api: Api<K>,
    kind: &'static str,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    prune: F,
) -> (Store<K>, impl Stream<Item = K> + Send + use<K, F>)
where
    F: FnMut(&mut K) + Send + 'static,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store::<K>();
    let readiness = Arc::clone(readiness);
    let objects = events(
        api,
        watcher::Config::default(),
        kind,
        Delays::up_to(CACHE),
        Arc::clone(metrics),
    )
    .modify(prune)
    .reflect(writer)
    .inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            readiness.filled(kind);
        }
    })
    .touched_objects()
    // Said and counted above.
    .filter_map(|object| future::ready(object.ok()));
    (store, objects)
}

/// One object: what it is, each time it changes, or nothing when it is gone.
pub(crate) fn one<K>(
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
    events(api, config, kind, Delays::up_to(ONE), metrics).filter_map(move |event| {
        future::ready(match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                seen = true;
                Some(Some(object))
            }
            Ok(Event::Delete(_)) => Some(None),
            Ok(Event::Init) => {
                seen = false;
                None
            }
            Ok(Event::InitDone) => (!seen).then_some(None),
            Err(_) => None,
        })
    })
}

/// What every server writes into every object and nobody here reads.
pub(crate) fn without_managed_fields<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Longest wait before a cache is tried again: an API server that comes back is found within
/// seconds, and the few watches of an operator are no load.
const CACHE: Duration = Duration::from_secs(5);
/// The same for a single object, which is the Lease: nothing is written before it is seen again.
const ONE: Duration = Duration::from_secs(2);

/// A quarter of a second, doubled up to a bound. Up to a quarter of each is added by chance.
#[derive(Clone, Debug)]
struct Delays {
    next: Duration,
    longest: Duration,
}

impl Delays {
    const FIRST: Duration = Duration::from_millis(250);

    fn up_to(longest: Duration) -> Self {
        Self {
            next: Self::FIRST,
            longest,
        }
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        Some(delay + crate::leader::jitter(delay / 4))
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_start_over() {
        let mut delays = Delays::up_to(CACHE);
        let taken: Vec<Duration> = delays.by_ref().take(8).collect();
        assert!(taken[0] >= Delays::FIRST && taken[0] < Delays::FIRST * 2);
        assert!(taken[7] >= CACHE && taken[7] <= CACHE * 5 / 4);
        delays.reset();
        assert!(delays.next().unwrap() < Delays::FIRST * 2);
    }

    #[test]
    fn a_missing_crd_is_said_as_such() {
        let status = kube::core::Status {
            code: 404,
            reason: "NotFound".into(),
            ..Default::default()
        };
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        assert!(explain("ScopePlugin", &error).contains("install the CRD of ScopePlugin"));
    }
}
