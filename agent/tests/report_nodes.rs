//! The report and the table, from samples of a made node.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod made_node;

use std::collections::BTreeSet;
use std::time::Duration;

use made_node::inventory::{inventory, owner, pod};
use made_node::{Cgroup, Class, EPOCH_MICROS, Layout, MIB, MadeNode, Process, id, uid};
use scope_agent::attribution::{Usage, attribute};
use scope_agent::collect::{self, ControlNames, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::report_table::{self, TableOptions};
use scope_agent::sample::Mode;
use scope_protocol::conformance::{Answer, Rule, check_report};
use scope_protocol::{Node, Report, Timestamp, Topology, encode};

/// Web is a Deployment's pod, backup a CronJob's, log a DaemonSet's on the node's network, waiting
/// has not started.
fn known() -> Inventory {
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

fn write(node: &MadeNode, seconds: u64) {
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

fn usage(mode: Mode<'_>) -> Usage {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let mut sampler = node.sampler();
    write(&node, 0);
    let first = sampler.take(mode);
    node.pass(Duration::from_secs(1));
    write(&node, 1);
    attribute(Some(&first), &sampler.take(mode), mode)
}

fn settings() -> Settings {
    Settings {
        plugin_id: "node-metrics".into(),
        label: "Node metrics".into(),
        description: None,
        host: "node1".into(),
        mend: Mend::Auto,
        cadence: Duration::from_secs(1),
        controls: ControlNames {
            pod: vec!["node-metrics-controls~deletePod".into()],
        },
        share: Share::Whole,
    }
}

/// The report, after it was found right by the conformance rules and by a decoder that does not
/// know the encoder.
fn report(usage: &Usage, mode: Mode<'_>, settings: &Settings) -> Report {
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

fn ids(report: &Report, topology: Topology) -> Vec<&str> {
    let content = report.topologies.get(&topology);
    content
        .into_iter()
        .flat_map(|c| c.nodes.keys().map(String::as_str))
        .collect()
}

fn node<'a>(report: &'a Report, topology: Topology, id: &str) -> &'a Node {
    report.topologies[&topology]
        .nodes
        .get(id)
        .unwrap_or_else(|| panic!("{topology} {id}"))
}

fn metric(node: &Node, id: &str) -> Option<(f64, f64)> {
    let metric = node.metrics.get(id)?;
    assert_eq!(metric.samples.len(), 1, "one sample per metric");
    Some((metric.samples[0].value, metric.max))
}

fn latest<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.latest.get(key).map(|latest| &*latest.value)
}

fn parents(node: &Node) -> Vec<(Topology, Vec<&str>)> {
    node.parents
        .iter()
        .map(|(t, ids)| (*t, ids.iter().map(String::as_str).collect()))
        .collect()
}

fn now() -> Timestamp {
    // The made clock starts at 1,000 s and one second has passed.
    Timestamp::from_unix_micros(EPOCH_MICROS + 1_001_000_000)
}

#[test]
fn containers_are_complete_on_their_own() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let all = [id('b'), id('c'), id('d'), id('e')].map(|id| format!("{id};<container>"));
    assert_eq!(ids(&report, Topology::Container), all);

    let app = node(&report, Topology::Container, &all[0]);
    let uid1 = uid('1');
    for (key, value) in [
        ("docker_container_id", &*id('b')),
        ("docker_container_name", "app"),
        ("docker_container_state", "running"),
        ("docker_container_state_human", "Up"),
        ("docker_container_created", "2026-11-23T01:34:40.000000Z"),
        ("docker_image_id", "appappappappappappappapp"),
        ("docker_image_name", "registry.example/app:1"),
        ("docker_label_io.kubernetes.container.name", "app"),
        ("docker_label_io.kubernetes.pod.uid", &uid1),
        ("docker_label_io.kubernetes.pod.name", "web-5d-x"),
        ("docker_label_io.kubernetes.pod.namespace", "demo"),
    ] {
        assert_eq!(latest(app, key), Some(value), "{key}");
    }
    assert_eq!(app.latest.len(), 11);
    let image = "appappappappappappappapp;<container_image>";
    assert_eq!(
        parents(app),
        [
            (Topology::ContainerImage, vec![image]),
            (Topology::Pod, vec![&*format!("{uid1};<pod>")]),
            (Topology::Host, vec!["node1;<host>"]),
        ]
    );
    assert_eq!(
        app.sets["docker_container_ips"],
        BTreeSet::from(["10.1.2.3".to_owned()])
    );
    assert_eq!(metric(app, "docker_cpu_total_usage"), Some((5.0, 100.0)));
    let five = (5 * MIB) as f64;
    assert_eq!(
        metric(app, "docker_memory_usage"),
        Some((five, (64 * MIB) as f64))
    );
    assert_eq!(metric(app, "cpu_millicores"), Some((100.0, 2000.0)));
    assert_eq!(metric(app, "threads"), Some((6.0, 6.0)));
    assert_eq!(metric(app, "processes"), Some((2.0, 2.0)));
    assert!(metric(app, "rss").unwrap().1 == (4u64 << 30) as f64);
    assert_eq!(app.metrics.len(), 6, "no network on containers");
    // Without a limit the node's memory is the end of the scale.
    let sidecar = node(&report, Topology::Container, &all[1]);
    assert_eq!(
        metric(sidecar, "docker_memory_usage").unwrap().1,
        (4u64 << 30) as f64
    );
    assert_eq!(
        metric(sidecar, "docker_cpu_total_usage"),
        Some((0.0, 100.0)),
        "idle is a value"
    );
    // Nothing of the network that it only shares.
    let tail = node(&report, Topology::Container, &all[3]);
    assert!(tail.sets.is_empty());

    let images = ids(&report, Topology::ContainerImage);
    assert_eq!(images.len(), 4);
    let node = node(&report, Topology::ContainerImage, image);
    assert_eq!(
        latest(node, "docker_image_name"),
        Some("registry.example/app:1")
    );
    assert_eq!(
        latest(node, "docker_image_id"),
        Some("appappappappappappappapp")
    );
}

