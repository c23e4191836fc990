//! Streams from the API server: one way to make them, so that each has a back-off, a counter and
//! words for what goes wrong.

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
use serde::de::DeserializeOwned;

/// What is counted of watches, by kind.
pub trait Watched: Send + Sync + 'static {
    /// Something came from the API server.
    fn watch_event(&self, kind: &'static str);
    /// A watch failed, and is tried again.
    fn watch_error(&self, kind: &'static str);
}

/// All events of one kind. Errors are counted, said once and waited out; the stream goes on, and who reads it
/// may leave them out. `kind` is what the objects are called in messages and metrics.
pub fn events<K, W: Watched>(
    api: Api<K>,
    config: watcher::Config,
    kind: &'static str,
    delays: Delays,
    metrics: Arc<W>,
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

/// One object: what it is, each time it changes, or nothing when it is gone.
pub fn one<K, W: Watched>(
    api: Api<K>,
    name: &str,
    kind: &'static str,
    metrics: Arc<W>,
) -> impl Stream<Item = Option<K>> + Send + use<K, W>
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

/// Longest wait before a single object, such as the Lease, is tried again: nothing is written before it is seen.
const ONE: Duration = Duration::from_secs(2);

/// A quarter of a second, doubled up to a bound. Up to a quarter of each is added by chance. What
/// comes is no reason to start over, since the watcher says `Init` before each attempt, and a server
/// that answers and breaks off must not be hammered; a quiet time is.
#[derive(Clone, Debug)]
pub struct Delays {
    next: Duration,
    longest: Duration,
    /// When the last attempt was due.
    due: Option<Instant>,
}

impl Delays {
    const FIRST: Duration = Duration::from_millis(250);
    /// After so long without a failure the next one is a first one.
    const QUIET: Duration = Duration::from_secs(30);

    /// With a bound; what is added by chance may exceed it by a quarter.
    pub fn up_to(longest: Duration) -> Self {
        Self {
            next: Self::FIRST,
            longest,
            due: None,
        }
    }

    fn after(&mut self, now: Instant, chance: Duration) -> Duration {
        let quiet = |due: Instant| now.saturating_duration_since(due) > Self::QUIET;
        if self.due.is_some_and(quiet) {
            self.next = Self::FIRST;
        }
        let delay = self.next + chance;
        self.next = (self.next * 2).min(self.longest);
        self.due = Some(now + delay);
        delay
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now(), scope_leader::jitter(self.next / 4)))
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::stream;
    use k8s_openapi::api::core::v1::ServiceAccount;
    use serde_json::{Value, json};

    use super::*;

    /// The longest wait in these tests.
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn delays_grow_to_a_bound_and_start_over_after_a_quiet_time() {
        let mut delays = Delays::up_to(LONGEST);
        let mut now = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..7 {
            let delay = delays.after(now, Duration::ZERO);
            delays.reset();
            taken.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(taken, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        now += Delays::QUIET + Duration::from_secs(1);
        assert_eq!(delays.after(now, Duration::ZERO), Delays::FIRST);
        let by_chance = delays.next().unwrap();
        assert!(by_chance >= Delays::FIRST * 2 && by_chance <= Delays::FIRST * 5 / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_of_each_attempt_does_not_shorten_the_wait_for_the_next() {
        // What the watcher says of a server that is away.
        let attempts = (0..5).flat_map(|_| {
            [
                Ok(Event::<ServiceAccount>::Init),
                Err(watcher::Error::NoResourceVersion),
            ]
        });
        let began = tokio::time::Instant::now();
        let heard = stream::iter(attempts)
            .backoff(Delays::up_to(LONGEST))
            .collect::<Vec<_>>()
            .await;
        assert_eq!(heard.len(), 10);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(7750), "{waited:?}");
    }

    /// Counts by words.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Watched for Told {
        fn watch_event(&self, kind: &'static str) {
            self.0.lock().unwrap().push(format!("{kind} event"));
        }

        fn watch_error(&self, kind: &'static str) {
            self.0.lock().unwrap().push(format!("{kind} error"));
        }
    }

    /// An API server that gives these answers, one after the other, and then none.
    fn server(answers: Vec<(u16, Value)>) -> Api<ServiceAccount> {
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let server = tower::service_fn(move |_: hyper::Request<kube::client::Body>| {
            let answer = answers.lock().unwrap().next();
            async move {
                let Some((status, answer)) = answer else {
                    return future::pending().await;
                };
                let mut text = answer.to_string();
                text.push('\n');
                let answer = hyper::Response::builder().status(status);
                let answer = answer.body(axum::body::Body::from(text));
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        });
        Api::namespaced(kube::Client::new(server, "n"), "n")
    }

    fn list(items: Value) -> (u16, Value) {
        let list = json!({"kind": "ServiceAccountList", "apiVersion": "v1",
            "metadata": {"resourceVersion": "7"}, "items": items});
        (200, list)
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_is_told_as_it_comes_and_goes() {
        let object = json!({"kind": "ServiceAccount", "apiVersion": "v1",
            "metadata": {"name": "a", "resourceVersion": "8"}});
        let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": "no", "metadata": {}});
        let api = server(vec![
            (403, refused),
            list(json!([])),
            (200, json!({"type": "ADDED", "object": object})),
            (200, json!({"type": "DELETED", "object": object})),
        ]);
        let told = Arc::new(Told::default());
        let seen = one(api, "a", "Account", Arc::clone(&told)).take(3);
        let seen: Vec<bool> = seen.map(|object| object.is_some()).collect().await;
        assert_eq!(seen, [false, true, false]);
        let told = told.0.lock().unwrap();
        let errors = told.iter().filter(|word| *word == "Account error").count();
        assert_eq!(errors, 1, "{told:?}");
        assert!(told.len() > 4, "{told:?}");
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
