//! What an agent's account may do, and what nobody may do in the plugins' namespace.

use anyhow::{Context, ensure};

use super::bypasses;
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, agent_pods};
use crate::world::World;

const SELF_REVIEWS: [&str; 3] = [
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
];

/// The agents' account can write nothing but ScopeActions.
pub(super) fn agents_write_only_actions(world: &mut World) -> anyhow::Result<()> {
    let user = crate::audit::agent("node-metrics");
    for namespace in [PLUGINS, "default", "kube-system", "figures"] {
        let list = world.kubectl.ok(&[
            "auth",
            "can-i",
            "--list",
            "--no-headers",
            "-n",
            namespace,
            "--as",
            &user,
            "--as-group",
            "system:serviceaccounts",
            "--as-group",
            &format!("system:serviceaccounts:{PLUGINS}"),
            "--as-group",
            "system:authenticated",
        ])?;
        for line in list.lines() {
            let resource = line.split_whitespace().next().unwrap_or_default();
            let verbs = line
                .rsplit('[')
                .next()
                .unwrap_or_default()
                .trim_end_matches(']');
            let writes = verbs
                .split_whitespace()
                .any(|v| !["get", "list", "watch"].contains(&v));
            if !writes || SELF_REVIEWS.contains(&resource) {
                continue;
            }
            ensure!(
                resource == "scopeactions.scopeplugins.dev"
                    && namespace == PLUGINS
                    && verbs
                        .split_whitespace()
                        .all(|v| ["create", "get", "watch"].contains(&v)),
                "in {namespace} an agent may: {line}"
            );
        }
    }
    Ok(())
}

/// A token taken from an agent's pod speaks for that plugin on that node only, and opens nothing else.
pub(super) fn stolen_token(world: &mut World) -> anyhow::Result<()> {
    world.refused_on_purpose(try_stolen_token)
}

fn try_stolen_token(world: &mut World) -> anyhow::Result<()> {
    let pods = agent_pods(&world.kubectl, "node-metrics")?;
    let (_, node, uid) = pods
        .iter()
        .find(|(_, n, _)| n == "node1")
        .context("an agent on node1")?;
    let token = world.token_of(node, uid)?;
    let thief = world.kubectl_with_token(&token)?;
    let action = |plugin: &str, node: &str| {
        format!(
            r#"{{"apiVersion":"scopeplugins.dev/v1alpha1","kind":"ScopeAction","metadata":{{"generateName":"theft-","namespace":"{PLUGINS}"}},
            "spec":{{"plugin":"{plugin}","control":"DeletePod","target":{{"kind":"Pod","uid":"00000000-0000-4000-8000-000000000001"}},
            "node":"{node}","probeID":"1","appID":"1","notAfter":"2020-01-01T00:00:00Z"}}}}"#
        )
    };
    let create = |thief: &Kubectl, plugin: &str, node: &str| {
        thief.pipe(
            &["create", "--validate=false", "-f", "-"],
            &action(plugin, node),
        )
    };
    let own = create(&thief, "node-metrics", "node1")?;
    ensure!(
        own.status.success(),
        "own plugin and node: {}",
        String::from_utf8_lossy(&own.stderr)
    );
    for (plugin, node) in [
        ("another", "node1"),
        ("node-metrics", "node2"),
        ("another", "node2"),
    ] {
        let output = create(&thief, plugin, node)?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success(),
            "plugin {plugin} on {node} was accepted"
        );
        ensure!(
            words.contains("denied"),
            "plugin {plugin} on {node}: {words}"
        );
    }
    bypasses::in_an_agents_own_words(&thief)?;
    for args in [
        &["delete", "pod", "-n", "figures", "idle-0"][..],
        &["get", "secrets", "-n", PLUGINS],
        &["get", "configmaps", "-n", PLUGINS],
        &["get", "controllerrevisions", "-n", PLUGINS],
        &["delete", "scopeplugin", "node-metrics"],
        &["get", "nodes"],
        &["get", "scopeplugins"],
        &[
            "create",
            "token",
            "scope-plugin-node-metrics",
            "-n",
            PLUGINS,
        ],
    ] {
        let words = thief.refused(args)?;
        ensure!(
            words.contains("Forbidden") || words.contains("forbidden"),
            "{args:?}: {words}"
        );
    }
    // The other one that a pod has is for scope-totals, and the API server takes it for nobody's.
    let thief = world.kubectl_with_token(&world.totals_token_of(node, uid)?)?;
    let words = thief.refused(&["get", "pods", "-n", PLUGINS])?;
    ensure!(
        words.contains("Unauthorized") || words.contains("logged in"),
        "the token for scope-totals: {words}"
    );
    Ok(())
}

/// In the plugins' namespace not even an administrator makes pods or tokens, or execs into an agent.
pub(super) fn nobody_borrows_the_account(world: &mut World) -> anyhow::Result<()> {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: foreign, namespace: {PLUGINS}}}\nspec:\n  serviceAccountName: scope-plugin-node-metrics\n  containers: [{{name: c, image: harness.local/box:1, command: [sleep, '1']}}]\n"
    );
    let denied = |output: std::process::Output, what: &str| {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{what} was not refused");
        ensure!(words.contains("denied"), "{what}: {words}");
        Ok(())
    };
    denied(
        world.kubectl.pipe(&["create", "-f", "-"], &pod)?,
        "a foreign pod",
    )?;
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: foreign, namespace: {PLUGINS}}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec: {{containers: [{{name: c, image: harness.local/box:1}}]}}\n"
    );
    denied(
        world.kubectl.pipe(&["create", "-f", "-"], &deployment)?,
        "a foreign Deployment",
    )?;
    let secret = format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {{name: foreign, namespace: {PLUGINS}, annotations: {{kubernetes.io/service-account.name: scope-plugin-node-metrics}}}}\n"
    );
    denied(
        world.kubectl.pipe(&["create", "-f", "-"], &secret)?,
        "a token Secret",
    )?;
    let (name, ..) = agent_pods(&world.kubectl, "node-metrics")?
        .into_iter()
        .next()
        .context("an agent")?;
    for args in [
        &[
            "exec",
            "-n",
            PLUGINS,
            &name,
            "--",
            "/scope-agent",
            "--version",
        ][..],
        &[
            "create",
            "token",
            "scope-plugin-node-metrics",
            "-n",
            PLUGINS,
        ],
        &[
            "debug",
            "-n",
            PLUGINS,
            &name,
            "--image=harness.local/box:1",
            "--",
            "true",
        ],
    ] {
        denied(
            world.kubectl.run(args)?,
            &format!("kubectl {}", args.join(" ")),
        )?;
    }
    Ok(())
}