#[test]
fn what_must_win_over_the_probe_is_stamped_ahead() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    for (cadence, lead) in [(1, 15), (5, 15), (15, 35), (60, 125)] {
        let settings = Settings {
            cadence: Duration::from_secs(cadence),
            ..settings()
        };
        let report = report(&usage, mode, &settings);
        let app = node(
            &report,
            Topology::Container,
            &format!("{};<container>", id('b')),
        );
        let stamp = |key: &str| app.latest[key].timestamp;
        let ahead = now().plus(Duration::from_secs(lead));
        for key in [
            "docker_container_state",
            "docker_container_state_human",
            "docker_image_id",
            "docker_image_name",
        ] {
            assert_eq!(stamp(key), ahead, "{key} at a cadence of {cadence} s");
        }
        assert_eq!(stamp("docker_container_id"), now());
        let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid('1')));
        let controls = &pod.latest["active_controls"];
        assert_eq!(controls.timestamp, now().plus(Duration::from_secs(30)));
        assert_eq!(
            controls.value,
            "kubernetes_get_logs;kubernetes_delete_pod;kubernetes_describe;\
             node-metrics-controls~deletePod"
        );
    }
}

#[test]
fn a_container_that_does_not_run_is_not_reported() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    let path = made.container_path(Class::BestEffort, &uid('2'), &id('d'));
    made.remove_cgroup(&path);
    made.remove_process(105);
    made.remove_process(106);
    let sample = made.sampler().take(mode);
    let report = report(&attribute(None, &sample, mode), mode, &settings());
    assert_eq!(ids(&report, Topology::Container).len(), 3);
    assert!(
        ids(&report, Topology::Process)
            .iter()
            .all(|id| !id.starts_with("node1;105"))
    );
    let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid('2')));
    assert!(pod.metrics.is_empty() && !pod.parents.is_empty());
}

