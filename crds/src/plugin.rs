//! `ScopePlugin`: what runs on every node, where, and how it is going.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CollectorOff, Control, FailingNode, HttpStatistics, Placement, Resources, Rollout,
    RolloutStatus, ScopeCounts, TrafficControl, schema,
};

/// A Scope plugin that the operator rolls out to the nodes of the cluster.
///
/// The object's name is the plugin's ID in Scope and the base name of its sockets. Whoever may
/// create a ScopePlugin runs code on every node, so there is no raw pod template in it: the operator
/// builds the pods from this narrow schema.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "scopeplugins.dev",
    version = "v1alpha1",
    kind = "ScopePlugin",
    plural = "scopeplugins",
    singular = "scopeplugin",
    shortname = "splug",
    category = "scope",
    status = "ScopePluginStatus",
    derive = "PartialEq",
    doc = "A Scope plugin that the operator rolls out to the nodes of the cluster. The object's name is the plugin's ID in Scope and the base name of its sockets. Whoever may create one runs code on every node.",
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.nodes.desired",
        description = "Nodes on which the plugin should run"
    ),
    printcolumn(
        name = "Updated",
        type_ = "integer",
        json_path = ".status.nodes.updated",
        description = "Nodes that run the newest version of its pod"
    ),
    printcolumn(
        name = "Ready Nodes",
        type_ = "integer",
        json_path = ".status.nodes.ready",
        description = "Nodes on which it answers by Scope's rules"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "True when everything asked for is done"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.rollout.phase",
        description = "What the rollout does"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "Why it is, or is not, ready",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        description = "The same as a sentence",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    validation = Rule::new("size(self.metadata.name) <= 32").message(
        "metadata.name is the plugin's ID and may have at most 32 characters"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]+(-[a-z0-9]+)*$')").message(
        "metadata.name is the plugin's ID: lower-case letters and digits with single dashes between them"
    ),
    validation = Rule::new("!self.metadata.name.endsWith('-controls')").message(
        "metadata.name may not end in -controls, which is the ID of a plugin's second socket"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ScopePluginSpec {
    /// The name that Scope shows for the plugin. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("!self.matches('\\\\p{Cc}')").message(
        "spec.label may not contain control characters"
    ))]
    pub label: Option<String>,

    /// The text that Scope shows when a person points at the plugin. Default: its version, its
    /// node and the kinds of node that carry data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("!self.matches('\\\\p{Cc}')").message(
        "spec.description may not contain control characters"
    ))]
    pub description: Option<String>,

    /// The bundled node agent: what it collects and what it offers. Required; `agent: {}` takes all
    /// defaults.
    pub agent: AgentSpec,

    /// On which nodes the plugin runs.
    #[serde(default)]
    pub placement: Placement,

    /// How a change reaches the nodes.
    #[serde(default)]
    pub rollout: Rollout,

    /// Keep the object, run nothing: the pods and their sockets are removed from all nodes.
    #[serde(default)]
    pub suspended: bool,
}

/// The bundled node agent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.controls) || !('ShapeTraffic' in self.controls) || 'TrafficControl' in self.collectors").message(
    "spec.agent.controls has ShapeTraffic, which needs the collector TrafficControl in spec.agent.collectors: its table shows what is set"
))]
pub struct AgentSpec {
    /// What the agent reports. `Resources`: CPU, memory, threads, processes and network of
    /// containers and pods, under the ids that Scope's own views expect. `IOWait`: how much of the
    /// last interval the node's CPUs were idle, and how much of it waiting for I/O; and how long
    /// containers and pods waited for it, where the kernel tells. `VolumeCount`: how many volumes
    /// containers and pods have, of which kinds, and how full those are that are file systems of
    /// their own; for that the kubelet's directory of pods is mounted. `HTTPStatistics`: requests and
    /// responses per second of HTTP/1 servers, counted in the kernel, see `httpStatistics`.
    /// `TrafficControl`: what is set on the networks of pods, as a table on their containers.
    #[serde(default = "default_collectors")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub collectors: Vec<Collector>,

