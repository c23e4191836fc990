//! What the emulated probe on each node hears for a minute: valid reports, right IDs, right parents,
//! right figures, and no API requests meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::connected;
use crate::audit;
use crate::kubectl::Kubectl;
use crate::progress::await_some;
use crate::truth::{self, PodTruth};
use crate::world::World;

/// What a pod that does nothing stays below.
const IDLE_MILLICORES: f64 = 2.0;

/// The pods whose figures are known.
pub(super) const WORKLOADS: &str = include_str!("../workloads.yaml");

/// Applies the workloads and waits until they run and both agents report them.
pub(super) fn start_workloads(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(WORKLOADS)?;
    // A Job of a CronJob, so that this chain of owners exists too.
    world.kubectl.ok(&[
        "create",
        "job",
        "--from=cronjob/tick",
        "tick-by-hand",
        "-n",
        "figures",
    ])?;
    let running = |pods: &[PodTruth]| {
        let ours: Vec<_> = pods.iter().filter(|p| p.namespace == "figures").collect();
        ours.len() == 5 && ours.iter().all(|p| !p.containers.is_empty())
    };
    await_some(
        "five running pods in namespace figures",
        Duration::from_secs(60),
        || {
            let pods = truth::pods(&world.kubectl)?;
            Ok(if running(&pods) {
                Ok(())
            } else {
                Err(format!("{pods:?}"))
            })
        },
    )?;
    let kubectl = world.kubectl.clone();
    await_some(
        "all running pods in the reports, the idle ones at rest",
        Duration::from_secs(20),
        || {
            for node in world.nodes() {
                let report = world.hear(&node)?;
                for pod in truth::pods(&kubectl)?.iter().filter(|p| p.node == node) {
                    let seen = report.node("Pod", &pod.node_id());
                    let Some(millicores) = seen.and_then(|s| s.metric("cpu_millicores")) else {
                        return Ok(Err(format!("{} is missing on {node}", pod.name)));
                    };
                    // Its start is work, and rightly shown.
                    if pod.name.starts_with("idle") && millicores >= IDLE_MILLICORES {
                        return Ok(Err(format!("{} uses {millicores} millicores", pod.name)));
                    }
                }
            }
            Ok(Ok(()))
        },
    )
}

/// One minute of a probe per node, twice on node 1 as where Scope's cluster agent runs, while nothing
/// changes in the cluster.
pub(super) fn minute_of_reports(world: &mut World) -> anyhow::Result<()> {
    // That probes begin to ask is written down once, and numbers beside it some minutes later.
    connected::is_settled(world)?;
    let pods = truth::pods(&world.kubectl)?;
    let audit_from = world.audit_mark()?;
    let mut burner = Vec::new();
    let (mut asked, mut twice) = (0, 0);
    let mut tick = Instant::now();
    for _ in 0..60 {
        for node in world.nodes() {
            let report = world.hear(&node)?;
            report.must_be_accepted(&["node-metrics", "node-metrics-controls"])?;
            report.must_conform()?;
            asked += 1;
            if asked % 10 <= 1 {
                identities(&report, &node, &pods)?;
            }
            if let Some(pod) = pods
                .iter()
                .find(|p| p.node == node && p.name.starts_with("burner"))
            {
                let seen = report
                    .node("Pod", &pod.node_id())
                    .context("the burner is reported")?;
                if asked % 3 == 0 {
                    // Where Scope's cluster agent runs, its probe asks the same sockets at its own pace.
                    let other = world.hear_by(&node, "cluster")?;
                    other.must_be_accepted(&["node-metrics", "node-metrics-controls"])?;
                    let other = other
                        .node("Pod", &pod.node_id())
                        .context("the burner again")?;
                    let (one, two) = (
                        seen.sample("cpu_millicores"),
                        other.sample("cpu_millicores"),
                    );
                    let same_stamp = one.as_ref().map(|s| &s.0) == two.as_ref().map(|s| &s.0);
                    ensure!(
                        !same_stamp || one == two,
                        "two probes heard {one:?} and {two:?}"
                    );
                    twice += u32::from(same_stamp);
                }
                burner.push((
                    seen.metric("cpu_millicores"),
                    seen.metric("docker_cpu_total_usage"),
                ));
            }
        }
        tick += Duration::from_secs(1);
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
    ensure!(
        twice >= 5,
        "two probes heard the same sample only {twice} times"
    );
    burns_a_tenth(&burner)?;
    let kubectl = world.kubectl.clone();
    for node in world.nodes() {
        // A large report tells the rows in turns.
        await_some(
            "the table of the Node object",
            Duration::from_secs(20),
            || node_table(&world.hear(&node)?, &node, &kubectl),
        )?;
    }
    let quiet = world.audit_since(audit_from)?;
    audit::must_be_idle(&quiet)
}

/// The host's rows of its Node object say what `kubectl get node` does. `Err` in words while they do not.
fn node_table(
    report: &crate::heard::Heard,
    node: &str,
    kubectl: &Kubectl,
) -> anyhow::Result<Result<(), String>> {
    let object = kubectl.json(&["get", "node", node])?;
    let pods = truth::pods(kubectl)?;
    let over = |pod: &&PodTruth| !["Succeeded", "Failed"].contains(&&*pod.phase);
    let here = pods.iter().filter(|pod| pod.node == node).filter(over);
    let text = |pointer: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("{pointer} of node {node}"))
    };
    let most = text("/status/allocatable/pods")?;
    let host = format!("{node};<host>");
    let Some(seen) = report.node("Host", &host) else {
        return Ok(Err(format!("{host} is missing")));
    };
    for (row, want) in [
        (
            "Kubelet",
            text("/status/nodeInfo/kubeletVersion")?.to_owned(),
        ),
        ("Pods", format!("{} of {most}", here.count())),
    ] {
        let said = seen.latest(&format!("kubernetes_node_{row}"));
        if said != Some(&*want) {
            return Ok(Err(format!("{host}: {row} is {said:?}, want {want:?}")));
        }
    }
    Ok(Ok(()))
}

