//! What a plugin says of Kubernetes' objects, beside what the probe says of them.

use std::time::Duration;

use scope_emulator::truth::{Controller, Pod};
use scope_emulator::{Ask, Kind, ProbeSetup, Summary, Tab, View, World};
use serde_json::json;

use crate::body::{all, body, metric, node, nodes, parent, stamp, template};
use crate::{CONTAINER, DEPLOYMENT, POD, looks, pod, simple, steady};

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
