//! Containers of a CRI runtime, mended by a plugin.

use std::time::Duration;

use scope_emulator::{Ask, ProbeSetup, Tab, World};
use serde_json::json;

use crate::body::{all, body, metric, node, nodes, parent, stamp};
use crate::{CONTAINER, DEPLOYMENT, POD, looks, pod, simple, steady};

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
