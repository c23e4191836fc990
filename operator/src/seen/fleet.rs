//! From what was seen to what the planner asks.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use scope_crds::ScopePlugin;

use super::{SeenNode, SeenPod, failure};
use crate::{
    node_match,
    rollout::{Fleet, Node, Pod, Policy},
};

/// The nodes that `plugin` belongs on, each with its pod. `pods` are those of the plugin's DaemonSet;
/// those in `deleted` we have deleted ourselves, whether or not that was seen yet.
pub(crate) fn fleet<'a>(
    plugin: &ScopePlugin,
    policy: &Policy,
    nodes: &[Arc<SeenNode>],
    pods: impl Iterator<Item = &'a SeenPod>,
    deleted: &HashSet<String>,
) -> Fleet {
    let mut on: BTreeMap<&str, &SeenPod> = BTreeMap::new();
    for pod in pods {
        if pod.is_going() || deleted.contains(pod.uid()) {
            continue;
        }
        let Some(node) = pod.node() else {
            continue;
        };
        // There is one but for moments; the newest is the one that stays.
        let newest = on.entry(node).or_insert(pod);
        if pod.created() > newest.created() {
            *newest = pod;
        }
    }
    let canary_labels = policy.canary_labels.as_ref();
    let nodes = nodes
        .iter()
        .filter(|node| node_match::runs_on(&plugin.spec, node.labels(), node.taints()))
        .map(|node| {
            let (up, since) = node.is_up();
            let has = |(key, value): (&String, &String)| node.labels().get(key) == Some(value);
            let pod = on.get(node.name());
            let seen = Node {
                up,
                since,
                canary: canary_labels.is_some_and(|labels| labels.iter().all(has)),
                pod: pod.map(|pod| of(pod)),
                bare_since: None,
            };
            (node.name().to_owned(), seen)
        })
        .collect();
    Fleet { nodes }
}

/// How many pods of the plugin are on nodes that it does not belong on.
pub(crate) fn strays<'a>(fleet: &Fleet, pods: impl Iterator<Item = &'a SeenPod>) -> usize {
    pods.filter(|pod| !pod.is_going())
        .filter(|pod| {
            pod.node()
                .is_none_or(|node| !fleet.nodes.contains_key(node))
        })
        .count()
}

fn of(pod: &SeenPod) -> Pod {
    use kube::ResourceExt;

    let ready_since = pod.ready_since();
    Pod {
        name: pod.name_any(),
        uid: pod.uid().to_owned(),
        resource_version: pod.resource_version().unwrap_or_default(),
        revision: pod.revision().map(str::to_owned),
        created: pod.created(),
        ready_since,
        restarts: pod.restarts(),
        failure: failure::of(pod),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn node(name: &str, labels: Value) -> Arc<SeenNode> {
        let mut all = json!({"kubernetes.io/os": "linux"});
        all.as_object_mut()
            .unwrap()
            .extend(labels.as_object().unwrap().clone());
        let node = json!({"metadata": {"name": name, "labels": all},
            "status": {"conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2030-01-01T00:00:00Z"}]}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(uid: &str, node: &str, minute: u8, more: Value) -> SeenPod {
        let mut pod = json!({
            "metadata": {"name": format!("pod-{uid}"), "uid": uid, "resourceVersion": "7",
                "labels": {"scopeplugins.dev/revision": "r1"},
                "creationTimestamp": format!("2030-01-01T00:{minute:02}:00Z")},
            "spec": {"nodeName": node},
            "status": {"conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2030-01-01T01:00:00Z"}],
                "containerStatuses": [{"restartCount": 3}]},
        });
        pod["metadata"]
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn each_node_has_the_pod_that_stays() {
        let plugin = testing::plugin(
            "a",
            json!({"agent": {}, "placement": {"nodeSelector": {"pool": "x"}},
            "rollout": {"canary": {"nodeSelector": {"first": "yes"}}}}),
        );
        let policy = Policy::from(&plugin.spec.rollout);
        let nodes = [
            node("n1", json!({"pool": "x", "first": "yes"})),
            node("n2", json!({"pool": "x"})),
            node("n3", json!({"pool": "y"})),
            node("n4", json!({"pool": "x"})),
        ];
        let pods = [
            pod(
                "going",
                "n1",
                9,
                json!({"deletionTimestamp": "2030-01-01T00:10:00Z"}),
            ),
            pod("old", "n1", 1, json!({})),
            pod("new", "n1", 2, json!({})),
            pod("deleted", "n2", 1, json!({})),
            pod("elsewhere", "n3", 1, json!({})),
        ];
        let deleted = HashSet::from(["deleted".to_owned()]);
        let fleet = fleet(&plugin, &policy, &nodes, pods.iter(), &deleted);
        let on: Vec<_> = fleet
            .nodes
            .iter()
            .map(|(name, node)| {
                (
                    name.as_str(),
                    node.canary,
                    node.pod.as_ref().map(|p| p.uid.as_str()),
                )
            })
            .collect();
        assert_eq!(
            on,
            [
                ("n1", true, Some("new")),
                ("n2", false, None),
                ("n4", false, None)
            ]
        );
        let pod = fleet.nodes["n1"].pod.as_ref().unwrap();
        assert_eq!((pod.restarts, pod.revision.as_deref()), (3, Some("r1")));
        assert_eq!(strays(&fleet, pods.iter()), 1);
    }
}
