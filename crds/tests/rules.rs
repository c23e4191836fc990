//! The CEL rules, evaluated as the API server would.

#![allow(clippy::unwrap_used)]

use kube::core::cel::Validator;
use scope_crds::{Control, TargetKind};
use serde_json::{Value, json};

/// The messages of the rules that `object` (after `old`) breaks.
fn broken(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = scope_crds::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let schema = serde_json::to_value(
        crd.spec.versions[0]
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref())
            .unwrap(),
    )
    .unwrap();
    match Validator::new().validate(&schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => vec![errors.to_string()],
    }
}

fn plugin(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopePlugin", "metadata": {"name": name}, "spec": spec})
}

#[track_caller]
fn accepted(object: &Value) {
    assert_eq!(
        broken("ScopePlugin", object, None),
        Vec::<String>::new(),
        "{object}"
    );
}

#[track_caller]
fn refused(object: &Value, words: &str) {
    let messages = broken("ScopePlugin", object, None);
    assert!(
        messages.iter().any(|message| message.contains(words)),
        "wanted {words:?} for {object}, got {messages:?}"
    );
}

#[test]
fn names() {
    for name in [
        "a",
        "node-metrics",
        "1",
        "a-b-c",
        "controls",
        "x".repeat(32).as_str(),
    ] {
        accepted(&plugin(name, json!({"agent": {}})));
    }
    for (name, words) in [
        (
            "x".repeat(33).as_str(),
            "metadata.name is the plugin's ID and may have at most 32",
        ),
        ("a--b", "single dashes"),
        ("a.b", "single dashes"),
        ("node-controls", "may not end in -controls"),
    ] {
        refused(&plugin(name, json!({"agent": {}})), words);
    }
}

#[test]
fn texts() {
    accepted(&plugin(
        "a",
        json!({"agent": {}, "label": "Node metrics – ünïcode", "description": "x"}),
    ));
    refused(
        &plugin("a", json!({"agent": {}, "label": "two\nlines"})),
        "spec.label may not contain",
    );
    refused(
        &plugin("a", json!({"agent": {}, "description": "\u{7f}"})),
        "spec.description may not contain",
    );
}

/// Just those that the agent refuses to start with: there is no ScopePlugin that is accepted here and
/// whose agents end at once.
#[test]
fn texts_have_no_control_characters() {
    let with = |text: &str| {
        plugin(
            "a",
            json!({"agent": {}, "label": text, "description": text}),
        )
    };
    let (control, fine): (Vec<char>, Vec<char>) =
        ('\0'..='\u{ff}').partition(|character| character.is_control());
    assert_eq!(control.len(), 65);
    for character in control {
        let messages = broken("ScopePlugin", &with(&format!("a{character}b")), None).join(" ");
        for field in ["label", "description"] {
            assert!(
                messages.contains(&format!("spec.{field} may not contain control characters")),
                "{character:?}: {messages}"
            );
        }
    }
    for few in fine.chunks(60) {
        accepted(&with(&String::from_iter(few)));
    }
    accepted(&with("\u{200e}\u{2028}\u{feff}\u{e000}\u{1f600}"));
}

#[test]
fn traffic_control() {
    for duration in ["1s", "90s", "30m", "24h", "86400s", "1440m"] {
        accepted(&plugin(
            "a",
            json!({"agent": {"trafficControl": {"maxDuration": duration}}}),
        ));
    }
    for duration in [
        "", "0s", "01m", "25h", "86401s", "1d", "1h30m", "1.5h", "-1s", "30",
    ] {
        refused(
            &plugin(
                "a",
                json!({"agent": {"trafficControl": {"maxDuration": duration}}}),
            ),
            "spec.agent.trafficControl.maxDuration must be 1s to 24h",
        );
    }
    let shaping = |collectors: &[&str]| json!({"agent": {"collectors": collectors, "controls": ["ShapeTraffic"]}});
    accepted(&plugin("a", shaping(&["TrafficControl"])));
    accepted(&plugin(
        "a",
        json!({"agent": {"collectors": ["TrafficControl"]}}),
    ));
    refused(
        &plugin("a", shaping(&["Resources"])),
        "needs the collector TrafficControl",
    );
}

