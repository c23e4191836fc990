//! The node of this host: what Scope's probe does not tell of it.

use std::collections::BTreeMap;

use scope_crds::Collector;
use scope_protocol::report::{TableKind, TableTemplate};
use scope_protocol::{Node, Topology};

use super::composer::Composer;
use super::metric::{self, Scales};
use crate::inventory::{Inventory, NodeObject};
use crate::sample::Mode;

/// Begins the keys of the table of the Node object, and is its ID. The rest of a key is the row's
/// label.
const NODE: &str = "kubernetes_node_";
/// The same for its labels, which have a table of their own: Scope shows twenty rows of each.
const LABELS: &str = "kubernetes_nodelabel_";

/// The control of the probe's own on a host. One string holds all of a node's controls, so whoever adds
/// one must name this too.
const HOST_CONTROLS: [&str; 1] = ["host_exec"];

/// Adds the host. Its CPU, memory and names are the probe's.
pub(super) fn add(composer: &mut Composer<'_>) {
    let usage = composer.usage;
    let id = composer.host.clone();
    let mut node = Node::default();
    let collectors = composer.settings.collectors;
    let mut meter = composer.meter(&mut node, Scales::default());
    meter.waiting(usage.host.waiting);
    meter.pressure(usage.host.pressure);
    let object = collectors.has(Collector::Resources);
    if let Mode::Cluster(inventory) = composer.mode {
        if object && composer.has_names(&id) {
            for (key, value) in rows(inventory) {
                node.set(key, composer.at, value);
            }
        }
        // Before the Node object was read they could only refuse.
        let ours = &composer.settings.controls.host;
        if !ours.is_empty() && inventory.node_uid().is_some() && composer.has_controls(&id) {
            composer.name_controls(&mut node, &HOST_CONTROLS, ours);
        }
    }
    let hosts = composer.report.topology(Topology::Host);
    hosts.metric_templates = metric::host_templates(collectors);
    if let Mode::Cluster(_) = composer.mode
        && object
    {
        hosts.table_templates = BTreeMap::from([
            table(NODE, "Kubernetes node"),
            table(LABELS, "Kubernetes node labels"),
        ]);
    }
    if node != Node::default() {
        hosts.nodes.insert(id, node);
    }
}

fn table(prefix: &str, label: &str) -> (String, TableTemplate) {
    let template = TableTemplate {
        label: label.to_owned(),
        prefix: prefix.to_owned(),
        kind: TableKind::PropertyList {
            fixed_rows: BTreeMap::new(),
        },
    };
    (prefix.to_owned(), template)
}

/// The rows of both tables by key. What is not known has no row.
fn rows(inventory: &Inventory) -> BTreeMap<String, String> {
    let Some(object) = &inventory.node else {
        return BTreeMap::new();
    };
    let NodeObject {
        uid: _,
        kubelet,
        kernel,
        system,
        runtime,
        architecture,
        roles,
        labels,
        taints,
        unschedulable,
        conditions,
        allocatable,
    } = &**object;
    let pods = inventory.pods.len();
    let pods = match allocatable.get("pods") {
        Some(most) => format!("{pods} of {most}"),
        None => pods.to_string(),
    };
    let resources: Vec<String> = allocatable
        .iter()
        .filter(|(resource, _)| *resource != "pods")
        .map(|(resource, amount)| format!("{resource} {amount}"))
        .collect();
    let scheduling = if *unschedulable {
        "off (cordoned)"
    } else {
        "on"
    };
    let own = [
        ("Kubelet", kubelet.clone()),
        ("Kernel", kernel.clone()),
        ("Operating system", system.clone()),
        ("Container runtime", runtime.clone()),
        ("Architecture", architecture.clone()),
        ("Roles", roles.join(", ")),
        ("Taints", taints.join(", ")),
        ("Allocatable", resources.join(", ")),
        ("Pods", pods),
        ("Scheduling", scheduling.to_owned()),
    ];
    let conditions = conditions
        .iter()
        .map(|(condition, state)| (format!("{NODE}Condition {condition}"), state.clone()));
    let labels = labels
        .iter()
        .map(|(label, value)| (format!("{LABELS}{label}"), value.clone()));
    own.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(row, value)| (format!("{NODE}{row}"), value))
        .chain(conditions)
        .chain(labels)
        .collect()
}
