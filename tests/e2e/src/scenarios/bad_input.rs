//! ScopePlugins that cannot be or cannot work, and what a person is told.

use std::time::Duration;

use anyhow::ensure;

use crate::audit::operator;
use crate::product::{PLUGINS, agent_pods, await_ready, condition};
use crate::progress::await_some;
use crate::world::World;

fn plugin(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"scopeplugins.dev/v1alpha1","kind":"ScopePlugin","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
    )
}

/// The schema and CEL refuse; the message names the field and the rule.
pub(super) fn refused_by_the_schema(world: &mut World) -> anyhow::Result<()> {
    for (name, spec, words) in [
        ("Upper", r#"{"agent":{}}"#, &["name"][..]),
        ("two--dashes", r#"{"agent":{}}"#, &["name", "dash"]),
        ("my-controls", r#"{"agent":{}}"#, &["name", "-controls"]),
        (
            "a-name-that-is-longer-than-32-chars",
            r#"{"agent":{}}"#,
            &["name", "32"],
        ),
        ("good", r#"{}"#, &["spec.agent"]),
        (
            "good",
            r#"{"agent":{"collectors":["Weather"]}}"#,
            &["spec.agent.collectors", "Weather"],
        ),
        (
            "good",
            r#"{"agent":{"collectors":["Resources","Resources"]}}"#,
            &["spec.agent.collectors"],
        ),
        (
            "good",
            r#"{"agent":{"controls":["Reboot"]}}"#,
            &["spec.agent.controls", "Reboot"],
        ),
        (
            "good",
            r#"{"agent":{"sampleInterval":"10ms"}}"#,
            &["spec.agent.sampleInterval"],
        ),
        (
            "good",
            r#"{"agent":{"sampleInterval":"2h"}}"#,
            &["spec.agent.sampleInterval"],
        ),
        (
            "good",
            r#"{"agent":{"mendScope":"Sometimes"}}"#,
            &["spec.agent.mendScope"],
        ),
        (
            "good",
            r#"{"agent":{"maxActionsPerMinute":-1}}"#,
            &["spec.agent.maxActionsPerMinute"],
        ),
        (
            "good",
            r#"{"agent":{},"rollout":{"maxUnavailable":"lots"}}"#,
            &["spec.rollout.maxUnavailable"],
        ),
        ("good", r#"{"agent":{},"label":7}"#, &["spec.label"]),
    ] {
        let output = world.kubectl.pipe(
            &["create", "--validate=false", "--dry-run=server", "-f", "-"],
            &plugin(name, spec),
        )?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{name} {spec} was accepted");
        for word in words {
            ensure!(
                said.contains(word),
                "{name} {spec}: {said:?} lacks {word:?}"
            );
        }
    }
    // What kubectl validates by itself: an unknown field is named.
    let unknown = world.kubectl.pipe(
        &["create", "--validate=strict", "--dry-run=server", "-f", "-"],
        &plugin("good", r#"{"agent":{"privileged":true}}"#),
    )?;
    let said = String::from_utf8_lossy(&unknown.stderr);
    ensure!(said.contains("privileged"), "an unknown field: {said}");
    Ok(())
}

/// Waits for a condition with a reason, and for an Event that says it too.
fn told(world: &World, name: &str, kind: &str, status: &str, words: &[&str]) -> anyhow::Result<()> {
    await_some(
        &format!("{kind}={status} of {name} with {words:?}"),
        Duration::from_secs(60),
        || {
            let object = world.kubectl.json(&["get", "scopeplugin", name])?;
            let found = condition(&object, kind).cloned().unwrap_or_default();
            let text = format!("{} {}", found["reason"], found["message"]);
            let good = found["status"] == status && words.iter().all(|w| text.contains(w));
            Ok(if good {
                Ok(())
            } else {
                Err(object["status"].to_string())
            })
        },
    )?;
    await_some(
        &format!("an Event of {name} with {words:?}"),
        Duration::from_secs(15),
        || {
            let events = world.kubectl.json(&["get", "events", "-n", "default"])?;
            let said: Vec<String> = events["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|e| e["involvedObject"]["name"] == name)
                .map(|e| format!("{} {}", e["reason"], e["message"]))
                .collect();
            let good = said.iter().any(|t| words.iter().all(|w| t.contains(w)));
            Ok(if good { Ok(()) } else { Err(said.join(" | ")) })
        },
    )
}

/// Accepted but unworkable plugins say what to do; the others do not notice.
pub(super) fn cannot_work(world: &mut World) -> anyhow::Result<()> {
    let before = agent_pods(&world.kubectl, "node-metrics")?;

    world.kubectl.apply(&plugin(
        "nowhere",
        r#"{"agent":{},"placement":{"nodeSelector":{"example.org/planet":"mars"}}}"#,
    ))?;
    told(
        world,
        "nowhere",
        "Ready",
        "False",
        &["NoMatchingNodes", "example.org/planet"],
    )?;

    // A DaemonSet of that name that is not ours was there first. Only the operator's account may make
    // one in this namespace, so it is borrowed for that.
    let foreign = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: scope-plugin-taken, namespace: {PLUGINS}}}\nspec:\n  selector: {{matchLabels: {{app: other}}}}\n  template:\n    metadata: {{labels: {{app: other}}}}\n    spec:\n      nodeSelector: {{example.org/planet: mars}}\n      containers: [{{name: c, image: 'harness.local/box:1'}}]\n"
    );
    let made = world
        .kubectl
        .pipe(&["create", "--as", &operator(), "-f", "-"], &foreign)?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    world.kubectl.apply(&plugin("taken", r#"{"agent":{}}"#))?;
    told(
        world,
        "taken",
        "Stalled",
        "True",
        &["DaemonSet", "scope-plugin-taken"],
    )?;
    let foreign = world
        .kubectl
        .json(&["get", "daemonset", "scope-plugin-taken", "-n", PLUGINS])?;
    ensure!(
        foreign["spec"]["selector"]["matchLabels"]["app"] == "other",
        "the foreign one changed"
    );

    // Pods forbidden by Pod Security.
    let label = "pod-security.kubernetes.io/enforce";
    world.kubectl.ok(&[
        "label",
        "namespace",
        PLUGINS,
        "--overwrite",
        &format!("{label}=restricted"),
    ])?;
    world
        .kubectl
        .apply(&plugin("forbidden", r#"{"agent":{}}"#))?;
    told(world, "forbidden", "Ready", "False", &["PodSecurity"])?;
    world.kubectl.ok(&[
        "label",
        "namespace",
        PLUGINS,
        "--overwrite",
        &format!("{label}=privileged"),
    ])?;

    world.kubectl.ok(&[
        "delete",
        "scopeplugin",
        "nowhere",
        "taken",
        "forbidden",
        "--timeout=60s",
    ])?;
    ensure!(
        world
            .kubectl
            .exists(&["daemonset", "scope-plugin-taken", "-n", PLUGINS])?,
        "the foreign DaemonSet was deleted"
    );
    world
        .kubectl
        .ok(&["delete", "daemonset", "scope-plugin-taken", "-n", PLUGINS])?;
    await_ready(&world.kubectl, "node-metrics", Duration::from_secs(30))?;
    let after = agent_pods(&world.kubectl, "node-metrics")?;
    ensure!(
        before == after,
        "agents of node-metrics were touched: {before:?}, now {after:?}"
    );
    Ok(())
}