#[test]
fn processes_are_linked_and_nothing_else() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let expected: Vec<String> = (101..=108).map(|pid| format!("node1;{pid}")).collect();
    assert_eq!(
        ids(&report, Topology::Process),
        expected,
        "none of the host's own"
    );
    let process = node(&report, Topology::Process, "node1;101");
    assert_eq!(latest(process, "docker_container_id"), Some(&*id('b')));
    assert_eq!(process.latest.len(), 1);
    assert!(process.metrics.is_empty());
    let container = format!("{};<container>", id('b'));
    assert_eq!(parents(process), [(Topology::Container, vec![&*container])]);
    assert!(
        report.topologies[&Topology::Process]
            .metric_templates
            .is_empty()
    );
}

#[test]
fn pods_know_what_they_belong_to() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let all = ['1', '2', '3', '4'].map(|digit| format!("{};<pod>", uid(digit)));
    assert_eq!(ids(&report, Topology::Pod), all);
    let host = (Topology::Host, vec!["node1;<host>"]);
    let pods = all.each_ref().map(|id| node(&report, Topology::Pod, id));
    assert_eq!(
        parents(pods[0]),
        [
            (Topology::Deployment, vec!["deploy-uid;<deployment>"]),
            (Topology::ReplicaSet, vec!["rs-uid;<replica_set>"]),
            host.clone(),
        ]
    );
    assert_eq!(
        parents(pods[1]),
        [
            (Topology::CronJob, vec!["cron-uid;<cronjob>"]),
            host.clone(),
            (Topology::Job, vec!["job-uid;<job>"]),
        ]
    );
    assert_eq!(metric(pods[0], "network_rx"), Some((10_000.0, 10_000.0)));
    assert_eq!(
        metric(pods[0], "network_tx"),
        Some((1_000.0, 10_000.0)),
        "one scale for both"
    );
    assert_eq!(
        metric(pods[1], "docker_cpu_total_usage"),
        Some((75.0, 100.0))
    );
    assert_eq!(
        metric(pods[2], "network_rx"),
        None,
        "the node's network is not the pod's"
    );
    assert!(metric(pods[2], "docker_memory_usage").is_some());
    assert!(pods[3].metrics.is_empty(), "it has not started");
    for pod in pods {
        assert!(latest(pod, "kubernetes_namespace").is_none());
        assert_eq!(pod.latest.len(), 1, "only the controls");
    }
}

#[test]
fn controllers_have_templates_and_parents_but_no_metrics() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    for (topology, id, name) in [
        (Topology::ReplicaSet, "rs-uid;<replica_set>", "web-5d"),
        (Topology::Deployment, "deploy-uid;<deployment>", "web"),
        (Topology::DaemonSet, "daemon-uid;<daemonset>", "log"),
        (Topology::StatefulSet, "stateful-uid;<statefulset>", "db"),
        (Topology::Job, "job-uid;<job>", "backup-1"),
        (Topology::CronJob, "cron-uid;<cronjob>", "backup"),
    ] {
        assert_eq!(ids(&report, topology), [id]);
        let controller = node(&report, topology, id);
        assert_eq!(latest(controller, "kubernetes_name"), Some(name));
        assert!(controller.metrics.is_empty(), "{topology}");
    }
    let replica_set = node(&report, Topology::ReplicaSet, "rs-uid;<replica_set>");
    assert_eq!(
        parents(replica_set),
        [(Topology::Deployment, vec!["deploy-uid;<deployment>"])]
    );
    assert!(ids(&report, Topology::Host).is_empty(), "the probe's own");

    let templates = |topology| {
        let templates = &report.topologies[&topology].metric_templates;
        templates
            .iter()
            .map(|(id, t)| (id.as_str(), t.label.as_str()))
            .collect::<Vec<_>>()
    };
    let own = [
        ("cpu_millicores", "Millicores"),
        ("docker_cpu_total_usage", "CPU"),
        ("docker_memory_usage", "Memory"),
    ];
    let network = [("network_rx", "Received B/s"), ("network_tx", "Sent B/s")];
    let rest = [
        ("processes", "Processes"),
        ("rss", "RSS"),
        ("threads", "Threads"),
    ];
    assert_eq!(
        templates(Topology::Container),
        [&own[..], &rest[..]].concat()
    );
    let all = [&own[..], &network[..], &rest[..]].concat();
    for topology in [
        Topology::Pod,
        Topology::Deployment,
        Topology::DaemonSet,
        Topology::StatefulSet,
        Topology::Job,
        Topology::CronJob,
    ] {
        assert_eq!(templates(topology), all, "{topology}");
    }
}

