//! How a change reaches the nodes.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Nodes that a rollout has under way at the same time at most, whatever `maxUnavailable` says: each
/// stands by name in the rollout record, one object that must stay below 1 MiB.
pub const MAX_IN_FLIGHT: usize = 1000;

/// How a change reaches the nodes: first the canary, which then soaks, then all others within
/// `maxUnavailable`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// On how many nodes the plugin may be away at a time: a number of at least 1, or a share of the
    /// nodes from 1% to 100%, rounded up. Every node without a serving agent counts, except those that
    /// were NotReady before. At most 1000 nodes are under way at once.
    #[serde(default)]
    pub max_unavailable: MaxUnavailable,

    /// The nodes that a change reaches first.
    #[serde(default)]
    pub canary: Canary,

    /// So many nodes stay at the old revision. Nodes that are updated already stay updated, whatever
    /// the number is changed to.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub partition: i32,

    /// How long a new agent must have been ready before its node counts as updated.
    #[serde(default = "Span::five_seconds")]
    #[schemars(schema_with = "schema::min_ready")]
    pub min_ready: Span,

    /// A node whose new agent does not serve after so long has failed. It counts from when the node's old
    /// agent was taken; what could not happen, as while the plugin was suspended, or was not looked at, since
    /// no operator led, takes no time.
    #[serde(default = "Span::five_minutes")]
    #[schemars(schema_with = "schema::deadline")]
    pub deadline: Span,

    /// More failed nodes than this end the rollout: a number, or a share of the nodes, rounded down. On
    /// the canary no failure is forgiven. Nodes that failed count against `maxUnavailable` like all others
    /// without an agent, so it has to be larger for the rollout to go on beside them.
    #[serde(default)]
    pub max_failures: MaxFailures,

    /// What a rollout does that ends this way.
    #[serde(default)]
    pub on_failure: OnFailure,

    /// No further node is updated while this is true. Those under way are finished.
    #[serde(default)]
    pub paused: bool,

    /// Any change of this time replaces all pods, as a rollout like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub restarted_at: Option<String>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_unavailable: MaxUnavailable::default(),
            canary: Canary::default(),
            partition: 0,
            min_ready: Span::five_seconds(),
            deadline: Span::five_minutes(),
            max_failures: MaxFailures::default(),
            on_failure: OnFailure::default(),
            paused: false,
            restarted_at: None,
        }
    }
}

/// The nodes that a change reaches first, and how long it is watched there.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.nodes) || !has(self.nodeSelector)").message(
    "spec.rollout.canary may have nodes or nodeSelector, not both"
))]
pub struct Canary {
    /// How many nodes: a number, where 0 means that there is no canary, or a share, rounded up. Default:
    /// 1, unless `nodeSelector` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<CanaryNodes>,

    /// All nodes of the plugin with these labels, in place of a number; at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::canary_labels")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// How long all of the canary must serve before others follow. A node that dies is only seen after
    /// 50 s with Kubernetes' defaults.
    #[serde(default = "Span::ninety_seconds")]
    #[schemars(schema_with = "schema::soak")]
    pub soak: Span,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            nodes: None,
            node_selector: None,
            soak: Span::ninety_seconds(),
        }
    }
}

/// What a rollout does that has too many failures.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It stops; whatever runs is left as it is.
    #[default]
    Halt,
    /// The nodes that it has reached go back to the last revision that was good on all nodes.
    Rollback,
}

/// A length of time as people write it: a whole number of seconds, minutes or hours (`90s`, `5m`).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Span(pub String);

impl Span {
    fn five_seconds() -> Self {
        Self("5s".into())
    }

    fn ninety_seconds() -> Self {
        Self("90s".into())
    }

    fn five_minutes() -> Self {
        Self("5m".into())
    }

    /// Its length. What the schema refuses is 0.
    pub fn duration(&self) -> Duration {
        let units = [('s', 1), ('m', 60), ('h', 3600)];
        let read = units.into_iter().find_map(|(unit, seconds)| {
            let number: u32 = self.0.strip_suffix(unit)?.parse().ok()?;
            Some(u64::from(number) * seconds)
        });
        Duration::from_secs(read.unwrap_or_default())
    }
}

/// A number of nodes or a share of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct MaxUnavailable(pub IntOrString);

impl Default for MaxUnavailable {
    /// A tenth, so that the number of steps does not grow with the cluster.
    fn default() -> Self {
        Self(IntOrString::String("10%".into()))
    }
}

impl MaxUnavailable {
    /// How many of `nodes` may be away at a time; at least 1.
    pub fn of(&self, nodes: i32) -> i32 {
        part(&self.0, nodes, Round::Up).max(1)
    }
}

/// How many nodes the canary has: a number or a share of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct CanaryNodes(pub IntOrString);

