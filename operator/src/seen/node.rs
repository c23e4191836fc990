//! A node: its labels and taints, and whether it is Ready.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::Deserialize;

/// A node.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SeenNode {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    last_transition_time: Option<Time>,
}

impl SeenNode {
    /// Takes out what nobody reads.
    pub(crate) fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
        self.metadata.owner_references = None;
        self.status
            .conditions
            .retain(|condition| condition.type_ == "Ready");
    }

    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        &self.spec.taints
    }

    /// Whether Kubernetes calls it Ready, and since when that is so. A node that has not said yet is not.
    pub(crate) fn is_up(&self) -> (bool, Timestamp) {
        let made = self.metadata.creation_timestamp.as_ref();
        let conditions = &self.status.conditions;
        let ready = conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let since = ready
            .and_then(|ready| ready.last_transition_time.as_ref())
            .or(made)
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        (ready.is_some_and(|ready| ready.status == "True"), since)
    }

    /// Differs where something differs that rollouts depend on: a node's heartbeats do not.
    pub(crate) fn gist(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.placement_gist(), self.is_up()).hash(&mut hasher);
        hasher.finish()
    }

    /// Differs where other plugins may belong on it.
    pub(crate) fn placement_gist(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.labels().hash(&mut hasher);
        for Taint {
            key, value, effect, ..
        } in self.taints()
        {
            (key, value, effect).hash(&mut hasher);
        }
        hasher.finish()
    }
}

scope_process::of_kind!(SeenNode: Node);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, heartbeat: &str, labels: Value) -> SeenNode {
        let mut node: SeenNode = serde_json::from_value(json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {"name": "n1", "labels": labels, "annotations": {"big": "x"},
                "creationTimestamp": "2030-01-01T00:00:00Z"},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {
                "images": [{"names": ["x"], "sizeBytes": 1}],
                "conditions": [
                    {"type": "DiskPressure", "status": "False"},
                    {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat,
                        "lastTransitionTime": "2030-01-01T00:01:00Z"},
                ],
            },
        }))
        .unwrap();
        node.prune();
        node
    }

    #[test]
    fn it_knows_what_rollouts_ask() {
        let seen = node("True", "2030-01-01T00:05:00Z", json!({"pool": "a"}));
        assert_eq!(seen.name(), "n1");
        assert_eq!(
            seen.is_up(),
            (true, "2030-01-01T00:01:00Z".parse().unwrap())
        );
        assert_eq!(seen.taints().len(), 1);
        assert!(!node("Unknown", "2030-01-01T00:05:00Z", json!({})).is_up().0);
        let unheard: SeenNode = serde_json::from_value(json!({"metadata": {
            "name": "n2", "creationTimestamp": "2030-01-01T00:00:00Z"}}))
        .unwrap();
        assert_eq!(
            unheard.is_up(),
            (false, "2030-01-01T00:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn a_heartbeat_is_no_change() {
        let at = |heartbeat| node("True", heartbeat, json!({"pool": "a"})).gist();
        assert_eq!(at("2030-01-01T00:05:00Z"), at("2030-01-01T00:10:00Z"));
        let other = node("True", "2030-01-01T00:05:00Z", json!({"pool": "b"}));
        assert_ne!(at("2030-01-01T00:05:00Z"), other.gist());
        let down = node("False", "2030-01-01T00:05:00Z", json!({"pool": "a"}));
        assert_ne!(at("2030-01-01T00:05:00Z"), down.gist());
    }
}
