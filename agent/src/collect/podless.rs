//! Controllers that have no pod on any node: nobody else tells of them, so two agents do. They go out in the
//! turns of other controllers' controls.

use std::collections::BTreeSet;

use scope_protocol::{Metric, Node, NodeId, Topology};
use scope_totals_wire::{Controller, Object};

use super::composer::Composer;
use super::kubernetes::{NAME, NAMESPACE, NAMESPACE_PODS, name_controls};
use crate::inventory::Inventory;
use crate::totals::{object, podless_topology};

/// Adds those that this agent was told to draw.
pub(super) fn add(composer: &mut Composer<'_>, inventory: &Inventory) {
    let settings = composer.settings;
    let Some(totals) = &settings.totals else {
        return;
    };
    let controllers = totals.podless();
    if controllers.is_empty() {
        return;
    }
    // What has got a pod here since is told with that.
    let owners = inventory.pods.values().flat_map(|pod| &pod.owners);
    let here: BTreeSet<Object> = owners.filter_map(object).collect();
    for controller in controllers {
        let Controller { kind, uid, .. } = *controller;
        if !here.contains(&Object { kind, uid }) {
            add_controller(composer, controller);
        }
    }
}

/// Scope finds what is in a namespace by the namespace's name, and draws a namespace of that name for itself
/// in a publish that has none: so the Namespace is in each report that names it. Where Scope is not mended
/// its probe lists them, and only those are told that have controls.
fn add_controller(composer: &mut Composer<'_>, controller: &Controller) {
    let Some(topology) = podless_topology(controller.kind) else {
        return;
    };
    let ids = [
        (topology, controller.uid),
        (Topology::Namespace, controller.namespace_uid),
    ];
    let [Some(id), Some(namespace)] =
        ids.map(|(topology, uid)| NodeId::object(topology, &uid.to_string()))
    else {
        return;
    };
    let id = id.to_string();
    let ours = composer.settings.controls.on_controller(topology);
    if ours.is_empty() && !composer.mending || !composer.has_controls(&id) {
        return;
    }
    let mut node = Node::default();
    match ours.is_empty() {
        true => {
            node.set(NAME, composer.stamp, &*controller.name);
            composer.mark(&mut node);
        }
        false => name_controls(composer, &mut node, topology, &controller.name, ours),
    }
    node.set(NAMESPACE, composer.stamp, &*controller.namespace);
    composer.report.topology(topology).nodes.insert(id, node);
    add_namespace(composer, namespace.to_string(), &controller.namespace);
}

/// As a namespace of pods, with none of them here.
fn add_namespace(composer: &mut Composer<'_>, id: String, name: &str) {
    let mut node = Node::default();
    node.set(NAME, composer.stamp, name);
    composer.mark(&mut node);
    let metric = Metric::single(composer.at, 0.0, 0.0);
    node.metrics.insert(NAMESPACE_PODS.to_owned(), metric);
    let namespaces = &mut composer.report.topology(Topology::Namespace).nodes;
    namespaces.entry(id).or_insert(node);
}
