//! Caches of what the API server has, and the streams that fill them.

use std::{collections::HashMap, fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future, stream};
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use scope_crds::TargetKind;
pub(crate) use scope_process::watches::one;
use scope_process::watches::{Delays, events};
use serde::de::DeserializeOwned;

use crate::{metrics::Metrics, readiness::Readiness};

/// The kinds that are watched and cached, as they are called in messages and metrics.
pub(crate) mod kind {
    pub(crate) const PLUGINS: &str = "ScopePlugin";
    pub(crate) const DAEMON_SETS: &str = "DaemonSet";
    pub(crate) const ACCOUNTS: &str = "ServiceAccount";
    pub(crate) const ACTIONS: &str = "ScopeAction";
    pub(crate) const NODES: &str = "Node";
    pub(crate) const PODS: &str = "Pod";
    pub(crate) const REVISIONS: &str = "ControllerRevision";
    pub(crate) const RECORDS: &str = "ConfigMap";
    /// The one that says where the installation is; see [`crate::installation`].
    pub(crate) const INSTALLATION: &str = "ClusterRole";
}

/// An object of our own kinds: an undecodable one arrives as its metadata and its error, deletes
/// included, instead of stopping the watch.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// What the watch of a kind's metadata is called: of pods there is another watch, of our own ones.
pub(crate) fn metadata_of(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Pod => "PodMetadata",
        TargetKind::Deployment => "DeploymentMetadata",
        TargetKind::StatefulSet => "StatefulSetMetadata",
        TargetKind::DaemonSet => "DaemonSetMetadata",
        TargetKind::CronJob => "CronJobMetadata",
        TargetKind::Node => "NodeMetadata",
    }
}

/// Makes the caches.
#[derive(Clone)]
pub(crate) struct Caches {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
}

impl Caches {
    /// A cache of one kind, of all its objects or of those with these labels, and the stream that fills it:
    /// the touched objects, deleted ones included. `prune` takes out what nobody reads before an object is
    /// kept. `follow` sees each event after the store has taken it in, and before anybody is told.
    pub(crate) fn cache<K, P, F>(
        &self,
        api: Api<K>,
        labels: Option<&str>,
        kind: &'static str,
        prune: P,
        mut follow: F,
    ) -> (Store<K>, impl Stream<Item = K> + Send + use<K, P, F>)
    where
        P: FnMut(&mut K) + Send + 'static,
        F: FnMut(&Event<K>, &Store<K>) + Send + 'static,
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let config = watcher::Config {
            label_selector: labels.map(str::to_owned),
            page_size: Some(page(kind)),
            ..watcher::Config::default()
        };
        let (store, writer) = reflector::store::<K>();
        let (readiness, filled) = (Arc::clone(&self.readiness), store.clone());
        let metrics = Arc::clone(&self.metrics);
        let objects = events(api, config, kind, Delays::up_to(CACHE), metrics)
            .modify(prune)
            .reflect(writer)
            // Errors are said and counted above.
            .filter_map(|event| future::ready(event.ok()))
            .flat_map(move |event| {
                follow(&event, &filled);
                if matches!(event, Event::InitDone) {
                    readiness.filled(kind);
                }
                stream::iter(touched(event, &filled))
            });
        (store, objects)
    }

    /// Has `follow` see the metadata of all objects of a kind, of which no store is kept. Ends never.
    pub(crate) async fn metadata<F>(&self, api: Api<Metadata>, kind: &'static str, follow: F)
    where
        F: Fn(Event<Metadata>) + Send,
    {
        let config = watcher::Config {
            page_size: Some(page(kind)),
            ..watcher::Config::default()
        };
        let metrics = Arc::clone(&self.metrics);
        events(api, config, kind, Delays::up_to(CACHE), metrics)
            .filter_map(|event| future::ready(event.ok()))
            .for_each(|event| {
                follow(event);
                future::ready(())
            })
            .await;
    }
}

/// An object of some kind, of which only the metadata is asked for.
pub(crate) type Metadata = PartialObjectMeta<DynamicObject>;

/// How many objects of a kind are asked for at once. A whole page is in memory, as text and decoded, before
/// anything is taken out of its objects, and a node's images make it several times as large as any other
/// object here ([decision 11](../../docs/decisions/0011-paged-lists.md)).
fn page(kind: &str) -> u32 {
    if kind == kind::NODES { 100 } else { 500 }
}

/// Where nothing is kept beside the cache.
pub(crate) fn alone<K: Resource<DynamicType = ()> + 'static>(_: &Event<K>, _: &Store<K>) {}