    /// The actions that a person may click in Scope; none by default. Each must also be in the
    /// installation's list of allowed actions. With any of them the agent serves a second socket,
    /// `<name>-controls.sock`. `DeletePod`: delete exactly the pod that was clicked.
    /// `RestartContainer`: end a container's first process (SIGTERM, then SIGKILL after its pod's
    /// grace period). `FreezeContainer`: stop all processes of a container for at most an hour.
    /// `ThawContainer`: let them go on. `ShapeTraffic`: delay, drop or slow down what leaves a
    /// container's pod, see `trafficControl`; it needs the collector `TrafficControl`. These four are
    /// carried out by the agent of the container's node, and all others by the operator. `EvictPod`:
    /// delete a pod as far as disruption budgets allow it. `RestartRollout`: replace the pods of a
    /// Deployment, StatefulSet or DaemonSet one after the other. `ScaleUp` and `ScaleDown`: one replica
    /// more or less of a Deployment or StatefulSet. `PauseRollout` and `ResumeRollout`: of a Deployment.
    /// `SuspendCronJob` and `ResumeCronJob`: stop a CronJob from making Jobs, and let it go on.
    /// `TriggerCronJob`: make a Job of it now. `CordonNode` and `UncordonNode`: keep new pods off a node,
    /// and let them come again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub controls: Vec<Control>,

    /// How often the agent reads the node: 1s to 60s, in whole seconds.
    #[serde(default = "default_sample_interval")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([1-9]|[1-5][0-9]|60)s$')").message(
        "spec.agent.sampleInterval must be 1s to 60s, in whole seconds, for example 5s"
    ))]
    pub sample_interval: String,

    /// How HTTP is counted.
    #[serde(default)]
    pub http_statistics: HttpStatistics,

    /// How the traffic of pods may be shaped.
    #[serde(default)]
    pub traffic_control: TrafficControl,

    /// Whether to supply what Scope's probe fails to report where the container runtime is not
    /// Docker: containers, images and their links to processes.
    #[serde(default)]
    pub mend_scope: MendScope,

    /// Which name the node has for Scope's probe. It must be what the probe calls the host, or the
    /// figures hang on a host that nobody sees.
    #[serde(default)]
    pub host_name: HostName,

    /// Namespaces in which no action is carried out. The plugins' and the operator's own
    /// namespaces are always protected.
    #[serde(default = "default_protected_namespaces")]
    #[schemars(length(max = 64))]
    #[schemars(inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(n, n.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message(
        "spec.agent.protectedNamespaces must be names of namespaces: lower-case letters, digits and inner dashes"
    ))]
    pub protected_namespaces: Vec<String>,

    /// How many actions the operator carries out for this plugin per minute in the whole cluster,
    /// and each agent on its own node (thawing is not counted); further clicks are refused with
    /// words.
    #[serde(default = "default_max_actions_per_minute")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_actions_per_minute: i32,

    /// CPU and memory of the agent's container. When given it stands as it is: nothing of the
    /// default is mixed in, and `{}` asks for nothing.
    #[serde(default = "Resources::agent_default")]
    pub resources: Resources,
}

impl Default for AgentSpec {
    fn default() -> Self {
        Self {
            collectors: default_collectors(),
            controls: Vec::new(),
            sample_interval: default_sample_interval(),
            http_statistics: HttpStatistics::default(),
            traffic_control: TrafficControl::default(),
            mend_scope: MendScope::default(),
            host_name: HostName::default(),
            protected_namespaces: default_protected_namespaces(),
            max_actions_per_minute: default_max_actions_per_minute(),
            resources: Resources::agent_default(),
        }
    }
}

fn default_collectors() -> Vec<Collector> {
    vec![Collector::Resources]
}

fn default_sample_interval() -> String {
    "1s".into()
}

fn default_protected_namespaces() -> Vec<String> {
    vec!["kube-system".into()]
}

fn default_max_actions_per_minute() -> i32 {
    10
}

