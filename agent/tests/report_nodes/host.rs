//! The Host node: pressure and the tables of the Node object.

use std::sync::Arc;

use scope_agent::attribution::attribute;
use scope_agent::inventory::NodeObject;
use scope_agent::sample::Mode;
use scope_protocol::Topology;
use scope_protocol::report::TableKind;

use crate::made_node::{Layout, MadeNode};
use crate::reported::{known, latest, metric, node, report, settings, write};

const HOST: &str = "node1;<host>";

#[test]
fn the_host_waits_in_percent() {
    let made = MadeNode::new(Layout::V1Systemd);
    let mut sampler = made.sampler();
    write(&made, 0);
    let first = sampler.take(Mode::Standalone);
    made.pass(std::time::Duration::from_secs(1));
    made.host_waits(400_000);
    let second = sampler.take(Mode::Standalone);
    let usage = attribute(Some(&first), &second, Mode::Standalone);
    let report = report(&usage, Mode::Standalone, &settings());
    let host = node(&report, Topology::Host, HOST);
    assert_eq!(metric(host, "psi_cpu_some"), Some((40.0, 100.0)));
    assert_eq!(metric(host, "psi_memory_some"), Some((20.0, 100.0)));
    assert_eq!(metric(host, "psi_memory_full"), Some((10.0, 100.0)));
    assert_eq!(metric(host, "psi_io_full"), Some((5.0, 100.0)));
    assert_eq!(host.metrics.len(), 5, "full has no meaning for the CPU");
    let topology = &report.topologies[&Topology::Host];
    assert!(topology.table_templates.is_empty(), "no Kubernetes");
    assert!(
        host.metrics
            .keys()
            .all(|id| topology.metric_templates.contains_key(id))
    );
}

#[test]
fn the_node_object_is_a_table_of_the_host() {
    let mut known = known();
    let text = |text: &str| text.to_owned();
    known.node = Some(Arc::new(NodeObject {
        kubelet: text("v1.31.2"),
        kernel: text("6.1.0"),
        roles: vec![text("control-plane"), text("etcd")],
        labels: [(text("zone"), text("a")), (text("empty"), text(""))].into(),
        taints: vec![text("dedicated=gpu:NoSchedule")],
        unschedulable: true,
        conditions: [(text("Ready"), text("False (KubeletNotReady)"))].into(),
        allocatable: [("cpu", "4"), ("memory", "7Gi"), ("pods", "110")]
            .map(|(resource, amount)| (text(resource), text(amount)))
            .into(),
        ..NodeObject::default()
    }));
    let mode = Mode::Cluster(&known);
    let report = report(&crate::reported::usage(mode), mode, &settings());
    let host = node(&report, Topology::Host, HOST);
    for (row, value) in [
        ("Kubelet", Some("v1.31.2")),
        ("Kernel", Some("6.1.0")),
        ("Architecture", None),
        ("Roles", Some("control-plane, etcd")),
        ("Taints", Some("dedicated=gpu:NoSchedule")),
        ("Allocatable", Some("cpu 4, memory 7Gi")),
        ("Pods", Some("4 of 110")),
        ("Scheduling", Some("off (cordoned)")),
        ("Condition Ready", Some("False (KubeletNotReady)")),
    ] {
        assert_eq!(
            latest(host, &format!("kubernetes_node_{row}")),
            value,
            "{row}"
        );
    }
    assert_eq!(latest(host, "kubernetes_nodelabel_zone"), Some("a"));
    assert_eq!(latest(host, "kubernetes_nodelabel_empty"), Some(""));
    let templates = &report.topologies[&Topology::Host].table_templates;
    let prefixes: Vec<&str> = templates.values().map(|table| &*table.prefix).collect();
    assert_eq!(prefixes, ["kubernetes_node_", "kubernetes_nodelabel_"]);
    // Each row is of one table, and no table needs keys of a certain form.
    for key in host.latest.keys() {
        assert_eq!(
            prefixes
                .iter()
                .filter(|prefix| key.starts_with(**prefix))
                .count(),
            1
        );
    }
    assert!(
        templates
            .values()
            .all(|table| matches!(table.kind, TableKind::PropertyList { .. }))
    );
}