/// Of a stream of touched objects those whose gist is another than before, or that are gone: some kinds
/// are written again and again with nothing in them that matters.
pub(crate) fn by_gist<K>(
    touched: impl Stream<Item = K> + Send,
    store: Store<K>,
    gist: fn(&K) -> u64,
) -> impl Stream<Item = K> + Send
where
    K: Resource<DynamicType = ()> + ResourceExt + Clone + Send + Sync + 'static,
{
    let mut known: HashMap<String, u64> = HashMap::new();
    touched.filter(move |object| {
        let name = object.name_any();
        let there = store.get(&ObjectRef::from_obj(object)).is_some();
        let differs = match there {
            true => known.insert(name, gist(object)) != Some(gist(object)),
            false => known.remove(&name).is_some(),
        };
        future::ready(differs)
    })
}

/// The objects that an event has touched, each when `store` has it (or has it no more). What a list
/// brings gets into the store only when the list is complete: told before, whoever looks there would
/// take a new object for a deleted one and never hear of it again.
fn touched<K>(event: Event<K>, store: &Store<K>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    match event {
        Event::Apply(object) | Event::Delete(object) => vec![object],
        Event::Init | Event::InitApply(_) => Vec::new(),
        Event::InitDone => store
            .state()
            .iter()
            .map(|object| K::clone(object))
            .collect(),
    }
}

/// What every server writes into every object and nobody here reads.
pub(crate) fn without_managed_fields<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Longest wait before a cache is tried again: an API server that comes back is found within
/// seconds, and the few watches of an operator are no load.
const CACHE: Duration = Duration::from_secs(5);
#[cfg(test)]
mod at_size;

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;

    use super::*;

    #[test]
    fn a_listed_object_is_told_when_the_store_has_it() {
        let (store, mut writer) = reflector::store::<ServiceAccount>();
        let account = |name: &str| ServiceAccount {
            metadata: kube::core::ObjectMeta {
                name: Some(name.into()),
                ..Default::default()
            },
            ..Default::default()
        };
        let mut told = |event: Event<ServiceAccount>| {
            writer.apply_watcher_event(&event);
            let mut names: Vec<String> = touched(event, &store)
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            names.sort();
            names
        };
        assert!(told(Event::Init).is_empty());
        assert!(told(Event::InitApply(account("a"))).is_empty());
        assert!(told(Event::InitApply(account("b"))).is_empty());
        assert_eq!(told(Event::InitDone), ["a", "b"]);
        assert_eq!(told(Event::Apply(account("c"))), ["c"]);
        assert_eq!(told(Event::Delete(account("a"))), ["a"]);
        // A list that was made anew, as after an outage, brings an object that nobody has seen.
        assert!(told(Event::Init).is_empty());
        assert!(told(Event::InitApply(account("d"))).is_empty());
        assert_eq!(told(Event::InitDone), ["d"]);
    }

    #[tokio::test]
    async fn lists_are_of_now_and_come_in_pages() {
        for (kind, limit) in [(kind::NODES, "limit=100"), (kind::ACCOUNTS, "limit=500")] {
            let (asked, mut requests) = tokio::sync::mpsc::unbounded_channel();
            let server = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
                let uri = request.uri().to_string();
                let watch = uri.contains("watch=true");
                asked.send(uri).unwrap();
                async move {
                    if watch {
                        future::pending::<()>().await;
                    }
                    let list = r#"{"kind": "ServiceAccountList", "apiVersion": "v1",
                        "metadata": {"resourceVersion": "7"}, "items": []}"#;
                    let answer = hyper::Response::new(axum::body::Body::from(list));
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let caches = Caches {
                metrics: Arc::new(Metrics::new()),
                readiness: Arc::new(Readiness::new(&[kind])),
            };
            let api: Api<ServiceAccount> = Api::namespaced(kube::Client::new(server, "x"), "x");
            let (_, touched) = caches.cache(api, Some("a=b"), kind, |_| {}, alone);
            let following = tokio::spawn(touched.for_each(|_| future::ready(())));
            let list = requests.recv().await.unwrap();
            assert!(list.contains(limit), "{list}");
            assert!(list.contains("labelSelector=a%3Db"), "{list}");
            // Any version would do for `resourceVersion=0`, one from before our own writes included.
            assert!(!list.contains("resourceVersion"), "{list}");
            let watch = requests.recv().await.unwrap();
            assert!(watch.contains("resourceVersion=7"), "{watch}");
            assert!(!watch.contains("sendInitialEvents"), "{watch}");
            following.abort();
        }
    }
}
