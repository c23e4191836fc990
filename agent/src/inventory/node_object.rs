//! What Kubernetes says of this node itself: its Node object, looked at every few minutes, and when a
//! click has changed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{GetParams, Request};
use kube::{Client, Resource as _};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::InventoryWatch;
use super::chance::random;

/// The client itself would wait for ever.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Of labels, taints, conditions and resources, so many of each are kept: a node has some twenty.
const MOST: usize = 64;
/// Bytes of a text: as many as a label's name may have.
const LONGEST: usize = 317;

/// What is kept of a Node object. A text that is not given is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeObject {
    /// Its UID, which is what a click on the node is about.
    pub uid: String,
    /// Version of the kubelet, such as `v1.31.2`.
    pub kubelet: String,
    /// Version of the kernel.
    pub kernel: String,
    /// The operating system as it calls itself.
    pub system: String,
    /// Name and version of the container runtime.
    pub runtime: String,
    /// Architecture, such as `amd64`.
    pub architecture: String,
    /// Roles, from labels such as `node-role.kubernetes.io/control-plane`.
    pub roles: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints as `key=value:effect`.
    pub taints: Vec<String>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// `True`, `False` or `Unknown` by condition, with the reason where that is not as it should
    /// be.
    pub conditions: BTreeMap<String, String>,
    /// What pods may use, by resource, as Kubernetes writes quantities.
    pub allocatable: BTreeMap<String, String>,
}