#[test]
fn templates_do_not_depend_on_what_runs() {
    let templates = |usage: &Usage, mode: Mode<'_>| -> Vec<_> {
        let report = report(usage, mode, &settings());
        let topologies = report.topologies.into_iter();
        topologies
            .map(|(t, content)| (t, content.metric_templates, content.metadata_templates))
            .filter(|(_, metrics, metadata)| !metrics.is_empty() || !metadata.is_empty())
            .collect()
    };
    let known = known();
    let mode = Mode::Cluster(&known);
    let busy = templates(&usage(mode), mode);
    let nothing = Inventory::default();
    let empty = MadeNode::new(Layout::V2Systemd)
        .sampler()
        .take(Mode::Cluster(&nothing));
    let usage = attribute(None, &empty, Mode::Cluster(&nothing));
    assert_eq!(templates(&usage, Mode::Cluster(&nothing)), busy);
}

#[test]
fn each_namespace_stands_once_with_a_metric() {
    let mut known = known();
    let usage = usage(Mode::Cluster(&known));
    for share in [Share::Whole, Share::Turn(0), Share::Turn(1), Share::Turn(2)] {
        let settings = Settings {
            share,
            ..settings()
        };
        let report = report(&usage, Mode::Cluster(&known), &settings);
        // The UID of `system` is not known yet; a node by its name would be the invented one.
        assert_eq!(ids(&report, Topology::Namespace), ["demo-uid;<namespace>"]);
        let demo = node(&report, Topology::Namespace, "demo-uid;<namespace>");
        assert_eq!(latest(demo, "kubernetes_name"), Some("demo"));
        assert_eq!(metric(demo, "pods"), Some((3.0, 3.0)));
        assert!(
            report.topologies[&Topology::Namespace]
                .metric_templates
                .is_empty()
        );
    }
    known
        .namespaces
        .insert("system".into(), "system-uid".into());
    let report = report(&usage, Mode::Cluster(&known), &settings());
    assert_eq!(ids(&report, Topology::Namespace).len(), 2);
}