#[test]
fn agent() {
    for interval in ["1s", "9s", "10s", "59s", "60s"] {
        accepted(&plugin("a", json!({"agent": {"sampleInterval": interval}})));
    }
    for interval in ["0s", "61s", "1m", "500ms", "1.5s", "05s", "", "1", " 1s"] {
        refused(
            &plugin("a", json!({"agent": {"sampleInterval": interval}})),
            "spec.agent.sampleInterval must be 1s to 60s",
        );
    }
    accepted(&plugin(
        "a",
        json!({"agent": {"protectedNamespaces": ["kube-system", "x", "1-a"]}}),
    ));
    accepted(&plugin("a", json!({"agent": {"protectedNamespaces": []}})));
    for name in ["Upper", "-a", "a-", "a.b", "a b"] {
        refused(
            &plugin(
                "a",
                json!({"agent": {"protectedNamespaces": ["fine", name]}}),
            ),
            "spec.agent.protectedNamespaces must be names",
        );
    }
}

#[test]
fn resources() {
    let with = |resources: Value| plugin("a", json!({"agent": {"resources": resources}}));
    for fine in [
        json!({}),
        json!({"requests": {"cpu": "10m"}}),
        json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}),
        json!({"requests": {"cpu": "1000m"}, "limits": {"cpu": "1"}}),
    ] {
        accepted(&with(fine));
    }
    refused(
        &with(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "128Mi"}})),
        "spec.agent.resources.requests.memory may not be above",
    );
    refused(
        &with(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}})),
        "spec.agent.resources.requests.cpu may not be above",
    );
}

#[test]
fn rollout() {
    let with = |rollout: Value| plugin("a", json!({"agent": {}, "rollout": rollout}));
    for fine in [
        json!({}),
        json!({"canary": {"nodes": 0}, "minReady": "0s", "deadline": "10s"}),
        json!({"canary": {"nodes": "25%", "soak": "24h"}, "deadline": "1440m"}),
        json!({"canary": {"nodeSelector": {"pool": "canary"}, "soak": "0s"}}),
        json!({"minReady": "60m", "partition": 3, "paused": true, "onFailure": "Rollback"}),
        json!({"maxFailures": "0%", "restartedAt": "2030-01-01T00:00:00Z"}),
    ] {
        accepted(&with(fine));
    }
    for (wrong, words) in [
        (
            json!({"canary": {"nodes": 1, "nodeSelector": {"a": "b"}}}),
            "spec.rollout.canary may have nodes or nodeSelector, not both",
        ),
        (
            json!({"canary": {"nodeSelector": {"k".repeat(318): ""}}}),
            "spec.rollout.canary.nodeSelector: a label's key",
        ),
        (
            json!({"canary": {"soak": "25h"}}),
            "spec.rollout.canary.soak must be 0s to 24h",
        ),
        (
            json!({"minReady": "2h"}),
            "spec.rollout.minReady must be 0s to 1h",
        ),
        (
            json!({"deadline": "9s"}),
            "spec.rollout.deadline must be 10s to 24h",
        ),
        (
            json!({"deadline": "0m"}),
            "spec.rollout.deadline must be 10s to 24h",
        ),
    ] {
        refused(&with(wrong), words);
    }
}

#[test]
fn placement() {
    let with = |placement: Value| plugin("a", json!({"agent": {}, "placement": placement}));
    for fine in [
        json!({}),
        json!({"tolerations": []}),
        json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "Exists"}]}),
        json!({"tolerations": [{"key": "a", "value": "b", "effect": "NoExecute"}]}),
        json!({"priorityClassName": "my-class.v1"}),
        json!({"nodeSelector": {"a/b": "c"}}),
    ] {
        accepted(&with(fine));
    }
    refused(
        &with(json!({"tolerations": [{"value": "b"}]})),
        "must have operator Exists",
    );
    refused(
        &with(json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]})),
        "may not have a value",
    );
    refused(
        &with(json!({"priorityClassName": "No Class"})),
        "spec.placement.priorityClassName",
    );
    refused(
        &with(json!({"nodeSelector": {"k".repeat(318): ""}})),
        "spec.placement.nodeSelector",
    );

    accepted(&with(
        json!({"nodeSelector": {"kubernetes.io/os": "linux"}}),
    ));
    refused(
        &with(json!({"nodeSelector": {"kubernetes.io/os": "windows"}})),
        "Linux nodes only",
    );

    let affinity = |expression: Value| {
        with(
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}),
        )
    };
    for fine in [
        json!({"key": "a", "operator": "In", "values": ["b", "c"]}),
        json!({"key": "a", "operator": "Exists"}),
        json!({"key": "a", "operator": "Gt", "values": ["3"]}),
    ] {
        accepted(&affinity(fine));
    }
    for bad in [
        json!({"key": "a", "operator": "In"}),
        json!({"key": "a", "operator": "NotIn", "values": []}),
        json!({"key": "a", "operator": "DoesNotExist", "values": ["b"]}),
        json!({"key": "a", "operator": "Lt", "values": ["1", "2"]}),
    ] {
        refused(
            &affinity(bad),
            "spec.placement.nodeAffinity: In and NotIn need values",
        );
    }
}

