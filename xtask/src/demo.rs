//! `cargo xtask demo`: the main job, shown.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use scope_e2e::product::{PLUGINS, await_operator, await_ready, legible};
use scope_e2e::progress::{await_some, step};
use scope_e2e::truth;
use scope_e2e::world::{Heard, World};

use crate::build;

const PLUGIN: &str = "node-metrics";

/// Installs the product on a throw-away cluster, shows what Scope's probe hears, and clicks.
pub(crate) fn run(keep: bool) -> anyhow::Result<()> {
    if let Some(why) = throwaway_cluster::obstacle() {
        anyhow::bail!("the demo cannot run here: {why}");
    }
    let parts = build::Parts::in_background()?;
    let images = build::image_dir();
    step("build the images", |_| {
        build::images("harness.local", &images).map(drop)
    })?;
    step("have Kubernetes, etcd and Helm", |_| parts.wait())?;
    let mut world = step("start two nodes", |_| World::up(&images))?;
    let shown = show(&mut world);
    if keep {
        world.leave_up()?;
        println!(
            "\nThe cluster stays up. Use it:\n  cargo xtask cluster kubectl get scopeplugins\n  cargo xtask cluster kubectl get scopeactions -n {PLUGINS}\nor in a new shell\n  eval \"$(cargo xtask cluster env)\"\n  kubectl get scopeplugins\nEnd it:\n  cargo xtask cluster down"
        );
    } else {
        step("remove the cluster", |_| world.down())?;
    }
    shown
}

fn show(world: &mut World) -> anyhow::Result<()> {
    step("install the chart with Helm", |_| {
        world.product.install(&world.kubectl, &[])
    })?;
    step("two operator pods ready", |_| {
        await_operator(&world.kubectl, Duration::from_secs(90))
    })?;
    step("apply examples/workload.yaml", |_| {
        // The throw-away cluster has no registry: its own busybox image stands in.
        let workload = world.product.text("examples/workload.yaml")?;
        world
            .kubectl
            .apply(&workload.replace("busybox:1.37", "harness.local/box:1"))
    })?;
    step(
        "apply examples/node-metrics.yaml and wait for Ready",
        |_| {
            world
                .kubectl
                .apply(&world.product.text("examples/node-metrics.yaml")?)?;
            await_ready(&world.kubectl, PLUGIN, Duration::from_secs(60))
        },
    )?;
    step("all pods run and are reported with figures", |step| {
        await_some("figures of all pods", Duration::from_secs(90), || {
            let missing = without_figures(world)?;
            step.note(&format!("{} to go", missing.len()));
            Ok(if missing.is_empty() {
                Ok(())
            } else {
                Err(missing.join(", "))
            })
        })
    })?;

    println!("\n$ kubectl get scopeplugins");
    print!("{}", world.kubectl.ok(&["get", "scopeplugins"])?);
    for node in world.nodes() {
        println!("\nWhat Scope's probe hears on {node}:");
        let heard = world.hear(&node)?;
        print!("{}", table(world, &heard, &node)?);
    }
    click(world)
}

/// Names of running pods of the demo that no agent reports with figures yet.
fn without_figures(world: &mut World) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    let pods: Vec<_> = truth::pods(&world.kubectl)?
        .into_iter()
        .filter(|p| p.namespace == "demo")
        .collect();
    if pods.len() < 7 {
        return Ok(vec![format!("{} of 7 pods exist", pods.len())]);
    }
    for node in world.nodes() {
        let heard = world.hear(&node)?;
        for pod in pods.iter().filter(|p| p.node == node) {
            let seen = heard.node("Pod", &pod.node_id());
            if seen.is_none_or(|s| s.metric("docker_cpu_total_usage").is_none()) {
                missing.push(pod.name.clone());
            }
        }
    }
    missing.extend(
        pods.into_iter()
            .filter(|p| p.node.is_empty())
            .map(|p| p.name),
    );
    Ok(missing)
}