#[test]
fn docker_is_left_to_scope_itself() {
    let mut known = known();
    for pod in known.pods.values_mut() {
        pod.containers
            .values_mut()
            .for_each(|container| container.runtime = "docker".into());
    }
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    let mended = |mend| {
        let report = report(&usage, mode, &Settings { mend, ..settings() });
        let of_scopes = |node: &Node| node.metrics.keys().any(|id| id.starts_with("docker_"));
        let named = report.topologies[&Topology::Container]
            .nodes
            .values()
            .any(|node| of_scopes(node) || !node.latest.is_empty() || !node.parents.is_empty());
        if !named {
            for topology in [
                Topology::ContainerImage,
                Topology::Process,
                Topology::ReplicaSet,
            ] {
                assert!(ids(&report, topology).is_empty(), "{topology}");
            }
            let pods = &report.topologies[&Topology::Pod];
            assert!(!pods.metric_templates.contains_key("docker_cpu_total_usage"));
            for pod in pods.nodes.values() {
                assert!(!of_scopes(pod) && pod.parents.is_empty());
                assert!(latest(pod, "active_controls").is_some());
            }
            // What Scope has not got is still there.
            let app = node(
                &report,
                Topology::Container,
                &format!("{};<container>", id('b')),
            );
            assert_eq!(metric(app, "cpu_millicores"), Some((100.0, 2000.0)));
            assert_eq!(ids(&report, Topology::Namespace).len(), 1);
        }
        named
    };
    assert!(!mended(Mend::Auto));
    assert!(mended(Mend::Always));
    assert!(!mended(Mend::Never));

    let other = self::known();
    let mode = Mode::Cluster(&other);
    let usage = self::usage(mode);
    let never = report(
        &usage,
        mode,
        &Settings {
            mend: Mend::Never,
            ..settings()
        },
    );
    assert!(ids(&never, Topology::Process).is_empty());
}

#[test]
fn without_controls_no_controls_are_named() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let settings = Settings {
        controls: ControlNames::default(),
        ..settings()
    };
    let report = report(&usage(mode), mode, &settings);
    let pods = &report.topologies[&Topology::Pod].nodes;
    assert!(pods.values().all(|pod| pod.latest.is_empty()));
}

#[test]
fn turns_make_up_the_whole() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    let whole = report(&usage, mode, &settings());
    let mut together = Report::new(whole.plugin.clone());
    let mut smaller = 0;
    for turn in 0..15 {
        let settings = Settings {
            share: Share::Turn(turn),
            ..settings()
        };
        let part = report(&usage, mode, &settings);
        for id in [id('b'), id('c'), id('d'), id('e')] {
            let container = node(&part, Topology::Container, &format!("{id};<container>"));
            assert!(
                metric(container, "docker_cpu_total_usage").is_some(),
                "in every report"
            );
            assert!(
                metric(container, "docker_memory_usage").is_some(),
                "in every report"
            );
        }
        for (topology, content) in part.topologies {
            let all = together.topology(topology);
            all.metric_templates = content.metric_templates;
            all.metadata_templates = content.metadata_templates;
            for (id, node) in content.nodes {
                let merged = all.node(id);
                smaller += usize::from(node.latest.len() < 11);
                merged.latest.extend(node.latest);
                merged.metrics.extend(node.metrics);
                merged.sets.extend(node.sets);
                merged.parents.extend(node.parents);
            }
        }
    }
    assert_eq!(together, whole);
    assert!(smaller > 0);
}

#[test]
fn equal_input_gives_equal_bytes() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let (mut one, mut other) = (Vec::new(), b"something old".to_vec());
    collect::render(&usage(mode), mode, &settings(), &mut one);
    collect::render(&usage(mode), mode, &settings(), &mut other);
    assert!(!one.is_empty());
    assert_eq!(String::from_utf8(one), String::from_utf8(other));
}

#[test]
fn before_the_second_sample_there_is_no_cpu() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    let usage = attribute(None, &made.sampler().take(mode), mode);
    let report = report(&usage, mode, &settings());
    let app = node(
        &report,
        Topology::Container,
        &format!("{};<container>", id('b')),
    );
    assert!(metric(app, "docker_cpu_total_usage").is_none());
    assert!(metric(app, "docker_memory_usage").is_some());
}

#[test]
fn standalone_reports_what_the_node_alone_tells() {
    let usage = usage(Mode::Standalone);
    let report = report(&usage, Mode::Standalone, &settings());
    let app = node(
        &report,
        Topology::Container,
        &format!("{};<container>", id('b')),
    );
    assert_eq!(latest(app, "docker_container_name"), Some("bbbbbbbbbbbb"));
    assert!(latest(app, "docker_image_name").is_none());
    let pod = format!("{};<pod>", uid('1'));
    assert_eq!(app.parents[&Topology::Pod], BTreeSet::from([pod.clone()]));
    assert!(metric(node(&report, Topology::Pod, &pod), "docker_cpu_total_usage").is_some());
    assert!(ids(&report, Topology::Namespace).is_empty());
}

