//! How an agent is, and what the operator hears of all of them: `GET /v1/fleet`, JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An agent that a Scope probe asked within this time is shown by Scope.
pub const ASKED: Duration = Duration::from_secs(60);

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// So long ago, in milliseconds, a Scope probe last asked for a report. Nothing: never since this process
    /// began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms_ago: Option<u64>,
    /// Collectors, or parts of them, that are asked for and bring nothing; at most
    /// [`MAX_OFF`](crate::MAX_OFF).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collectors_off: Vec<Off>,
    /// The agent's own; 1 to [`MAX_WORD`](crate::MAX_WORD) characters.
    pub version: String,
    /// Thousandths of a CPU that the agent itself takes. Nothing until that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millicores: Option<f64>,
    /// Bytes of memory that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// A collector that brings nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Off {
    /// Its name, as in the ScopePlugin; 1 to [`MAX_WORD`](crate::MAX_WORD) characters.
    pub collector: String,
    /// The reason, for people; 1 to [`MAX_WHY`](crate::MAX_WHY) characters. Agents with the same reason say
    /// the same, or they are not counted together.
    pub why: String,
}

/// The answer to `GET /v1/fleet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// This replica began to serve a short while ago and may not have heard of all agents before so many
    /// milliseconds are over. Who is missing meanwhile says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warming_ms: Option<u64>,
    /// In the order of their names.
    pub plugins: Vec<PluginHealth>,
}

/// How the agents of a plugin are: those that were heard of within three intervals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginHealth {
    /// The plugin.
    pub plugin: String,
    /// Nodes with such an agent: those asked, silent and unknown.
    pub nodes: u32,
    /// Nodes on which a Scope probe asked within [`ASKED`].
    pub asked: u32,
    /// Nodes on which none did.
    pub silent: u32,
    /// The first of the silent ones by name; at most [`MAX_SILENT`](crate::MAX_SILENT).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_nodes: Vec<String>,
    /// Nodes of which that is not known: the agent is of a version that does not tell, or nobody asked it and
    /// it was first heard of less than [`ASKED`] ago.
    pub unknown: u32,
    /// What brings nothing, on most nodes first; at most [`MAX_OFF`](crate::MAX_OFF).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<OffNodes>,
    /// Further pairs of a collector and a reason.
    #[serde(default)]
    pub off_left_out: u32,
    /// Versions of agents, most frequent first; at most [`MAX_VERSIONS`](crate::MAX_VERSIONS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionNodes>,
    /// Nodes with agents of further versions.
    #[serde(default)]
    pub versions_left_out: u32,
    /// What agents take of a CPU, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millicores: Option<Share>,
    /// Bytes that agents take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Share>,
}

/// A collector that brings nothing on some nodes, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffNodes {
    /// Its name.
    pub collector: String,
    /// The reason.
    pub why: String,
    /// On so many nodes.
    pub nodes: u32,
    /// The first of them by name.
    pub example: String,
}

/// A version of agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNodes {
    /// The version.
    pub version: String,
    /// On so many nodes.
    pub nodes: u32,
}

/// What agents take of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// On average of those that tell.
    pub mean: f64,
    /// The one that takes most.
    pub most: f64,
    /// Its node.
    pub node: String,
}
