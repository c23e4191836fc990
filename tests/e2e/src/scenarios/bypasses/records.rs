//! To the record of a click.

use anyhow::{Context, ensure};
use serde_json::json;

use super::{CREATE, way};
use crate::audit::operator;
use crate::kubectl::Kubectl;
use crate::product::PLUGINS;
use crate::world::World;

/// ScopeActions by hand: made, changed, removed.
pub(in crate::scenarios) fn to_a_record(world: &mut World) -> anyhow::Result<()> {
    let made = json!({"apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
        "metadata": {"name": "by-hand", "namespace": PLUGINS},
        "spec": {"plugin": "node-metrics", "control": "DeletePod",
            "target": {"kind": "Pod", "uid": "00000000-0000-4000-8000-000000000001"},
            "node": "node1", "probeID": "1", "appID": "1", "notAfter": "2020-01-01T00:00:00Z"}});
    let by_click = "ScopeActions are made by a click in Scope";
    way("a click by hand", CREATE, &made, by_click).is_refused(&world.kubectl)?;
    way("a click by the operator", CREATE, &made, by_click)
        .by(&operator())
        .is_refused(&world.kubectl)?;
    let list = world
        .kubectl
        .json(&["get", "scopeactions", "-n", PLUGINS])?;
    let name = list["items"][0]["metadata"]["name"]
        .as_str()
        .context("a click of an earlier scenario")?;
    let record = "ScopeActions are the record";
    for (what, subresource, patch, refusal) in [
        // The definition itself is first to say so. No click came through a node of this name.
        (
            "another node",
            None,
            r#"{"spec":{"node":"elsewhere"}}"#,
            "spec cannot be changed",
        ),
        (
            "a label",
            None,
            r#"{"metadata":{"labels":{"a":"b"}}}"#,
            record,
        ),
        (
            "another outcome",
            Some("status"),
            r#"{"status":{"phase":"Succeeded","message":"x"}}"#,
            record,
        ),
    ] {
        let mut args = vec![
            "patch",
            "--dry-run=server",
            "-n",
            PLUGINS,
            "scopeaction",
            name,
            "--type=merge",
            "-p",
            patch,
        ];
        let flag = subresource.map(|s| format!("--subresource={s}"));
        args.extend(flag.as_deref());
        let words = world.kubectl.refused(&args)?;
        ensure!(words.contains(refusal), "{what} of a click: {words}");
    }
    way(
        "the removal of a click",
        &format!("delete --dry-run=server -n {PLUGINS} scopeaction/{name}"),
        "",
        record,
    )
    .is_refused(&world.kubectl)
}

/// What an agent's own token cannot say in a ScopeAction, although plugin and node are its own.
pub(in crate::scenarios) fn in_an_agents_own_words(thief: &Kubectl) -> anyhow::Result<()> {
    let action = |control: &str, metadata: serde_json::Value, done: serde_json::Value| {
        let mut action = json!({"apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
            "metadata": {"generateName": "theft-", "namespace": PLUGINS},
            "spec": {"plugin": "node-metrics", "control": control,
                "target": {"kind": "Pod", "uid": "00000000-0000-4000-8000-000000000001"},
                "node": "node1", "probeID": "1", "appID": "1", "notAfter": "2020-01-01T00:00:00Z"}});
        for (key, value) in metadata.as_object().into_iter().flatten() {
            action["metadata"][key.as_str()] = value.clone();
        }
        if !done.is_null() {
            action["spec"]["done"] = done;
        }
        action
    };
    let done = json!({"phase": "Succeeded", "message": "x", "at": "2020-01-01T00:00:00Z"});
    let none = serde_json::Value::Null;
    let nothing_else = "carries its spec and nothing else";
    for (what, action, refusal) in [
        (
            "finalizers",
            action(
                "DeletePod",
                json!({"finalizers": ["a.example/b"]}),
                none.clone(),
            ),
            "may not have finalizers",
        ),
        (
            "labels",
            action("DeletePod", json!({"labels": {"a": "b"}}), none.clone()),
            nothing_else,
        ),
        (
            "annotations",
            action(
                "DeletePod",
                json!({"annotations": {"a": "b"}}),
                none.clone(),
            ),
            nothing_else,
        ),
        (
            "an owner",
            action(
                "DeletePod",
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}),
                none.clone(),
            ),
            nothing_else,
        ),
        (
            "a pod that it says is deleted",
            action("DeletePod", json!({}), done),
            "spec.done",
        ),
        (
            "a restart for others to do",
            action("RestartContainer", json!({}), none),
            "spec.done",
        ),
    ] {
        let output = thief.pipe(
            &["create", "--validate=false", "-f", "-"],
            &action.to_string(),
        )?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{what} was accepted");
        ensure!(words.contains(refusal), "{what}: {words}");
    }
    Ok(())
}
