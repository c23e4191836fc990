//! Pod nodes, their controllers and their namespaces.

use std::collections::BTreeMap;

use scope_protocol::{Metric, Node, NodeId, Timestamp, Topology};

use super::composer::Composer;
use super::controllers;
use super::http;
use super::images;
use super::metric::Scales;
use super::podless;
use super::services;
use super::volumes;
use crate::attribution::Figures;
use crate::inventory::{Inventory, Owner, Pod};
use crate::sample::Mode;

pub(super) const NAME: &str = "kubernetes_name";
pub(super) const NAMESPACE: &str = "kubernetes_namespace";

/// The controls of the probe's own on a pod, in its order. One string holds all of a node's
/// controls, so whoever adds one must name these too.
const POD_CONTROLS: [&str; 3] = [
    "kubernetes_get_logs",
    "kubernetes_delete_pod",
    "kubernetes_describe",
];
/// The same on a Deployment.
const DEPLOYMENT_CONTROLS: [&str; 3] = [
    "kubernetes_scale_up",
    "kubernetes_scale_down",
    "kubernetes_describe",
];
/// The same on every other controller.
const CONTROLLER_CONTROLS: [&str; 1] = ["kubernetes_describe"];

/// The metric that keeps a namespace in the report. It has no template and so is not shown.
pub(super) const NAMESPACE_PODS: &str = "pods";

/// The topologies to which Scope lifts the metrics of a single pod, given the templates.
pub(super) const CONTROLLERS: [Topology; 5] = [
    Topology::Deployment,
    Topology::DaemonSet,
    Topology::StatefulSet,
    Topology::CronJob,
    Topology::Job,
];

/// Adds the pods and what they belong to.
pub(super) fn add(composer: &mut Composer<'_>) {
    composer.add_metric_templates(Topology::Pod, true);
    volumes::add_templates(composer, Topology::Pod);
    for topology in CONTROLLERS {
        composer.add_metric_templates(topology, true);
    }
    let usage = composer.usage;
    let mut scales = Scales::new(usage.host.cpus, usage.host.memory_total);
    usage.pods.values().for_each(|pod| scales.include(pod));
    let http = usage.http.pods.values();
    http.for_each(|rates| scales.include_http(rates));

    match composer.mode {
        Mode::Cluster(inventory) => {
            services::add_templates(composer);
            images::add_templates(composer);
            for pod in inventory.pods.values() {
                let used = usage.pods.get(&*pod.id).copied().unwrap_or_default();
                add_pod(composer, scales, &pod.id, used, Some(pod));
                add_owners(composer, inventory, pod);
            }
            controllers::add(composer, inventory);
            podless::add(composer, inventory);
            add_namespaces(composer, inventory);
        }
        Mode::Standalone => {
            for (id, used) in &usage.pods {
                add_pod(composer, scales, id, *used, None);
            }
        }
    }
}

/// The namespace is not named in a pod: a report with one that holds no such Namespace node makes
/// the app invent a second one.
fn add_pod(
    composer: &mut Composer<'_>,
    scales: Scales,
    id: &str,
    usage: Figures,
    known: Option<&Pod>,
) {
    let node_id = NodeId::pod(id).to_string();
    let mut node = Node::default();
    let mut meter = composer.meter(&mut node, scales);
    if composer.mending {
        meter.scopes_own(usage.cpu, usage.memory);
    }
    if composer.has_pod_metrics(&node_id) {
        let network = usage
            .network
            .filter(|_| known.is_none_or(|pod| !pod.host_network));
        meter.further(&Figures { network, ..usage });
        meter.fullest_volume(known.and_then(|pod| volumes::fullest(composer, pod)));
        if let Some(rates) = composer.usage.http.pods.get(id) {
            http::set(&mut meter, rates);
        }
    }
    if composer.share.has_state(&node_id) {
        if composer.mending {
            node.add_parent(Topology::Host, composer.host.clone());
        }
        for owner in known.into_iter().flat_map(|pod| &pod.owners) {
            if let Some(owner_id) = owner_id(owner).filter(|_| is_told(composer, owner)) {
                node.add_parent(owner.topology, owner_id);
            }
        }
    }
    if composer.has_names(&node_id) {
        let own = &composer.settings.controls.pod;
        if !own.is_empty() {
            composer.name_controls(&mut node, &POD_CONTROLS, own);
        }
        if let Some(pod) = known {
            volumes::describe_pod(composer, &mut node, pod);
        }
        if !node.latest.is_empty() {
            composer.mark(&mut node);
        }
    }
    if node != Node::default() {
        composer
            .report
            .topology(Topology::Pod)
            .nodes
            .insert(node_id, node);
    }
}

