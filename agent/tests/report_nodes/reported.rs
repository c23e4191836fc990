//! A made node with some pods, and the report of it.

use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::attribution::{Usage, attribute};
use scope_agent::collect::{self, ControlNames, Mend, Settings, Share};
use scope_agent::container_control::SparedPods;
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_protocol::conformance::{Answer, Rule, check_report};
use scope_protocol::{Node, Report, Timestamp, Topology, encode};

use crate::made_node::inventory::{inventory, owner, pod};
use crate::made_node::{Cgroup, Class, EPOCH_MICROS, Layout, MIB, MadeNode, Process, id, uid};

/// Web is a Deployment's pod, backup a CronJob's, log a DaemonSet's on the node's network, waiting
/// has not started.
pub(crate) fn known() -> Inventory {
    let mut web = pod(
        &uid('1'),
        "web-5d-x",
        &[(&id('b'), "app"), (&id('c'), "sidecar")],
    );
    web.owners = vec![
        owner(Topology::ReplicaSet, "rs-uid", "web-5d"),
        owner(Topology::Deployment, "deploy-uid", "web"),
    ];
    let mut backup = pod(&uid('2'), "backup-1-y", &[(&id('d'), "dump")]);
    backup.owners = vec![
        owner(Topology::Job, "job-uid", "backup-1"),
        owner(Topology::CronJob, "cron-uid", "backup"),
    ];
    let mut log = pod(&uid('3'), "log-z", &[(&id('e'), "tail")]);
    log.owners = vec![owner(Topology::DaemonSet, "daemon-uid", "log")];
    log.host_network = true;
    log.namespace = "system".into();
    let mut waiting = pod(&uid('4'), "db-0", &[]);
    waiting.owners = vec![owner(Topology::StatefulSet, "stateful-uid", "db")];
    inventory([web, backup, log, waiting])
}

pub(crate) fn write(node: &MadeNode, seconds: u64) {
    let mut pid = 100;
    for (class, pod, container, millicores, limit) in [
        (Class::Burstable, '1', 'b', 100, Some(64 * MIB)),
        (Class::Burstable, '1', 'c', 0, None),
        (Class::BestEffort, '2', 'd', 1500, None),
        (Class::Guaranteed, '3', 'e', 1, Some(32 * MIB)),
    ] {
        let cpu_ns = 5_000_000_000 + millicores * seconds * 1_000_000;
        let pod_path = node.pod_path(class, &uid(pod));
        node.cgroup(
            &pod_path,
            Cgroup {
                cpu_ns,
                limit,
                ..Cgroup::default()
            },
        );
        let path = node.container_path(class, &uid(pod), &id(container));
        node.cgroup(
            &path,
            Cgroup {
                cpu_ns,
                limit,
                ..Cgroup::default()
            },
        );
        for _ in 0..2 {
            pid += 1;
            node.process(
                pid,
                &path,
                &Process {
                    threads: 3,
                    ..Process::default()
                },
            );
            node.network(pid, u64::from(pid), 10_000 * seconds, 1_000 * seconds);
        }
    }
    node.process_at(50, "0::/system.slice/host.service\n", &Process::default());
    node.host_ticks(1000 + 170 * seconds);
}

pub(crate) fn usage(mode: Mode<'_>) -> Usage {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let mut sampler = node.sampler();
    write(&node, 0);
    let first = sampler.take(mode);
    node.pass(Duration::from_secs(1));
    write(&node, 1);
    attribute(Some(&first), &sampler.take(mode), mode)
}

pub(crate) fn settings() -> Settings {
    Settings {
        plugin_id: "node-metrics".into(),
        label: "Node metrics".into(),
        description: None,
        host: "node1".into(),
        collectors: Collectors::default(),
        mend: Mend::Auto,
        cadence: Duration::from_secs(1),
        controls: ControlNames {
            pod: vec!["node-metrics-controls~deletePod".into()],
            ..ControlNames::default()
        },
        spared: SparedPods::default(),
        traffic: None,
        totals: None,
        share: Share::Whole,
    }
}

/// The report, after it was found right by the conformance rules and by a decoder that does not
/// know the encoder.
pub(crate) fn report(usage: &Usage, mode: Mode<'_>, settings: &Settings) -> Report {
    let report = collect::report(usage, mode, settings);
    let mut body = Vec::new();
    encode(&report, &mut body);
    let answer = Answer::ok(&body, Duration::from_millis(1));
    let verdict = check_report("/run/node-metrics/node-metrics.sock", &answer);
    let unexpected: Vec<_> = verdict
        .violations()
        .iter()
        // Deliberate: no view of Scope's shows namespaces, and this metric is only there to keep
        // them in each of the probe's publishes.
        .filter(|v| !(v.rule == Rule::MetricTemplate && v.path.starts_with("/Namespace/nodes/")))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert!(verdict.accepted() && !verdict.breaks());

    let decoded: serde_json::Value = serde_json::from_slice(&body).unwrap();
    for (topology, content) in &report.topologies {
        let nodes = decoded[topology.key()]["nodes"].as_object();
        assert_eq!(
            nodes.map_or(0, |n| n.len()),
            content.nodes.len(),
            "{topology}"
        );
        for (id, node) in &content.nodes {
            let other = &decoded[topology.key()]["nodes"][id];
            assert_eq!(other["id"], **id);
            assert!(other.get("topology").is_none());
            for (key, latest) in &node.latest {
                assert_eq!(other["latest"][key]["value"], *latest.value);
            }
            for (key, metric) in &node.metrics {
                let value = other["metrics"][key]["samples"][0]["value"]
                    .as_f64()
                    .unwrap();
                assert!(
                    (value - metric.samples[0].value).abs() < 0.001,
                    "{id} {key}"
                );
                assert!(
                    other["metrics"][key]["max"].as_f64().unwrap() >= value,
                    "{id} {key}"
                );
            }
        }
    }
    report
}

pub(crate) fn ids(report: &Report, topology: Topology) -> Vec<&str> {
    let content = report.topologies.get(&topology);
    content
        .into_iter()
        .flat_map(|c| c.nodes.keys().map(String::as_str))
        .collect()
}

pub(crate) fn node<'a>(report: &'a Report, topology: Topology, id: &str) -> &'a Node {
    report.topologies[&topology]
        .nodes
        .get(id)
        .unwrap_or_else(|| panic!("{topology} {id}"))
}

pub(crate) fn metric(node: &Node, id: &str) -> Option<(f64, f64)> {
    let metric = node.metrics.get(id)?;
    assert_eq!(metric.samples.len(), 1, "one sample per metric");
    Some((metric.samples[0].value, metric.max))
}

pub(crate) fn latest<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.latest.get(key).map(|latest| &*latest.value)
}

pub(crate) fn parents(node: &Node) -> Vec<(Topology, Vec<&str>)> {
    node.parents
        .iter()
        .map(|(t, ids)| (*t, ids.iter().map(String::as_str).collect()))
        .collect()
}

pub(crate) fn now() -> Timestamp {
    // The made clock starts at 1,000 s and one second has passed.
    Timestamp::from_unix_micros(EPOCH_MICROS + 1_001_000_000)
}
