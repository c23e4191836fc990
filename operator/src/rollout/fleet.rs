//! What the planner sees: the nodes that the plugin belongs on, and its pod on each.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

/// All nodes that match the placement, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fleet {
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Whether Kubernetes calls it Ready.
    pub(crate) up: bool,
    /// Since when it is up, or down.
    pub(crate) since: Timestamp,
    /// Whether it has the labels of the canary.
    pub(crate) canary: bool,
    /// The plugin's pod there; one that is being deleted is none.
    pub(crate) pod: Option<Pod>,
    /// Since when it has been seen without one.
    pub(crate) bare_since: Option<Timestamp>,
}

/// A pod of the plugin that is not being deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// Which template it was made from; nothing for one that an older operator made.
    pub(crate) revision: Option<String>,
    pub(crate) created: Timestamp,
    /// Since when it is ready.
    pub(crate) ready_since: Option<Timestamp>,
    /// How often its containers were started again.
    pub(crate) restarts: i32,
    /// Why it cannot become ready, where Kubernetes says so.
    pub(crate) failure: Option<Failure>,
}

/// Why a pod does not become ready.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    /// One word for programs.
    pub(crate) reason: String,
    /// The container's last words, or Kubernetes' own.
    pub(crate) message: String,
    /// How old the pod must be for this to be believed; nothing for what may go away by itself, which
    /// fails at the deadline.
    pub(crate) certain_after: Option<Duration>,
}

/// A pod so young is not called failed, however certain it looks: the first start may be in the way of
/// another, and Kubernetes tries again.
const SETTLE: Duration = Duration::from_secs(10);

impl Pod {
    /// From when on it counts as failed, if it stays as it is.
    pub(crate) fn failed_from(&self) -> Option<Timestamp> {
        let after = self.failure.as_ref()?.certain_after?;
        let at = self.created.saturating_add(after.max(SETTLE));
        Some(at.unwrap_or(Timestamp::MAX))
    }
}

impl Node {
    /// Whether the agent there serves: ready for `min_ready`.
    pub(crate) fn serves(&self, min_ready: Duration, now: Timestamp) -> bool {
        self.up && self.serves_from(min_ready).is_some_and(|from| from <= now)
    }

    /// From when on the agent there serves, if nothing happens to it.
    pub(crate) fn serves_from(&self, min_ready: Duration) -> Option<Timestamp> {
        let ready_since = self.pod.as_ref()?.ready_since?;
        Some(
            ready_since
                .saturating_add(min_ready)
                .unwrap_or(Timestamp::MAX),
        )
    }

    /// Whether its pod is of this revision.
    pub(crate) fn is_at(&self, revision: &str) -> bool {
        let pod = self.pod.as_ref();
        pod.and_then(|pod| pod.revision.as_deref()) == Some(revision)
    }
}
