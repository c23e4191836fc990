//! What the service answers.

use serde::{Deserialize, Serialize};

use crate::{
    metric::Values,
    podless::Podless,
    report::{Kind, Object, Stamp},
    services::Services,
    top::Question,
    uid::Uid,
};

/// The answer to a report, with status 200. Whoever writes many may name values that are kept elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply<V = Values> {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// What became of the report.
    pub fate: Fate,
    /// For [`Sampled`](crate::Sampled) of the next report.
    pub stamp: Stamp,
    /// When to send the next report, in milliseconds from this reply. After [`Fate::Unstamped`] it may be
    /// sent at once.
    pub interval_ms: u64,
    /// Whether nobody looks at what agents report: then there are no totals, and the next report is due as soon as
    /// somebody asks this agent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resting: bool,
    /// Nothing when totals are served; otherwise there are none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warming: Option<Warming>,
    /// When the totals were added up, in milliseconds since 1970 by the service's clock. It is the same in
    /// all replies with the same totals: with it as their date, samples from all nodes are one.
    pub at_ms: i64,
    /// The totals of the reported objects, where there are any.
    pub totals: Vec<Total<V>>,
    /// Controllers without pods, if this agent is to draw them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub podless: Option<Podless>,
    /// The Services of the pods on the agent's node, if they are known and the agent can read that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// What people want to know of pods or nodes at present, at most [`MAX_QUESTIONS`](crate::MAX_QUESTIONS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Question>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// It counts.
    Taken,
    /// It was taken already, or a newer one was.
    Old,
    /// It does not say when its sample was taken by a stamp of this run of the service.
    Unstamped,
    /// Its sample is three intervals old or older.
    Late,
    /// A word of a later version.
    #[serde(other)]
    Other,
}

impl Fate {
    /// As a word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Old => "old",
            Self::Unstamped => "unstamped",
            Self::Late => "late",
            Self::Other => "other",
        }
    }
}

/// Why there are no totals yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warming {
    /// Nodes with an agent of this plugin that were heard of since the start.
    pub heard: u32,
    /// Nodes that there are.
    pub nodes: u32,
    /// At most so long it will take.
    pub left_ms: u64,
}

/// The sum over all pods of a controller, Service or image in the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total<V = Values> {
    /// What it is.
    pub kind: Kind,
    /// Its UID.
    pub uid: Uid,
    /// Its pods that are on nodes and have not ended.
    pub pods: u32,
    /// How many of them the values are of: `pods counted n of m`.
    pub counted: u32,
    /// All CPUs of the nodes that the pods are on: 100 % of CPU.
    pub cpus: u32,
    /// The memory of these nodes, in bytes.
    pub memory: u64,
    /// So long after this reply it may be shown; then its oldest sample is three intervals old.
    pub valid_ms: u64,
    /// The sums. A metric that one of the nodes did not tell is left out. There are at most
    /// [`MAX_VALUES`](crate::MAX_VALUES): status codes beyond that are in
    /// [`HttpOthers`](crate::Metric::HttpOthers).
    pub values: V,
}

impl<V> Total<V> {
    /// What it is of.
    pub fn object(&self) -> Object {
        Object {
            kind: self.kind,
            uid: self.uid,
        }
    }
}

/// The body of any other answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: a sentence that says what to do.
    pub message: String,
}

/// Why a report was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// 401: no token, or one that is not valid now for this audience. Read the token anew.
    Token,
    /// 403: a valid token, not of an agent of a plugin on a node of this cluster; or, where the operator asks,
    /// not of the operator; or, where people ask, of somebody without the right to that.
    Account,
    /// 400: another version of this protocol.
    Version,
    /// 400: not the JSON of a report, or not a question that can be answered.
    Syntax,
    /// 422: a value or a list beyond its bounds.
    Value,
    /// 413: a longer body than [`MAX_BODY`](crate::MAX_BODY).
    Size,
    /// 408: the body did not come in time.
    Slow,
    /// 429: more reports than this node has to send; see the header `Retry-After`.
    Rate,
    /// 503: too much to do at once; see the header `Retry-After`.
    Busy,
    /// 404: the service was told not to answer that.
    Off,
    /// 503: another replica serves. Connect again, by the name of the Service.
    Standby,
    /// A word of a later version.
    #[serde(other)]
    Other,
}
