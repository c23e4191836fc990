//! A click, checked: a control that is offered, on a node of the kind that it is for.

use std::collections::{BTreeMap, BTreeSet};

use scope_crds::{Control, TargetKind};
use scope_protocol::{ControlRequest, NodeId, Topology};

use super::offer::{control_ids, parse_control, places_of};
use crate::container_control::is_container_id;
use crate::serve::is_probe_id;
use crate::traffic::Button;

/// Text of others that goes into our answers and logs is cut to this many characters.
const SHOWN: usize = 80;

/// A click that makes sense so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// What was asked for.
    pub control: Control,
    /// Which of its buttons, of a control that has several.
    pub button: Option<Button>,
    /// The button's ID on the wire.
    pub id: &'static str,
    /// On which node.
    pub node: NodeId,
    /// The kind of object that it is about; of a container, its pod.
    pub kind: TargetKind,
    /// The UID of the object that the node stands for; of a container, its ID.
    pub uid: String,
    /// What the caller said besides; Scope's own page says nothing.
    pub args: BTreeMap<String, String>,
    /// The probe that passed the click on; empty when it did not say.
    pub probe_id: String,
    /// The app in which it was clicked; empty when it did not say.
    pub app_id: String,
}

/// The node that this agent is on. Scope knows a host by its name, and an action names its target by
/// UID: so a click on a host can be about no other node than this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnNode<'a> {
    /// What Scope's probe calls the host.
    pub host: &'a str,
    /// The UID of its Node object; `None` while that was not read.
    pub uid: Option<&'a str>,
}

/// Why a click makes no sense, for the person who clicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such control here.
    #[error("there is no control {control:?} here; the controls of this plugin are: {offered}")]
    UnknownControl {
        /// What was asked for.
        control: String,
        /// What is offered.
        offered: String,
    },
    /// The node is of another kind, or of none.
    #[error("{node:?} is not a node that {control} works on; it works on nodes of kind {wanted}")]
    WrongNode {
        /// The node's ID.
        node: String,
        /// The control.
        control: &'static str,
        /// The kinds that it is for, in words.
        wanted: String,
    },
    /// The host is not this agent's.
    #[error(
        "{node:?} is not the host of this agent, which is {host:?}. Nothing was done: send it to the \
         agent on that host"
    )]
    OtherHost {
        /// The node's ID.
        node: String,
        /// This agent's.
        host: String,
    },
    /// Which object of Kubernetes this agent's host is, is not known.
    #[error(
        "the Node object of {host:?} has not been read yet. Nothing was done: try again in a minute; \
         if that does not help, the log of the agent on this host says why"
    )]
    NodeNotRead {
        /// This agent's host.
        host: String,
    },
    /// The node's ID names no object.
    #[error(
        "{node:?} names no object of Kubernetes: a UID has 1 to 64 characters of 0-9, a-f and dash"
    )]
    NoUid {
        /// The node's ID.
        node: String,
    },
    /// The node's ID names no container.
    #[error("{node:?} names no container: an ID has 64 characters of 0-9 and a-f")]
    NoContainer {
        /// The node's ID.
        node: String,
    },
}

impl Click {
    /// Reads a request that arrived from the probe with this ID.
    pub fn read(
        request: &ControlRequest,
        probe_id: &str,
        offered: &BTreeSet<Control>,
        own: OwnNode<'_>,
    ) -> Result<Self, Rejection> {
        let (control, id) = parse_control(&request.control)
            .filter(|(control, _)| offered.contains(control))
            .ok_or_else(|| Rejection::UnknownControl {
                control: shown(&request.control),
                offered: offered
                    .iter()
                    .flat_map(|c| control_ids(*c))
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let places = places_of(control);
        let clicked = |(topology, kind): &(Topology, TargetKind)| {
            let node = NodeId::parse_in(*topology, &request.node_id).ok()?;
            Some((node, *kind))
        };
        let (node, kind) = places
            .iter()
            .find_map(clicked)
            .ok_or_else(|| Rejection::WrongNode {
                node: shown(&request.node_id),
                control: id,
                wanted: any_of(&places),
            })?;
        let uid = match node.topology() {
            Topology::Host => own_uid(&node, own)?,
            _ => node.name(),
        };
        if node.topology() == Topology::Container && !is_container_id(uid) {
            return Err(Rejection::NoContainer {
                node: shown(&request.node_id),
            });
        }
        if !(1..=64).contains(&uid.len())
            || !uid
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        {
            return Err(Rejection::NoUid {
                node: shown(&request.node_id),
            });
        }
        let uid = uid.to_owned();
        Ok(Click {
            control,
            button: Button::ALL.into_iter().find(|button| button.id() == id),
            id,
            node,
            kind,
            uid,
            args: request.control_args.clone(),
            probe_id: if is_probe_id(probe_id) {
                probe_id.to_owned()
            } else {
                String::new()
            },
            app_id: app_id(&request.app_id),
        })
    }
}

/// The UID of the object of a host, which has to be this agent's.
fn own_uid<'a>(node: &NodeId, own: OwnNode<'a>) -> Result<&'a str, Rejection> {
    if node.name() != own.host {
        return Err(Rejection::OtherHost {
            node: shown(node.as_str()),
            host: own.host.to_owned(),
        });
    }
    own.uid.ok_or_else(|| Rejection::NodeNotRead {
        host: own.host.to_owned(),
    })
}

/// The kinds of node in words, such as `Deployment, StatefulSet or DaemonSet`.
fn any_of(places: &[(Topology, TargetKind)]) -> String {
    let kinds: Vec<&str> = places.iter().map(|(topology, _)| topology.key()).collect();
    match kinds.as_slice() {
        [several @ .., last] if !several.is_empty() => {
            format!("{} or {last}", several.join(", "))
        }
        one => one.concat(),
    }
}

/// The app's ID as far as it can be one: it goes into an object and into log lines.
fn app_id(id: &str) -> String {
    let fits = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits { id.to_owned() } else { String::new() }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
