//! What was proven on a real Scope 1.13.2, in simulated time: each test is one of those facts.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod body;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use body::{all, body, control, latest_controls, metric, node, nodes, parent, stamp, template};
use scope_emulator::truth::{Container, Controller, Host, Namespace, Pod};
use scope_emulator::{
    Ask, Kind, ProbeSetup, Runtime, Script, ScriptedClick, Summary, Tab, View, World,
};
use serde_json::json;

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
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        world.advance(Duration::from_secs(1));
        *seen.entry(see(&world.view())).or_default() += 1;
    }
    seen
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

fn one_socket(named: &'static [&'static str]) -> impl FnMut(&Ask) -> Vec<u8> + Send {
    move |ask| {
        let now = stamp(ask.now, 0);
        let controls: Vec<&str> = ["evict"].iter().chain(named).copied().collect();
        let pod = all([node(POD, &now, &[]), latest_controls(&now, &controls)]);
        let deployment = all([node(DEPLOYMENT, &now, &[]), metric("m", &now, 1.0)]);
        let topologies = json!({
            "Pod": all([control("evict"), nodes([pod])]),
            "Deployment": nodes([deployment]),
        });
        body("p", &["reporter", "controller"], topologies)
    }
}

#[test]
fn a_controller_socket_wipes_the_buttons_of_all_its_nodes() {
    let mut world = simple();
    world.add_plugin("n2", "p.sock", one_socket(&[]));
    let seen = steady(&mut world, |view| {
        (
            buttons(view, Kind::Pod, POD),
            buttons(view, Kind::Deployment, DEPLOYMENT),
        )
    });
    assert_eq!(seen, (vec!["p~evict".to_owned()], vec![]));
}

#[test]
fn naming_the_built_in_buttons_brings_them_back_on_that_node() {
    let mut world = simple();
    world.add_plugin("n2", "p.sock", one_socket(&BUILT_IN));
    let seen = steady(&mut world, |view| {
        let of_pod: BTreeSet<String> = buttons(view, Kind::Pod, POD).into_iter().collect();
        (of_pod, buttons(view, Kind::Deployment, DEPLOYMENT))
    });
    let wanted = BUILT_IN
        .iter()
        .chain(&["p~evict"])
        .map(|id| (*id).to_owned());
    assert_eq!(seen, (wanted.collect(), vec![]));
}

/// Two sockets, the nodes in one with the list of all controls as a value of its own.
fn add_two_sockets(world: &mut World, host: &str, lead: u64) {
    world.add_plugin(host, "p.sock", move |ask: &Ask| {
        let listed = format!("{};p-controls~evict", BUILT_IN.join(";"));
        let values = [("active_controls", listed.as_str())];
        let pod = node(POD, &stamp(ask.now, lead), &values);
        body("p", &["reporter"], json!({ "Pod": nodes([pod]) }))
    });
    world.add_plugin(host, "p-controls.sock", |_: &Ask| {
        let interfaces = ["reporter", "controller"];
        body(
            "p-controls",
            &interfaces,
            json!({ "Pod": control("evict") }),
        )
    });
}

#[test]
fn with_two_sockets_all_buttons_stand_side_by_side() {
    let mut wanted: Vec<&str> = BUILT_IN.to_vec();
    wanted.push("p-controls~evict");
    for skew in [[0, 0], [-5000, 5000], [5000, -5000]] {
        for phase in [0, 1300, 2900] {
            let mut world = world(Runtime::Cri, skew, Duration::from_millis(phase));
            for host in ["n1", "n2"] {
                add_two_sockets(&mut world, host, 30);
            }
            let seen = steady(&mut world, |view| {
                (
                    buttons(view, Kind::Pod, POD),
                    buttons(view, Kind::Deployment, DEPLOYMENT).len(),
                )
            });
            assert_eq!(seen.0, wanted, "{skew:?}, {phase} ms");
            assert_eq!(seen.1, 3, "the deployment keeps its own");
        }
    }
}

/// The socket with the controls, which takes the clicks.
struct Clickable;

impl Script for Clickable {
    fn report(&mut self, _: &Ask) -> Result<Vec<u8>, String> {
        let controls = json!({ "Container": control("restart"), "Pod": control("restart") });
        Ok(body("p-controls", &["reporter", "controller"], controls))
    }