/// Pods and containers of a node as the emulated probe heard them; names of controllers from kubectl,
/// since Scope's own probe reports those.
fn table(world: &World, heard: &Heard, node: &str) -> anyhow::Result<String> {
    let names = controller_names(world)?;
    let mut rows = vec![
        [
            "POD / container",
            "controller",
            "CPU",
            "millicores",
            "memory",
            "status",
        ]
        .map(str::to_owned),
    ];
    let pods = truth::pods(&world.kubectl)?;
    for pod in pods.iter().filter(|p| p.node == node) {
        let Some(seen) = heard.node("Pod", &pod.node_id()) else {
            continue;
        };
        let controllers: Vec<String> = [
            "deployment",
            "daemon_set",
            "stateful_set",
            "job",
            "cron_job",
        ]
        .iter()
        .flat_map(|t| seen.parents(t))
        .filter_map(|id| names.get(id.split(';').next()?).cloned())
        .collect();
        let figures = |cpu: Option<f64>, mc: Option<f64>, memory: Option<f64>| {
            [
                cpu.map_or("-".into(), |v| format!("{v:.2} %")),
                mc.map_or("-".into(), |v| format!("{v:.1}")),
                memory.map_or("-".into(), |v| format!("{:.1} MiB", v / 1_048_576.0)),
            ]
        };
        let [cpu, mc, memory] = figures(
            seen.metric("docker_cpu_total_usage"),
            seen.metric("cpu_millicores"),
            seen.metric("docker_memory_usage"),
        );
        let name = format!("{}/{}", pod.namespace, pod.name);
        rows.push([
            name,
            controllers.join(", "),
            cpu,
            mc,
            memory,
            pod.phase.clone(),
        ]);
        for id in pod.containers.keys() {
            let id = format!("{id};<container>");
            let Some(seen) = heard.node("Container", &id) else {
                continue;
            };
            let [cpu, mc, memory] = figures(
                seen.metric("docker_cpu_total_usage"),
                seen.metric("cpu_millicores"),
                seen.metric("docker_memory_usage"),
            );
            let name = seen.latest("docker_container_name").unwrap_or_default();
            let state = seen
                .latest("docker_container_state")
                .unwrap_or_default()
                .to_owned();
            rows.push([format!("  {name}"), String::new(), cpu, mc, memory, state]);
        }
    }
    Ok(aligned(&rows))
}

/// `Deployment web` by UID.
fn controller_names(world: &World) -> anyhow::Result<BTreeMap<String, String>> {
    let list = world.kubectl.json(&[
        "get",
        "deployments,daemonsets,statefulsets,jobs,cronjobs",
        "--all-namespaces",
    ])?;
    let mut names = BTreeMap::new();
    for object in list["items"].as_array().context("a list")? {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
        };
        names.insert(
            text("/metadata/uid").to_owned(),
            format!("{} {}", text("/kind"), text("/metadata/name")),
        );
    }
    Ok(names)
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|r| r[column].chars().count())
                .max()
                .unwrap_or(0);
            let right = (2..=4).contains(&column);
            line += &if right {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Deletes the pod `web` on the last node by a click that goes through the first one.
fn click(world: &mut World) -> anyhow::Result<()> {
    let nodes = world.nodes();
    let (first, last) = (nodes[0].clone(), nodes[nodes.len() - 1].clone());
    let pods = truth::pods(&world.kubectl)?;
    let pod = pods
        .iter()
        .find(|p| p.namespace == "demo" && p.name.starts_with("web-") && p.node == last)
        .with_context(|| format!("a pod of Deployment web on {last}"))?;
    println!(
        "\nA click on \"Delete pod\" of {} (on {last}), through the probe on {first}:",
        pod.name
    );
    world.hear(&first)?;
    let clicked = world.click(&first, &pod.node_id(), "node-metrics-controls~deletePod")?;
    println!(
        "  answer after {:.0} ms: {}",
        clicked.took.as_secs_f64() * 1e3,
        legible(&clicked.body)
    );
    ensure!(clicked.http == 200, "the click was refused");
    let successor = await_some("a successor", Duration::from_secs(60), || {
        let now = truth::pods(&world.kubectl)?;
        let new = now.into_iter().find(|p| {
            p.name.starts_with("web-")
                && p.phase == "Running"
                && !pods.iter().any(|old| old.uid == p.uid)
        });
        Ok(new.ok_or_else(|| "none yet".to_owned()))
    })?;
    println!(
        "  its Deployment replaced it: {} runs on {}",
        successor.name, successor.node
    );
    println!("\n$ kubectl get scopeactions -n {PLUGINS}");
    print!(
        "{}",
        world.kubectl.ok(&["get", "scopeactions", "-n", PLUGINS])?
    );
    Ok(())
}
