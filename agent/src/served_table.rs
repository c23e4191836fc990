//! A serving agent's report as a table: what Scope is told, read back from the wire.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::collect::metric;
use crate::text_table::{Align, FigureCells, Table, printable, unknown};

/// The body of a report, as far as the table shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Body {
    plugins: Vec<Plugin>,
    container: Nodes,
    pod: Nodes,
    replica_set: Nodes,
    deployment: Nodes,
    daemon_set: Nodes,
    stateful_set: Nodes,
    job: Nodes,
    cron_job: Nodes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugin {
    label: String,
    description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nodes {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    latest: BTreeMap<String, Latest>,
    metrics: BTreeMap<String, Metric>,
    parents: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Latest {
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metric {
    samples: Vec<Sample>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sample {
    value: f64,
}

impl Node {
    fn text(&self, key: &str) -> Option<String> {
        self.latest.get(key).map(|latest| latest.value.clone())
    }

    fn metric(&self, id: &str) -> Option<f64> {
        self.metrics
            .get(id)?
            .samples
            .last()
            .map(|sample| sample.value)
    }

    fn parent(&self, topology: &str) -> Option<&str> {
        self.parents.get(topology)?.first().map(String::as_str)
    }
}

/// The table, with a line break at its end.
pub fn render(body: &[u8]) -> Result<String, serde_json::Error> {
    let body: Body = serde_json::from_slice(body)?;
    let mut text = String::new();
    for plugin in &body.plugins {
        text.push_str(&printable(&format!(
            "{}: {}",
            plugin.label, plugin.description
        )));
        text.push('\n');
    }
    let mut table = Table::with_figures(&[
        ("NAMESPACE", Align::Left),
        ("POD", Align::Left),
        ("CONTROLLER", Align::Left),
        ("CONTAINER", Align::Left),
    ]);
    // Scope's own probe names the pods; here, their containers do.
    let mut by_pod: BTreeMap<&str, Vec<(&str, &Node)>> = BTreeMap::new();
    for (id, container) in &body.container.nodes {
        let pod = container.parent("pod").unwrap_or_default();
        by_pod.entry(pod).or_default().push((id, container));
    }
    let mut pods: Vec<_> = body
        .pod
        .nodes
        .iter()
        .map(|(id, pod)| {
            let containers = by_pod.remove(&**id).unwrap_or_default();
            let said = |key| {
                containers
                    .iter()
                    .find_map(|(_, container)| container.text(key))
            };
            let namespace = said("docker_label_io.kubernetes.pod.namespace");
            let name = said("docker_label_io.kubernetes.pod.name");
            let name = name.unwrap_or_else(|| bare(id).to_owned());
            (namespace.unwrap_or_else(unknown), name, pod, containers)
        })
        .collect();
    pods.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    for (namespace, name, pod, containers) in pods {
        row(
            &mut table,
            [namespace, name, body.controller(pod), String::new()],
            pod,
        );
        for (id, container) in containers {
            row(
                &mut table,
                [
                    String::new(),
                    String::new(),
                    String::new(),
                    named(id, container),
                ],
                container,
            );
        }
    }
    for (id, container) in by_pod.into_values().flatten() {
        row(
            &mut table,
            [unknown(), unknown(), unknown(), named(id, container)],
            container,
        );
    }
    table.write(&mut text, "The report holds no pods and no containers.");
    Ok(text)
}

impl Body {
    /// The controller at the top, such as `Deployment/web`.
    fn controller(&self, pod: &Node) -> String {
        let kinds = [
            ("cron_job", "CronJob", &self.cron_job),
            ("job", "Job", &self.job),
            ("deployment", "Deployment", &self.deployment),
            ("stateful_set", "StatefulSet", &self.stateful_set),
            ("daemon_set", "DaemonSet", &self.daemon_set),
            ("replica_set", "ReplicaSet", &self.replica_set),
        ];
        let found = kinds.iter().find_map(|(parent, kind, nodes)| {
            let id = pod.parent(parent)?;
            let name = nodes
                .nodes
                .get(id)
                .and_then(|node| node.text("kubernetes_name"));
            Some(format!(
                "{kind}/{}",
                name.unwrap_or_else(|| bare(id).to_owned())
            ))
        });
        found.unwrap_or_else(unknown)
    }
}

fn row(table: &mut Table, names: [String; 4], node: &Node) {
    let figures = FigureCells {
        millicores: node.metric(metric::MILLICORES),
        cpu: node.metric(metric::CPU),
        memory: node.metric(metric::MEMORY),
        memory_limit_use: node.metric(metric::MEMORY_LIMIT_USE),
        throttled: node.metric(metric::THROTTLED),
        processes: node.metric(metric::PROCESSES),
        threads: node.metric(metric::THREADS),
        files: node.metric(metric::FILES),
        disk: [metric::DISK_READ, metric::DISK_WRITTEN].map(|id| node.metric(id)),
        network: [metric::NETWORK_RECEIVED, metric::NETWORK_SENT].map(|id| node.metric(id)),
    };
    let mut cells: Vec<String> = names.iter().map(|name| printable(name)).collect();
    cells.extend(figures.cells());
    table.row(cells);
}

fn named(id: &str, container: &Node) -> String {
    container
        .text("docker_container_name")
        .unwrap_or_else(|| bare(id).to_owned())
}

fn bare(id: &str) -> &str {
    id.split(';').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report_back() {
        let body = serde_json::json!({
            "Plugins": [{"id": "p", "label": "P", "description": "d\u{1b}[2J", "interfaces": ["reporter"]}],
            "Pod": {"nodes": {"u1;<pod>": {"id": "u1;<pod>",
                "parents": {"replica_set": ["rs;<replica_set>"], "deployment": ["d;<deployment>"]},
                "metrics": {"cpu_millicores": {"samples": [{"date": "2026-01-01T00:00:00Z", "value": 12.34}], "max": 1},
                            "docker_memory_usage": {"samples": [{"date": "2026-01-01T00:00:00Z", "value": 1048576}]}}}}},
            "Deployment": {"nodes": {"d;<deployment>": {"latest": {"kubernetes_name": {"timestamp": "2026-01-01T00:00:00Z", "value": "web"}}}}},
            "Container": {"nodes": {
                "c1;<container>": {"parents": {"pod": ["u1;<pod>"]}, "latest": {
                    "docker_container_name": {"value": "app"},
                    "docker_label_io.kubernetes.pod.name": {"value": "web-1"},
                    "docker_label_io.kubernetes.pod.namespace": {"value": "shop"}}},
                "c2;<container>": {}}}
        });
        let text = render(body.to_string().as_bytes()).expect("reads");
        assert!(text.starts_with("P: d\u{fffd}[2J\n"), "{text}");
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            &lines[3][..6],
            ["shop", "web-1", "Deployment/web", "12.3", "-", "1.0"],
            "{text}"
        );
        assert_eq!(lines[4][0], "app", "{text}");
        assert_eq!(&lines[5][..4], ["-", "-", "-", "c2"], "{text}");
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(render(b"nothing").is_err());
        assert!(render(b"{}").expect("reads").contains("no pods"));
    }
}
