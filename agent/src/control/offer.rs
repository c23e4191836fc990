//! The controls that are offered: what the controls socket reports.

use std::collections::BTreeSet;

use scope_crds::Control;
use scope_protocol::{PluginSpec, Report, Topology};

/// The controls socket's ID is the plugin's with this behind it. Two sockets, because the probe
/// takes Scope's own buttons away from every node that a plugin with controls reports.
pub const CONTROLS_SUFFIX: &str = "-controls";

/// The control's ID on the wire.
pub fn control_id(control: Control) -> &'static str {
    match control {
        Control::DeletePod => "deletePod",
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
pub(super) fn topology_of(control: Control) -> Topology {
    match control {
        Control::DeletePod => Topology::Pod,
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
