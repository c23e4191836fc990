//! What agents did themselves and wrote down.

use super::*;

/// The record of something that the agent of this node did to a container of pod demo/web-1.
fn record(node: &str, phase: &str) -> ScopeAction {
    let mut record = serde_json::to_value(action(0.seconds())).unwrap();
    let spec = &mut record["spec"];
    spec["control"] = json!("FreezeContainer");
    spec["node"] = json!(node);
    spec["target"]["container"] = json!({
        "id": "c".repeat(64), "name": "web", "namespace": "demo", "pod": "web-1",
    });
    spec["done"] = json!({
        "phase": phase, "message": "container web of pod demo/web-1 is frozen",
        "at": "2030-01-01T00:00:00.000000Z",
    });
    serde_json::from_value(record).unwrap()
}

#[tokio::test]
async fn a_record_of_an_agent_becomes_a_status_and_an_event_and_nothing_is_done() {
    for (phase, kind) in [("Succeeded", "Normal"), ("Failed", "Warning")] {
        let (actor, shared) = given(|_| {});
        assert!(actor.handle(&record("n2", phase)).await);
        let world = world(&shared);
        assert_eq!((world.deletes, world.pods.len()), (0, 2));
        assert_eq!(world.statuses.len(), 1, "nothing is begun");
        assert_eq!(world.phase(), Some(phase));
        assert_eq!(world.message(), "container web of pod demo/web-1 is frozen");
        assert_eq!(world.statuses[0]["target"]["name"], "web-1");
        assert_eq!(
            world.statuses[0]["completedAt"],
            "2030-01-01T00:00:00.000000Z"
        );
        let event = &world.events[0];
        assert_eq!(event["regarding"]["uid"], UID_1);
        assert_eq!(event["action"], "FreezeContainer");
        assert_eq!(event["reason"], format!("ScopeAction{phase}"));
        assert_eq!(event["type"], kind);
        let note = event["note"].as_str().unwrap();
        let who = "Asked for in Scope (app app-1, probe probe-1), done by the agent of node n2; ";
        assert!(note.contains(who), "{note}");
    }
}

#[tokio::test]
async fn what_nobody_clicked_is_not_said_to_be_asked_for() {
    let (actor, shared) = given(|_| {});
    let mut thawed = record("n2", "Succeeded");
    thawed.spec.control = scope_crds::Control::ThawContainer;
    thawed.spec.app_id.clear();
    thawed.spec.probe_id.clear();
    assert!(actor.handle(&thawed).await);
    let world = world(&shared);
    let note = world.events[0]["note"].as_str().unwrap();
    assert!(
        note.contains(". Done by the agent of node n2; ScopePlugin a"),
        "{note}"
    );
    assert!(!note.contains("Asked for"), "{note}");
}

#[tokio::test]
async fn a_record_about_what_is_not_there_becomes_a_status_only() {
    type Change = fn(&mut World);
    let cases: [(&str, &str, &str, Change); 3] = [
        // Another node's pod: pods do not move, so this agent is not to be believed.
        ("n1", "Refused", "does not run on n1", |_| {}),
        ("n2", "Succeeded", "the pod is gone", |world| {
            world.pods.remove("demo/web-1");
        }),
        // Another pod of that name.
        ("n2", "Succeeded", "another one by now", |world| {
            world.put("demo", "web-1", UID_9, 9);
        }),
    ];
    for (node, phase, words, change) in cases {
        let (actor, shared) = given(change);
        assert!(actor.handle(&record(node, "Succeeded")).await);
        let world = world(&shared);
        assert_eq!(world.phase(), Some(phase));
        assert!(world.message().contains(words), "{}", world.message());
        assert_eq!(world.statuses[0]["target"], Value::Null);
        assert!(world.events.is_empty(), "{:?}", world.events);
    }
}

#[tokio::test]
async fn a_node_that_floods_records_gets_few_events() {
    let (actor, shared) = given(|_| {});
    for _ in 0..130 {
        assert!(actor.handle(&record("n2", "Succeeded")).await);
    }
    let world = world(&shared);
    assert_eq!(world.statuses.len(), 130);
    let named = world
        .statuses
        .iter()
        .filter(|s| !s["target"].is_null())
        .count();
    assert_eq!(named, 120);
}
