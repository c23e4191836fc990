//! What a probe heard of a node, as a person reads it.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, SYSTEM};
use crate::truth;

use super::WORKLOAD;

/// The namespaces whose pods are shown one by one. A node may have a hundred others.
const MADE: [&str; 3] = [WORKLOAD, SYSTEM, PLUGINS];

/// Pods and containers of a node as a probe heard them, as far as they are the demo's; names of
/// controllers from kubectl, since Scope's own probe reports those.
pub(super) fn table(kubectl: &Kubectl, heard: &Heard, node: &str) -> anyhow::Result<String> {
    let names = controller_names(kubectl)?;
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
    let mut pods = Vec::new();
    for namespace in MADE {
        pods.extend(truth::pods_in(kubectl, namespace)?);
    }
    let mut shown = 0;
    for pod in pods.iter().filter(|p| p.node == node) {
        let Some(seen) = heard.node("Pod", &pod.node_id()) else {
            continue;
        };
        shown += 1;
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
    let mut text = aligned(&rows);
    let others = heard.nodes("Pod").count().saturating_sub(shown);
    match others {
        0 => {}
        1 => text += "and one more pod of this node\n",
        _ => text += &format!("and {others} more pods of this node\n"),
    }
    Ok(text)
}

/// `Deployment web` by UID.
fn controller_names(kubectl: &Kubectl) -> anyhow::Result<BTreeMap<String, String>> {
    let kinds = "deployments,daemonsets,statefulsets,jobs,cronjobs";
    let mut names = BTreeMap::new();
    for namespace in MADE {
        let list = kubectl.json(&["get", kinds, "-n", namespace])?;
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
