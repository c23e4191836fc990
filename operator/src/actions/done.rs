//! What an agent has done itself, on a container of its node: nothing is carried out. The record
//! becomes a status, and an Event on the pod if it is as the agent says.

use jiff::Timestamp;
use scope_crds::{ActionDone, ScopeAction};

use super::{
    actor::{Actor, Done, locked},
    decide::{Outcome, PodFacts},
};

/// Events a minute about the containers of one node: more than agents may do by default, thawing
/// included. Whatever is beyond that came from a node that nobody should believe.
const EVENTS_PER_MINUTE: usize = 120;

impl Actor {
    /// What is to be written down about a record.
    pub(super) async fn look_at_done(&self, action: &ScopeAction, done: &ActionDone) -> Done {
        Done {
            outcome: Outcome {
                phase: done.phase,
                message: done.message.clone(),
            },
            pod: self.pod_of(action).await,
            at: Some(done.at.0),
        }
    }

    /// The pod that the record is about, if it runs on the node that says so.
    async fn pod_of(&self, action: &ScopeAction) -> Option<PodFacts> {
        let spec = &action.spec;
        let container = spec.target.container.as_ref()?;
        let (namespace, name) = (&container.namespace, &container.pod);
        let node = format!("{}/{}", spec.plugin, spec.node);
        let place = locked(&self.records).take(&node, EVENTS_PER_MINUTE, Timestamp::now());
        if place.is_err() {
            tracing::warn!(
                plugin = spec.plugin,
                node = spec.node,
                "too many records of this node in a minute: this one becomes no Event"
            );
            return None;
        }
        let pod = match self.get(namespace, name).await {
            Ok(pod) => PodFacts::of(&pod?),
            Err(error) => {
                tracing::warn!("a record becomes no Event: {error}");
                return None;
            }
        };
        let is_it = pod.uid == spec.target.uid && pod.node.as_ref() == Some(&spec.node);
        if !is_it {
            tracing::info!(
                uid = spec.target.uid,
                node = spec.node,
                "a record becomes no Event: pod {namespace}/{name} is another one by now"
            );
        }
        is_it.then_some(pod)
    }
}