    fn control(&mut self, ask: &Ask, click: &ScriptedClick) -> Result<Vec<u8>, String> {
        assert_eq!((click.control.as_str(), &click.args), ("restart", &None));
        let answer = match click.node_id.as_str() {
            CONTAINER => json!({ "value": ask.probe_id }),
            _ => json!({ "error": "that is no container" }),
        };
        Ok(answer.to_string().into_bytes())
    }
}

#[test]
fn clicks_go_to_the_probe_that_the_node_names() {
    const RESTART: &str = "p-controls~restart";
    let mut world = simple();
    world.add_plugin("n1", "p.sock", |ask: &Ask| {
        let ahead = stamp(ask.now, 30);
        let active = ("active_controls", RESTART);
        let probe = ("control_probe_id", ask.probe_id.as_str());
        let topologies = json!({
            "Container": nodes([node(CONTAINER, &ahead, &[active, probe])]),
            "Pod": nodes([node(POD, &ahead, &[active])]),
        });
        body("p", &["reporter"], topologies)
    });
    world.add_plugin("n1", "p-controls.sock", Clickable);
    world.advance(Duration::from_secs(20));
    let done = world
        .click(Kind::Container, CONTAINER, RESTART, None)
        .unwrap();
    assert_eq!((done.http, done.body.as_str()), (200, "{\"value\":\"a1\"}"));
    // A pod's clicks go to the probe of the cluster, where the plugin is not.
    let lost = world.click(Kind::Pod, POD, RESTART, None).unwrap();
    let words = "Control \"p-controls~restart\" not recognised";
    assert_eq!(lost.error.as_deref(), Some(words));
    world.add_plugin("n2", "p-controls.sock", Clickable);
    world.advance(Duration::from_secs(5));
    let refused = world.click(Kind::Pod, POD, RESTART, None).unwrap();
    let words = "that is no container";
    assert_eq!((refused.http, refused.error.as_deref()), (400, Some(words)));
    assert!(
        world
            .click(Kind::Pod, POD, "p-controls~other", None)
            .is_none()
    );
}

#[test]
fn replica_sets_are_harmless_if_parents_are_right() {
    let mut world = simple();
    {
        let mut truth = world.truth();
        let other = Pod::new("u2", "demo", "web-2", "n2").labelled("app", "web");
        truth.pods.push(other);
    }
    world.add_plugin("n1", "p.sock", |ask: &Ask| {
        let now = stamp(ask.now, 0);
        let pod = all([
            node(POD, &now, &[]),
            parent("replica_set", "r1;<replica_set>"),
        ]);
        let set = node("r1;<replica_set>", &now, &[]);
        let set = all([set, parent("deployment", DEPLOYMENT)]);
        let topologies = json!({ "Pod": nodes([pod]), "ReplicaSet": nodes([set]) });
        body("p", &["reporter"], topologies)
    });
    let label = steady(&mut world, |view| {
        view.shown(Tab::Controllers).unwrap()[DEPLOYMENT]
            .label_minor
            .clone()
    });
    assert_eq!(label, "Deployment of 2 pods");
}

#[test]
fn metrics_show_where_there_is_a_template() {
    let mut world = simple();
    world.add_plugin("n1", "p.sock", |ask: &Ask| {
        let now = stamp(ask.now, 0);
        let figures = |id: &str| {
            all([
                node(id, &now, &[]),
                metric("docker_cpu_total_usage", &now, 12.345),
                metric("own", &now, 3.0),
            ])
        };
        let topologies = json!({
            "Pod": nodes([figures(POD)]),
            "Deployment": all([template("own"), nodes([figures(DEPLOYMENT)])]),
            "Container": all([template("own"), nodes([figures(CONTAINER)])]),
        });
        body("p", &["reporter"], topologies)
    });
    let metrics = |summary: &Summary| {
        let rows = summary.metrics.iter();
        rows.map(|row| format!("{} {}", row.label, row.value))
            .collect::<Vec<_>>()
    };
    let seen = steady(&mut world, |view| {
        let containers = view.all(Tab::Containers).unwrap();
        let controllers = view.shown(Tab::Controllers).unwrap();
        [
            metrics(&pod(view)),
            metrics(&controllers[DEPLOYMENT]),
            metrics(&containers[CONTAINER]),
        ]
    });
    assert_eq!(seen[0], ["CPU 12.34"], "cut, not rounded");
    assert_eq!(seen[1], ["own 3", "CPU 12.34"]);
    // Scope's probe has no template for the figures of CRI containers.
    assert_eq!(seen[2], ["own 3"]);
}

