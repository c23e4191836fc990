//! Controllers without pods. They are on no node, so one agent draws them for all.

use serde::{Deserialize, Serialize};

use crate::{report::Kind, uid::Uid};

/// What an agent hears that is to draw the controllers that have no pod on any node: Deployments,
/// StatefulSets, DaemonSets and CronJobs. Of each plugin two agents hear it at most. One that does not hear it
/// any more goes on until [`valid_ms`](Self::valid_ms) is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Podless {
    /// Another one for every other list, whichever replica made it. It goes into the next
    /// [`Report::podless`](crate::Report::podless).
    pub version: u64,
    /// So long after this reply the list may be shown, in milliseconds.
    pub valid_ms: u64,
    /// The list, in the order of namespaces and names; at most [`MAX_PODLESS`](crate::MAX_PODLESS). Nothing
    /// if the report said that the agent has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<Controller>>,
    /// So many more there are that the list has no room for.
    pub left_out: u32,
}

/// A controller by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// What it is.
    pub kind: Kind,
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The UID of that: Scope's app doubles namespaces that it knows by name alone.
    pub namespace_uid: Uid,
}
