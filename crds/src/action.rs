//! `ScopeAction`: one click in Scope.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Control, schema};

/// One click in Scope, to be carried out by the operator.
///
/// An agent creates it and waits a moment for its status; nobody changes it afterwards but the
/// operator, which writes the outcome and removes the object after an hour. What an agent does
/// itself, on containers of its node, it writes down afterwards as one with `spec.done`: the
/// operator then carries nothing out and only turns it into an Event and a status.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "scopeplugins.dev",
    version = "v1alpha1",
    kind = "ScopeAction",
    plural = "scopeactions",
    singular = "scopeaction",
    shortname = "sact",
    category = "scope",
    namespaced,
    status = "ActionStatus",
    derive = "PartialEq",
    doc = "One click in Scope, to be carried out by the operator, or the record of one that an agent has carried out itself (spec.done). Agents create it; the operator writes the outcome and removes it after an hour.",
    printcolumn(
        name = "Plugin",
        type_ = "string",
        json_path = ".spec.plugin",
        description = "The ScopePlugin whose control was clicked"
    ),
    printcolumn(
        name = "Control",
        type_ = "string",
        json_path = ".spec.control",
        description = "What was asked for"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.target.name",
        description = "The object that it was about"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "The outcome; empty while pending"
    ),
    printcolumn(
        name = "Through",
        type_ = "string",
        json_path = ".spec.node",
        description = "The node whose agent passed the click on",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        description = "The outcome as a sentence",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message(
    "spec cannot be changed: a ScopeAction is one click, make another one"
))]
#[x_kube(validation = Rule::new(
    "has(self.done) == (self.control in ['RestartContainer', 'FreezeContainer', 'ThawContainer', 'ShapeTraffic'])"
).message(
    "spec.done is for what an agent has done itself: RestartContainer, FreezeContainer, ThawContainer and ShapeTraffic"
))]
#[x_kube(validation = Rule::new(
    "self.target.kind in {'EvictPod': ['Pod'], 'RestartRollout': ['Deployment', 'StatefulSet', 'DaemonSet'], 'ScaleUp': ['Deployment', 'StatefulSet'], 'ScaleDown': ['Deployment', 'StatefulSet'], 'PauseRollout': ['Deployment'], 'ResumeRollout': ['Deployment'], 'SuspendCronJob': ['CronJob'], 'ResumeCronJob': ['CronJob'], 'TriggerCronJob': ['CronJob'], 'CordonNode': ['Node'], 'UncordonNode': ['Node'], 'DeletePod': ['Pod'], 'RestartContainer': ['Pod'], 'FreezeContainer': ['Pod'], 'ThawContainer': ['Pod'], 'ShapeTraffic': ['Pod']}[self.control]"
).message(
    "spec.target.kind is not one that spec.control is for"
))]
#[x_kube(validation = Rule::new("has(self.done) == has(self.target.container)").message(
    "spec.target.container is for what an agent has done itself, and nothing else is"
))]
pub struct ScopeActionSpec {
    /// The ScopePlugin whose control was clicked.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]+(-[a-z0-9]+)*$')").message(
        "spec.plugin must be the name of a ScopePlugin"
    ))]
    pub plugin: String,

    /// What was asked for.
    pub control: Control,

    /// The object that was clicked.
    pub target: ActionTarget,

    /// The node whose agent passed the click on, which is not necessarily the target's, or whose agent
    /// has done it itself (`done`), which is.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,

    /// The id of the Scope probe that passed the click on. Empty when nobody clicked: an agent thaws
    /// a container, or clears its traffic, by itself when its time is over.
    #[serde(rename = "probeID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub probe_id: String,

    /// The id of the Scope app in which it was clicked. Empty when nobody clicked.
    #[serde(rename = "appID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub app_id: String,

    /// The operator does nothing after this time: a click must not take effect when nobody
    /// remembers it.
    #[schemars(schema_with = "schema::time")]
    pub not_after: MicroTime,

    /// What the agent has done already. Such a ScopeAction is a record: nothing is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<ActionDone>,
}

/// What an agent has done itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ActionDone {
    /// How it went.
    #[x_kube(validation = Rule::new("self in ['Succeeded', 'Failed']").message(
        "spec.done.phase must be Succeeded or Failed: what was not tried is not recorded"
    ))]
    pub phase: ActionPhase,
    /// The same as a sentence.
    #[schemars(length(min = 1, max = 1024))]
    pub message: String,
    /// When the outcome was known.
    #[schemars(schema_with = "schema::time")]
    pub at: MicroTime,
}

/// The object that was clicked. Scope knows it by its UID alone.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ActionTarget {
    /// Its kind.
    pub kind: TargetKind,
    /// Its UID (for a static pod the hash of its file, which is what Scope knows it by).
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f-]{1,64}$')").message(
        "spec.target.uid must be 1 to 64 characters of 0-9, a-f and dash"
    ))]
    pub uid: String,
    /// The container of that pod, of what an agent has done itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ActionContainer>,
}

/// A container, and the pod that it belongs to by the names that the agent knew.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ActionContainer {
    /// The runtime's ID of it.
    #[schemars(length(min = 64, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-f]{64}$')").message(
        "spec.target.container.id must be 64 characters of 0-9 and a-f"
    ))]
    pub id: String,
    /// Its name in the pod.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The pod's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The pod's name.
    #[schemars(length(min = 1, max = 253))]
    pub pod: String,
}

/// Kinds of object on which actions exist.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum TargetKind {
    /// A pod.
    Pod,
    /// A Deployment of `apps/v1`.
    Deployment,
    /// A StatefulSet of `apps/v1`.
    StatefulSet,
    /// A DaemonSet of `apps/v1`.
    DaemonSet,
    /// A CronJob of `batch/v1`.
    CronJob,
    /// A node.
    Node,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::CronJob,
        Self::Node,
    ];

    /// Its name in Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::CronJob => "CronJob",
            Self::Node => "Node",
        }
    }
}

impl std::fmt::Display for TargetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a click. Without a phase it is pending.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ActionStatus {
    /// The outcome; absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ActionPhase>,
    /// The outcome as a sentence, which is what the person who clicked reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The object that it was about, once found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// When the outcome was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub completed_at: Option<MicroTime>,
}

/// Outcomes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionPhase {
    /// Done.
    Succeeded,
    /// Not done, since a rule forbids it.
    Refused,
    /// Tried, and did not work.
    Failed,
    /// Not done, since it was too late.
    Expired,
}

impl std::fmt::Display for ActionPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "Succeeded",
            Self::Refused => "Refused",
            Self::Failed => "Failed",
            Self::Expired => "Expired",
        })
    }
}

/// The name of the object that an action was about.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetName {
    /// Its namespace; empty for a node.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The node that it ran on, of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
}