fn mended(lead: u64) -> impl FnMut(&Ask) -> Vec<u8> + Send {
    move |ask| {
        let (now, ahead) = (stamp(ask.now, 0), stamp(ask.now, lead));
        let container = all([
            node(CONTAINER, &ahead, &[("docker_container_state", "running")]),
            parent("pod", POD),
            metric("docker_cpu_total_usage", &now, 12.5),
        ]);
        let topologies = json!({ "Container": nodes([container]) });
        body("p", &["reporter"], topologies)
    }
}

/// In how many of a hundred looks the pod has its container.
fn share_mended(lead: u64, skew: [i64; 2], phase: u64, publish: u64) -> usize {
    let mut world = World::default();
    *world.truth() = simple().truth().clone();
    let host = ProbeSetup::host("n1").skew_millis(skew[0]);
    let host = host.phase(Duration::from_millis(phase));
    world.add_probe(host.publish_every(Duration::from_millis(publish)));
    world.add_probe(ProbeSetup::cluster("n2").skew_millis(skew[1]));
    world.add_plugin("n1", "p.sock", mended(lead));
    let seen = looks(&mut world, 100, |view| pod(view).label_minor);
    seen.get("1 container").copied().unwrap_or(0)
}

#[test]
fn a_state_must_be_stamped_ahead() {
    for (skew, phase) in [([0, 0], 0), ([5000, -5000], 700), ([-5000, 5000], 2300)] {
        let share = |lead| share_mended(lead, skew, phase, 3000);
        assert_eq!(share(0), 0, "the probe's own stamp is newer");
        assert_eq!(share(5), 100, "{skew:?}, {phase} ms");
        assert_eq!(share(30), 100, "{skew:?}, {phase} ms");
    }
}

/// The app drops reports by threes of seconds, so that the window can be three seconds short: too
/// short for the 13.5 s between complete publishes. What Scope's probe reports itself goes then, too.
#[test]
fn with_publishes_every_four_and_a_half_seconds_even_scopes_own_nodes_go_missing() {
    let missing = |phase: u64| {
        let mut world = World::default();
        *world.truth() = simple().truth().clone();
        let host = ProbeSetup::host("n1").phase(Duration::from_millis(phase));
        world.add_probe(host.publish_every(Duration::from_millis(4500)));
        world.add_probe(ProbeSetup::cluster("n2"));
        let seen = looks(&mut world, 100, |view| {
            let containers = view.all(Tab::Containers).unwrap();
            containers.contains_key(CONTAINER)
        });
        seen.get(&false).copied().unwrap_or(0)
    };
    let shares: Vec<usize> = [0, 700, 1500, 2300].map(missing).into();
    assert!(shares.iter().any(|share| *share > 0), "{shares:?}");
    assert!(shares.iter().all(|share| *share < 15), "{shares:?}");
}

#[test]
fn controls_must_be_stamped_further_ahead_than_complete_publishes_are_apart() {
    let share = |lead, skew, phase| {
        let mut world = world(Runtime::Cri, skew, Duration::from_millis(phase));
        // The probe of the cluster, on the other node, does not ask it.
        add_two_sockets(&mut world, "n1", lead);
        let seen = looks(&mut world, 100, |view| buttons(view, Kind::Pod, POD).len());
        seen.get(&4).copied().unwrap_or(0)
    };
    for (skew, phase) in [([0, 0], 5500), ([-1000, 1000], 4400), ([0, 0], 7300)] {
        let (short, long) = (share(5, skew, phase), share(30, skew, phase));
        assert!((50..90).contains(&short), "{short} of 100 looks with 5 s");
        assert_eq!(long, 100, "{skew:?}, {phase} ms");
    }
}