impl CanaryNodes {
    /// How many of `nodes` the canary has.
    pub fn of(&self, nodes: i32) -> i32 {
        part(&self.0, nodes, Round::Up)
    }
}

/// How many nodes may fail: a number or a share of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct MaxFailures(pub IntOrString);

impl Default for MaxFailures {
    fn default() -> Self {
        Self(IntOrString::Int(0))
    }
}

impl MaxFailures {
    /// How many of `nodes` may fail.
    pub fn of(&self, nodes: i32) -> i32 {
        part(&self.0, nodes, Round::Down)
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number as it is, or a share of `nodes`; what is neither is 0.
fn part(number: &IntOrString, nodes: i32, round: Round) -> i32 {
    let nodes = i64::from(nodes.max(0));
    let count = match number {
        IntOrString::Int(count) => i64::from(*count),
        IntOrString::String(text) => {
            let share = text.strip_suffix('%').and_then(|s| s.parse::<i64>().ok());
            let hundredths = nodes * share.unwrap_or(0).clamp(0, 100);
            match round {
                Round::Up => (hundredths + 99) / 100,
                Round::Down => hundredths / 100,
            }
        }
    };
    i32::try_from(count.max(0)).unwrap_or(i32::MAX)
}

macro_rules! schema_of {
    ($type:ty, $name:literal, $schema:path) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema(generator)
            }
        }
    };
}

schema_of!(MaxUnavailable, "MaxUnavailable", schema::max_unavailable);
schema_of!(CanaryNodes, "CanaryNodes", schema::canary_nodes);
schema_of!(MaxFailures, "MaxFailures", schema::max_failures);

/// How a rollout is going.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What it does now.
    pub phase: RolloutPhase,
    /// The part of the nodes that it is at: `canary` or `rest`. Absent when nothing is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub wave: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::started_at")]
    pub started_at: Option<Time>,
    /// What it waits for, or why it ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What a rollout does.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RolloutPhase {
    /// All nodes are as they should be, as far as they are up.
    Idle,
    /// The canary is being updated.
    Canary,
    /// The canary is updated and being watched.
    Soaking,
    /// The other nodes are being updated.
    Rolling,
    /// Too many nodes failed. A change of the spec starts anew.
    Halted,
    /// Too many nodes failed, and those that were reached go back, or are back.
    RolledBack,
    /// `paused`, or held by `partition`, as the spec asks.
    Paused,
}

impl RolloutPhase {
    /// Its name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Canary => "Canary",
            Self::Soaking => "Soaking",
            Self::Rolling => "Rolling",
            Self::Halted => "Halted",
            Self::RolledBack => "RolledBack",
            Self::Paused => "Paused",
        }
    }
}

/// A node on which the plugin should serve and does not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailingNode {
    /// Its name.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Why, as one word for programs.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, for people: the container's last words, if it had any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// Since when.
    #[schemars(schema_with = "schema::since")]
    pub since: Time,
}

impl FailingNode {
    /// At most so many stand in a status, worst first.
    pub const MAX: usize = 10;

    /// One entry, with its texts cut to what the schema takes.
    pub fn new(node: &str, reason: &str, message: &str, since: Timestamp) -> Self {
        let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        Self {
            node: cut(node, 253),
            reason: cut(reason, 64),
            message: cut(message, 512),
            since: Time(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> IntOrString {
        IntOrString::String(text.into())
    }

    #[test]
    fn budgets_are_rounded_up_and_never_zero() {
        let of = |number, nodes| MaxUnavailable(number).of(nodes);
        assert_eq!(of(share("10%"), 0), 1);
        assert_eq!(of(share("10%"), 2), 1);
        assert_eq!(of(share("10%"), 11), 2);
        assert_eq!(of(share("100%"), 5000), 5000);
        assert_eq!(of(IntOrString::Int(3), 2), 3);
        assert_eq!(of(IntOrString::Int(0), 2), 1);
        assert_eq!(of(share("nonsense"), 2), 1);
    }

    #[test]
    fn canaries_may_be_none_and_failures_are_rounded_down() {
        assert_eq!(CanaryNodes(IntOrString::Int(0)).of(9), 0);
        assert_eq!(CanaryNodes(share("1%")).of(9), 1);
        assert_eq!(MaxFailures(share("10%")).of(9), 0);
        assert_eq!(MaxFailures(share("10%")).of(25), 2);
        assert_eq!(MaxFailures(IntOrString::Int(4)).of(2), 4);
    }

    #[test]
    fn spans_are_seconds_minutes_and_hours() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("5m", 300),
            ("2h", 7200),
            ("", 0),
            ("5", 0),
            ("-5s", 0),
            ("5d", 0),
            ("é", 0),
        ] {
            assert_eq!(Span(text.into()).duration().as_secs(), seconds, "{text:?}");
        }
    }
}
