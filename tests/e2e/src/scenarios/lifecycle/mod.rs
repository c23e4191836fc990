//! Installing, changing, suspending, deleting, uninstalling.

mod outage;
mod removal;

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

pub(super) use outage::api_server_away;
pub(super) use removal::{
    crds_by_kubectl, delete_plugin, only_definitions_and_plugins_are_left, uninstall,
};

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
    // One lost node must not take both replicas along.
    for program in ["scope-operator", "scope-totals"] {
        let label = format!("app.kubernetes.io/name={program}");
        let pods = world
            .kubectl
            .json(&["get", "pods", "-n", SYSTEM, "-l", &label])?;
        let nodes: BTreeSet<_> = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| pod["spec"]["nodeName"].to_string())
            .collect();
        ensure!(nodes.len() == 2, "{program} is on {nodes:?}");
    }
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

fn files_below(dir: &Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries
            .filter_map(|e| e.ok().map(|e| e.path().display().to_string()))
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
