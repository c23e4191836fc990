//! The agent in the guest, and what it reports.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use throwaway_vm_guest::AGENT;

use crate::pod::{Container, Process};
use crate::workload::Start;

const PLUGIN_DIRECTORY: &str = "/run/scope/plugins";
const PLUGIN: &str = "vm";
/// How long it may take to listen on an emulated machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// An agent that serves.
pub(crate) struct Agent {
    process: Process,
}

impl Agent {
    /// Starts one in a container, which need not be any but a control group.
    pub(crate) fn serve(container: &Container, start: &Start) -> anyhow::Result<Agent> {
        std::fs::create_dir_all(PLUGIN_DIRECTORY)
            .with_context(|| format!("cannot make {PLUGIN_DIRECTORY}"))?;
        let role = [
            "exec",
            AGENT,
            "serve",
            "--standalone",
            "--plugin-id",
            PLUGIN,
            "--plugin-dir",
            PLUGIN_DIRECTORY,
        ];
        let child = container.command(start, &role).spawn()?;
        let mut process = Process::new(child);
        let socket = format!("{PLUGIN_DIRECTORY}/{PLUGIN}/{PLUGIN}.sock");
        let deadline = Instant::now() + START_LIMIT;
        while !std::path::Path::new(&socket).exists() {
            ensure!(process.is_alive()?, "the agent ended: see the console");
            ensure!(
                Instant::now() < deadline,
                "the agent made no socket within {START_LIMIT:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Agent { process })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A report that it makes now.
    pub(crate) fn report(&self) -> anyhow::Result<Report> {
        printed(&[
            "report",
            "--output",
            "json",
            "--plugin-dir",
            PLUGIN_DIRECTORY,
        ])
    }
}

/// A report that is made without a serving agent.
pub(crate) fn look_around() -> anyhow::Result<Report> {
    printed(&["report", "--standalone", "--output", "json"])
}

fn printed(arguments: &[&str]) -> anyhow::Result<Report> {
    let output = Command::new(AGENT)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the agent")?;
    ensure!(
        output.status.success(),
        "scope-agent {} failed ({}): see the console",
        arguments.join(" "),
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The console of a failed run shows what was reported.
    println!("{text}");
    let body = serde_json::from_str(&text).context("the agent's report is no JSON")?;
    Ok(Report(body))
}

/// What Scope's probe would get.
pub(crate) struct Report(Value);

impl Report {
    /// A node's metric.
    pub(crate) fn metric(&self, topology: &str, node: &str, metric: &str) -> anyhow::Result<f64> {
        let value = &self.node(topology, node)?["metrics"][metric]["samples"][0]["value"];
        let Some(value) = value.as_f64() else {
            bail!("{topology} {node} has no metric {metric}");
        };
        Ok(value)
    }

    /// The upper end of a metric's scale.
    pub(crate) fn scale(&self, topology: &str, node: &str, metric: &str) -> anyhow::Result<f64> {
        let value = &self.node(topology, node)?["metrics"][metric]["max"];
        value
            .as_f64()
            .with_context(|| format!("{topology} {node} has no scale for {metric}"))
    }

    /// A node's newest value of a key.
    pub(crate) fn latest(&self, topology: &str, node: &str, key: &str) -> anyhow::Result<&str> {
        let value = &self.node(topology, node)?["latest"][key]["value"];
        value
            .as_str()
            .with_context(|| format!("{topology} {node} has no {key}"))
    }

    /// A node's parents in a topology.
    pub(crate) fn parents(
        &self,
        topology: &str,
        node: &str,
        of: &str,
    ) -> anyhow::Result<Vec<&str>> {
        let list = self.node(topology, node)?["parents"][of].as_array();
        Ok(list
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect())
    }

    /// The IDs of all nodes of a topology.
    pub(crate) fn nodes(&self, topology: &str) -> Vec<&str> {
        let nodes = self.0[topology]["nodes"].as_object();
        nodes
            .into_iter()
            .flatten()
            .map(|(id, _)| id.as_str())
            .collect()
    }

    fn node(&self, topology: &str, node: &str) -> anyhow::Result<&Value> {
        let nodes = &self.0[topology]["nodes"];
        nodes.get(node).with_context(|| {
            format!(
                "the report has no {topology} {node}, but {:?}",
                self.nodes(topology)
            )
        })
    }
}
