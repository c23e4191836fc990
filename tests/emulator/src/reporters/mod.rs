//! What a probe reports by itself, from what is [really there](crate::truth).
//!
//! * [`host`], [`process`]: of a machine, by the probe of that machine;
//! * [`cri`], [`docker`]: its containers, by one or the other, or neither;
//! * [`kubernetes`]: the objects of the cluster, by the probe of the cluster;
//! * [`walk`]: the processes of a real machine;
//! * [`templates`]: how all of that is shown.

mod cri;
mod docker;
mod host;
mod kubernetes;
mod process;
mod templates;
mod walk;

pub(crate) use cri::containers as cri_containers;
pub(crate) use docker::docker;
pub(crate) use host::host;
pub(crate) use kubernetes::{deleted_pods, kubernetes, pod_id, pods};
pub(crate) use process::{endpoints, processes};
pub(crate) use walk::processes as processes_below;

use crate::report::{ACTIVE_CONTROLS, Control, LatestControl, Metric, Node, Sample, Topology};
use crate::stamp::Stamp;
use crate::version::Version;

/// Who reports, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    pub(crate) probe_id: &'a str,
    pub(crate) version: Version,
    pub(crate) now: Stamp,
}

/// A node under its own id.
fn add(topology: &mut Topology, node: Node) {
    topology.nodes.insert(node.id.clone(), node);
}

/// Values that are all of one time.
fn with_values(mut node: Node, now: Stamp, values: &[(&str, &str)]) -> Node {
    for (key, value) in values {
        node.set_latest(key, now, value);
    }
    node
}

/// The controls of a node, both as releases from 1.13 on and as older ones say them.
fn offer(node: &mut Node, now: Stamp, controls: &[&str]) {
    node.set_latest(ACTIVE_CONTROLS, now, &controls.join(";"));
    let alive = LatestControl {
        stamp: now,
        dead: false,
    };
    let alive = controls.iter().map(|id| ((*id).to_owned(), alive));
    node.latest_controls.extend(alive);
}

/// Adds a metric with one sample.
fn measure(node: &mut Node, now: Stamp, id: &str, value: f64, max: f64) {
    let metric = Metric {
        samples: vec![Sample { date: now, value }],
        min: value,
        max: value.max(max),
    };
    node.metrics.insert(id.to_owned(), metric);
}

/// Describes a control of a topology.
fn describe(topology: &mut Topology, id: &str, human: &str, icon: &str, rank: i64) {
    let control = Control {
        id: id.to_owned(),
        human: human.to_owned(),
        icon: icon.to_owned(),
        confirmation: String::new(),
        rank,
    };
    topology.controls.insert(control.id.clone(), control);
}