#[test]
fn a_report_that_would_be_too_large_says_what_it_lacks() {
    // So many pods as no node runs, and processes enough to fill the body.
    let mut known = Inventory::default();
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    let base = attribute(
        None,
        &made.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    let mut usage = base.clone();
    let container = base.containers.keys().next().unwrap().clone();
    let process = base
        .processes
        .iter()
        .find(|p| p.container.as_ref() == Some(&container))
        .unwrap();
    usage.processes = (1..30_000)
        .map(|pid| scope_agent::attribution::ProcessUsage {
            pid,
            ..process.clone()
        })
        .collect();
    let mut body = Vec::new();
    collect::render(&usage, Mode::Standalone, &settings(), &mut body);
    assert!(body.len() < collect::MAX_BODY);
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(
        text.contains("left out: the processes of containers."),
        "{}",
        &text[..600]
    );
    assert!(!text.contains("\"Process\""));

    // Nor can that many pods be named.
    for n in 0..60_000 {
        let pod = pod(&format!("00000000-0000-4000-8000-{n:012}"), "p", &[]);
        known.pods.insert(pod.id.clone(), pod);
    }
    collect::render(&usage, Mode::Cluster(&known), &settings(), &mut body);
    assert!(body.len() < 2000);
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("left out: everything.")
    );
}

#[test]
fn the_table_has_the_same_figures() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let options = TableOptions {
        host: "node1".into(),
        processes: 3,
    };
    let text = report_table::render(&usage(mode), mode, &options);
    let row = |start: &str| -> Vec<&str> {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in\n{text}"))
            .split_whitespace()
            .collect()
    };
    assert!(text.starts_with("Host node1: 2 CPUs, CPU 1700.0 millicores (85.00 %), memory 1.0 GiB of 4.0 GiB, 9 processes"), "{text}");
    let pod = row("demo       web-5d-x");
    assert_eq!(pod[..3], ["demo", "web-5d-x", "Deployment/web"]);
    assert!(pod.ends_with(&["9.8", "KiB", "1000", "B"]), "{pod:?}");
    let app = row("app");
    assert_eq!(app[..6], ["app", "100.0", "5.00", "%", "5.0", "MiB"]);
    let waiting = row("demo       db-0");
    assert_eq!(waiting[3..], ["-"; 8]);
    assert!(text.contains("demo/web-5d-x/app"), "{text}");
    assert!(
        text.ends_with("the first 3 by memory of 9 processes.\n"),
        "{text}"
    );

    let text = report_table::render(&usage(Mode::Standalone), Mode::Standalone, &options);
    assert!(text.contains("dddddddddddd"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')));
}

#[test]
fn the_table_says_what_could_not_be_read() {
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    made.write("proc/meminfo", "");
    made.write("proc/101/stat", "101 (\x1b[2J) nothing");
    made.write("proc/102/stat", "");
    let usage = attribute(
        None,
        &made.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    let options = TableOptions {
        host: "\x1b[31mnode".into(),
        processes: TableOptions::PROCESSES,
    };
    let text = report_table::render(&usage, Mode::Standalone, &options);
    assert!(text.contains("memory ? of ?"), "{text}");
    assert!(text.contains("No rates yet"), "{text}");
    assert!(text.contains("CPU and memory of a process: unexpected content, 2 times, first at "));
    assert!(text.contains("proc/101/stat"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");

    let nothing = Inventory::default();
    let empty = report_table::render(&usage, Mode::Cluster(&nothing), &options);
    assert!(empty.contains("No pods are bound to this node."), "{empty}");
}
