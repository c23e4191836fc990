//! Filling the census from watches.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Namespace, Node, Service},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event},
};
use scope_process::{
    watches::{Delays, events},
    words::Words,
};
use scope_totals_wire::{Object, Uid};
use serde::de::DeserializeOwned;

use super::{
    Census, Listed, Namespaces, Pod, SeenOwner, SeenPod, SeenSlice, controllers, images::Pool,
    services,
};
use crate::metrics::Metrics;

/// A page is in memory as text and decoded at once, and pods are large: some 10 KB.
const PAGE: u32 = 250;
/// A slice has up to 100 endpoints as a rule, which are some 35 KB, and 1,000 at most.
const PAGE_OF_SLICES: u32 = 50;
/// Longest wait before a watch is tried again: two replicas with a few watches are no load.
const LONGEST: Duration = Duration::from_secs(2);

/// The census as the watches fill it.
pub type Shared = Arc<Mutex<Census>>;

/// The census, for a moment.
pub fn lock(census: &Shared) -> MutexGuard<'_, Census> {
    census.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows all kinds; ends only if a watch does.
pub async fn follow(client: Client, census: Shared, metrics: Arc<Metrics>) {
    let watches = Watches {
        client,
        census: Arc::clone(&census),
        metrics,
    };
    // A node's name is in each of its pods and in each place.
    let (mut names, mut images) = (Words::default(), Pool::default());
    let namespaces = Namespaces::default();
    let marks = namespaces.clone();
    let pods = fill(
        &census,
        watches.all("Pod", PAGE),
        |census| &mut census.pods,
        move |pod: &SeenPod| {
            let uid = pod.uid()?;
            let namespace = marks.mark(pod.namespace());
            let counts = pod.counts().map(|(node, maker, gone_by)| Pod {
                namespace,
                node: names.shared(node),
                maker,
                gone_by: gone_by.map(Box::new),
                images: images.shared(pod.images()),
            });
            Some((uid, counts))
        },
    );
    let sets = watches.metadata::<ReplicaSet>("ReplicaSet");
    let sets = fill(&census, sets, |census| &mut census.replica_sets, owner);
    let jobs = watches.metadata::<Job>("Job");
    let jobs = fill(&census, jobs, |census| &mut census.jobs, owner);
    let nodes = fill(
        &census,
        watches.metadata::<Node>("Node"),
        |census| &mut census.nodes,
        |node| Some((Arc::from(node.name_any()), Some(()))),
    );
    tokio::select! {
        () = pods => {}
        () = sets => {}
        () = jobs => {}
        () = nodes => {}
        () = follow_names(&watches, &census) => {}
        () = follow_services(&watches, &census, namespaces) => {}
    }
}

/// Follows the controllers by name.
async fn follow_names(watches: &Watches, census: &Shared) {
    let deployments = fill(
        census,
        watches.metadata::<Deployment>("Deployment"),
        |census| &mut census.controllers.deployments,
        controllers::names(),
    );
    let stateful_sets = fill(
        census,
        watches.metadata::<StatefulSet>("StatefulSet"),
        |census| &mut census.controllers.stateful_sets,
        controllers::names(),
    );
    let daemon_sets = fill(
        census,
        watches.metadata::<DaemonSet>("DaemonSet"),
        |census| &mut census.controllers.daemon_sets,
        controllers::names(),
    );
    let cron_jobs = fill(
        census,
        watches.metadata::<CronJob>("CronJob"),
        |census| &mut census.controllers.cron_jobs,
        controllers::names(),
    );
    let namespaces = fill(
        census,
        watches.metadata::<Namespace>("Namespace"),
        |census| &mut census.controllers.namespaces,
        controllers::namespace,
    );
    tokio::select! {
        () = deployments => {}
        () = stateful_sets => {}
        () = daemon_sets => {}
        () = cron_jobs => {}
        () = namespaces => {}
    }
}

/// Follows the Services and which pods belong to them.
async fn follow_services(watches: &Watches, census: &Shared, namespaces: Namespaces) {
    let slices = fill(
        census,
        watches.all::<SeenSlice>("EndpointSlice", PAGE_OF_SLICES),
        |census| &mut census.services.slices,
        services::slice(namespaces),
    );
    let names = fill(
        census,
        watches.metadata::<Service>("Service"),
        |census| &mut census.services.names,
        services::service(),
    );
    tokio::select! {
        () = slices => {}
        () = names => {}
    }
}

/// Makes the watches, each of all objects of a kind.
struct Watches {
    client: Client,
    census: Shared,
    metrics: Arc<Metrics>,
}

impl Watches {
    /// What goes wrong is said and counted, and then waited out.
    fn all<K>(&self, kind: &'static str, page: u32) -> impl Stream<Item = Event<K>> + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let config = watcher::Config {
            page_size: Some(page),
            ..watcher::Config::default()
        };
        let api = Api::all(self.client.clone());
        let delays = Delays::up_to(LONGEST);
        let census = Arc::clone(&self.census);
        events(api, config, kind, delays, Arc::clone(&self.metrics)).filter_map(move |event| {
            match &event {
                Err(_) => lock(&census).behind.fell(kind),
                // A list says nothing before it is complete.
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(_) => lock(&census).behind.caught_up(kind),
            }
            future::ready(event.ok())
        })
    }

    /// The API server is asked for nothing but the metadata.
    fn metadata<K>(
        &self,
        kind: &'static str,
    ) -> impl Stream<Item = Event<PartialObjectMeta<K>>> + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.all(kind, PAGE)
    }
}

fn owner<K>(owner: &PartialObjectMeta<K>) -> Option<(Uid, Option<Object>)> {
    owner.made_by()
}

