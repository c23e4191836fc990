//! On which nodes a plugin runs.
//!
//! The types follow the shape of the pod fields of the same names, so that what people know is what
//! they write; they are our own so that every list and string has a bound, and so that nothing is
//! accepted that a DaemonSet ignores (preferences, for example).

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The priority class of the agent's pods unless the ScopePlugin names another: a node's figures
/// are wanted most when the node is short of room.
pub const DEFAULT_PRIORITY_CLASS: &str = "system-node-critical";

/// On which nodes a plugin runs. Always Linux nodes, never virtual-kubelet or Fargate ones, which
/// have no host to look at.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that do not keep the plugin away. Default: all of them. An empty list tolerates only
    /// what Kubernetes adds to every DaemonSet.
    #[serde(default = "default_tolerations")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,

    /// Finer rules about a node's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,

    /// The priority class of the pods.
    #[serde(default = "default_priority_class")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "spec.placement.priorityClassName must be the name of a PriorityClass"
    ))]
    pub priority_class_name: String,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            node_selector: BTreeMap::new(),
            tolerations: default_tolerations(),
            node_affinity: None,
            priority_class_name: default_priority_class(),
        }
    }
}

fn default_tolerations() -> Vec<Toleration> {
    vec![Toleration {
        operator: Some("Exists".into()),
        ..Toleration::default()
    }]
}

fn default_priority_class() -> String {
    DEFAULT_PRIORITY_CLASS.into()
}

/// One taint, or family of taints, that does not keep the plugin away.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.key) || (has(self.operator) && self.operator == 'Exists')").message(
    "spec.placement.tolerations: an entry without key must have operator Exists"
))]
#[x_kube(validation = Rule::new("!has(self.value) || !has(self.operator) || self.operator == 'Equal'").message(
    "spec.placement.tolerations: an entry with operator Exists may not have a value"
))]
pub struct Toleration {
    /// The taint's key; absent with `Exists` means every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// `Exists` or `Equal` (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::toleration_operator")]
    pub operator: Option<String>,
    /// The taint's value, with `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect; absent means every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taint_effect")]
    pub effect: Option<String>,
}

/// Finer rules about a node's labels.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeAffinity {
    /// What a node must fulfil. There are no preferences: each node runs the plugin or does not.
    pub required_during_scheduling_ignored_during_execution: RequiredNodes,
}

/// A node must fulfil one of these terms.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RequiredNodes {
    /// Alternatives; one of them must hold.
    #[schemars(length(min = 1, max = 8))]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// All expressions of a term must hold.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// Conditions on the node's labels, all of which must hold.
    #[schemars(length(min = 1, max = 16))]
    pub match_expressions: Vec<Expression>,
}

/// A condition on one label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : \
     self.operator in ['Gt', 'Lt'] ? has(self.values) && size(self.values) == 1 : \
     !has(self.values) || size(self.values) == 0"
).message(
    "spec.placement.nodeAffinity: In and NotIn need values, Gt and Lt exactly one, Exists and DoesNotExist none"
))]
pub struct Expression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is a number above the value.
    Gt,
    /// The label is a number below the value.
    Lt,
}

impl Operator {
    /// The word that Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
            Self::Gt => "Gt",
            Self::Lt => "Lt",
        }
    }
}
