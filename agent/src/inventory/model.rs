//! What Kubernetes says runs on this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scope_protocol::{NodeId, Timestamp, Topology};

use super::node_object::NodeObject;
use super::volume::{MountedVolume, Volume};

/// A snapshot of the pods of this node. Replaced as a whole, never changed in place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Pods by [`Pod::id`].
    pub pods: BTreeMap<String, Pod>,
    /// UID of each namespace that a pod of this node lives in, by name. A namespace whose UID is
    /// not known yet is absent.
    pub namespaces: BTreeMap<String, String>,
    /// The Node object of this node, as it was seen last; `None` before it was.
    pub node: Option<Arc<NodeObject>>,
}

impl Inventory {
    /// The UID of this node's Node object; `None` before that was seen.
    pub fn node_uid(&self) -> Option<&str> {
        let node = self.node.as_ref()?;
        Some(&*node.uid).filter(|uid| !uid.is_empty())
    }
}

/// A pod that is bound to this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// The name of the pod's node in Scope and of its cgroup: the UID, or the annotation
    /// `kubernetes.io/config.hash` of a static pod. Where several pods claim one, the pod whose UID
    /// it is has it.
    pub id: String,
    /// The UID that the API server gave it.
    pub uid: String,
    /// Namespace name.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Whether it is the API server's image of a static pod: the kubelet runs that from a file or
    /// URL, and to change this object changes nothing on the node.
    pub mirror: bool,
    /// How long its containers get between SIGTERM and SIGKILL
    /// (`spec.terminationGracePeriodSeconds`); `None` where the API server did not say.
    pub grace: Option<Duration>,
    /// Whether it shares the node's network; such a pod has no network figures of its own.
    pub host_network: bool,
    /// Its addresses.
    pub ips: Vec<String>,
    /// Running, started containers (init and ephemeral ones included) by 64-hex container ID.
    pub containers: BTreeMap<String, Container>,
    /// Containers that do not run, by name in the pod: not started yet, waiting to be started
    /// again, or ended.
    pub stopped: BTreeMap<String, StoppedContainer>,
    /// Its volumes, in the order of its spec.
    pub volumes: Vec<Volume>,
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
    /// In which of the pod's lists it stands.
    pub kind: ContainerKind,
    /// Whether it has a liveness probe: the kubelet kills it if it does not answer for a while.
    pub liveness: bool,
    /// Whether it has a startup probe that has not succeeded yet (`started` is not true): until then the
    /// kubelet asks by that one, and kills the container as it would by the other.
    pub starting: bool,
    /// Whether the kubelet does not start it again, however it ends: its own restart policy or else the
    /// pod's is `Never`, or it is one for debugging.
    pub runs_once: bool,
    /// How often the kubelet started it anew (`restartCount`).
    pub restarts: u32,
    /// How its last run before this one ended.
    pub last_termination: Option<Termination>,
    /// Where it has which of the pod's volumes.
    pub volumes: Vec<MountedVolume>,
}

/// A container of a pod that does not run at present.
#[derive(Debug, Clone, PartialEq)]
pub struct StoppedContainer {
    /// In which of the pod's lists it stands.
    pub kind: ContainerKind,
    /// Why it waits, such as `CrashLoopBackOff` or `ImagePullBackOff`; empty when it has ended or
    /// no reason is given.
    pub waiting: String,
    /// How often the kubelet started it anew (`restartCount`).
    pub restarts: u32,
    /// How its last run ended; `None` if it never ran.
    pub last_termination: Option<Termination>,
}

/// In which of a pod's lists a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerKind {
    /// An ordinary one.
    App,
    /// It runs before the ordinary ones and ends.
    Init,
    /// A restartable init container (`restartPolicy: Always`): it starts before the ordinary ones
    /// and runs beside them.
    Sidecar,
    /// One that was added for debugging.
    Ephemeral,
}

/// How a run of a container ended, as the pod's status tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Termination {
    /// The 64-hex ID of the container that ended, which makes one end different from the next;
    /// `None` where the status has none.
    pub container: Option<String>,
    /// The reason, such as `Completed`, `Error`, `OOMKilled`; cut at 64 bytes.
    pub reason: String,
    /// Exit code of its first process, or 128 and the signal.
    pub exit_code: i32,
    /// When it ended, by the node's clock.
    pub finished: Option<Timestamp>,
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
