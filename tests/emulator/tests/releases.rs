//! What differs on nodes with Docker and with older releases of Scope.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "this test needs only a part of it")]
mod body;

use std::time::Duration;

use body::{all, body, control, latest_controls, node, nodes, stamp};
use scope_emulator::truth::{
    Container, ContainerState, Controller, Endpoint, Host, Image, Namespace, Pod, Process, Truth,
};
use scope_emulator::{Ask, Kind, ProbeSetup, Runtime, Tab, Version, View, World};
use serde_json::json;

const POD: &str = "u1;<pod>";
const CONTAINER: &str = "c1;<container>";

fn truth() -> Truth {
    let mut truth = Truth::default();
    let mut pod = Pod::new("u1", "demo", "web", "n1").labelled("app", "web");
    pod.ip = "10.1.0.5".to_owned();
    let container = |id: &str, image: &str| Container {
        image_id: format!("sha256:{image}"),
        image_name: format!("registry/team/{image}:1"),
        cpu_percent: 12.5,
        memory: 3e6,
        ..Container::of_pod(id, "http", &pod)
    };
    let mut pause = container("c0", "pause");
    pause.name = "POD".to_owned();
    let label = "io.kubernetes.docker.type".to_owned();
    pause.labels.insert(label, "podsandbox".to_owned());
    pause.labels.remove("io.kubernetes.container.name");
    let mut stopped = container("c2", "web");
    stopped.state = ContainerState::Exited;
    let process = |pid, container: Option<&str>| Process {
        pid,
        name: format!("p{pid}"),
        container: container.map(str::to_owned),
        ..Process::default()
    };
    let host = Host {
        local_networks: vec!["10.0.0.0/8".to_owned()],
        images: ["web", "pause"]
            .map(|id| Image {
                id: id.to_owned(),
                name: match id {
                    "pause" => "k8s.gcr.io/pause:3.1".to_owned(),
                    id => format!("registry/team/{id}:1"),
                },
            })
            .into(),
        containers: vec![container("c1", "web"), pause, stopped],
        processes: vec![process(11, Some("c1")), process(12, None)],
        endpoints: vec![
            Endpoint {
                id: ";10.1.0.5;40000".to_owned(),
                pid: Some(11),
                to: vec![";8.8.8.8;53".to_owned()],
            },
            Endpoint {
                id: ";8.8.8.8;53".to_owned(),
                ..Endpoint::default()
            },
        ],
        ..Host::default()
    };
    truth.hosts.insert("n1".to_owned(), host);
    truth.pods.push(pod);
    let deployment = Controller::new(Kind::Deployment, "d1", "demo", "web");
    truth.controllers.push(deployment.selecting("app", "web"));
    truth.namespaces.push(Namespace {
        uid: "ns1".to_owned(),
        name: "demo".to_owned(),
        ..Namespace::default()
    });
    truth
}

fn world(version: Version) -> World {
    let mut world = World::new(version);
    *world.truth() = truth();
    if version == Version::V1_9 {
        world.add_probe(ProbeSetup::both("n1").runtime(Runtime::Docker));
    } else {
        world.add_probe(ProbeSetup::host("n1").runtime(Runtime::Docker));
        world.add_probe(ProbeSetup::cluster("n1").phase(Duration::from_millis(300)));
    }
    world
}

fn view(world: &mut World) -> View {
    world.advance(Duration::from_secs(20));
    world.view()
}

fn buttons(view: &View, kind: Kind, id: &str) -> Vec<String> {
    let shown = view.controls(kind, id).into_iter();
    shown.map(|shown| shown.control.id).collect()
}

