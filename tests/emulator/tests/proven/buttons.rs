//! Which buttons a node shows, and where a click goes.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_emulator::{Ask, Kind, Runtime, Script, ScriptedClick, World};
use serde_json::json;

use crate::body::{all, body, control, latest_controls, metric, node, nodes, stamp};
use crate::{BUILT_IN, CONTAINER, DEPLOYMENT, POD, buttons, looks, simple, steady, world};

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
