//! The main job, shown: install, roll out, report, click. The same on a throw-away cluster, whose
//! sockets an emulated probe asks, and [here](here), on a cluster that is somebody's.

mod asking;
pub mod here;
mod image;
mod table;
mod target;

pub use image::ImageName;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::product::{self, PLUGINS, Product, legible};
use crate::progress::{await_some, step};
use crate::truth::{self, PodTruth};
use crate::world::World;

/// The ScopePlugin of `examples/node-metrics.yaml`.
const PLUGIN: &str = "node-metrics";
/// The namespace of `examples/workload.yaml`.
const WORKLOAD: &str = "demo";
/// The image in it.
const BUSYBOX: &str = "busybox:1.37";
/// Pods of it but for those of its DaemonSet.
const PODS: usize = 5;

/// A cluster on which the main job is shown.
pub trait Place {
    /// An administrator's.
    fn kubectl(&self) -> &Kubectl;

    /// The product in this source tree.
    fn product(&self) -> &Product;

    /// Installs the chart.
    ///
    /// # Errors
    /// When Helm fails.
    fn install(&mut self) -> anyhow::Result<()>;

    /// Makes the objects of this manifest, which is that of the workload.
    ///
    /// # Errors
    /// When one is refused.
    fn start_workload(&mut self, manifest: &str) -> anyhow::Result<()>;

    /// The image that does for [`BUSYBOX`].
    fn workload_image(&self) -> String;

    /// How long each wait may take.
    fn patience(&self) -> Duration;

    /// Looked at while waiting.
    ///
    /// # Errors
    /// When there is no point in waiting any longer.
    fn go_on(&self) -> anyhow::Result<()>;

    /// What Scope's probe hears on each of these nodes, in their order.
    ///
    /// # Errors
    /// When a node cannot be asked.
    fn hear(&mut self, nodes: &[String]) -> anyhow::Result<Vec<Heard>>;

    /// A click on "Delete pod" of a node of Scope's map, handed to the probe on this node.
    ///
    /// # Errors
    /// When the probe cannot be reached.
    fn delete_pod(&mut self, node: &str, node_id: &str) -> anyhow::Result<Told>;
}

/// What came of a click.
#[derive(Debug)]
pub struct Told {
    /// Whether it is not going to be done.
    pub refused: bool,
    /// The answer's body.
    pub body: String,
    /// From the click to the answer.
    pub took: Duration,
}

/// Whether an answer to a click says that nothing will be done. An error that the operator has not
/// answered yet says none: what comes of it is seen afterwards.
fn is_refusal(answer: &str) -> bool {
    let Ok(answer) = serde_json::from_str::<Value>(answer) else {
        return true;
    };
    let shown = answer["error"].as_str().is_some_and(|e| !e.is_empty());
    shown && answer["value"]["phase"] != "Pending"
}

/// The throw-away cluster.
impl Place for World {
    fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn product(&self) -> &Product {
        &self.product
    }

    fn install(&mut self) -> anyhow::Result<()> {
        self.product.install(&self.kubectl, &[])
    }

    fn start_workload(&mut self, manifest: &str) -> anyhow::Result<()> {
        self.kubectl.apply(manifest)
    }

    fn workload_image(&self) -> String {
        // The throw-away cluster has no registry: its own busybox image stands in.
        "harness.local/box:1".to_owned()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }

    fn go_on(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn hear(&mut self, nodes: &[String]) -> anyhow::Result<Vec<Heard>> {
        nodes.iter().map(|node| World::hear(self, node)).collect()
    }

    fn delete_pod(&mut self, node: &str, node_id: &str) -> anyhow::Result<Told> {
        // A probe passes on what it has heard of.
        World::hear(self, node)?;
        let clicked = self.click(node, node_id, "node-metrics-controls~deletePod")?;
        Ok(Told {
            refused: clicked.http != 200 || is_refusal(&clicked.body),
            body: clicked.body,
            took: clicked.took,
        })
    }
}

/// Shows the main job and leaves everything as it is then.
///
/// # Errors
/// When a part of it does not work.
pub fn show(place: &mut dyn Place) -> anyhow::Result<()> {
    let patience = place.patience();
    step("install the chart with Helm", |_| place.install())?;
    step("two operator pods ready", |step| {
        await_some("two ready operator pods", patience, || {
            place.go_on()?;
            let ready = product::operator_ready(place.kubectl())?;
            Ok(ready.inspect_err(|seen| step.note(seen)))
        })
    })?;
    step("apply examples/workload.yaml", |_| {
        let workload = place.product().text("examples/workload.yaml")?;
        let image = place.workload_image();
        place.start_workload(&workload.replace(BUSYBOX, &image))
    })?;
    step(
        "apply examples/node-metrics.yaml and wait for Ready",
        |step| {
            let plugin = place.product().text("examples/node-metrics.yaml")?;
            place.kubectl().apply(&plugin)?;
            await_some("the ScopePlugin Ready", patience, || {
                place.go_on()?;
                let ready = product::plugin_ready(place.kubectl(), PLUGIN)?;
                Ok(ready.inspect_err(|seen| step.note(seen)))
            })
        },
    )?;
    let nodes = step("all pods run and are reported with figures", |step| {
        await_some("figures of all pods", patience, || {
            place.go_on()?;
            Ok(nodes_with_figures(place)?.inspect_err(|seen| step.note(seen)))
        })
    })?;

    say(&format!(
        "\n$ kubectl get scopeplugins\n{}",
        place.kubectl().ok(&["get", "scopeplugins"])?
    ))?;
    for (node, heard) in nodes.iter().zip(place.hear(&nodes)?) {
        say(&format!(
            "\nWhat Scope's probe hears on {node}:\n{}",
            table::table(place.kubectl(), &heard, node)?
        ))?;
    }
    click(place, &nodes)
}

/// The nodes that the workload runs on, once each of its pods there is reported with figures; before
/// that, what is missing. On a large cluster its DaemonSet is on more nodes, which are not asked.
fn nodes_with_figures(place: &mut dyn Place) -> anyhow::Result<Result<Vec<String>, String>> {
    let every = place
        .kubectl()
        .json(&["get", "daemonset", "every", "-n", WORKLOAD])?;
    let wanted = PODS
        + every["status"]["desiredNumberScheduled"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or_default();
    let pods = truth::pods_in(place.kubectl(), WORKLOAD)?;
    if pods.len() < wanted || wanted == PODS {
        return Ok(Err(format!("{} of {wanted} pods exist", pods.len())));
    }
    let is_daemon = |pod: &PodTruth| pod.parents.contains_key("daemon_set");
    let nodes: BTreeSet<&str> = pods
        .iter()
        .filter(|pod| !is_daemon(pod))
        .map(|pod| pod.node.as_str())
        .collect();
    let asked = |pod: &&PodTruth| !is_daemon(pod) || nodes.contains(pod.node.as_str());
    let asked: Vec<&PodTruth> = pods.iter().filter(asked).collect();
    let waiting: Vec<&str> = asked
        .iter()
        .filter(|pod| pod.phase != "Running" || pod.node.is_empty())
        .map(|pod| pod.name.as_str())
        .collect();
    if !waiting.is_empty() {
        return Ok(Err(format!("do not run yet: {}", waiting.join(", "))));
    }
    let nodes: Vec<String> = nodes.into_iter().map(str::to_owned).collect();
    let mut missing = Vec::new();
    for (node, heard) in nodes.iter().zip(place.hear(&nodes)?) {
        for pod in asked.iter().filter(|pod| pod.node == *node) {
            let seen = heard.node("Pod", &pod.node_id());
            if seen.is_none_or(|s| s.metric("docker_cpu_total_usage").is_none()) {
                missing.push(pod.name.as_str());
            }
        }
    }
    Ok(match missing.is_empty() {
        true => Ok(nodes),
        false => Err(format!("without figures: {}", missing.join(", "))),
    })
}

/// Deletes a pod `web` by a click that goes through another node, if there is one.
fn click(place: &mut dyn Place, nodes: &[String]) -> anyhow::Result<()> {
    let pods = truth::pods_in(place.kubectl(), WORKLOAD)?;
    let webs = pods.iter().filter(|p| p.name.starts_with("web-"));
    let pod = webs
        .max_by_key(|p| &p.node)
        .context("a pod of Deployment web")?;
    let other = nodes.iter().find(|node| **node != pod.node);
    let through = other.unwrap_or(&pod.node);
    say(&format!(
        "\nA click on \"Delete pod\" of {} (on {}), through the probe on {through}:\n",
        pod.name, pod.node
    ))?;
    let told = place.delete_pod(through, &pod.node_id())?;
    say(&format!(
        "  answer after {:.0} ms: {}\n",
        told.took.as_secs_f64() * 1e3,
        legible(&told.body)
    ))?;
    ensure!(!told.refused, "the click was refused");
    let successor = await_some("a successor", place.patience(), || {
        place.go_on()?;
        let now = truth::pods_in(place.kubectl(), WORKLOAD)?;
        let new = now.into_iter().find(|p| {
            p.name.starts_with("web-")
                && p.phase == "Running"
                && !pods.iter().any(|old| old.uid == p.uid)
        });
        Ok(new.ok_or_else(|| "none yet".to_owned()))
    })?;
    say(&format!(
        "  its Deployment replaced it: {} runs on {}\n\n$ kubectl get scopeactions -n {PLUGINS}\n{}",
        successor.name,
        successor.node,
        place
            .kubectl()
            .ok(&["get", "scopeactions", "-n", PLUGINS])?
    ))
}

/// Prints. That nobody reads is an error like others, after which things are removed, and not the end
/// of the program, which `print!` would make of it.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
