//! Probes that end, an app that is away, and plugins that misbehave, as a person sees them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "this test needs only a part of it")]
mod body;

use std::time::Duration;

use body::{body, control, metric, node, nodes, stamp};
use scope_emulator::truth::{Host, Pod};
use scope_emulator::{Ask, Kind, ProbeSetup, Script, ScriptedClick, Tab, World};
use serde_json::json;

const POD: &str = "u1;<pod>";

fn world() -> World {
    let mut world = World::default();
    {
        let mut truth = world.truth();
        truth.hosts.insert("n1".to_owned(), Host::default());
        truth.pods.push(Pod::new("u1", "demo", "web", "n1"));
    }
    world.add_probe(ProbeSetup::host("n1").id("a1"));
    world.add_probe(ProbeSetup::cluster("n1").id("c1"));
    world
}

fn seconds(world: &mut World, seconds: u64) {
    world.advance(Duration::from_secs(seconds));
}

fn hosts(world: &mut World) -> usize {
    let hosts = world.view().shown(Tab::Hosts).unwrap();
    hosts.values().filter(|host| !host.pseudo).count()
}

#[test]
fn a_probe_that_ends_leaves_the_page_with_the_window() {
    let mut world = world();
    seconds(&mut world, 20);
    world.stop_probe(0);
    seconds(&mut world, 5);
    assert_eq!(hosts(&mut world), 1);
    // The last complete publish was at 12 s; what came after it has no topology, and is not drawn.
    seconds(&mut world, 5);
    assert_eq!(hosts(&mut world), 0);
    world.add_probe(ProbeSetup::host("n1").id("a2"));
    seconds(&mut world, 4);
    assert_eq!(
        world.view().probes().into_keys().collect::<Vec<_>>(),
        ["a2"]
    );
}

#[test]
fn after_an_outage_of_the_app_the_first_publish_is_complete() {
    let mut world = world();
    // The second publish, a reduced one, is the last that arrives.
    seconds(&mut world, 7);
    world.set_app_reachable(false);
    seconds(&mut world, 30);
    assert_eq!(hosts(&mut world), 0);
    world.set_app_reachable(true);
    seconds(&mut world, 3);
    let view = world.view();
    assert_eq!(view.shown(Tab::Hosts).unwrap()["n1;<host>"].label, "n1");
    assert_eq!(view.shown(Tab::Pods).unwrap()[POD].label, "web");
}

struct Misbehaving;

impl Script for Misbehaving {
    fn report(&mut self, ask: &Ask) -> Result<Vec<u8>, String> {
        // Fails every other time.
        let second = ask
            .now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        if second.is_multiple_of(2) {
            return Err(
                "plugin returned non-200 status code: 500 Internal Server Error".to_owned(),
            );
        }
        let pod = node(
            POD,
            &stamp(ask.now, 30),
            &[("active_controls", "p-controls~kill")],
        );
        let pod = body::all([pod, metric("m", &stamp(ask.now, 0), 1.0)]);
        let pods = body::all([body::template("m"), nodes([pod])]);
        Ok(body("p", &["reporter"], json!({ "Pod": pods })))
    }
}

struct Killing;

impl Script for Killing {
    fn report(&mut self, _: &Ask) -> Result<Vec<u8>, String> {
        let pods = json!({ "Pod": control("kill") });
        Ok(body("p-controls", &["reporter", "controller"], pods))
    }

    fn control(&mut self, _: &Ask, _: &ScriptedClick) -> Result<Vec<u8>, String> {
        Ok(br#"{"shortcutReport":{}}"#.to_vec())
    }
}

#[test]
fn failures_leave_gaps_that_the_window_fills() {
    let mut world = world();
    world.add_plugin("n1", "p.sock", Misbehaving);
    seconds(&mut world, 20);
    for _ in 0..20 {
        seconds(&mut world, 1);
        let view = world.view();
        assert_eq!(view.shown(Tab::Pods).unwrap()[POD].metric("m"), Some(1.0));
        let status = &view.plugins().next().unwrap().status;
        assert!(
            status == "ok" || status.starts_with("error: plugin returned"),
            "{status}"
        );
    }
    world.remove_plugin("n1", "p.sock");
    seconds(&mut world, 19);
    let view = world.view();
    assert_eq!(view.shown(Tab::Pods).unwrap()[POD].metric("m"), None);
    assert_eq!(view.plugins().count(), 0);
}

#[test]
fn a_bad_shortcut_kills_the_probe_of_the_cluster() {
    let mut world = world();
    world.add_plugin("n1", "p.sock", Misbehaving);
    world.add_plugin("n1", "p-controls.sock", Killing);
    seconds(&mut world, 20);
    let click = |world: &mut World| {
        let outcome = world.click(Kind::Pod, POD, "p-controls~kill", None);
        outcome.unwrap().error.unwrap()
    };
    assert!(click(&mut world).contains("abnormal closure"));
    assert_eq!(click(&mut world), "probe c1 is not connected right now");
    assert!(world.probe(1).died().is_some());
    seconds(&mut world, 19);
    // What is left of the pod is what the plugin says.
    let pods = world.view().shown(Tab::Pods).unwrap();
    assert_eq!(pods[POD].label, "u1");
    assert_eq!(hosts(&mut world), 1);
}
