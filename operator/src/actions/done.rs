//! What an agent has done itself, on a container of its node: nothing is carried out. The record
//! becomes a status, and an Event on the pod if it is as the agent says.

use jiff::Timestamp;
use scope_crds::{ActionDone, ScopeAction, TargetKind};

use super::{
    actor::{Actor, Done, locked},
    decide::Outcome,
    target::{Place, Seen},
};

/// Events a minute about the containers of one node: more than agents may do by default, thawing
/// included. Whatever is beyond that came from a node that nobody should believe.
const EVENTS_PER_MINUTE: usize = 120;

/// What Kubernetes says to a record.
enum Word {
    /// The pod runs on the node that says so.
    Confirmed(Seen),
    /// It cannot be told any more: the pod is gone, or nobody looked.
    Unconfirmed(&'static str),
    /// The pod is on another node, and pods do not move.
    Denied(String),
}

impl Actor {
    /// What is to be written down about a record. An agent is believed about the pods of its own node
    /// alone.
    pub(super) async fn look_at_done(&self, action: &ScopeAction, done: &ActionDone) -> Done {
        let (outcome, seen) = match self.word_on(action).await {
            Word::Confirmed(pod) => (
                Outcome {
                    phase: done.phase,
                    message: done.message.clone(),
                },
                Some(pod),
            ),
            Word::Unconfirmed(why) => (
                Outcome {
                    phase: done.phase,
                    message: format!("{} (as its agent says; {why})", done.message),
                },
                None,
            ),
            Word::Denied(why) => (Outcome::refused(why), None),
        };
        Done {
            outcome,
            seen,
            at: Some(done.at.0),
        }
    }

    async fn word_on(&self, action: &ScopeAction) -> Word {
        let spec = &action.spec;
        let Some(container) = &spec.target.container else {
            return Word::Unconfirmed("it names no container");
        };
        // The right to read pods comes with the permission. What was frozen before it was taken back
        // still thaws.
        let mut allowed = self.settings.allowed_actions.iter();
        if !allowed.any(|control| control.is_node_local()) {
            return Word::Unconfirmed(
                "actions.allowed has no action on containers, so nobody looked",
            );
        }
        let (namespace, name) = (&container.namespace, &container.pod);
        let node = format!("{}/{}", spec.plugin, spec.node);
        let place = locked(&self.records).take(&node, EVENTS_PER_MINUTE, Timestamp::now());
        if place.is_err() {
            tracing::warn!(
                plugin = spec.plugin,
                node = spec.node,
                "too many records of this node in a minute: this one becomes no Event"
            );
            return Word::Unconfirmed("too many records of this node in a minute");
        }
        let place = Place {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let pod = match self.read(TargetKind::Pod, &place).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return Word::Unconfirmed("the pod is gone"),
            Err(error) => {
                tracing::warn!("a record becomes no Event: {error}");
                return Word::Unconfirmed("the pod could not be read");
            }
        };
        if pod.uid() != spec.target.uid {
            return Word::Unconfirmed("the pod of that name is another one by now");
        }
        if pod.node() != Some(spec.node.as_str()) {
            tracing::warn!(
                plugin = spec.plugin,
                node = spec.node,
                uid = spec.target.uid,
                "a record about a pod of another node: its agent should be looked at"
            );
            return Word::Denied(format!(
                "Not confirmed: pod {namespace}/{name} does not run on {}, whose agent said: {}",
                spec.node,
                action
                    .spec
                    .done
                    .as_ref()
                    .map_or("", |done| done.message.as_str())
            ));
        }
        Word::Confirmed(pod)
    }
}
