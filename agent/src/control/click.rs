//! A click, checked: a control that is offered, on a node of the kind that it is for.

use std::collections::{BTreeMap, BTreeSet};

use scope_crds::Control;
use scope_protocol::{ControlRequest, NodeId, Topology};

use super::offer::{control_ids, parse_control, topology_of};
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
    /// The UID of the object that the node stands for; of a container, its ID.
    pub uid: String,
    /// What the caller said besides; Scope's own page says nothing.
    pub args: BTreeMap<String, String>,
    /// The probe that passed the click on; empty when it did not say.
    pub probe_id: String,
    /// The app in which it was clicked; empty when it did not say.
    pub app_id: String,
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
        /// The kind that it is for.
        wanted: Topology,
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
        let wanted = topology_of(control);
        let node =
            NodeId::parse_in(wanted, &request.node_id).map_err(|_| Rejection::WrongNode {
                node: shown(&request.node_id),
                control: id,
                wanted,
            })?;
        let uid = node.name().to_owned();
        if wanted == Topology::Container && !is_container_id(&uid) {
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
        Ok(Click {
            control,
            button: Button::ALL.into_iter().find(|button| button.id() == id),
            id,
            node,
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn request(control: &str, node: &str) -> ControlRequest {
        ControlRequest {
            app_id: "40a7031ee6466403".into(),
            node_id: node.into(),
            control: control.into(),
            control_args: BTreeMap::new(),
        }
    }

    fn read(control: &str, node: &str) -> Result<Click, String> {
        Click::read(
            &request(control, node),
            "5bdcc0beddf3c14",
            &BTreeSet::from([Control::DeletePod]),
        )
        .map_err(|e| e.to_string())
    }

    #[test]
    fn a_click_on_a_pod() {
        let click = read("deletePod", "5aeb7ae0-1d5a-4f0e;<pod>").expect("a click");
        assert_eq!(click.uid, "5aeb7ae0-1d5a-4f0e");
        assert_eq!(click.node.as_str(), "5aeb7ae0-1d5a-4f0e;<pod>");
        assert_eq!(click.probe_id, "5bdcc0beddf3c14");
        assert_eq!(click.app_id, "40a7031ee6466403");
    }

    #[test]
    fn rejections_say_what_is_wrong() {
        for (control, node, words) in [
            (
                "evict",
                "a;<pod>",
                "there is no control \"evict\" here; the controls of this plugin are: deletePod",
            ),
            ("DeletePod", "a;<pod>", "there is no control \"DeletePod\""),
            (
                "node-metrics-controls~deletePod",
                "a;<pod>",
                "there is no control",
            ),
            (
                "deletePod",
                "a;<container>",
                "is not a node that deletePod works on; it works on nodes of kind Pod",
            ),
            (
                "deletePod",
                "host;42",
                "is not a node that deletePod works on",
            ),
            ("deletePod", "a", "is not a node"),
            ("deletePod", "A;<pod>", "names no object of Kubernetes"),
            ("deletePod", "../a;<pod>", "names no object of Kubernetes"),
        ] {
            let said = read(control, node).expect_err("rejected");
            assert!(said.contains(words), "{control} {node}: {said}");
        }
        let long = format!("{};<pod>", "a".repeat(65));
        let said = read("deletePod", &long).expect_err("rejected");
        assert!(said.contains("names no object"), "{said}");
        let huge = "é".repeat(10_000);
        assert!(read(&huge, "a;<pod>").expect_err("rejected").len() < 400);
    }

    #[test]
    fn a_click_on_a_container() {
        let enabled = BTreeSet::from([Control::FreezeContainer]);
        let read = |node: &str| {
            let mut request = request("freezeContainer", node);
            request.control_args.insert("duration".into(), "5s".into());
            Click::read(&request, "1", &enabled).map_err(|e| e.to_string())
        };
        let id = "9ce26da262bbc84ae4df968fe038055a2363edc73207c2a6f85ef13bfbf73bd5";
        let click = read(&format!("{id};<container>")).expect("a click");
        assert_eq!(
            (click.uid.as_str(), click.args["duration"].as_str()),
            (id, "5s")
        );
        for (node, words) in [
            (format!("{id};<pod>"), "it works on nodes of kind Container"),
            (format!("{id}0;<container>"), "names no container"),
            (
                format!("{};<container>", id.to_uppercase()),
                "names no container",
            ),
            ("abc;<container>".into(), "names no container"),
            ("../etc;<container>".into(), "names no container"),
        ] {
            let said = read(&node).expect_err("rejected");
            assert!(said.contains(words), "{node}: {said}");
        }
    }

    #[test]
    fn a_click_on_one_of_several_buttons() {
        let enabled = BTreeSet::from([Control::ShapeTraffic]);
        let node = format!("{};<container>", "a".repeat(64));
        let click = Click::read(&request("traffic-control-table-fast", &node), "1", &enabled);
        let click = click.expect("a click");
        assert_eq!(
            (click.control, click.button, click.id),
            (
                Control::ShapeTraffic,
                Some(Button::Fast),
                "traffic-control-table-fast"
            )
        );
        let other = Click::read(&request("traffic-control-table-fas", &node), "1", &enabled);
        let said = other.expect_err("rejected").to_string();
        assert!(said.contains("traffic-control-table-slow, "), "{said}");
    }

    #[test]
    fn a_control_that_is_not_enabled_is_unknown() {
        let rejection = Click::read(&request("deletePod", "a;<pod>"), "1", &BTreeSet::new());
        assert!(matches!(rejection, Err(Rejection::UnknownControl { .. })));
    }

    #[test]
    fn ids_of_other_shapes_are_dropped() {
        let mut request = request("deletePod", "a;<pod>");
        request.app_id = "x\ny".into();
        let click = Click::read(&request, "not hex", &BTreeSet::from([Control::DeletePod]))
            .expect("a click");
        assert_eq!((click.probe_id.as_str(), click.app_id.as_str()), ("", ""));
    }
}
