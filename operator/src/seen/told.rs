//! A pod as the API server tells it, as far as it is read. It lives only while an answer is decoded.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Affinity,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    pod::{self, Ended, Holds, SeenPod, Why},
    words::shared,
};
use crate::names;

#[derive(Deserialize)]
pub(super) struct Told {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    affinity: Option<Affinity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    restart_count: i32,
    #[serde(default)]
    state: State,
    #[serde(default)]
    last_state: State,
}

#[derive(Default, Deserialize)]
struct State {
    running: Option<IgnoredAny>,
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Deserialize)]
struct Waiting {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    exit_code: i32,
}

impl From<Told> for SeenPod {
    fn from(told: Told) -> Self {
        let Told {
            metadata,
            spec,
            status,
        } = told;
        let label = |key: &str| metadata.labels.get(key).map(|word| shared(word));
        let (plugin, revision) = (label(names::LABEL_INSTANCE), label(names::LABEL_REVISION));
        // The API server lets no object have two controllers.
        let mut owners = metadata.owner_references.into_iter();
        let controller = owners.find(|owner| owner.controller == Some(true));
        let node = spec.node_name.or_else(|| spec.affinity.and_then(meant_for));
        let created = metadata.creation_timestamp;
        SeenPod {
            created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            plugin,
            revision,
            controller: controller.map(|owner| shared(&owner.uid)),
            node: node.map(|node| shared(&node)),
            status: status.into(),
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                deletion_timestamp: metadata.deletion_timestamp,
                ..ObjectMeta::default()
            },
        }
    }
}

/// The DaemonSet controller names the node by a field term, and the scheduler binds the pod to it.
fn meant_for(affinity: Affinity) -> Option<String> {
    let required = affinity
        .node_affinity?
        .required_during_scheduling_ignored_during_execution?;
    let mut fields = required
        .node_selector_terms
        .into_iter()
        .flat_map(|term| term.match_fields.unwrap_or_default());
    let name = fields.find(|field| field.key == "metadata.name")?;
    name.values?.into_iter().next()
}

fn why(reason: Option<String>, message: Option<String>) -> Option<Box<Why>> {
    let reason = reason.filter(|reason| !reason.is_empty())?;
    Some(Box::new(Why {
        reason: reason.into_boxed_str(),
        message: message.unwrap_or_default().into_boxed_str(),
    }))
}

impl From<Status> for pod::Status {
    fn from(status: Status) -> Self {
        let mut conditions = status.conditions;
        let mut condition = |type_: &str| {
            let at = conditions.iter().position(|it| it.type_ == type_)?;
            Some(conditions.swap_remove(at).into())
        };
        Self {
            ready: condition("Ready"),
            scheduled: condition("PodScheduled"),
            runs: status.phase.as_deref() == Some("Running"),
            address: status.pod_ip.and_then(|address| address.parse().ok()),
            why: why(status.reason, status.message),
            containers: status
                .container_statuses
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }
}

impl From<Condition> for pod::Condition {
    fn from(condition: Condition) -> Self {
        Self {
            holds: match condition.status.as_str() {
                "True" => Holds::True,
                "False" => Holds::False,
                _ => Holds::Unknown,
            },
            since: condition.last_transition_time.map(|time| time.0),
            why: why(condition.reason, condition.message),
        }
    }
}

impl From<Container> for pod::Container {
    fn from(container: Container) -> Self {
        let Container {
            state, last_state, ..
        } = container;
        let ended = state.terminated.or(last_state.terminated);
        Self {
            restarts: container.restart_count,
            runs: state.running.is_some(),
            waits: state
                .waiting
                .and_then(|waiting| why(Some(waiting.reason), Some(waiting.message))),
            ended: ended.map(|ended| {
                Box::new(Ended {
                    why: Why {
                        reason: ended.reason.into_boxed_str(),
                        message: ended.message.into_boxed_str(),
                    },
                    exit_code: ended.exit_code,
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_is_kept_and_nothing_else() {
        let pod: SeenPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7",
                "labels": {"app.kubernetes.io/instance": "web", "scopeplugins.dev/revision": "r1", "x": "y"},
                "annotations": {"a": "b"},
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
                "creationTimestamp": "2030-01-01T00:00:00Z",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "other"},
                    {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "ds", "controller": true}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:09Z"}],
                "containerStatuses": [{"name": "c", "restartCount": 2, "state": {"running": {}},
                    "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}]},
        }))
        .unwrap();
        assert_eq!(
            [pod.plugin(), pod.revision(), pod.controller(), pod.node()],
            [Some("web"), Some("r1"), Some("ds"), Some("n1")]
        );
        assert_eq!((pod.uid(), pod.restarts()), ("u", 2));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(pod.created(), at("2030-01-01T00:00:00Z"));
        assert_eq!(pod.ready_since(), Some(at("2030-01-01T00:00:09Z")));
        let ended = pod.status.containers[0].ended.as_ref().unwrap();
        assert_eq!((ended.exit_code, &*ended.why.reason), (3, "Error"));
        let metadata = &pod.metadata;
        assert_eq!(metadata.resource_version.as_deref(), Some("7"));
        assert!(metadata.labels.is_none() && metadata.managed_fields.is_none());
        assert!(pod.status.runs && !pod.is_going());
    }

    #[test]
    fn a_pod_that_is_not_bound_is_on_the_node_that_it_is_meant_for() {
        let pod: SeenPod = serde_json::from_value(json!({
            "metadata": {"name": "a"},
            "spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": ["n7"]}]}]}}}},
        }))
        .unwrap();
        assert_eq!(pod.node(), Some("n7"));
    }
}
