//! Installing, changing, suspending, deleting, uninstalling.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::audit;
use crate::product::{
    self, PLUGINS, RELEASE, SYSTEM, agent_pods, await_operator, await_ready, condition,
};
use crate::progress::await_some;
use crate::world::World;

const PLUGIN: &str = "node-metrics";

/// Chart in, two operator pods ready; example in, Ready in under 30 s; both sockets on both nodes.
pub(super) fn install(world: &mut World) -> anyhow::Result<()> {
    let mark = world.audit_mark()?;
    // As a careful team has it: no pod of the chart may need more than `restricted` allows.
    world.kubectl.ok(&["create", "namespace", SYSTEM])?;
    world.kubectl.ok(&[
        "label",
        "namespace",
        SYSTEM,
        "pod-security.kubernetes.io/enforce=restricted",
    ])?;
    let wait = ["--wait", "--timeout", "60s"];
    world.product.install(&world.kubectl, &wait)?;
    // Helm waited for that.
    await_operator(&world.kubectl, Duration::ZERO)?;
    let started = Instant::now();
    world.kubectl.apply(&world.product.example()?)?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(30))?;
    eprintln!(
        "    Ready {:.1} s after the apply",
        started.elapsed().as_secs_f64()
    );
    ensure!(
        started.elapsed() < Duration::from_secs(30),
        "Ready took {:?}",
        started.elapsed()
    );
    for node in world.nodes() {
        sockets_are_private(&world.plugin_dir(&node), PLUGIN, true)?;
    }
    let object = world.kubectl.json(&["get", "scopeplugin", PLUGIN])?;
    ensure!(
        object["status"]["nodes"]["desired"] == 2,
        "status: {}",
        object["status"]
    );
    ensure!(
        object["status"]["nodes"]["ready"] == 2,
        "status: {}",
        object["status"]
    );
    ensure!(
        object["status"]["observedGeneration"] == object["metadata"]["generation"],
        "status: {}",
        object["status"]
    );
    for kind in ["Reconciling", "Stalled"] {
        ensure!(
            condition(&object, kind).is_none(),
            "{kind} stands while all is well"
        );
    }
    let requests = world.audit_since(mark)?;
    audit::nothing_forbidden(&requests)?;
    audit::agents_start(&requests, PLUGIN, &world.nodes())?;
    Ok(())
}

/// The same as quickly as possible on more nodes.
pub(super) fn install_on_a_fleet(world: &mut World) -> anyhow::Result<()> {
    let wait = ["--wait", "--timeout", "60s"];
    world.product.install(&world.kubectl, &wait)?;
    world.kubectl.apply(&world.product.example()?)?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(60))?;
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    ensure!(agents.len() == world.nodes().len(), "agents: {agents:?}");
    // One lost node must not take both along.
    let operators = world.kubectl.json(&["get", "pods", "-n", SYSTEM])?;
    let nodes: BTreeSet<_> = operators["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pod| pod["spec"]["nodeName"].to_string())
        .collect();
    ensure!(nodes.len() == 2, "the operator is on {nodes:?}");
    Ok(())
}

