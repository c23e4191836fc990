//! The Host node: pressure and the tables of the Node object.

use std::sync::Arc;

use scope_agent::Collectors;
use scope_agent::attribution::attribute;
use scope_agent::collect::{ControlNames, Mend, Settings};
use scope_agent::inventory::{Inventory, NodeObject};
use scope_agent::sample::Mode;
use scope_crds::Collector;
use scope_protocol::report::TableKind;
use scope_protocol::{Report, Topology};

use crate::made_node::{Layout, MadeNode, uid};
use crate::reported::{known, latest, metric, node, now, report, settings, write};

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
    assert_eq!(
        host.metrics
            .keys()
            .filter(|id| id.starts_with("psi_"))
            .count(),
        5,
        "full has no meaning for the CPU"
    );
    let topology = &report.topologies[&Topology::Host];
    assert!(topology.table_templates.is_empty(), "no Kubernetes");
    assert!(
        host.metrics
            .keys()
            .all(|id| topology.metric_templates.contains_key(id))
    );
}

/// A mean since boot would say that the node idles, and so would whoever shows one of the two at a time.
#[test]
fn waiting_for_io_moves_within_one_interval() {
    let made = MadeNode::new(Layout::V2Systemd);
    let collectors = Collectors::from_iter([Collector::IOWait]);
    let mut sampler = made.sampler_for(collectors);
    let settings = Settings {
        collectors,
        ..settings()
    };
    // A day of idling, then seconds of another kind each.
    let (mut busy, mut idle, mut io_wait) = (1_000, 17_000_000, 2_000);
    made.cpu_times(busy, idle, io_wait);
    let mut before = sampler.take(Mode::Standalone);
    let first = report(
        &attribute(None, &before, Mode::Standalone),
        Mode::Standalone,
        &settings,
    );
    let told = |report: &Report, id| {
        let host = report.topologies[&Topology::Host].nodes.get(HOST);
        host.and_then(|host| metric(host, id))
    };
    assert_eq!(
        told(&first, "iowait"),
        None,
        "not before there is an interval"
    );
    for (computing, idling, waiting) in [(20, 180, 0), (20, 20, 160), (0, 0, 200), (0, 200, 0)] {
        made.pass(std::time::Duration::from_secs(1));
        (busy, idle, io_wait) = (busy + computing, idle + idling, io_wait + waiting);
        made.cpu_times(busy, idle, io_wait);
        let now = sampler.take(Mode::Standalone);
        let usage = attribute(Some(&before), &now, Mode::Standalone);
        let report = report(&usage, Mode::Standalone, &settings);
        let percent = |ticks: u64| Some((ticks as f64 / 2.0, 100.0));
        assert_eq!(told(&report, "iowait"), percent(waiting));
        assert_eq!(told(&report, "idle"), percent(idling));
        before = now;
    }
}

#[test]
fn the_iowait_collector_alone_brings_waiting_for_io_and_nothing_else() {
    let made = MadeNode::new(Layout::V2Systemd);
    let collectors = Collectors::from_iter([Collector::IOWait]);
    let mut sampler = made.sampler_for(collectors);
    let known = known();
    let mode = Mode::Cluster(&known);
    write(&made, 0);
    let first = sampler.take(mode);
    made.pass(std::time::Duration::from_secs(1));
    write(&made, 1);
    let second = sampler.take(mode);
    assert!(second.problems.is_empty(), "{:?}", second.problems);
    let usage = attribute(Some(&first), &second, mode);
    for (mend, scopes_own) in [
        (Mend::Never, &[][..]),
        (
            Mend::Always,
            &["docker_cpu_total_usage", "docker_memory_usage"],
        ),
    ] {
        let settings = Settings {
            collectors,
            mend,
            ..settings()
        };
        let report = report(&usage, mode, &settings);
        for (topology, own) in [
            (Topology::Host, &["idle", "iowait"][..]),
            (Topology::Pod, scopes_own),
            (Topology::Container, scopes_own),
            (Topology::Deployment, scopes_own),
        ] {
            let want: Vec<&str> = own
                .iter()
                .copied()
                .chain(["psi_io_full", "psi_io_some"])
                .collect();
            let topology = &report.topologies[&topology];
            let templates: Vec<&str> = topology.metric_templates.keys().map(|id| &**id).collect();
            assert_eq!(templates, want);
            assert!(topology.table_templates.is_empty());
            for (id, node) in &topology.nodes {
                let has: Vec<&str> = node.metrics.keys().map(|id| &**id).collect();
                assert!(has == want || has.is_empty(), "{id}: {has:?}");
            }
        }
        let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid('1')));
        assert!(metric(pod, "psi_io_some").is_some());
    }
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

#[test]
fn the_host_has_buttons_once_its_node_object_is_known() {
    let mut known = known();
    let ours = vec!["nm-controls~cordonNode".to_owned()];
    let with_controls = |host: &[String]| Settings {
        // With whatever is collected.
        collectors: Collectors::from_iter([Collector::IOWait]),
        controls: ControlNames {
            host: host.to_vec(),
            ..settings().controls
        },
        ..settings()
    };
    let usage = crate::reported::usage(Mode::Cluster(&known));
    let told = |known: &Inventory, host: &[String]| {
        let report = report(&usage, Mode::Cluster(known), &with_controls(host));
        let node = node(&report, Topology::Host, HOST);
        assert_eq!(node.control_probe, None, "the probe says it itself");
        node.latest.get("active_controls").cloned()
    };
    assert_eq!(told(&known, &ours), None, "they could only refuse");
    // An API server that leaves the UID out is none that could be asked for anything.
    known.node = Some(Arc::default());
    assert_eq!(told(&known, &ours), None);
    known.node = Some(Arc::new(NodeObject {
        uid: "0a1b2c3d".into(),
        ..NodeObject::default()
    }));
    let controls = told(&known, &ours).expect("named");
    assert_eq!(controls.value, "host_exec;nm-controls~cordonNode");
    let ahead = now().plus(std::time::Duration::from_secs(30));
    assert_eq!(controls.timestamp, ahead);
    assert_eq!(told(&known, &[]), None, "left alone");
}
