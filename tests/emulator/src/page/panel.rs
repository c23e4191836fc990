//! What opens on a click on a node.

use std::collections::BTreeMap;

use super::Tab;
use super::summary::{Summary, summary};
use crate::kind::Kind;
use crate::render::{Drawn, Scene};
use crate::report::Control;
use crate::version::Version;

/// The groups of nodes inside a node that come first, in their order; others follow.
const FIRST_GROUPS: [(Kind, &str); 10] = [
    (Kind::Pod, "Pods"),
    (Kind::EcsTask, "Tasks"),
    (Kind::Container, "Containers"),
    (Kind::Process, "Processes"),
    (Kind::ContainerImage, "Container images"),
    (Kind::PersistentVolume, "Persistent Volumes"),
    (Kind::PersistentVolumeClaim, "Persistent Volume Claims"),
    (Kind::StorageClass, "Storage Classes"),
    (Kind::VolumeSnapshot, "Volume Snapshots"),
    (Kind::VolumeSnapshotData, "Volume Snapshot Data"),
];

/// A node's panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What the view shows of it too.
    pub summary: Summary,
    /// Its buttons, in the order in which the node lists them; the page sorts them by rank.
    pub controls: Vec<ShownControl>,
    /// What is inside it, or belongs to it.
    pub children: Vec<Group>,
}

impl Panel {
    /// The nodes of a topology inside it.
    pub fn children(&self, kind: Kind) -> &[Summary] {
        let group = self.children.iter().find(|group| group.kind == kind);
        group.map_or(&[], |group| &group.nodes)
    }

    /// The ids of the buttons, in the node's order.
    pub fn control_ids(&self) -> Vec<&str> {
        let ids = self.controls.iter();
        ids.map(|shown| shown.control.id.as_str()).collect()
    }
}

/// A button on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownControl {
    /// The probe that a click goes to.
    pub probe_id: String,
    /// What the button is.
    pub control: Control,
}

/// Nodes of one topology inside a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their topology.
    pub kind: Kind,
    /// The heading.
    pub label: String,
    /// The view that a click on one of them leads to.
    pub tab: Tab,
    /// The nodes, by their ids. Scope forgets them where a topology has no heading of its own.
    pub nodes: Vec<Summary>,
}

pub(super) fn panel(scene: &Scene, version: Version, node: &Drawn) -> Option<Panel> {
    let controls = Kind::of_name(&node.topology)
        .map(|kind| controls(scene, version, kind, &node.id))
        .unwrap_or_default();
    Some(Panel {
        summary: summary(scene, node)?,
        controls,
        children: groups(scene, node),
    })
}

/// A button needs a node under this very key, the probe that carries it out, the node's word that it
/// is active, and its description in the topology.
pub(super) fn controls(scene: &Scene, version: Version, kind: Kind, id: &str) -> Vec<ShownControl> {
    let Some(node) = scene.reported(kind).get(id) else {
        return Vec::new();
    };
    let Some(probe_id) = node.latest("control_probe_id") else {
        return Vec::new();
    };
    let active: Vec<&str> = if version.joins_controls() {
        node.active_controls()
    } else {
        let live = node.latest_controls.iter().filter(|(_, is)| !is.dead);
        live.map(|(id, _)| id.as_str()).collect()
    };
    let known = &scene.report.topology(kind).controls;
    let shown = active.into_iter().filter_map(|id| known.get(id));
    shown
        .map(|control| ShownControl {
            probe_id: probe_id.to_owned(),
            control: control.clone(),
        })
        .collect()
}

fn groups(scene: &Scene, node: &Drawn) -> Vec<Group> {
    let mut inside: BTreeMap<Kind, Vec<Summary>> = BTreeMap::new();
    for child in node.children.values().filter(|child| child.id != node.id) {
        let kind = Kind::of_name(&child.topology);
        if let (Some(kind), Some(summary)) = (kind, summary(scene, child)) {
            inside.entry(kind).or_default().push(summary);
        }
    }
    let mut groups = Vec::new();
    for (kind, label) in FIRST_GROUPS {
        if let (Some(tab), Some(nodes)) = (Tab::of(kind), inside.remove(&kind)) {
            groups.push(Group {
                kind,
                label: label.to_owned(),
                tab,
                nodes,
            });
        }
    }
    for (kind, _) in inside {
        if let Some(tab) = Tab::of(kind) {
            groups.push(Group {
                kind,
                label: kind.plural().to_owned(),
                tab,
                nodes: Vec::new(),
            });
        }
    }
    groups
}
