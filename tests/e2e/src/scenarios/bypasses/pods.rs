//! To a pod among the agents, or into one.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::{CREATE, DAEMON_SET_CONTROLLER, way};
use crate::product::{PLUGINS, SYSTEM, agent_pods};
use crate::progress::await_some;
use crate::world::World;

/// Pods and what makes pods.
pub(in crate::scenarios) fn to_a_pod(world: &mut World) -> anyhow::Result<()> {
    let (agent, node, _) = agent_pods(&world.kubectl, "node-metrics")?
        .into_iter()
        .next()
        .context("an agent")?;
    let node_uid = world.kubectl.json(&["get", "node", &node])?["metadata"]["uid"].clone();
    let pod_spec = json!({"containers": [{"name": "c", "image": "harness.local/box:1"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_spec});
    let selected = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let object = |version: &str, kind: &str, spec: serde_json::Value| {
        json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": "foreign", "namespace": PLUGINS}, "spec": spec})
    };
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let kinds = "This namespace holds Scope plugins and nothing else";
    let by_operator = "made and changed by the operator only";
    let mut ways = vec![
        way("a DaemonSet by hand", CREATE, object("apps/v1", "DaemonSet", selected.clone()), by_operator),
        way(
            "another image in the operator's DaemonSet",
            &format!("set image --dry-run=server -n {PLUGINS} daemonset/scope-plugin-node-metrics agent=x"),
            "",
            by_operator,
        ),
        way("a Deployment", CREATE, object("apps/v1", "Deployment", selected.clone()), kinds),
        way("a StatefulSet", CREATE, object("apps/v1", "StatefulSet", selected.clone()), kinds),
        way("a ReplicaSet", CREATE, object("apps/v1", "ReplicaSet", selected), kinds),
        way("a Job", CREATE, object("batch/v1", "Job", json!({"template": job})), kinds),
        way(
            "a CronJob",
            CREATE,
            object("batch/v1", "CronJob", json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": job}}})),
            kinds,
        ),
        way(
            "a ReplicationController",
            CREATE,
            object("v1", "ReplicationController", json!({"selector": {"a": "b"}, "template": template})),
            kinds,
        ),
        way(
            "another image in a running agent",
            &format!("set image --dry-run=server -n {PLUGINS} pod/{agent} agent=x"),
            "",
            "The image of a running agent cannot be changed",
        ),
        way(
            "other labels of a running agent",
            &format!("label --dry-run=server -n {PLUGINS} pod/{agent} a=b"),
            "",
            "nobody changes them by hand",
        ),
        way("attach", &format!("attach -n {PLUGINS} {agent}"), "", "Nobody gets into a running agent"),
        way(
            "port-forward",
            &format!("port-forward -n {PLUGINS} {agent} :7390"),
            "",
            "Nobody gets into a running agent",
        ),
        way(
            "a mirror pod by a node",
            CREATE,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("mirror-{node}"), "namespace": PLUGINS,
                "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid, "controller": true}]},
                "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x"}]}}),
            "made only by the DaemonSet controller",
        )
        .by_node(&node),
    ];
    // With the DaemonSet controller's own name: it makes what a DaemonSet of the operator asks for, and
    // the operator, once somebody speaks in its name, could ask for anything.
    let daemon_pod = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foreign", "namespace": PLUGINS,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": "x", "controller": true}]},
            "spec": {"containers": [{"name": "c", "image": "harness.local/box:1",
                "securityContext": {"allowPrivilegeEscalation": false}}], "volumes": []}});
        change(&mut pod);
        pod
    };
    let security = |value: serde_json::Value| {
        move |pod: &mut serde_json::Value| {
            let context = &mut pod["spec"]["containers"][0]["securityContext"];
            for (key, value) in value.as_object().into_iter().flatten() {
                context[key.as_str()] = value.clone();
            }
        }
    };
    let volume = |value: serde_json::Value| {
        move |pod: &mut serde_json::Value| pod["spec"]["volumes"] = json!([value.clone()])
    };
    let never = "Agents are never privileged";
    let projected = |source: serde_json::Value| {
        daemon_pod(&volume(
            json!({"name": "v", "projected": {"sources": [source]}}),
        ))
    };
    let mounts = "Agents mount the plugin directory";
    let projections = "Agents get tokens for the API server and for scope-totals";
    for (what, pod, refusal) in [
        (
            "a pod of no DaemonSet",
            daemon_pod(&|pod| pod["metadata"]["ownerReferences"] = json!([])),
            "made only by the DaemonSet controller",
        ),
        (
            "a privileged agent",
            daemon_pod(&security(
                json!({"privileged": true, "allowPrivilegeEscalation": true}),
            )),
            never,
        ),
        (
            "an agent that may gain privileges",
            daemon_pod(&security(json!({"allowPrivilegeEscalation": true}))),
            never,
        ),
        (
            "an agent with another capability",
            daemon_pod(&security(json!({"capabilities": {"add": ["SYS_MODULE"]}}))),
            never,
        ),
        (
            "an agent with the host's root directory",
            daemon_pod(&volume(json!({"name": "v", "hostPath": {"path": "/"}}))),
            mounts,
        ),
        (
            "an agent that may write into pods' volumes",
            daemon_pod(&|pod| {
                pod["spec"]["volumes"] = json!([{
                    "name": "v", "hostPath": {"path": "/var/lib/kubelet/pods"},
                }]);
                pod["spec"]["containers"][0]["volumeMounts"] =
                    json!([{"name": "v", "mountPath": "/v"}]);
            }),
            "directory of pods read-only",
        ),
        (
            "an agent with a Secret",
            daemon_pod(&volume(json!({"name": "v", "secret": {"secretName": "x"}}))),
            mounts,
        ),
        (
            "an agent with a Secret in a projected volume",
            projected(json!({"secret": {"name": "x"}})),
            projections,
        ),
        (
            "an agent with somebody's ConfigMap",
            projected(json!({"configMap": {"name": "x"}})),
            projections,
        ),
        (
            "an agent with a token for somebody else",
            projected(json!({"serviceAccountToken": {"audience": "x", "path": "token"}})),
            projections,
        ),
        (
            "an agent in the host's IPC namespace",
            daemon_pod(&|pod| pod["spec"]["hostIPC"] = json!(true)),
            "IPC namespace",
        ),
    ] {
        ways.push(way(what, CREATE, pod, refusal).by(DAEMON_SET_CONTROLLER));
    }
    for way in &ways {
        way.is_refused(&world.kubectl)?;
    }
    eprintln!("    {} ways to a pod, each refused", ways.len());
    let for_totals = json!([
        {"serviceAccountToken": {"audience": "scope-totals", "path": "token"}},
        {"configMap": {"name": "scope-totals-ca", "optional": true}},
    ]);
    let volumes = json!({"name": "totals", "projected": {"sources": for_totals}});
    for (what, pod) in [
        ("a pod as the operator asks for it", daemon_pod(&|_| {})),
        ("one that reports for totals", daemon_pod(&volume(volumes))),
    ] {
        way(what, CREATE, pod, "")
            .by(DAEMON_SET_CONTROLLER)
            .is_accepted(&world.kubectl)?;
    }
    Ok(())
}

/// The operator's pods fit the restricted Pod Security level, and are held to it from here on: upgrades,
/// the clean-up of `helm uninstall` and a further installation go through under it.
pub(in crate::scenarios) fn operator_is_restricted(world: &mut World) -> anyhow::Result<()> {
    let output = world.kubectl.run(&[
        "label",
        "namespace",
        SYSTEM,
        "pod-security.kubernetes.io/enforce=restricted",
    ])?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !words.contains("violate"),
        "{words}"
    );
    let root = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": SYSTEM},
        "spec": {"containers": [{"name": "c", "image": "harness.local/box:1"}]}});
    await_some(
        "pods as root to be refused",
        Duration::from_secs(10),
        || {
            let tried = way(
                "a pod as root",
                CREATE,
                &root,
                "violates PodSecurity \"restricted",
            );
            Ok(tried
                .is_refused(&world.kubectl)
                .map_err(|error| error.to_string()))
        },
    )
}
