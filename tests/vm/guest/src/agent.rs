//! The agent in the guest, and what it reports.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use throwaway_vm_guest::{AGENT, HOST_NAME};

use crate::api_server::ApiServer;
use crate::pod::{Container, Process};
use crate::workload::Start;

const PLUGIN_DIRECTORY: &str = "/run/scope/plugins";
/// How long it may take to listen on an emulated machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the answer to a click may take there; a real one has half a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// An agent that serves.
pub(crate) struct Agent {
    process: Process,
    plugin: &'static str,
}

impl Agent {
    /// Starts one without Kubernetes in a container, which need not be any but a control group.
    pub(crate) fn serve(container: &Container, start: &Start) -> anyhow::Result<Agent> {
        Agent::serve_as("alone", container, start, &["--standalone"])
    }

    /// Starts one that asks the guest's API server, collects this and offers these controls.
    pub(crate) fn serve_cluster(
        container: &Container,
        start: &Start,
        collectors: &str,
        controls: &str,
    ) -> anyhow::Result<Agent> {
        let arguments = [
            "--node-name",
            HOST_NAME,
            "--namespace",
            "scope-plugins",
            "--http-listen",
            "off",
            "--collectors",
            collectors,
            "--controls",
            controls,
        ];
        Agent::serve_as("cluster", container, start, &arguments)
    }

    fn serve_as(
        plugin: &'static str,
        container: &Container,
        start: &Start,
        arguments: &[&str],
    ) -> anyhow::Result<Agent> {
        std::fs::create_dir_all(PLUGIN_DIRECTORY)
            .with_context(|| format!("cannot make {PLUGIN_DIRECTORY}"))?;
        let role = [
            "exec",
            AGENT,
            "serve",
            "--plugin-id",
            plugin,
            "--plugin-dir",
            PLUGIN_DIRECTORY,
        ];
        let (name, value) = ApiServer::kubeconfig();
        let child = container
            .command(start, &[&role, arguments].concat())
            .env(name, value)
            .spawn()?;
        let mut agent = Agent {
            process: Process::new(child),
            plugin,
        };
        let socket = agent.socket("");
        let deadline = Instant::now() + START_LIMIT;
        while !Path::new(&socket).exists() {
            ensure!(
                agent.process.is_alive()?,
                "the agent ended: see the console"
            );
            ensure!(
                Instant::now() < deadline,
                "the agent made no socket within {START_LIMIT:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(agent)
    }

    fn socket(&self, suffix: &str) -> String {
        let plugin = self.plugin;
        format!("{PLUGIN_DIRECTORY}/{plugin}/{plugin}{suffix}.sock")
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A report that it makes now.
    pub(crate) fn report(&self) -> anyhow::Result<Report> {
        let socket = self.socket("");
        printed(&["report", "--output", "json", "--socket", &socket])
    }

    /// What it answers to a click, as Scope's probe passes one on.
    pub(crate) fn click(&self, node: &str, control: &str) -> anyhow::Result<Value> {
        self.click_with(node, control, &BTreeMap::new())
    }

    /// The same with arguments, as only programs send them.
    pub(crate) fn click_with(
        &self,
        node: &str,
        control: &str,
        args: &BTreeMap<&str, &str>,
    ) -> anyhow::Result<Value> {
        let socket = self.socket("-controls");
        let mut stream =
            UnixStream::connect(&socket).with_context(|| format!("cannot connect to {socket}"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let body = json!({
            "AppID": "guest", "NodeID": node, "Control": control, "ControlArgs": args,
        });
        let body = body.to_string();
        write!(
            stream,
            "POST /control HTTP/1.1\r\nHost: plugin\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        println!("{control}: {answer}");
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .with_context(|| format!("{control} got no answer: {answer}"))?;
        serde_json::from_str(body).with_context(|| format!("{control} got no JSON: {body}"))
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
