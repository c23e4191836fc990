//! The controls that are offered: what the controls socket reports.

use std::collections::BTreeSet;

use scope_crds::Control;
use scope_protocol::{PluginSpec, Report, Topology};

use crate::container_control::DEFAULT_DURATION;
use crate::traffic::{Button, Features};

/// The controls socket's ID is the plugin's with this behind it. Two sockets, because the probe
/// takes Scope's own buttons away from every node that a plugin with controls reports.
pub const CONTROLS_SUFFIX: &str = "-controls";

/// The IDs on the wire of the control's buttons.
pub fn control_ids(control: Control) -> Vec<&'static str> {
    match control {
        Control::DeletePod => vec!["deletePod"],
        Control::RestartContainer => vec!["restartContainer"],
        Control::FreezeContainer => vec!["freezeContainer"],
        Control::ThawContainer => vec!["thawContainer"],
        Control::ShapeTraffic => Button::ALL.map(Button::id).to_vec(),
    }
}

/// A button's ID as Scope knows it, to be named in nodes.
pub fn scope_control_id(plugin_id: &str, id: &str) -> String {
    format!("{plugin_id}{CONTROLS_SUFFIX}~{id}")
}

/// The control whose button has this ID on the wire, and that ID.
pub(super) fn parse_control(id: &str) -> Option<(Control, &'static str)> {
    Control::ALL.into_iter().find_map(|control| {
        let mut ids = control_ids(control).into_iter();
        Some((control, ids.find(|own| *own == id)?))
    })
}

/// The kind of node that the control is for.
pub fn topology_of(control: Control) -> Topology {
    match control {
        Control::DeletePod => Topology::Pod,
        Control::RestartContainer
        | Control::FreezeContainer
        | Control::ThawContainer
        | Control::ShapeTraffic => Topology::Container,
    }
}

/// The buttons of a control.
fn definitions(control: Control) -> Vec<(&'static str, scope_protocol::Control)> {
    let definition = match control {
        Control::ShapeTraffic => {
            let buttons = Button::ALL.into_iter();
            return buttons
                .map(|button| (button.id(), traffic_button(button)))
                .collect();
        }
        Control::DeletePod => scope_protocol::Control {
            human: "Delete pod".into(),
            icon: "fa fa-trash-o".into(),
            // Scope's own buttons end at 8; the first of ours.
            rank: 10,
            confirmation: Some(
                "Delete this pod? Its controller, if it has one, makes a new one.".into(),
            ),
        },
        Control::RestartContainer => scope_protocol::Control {
            human: "Restart container".into(),
            icon: "fa fa-repeat".into(),
            rank: 11,
            confirmation: Some(
                "End the first process of this container? It gets SIGTERM and, after its pod's \
                 grace period, SIGKILL; the kubelet starts the container again if the pod's \
                 restart policy says so."
                    .into(),
            ),
        },
        Control::FreezeContainer => scope_protocol::Control {
            human: "Freeze container".into(),
            icon: "fa fa-pause".into(),
            rank: 12,
            confirmation: Some(format!(
                "Stop all processes of this container where they are? They go on by themselves \
                 after {} minutes.",
                DEFAULT_DURATION.as_secs() / 60
            )),
        },
        Control::ThawContainer => scope_protocol::Control {
            human: "Thaw container".into(),
            icon: "fa fa-play".into(),
            rank: 13,
            confirmation: None,
        },
    };
    let ids = control_ids(control).into_iter();
    ids.map(|id| (id, definition.clone())).collect()
}

/// The buttons of Scope's old Traffic Control plugin, as they were there: words, icons and order.
fn traffic_button(button: Button) -> scope_protocol::Control {
    let (human, icon, rank) = match button {
        Button::Slow => ("Traffic speed: slow", "fa-hourglass-1", 20),
        Button::Medium => ("Traffic speed: medium", "fa-hourglass-2", 21),
        Button::Fast => ("Traffic speed: fast", "fa-hourglass-3", 22),
        Button::PktDropLow => ("Packet drop: low", "fa-cut", 23),
        Button::Clear => ("Clear traffic control settings", "fa-times-circle", 24),
        Button::Set => ("Set traffic control by arguments", "fa-sliders", 25),
    };
    scope_protocol::Control {
        human: human.into(),
        icon: format!("fa {icon}"),
        rank,
        confirmation: None,
    }
}

/// The controls that make sense on a container in its present state, of those that are enabled. The
/// definitions that the controls socket reports never change; what a node names does.
pub fn active_on_container(frozen: bool, enabled: &BTreeSet<Control>) -> BTreeSet<Control> {
    let makes_sense = |control: &Control| match control {
        Control::RestartContainer | Control::FreezeContainer => !frozen,
        Control::ThawContainer => frozen,
        Control::DeletePod | Control::ShapeTraffic => false,
    };
    enabled.iter().copied().filter(makes_sense).collect()
}

