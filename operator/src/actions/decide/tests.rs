use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use scope_crds::{Control, TargetKind};
use serde_json::{Value, json};

use super::*;
use crate::testing;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2030-01-01T00:00:00Z")
}

fn action(status: Value) -> ScopeAction {
    serde_json::from_value(json!({
        "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
        "metadata": {"name": "a-xyz", "namespace": "scope-plugins"},
        "spec": {
            "plugin": "a", "control": "DeletePod", "target": {"kind": "Pod", "uid": "0f-1"},
            "node": "n1", "probeID": "p", "appID": "q", "notAfter": "2030-01-01T00:00:10.000000Z",
        },
        "status": status,
    }))
    .unwrap()
}

fn pod(fields: Value) -> Seen {
    let mut pod = json!({
        "metadata": {"namespace": "demo", "name": "web-1", "uid": "0f-1", "resourceVersion": "5"},
        "spec": {"nodeName": "n2", "containers": []},
    });
    pod["metadata"]
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    Seen::new(TargetKind::Pod, serde_json::from_value(pod).unwrap())
}

fn allowing() -> Settings {
    let mut settings = testing::settings();
    settings.allowed_actions.insert(Control::DeletePod);
    settings
}

fn offering() -> ScopePlugin {
    testing::plugin(
        "a",
        json!({"agent": {"controls": ["DeletePod"], "protectedNamespaces": ["prod"]}}),
    )
}

#[test]
fn what_is_offered_and_allowed_is_admitted() {
    let plugin = offering();
    assert!(
        admit(
            &action(Value::Null),
            &Plugin::Known(&plugin),
            &allowing(),
            now()
        )
        .is_ok()
    );
}

#[test]
fn everything_else_is_refused_in_words() {
    let offers_nothing = testing::plugin("a", json!({"agent": {}}));
    let suspended = testing::plugin(
        "a",
        json!({"agent": {"controls": ["DeletePod"]}, "suspended": true}),
    );
    let offering = offering();
    let pending = || action(Value::Null);
    let late = at("2030-01-01T00:00:10Z");
    let abandoned = action(
        json!({"message": "Being carried out", "target": {"namespace": "demo", "name": "web-1"}}),
    );
    for (action, plugin, settings, time, phase, words) in [
        (
            pending(),
            Plugin::Missing,
            allowing(),
            now(),
            ActionPhase::Refused,
            "There is no ScopePlugin a",
        ),
        (
            pending(),
            Plugin::Unreadable,
            allowing(),
            now(),
            ActionPhase::Refused,
            "cannot read",
        ),
        (
            pending(),
            Plugin::Known(&suspended),
            allowing(),
            now(),
            ActionPhase::Refused,
            "suspended",
        ),
        (
            pending(),
            Plugin::Known(&offers_nothing),
            allowing(),
            now(),
            ActionPhase::Refused,
            "does not offer DeletePod",
        ),
        (
            pending(),
            Plugin::Known(&offering),
            testing::settings(),
            now(),
            ActionPhase::Refused,
            "actions.allowed",
        ),
        (
            pending(),
            Plugin::Known(&offering),
            allowing(),
            late,
            ActionPhase::Expired,
            "Nothing was done",
        ),
        // Found late: even where it could not be carried out anyway, being late is what is said.
        (
            pending(),
            Plugin::Missing,
            allowing(),
            late,
            ActionPhase::Expired,
            "Nothing was done",
        ),
        (
            abandoned,
            Plugin::Known(&offering),
            allowing(),
            now(),
            ActionPhase::Failed,
            "See how Pod demo/web-1 is now",
        ),
    ] {
        let outcome = admit(&action, &plugin, &settings, time).unwrap_err();
        assert_eq!(outcome.phase, phase, "{outcome:?}");
        assert!(outcome.message.contains(words), "{outcome:?}");
    }
}

