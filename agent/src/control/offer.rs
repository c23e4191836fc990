//! The controls that are offered: what the controls socket reports.

use std::collections::BTreeSet;

use scope_crds::{Control, TargetKind};
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
        Control::EvictPod => vec!["evictPod"],
        Control::RestartRollout => vec!["restartRollout"],
        Control::ScaleUp => vec!["scaleUp"],
        Control::ScaleDown => vec!["scaleDown"],
        Control::PauseRollout => vec!["pauseRollout"],
        Control::ResumeRollout => vec!["resumeRollout"],
        Control::SuspendCronJob => vec!["suspendCronJob"],
        Control::ResumeCronJob => vec!["resumeCronJob"],
        Control::TriggerCronJob => vec!["triggerCronJob"],
        Control::CordonNode => vec!["cordonNode"],
        Control::UncordonNode => vec!["uncordonNode"],
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

/// The topology in which an object of this kind is a node of Scope's.
pub(super) const fn topology_of(kind: TargetKind) -> Topology {
    match kind {
        TargetKind::Pod => Topology::Pod,
        TargetKind::Deployment => Topology::Deployment,
        TargetKind::StatefulSet => Topology::StatefulSet,
        TargetKind::DaemonSet => Topology::DaemonSet,
        TargetKind::CronJob => Topology::CronJob,
        TargetKind::Node => Topology::Host,
    }
}

/// The kinds of node that the control is for, each with the kind of object that a click there is
/// about: of a container, its pod.
pub fn places_of(control: Control) -> Vec<(Topology, TargetKind)> {
    let kinds = control.kinds().iter().copied();
    let place = |kind| match control.is_node_local() {
        true => (Topology::Container, kind),
        false => (topology_of(kind), kind),
    };
    kinds.map(place).collect()
}

/// The buttons of a control. Scope's own end at rank 8; ours begin at 10 on each kind of node.
///
/// A person is asked first where pods or processes end, where something runs that nobody planned, and
/// where something stays undone from then on and nothing on the screen says why.
fn definitions(control: Control) -> Vec<(&'static str, scope_protocol::Control)> {
    let freeze = format!(
        "Stop all processes of this container where they are? They go on by themselves after {} \
         minutes.",
        DEFAULT_DURATION.as_secs() / 60
    );
    let (human, icon, rank, question) = match control {
        Control::ShapeTraffic => {
            let buttons = Button::ALL.into_iter();
            return buttons
                .map(|button| (button.id(), traffic_button(button)))
                .collect();
        }
        Control::DeletePod => (
            "Delete pod",
            "fa-trash-o",
            10,
            Some("Delete this pod? Its controller, if it has one, makes a new one."),
        ),
        Control::EvictPod => (
            "Evict pod",
            "fa-eject",
            11,
            Some(
                "Evict this pod? It is deleted as far as disruption budgets allow it; its \
                 controller, if it has one, makes a new one.",
            ),
        ),
        Control::RestartContainer => (
            "Restart container",
            "fa-repeat",
            11,
            Some(
                "End the first process of this container? It gets SIGTERM and, after its pod's \
                 grace period, SIGKILL; the kubelet starts the container again if the pod's \
                 restart policy says so.",
            ),
        ),
        Control::FreezeContainer => ("Freeze container", "fa-pause", 12, Some(&*freeze)),
        Control::ThawContainer => ("Thaw container", "fa-play", 13, None),
        Control::RestartRollout => (
            "Restart rollout",
            "fa-refresh",
            10,
            Some("Replace all pods of this controller by new ones, as its update strategy says?"),
        ),
        // In the order of Scope's own two.
        Control::ScaleDown => (
            "Scale down by one",
            "fa-minus-square",
            11,
            Some("One replica less? One of the pods ends."),
        ),
        Control::ScaleUp => ("Scale up by one", "fa-plus-square", 12, None),
        Control::PauseRollout => (
            "Pause rollout",
            "fa-pause",
            13,
            Some("Pause the rollout of this Deployment? Its changes wait until it is resumed."),
        ),
        Control::ResumeRollout => (
            "Resume rollout",
            "fa-play",
            14,
            Some("Resume the rollout of this Deployment? What has waited is rolled out at once."),
        ),
        Control::TriggerCronJob => (
            "Run a Job now",
            "fa-bolt",
            10,
            Some("Run a Job of this CronJob now? It runs beside those of the schedule."),
        ),
        Control::SuspendCronJob => (
            "Suspend CronJob",
            "fa-pause",
            11,
            Some(
                "Suspend this CronJob? It makes no Jobs until it is resumed; those that run go on.",
            ),
        ),
        Control::ResumeCronJob => ("Resume CronJob", "fa-play", 12, None),
        Control::CordonNode => (
            "Cordon node",
            "fa-ban",
            10,
            Some(
                "Cordon this node? No new pods come to it until it is uncordoned; those that run \
                 stay.",
            ),
        ),
        Control::UncordonNode => ("Uncordon node", "fa-check-circle", 11, None),
    };
    let definition = scope_protocol::Control {
        human: human.into(),
        icon: format!("fa {icon}"),
        rank,
        confirmation: question.map(str::to_owned),
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
        // On containers by their network, or not on containers.
        _ => false,
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
        for (topology, _) in places_of(*control) {
            let definitions = definitions(*control).into_iter();
            report
                .topology(topology)
                .controls
                .extend(definitions.map(|(id, definition)| (id.to_owned(), definition)));
        }
    }
    report
}

#[cfg(test)]
mod tests;