/// Every running pod and container of the node is there with the right parents, and none of another
/// node.
fn identities(report: &crate::heard::Heard, node: &str, pods: &[PodTruth]) -> anyhow::Result<()> {
    let host = format!("{node};<host>");
    for pod in pods {
        let id = pod.node_id();
        if pod.node != node {
            ensure!(
                report.node("Pod", &id).is_none(),
                "{node} reports {}, which is on {}",
                pod.name,
                pod.node
            );
            continue;
        }
        if pod.phase != "Running" {
            continue;
        }
        let seen = report
            .node("Pod", &id)
            .with_context(|| format!("{} is missing", pod.name))?;
        ensure!(
            seen.has_parent("host", &host),
            "{}: parent {host} is missing: {seen:?}",
            pod.name
        );
        for (topology, parents) in &pod.parents {
            ensure!(
                &seen.parents(topology) == parents,
                "{}: parents {topology} are {:?}, want {parents:?}",
                pod.name,
                seen.parents(topology)
            );
            let key = report_key(topology);
            for parent in parents {
                ensure!(
                    report.node(key, parent).is_some(),
                    "{key} {parent} is missing on {node}"
                );
            }
        }
        if let (Some(sets), Some(deployments)) = (
            pod.parents.get("replica_set"),
            pod.parents.get("deployment"),
        ) {
            for set in sets {
                let set = report
                    .node("ReplicaSet", set)
                    .context("the ReplicaSet is reported")?;
                ensure!(
                    &set.parents("deployment") == deployments,
                    "ReplicaSet {set:?} lacks its Deployment"
                );
            }
        }
        for (container, (name, image)) in &pod.containers {
            let seen = report
                .node("Container", &format!("{container};<container>"))
                .with_context(|| format!("container {name} of {} is missing", pod.name))?;
            ensure!(
                seen.has_parent("pod", &id),
                "container {name}: parent {id} is missing"
            );
            ensure!(
                seen.has_parent("host", &host),
                "container {name}: parent {host} is missing"
            );
            for (key, want) in [
                ("docker_container_id", container.as_str()),
                ("docker_container_name", name),
                ("docker_container_state", "running"),
                ("docker_image_name", image),
                ("docker_label_io.kubernetes.pod.uid", &pod.uid),
                ("docker_label_io.kubernetes.pod.name", &pod.name),
                ("docker_label_io.kubernetes.pod.namespace", &pod.namespace),
                ("docker_label_io.kubernetes.container.name", name),
            ] {
                ensure!(
                    seen.latest(key) == Some(want),
                    "container {name} of {}: {key} is {:?}, want {want:?}",
                    pod.name,
                    seen.latest(key)
                );
            }
            let images = seen.parents("container_image");
            ensure!(
                images.len() == 1,
                "container {name}: parents container_image are {images:?}"
            );
            for image in images {
                ensure!(
                    report.node("ContainerImage", &image).is_some(),
                    "image {image} is missing"
                );
            }
        }
        if pod.name.starts_with("idle") {
            let millicores = seen
                .metric("cpu_millicores")
                .context("an idle pod has a figure")?;
            ensure!(
                millicores < IDLE_MILLICORES,
                "{} idles, but is shown with {millicores} millicores",
                pod.name
            );
        }
    }
    // A process without its container would stand in Scope as a ghost.
    for (id, process) in report.nodes("Process") {
        ensure!(
            process.latest("docker_container_id").is_some(),
            "process {id} has no container"
        );
        ensure!(
            id.starts_with(&format!("{node};")),
            "process {id} is not of {node}"
        );
    }
    Ok(())
}

fn report_key(topology: &str) -> &'static str {
    match topology {
        "replica_set" => "ReplicaSet",
        "deployment" => "Deployment",
        "daemon_set" => "DaemonSet",
        "stateful_set" => "StatefulSet",
        "job" => "Job",
        "cron_job" => "CronJob",
        _ => "Pod",
    }
}

/// The loop that is limited to 100m shows as 100 ± 20 millicores and as that share of the node. The
/// kernel hands the quota out per 100 ms, so single samples swing; the mean of each ten seconds must
/// be right, and so must the share in each.
fn burns_a_tenth(samples: &[(Option<f64>, Option<f64>)]) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism()?.get() as f64;
    let mut millicores = Vec::new();
    for (cores, percent) in samples {
        let (Some(cores), Some(percent)) = (cores, percent) else {
            bail!("the burner had no figure in {samples:?}");
        };
        let share = cores / 1000.0 / cpus * 100.0;
        ensure!(
            (percent - share).abs() < 0.05 + share * 0.02,
            "{cores} millicores of {cpus} CPUs are {share} %, but {percent} % are shown"
        );
        millicores.push(*cores);
    }
    for ten in millicores.chunks(10).filter(|c| c.len() == 10) {
        let mean = ten.iter().sum::<f64>() / 10.0;
        ensure!(
            (80.0..=120.0).contains(&mean),
            "the burner shows {mean} millicores: {ten:?}"
        );
    }
    eprintln!(
        "    burner: mean {:.1} millicores over {} samples",
        millicores.iter().sum::<f64>() / millicores.len() as f64,
        millicores.len()
    );
    Ok(())
}