/// Whether pods are told to be the owner's. Without mending a CronJob is drawn for its controls alone,
/// and no probe can tell which pods it has.
fn is_told(composer: &Composer<'_>, owner: &Owner) -> bool {
    composer.mending
        || owner.topology == Topology::CronJob && !composer.settings.controls.cron_job.is_empty()
}

/// Controllers carry no metrics of this node alone: its pods are only some of theirs, and Scope would
/// show the sums of all nodes in turn. They carry their names, since the probe cannot list CronJobs
/// of any current Kubernetes, and their controls.
fn add_owners(composer: &mut Composer<'_>, inventory: &Inventory, pod: &Pod) {
    let owners = &pod.owners;
    let namespace = &*pod.namespace;
    for (n, owner) in owners.iter().enumerate() {
        let Some(id) = owner_id(owner) else {
            continue;
        };
        let mut told = Node::default();
        let has_state = composer.mending && composer.share.has_state(&id);
        let ours = composer.settings.controls.on_controller(owner.topology);
        match ours.is_empty() {
            true if has_state => told.set(NAME, composer.stamp, &*owner.name),
            false if composer.has_controls(&id) => {
                name_controls(composer, &mut told, owner.topology, &owner.name, ours);
            }
            _ => {}
        }
        // By this Scope finds what is in a namespace, and no probe says it of a CronJob. The Namespace has to be
        // in the same report, or the app invents one.
        if owner.topology == Topology::CronJob
            && !told.latest.is_empty()
            && inventory.namespaces.contains_key(namespace)
        {
            told.set(NAMESPACE, composer.stamp, namespace);
        }
        // The app replaces a pod's ReplicaSet by the ReplicaSet's Deployment.
        if has_state
            && let Some((above, id)) = owners
                .get(n + 1)
                .and_then(|o| Some((o.topology, owner_id(o)?)))
        {
            told.add_parent(above, id);
        }
        if told == Node::default() {
            continue;
        }
        // Another pod of it may have been there before.
        let node = composer.report.topology(owner.topology).node(id);
        node.latest.extend(told.latest);
        node.control_probe = told.control_probe;
        for (above, ids) in told.parents {
            node.parents.entry(above).or_default().extend(ids);
        }
    }
}

/// Names the controls of a controller, and itself: it may be drawn before a probe tells its name. That
/// goes out in the turns of the controls alone, which makes up for most of what these cost.
pub(super) fn name_controls(
    composer: &Composer<'_>,
    node: &mut Node,
    topology: Topology,
    name: &str,
    ours: &[String],
) {
    let scopes_own: &[&str] = match topology {
        Topology::Deployment => &DEPLOYMENT_CONTROLS,
        _ => &CONTROLLER_CONTROLS,
    };
    node.set(NAME, composer.stamp, name);
    composer.name_controls(node, scopes_own, ours);
    // A probe that lists the controller says itself that it takes the clicks, and stamps that with its
    // own time. None can list CronJobs.
    if topology == Topology::CronJob {
        node.control_probe = Some(Timestamp::from_unix_micros(0));
    }
    composer.mark(node);
}

pub(super) fn owner_id(owner: &Owner) -> Option<String> {
    NodeId::object(owner.topology, &owner.uid).map(|id| id.to_string())
}

/// Each namespace of a pod here is in every report, and with a metric, so that it is in every
/// publish of the probe too: a publish that has a pod and not its namespace makes the app invent
/// a second namespace of that name.
fn add_namespaces(composer: &mut Composer<'_>, inventory: &Inventory) {
    let mut pods: BTreeMap<&str, u64> = BTreeMap::new();
    for pod in inventory.pods.values() {
        *pods.entry(&pod.namespace).or_default() += 1;
    }
    for (name, count) in pods {
        let id = inventory.namespaces.get(name);
        let Some(id) = id.and_then(|uid| NodeId::object(Topology::Namespace, uid)) else {
            continue;
        };
        let at = composer.at;
        let mut node = Node::default();
        node.set(NAME, composer.stamp, name);
        let metric = Metric::single(at, count as f64, count as f64);
        node.metrics.insert(NAMESPACE_PODS.to_owned(), metric);
        composer
            .report
            .topology(Topology::Namespace)
            .nodes
            .insert(id.to_string(), node);
    }
}
