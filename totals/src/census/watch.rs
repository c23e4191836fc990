//! Filling the census from watches.

use std::{
    collections::HashSet,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::{apps::v1::ReplicaSet, batch::v1::Job, core::v1::Node};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event},
};
use scope_process::watches::{Delays, events};
use scope_totals_wire::{Object, Uid};
use serde::de::DeserializeOwned;

use super::{Census, Listed, Pod, SeenOwner, SeenPod};
use crate::metrics::Metrics;

/// A page is in memory as text and decoded at once, and pods are large.
const PAGE: u32 = 250;
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
    // A node's name is in each of its pods and in each place.
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let pods = Api::<SeenPod>::all(client.clone());
    let pods = all(pods, "Pod", Arc::clone(&metrics));
    let pods = fill(
        &census,
        pods,
        |census| &mut census.pods,
        move |pod: &SeenPod| {
            let uid = pod.uid()?;
            let counts = pod.counts().map(|(node, maker, gone_by)| Pod {
                node: shared(&mut names, node),
                maker,
                gone_by,
            });
            Some((uid, counts))
        },
    );
    let sets = Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone());
    let sets = all(sets, "ReplicaSet", Arc::clone(&metrics));
    let sets = fill(&census, sets, |census| &mut census.replica_sets, owner);
    let jobs = Api::<PartialObjectMeta<Job>>::all(client.clone());
    let jobs = all(jobs, "Job", Arc::clone(&metrics));
    let jobs = fill(&census, jobs, |census| &mut census.jobs, owner);
    let nodes = Api::<PartialObjectMeta<Node>>::all(client);
    let nodes = all(nodes, "Node", metrics);
    let nodes = fill(
        &census,
        nodes,
        |census| &mut census.nodes,
        |node| Some((Arc::from(node.name_any()), Some(()))),
    );
    tokio::select! {
        () = pods => {}
        () = sets => {}
        () = jobs => {}
        () = nodes => {}
    }
}

/// All events of one kind. What goes wrong is said and counted, and then waited out.
fn all<K>(
    api: Api<K>,
    kind: &'static str,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config {
        page_size: Some(PAGE),
        ..watcher::Config::default()
    };
    events(api, config, kind, Delays::up_to(LONGEST), metrics)
        .filter_map(|event| future::ready(event.ok()))
}

fn owner<K>(owner: &PartialObjectMeta<K>) -> Option<(Uid, Option<Object>)> {
    owner.made_by()
}

/// Names that no pod has any more are dropped when there are many.
fn shared(names: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    const MANY: usize = 20_000;
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    if names.len() >= MANY {
        names.retain(|name| Arc::strong_count(name) > 1);
    }
    let name = Arc::from(name);
    names.insert(Arc::clone(&name));
    name
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
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;

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
        let mut names = HashSet::new();
        let mut play = async |events: Vec<Event<SeenPod>>| {
            let read = |pod: &SeenPod| {
                let counts = pod.counts().map(|(node, maker, gone_by)| Pod {
                    node: shared(&mut names, node),
                    maker,
                    gone_by,
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

    #[test]
    fn a_name_is_kept_once() {
        let mut names = HashSet::new();
        let (one, two) = (shared(&mut names, "a"), shared(&mut names, "a"));
        assert!(Arc::ptr_eq(&one, &two));
    }
}
