//! What is left when the plugin, the chart or the definitions go.

use super::*;

/// Deleting a ScopePlugin leaves nothing of it in the cluster and no file on the nodes.
pub(in crate::scenarios) fn delete_plugin(world: &mut World) -> anyhow::Result<()> {
    world
        .kubectl
        .ok(&["delete", "scopeplugin", PLUGIN, "--timeout=60s"])?;
    await_some(
        "nothing left of the plugin",
        Duration::from_secs(60),
        || {
            let selector = format!("app.kubernetes.io/instance={PLUGIN}");
            let left = world.kubectl.ok(&[
            "get", "-n", PLUGINS, "-l", &selector, "-o", "name",
            "daemonsets,pods,serviceaccounts,controllerrevisions,configmaps,secrets,roles,rolebindings",
        ])?;
            Ok(if left.trim().is_empty() {
                Ok(())
            } else {
                Err(left)
            })
        },
    )?;
    for node in world.nodes() {
        let left = files_below(&world.plugin_dir(&node))?;
        ensure!(left.is_empty(), "left on {node}: {left:?}");
    }
    Ok(())
}

/// `helm uninstall` keeps the CRDs and ScopePlugins, which say that nobody looks after them, and nothing
/// else.
pub(in crate::scenarios) fn uninstall(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(&world.product.example()?)?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(60))?;
    world.product.uninstall(&world.kubectl)?;
    only_definitions_and_plugins_are_left(world)?;
    let object = world
        .kubectl
        .json(&["get", "scopeplugin", PLUGIN])
        .context("the ScopePlugin that stays")?;
    let status = &object["status"];
    for kind in ["Ready", "Available"] {
        let told = condition(&object, kind).cloned().unwrap_or_default();
        ensure!(
            told["status"] == "Unknown" && told["reason"] == "OperatorUninstalled",
            "{kind} after the uninstall: {status}"
        );
    }
    for kind in ["Reconciling", "Stalled"] {
        ensure!(
            condition(&object, kind).is_none(),
            "{kind} stands with nobody to end it: {status}"
        );
    }
    for count in ["desired", "updated", "ready", "unavailable"] {
        ensure!(
            status["nodes"][count] == 0,
            "nodes after the uninstall: {status}"
        );
    }
    for crd in [
        "scopeplugins.scopeplugins.dev",
        "scopeactions.scopeplugins.dev",
    ] {
        ensure!(
            world.kubectl.exists(&["crd", crd])?,
            "the CRD {crd} is gone"
        );
    }
    for node in world.nodes() {
        let left = files_below(&world.plugin_dir(&node))?;
        ensure!(left.is_empty(), "left on {node}: {left:?}");
    }
    Ok(())
}

/// What `helm uninstall` may leave of the release in the cluster.
pub(in crate::scenarios) fn only_definitions_and_plugins_are_left(
    world: &World,
) -> anyhow::Result<()> {
    await_some(
        "only CRDs and ScopePlugins",
        Duration::from_secs(60),
        || {
            let mut left = Vec::new();
            for (namespace, kinds) in [
                (
                    Some(SYSTEM),
                    "deployments,pods,jobs,services,serviceaccounts,leases,roles,rolebindings,configmaps,secrets,poddisruptionbudgets,networkpolicies",
                ),
                (
                    None,
                    "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings",
                ),
            ] {
                let selector = format!("app.kubernetes.io/instance={RELEASE}");
                let mut args = vec!["get", kinds, "-o", "name", "-l", &selector];
                if let Some(namespace) = namespace {
                    args.extend(["-n", namespace]);
                }
                left.extend(world.kubectl.ok(&args)?.lines().map(str::to_owned));
            }
            if world.kubectl.exists(&["namespace", PLUGINS])? {
                left.push(format!("namespace/{PLUGINS}"));
            }
            let system = world.kubectl.ok(&[
                "get",
                "pods,deployments,serviceaccounts,leases,services,endpointslices",
                "-n",
                SYSTEM,
                "-o",
                "name",
            ])?;
            left.extend(
                system
                    .lines()
                    .filter(|l| *l != "serviceaccount/default")
                    .map(str::to_owned),
            );
            Ok(if left.is_empty() {
                Ok(())
            } else {
                Err(left.join(" "))
            })
        },
    )
}

/// CRDs by kubectl and the chart without them do as well; the ScopePlugin that stayed comes to life.
pub(in crate::scenarios) fn crds_by_kubectl(world: &mut World) -> anyhow::Result<()> {
    let crds = world.product.path("crds");
    world.kubectl.ok(&[
        "delete",
        "crd",
        "--ignore-not-found",
        "scopeplugins.scopeplugins.dev",
        "scopeactions.scopeplugins.dev",
    ])?;
    let files: Vec<String> = std::fs::read_dir(&crds)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .map(|p| p.display().to_string())
        .collect();
    ensure!(files.len() == 2, "generated CRDs: {files:?}");
    world.kubectl.ok(&[
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        &crds.display().to_string(),
    ])?;
    world
        .kubectl
        .ok(&["apply", "-f", &crds.display().to_string()])?;
    world.kubectl.ok(&[
        "wait",
        "--for=condition=Established",
        "crd/scopeplugins.scopeplugins.dev",
        "--timeout=30s",
    ])?;
    world
        .product
        .install(&world.kubectl, &["--set", "crds.install=false"])?;
    world.kubectl.apply(&world.product.example()?)?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(60))?;
    product::await_operator(&world.kubectl, Duration::from_secs(60))?;
    world.product.uninstall(&world.kubectl)
}