/// Puts what a watch brings where it belongs. `read` gives an object's key, and what is kept of it if
/// anything is.
async fn fill<O, K, V>(
    census: &Shared,
    events: impl Stream<Item = Event<O>>,
    of: impl Fn(&mut Census) -> &mut Listed<K, V>,
    mut read: impl FnMut(&O) -> Option<(K, Option<V>)>,
) where
    K: Eq + Hash,
    V: PartialEq,
{
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let mut census = lock(census);
        let listed = of(&mut census);
        match event {
            Event::Init => listed.begin(),
            Event::InitApply(object) => {
                if let Some((key, Some(value))) = read(&object) {
                    listed.listed(key, value);
                }
            }
            Event::InitDone => listed.complete(),
            Event::Apply(object) => match read(&object) {
                Some((key, Some(value))) => listed.put(key, value),
                Some((key, None)) => listed.remove(&key),
                None => {}
            },
            Event::Delete(object) => {
                if let Some((key, _)) = read(&object) {
                    listed.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use axum::{
        body::Body,
        http::{Request, Response, header::ACCEPT},
    };
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;
    use crate::census::{Images, NamespaceMark};

    fn pod(uid: u8, node: Option<&str>) -> SeenPod {
        let mut pod = json!({
            "metadata": {
                "uid": Uid::from_bytes([uid; 16]),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d",
                    "uid": Uid::from_bytes([9; 16]), "controller": true}],
            },
            "spec": {},
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = Value::from(node);
        }
        serde_json::from_value(pod).unwrap()
    }

    #[tokio::test]
    async fn pods_come_and_go_and_are_listed_anew() {
        let census = Shared::default();
        let mut names = Words::default();
        let mut play = async |events: Vec<Event<SeenPod>>| {
            let read = |pod: &SeenPod| {
                let counts = pod.counts().map(|(node, maker, gone_by)| Pod {
                    namespace: NamespaceMark::default(),
                    node: names.shared(node),
                    maker,
                    gone_by: gone_by.map(Box::new),
                    images: Images::default(),
                });
                Some((pod.uid()?, counts))
            };
            fill(
                &census,
                stream::iter(events),
                |census| &mut census.pods,
                read,
            )
            .await;
            let census = lock(&census);
            let mut nodes: Vec<String> = census
                .pods
                .iter()
                .map(|(_, pod)| pod.node.to_string())
                .collect();
            nodes.sort();
            nodes
        };
        let first = vec![
            Event::Init,
            Event::InitApply(pod(1, Some("a"))),
            Event::InitApply(pod(2, None)),
            Event::InitDone,
        ];
        assert_eq!(play(first).await, ["a"]);
        assert_eq!(
            play(vec![Event::Apply(pod(2, Some("b")))]).await,
            ["a", "b"]
        );
        assert_eq!(play(vec![Event::Delete(pod(1, Some("a")))]).await, ["b"]);
        assert_eq!(
            play(vec![Event::Init, Event::InitApply(pod(3, Some("c")))]).await,
            ["b"]
        );
        assert_eq!(play(vec![Event::InitDone]).await, ["c"]);
    }

    /// An API server in which there is nothing. It notes what is listed, and whether as metadata alone.
    fn empty(asked: Arc<Mutex<BTreeMap<String, bool>>>) -> Client {
        let server = tower::service_fn(move |request: Request<kube::client::Body>| {
            let asked = Arc::clone(&asked);
            async move {
                if request
                    .uri()
                    .query()
                    .is_some_and(|query| query.contains("watch="))
                {
                    std::future::pending::<()>().await;
                }
                let accepted = request.headers().get(ACCEPT);
                let accepted = accepted.and_then(|value| value.to_str().ok());
                let is_metadata =
                    accepted.is_some_and(|kind| kind.contains("as=PartialObjectMetadataList"));
                let path = request.uri().path().to_owned();
                asked.lock().unwrap().insert(path, is_metadata);
                let list = json!({"kind": "List", "apiVersion": "v1", "items": [],
                    "metadata": {"resourceVersion": "1"}});
                Ok::<_, Infallible>(Response::new(Body::from(list.to_string())))
            }
        });
        Client::new(server, "default")
    }

    #[tokio::test]
    async fn of_all_but_pods_and_slices_the_metadata_is_asked_for_and_it_is_soon_known() {
        let census = Shared::default();
        let asked = Arc::default();
        let client = empty(Arc::clone(&asked));
        let following = follow(client, Arc::clone(&census), Arc::default());
        let known = async {
            loop {
                {
                    let census = lock(&census);
                    let names = census.controllers.is_filled();
                    if census.is_filled() && names && census.services.is_filled() {
                        return;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        let both = async {
            tokio::select! {
                () = following => panic!("it goes on"),
                () = known => {}
            }
        };
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, both).await.unwrap();
        let wanted = [
            ("/api/v1/namespaces", true),
            ("/api/v1/nodes", true),
            ("/api/v1/pods", false),
            ("/api/v1/services", true),
            ("/apis/apps/v1/daemonsets", true),
            ("/apis/apps/v1/deployments", true),
            ("/apis/apps/v1/replicasets", true),
            ("/apis/apps/v1/statefulsets", true),
            ("/apis/batch/v1/cronjobs", true),
            ("/apis/batch/v1/jobs", true),
            ("/apis/discovery.k8s.io/v1/endpointslices", false),
        ];
        let wanted = wanted.map(|(path, is_metadata)| (path.to_owned(), is_metadata));
        assert_eq!(*asked.lock().unwrap(), BTreeMap::from(wanted));
        let holdings = lock(&census).holdings(jiff::Timestamp::now());
        assert!(holdings.without_pods.unwrap().objects().is_empty());
        assert_eq!(holdings.memberships.unwrap().services(), 0);
    }
}