fn action(spec: Value) -> Value {
    json!({"apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction", "metadata": {"name": "a-x"}, "spec": spec})
}

fn click(uid: &str) -> Value {
    action(json!({
        "plugin": "node-metrics", "control": "DeletePod", "target": {"kind": "Pod", "uid": uid},
        "node": "n1", "notAfter": "2030-01-01T00:00:00.000000Z",
    }))
}

#[test]
fn actions() {
    let fine = click("0f1c2d3e-0000-4000-8000-0123456789ab");
    assert_eq!(broken("ScopeAction", &fine, None), Vec::<String>::new());
    let static_pod = click("0123456789abcdef0123456789abcdef");
    assert_eq!(
        broken("ScopeAction", &static_pod, None),
        Vec::<String>::new()
    );
    for uid in ["", "UPPER", "a/b", "g", "a".repeat(65).as_str()] {
        let messages = broken("ScopeAction", &click(uid), None);
        assert!(
            messages.join(" ").contains("spec.target.uid"),
            "{uid:?}: {messages:?}"
        );
    }
}

#[test]
fn each_control_is_for_its_own_kinds() {
    for control in Control::ALL {
        for kind in TargetKind::ALL {
            let mut action = match control.is_node_local() {
                true => record(control.as_str()),
                false => click("0f1c2d3e-0000-4000-8000-0123456789ab"),
            };
            action["spec"]["control"] = json!(control);
            action["spec"]["target"]["kind"] = json!(kind);
            let messages = broken("ScopeAction", &action, None);
            let fits = control.kinds().contains(&kind);
            assert_eq!(
                messages.is_empty(),
                fits,
                "{control} on {kind}: {messages:?}"
            );
        }
    }
}

fn record(control: &str) -> Value {
    let mut record = click("0f1c2d3e-0000-4000-8000-0123456789ab");
    record["spec"]["control"] = json!(control);
    record["spec"]["target"]["container"] =
        json!({"id": "c".repeat(64), "name": "web", "namespace": "demo", "pod": "web-1"});
    record["spec"]["done"] = json!({
        "phase": "Succeeded", "message": "frozen", "at": "2030-01-01T00:00:00.000000Z",
    });
    record
}

#[test]
fn what_an_agent_has_done_itself_is_recorded_as_done_and_nothing_else_is() {
    for control in [
        "RestartContainer",
        "FreezeContainer",
        "ThawContainer",
        "ShapeTraffic",
    ] {
        let fine = record(control);
        assert_eq!(
            broken("ScopeAction", &fine, None),
            Vec::<String>::new(),
            "{control}"
        );
        let mut failed = fine.clone();
        failed["spec"]["done"]["phase"] = json!("Failed");
        assert_eq!(broken("ScopeAction", &failed, None), Vec::<String>::new());
    }
    let without = |path: &str, key: &str| {
        let mut record = record("FreezeContainer");
        let object = record.pointer_mut(path).and_then(Value::as_object_mut);
        object.expect("an object").remove(key);
        record
    };
    let with = |path: &str, value: Value| {
        let mut record = record("FreezeContainer");
        *record.pointer_mut(path).expect("a field") = value;
        record
    };
    for (bad, words) in [
        (record("DeletePod"), "spec.done is for"),
        (without("/spec", "done"), "spec.done is for"),
        (
            without("/spec/target", "container"),
            "spec.target.container",
        ),
        (
            with("/spec/done/phase", json!("Refused")),
            "spec.done.phase",
        ),
        (
            with("/spec/done/phase", json!("Expired")),
            "spec.done.phase",
        ),
        (
            with("/spec/target/container/id", json!("C".repeat(64))),
            "spec.target.container.id",
        ),
    ] {
        let messages = broken("ScopeAction", &bad, None).join(" ");
        assert!(messages.contains(words), "{words}: {messages:?}");
    }
}

#[test]
fn an_action_never_changes() {
    let before = click("aa");
    assert_eq!(
        broken("ScopeAction", &before, Some(&before)),
        Vec::<String>::new()
    );

    let mut other_pod = before.clone();
    other_pod["spec"]["target"]["uid"] = json!("bb");
    let mut added = before.clone();
    added["spec"]["probeID"] = json!("1");
    for changed in [&other_pod, &added] {
        let messages = broken("ScopeAction", changed, Some(&before));
        assert!(
            messages.join(" ").contains("spec cannot be changed"),
            "{messages:?}"
        );
    }
    let removed = broken("ScopeAction", &before, Some(&added));
    assert!(
        removed.join(" ").contains("spec cannot be changed"),
        "{removed:?}"
    );
}