/// 0600 sockets in a 0700 directory, and only those that are wanted.
pub(super) fn sockets_are_private(dir: &Path, plugin: &str, controls: bool) -> anyhow::Result<()> {
    let dir = dir.join(plugin);
    let mode = |path: &Path| -> anyhow::Result<(u32, bool)> {
        let meta = std::fs::symlink_metadata(path)
            .with_context(|| format!("{} is not there", path.display()))?;
        Ok((
            meta.permissions().mode() & 0o7777,
            meta.file_type().is_socket(),
        ))
    };
    ensure!(
        mode(&dir)?.0 == 0o700,
        "{} has mode {:o}",
        dir.display(),
        mode(&dir)?.0
    );
    let mut sockets = BTreeSet::new();
    for entry in std::fs::read_dir(&dir)? {
        let entry = entry?;
        let (mode, socket) = mode(&entry.path())?;
        ensure!(
            mode & 0o077 == 0,
            "{} has mode {mode:o}",
            entry.path().display()
        );
        if socket {
            ensure!(
                mode == 0o600,
                "{} has mode {mode:o}",
                entry.path().display()
            );
            sockets.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let mut want = BTreeSet::from([format!("{plugin}.sock")]);
    if controls {
        want.insert(format!("{plugin}-controls.sock"));
    }
    ensure!(
        sockets == want,
        "sockets in {}: {sockets:?}, want {want:?}",
        dir.display()
    );
    Ok(())
}

/// With `controls: []` no second socket exists.
pub(super) fn without_controls(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.ok(&[
        "patch",
        "scopeplugin",
        PLUGIN,
        "--type=merge",
        "-p",
        r#"{"spec":{"agent":{"controls":[]}}}"#,
    ])?;
    rolled(world, "controls: []")?;
    for node in world.nodes() {
        sockets_are_private(&world.plugin_dir(&node), PLUGIN, false)?;
        let report = world.hear(&node)?;
        report.must_be_accepted(&[PLUGIN])?;
        let named = report
            .nodes("Pod")
            .find(|(_, p)| p.latest("active_controls").is_some());
        ensure!(named.is_none(), "a pod names controls: {named:?}");
    }
    world.kubectl.apply(&world.product.example()?)?;
    rolled(world, "the controls again")?;
    for node in world.nodes() {
        sockets_are_private(&world.plugin_dir(&node), PLUGIN, true)?;
    }
    Ok(())
}

/// Waits until the status speaks of the newest generation, all nodes are updated and Ready is true.
fn rolled(world: &World, why: &str) -> anyhow::Result<()> {
    await_some(
        &format!("all nodes rolled for {why}"),
        Duration::from_secs(90),
        || {
            let object = world.kubectl.json(&["get", "scopeplugin", PLUGIN])?;
            let nodes = &object["status"]["nodes"];
            let good = object["status"]["observedGeneration"] == object["metadata"]["generation"]
                && nodes["updated"] == 2
                && nodes["ready"] == 2
                && condition(&object, "Ready").is_some_and(|c| c["status"] == "True");
            Ok(if good {
                Ok(())
            } else {
                Err(object["status"].to_string())
            })
        },
    )
}

/// A change of the label rolls all nodes, and Scope's list shows the new one.
pub(super) fn change_of_label(world: &mut World) -> anyhow::Result<()> {
    let before: BTreeSet<_> = agent_pods(&world.kubectl, PLUGIN)?
        .into_iter()
        .map(|(_, _, uid)| uid)
        .collect();
    world.kubectl.ok(&[
        "patch",
        "scopeplugin",
        PLUGIN,
        "--type=merge",
        "-p",
        r#"{"spec":{"label":"Renamed"}}"#,
    ])?;
    rolled(world, "a new label")?;
    let after = agent_pods(&world.kubectl, PLUGIN)?;
    ensure!(after.len() == 2, "agents: {after:?}");
    ensure!(
        after.iter().all(|(_, _, uid)| !before.contains(uid)),
        "a pod was not replaced"
    );
    for node in world.nodes() {
        await_some("the new label", Duration::from_secs(10), || {
            let label = world.hear(&node)?.plugin_label(PLUGIN);
            Ok(if label.as_deref() == Some("Renamed") {
                Ok(())
            } else {
                Err(format!("{label:?}"))
            })
        })?;
    }
    Ok(())
}

/// Suspends this plugin, or takes that back.
pub(super) fn set_suspended(world: &World, plugin: &str, suspended: bool) -> anyhow::Result<()> {
    let patch = format!(r#"{{"spec":{{"suspended":{suspended}}}}}"#);
    let patch = ["patch", "scopeplugin", plugin, "--type=merge", "-p", &patch];
    world.kubectl.ok(&patch).map(drop)
}

/// Until no plugin has a pod.
pub(super) fn await_no_agents(world: &World) -> anyhow::Result<()> {
    await_some("no agents", Duration::from_secs(60), || {
        let pods = world.kubectl.json(&["get", "pods", "-n", PLUGINS])?;
        let count = pods["items"].as_array().map_or(0, Vec::len);
        Ok(match count {
            0 => Ok(()),
            _ => Err(format!("{count} pods")),
        })
    })
}

/// `suspended: true` removes pods and sockets and says so; taking it back brings them back.
pub(super) fn suspend(world: &mut World) -> anyhow::Result<()> {
    set_suspended(world, PLUGIN, true)?;
    await_no_agents(world)?;
    for node in world.nodes() {
        let left = files_below(&world.plugin_dir(&node))?;
        ensure!(left.is_empty(), "left on {node}: {left:?}");
    }
    await_some(
        "Ready with reason Suspended",
        Duration::from_secs(10),
        || {
            let object = world.kubectl.json(&["get", "scopeplugin", PLUGIN])?;
            let ready = condition(&object, "Ready").cloned().unwrap_or_default();
            let good = ready["status"] == "True" && ready["reason"] == "Suspended";
            Ok(if good { Ok(()) } else { Err(ready.to_string()) })
        },
    )?;
    set_suspended(world, PLUGIN, false)?;
    rolled(world, "the end of the suspension")
}

/// An agent that is killed comes back on the same sockets without a hand.
pub(super) fn killed_agent(world: &mut World) -> anyhow::Result<()> {
    for node in world.nodes() {
        let before = socket_inode(world, &node)?;
        let pid = world.agent_pid(&node)?;
        world.kill(pid)?;
        await_some(
            "the agent of {node} answers again",
            Duration::from_secs(60),
            || {
                let again = socket_inode(world, &node).ok();
                if again.is_none() || again == Some(before) {
                    return Ok(Err("the old socket".to_owned()));
                }
                let heard = world.hear(&node)?;
                Ok(
                    match heard.must_be_accepted(&[PLUGIN, "node-metrics-controls"]) {
                        Ok(()) if heard.nodes("Pod").next().is_some() => Ok(()),
                        Ok(()) => Err("no pods yet".to_owned()),
                        Err(error) => Err(error.to_string()),
                    },
                )
            },
        )?;
    }
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(60))
}

fn socket_inode(world: &World, node: &str) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let socket = world
        .plugin_dir(node)
        .join(PLUGIN)
        .join("node-metrics.sock");
    Ok(std::fs::symlink_metadata(socket)?.ino())
}

/// With the API server away for 20 s reports go on; after it, new pods appear by themselves.
pub(super) fn api_server_away(world: &mut World) -> anyhow::Result<()> {
    world.stop_api_server()?;
    let until = Instant::now() + Duration::from_secs(20);
    let mut last = String::new();
    while Instant::now() < until {
        for node in world.nodes() {
            let report = world.hear(&node)?;
            report.must_be_accepted(&[PLUGIN, "node-metrics-controls"])?;
            ensure!(
                report.nodes("Pod").next().is_some(),
                "{node} forgot its pods"
            );
            if node == "node1" {
                let stamp = report.newest_sample().context("a sample")?;
                ensure!(stamp != last, "{node} repeats its sample of {stamp}");
                last = stamp;
            }
        }
        std::thread::sleep(Duration::from_millis(1500));
    }
    world.start_api_server()?;
    world.kubectl.ok(&[
        "scale",
        "deployment/burner",
        "-n",
        "figures",
        "--replicas=2",
    ])?;
    // A regular stop of the API server takes its address out of its own Service; each kube-proxy comes
    // back to it at a pace of its own, and nothing on that node can reach it before.
    let service = world.kubectl.ok(&[
        "get",
        "service/kubernetes",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])?;
    for node in world.nodes() {
        await_some(
            &format!("the API server's Service on {node}"),
            Duration::from_secs(120),
            || Ok(world.connects(&node, &service, 443)),
        )?;
    }
    let reachable = Instant::now();
    // The longest wait of an agent's watch is 30 s, and of the kubelet's about as long.
    await_some("the new pod in a report", Duration::from_secs(90), || {
        let pods = crate::truth::pods(&world.kubectl)?;
        let burners: Vec<_> = pods
            .iter()
            .filter(|p| p.name.starts_with("burner-") && p.phase == "Running")
            .collect();
        if burners.len() != 2 {
            return Ok(Err(format!("{} burners", burners.len())));
        }
        for pod in burners {
            if world.hear(&pod.node)?.node("Pod", &pod.node_id()).is_none() {
                return Ok(Err(format!("{} is not reported", pod.name)));
            }
        }
        Ok(Ok(()))
    })?;
    eprintln!(
        "    all is right {:.1} s after the API server could be reached from both nodes",
        reachable.elapsed().as_secs_f64()
    );
    world.kubectl.ok(&[
        "scale",
        "deployment/burner",
        "-n",
        "figures",
        "--replicas=1",
    ])?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(90))?;
    await_operator(&world.kubectl, Duration::from_secs(90))
}

/// Deleting a ScopePlugin leaves nothing of it in the cluster and no file on the nodes.
pub(super) fn delete_plugin(world: &mut World) -> anyhow::Result<()> {
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
pub(super) fn uninstall(world: &mut World) -> anyhow::Result<()> {
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
pub(super) fn only_definitions_and_plugins_are_left(world: &World) -> anyhow::Result<()> {
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
pub(super) fn crds_by_kubectl(world: &mut World) -> anyhow::Result<()> {
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

fn files_below(dir: &Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries
            .filter_map(|e| e.ok().map(|e| e.path().display().to_string()))
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
