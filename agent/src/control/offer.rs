//! The controls that are offered: what the controls socket reports.

use std::collections::BTreeSet;

use scope_crds::Control;
use scope_protocol::{PluginSpec, Report, Topology};

use crate::container_control::DEFAULT_DURATION;

/// The controls socket's ID is the plugin's with this behind it. Two sockets, because the probe
/// takes Scope's own buttons away from every node that a plugin with controls reports.
pub const CONTROLS_SUFFIX: &str = "-controls";

/// The control's ID on the wire.
pub fn control_id(control: Control) -> &'static str {
    match control {
        Control::DeletePod => "deletePod",
        Control::RestartContainer => "restartContainer",
        Control::FreezeContainer => "freezeContainer",
        Control::ThawContainer => "thawContainer",
    }
}

/// The control's ID as Scope knows it, to be named in nodes.
pub fn scope_control_id(plugin_id: &str, control: Control) -> String {
    format!("{plugin_id}{CONTROLS_SUFFIX}~{}", control_id(control))
}

/// The control with this ID on the wire.
pub(super) fn parse_control(id: &str) -> Option<Control> {
    Control::ALL
        .into_iter()
        .find(|control| control_id(*control) == id)
}

/// The kind of node that the control is for.
pub fn topology_of(control: Control) -> Topology {
    match control {
        Control::DeletePod => Topology::Pod,
        Control::RestartContainer | Control::FreezeContainer | Control::ThawContainer => {
            Topology::Container
        }
    }
}

fn definition(control: Control) -> scope_protocol::Control {
    match control {
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
    }
}

/// The controls that make sense on a container in its present state, of those that are enabled. The
/// definitions that the controls socket reports never change; what a node names does.
pub fn active_on_container(frozen: bool, enabled: &BTreeSet<Control>) -> BTreeSet<Control> {
    let makes_sense = |control: &Control| match control {
        Control::RestartContainer | Control::FreezeContainer => !frozen,
        Control::ThawContainer => frozen,
        Control::DeletePod => false,
    };
    enabled.iter().copied().filter(makes_sense).collect()
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
        report
            .topology(topology_of(*control))
            .controls
            .insert(control_id(*control).into(), definition(*control));
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
                ("thawContainer", 13)
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
    fn ids_are_safe_in_a_url_and_lead_back() {
        for control in Control::ALL {
            let id = control_id(control);
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
            assert_eq!(parse_control(id), Some(control));
        }
        assert_eq!(
            scope_control_id("a-b", Control::DeletePod),
            "a-b-controls~deletePod"
        );
    }
}