#[test]
fn docker_tells_all_that_the_cri_does_not() {
    for version in [Version::V1_9, Version::V1_12, Version::V1_13] {
        let view = view(&mut world(version));
        let pods = view.shown(Tab::Pods).unwrap();
        let pod = &pods[POD];
        // The container that holds the pod's namespaces does not count, nor does the one that ended.
        assert_eq!(pod.label_minor, "1 container", "{version:?}");
        assert_eq!(pod.parent_labels(Tab::Hosts), ["n1"]);
        assert_eq!(pod.metric("docker_cpu_total_usage"), Some(12.5));
        assert_eq!(pod.adjacency, ["out-theinternet"]);

        let containers = view.shown(Tab::Containers).unwrap();
        let names: Vec<&str> = containers
            .values()
            .map(|node| node.label.as_str())
            .collect();
        assert_eq!(names, ["http", "The Internet"]);
        assert_eq!(
            containers[CONTAINER].parent_labels(Tab::ContainersByImage),
            ["team/web"]
        );
        let panel = view.panel(Tab::Containers, CONTAINER).unwrap().unwrap();
        assert_eq!(panel.children(Kind::Process)[0].label, "p11");
        assert_eq!(panel.controls.len(), 5);
        let images = view.shown(Tab::ContainersByImage).unwrap();
        assert_eq!(images["team/web;<container_image>"].label, "team/web");

        let processes = view.all(Tab::Processes).unwrap();
        assert_eq!(processes["n1;11"].parent_labels(Tab::Containers), ["http"]);
        // Only connected processes are shown.
        let shown = view.shown(Tab::Processes).unwrap();
        assert_eq!(
            shown.keys().collect::<Vec<_>>(),
            ["n1;11", "out-theinternet"]
        );
        let deployments = view.shown(Tab::Controllers).unwrap();
        let deployment = &deployments["d1;<deployment>"];
        assert_eq!(deployment.metric("docker_memory_usage"), Some(3e6));
        // The process without a container, and the sandbox, which is no pod's for the renderer.
        let host = view.panel(Tab::Hosts, "n1;<host>").unwrap().unwrap();
        assert_eq!(host.children(Kind::Container).len(), 3);
        assert_eq!(host.children(Kind::Process).len(), 2);
    }
}

#[test]
fn a_paused_container_has_one_button_and_keeps_its_place() {
    let mut world = world(Version::V1_13);
    world.truth().hosts.get_mut("n1").unwrap().containers[0].state = ContainerState::Paused;
    let view = view(&mut world);
    assert_eq!(
        buttons(&view, Kind::Container, CONTAINER),
        ["docker_unpause_container"]
    );
    assert_eq!(
        view.shown(Tab::Pods).unwrap()[POD].label_minor,
        "1 container"
    );
    assert_eq!(buttons(&view, Kind::Container, "c2;<container>").len(), 2);
}

/// One controller socket, as the official plugins have it.
fn plugin(ask: &Ask) -> Vec<u8> {
    let now = stamp(ask.now, 0);
    let of_pod = all([node(POD, &now, &[]), latest_controls(&now, &["evict"])]);
    let of_container = node(
        CONTAINER,
        &now,
        &[("active_controls", "ignored before 1.13")],
    );
    let topologies = json!({
        "Pod": all([control("evict"), nodes([of_pod])]),
        "Container": nodes([of_container]),
    });
    body("p", &["reporter", "controller"], topologies)
}

#[test]
fn before_1_13_each_control_stands_for_itself() {
    for version in [Version::V1_9, Version::V1_12] {
        let mut world = world(version);
        world.add_plugin("n1", "p.sock", plugin);
        let view = view(&mut world);
        let mut of_pod = buttons(&view, Kind::Pod, POD);
        of_pod.sort();
        let mut wanted = vec!["kubernetes_delete_pod", "kubernetes_get_logs", "p~evict"];
        if version == Version::V1_12 {
            wanted.insert(1, "kubernetes_describe");
        }
        assert_eq!(of_pod, wanted, "{version:?}");
        assert_eq!(buttons(&view, Kind::Container, CONTAINER).len(), 5);
    }
    let mut world = world(Version::V1_13);
    world.add_plugin("n1", "p.sock", plugin);
    let view = view(&mut world);
    assert_eq!(buttons(&view, Kind::Pod, POD), ["p~evict"]);
}

#[test]
fn pods_that_come_and_go_are_told_of_at_once() {
    let mut world = world(Version::V1_13);
    world.advance(Duration::from_secs(20));
    let pod = Pod::new("u2", "demo", "new", "n1");
    world.truth().pods.push(pod);
    let shown = |world: &mut World| {
        world
            .view()
            .shown(Tab::Pods)
            .unwrap()
            .contains_key("u2;<pod>")
    };
    world.advance(Duration::from_millis(1100));
    assert!(shown(&mut world), "before the next publish");
    world.truth().pods.retain(|pod| pod.uid != "u2");
    world.advance(Duration::from_millis(1100));
    assert!(!shown(&mut world), "while reports of it are still there");
    world.advance(Duration::from_secs(30));
    assert!(!shown(&mut world));
}

#[test]
fn before_1_10_pods_are_tied_to_their_host() {
    let mut world = World::new(Version::V1_9);
    *world.truth() = truth();
    world
        .truth()
        .hosts
        .get_mut("n1")
        .unwrap()
        .containers
        .clear();
    world.add_probe(ProbeSetup::both("n1"));
    world
        .truth()
        .pods
        .push(Pod::new("u2", "demo", "elsewhere", "n2"));
    let view = view(&mut world);
    let pods = view.shown(Tab::Pods).unwrap();
    assert_eq!(pods[POD].parent_labels(Tab::Hosts), ["n1"]);
    assert!(!pods.contains_key("u2;<pod>"), "each probe reports its own");
}
