//! What was proven on a real Scope 1.13.2, in simulated time: each test is one of those facts.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../body/mod.rs"]
mod body;
mod buttons;
mod mending;
mod objects;

use std::collections::BTreeMap;
use std::time::Duration;

use scope_emulator::truth::{Container, Controller, Host, Namespace, Pod};
use scope_emulator::{Kind, ProbeSetup, Runtime, Summary, Tab, View, World};

const POD: &str = "u1;<pod>";
const CONTAINER: &str = "c1;<container>";
const DEPLOYMENT: &str = "d1;<deployment>";
const BUILT_IN: [&str; 3] = [
    "kubernetes_get_logs",
    "kubernetes_delete_pod",
    "kubernetes_describe",
];

/// A node with a pod of one container, of a deployment; the probe of the node, and that of the
/// cluster on another one.
fn world(runtime: Runtime, skew: [i64; 2], phase: Duration) -> World {
    let mut world = World::default();
    {
        let mut truth = world.truth();
        let pod = Pod::new("u1", "demo", "web", "n1").labelled("app", "web");
        let mut host = Host::default();
        host.containers.push(Container::of_pod("c1", "http", &pod));
        truth.hosts.insert("n1".to_owned(), host);
        truth.hosts.insert("n2".to_owned(), Host::default());
        truth.pods.push(pod);
        let deployment = Controller::new(Kind::Deployment, "d1", "demo", "web");
        truth.controllers.push(deployment.selecting("app", "web"));
        let demo = Namespace {
            uid: "ns1".to_owned(),
            name: "demo".to_owned(),
            ..Namespace::default()
        };
        truth.namespaces.push(demo);
    }
    let host = ProbeSetup::host("n1").id("a1").runtime(runtime);
    world.add_probe(host.skew_millis(skew[0]));
    let cluster = ProbeSetup::cluster("n2").id("c1").skew_millis(skew[1]);
    world.add_probe(cluster.phase(phase));
    world
}

fn simple() -> World {
    world(Runtime::Cri, [0, 0], Duration::from_millis(400))
}

/// What is seen in looks a second apart, once everything has had its time.
fn looks<T: Ord>(world: &mut World, count: usize, see: impl Fn(&View) -> T) -> BTreeMap<T, usize> {
    world.advance(Duration::from_secs(20));
    world.looks(count, Duration::from_secs(1), see)
}

/// The one thing that is seen in every look.
fn steady<T: Ord + std::fmt::Debug>(world: &mut World, see: impl Fn(&View) -> T) -> T {
    let mut seen = looks(world, 60, see);
    assert_eq!(seen.len(), 1, "it flickers: {seen:?}");
    seen.pop_first().unwrap().0
}

fn pod(view: &View) -> Summary {
    view.shown(Tab::Pods).unwrap().remove(POD).unwrap()
}

fn buttons(view: &View, kind: Kind, id: &str) -> Vec<String> {
    let shown = view.controls(kind, id).into_iter();
    shown.map(|shown| shown.control.id).collect()
}

#[test]
fn without_a_plugin_containers_count_for_nothing() {
    let mut world = simple();
    world.advance(Duration::from_secs(20));
    let view = world.view();
    let pod = pod(&view);
    assert_eq!(pod.label_minor, "0 containers");
    assert_eq!(pod.parent_labels(Tab::Hosts), [""; 0]);
    assert_eq!(pod.parent_labels(Tab::Controllers), ["web"]);
    assert!(pod.metrics.is_empty());
    assert!(!view.shown(Tab::Containers).unwrap().contains_key(CONTAINER));
    assert!(view.all(Tab::Containers).unwrap().contains_key(CONTAINER));
    assert_eq!(view.probes(), BTreeMap::from([("a1", "n1")]));
}
