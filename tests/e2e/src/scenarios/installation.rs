//! What an installation lets ScopePlugins ask for, and that a cluster has one installation.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, RELEASE, SYSTEM};
use crate::progress::await_some;
use crate::world::World;

/// The words of a refusal, or none if the server would take it.
fn tried(kubectl: &Kubectl, name: &str, spec: &str) -> anyhow::Result<Option<String>> {
    let plugin = format!(
        r#"{{"apiVersion":"scopeplugins.dev/v1alpha1","kind":"ScopePlugin","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
    );
    let output = kubectl.pipe(&["create", "--dry-run=server", "-f", "-"], &plugin)?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The same for a change of the plugin that is there.
fn changed(kubectl: &Kubectl, patch: &str) -> anyhow::Result<Option<String>> {
    let output = kubectl.run(&[
        "patch",
        "scopeplugin",
        "node-metrics",
        "--dry-run=server",
        "--type=merge",
        "-p",
        patch,
    ])?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn accepted(what: &str, refusal: Option<String>) -> anyhow::Result<()> {
    ensure!(refusal.is_none(), "{what}: {}", refusal.unwrap_or_default());
    Ok(())
}

fn refused(what: &str, refusal: Option<String>, words: &[&str]) -> anyhow::Result<()> {
    let refusal = refusal.unwrap_or_default();
    for word in words {
        ensure!(refusal.contains(word), "{what}: {refusal:?} lacks {word:?}");
    }
    Ok(())
}

const KERNEL: &str = r#"{"agent":{"hostName":"Kernel"}}"#;
const ALL_CONTROLS: &str = r#"{"agent":{"collectors":["TrafficControl"],"controls":["DeletePod","RestartContainer","FreezeContainer","ThawContainer","ShapeTraffic"]}}"#;
const NO_CLASS: &str = r#"{"agent":{}}"#;
const CLASS: &str = r#"{"agent":{},"placement":{"priorityClassName":"system-cluster-critical"}}"#;

/// The allow-list of the chart's values, by default and narrowed: refused and accepted, and what stands
/// stays.
pub(super) fn what_plugins_may_ask(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let host_network = ["spec.agent.hostName", "scopePlugins.allowHostNetwork"];
    refused(
        "Kernel by default",
        tried(&kubectl, "a", KERNEL)?,
        &host_network,
    )?;
    refused(
        "a change to Kernel",
        changed(&kubectl, r#"{"spec":{"agent":{"hostName":"Kernel"}}}"#)?,
        &host_network,
    )?;
    for (what, spec) in [
        ("controls", ALL_CONTROLS),
        ("defaults", NO_CLASS),
        ("a class", CLASS),
    ] {
        accepted(what, tried(&kubectl, "a", spec)?)?;
    }

    world.product.upgrade(
        &kubectl,
        &[
            "--set",
            "scopePlugins.allowedControls={RestartContainer},scopePlugins.allowHostNetwork=true,scopePlugins.allowedPriorityClasses={system-cluster-critical}",
        ],
    )?;
    let result = narrowed(&kubectl);
    world.product.upgrade(
        &kubectl,
        &[
            "--set",
            "scopePlugins.allowedControls={*},scopePlugins.allowHostNetwork=false,scopePlugins.allowedPriorityClasses={*}",
        ],
    )?;
    result?;
    await_some("the defaults again", Duration::from_secs(20), || {
        Ok(match tried(&kubectl, "a", ALL_CONTROLS)? {
            None => Ok(()),
            Some(words) => Err(words),
        })
    })?;
    Ok(())
}

fn narrowed(kubectl: &Kubectl) -> anyhow::Result<()> {
    let class = [
        "spec.placement.priorityClassName is system-node-critical",
        "scopePlugins.allowedPriorityClasses",
    ];
    // The API server takes a moment to see a changed policy.
    await_some("the narrowed list", Duration::from_secs(20), || {
        Ok(match tried(kubectl, "a", NO_CLASS)? {
            Some(words) => Ok(words),
            None => Err("accepted".to_owned()),
        })
    })?;
    refused("the default class", tried(kubectl, "a", NO_CLASS)?, &class)?;
    accepted("the class that is listed", tried(kubectl, "a", CLASS)?)?;
    let with_class = |agent: &str| {
        format!(
            r#"{{"agent":{agent},"placement":{{"priorityClassName":"system-cluster-critical"}}}}"#
        )
    };
    let controls = [
        "spec.agent.controls has DeletePod, which",
        "scopePlugins.allowedControls",
    ];
    refused(
        "a control that is not listed",
        tried(
            kubectl,
            "a",
            &with_class(r#"{"controls":["DeletePod","RestartContainer"]}"#),
        )?,
        &controls,
    )?;
    accepted(
        "the control that is listed",
        tried(
            kubectl,
            "a",
            &with_class(r#"{"controls":["RestartContainer"]}"#),
        )?,
    )?;
    accepted(
        "the host's network",
        tried(kubectl, "a", &with_class(r#"{"hostName":"Kernel"}"#))?,
    )?;

    // node-metrics has DeletePod and the default class since before.
    for (what, patch) in [
        ("another label", r#"{"spec":{"label":"Other"}}"#),
        ("fewer controls", r#"{"spec":{"agent":{"controls":[]}}}"#),
        (
            "a listed one beside",
            r#"{"spec":{"agent":{"controls":["DeletePod","RestartContainer"]}}}"#,
        ),
        ("suspension", r#"{"spec":{"suspended":true}}"#),
    ] {
        accepted(what, changed(kubectl, patch)?)?;
    }
    refused(
        "one more that is not listed",
        changed(
            kubectl,
            r#"{"spec":{"agent":{"controls":["DeletePod","FreezeContainer"]}}}"#,
        )?,
        &["spec.agent.controls has FreezeContainer, which"],
    )?;
    refused(
        "another class",
        changed(
            kubectl,
            r#"{"spec":{"placement":{"priorityClassName":"low"}}}"#,
        )?,
        &["spec.placement.priorityClassName is low"],
    )
}

const SECOND: &str = "second-system";

/// A second release is refused before it makes anything, and an operator that somebody starts by hand beside
/// the first ends before it writes anything.
pub(super) fn second_installation(world: &mut World) -> anyhow::Result<()> {
    let chart = world.product.chart()?;
    let before = world
        .kubectl
        .json(&["get", "clusterrole", "scope-operator"])?;
    for (release, namespace, extra) in [
        ("second", SECOND, &[][..]),
        (
            "second",
            SECOND,
            &[
                "--take-ownership",
                "--set",
                "pluginsNamespace.name=second-plugins",
            ],
        ),
        ("second", SYSTEM, &[]),
        (RELEASE, SECOND, &[]),
    ] {
        let mut args = vec![
            "install",
            release,
            &chart,
            "--namespace",
            namespace,
            "--create-namespace",
        ];
        args.extend(extra);
        let Err(refusal) = world.kubectl.helm(&args) else {
            anyhow::bail!("helm {} was not refused", args.join(" "));
        };
        let refusal = refusal.to_string();
        for word in [
            "has an installation of scope-plugins already",
            "\"scope-plugins\"",
            "\"scope-system\"",
            "helm uninstall",
        ] {
            ensure!(refusal.contains(word), "{refusal:?} lacks {word:?}");
        }
    }
    let after = world
        .kubectl
        .json(&["get", "clusterrole", "scope-operator"])?;
    ensure!(
        before == after,
        "the first installation was touched: {after}"
    );
    ensure!(
        !world.kubectl.exists(&["namespace", SECOND])?,
        "{SECOND} was made"
    );

    let result = second_operator(world);
    world.kubectl.ok(&[
        "delete",
        "--ignore-not-found",
        "--wait=false",
        "namespace",
        SECOND,
    ])?;
    world.kubectl.ok(&[
        "delete",
        "--ignore-not-found",
        "clusterrolebinding",
        "second-operator",
    ])?;
    result
}

/// The operator's image as a person might start it, with all the rights that the first one has.
fn second_operator(world: &World) -> anyhow::Result<()> {
    let deployment = world
        .kubectl
        .json(&["get", "deployment", "scope-operator", "-n", SYSTEM])?;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let plugin = world
        .kubectl
        .json(&["get", "scopeplugin", "node-metrics"])?;
    let subject =
        json!([{"kind": "ServiceAccount", "name": "second-operator", "namespace": SECOND}]);
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let metadata = json!({"name": "second-operator", "namespace": SECOND});
    let mark = world.audit_mark()?;
    world.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SECOND}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "scope-operator", "namespace": SECOND}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "second-operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "scope-operator"}, "subjects": subject},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}, "subjects": subject},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {
            "serviceAccountName": "second-operator", "restartPolicy": "Never",
            "containers": [{"name": "operator", "image": image, "imagePullPolicy": "IfNotPresent",
                "args": ["run", "--plugins-namespace=second-plugins", "--agent-image=harness.local/scope-agent:0"],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "env": [{"name": "POD_NAME", "valueFrom": field("metadata.name")},
                    {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")}]}]}},
    ]}).to_string())?;
    let ended = await_some(
        "the second operator to end",
        Duration::from_secs(60),
        || {
            let pod = world
                .kubectl
                .json(&["get", "pod", "second-operator", "-n", SECOND])?;
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            Ok(if ended.is_object() {
                Ok(ended.clone())
            } else {
                Err(pod["status"].to_string())
            })
        },
    )?;
    ensure!(ended["exitCode"] == 78, "it ended with {ended}");
    let words = ended["message"].as_str().unwrap_or_default();
    for word in ["in the namespace scope-system", "runs in second-system"] {
        ensure!(
            words.contains(word),
            "its last words lack {word:?}: {words}"
        );
    }
    let user = format!("system:serviceaccount:{SECOND}:second-operator");
    let written: Vec<_> = world
        .audit_since(mark)?
        .into_iter()
        .filter(|r| r.user == user && !["get", "list", "watch"].contains(&r.verb.as_str()))
        .collect();
    ensure!(written.is_empty(), "the second operator wrote: {written:?}");
    let now = world
        .kubectl
        .json(&["get", "scopeplugin", "node-metrics"])?;
    ensure!(
        but_for_the_status(&now) == but_for_the_status(&plugin),
        "the ScopePlugin changed: {now}, was {plugin}"
    );
    ensure!(
        world.kubectl.exists(&["namespace", PLUGINS])?,
        "{PLUGINS} is gone"
    );
    Ok(())
}

/// All of an object that its first operator does not write meanwhile.
fn but_for_the_status(object: &Value) -> Value {
    let mut rest = object.clone();
    rest["status"] = Value::Null;
    rest["metadata"]["resourceVersion"] = Value::Null;
    rest["metadata"]["managedFields"] = Value::Null;
    rest
}