#[test]
fn a_mended_container_gives_its_pod_host_and_figures() {
    let mut world = simple();
    world.add_plugin("n1", "p.sock", mended(30));
    let seen = steady(&mut world, |view| {
        let pod = pod(view);
        let hosts = pod.parent_labels(Tab::Hosts).join(",");
        let cpu = pod
            .metric("docker_cpu_total_usage")
            .map(|cpu| cpu.to_string());
        let deployment = &view.shown(Tab::Controllers).unwrap()[DEPLOYMENT];
        let above = deployment
            .metric("docker_cpu_total_usage")
            .map(|cpu| cpu.to_string());
        (pod.label_minor, hosts, cpu, above)
    });
    let figure = Some("12.5".to_owned());
    let wanted = (
        "1 container".to_owned(),
        "n1".to_owned(),
        figure.clone(),
        figure,
    );
    assert_eq!(seen, wanted);
}

fn namespaced(with_node: Option<bool>) -> impl FnMut(&Ask) -> Vec<u8> + Send {
    move |ask| {
        let now = stamp(ask.now, 0);
        // One changing value keeps all values of the pod in every publish.
        let values = [("kubernetes_namespace", "demo"), ("tick", now.as_str())];
        let pod = node(POD, &now, &values);
        let mut topologies = json!({ "Pod": nodes([all([pod, metric("m", &now, 1.0)])]) });
        if let Some(with_metric) = with_node {
            let namespace = node("ns1;<namespace>", &now, &[("kubernetes_name", "demo")]);
            let figure = if with_metric {
                metric("m", &now, 1.0)
            } else {
                json!({})
            };
            topologies["Namespace"] = nodes([all([namespace, figure])]);
        }
        body("p", &["reporter"], topologies)
    }
}

#[test]
fn namespaces_double_unless_one_comes_in_every_publish() {
    let mut world = simple();
    let seen = |world: &mut World| {
        let seen = looks(world, 30, |view| view.namespaces().len());
        seen.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(seen(&mut world), [1], "without a plugin there is one");
    world.add_plugin("n1", "p.sock", namespaced(None));
    assert_eq!(seen(&mut world), [2]);
    world.add_plugin("n1", "p.sock", namespaced(Some(false)));
    let doubled = seen(&mut world);
    assert!(
        doubled.contains(&2),
        "in a delta it is missing: {doubled:?}"
    );
    world.add_plugin("n1", "p.sock", namespaced(Some(true)));
    assert_eq!(seen(&mut world), [1]);
}

#[test]
fn sums_of_two_nodes_show_one_or_the_other() {
    let mut world = simple();
    world.add_probe(ProbeSetup::host("n2").phase(Duration::from_millis(500)));
    for (host, sum) in [("n1", 40.0), ("n2", 20.0)] {
        world.add_plugin(host, "p.sock", move |ask: &Ask| {
            let now = stamp(ask.now, 0);
            let deployment = all([node(DEPLOYMENT, &now, &[]), metric("own", &now, sum)]);
            let deployments = all([template("own"), nodes([deployment])]);
            body("p", &["reporter"], json!({ "Deployment": deployments }))
        });
    }
    let seen = looks(&mut world, 60, |view| {
        let deployment = &view.shown(Tab::Controllers).unwrap()[DEPLOYMENT];
        deployment.metric("own").map(|own| own as u64)
    });
    let seen: Vec<Option<u64>> = seen.into_keys().collect();
    assert_eq!(seen, [Some(20), Some(40)]);
}

#[test]
fn a_job_finds_its_pod_only_through_us() {
    const JOB: &str = "j1;<job>";
    let mut world = simple();
    {
        let mut truth = world.truth();
        let job = Controller::new(Kind::Job, "j1", "demo", "job");
        truth.controllers.push(job.selecting("app", "web"));
    }
    let label = |view: &View| {
        view.shown(Tab::Controllers).unwrap()[JOB]
            .label_minor
            .clone()
    };
    assert_eq!(steady(&mut world, label), "Job of 0 pods");
    world.add_plugin("n1", "p.sock", |ask: &Ask| {
        let now = stamp(ask.now, 0);
        let pod = all([node(POD, &now, &[]), parent("job", JOB)]);
        let pod = all([pod, metric("docker_memory_usage", &now, 7.0)]);
        body("p", &["reporter"], json!({ "Pod": nodes([pod]) }))
    });
    let seen = steady(&mut world, |view| {
        let job = view.shown(Tab::Controllers).unwrap()[JOB].clone();
        (job.label_minor, job.metrics.len())
    });
    assert_eq!(seen, ("Job of 1 pod".to_owned(), 1));
}
