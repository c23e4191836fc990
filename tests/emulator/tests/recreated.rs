//! A world of the same truth as the recorded one, run for half a minute with the recorded answers of
//! the plugin, shows what the recorded one showed: probes, publishing, window and app together.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod recorded;

use std::collections::BTreeSet;
use std::time::Duration;

use scope_emulator::truth::{
    Container, Controller, Endpoint, Host, Labels, Namespace, Pod, Process, Truth,
};
use scope_emulator::{
    Ask, Kind, Node, Panel, ProbeSetup, Report, Runtime, Stamp, Summary, Tab, View, World,
    decode_report,
};
use serde_json::Value;

const HOSTS: [&str; 2] = ["node1", "node2"];

fn report_of(world: &Value) -> Report {
    let report = serde_json::to_vec(&world["report"]).unwrap();
    decode_report(&report, Stamp::now()).unwrap()
}

type Latest<'a> = &'a dyn Fn(&str) -> String;

fn nodes(report: &Report, kind: Kind) -> impl Iterator<Item = (String, &Node)> {
    let nodes = report.topology(kind).nodes.iter();
    nodes.map(|(id, node)| (id.split_once(';').unwrap().0.to_owned(), node))
}

fn labels(node: &Node, prefix: &str) -> Labels {
    let own = node.latest.iter();
    own.filter_map(|(key, entry)| Some((key.strip_prefix(prefix)?.to_owned(), entry.value.clone())))
        .collect()
}

/// What must have been there for the probes to report this.
fn truth(report: &Report, with_containers: &Report) -> Truth {
    let mut truth = Truth::default();
    for (uid, node) in nodes(report, Kind::Namespace) {
        let text: Latest<'_> = &|key| node.latest(key).unwrap_or_default().to_owned();
        let (name, labels) = (text("kubernetes_name"), labels(node, "kubernetes_labels_"));
        truth.namespaces.push(Namespace { uid, name, labels });
    }
    for (uid, node) in nodes(report, Kind::Pod) {
        let text: Latest<'_> = &|key| node.latest(key).unwrap_or_default().to_owned();
        let mut pod = Pod::new(
            &uid,
            &text("kubernetes_namespace"),
            &text("kubernetes_name"),
            "",
        );
        pod.ip = text("kubernetes_ip");
        pod.created = text("kubernetes_created");
        pod.labels = labels(node, "kubernetes_labels_");
        truth.pods.push(pod);
    }
    for kind in [
        Kind::Service,
        Kind::Deployment,
        Kind::DaemonSet,
        Kind::StatefulSet,
        Kind::Job,
    ] {
        for (uid, node) in nodes(report, kind) {
            let text: Latest<'_> = &|key| node.latest(key).unwrap_or_default().to_owned();
            let (namespace, name) = (text("kubernetes_namespace"), text("kubernetes_name"));
            let mut controller = Controller::new(kind, &uid, &namespace, &name);
            if name != "kubernetes" {
                controller = controller.selecting("app", &name);
            }
            controller.labels = labels(node, "kubernetes_labels_");
            controller.created = text("kubernetes_created");
            controller.replicas = text("kubernetes_desired_replicas").parse().unwrap_or(1);
            controller.ip = text("kubernetes_ip");
            controller.ports = text("kubernetes_ports");
            truth.controllers.push(controller);
        }
    }
    for name in HOSTS {
        truth
            .hosts
            .insert(name.to_owned(), host(report, with_containers, name));
    }
    truth
}

fn host(report: &Report, with_containers: &Report, name: &str) -> Host {
    let id = format!("{name};<host>");
    let here = |node: &Node| node.latest("host_node_id") == Some(&id);
    let node = report.node(Kind::Host, &id).unwrap();
    let mut host = Host {
        cpu_percent: node.last_sample("host_cpu_usage_percent").unwrap(),
        memory: node.last_sample("host_mem_usage_bytes").unwrap(),
        memory_total: node.metrics["host_mem_usage_bytes"].max,
        load: node.last_sample("load1").unwrap(),
        kernel: node.latest("kernel_version").unwrap().to_owned(),
        local_networks: node.sets["local_networks"].clone(),
        ..Host::default()
    };
    for (id, node) in nodes(with_containers, Kind::Container).filter(|(_, node)| here(node)) {
        let text: Latest<'_> = &|key| node.latest(key).unwrap_or_default().to_owned();
        host.containers.push(Container {
            id,
            name: text("docker_container_name"),
            image_id: text("docker_image_id"),
            image_name: text("docker_image_name"),
            labels: labels(node, "docker_label_"),
            ..Container::default()
        });
    }
    let known = |node: &Node| here(node) && node.latest("pid").is_some();
    for (_, node) in nodes(report, Kind::Process).filter(|(_, node)| known(node)) {
        let text: Latest<'_> = &|key| node.latest(key).unwrap_or_default().to_owned();
        let figure = |id: &str| node.last_sample(id).unwrap_or_default();
        host.processes.push(Process {
            pid: text("pid").parse().unwrap(),
            ppid: text("ppid").parse().unwrap_or(0),
            name: text("name"),
            cmdline: text("cmdline"),
            threads: text("threads").parse().unwrap(),
            cpu_percent: figure("process_cpu_usage_percent"),
            memory: figure("process_memory_usage_bytes"),
            open_files: figure("open_files_count") as u32,
            container: None,
        });
    }
    for (id, node) in &report.topology(Kind::Endpoint).nodes {
        let own = here(node);
        if own || (node.latest.is_empty() && name == "node1") {
            host.endpoints.push(Endpoint {
                id: id.clone(),
                pid: node
                    .latest("pid")
                    .filter(|_| own)
                    .map(|pid| pid.parse().unwrap()),
                to: node.adjacency.clone(),
            });
        }
    }
    host
}