impl NodeObject {
    /// From the API server's JSON; what is not needed is skipped while it is read.
    fn decode(node: WireNode) -> NodeObject {
        const ROLE: &str = "node-role.kubernetes.io/";
        let WireNode {
            metadata,
            spec,
            status,
        } = node;
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let info = status.node_info.unwrap_or_default();
        let uid = short(metadata.uid.unwrap_or_default());
        let labels = metadata.labels.unwrap_or_default();
        let roles = labels.keys().filter_map(|label| label.strip_prefix(ROLE));
        let roles = roles.take(MOST).map(str::to_owned).collect();
        let conditions = status.conditions.into_iter().flatten().map(|condition| {
            let WireCondition {
                kind,
                status,
                reason,
            } = condition;
            let healthy = if kind == "Ready" { "True" } else { "False" };
            let text = match reason.filter(|reason| status != healthy && !reason.is_empty()) {
                Some(reason) => format!("{status} ({reason})"),
                None => status,
            };
            (kind, text)
        });
        NodeObject {
            uid,
            kubelet: short(info.kubelet_version),
            kernel: short(info.kernel_version),
            system: short(info.os_image),
            runtime: short(info.container_runtime_version),
            architecture: short(info.architecture),
            roles,
            taints: spec
                .taints
                .into_iter()
                .flatten()
                .take(MOST)
                .map(|taint| {
                    let value = taint.value.filter(|value| !value.is_empty());
                    let value = value.map(|value| format!("={value}")).unwrap_or_default();
                    short(format!("{}{value}:{}", taint.key, taint.effect))
                })
                .collect(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            conditions: few(conditions),
            allocatable: few(status.allocatable.into_iter().flatten()),
            labels: few(labels),
        }
    }
}

fn few(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter().take(MOST);
    pairs
        .map(|(key, value)| (short(key), short(value)))
        .collect()
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[derive(Debug, Default, Deserialize)]
struct WireNode {
    #[serde(default)]
    metadata: WireMetadata,
    spec: Option<WireSpec>,
    status: Option<WireStatus>,
}

#[derive(Debug, Default, Deserialize)]
struct WireMetadata {
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct WireSpec {
    taints: Option<Vec<WireTaint>>,
    unschedulable: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct WireTaint {
    key: String,
    value: Option<String>,
    effect: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStatus {
    conditions: Option<Vec<WireCondition>>,
    allocatable: Option<BTreeMap<String, String>>,
    node_info: Option<WireInfo>,
}

#[derive(Debug, Deserialize)]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireInfo {
    kubelet_version: String,
    kernel_version: String,
    os_image: String,
    container_runtime_version: String,
    architecture: String,
}

/// How the Node object is looked at.
#[derive(Debug, Clone)]
pub struct NodeLookSettings {
    /// The node's name.
    pub node: String,
    /// A random part of this passes before the first look. For fleets that start all at once.
    pub start_jitter: Duration,
    /// From one look to the next, give or take a tenth.
    pub every: Duration,
    /// The first pause after a look that failed; it doubles up to `every`.
    pub after_failure: Duration,
}

impl NodeLookSettings {
    /// The usual pauses: conditions change within minutes, the rest hardly ever.
    pub fn new(node: &str, start_jitter: Duration) -> Self {
        NodeLookSettings {
            node: node.to_owned(),
            start_jitter,
            every: Duration::from_secs(300),
            after_failure: Duration::from_secs(20),
        }
    }
}

/// Keeps the inventory's Node object until `stop`. One that cannot be read, or is gone, is left as
/// it was seen last.
pub async fn look_at_node(
    client: Client,
    settings: NodeLookSettings,
    shared: InventoryWatch,
    stop: CancellationToken,
) {
    let mut pause = settings.start_jitter.mul_f64(random());
    let mut failed: Option<Duration> = None;
    loop {
        let age = tokio::select! {
            () = tokio::time::sleep(pause) => GetParams::any(),
            // A cache may not have heard of the change yet.
            () = shared.node_changed.notified() => GetParams::default(),
            () = stop.cancelled() => return,
        };
        let look = tokio::time::timeout(TIMEOUT, look(&client, &settings.node, &age));
        let result = tokio::select! {
            result = look => result.unwrap_or(Err(LookError::TimedOut)),
            () = stop.cancelled() => return,
        };
        pause = settings.every.mul_f64(0.9 + 0.2 * random());
        match result {
            Ok(object) => {
                failed = None;
                let object = Arc::new(object);
                shared.inventory.rcu(|inventory| {
                    let mut next = (**inventory).clone();
                    next.node = Some(object.clone());
                    next
                });
            }
            Err(error) => {
                if failed.is_none() {
                    tracing::warn!(
                        node = settings.node,
                        error = %error,
                        "cannot look at the Node object; Scope's host has no table of it, or the \
                         last one. It is tried again"
                    );
                }
                let again = failed.map_or(settings.after_failure, |last| last * 2);
                let again = again.min(settings.every);
                failed = Some(again);
                pause = again.mul_f64(0.9 + 0.2 * random());
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("the node's name cannot be asked for: {0}")]
    Name(kube::core::request::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// Asks for an object of any age, which costs the API server's cache next to nothing, or for the newest.
async fn look(client: &Client, node: &str, age: &GetParams) -> Result<NodeObject, LookError> {
    let request = Request::new(Node::url_path(&(), None))
        .get(node, age)
        .map_err(LookError::Name)?;
    let node: WireNode = client.request(request).await?;
    Ok(NodeObject::decode(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(json: serde_json::Value) -> NodeObject {
        NodeObject::decode(serde_json::from_value(json).expect("decodes"))
    }

    #[test]
    fn keeps_what_a_person_asks_of_a_node() {
        let node = decoded(serde_json::json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "uid": "0a1b-2c", "labels": {
                "kubernetes.io/os": "linux", "node-role.kubernetes.io/control-plane": "",
                "node-role.kubernetes.io/etcd": ""}},
            "spec": {"unschedulable": true, "podCIDR": "10.0.0.0/24", "taints": [
                {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule",
                 "timeAdded": "2026-01-01T00:00:00Z"}]},
            "status": {
                "allocatable": {"cpu": "3920m", "memory": "7Gi", "pods": "110"},
                "capacity": {"cpu": "4"},
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "KubeletReady"},
                    {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
                    {"type": "MemoryPressure", "status": "Unknown", "reason": ""}],
                "images": [{"names": ["x"], "sizeBytes": 1}],
                "nodeInfo": {"kubeletVersion": "v1.31.2", "kernelVersion": "6.1.0",
                    "osImage": "Debian", "containerRuntimeVersion": "containerd://2.0.0",
                    "architecture": "amd64", "machineID": "m", "bootID": "b", "systemUUID": "s",
                    "operatingSystem": "linux", "kubeProxyVersion": ""}}}));
        assert_eq!(node.uid, "0a1b-2c");
        assert_eq!(
            (&*node.kubelet, &*node.kernel, &*node.system),
            ("v1.31.2", "6.1.0", "Debian")
        );
        assert_eq!(
            (&*node.runtime, &*node.architecture),
            ("containerd://2.0.0", "amd64")
        );
        assert_eq!(node.roles, ["control-plane", "etcd"]);
        assert_eq!(node.labels.len(), 3);
        assert_eq!(
            node.taints,
            [
                "dedicated=gpu:NoSchedule",
                "node.kubernetes.io/unschedulable:NoSchedule"
            ]
        );
        assert!(node.unschedulable);
        assert_eq!(node.conditions["Ready"], "True");
        assert_eq!(
            node.conditions["DiskPressure"],
            "True (KubeletHasDiskPressure)"
        );
        assert_eq!(node.conditions["MemoryPressure"], "Unknown");
        assert_eq!(node.allocatable["pods"], "110");
    }

    #[test]
    fn sparse_nodes_decode() {
        for json in [
            serde_json::json!({}),
            serde_json::json!({"metadata": {"labels": null}, "spec": null, "status": null}),
            serde_json::json!({"spec": {"taints": null}, "status": {"conditions": null,
                "allocatable": null, "nodeInfo": {}}}),
        ] {
            assert_eq!(decoded(json), NodeObject::default());
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let labels: BTreeMap<String, String> = (0..1000)
            .map(|n| (format!("label-{n}"), "ä".repeat(1000)))
            .collect();
        let node = decoded(serde_json::json!({"metadata": {"labels": labels}}));
        assert_eq!(node.labels.len(), MOST);
        assert!(node.labels.values().all(|value| value.len() == LONGEST - 1));
    }
}