/// Something that produces nodes and metrics.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum Collector {
    /// CPU, memory, threads, processes and network of containers and pods.
    Resources,
    /// Idle CPU time and waiting for I/O.
    IOWait,
    /// Volumes of containers and pods.
    VolumeCount,
    /// HTTP requests and responses of processes, containers and pods.
    HTTPStatistics,
    /// What is set on the networks of pods: delay, jitter, loss, rate.
    TrafficControl,
}

impl Collector {
    /// Every collector that this version knows.
    pub const ALL: [Self; 5] = [
        Self::Resources,
        Self::IOWait,
        Self::VolumeCount,
        Self::HTTPStatistics,
        Self::TrafficControl,
    ];

    /// Its name in a ScopePlugin.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "Resources",
            Self::IOWait => "IOWait",
            Self::VolumeCount => "VolumeCount",
            Self::HTTPStatistics => "HTTPStatistics",
            Self::TrafficControl => "TrafficControl",
        }
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Collector {
    type Err = UnknownCollector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|collector| collector.as_str() == text)
            .ok_or_else(|| UnknownCollector(text.to_owned()))
    }
}

/// The name of a collector that this version does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a collector; the known ones are: {known}", known = Collector::ALL.map(Collector::as_str).join(", "))]
pub struct UnknownCollector(pub String);

/// Whether to supply what Scope's probe fails to report.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MendScope {
    /// When the node's container runtime is not Docker.
    #[default]
    Auto,
    /// Whatever the runtime is.
    Always,
    /// Not at all.
    Never,
}

impl fmt::Display for MendScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "Auto",
            Self::Always => "Always",
            Self::Never => "Never",
        })
    }
}

/// Which name the node has for Scope's probe.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostName {
    /// The node's name in Kubernetes (probes with `SCOPE_HOSTNAME` set to it).
    #[default]
    NodeName,
    /// The host name of the machine, as the kernel says it. The pod then uses the host's network,
    /// which is what shows it that name.
    Kernel,
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeName => "NodeName",
            Self::Kernel => "Kernel",
        })
    }
}

/// What the operator has seen and done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScopePluginStatus {
    /// The `metadata.generation` that this status is about; -1 before the operator has seen the
    /// object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The revision of the pods that is wanted now: a hash of their template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub revision: Option<String>,

    /// The last revision that was good on all nodes that were up. New and replaced pods get it while
    /// another one is not being rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub last_good_revision: Option<String>,

    /// Counts of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,

    /// How the rollout is going.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,

    /// Nodes on which the plugin should serve and does not, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failing_nodes: Vec<FailingNode>,

    /// How many nodes fail, the named ones included. Absent when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_nodes_total: Option<i32>,

    /// On how many nodes Scope asks the plugin's agents, as they tell scope-totals. Absent while that is not
    /// known: scope-totals is not installed or does not answer, or has heard of none of the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeCounts>,

    /// Collectors, or parts of them, that are asked for and bring nothing on some nodes, on most nodes first; as
    /// the agents tell scope-totals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub collectors_off: Vec<CollectorOff>,

    /// How many pairs of a collector and a reason there are, the listed ones included. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub collectors_off_total: Option<i32>,

    /// `Ready`: everything asked for is done, or the plugin is suspended as asked. `Available`: the
    /// plugin serves Scope on all its nodes but those that a rollout may take down.
    /// `Reconciling`, `Stalled` and `Paused` are present only while they are true. `ScopeConnected`, where
    /// scope-totals is installed: Scope's probes asked the agents of all nodes within the last minute, as far as
    /// that is known; it says nothing of readiness.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How many nodes are in which state.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes on which the plugin should run.
    pub desired: i32,
    /// Nodes that run the newest version of its pod.
    pub updated: i32,
    /// Nodes on which its pod is ready, that is, answers by Scope's rules.
    pub ready: i32,
    /// Nodes on which it should run and is not available.
    pub unavailable: i32,
    /// Nodes among them that are NotReady themselves.
    #[serde(default)]
    pub not_ready_nodes: i32,
}