/// The buttons that make sense on a container whose pod has a network of its own, on a node that can do this.
/// The one for programs is not among them: on Scope's page it could only refuse.
pub fn active_on_network(enabled: &BTreeSet<Control>, features: &Features) -> Vec<Button> {
    let works = |button: &Button| match button {
        Button::Set => false,
        Button::Clear => features.netem.is_ok() || features.tbf.is_ok(),
        button => !button.needs_netem() || features.netem.is_ok(),
    };
    match enabled.contains(&Control::ShapeTraffic) {
        true => Button::ALL.into_iter().filter(works).collect(),
        false => Vec::new(),
    }
}

/// The report of the controls socket: the controls by topology, and no node.
pub fn controls_report(plugin_id: &str, label: &str, enabled: &BTreeSet<Control>) -> Report {
    let mut report = Report::new(PluginSpec {
        id: format!("{plugin_id}{CONTROLS_SUFFIX}"),
        label: format!("{label} (actions)"),
        description: format!("The buttons of {label}; its figures come from the entry {label}"),
        controller: true,
    });
    for control in enabled {
        let definitions = definitions(*control).into_iter();
        report
            .topology(topology_of(*control))
            .controls
            .extend(definitions.map(|(id, definition)| (id.to_owned(), definition)));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_controls_and_no_nodes() {
        let report = controls_report(
            "node-metrics",
            "Node metrics",
            &BTreeSet::from(Control::ALL),
        );
        assert_eq!(report.plugin.id, "node-metrics-controls");
        assert_eq!(report.plugin.label, "Node metrics (actions)");
        assert!(report.plugin.controller);
        for topology in report.topologies.values() {
            assert!(topology.nodes.is_empty());
            for control in topology.controls.values() {
                assert!(control.rank >= 10);
                assert!(control.icon.starts_with("fa fa-"));
                assert!(!control.human.is_empty());
            }
        }
        assert!(
            report.topologies[&Topology::Pod]
                .controls
                .contains_key("deletePod")
        );
        let of_containers: Vec<_> = report.topologies[&Topology::Container]
            .controls
            .iter()
            .map(|(id, control)| (id.as_str(), control.rank))
            .collect();
        assert_eq!(
            of_containers,
            [
                ("freezeContainer", 12),
                ("restartContainer", 11),
                ("thawContainer", 13),
                ("traffic-control-table-clear", 24),
                ("traffic-control-table-fast", 22),
                ("traffic-control-table-medium", 21),
                ("traffic-control-table-pkt-drop-low", 23),
                ("traffic-control-table-set", 25),
                ("traffic-control-table-slow", 20),
            ]
        );
    }

    #[test]
    fn a_container_shows_what_makes_sense_on_it() {
        use Control::*;
        let all = BTreeSet::from(Control::ALL);
        for (frozen, enabled, active) in [
            (false, &all, vec![RestartContainer, FreezeContainer]),
            (true, &all, vec![ThawContainer]),
            (
                true,
                &BTreeSet::from([RestartContainer, FreezeContainer]),
                vec![],
            ),
            (false, &BTreeSet::from([DeletePod, ThawContainer]), vec![]),
            (false, &BTreeSet::new(), vec![]),
        ] {
            let active: BTreeSet<_> = active.into_iter().collect();
            assert_eq!(
                active_on_container(frozen, enabled),
                active,
                "{frozen} {enabled:?}"
            );
        }
    }

    #[test]
    fn without_netem_its_presets_are_dead() {
        use crate::sample::Cause;
        use crate::traffic::Lack;
        let lack = || {
            Err(Lack {
                words: "none".into(),
                cause: Cause::Absent,
            })
        };
        let on = BTreeSet::from([Control::ShapeTraffic]);
        let all = Button::ALL[..5].to_vec();
        for (netem, tbf, active) in [
            (Ok(()), Ok(()), all.clone()),
            (Ok(()), lack(), all),
            (lack(), Ok(()), vec![Button::Clear]),
            (lack(), lack(), vec![]),
        ] {
            let features = Features { netem, tbf };
            assert_eq!(active_on_network(&on, &features), active);
            assert_eq!(active_on_network(&BTreeSet::new(), &features), []);
        }
    }

    #[test]
    fn ids_are_safe_in_a_url_and_lead_back() {
        for control in Control::ALL {
            for id in control_ids(control) {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
                assert!(id.bytes().all(plain), "{id}");
                assert_eq!(parse_control(id), Some((control, id)));
            }
        }
        assert_eq!(
            scope_control_id("a-b", "deletePod"),
            "a-b-controls~deletePod"
        );
    }
}
