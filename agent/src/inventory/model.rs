//! What Kubernetes says runs on this node.

use std::collections::BTreeMap;

use scope_protocol::{NodeId, Timestamp, Topology};

/// A snapshot of the pods of this node. Replaced as a whole, never changed in place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Pods by [`Pod::id`].
    pub pods: BTreeMap<String, Pod>,
    /// UID of each namespace that a pod of this node lives in, by name. A namespace whose UID is
    /// not known yet is absent.
    pub namespaces: BTreeMap<String, String>,
    /// When the API server last told something; `None` before the first list and in standalone
    /// mode.
    pub confirmed: Option<Timestamp>,
}

/// A pod that is bound to this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// The name of the pod's node in Scope and of its cgroup: the annotation
    /// `kubernetes.io/config.hash` of a static pod, else the UID.
    pub id: String,
    /// Namespace name.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Whether it shares the node's network; such a pod has no network figures of its own.
    pub host_network: bool,
    /// Its addresses.
    pub ips: Vec<String>,
    /// Running, started containers (init and ephemeral ones included) by 64-hex container ID.
    pub containers: BTreeMap<String, Container>,
    /// Its controllers, nearest first: ReplicaSet then Deployment, or Job then CronJob. Shorter
    /// while a further owner is not resolved yet.
    pub owners: Vec<Owner>,
}

/// A container as the pod's status names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Name in the pod.
    pub name: String,
    /// Image as the pod asked for it.
    pub image: String,
    /// Image ID as the runtime reports it, without any `sha256:` or `repository@` in front; empty
    /// when not reported yet.
    pub image_id: String,
    /// The runtime's URL scheme in the container ID, such as `containerd`, `cri-o`, `docker`.
    pub runtime: String,
    /// When it started.
    pub started: Option<Timestamp>,
}

/// A controller of a pod, at whatever distance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Which kind; always one with UID-named node IDs.
    pub topology: Topology,
    /// Object UID.
    pub uid: String,
    /// Object name.
    pub name: String,
}

impl Pod {
    /// Its node in Scope.
    pub fn node_id(&self) -> NodeId {
        NodeId::pod(&self.id)
    }
}
