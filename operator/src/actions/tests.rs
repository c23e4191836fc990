//! The controller: what it takes up and when, with the actor's API server in memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::{reflector, watcher};
use serde_json::{Value, json};

use super::{
    actor::tests::{Fate, Shared, action, given, world},
    *,
};

struct Given {
    controller: Controller,
    shared: Shared,
    filling: reflector::store::Writer<Guarded<ScopeAction>>,
}

fn controller() -> Given {
    let (actor, shared) = given(|_| {});
    let (store, filling) = reflector::store();
    let readiness = Arc::new(Readiness::new(&[kind::ACTIONS]));
    let namespace = "scope-plugins".to_owned();
    Given {
        controller: Controller::new(Arc::new(actor), store, namespace, readiness),
        shared,
        filling,
    }
}

impl Given {
    fn complete(&self) {
        self.controller.readiness.filled(kind::ACTIONS);
    }

    /// Puts the object into the store and has it considered, as its watch does.
    fn touch(&mut self, object: Value) {
        let object: Guarded<ScopeAction> = serde_json::from_value(object).unwrap();
        self.filling
            .apply_watcher_event(&watcher::Event::Apply(object.clone()));
        self.controller.consider(&object);
    }

    async fn finish(&mut self) {
        while let Some(finished) = self.controller.tasks.join_next_with_id().await {
            self.controller.finished(finished);
        }
    }

    fn metrics(&self) -> String {
        self.controller.actor.metrics.text(None)
    }
}

/// The click of the actor's tests.
fn click() -> Value {
    serde_json::to_value(action(jiff::ToSpan::seconds(10))).unwrap()
}

/// Another click for the same plugin, with this status.
fn record(status: Value) -> Value {
    let mut record = click();
    record["metadata"]["name"] = json!("a-before");
    record["metadata"]["uid"] = json!("uid-before");
    record["metadata"]["creationTimestamp"] = json!(Timestamp::now().to_string());
    record["status"] = status;
    record
}

#[tokio::test]
async fn a_new_leader_counts_what_was_carried_out_or_begun() {
    let target = json!({"namespace": "demo", "name": "web-9"});
    let ended = |phase: &str, ago: i64| {
        let at = Timestamp::now() - SignedDuration::from_secs(ago);
        json!({"phase": phase, "message": "x", "target": target, "completedAt": at.to_string()})
    };
    let mut not_tried = ended("Failed", 1);
    not_tried.as_object_mut().unwrap().remove("target");
    for (what, status, outcome) in [
        ("done", ended("Succeeded", 1), "Refused"),
        ("done a minute ago", ended("Succeeded", 61), "Succeeded"),
        ("tried in vain", ended("Failed", 1), "Refused"),
        ("nothing to try on", not_tried, "Succeeded"),
        (
            "begun",
            json!({"message": "Being carried out", "target": target}),
            "Refused",
        ),
        ("refused", ended("Refused", 1), "Succeeded"),
        ("too late", ended("Expired", 1), "Succeeded"),
    ] {
        let mut given = controller();
        // The plugin has one place a minute. That it was begun was seen by the replica that leads.
        given.filling.apply_watcher_event(&watcher::Event::Apply(
            serde_json::from_value(record(status)).unwrap(),
        ));
        given.complete();
        given.touch(click());
        given.finish().await;
        assert_eq!(world(&given.shared).phase(), Some(outcome), "{what}");
    }
}

#[tokio::test]
async fn nothing_is_carried_out_before_all_records_are_known() {
    let mut given = controller();
    given.touch(click());
    given.controller.consider_all();
    assert!(
        given.controller.tasks.is_empty(),
        "the list is not complete"
    );
    given.touch(record(json!({
        "phase": "Succeeded", "message": "x", "target": {"namespace": "demo", "name": "web-9"},
        "completedAt": Timestamp::now().to_string(),
    })));
    given.complete();
    given.touch(click());
    given.finish().await;
    let world = world(&given.shared);
    assert_eq!((world.phase(), world.deletes), (Some("Refused"), 0));
    assert!(world.message().contains("maxActionsPerMinute"));
}

#[tokio::test]
async fn a_panic_frees_its_own_action_and_no_other() {
    let mut given = controller();
    given.complete();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let other = given.controller.tasks.spawn(async move {
        let _ = ended.await;
        Ended::Aside
    });
    let under_way = &mut given.controller.under_way;
    under_way.insert(other.id(), "uid-other".into());
    world(&given.shared).at_status.push_back(Fate::Panic);

    given.touch(click());
    given.touch(click());
    assert_eq!(given.controller.under_way.len(), 2, "taken up once");
    let first = given.controller.tasks.join_next_with_id().await.unwrap();
    assert!(first.as_ref().is_err_and(JoinError::is_panic));
    given.controller.finished(first);
    let left: Vec<&String> = given.controller.under_way.values().collect();
    assert_eq!(left, ["uid-other"]);
    let text = given.metrics();
    assert!(text.contains("actions_panicked_total 1"), "{text}");

    // It is as pending as before, and is taken up when the controller looks again. Its place of the
    // minute is spent, since what the panic left undone is not known.
    given.controller.consider_all();
    end.send(()).unwrap();
    given.finish().await;
    assert!(given.controller.under_way.is_empty());
    assert_eq!(world(&given.shared).phase(), Some("Refused"));
}

#[tokio::test]
async fn an_unreadable_action_is_told_once_for_each_version() {
    let mut given = controller();
    given.complete();
    let mut unreadable = click();
    unreadable["spec"]["control"] = json!("FlyAway");
    unreadable["metadata"]["namespace"] = json!("scope-plugins");
    unreadable["metadata"]["resourceVersion"] = json!("7");
    for _ in 0..3 {
        given.touch(unreadable.clone());
        given.controller.consider_all();
    }
    given.finish().await;
    {
        let world = world(&given.shared);
        assert_eq!(world.events.len(), 1);
        assert_eq!(world.events[0]["regarding"]["kind"], "ScopeAction");
        let note = world.events[0]["note"].as_str().unwrap();
        assert!(note.contains("FlyAway"), "{note}");
        assert!(world.statuses.is_empty());
    }
    let counted = "undecodable_objects_total{kind=\"ScopeAction\"} 1";
    assert!(given.metrics().contains(counted));

    unreadable["metadata"]["resourceVersion"] = json!("8");
    given.touch(unreadable.clone());
    given.finish().await;
    assert_eq!(world(&given.shared).events.len(), 2);

    // Its deletion is a version, too, and nothing to tell.
    unreadable["metadata"]["resourceVersion"] = json!("9");
    let gone: Guarded<ScopeAction> = serde_json::from_value(unreadable).unwrap();
    given
        .filling
        .apply_watcher_event(&watcher::Event::Delete(gone.clone()));
    given.controller.consider(&gone);
    given.finish().await;
    assert_eq!(world(&given.shared).events.len(), 2);
}

#[test]
fn records_are_kept_for_an_hour() {
    let created = |text: &str| ObjectMeta {
        creation_timestamp: Some(Time(text.parse().unwrap())),
        ..ObjectMeta::default()
    };
    let now: Timestamp = "2030-01-01T01:00:00Z".parse().unwrap();
    assert!(is_old(&created("2030-01-01T00:00:00Z"), now));
    assert!(!is_old(&created("2030-01-01T00:00:01Z"), now));
    assert!(!is_old(&ObjectMeta::default(), now));
}