/// Moves all times in a body, as if it had been made at `now`.
fn at(now: Stamp, made: Stamp, value: &mut Value) {
    match value {
        Value::String(text) => {
            let quoted = format!("{{\"TS\":\"{text}\"}}");
            let is_time = text.len() > 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
            if is_time {
                let stamp = decode_report(quoted.as_bytes(), now).unwrap().ts;
                *text = now.plus(stamp.since(made)).to_string();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| at(now, made, value)),
        Value::Object(values) => values.values_mut().for_each(|value| at(now, made, value)),
        _ => {}
    }
}

/// The plugin, as it answered this probe; others it answers with their own ids.
fn script(name: &str, probe_id: &str) -> impl FnMut(&Ask) -> Vec<u8> + Send + 'static {
    let body = recorded::json(name);
    // The body was made when its samples were taken.
    let report = decode_report(&recorded::bytes(name), Stamp::now()).unwrap();
    let mut metrics = report
        .topologies()
        .flat_map(|(_, topology)| topology.nodes.values())
        .flat_map(|node| node.metrics.values());
    let made = metrics
        .next()
        .map_or(Stamp::ZERO, |metric| metric.samples[0].date);
    let probe_id = probe_id.to_owned();
    move |ask| {
        let mut body = body.clone();
        at(ask.now.into(), made, &mut body);
        let body = body.to_string().replace(&probe_id, &ask.probe_id);
        body.into_bytes()
    }
}

fn run(name: &str, prefix: &str, runtime: Runtime) -> (Value, World) {
    let recorded = recorded::json(name);
    let report = report_of(&recorded);
    let containers = report_of(&recorded::json("cri-without-plugin"));
    let mut world = World::default();
    *world.truth() = truth(&report, &containers);
    for (number, host) in HOSTS.iter().enumerate() {
        let id = report
            .node(Kind::Host, &format!("{host};<host>"))
            .unwrap()
            .latest("control_probe_id")
            .unwrap();
        let phase = Duration::from_millis(300 * number as u64);
        world.add_probe(ProbeSetup::host(host).id(id).runtime(runtime).phase(phase));
        if prefix.is_empty() {
            continue;
        }
        let nodes = script(&format!("{prefix}-{host}"), id);
        if let Some(prefix) = prefix.strip_suffix("nm") {
            world.add_plugin(host, "nm.sock", nodes);
            let controls = script(&format!("{prefix}nm-controls-{host}"), id);
            world.add_plugin(host, "nm-controls.sock", controls);
        } else {
            world.add_plugin(host, "nm.sock", nodes);
        }
    }
    let pod = report.topology(Kind::Pod).nodes.values().next().unwrap();
    let id = pod.latest("control_probe_id").unwrap();
    world.add_probe(
        ProbeSetup::cluster("node1")
            .id(id)
            .phase(Duration::from_millis(700)),
    );
    world.advance(Duration::from_secs(30));
    (recorded, world)
}

/// Processes that live for a second. Which of them are in the fifteen seconds of the recorded report
/// and in the recorded answer of the plugin differs, so that they are not compared.
fn short_lived(report: &Report) -> BTreeSet<String> {
    let processes = report.topology(Kind::Process).nodes.iter();
    let sleep = |node: &Node| matches!(node.latest("name"), None | Some("sleep"));
    processes
        .filter(|(_, node)| sleep(node))
        .map(|(id, _)| id.clone())
        .collect()
}