#[test]
fn time_runs_out_at_the_given_moment() {
    let action = action(Value::Null);
    assert_eq!(left(&action, now()), Some(Duration::from_secs(10)));
    assert_eq!(
        left(&action, at("2030-01-01T00:00:09.999Z")),
        Some(Duration::from_millis(1))
    );
    assert_eq!(left(&action, at("2030-01-01T00:00:10Z")), None);
    assert_eq!(left(&action, at("2031-01-01T00:00:00Z")), None);
}

#[test]
fn a_far_deadline_is_cut_by_the_api_server_s_clock() {
    let mut action = action(Value::Null);
    action.spec.not_after = MicroTime(at("2099-01-01T00:00:00Z"));
    action.metadata.creation_timestamp = Some(Time(now()));
    assert_eq!(left(&action, now()), Some(Duration::from_secs(15)));
    assert_eq!(left(&action, at("2030-01-01T00:00:15Z")), None);
}

#[test]
fn pending_is_what_has_no_phase() {
    assert!(is_pending(&action(Value::Null)));
    assert!(is_pending(&action(json!({"message": "Being carried out"}))));
    assert!(!is_pending(&action(json!({"phase": "Refused"}))));
    assert!(
        begun(&action(
            json!({"phase": "Failed", "target": {"namespace": "a", "name": "b"}})
        ))
        .is_none()
    );
}

#[test]
fn some_pods_are_left_alone() {
    let offering = offering();
    let judged = |fields: Value| judge(&pod(fields), &offering.spec.agent, &allowing());
    assert_eq!(judged(json!({})), Ok(()));
    for (fields, phase, words) in [
        (
            json!({"namespace": "prod"}),
            ActionPhase::Refused,
            "the namespace prod is protected",
        ),
        (
            json!({"namespace": "scope-plugins"}),
            ActionPhase::Refused,
            "belongs to the Scope plugins",
        ),
        (
            json!({"namespace": "scope-system"}),
            ActionPhase::Refused,
            "belongs to the Scope plugins",
        ),
        (
            json!({"annotations": {"kubernetes.io/config.mirror": "abc"}}),
            ActionPhase::Refused,
            "static pod, which its node starts from a file (n2)",
        ),
    ] {
        let outcome = judged(fields).unwrap_err();
        assert_eq!(outcome.phase, phase, "{outcome:?}");
        assert!(outcome.message.contains(words), "{outcome:?}");
    }
}

/// The default protects the system's namespace without being asked.
#[test]
fn kube_system_is_protected_by_default() {
    let plugin = testing::plugin("a", json!({"agent": {"controls": ["DeletePod"]}}));
    let pod = pod(json!({"namespace": "kube-system"}));
    assert!(judge(&pod, &plugin.spec.agent, &allowing()).is_err());
}

/// No list of namespaces says anything about what is in none.
#[test]
fn a_node_is_in_no_namespace() {
    let plugin = testing::plugin("a", json!({"agent": {"controls": ["CordonNode"]}}));
    let node = json!({"metadata": {"name": "n1", "uid": "u"}});
    let node = Seen::new(TargetKind::Node, serde_json::from_value(node).unwrap());
    assert_eq!(judge(&node, &plugin.spec.agent, &allowing()), Ok(()));
}

#[test]
fn what_agents_do_themselves_is_never_carried_out_here() {
    let plugin = testing::plugin(
        "a",
        json!({"agent": {"controls": ["RestartContainer", "FreezeContainer", "ThawContainer"]}}),
    );
    let mut settings = allowing();
    settings.allowed_actions.extend(Control::ALL);
    for control in ["RestartContainer", "FreezeContainer", "ThawContainer"] {
        let mut clicked = action(Value::Null);
        clicked.spec.control = control.parse().unwrap();
        let refused = admit(&clicked, &Plugin::Known(&plugin), &settings, now()).unwrap_err();
        assert_eq!(refused.phase, ActionPhase::Refused);
        assert!(
            refused
                .message
                .contains("by the agent of the container's node"),
            "{refused:?}"
        );
    }
}