fn check(name: &str, prefix: &str, runtime: Runtime, ignored: &[&str]) {
    let (recorded, mut world) = run(name, prefix, runtime);
    let (ours, theirs) = (world.view(), View::new(report_of(&recorded)));
    let mut passing = short_lived(&report_of(&recorded));
    let shown = ours.all(Tab::Processes).unwrap();
    // Those that only the plugin's answer knows have no name at all.
    let pid = |process: &Summary| process.id.ends_with(&format!(";{}", process.label));
    let short = shown.values();
    let short = short.filter(|process| process.label == "sleep" || pid(process));
    passing.extend(short.map(|process| process.id.clone()));

    let (mut found, mut compared) = (Vec::new(), 0);
    for tab in Tab::ALL {
        let (got, wanted) = (ours.all(tab).unwrap(), theirs.all(tab).unwrap());
        let ids: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
        for id in ids.into_iter().filter(|id| !passing.contains(*id)) {
            let drawn = |view: &View| {
                let panel = view.panel(tab, id).unwrap();
                let all = panel.map(|panel| lines(&panel, &passing));
                let mut all = all.unwrap_or_default();
                all.retain(|line| !ignored.iter().any(|start| line.starts_with(start)));
                all
            };
            let (got, wanted) = (drawn(&ours), drawn(&theirs));
            compared += wanted.len();
            let missing = wanted.difference(&got).map(|line| format!("- {line}"));
            let extra = got.difference(&wanted).map(|line| format!("+ {line}"));
            found.extend(
                missing
                    .chain(extra)
                    .map(|line| format!("{tab:?} {id}: {line}")),
            );
        }
    }
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    assert!(compared > 2000, "{name}: {compared} facts compared");
    assert_eq!(ours.namespaces(), theirs.namespaces(), "{name}");
    assert!(ours.plugins().eq(theirs.plugins()), "{name}");
}

#[test]
fn without_a_plugin() {
    check("cri-without-plugin", "", Runtime::Cri, &[]);
    check("nocri-without-plugin", "", Runtime::Unseen, &[]);
}

#[test]
fn with_the_plugin() {
    check("cri-with-plugin", "plugin-nm", Runtime::Cri, &[]);
    check("nocri-with-plugin", "nocri-plugin-nm", Runtime::Unseen, &[]);
}

/// Which list of controls a node shows is a race here.
#[test]
fn with_one_socket() {
    let (name, prefix) = ("cri-with-plugin-one-socket", "plugin-one-socket");
    check(name, prefix, Runtime::Cri, &["control "]);
}

fn lines(panel: &Panel, passing: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = summary_lines(&panel.summary, "");
    for (at, shown) in panel.controls.iter().enumerate() {
        // Which of the two probes of node1 is to act on a container is a race.
        let probe = match panel.summary.kind {
            Some(Kind::Container) => "any",
            _ => &shown.probe_id,
        };
        all.insert(format!("control {at} {probe} {:?}", shown.control));
    }
    for group in &panel.children {
        let nodes = group.nodes.iter();
        for node in nodes.filter(|node| !passing.contains(&node.id)) {
            all.extend(summary_lines(
                node,
                &format!("{} {} ", group.label, node.id),
            ));
        }
    }
    all
}

fn summary_lines(summary: &Summary, prefix: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([format!(
        "{prefix}{} / {} / {}",
        summary.label, summary.label_minor, summary.rank
    )]);
    let mut add = |line: String| {
        all.insert(format!("{prefix}{line}"));
    };
    for cell in summary.metadata.iter().filter(|cell| cell.id != "uptime") {
        add(format!("{cell:?}"));
    }
    for row in &summary.metrics {
        add(format!(
            "{} {} = {} ({} {} {})",
            row.id, row.label, row.value, row.format, row.priority, row.group
        ));
    }
    for parent in &summary.parents {
        add(format!("{parent:?}"));
    }
    for table in &summary.tables {
        add(format!("{table:?}"));
    }
    for end in &summary.adjacency {
        add(format!("edge {end}"));
    }
    all
}

#[test]
fn nothing_changes_in_150_looks() {
    let (_, mut world) = run("nocri-with-plugin", "nocri-plugin-nm", Runtime::Unseen);
    let mut first = None;
    for look in 0..150 {
        world.advance(Duration::from_millis(500));
        let view = world.view();
        let mut seen = BTreeSet::new();
        for tab in [Tab::Pods, Tab::Containers, Tab::Controllers] {
            let shown = view.shown(tab).unwrap();
            seen.extend(shown.values().flat_map(|summary| {
                let lines = summary_lines(summary, &format!("{} ", summary.id));
                let controls = summary.kind.map(|kind| view.controls(kind, &summary.id));
                let controls = controls.into_iter().flatten();
                let ids = controls.map(|shown| format!("{} {}", summary.id, shown.control.id));
                lines.into_iter().chain(ids).collect::<Vec<_>>()
            }));
        }
        assert!(seen.len() > 200, "{}", seen.len());
        assert_eq!(
            *first.get_or_insert_with(|| seen.clone()),
            seen,
            "look {look}"
        );
    }
}
