//! What the operator does for a click on a pod, a workload, a CronJob or a host: through a probe on another node
//! than the object's pods, with the effect read from the API server.

mod killed;
mod podless;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::lifecycle::{await_no_agents, set_suspended};
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, await_ready};
use crate::progress::await_some;
use crate::world::{Clicked, World};

const PLUGIN: &str = "cluster-actions";
const USUAL: &str = "node-metrics";
const NAMESPACE: &str = "acted-on";
/// The probe through which everything is clicked; the pods are on the other node.
const THROUGH: &str = "node1";
const SOON: Duration = Duration::from_secs(60);
/// A click's answer takes at most so long.
const IN_TIME: Duration = Duration::from_millis(500);

const OBJECTS: &str = include_str!("objects.yaml");

/// All of it, by the example in the place of the usual plugin.
pub(super) fn by_click(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(OBJECTS)?;
    set_suspended(world, USUAL, true)?;
    await_no_agents(world)?;
    let example = world.product.text("examples/cluster-actions.yaml")?;
    let example = example.replace("maxActionsPerMinute: 10", "maxActionsPerMinute: 60");
    let example = example + "  rollout: {canary: {soak: 2s}, minReady: 1s}\n";
    world.kubectl.apply(&example)?;
    let result = await_ready(&world.kubectl, PLUGIN, SOON)
        .and_then(|()| await_objects(&world.kubectl))
        .and_then(|()| each_control(world));
    world
        .kubectl
        .ok(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    world.kubectl.ok(&["uncordon", THROUGH])?;
    world.kubectl.ok(&["delete", "scopeplugin", PLUGIN])?;
    await_no_agents(world)?;
    set_suspended(world, USUAL, false)?;
    await_ready(&world.kubectl, USUAL, SOON)?;
    result
}

fn each_control(world: &mut World) -> anyhow::Result<()> {
    replicas(world).context("replicas")?;
    pods(world).context("pods")?;
    // Before the restarts: a restart that is done counts as this one's first click for some seconds.
    pause(world).context("pause")?;
    restarts(world).context("restarts")?;
    cron_job(world).context("CronJob")?;
    cordon(world).context("cordon")?;
    refusals(world).context("refusals")?;
    podless::awoken(world).context("without pods")?;
    killed::operators(world).context("operators killed")
}

fn await_objects(kubectl: &Kubectl) -> anyhow::Result<()> {
    for object in [
        "deployment/web",
        "deployment/by-load",
        "statefulset/db",
        "daemonset/each",
    ] {
        kubectl.ok(&[
            "rollout",
            "status",
            object,
            "-n",
            NAMESPACE,
            "--timeout=60s",
        ])?;
    }
    await_some("a budget that is known", SOON, || {
        let budget = get(kubectl, "poddisruptionbudget", "all-of-web")?;
        let healthy = &budget["status"]["currentHealthy"];
        Ok(if *healthy == 2 {
            Ok(())
        } else {
            Err(healthy.to_string())
        })
    })
}

fn get(kubectl: &Kubectl, kind: &str, name: &str) -> anyhow::Result<Value> {
    kubectl.json(&["get", kind, name, "-n", NAMESPACE])
}

/// Scope's ID of an object.
fn node_id(object: &Value) -> anyhow::Result<String> {
    let uid = object["metadata"]["uid"].as_str().context("a UID")?;
    let kind = object["kind"].as_str().context("a kind")?.to_lowercase();
    Ok(format!("{uid};<{kind}>"))
}

/// A click through the usual probe, answered in time.
fn click(world: &mut World, node_id: &str, control: &str) -> anyhow::Result<Clicked> {
    click_through(world, THROUGH, node_id, control)
}

fn click_through(
    world: &mut World,
    through: &str,
    node_id: &str,
    control: &str,
) -> anyhow::Result<Clicked> {
    world.hear(through)?;
    let control = format!("{PLUGIN}-controls~{control}");
    let click = world.click(through, node_id, &control)?;
    ensure!(
        click.took < IN_TIME,
        "{control} was answered after {:?}: {}",
        click.took,
        click.body
    );
    Ok(click)
}

/// A click that is carried out, at once or, on a machine that is busy, a moment later; with its Event.
fn done(world: &mut World, object: &Value, control: &str) -> anyhow::Result<()> {
    done_through(world, THROUGH, object, control)
}

fn done_through(
    world: &mut World,
    through: &str,
    object: &Value,
    control: &str,
) -> anyhow::Result<()> {
    let click = click_through(world, through, &node_id(object)?, control)?;
    let pending = click.http != 200;
    ensure!(
        !pending || click.body.contains("pending: "),
        "{control}: HTTP {}: {}",
        click.http,
        click.body
    );
    let uid = &object["metadata"]["uid"];
    let record = outcome(world, uid.as_str().context("a UID")?, control)?;
    ensure!(
        record["status"]["phase"] == "Succeeded",
        "{control}: {record}"
    );
    eprintln!(
        "    {control}: {} ({:.0} ms{})",
        record["status"]["message"].as_str().unwrap_or_default(),
        click.took.as_secs_f64() * 1e3,
        if pending { ", pending" } else { "" }
    );
    await_some(&format!("an Event of {control}"), SOON, || {
        let events = world.kubectl.json(&["get", "events", "-A"])?;
        let mut events = events["items"].as_array().into_iter().flatten();
        let found = events.any(|event| {
            event["involvedObject"]["uid"] == *uid
                && event["reason"] == "ScopeActionSucceeded"
                && event["message"]
                    .as_str()
                    .is_some_and(|m| m.contains(record["metadata"]["name"].as_str().unwrap_or("?")))
        });
        Ok(if found {
            Ok(())
        } else {
            Err("none".to_owned())
        })
    })
}

/// The newest record of such a click, once it has its outcome.
fn outcome(world: &World, uid: &str, control: &str) -> anyhow::Result<Value> {
    await_some(&format!("{control} on record"), SOON, || {
        let list = world
            .kubectl
            .json(&["get", "scopeactions", "-n", PLUGINS])?;
        let records = list["items"].as_array().into_iter().flatten();
        // The same may have been clicked and refused before.
        let newest = records
            .filter(|action| {
                let clicked = action["spec"]["control"].as_str().unwrap_or_default();
                action["spec"]["target"]["uid"] == *uid && clicked.eq_ignore_ascii_case(control)
            })
            .max_by_key(|action| action["spec"]["notAfter"].as_str());
        Ok(match newest {
            Some(action) if !action["status"]["phase"].is_null() => Ok(action.clone()),
            other => Err(format!("{other:?}")),
        })
    })
}

/// A click that is refused with these words, at once or, on a machine that is busy, a moment later.
fn refused(world: &mut World, node_id: &str, control: &str, words: &str) -> anyhow::Result<()> {
    let click = click(world, node_id, control)?;
    let mut said = click.body;
    if said.contains("pending: ") {
        let (uid, _) = node_id.split_once(';').context("an ID of Scope")?;
        let record = outcome(world, uid, control)?;
        said = record["status"]["message"].to_string();
    }
    ensure!(
        click.http == 400 && said.contains(words),
        "{control} on {node_id}: HTTP {}: {said}",
        click.http,
    );
    Ok(())
}

/// Waits until a field of an object is this.
fn await_field(
    world: &World,
    kind: &str,
    name: &str,
    pointer: &str,
    wanted: &Value,
) -> anyhow::Result<()> {
    await_some(&format!("{pointer} of {kind} {name}"), SOON, || {
        let object = get(&world.kubectl, kind, name)?;
        let found = object.pointer(pointer).unwrap_or(&Value::Null);
        Ok(if found == wanted {
            Ok(())
        } else {
            Err(found.to_string())
        })
    })
}

fn replicas(world: &mut World) -> anyhow::Result<()> {
    let web = get(&world.kubectl, "deployment", "web")?;
    // A double click: one replica more, not two.
    click(world, &node_id(&web)?, "scaleUp")?;
    done(world, &web, "scaleUp")?;
    await_field(
        world,
        "deployment",
        "web",
        "/status/readyReplicas",
        &json!(3),
    )?;
    let replicas = get(&world.kubectl, "deployment", "web")?["spec"]["replicas"].clone();
    ensure!(replicas == 3, "{replicas} replicas after a double click");
    done(world, &web, "scaleDown")?;
    await_field(world, "deployment", "web", "/spec/replicas", &json!(2))?;
    let db = get(&world.kubectl, "statefulset", "db")?;
    done(world, &db, "scaleUp")?;
    await_field(world, "statefulset", "db", "/spec/replicas", &json!(2))?;
    done(world, &db, "scaleDown")?;
    await_field(world, "statefulset", "db", "/spec/replicas", &json!(1))?;
    let by_load = get(&world.kubectl, "deployment", "by-load")?;
    refused(
        world,
        &node_id(&by_load)?,
        "scaleUp",
        "HorizontalPodAutoscaler load-of-it",
    )
}

fn pods(world: &mut World) -> anyhow::Result<()> {
    await_field(
        world,
        "deployment",
        "web",
        "/status/readyReplicas",
        &json!(2),
    )?;
    await_field(
        world,
        "poddisruptionbudget",
        "all-of-web",
        "/status/currentHealthy",
        &json!(2),
    )?;
    let pods = world
        .kubectl
        .json(&["get", "pods", "-n", NAMESPACE, "-l", "app=web"])?;
    let pod = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let mut pod = pod.context("a pod of web")?.clone();
    pod["kind"] = json!("Pod");
    ensure!(
        pod["spec"]["nodeName"] == "node2",
        "the pod is not on the other node"
    );
    refused(
        world,
        &node_id(&pod)?,
        "evictPod",
        "disruption budget all-of-web",
    )?;
    let name = pod["metadata"]["name"]
        .as_str()
        .context("a name")?
        .to_owned();
    let there = get(&world.kubectl, "pod", &name)?;
    ensure!(
        there["metadata"]["uid"] == pod["metadata"]["uid"],
        "the pod was evicted"
    );
    world.kubectl.ok(&[
        "delete",
        "poddisruptionbudget",
        "all-of-web",
        "-n",
        NAMESPACE,
    ])?;
    done(world, &pod, "evictPod")?;
    await_some("the end of the pod", SOON, || {
        let there = world.kubectl.exists(&["pod", &name, "-n", NAMESPACE])?;
        Ok(if there { Err(name.clone()) } else { Ok(()) })
    })
}

fn restarts(world: &mut World) -> anyhow::Result<()> {
    for kind in ["deployment", "statefulset", "daemonset"] {
        let name = match kind {
            "deployment" => "web",
            "statefulset" => "db",
            _ => "each",
        };
        let object = get(&world.kubectl, kind, name)?;
        let before = pods_of(world, name)?;
        done(world, &object, "restartRollout")?;
        await_some(&format!("other pods of {kind} {name}"), SOON, || {
            let now = pods_of(world, name)?;
            let all_new = !now.is_empty() && now.iter().all(|uid| !before.contains(uid));
            Ok(if all_new {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            })
        })?;
    }
    Ok(())
}

/// UIDs of a workload's running pods.
fn pods_of(world: &World, app: &str) -> anyhow::Result<Vec<String>> {
    let label = format!("app={app}");
    let pods = world
        .kubectl
        .json(&["get", "pods", "-n", NAMESPACE, "-l", &label])?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let running = pods.filter(|pod| {
        pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
    });
    Ok(running
        .filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned))
        .collect())
}

fn pause(world: &mut World) -> anyhow::Result<()> {
    let web = get(&world.kubectl, "deployment", "web")?;
    done(world, &web, "pauseRollout")?;
    await_field(world, "deployment", "web", "/spec/paused", &json!(true))?;
    refused(world, &node_id(&web)?, "restartRollout", "is paused")?;
    done(world, &web, "resumeRollout")?;
    await_field(world, "deployment", "web", "/spec/paused", &Value::Null)
}

fn cron_job(world: &mut World) -> anyhow::Result<()> {
    let nightly = get(&world.kubectl, "cronjob", "nightly")?;
    done(world, &nightly, "suspendCronJob")?;
    await_field(world, "cronjob", "nightly", "/spec/suspend", &json!(true))?;
    // One that is suspended can be triggered all the same, as with kubectl.
    done(world, &nightly, "triggerCronJob")?;
    let job = await_some("a Job that is complete", SOON, || {
        let jobs = world.kubectl.json(&["get", "jobs", "-n", NAMESPACE])?;
        let jobs = jobs["items"].as_array().cloned().unwrap_or_default();
        Ok(match jobs.as_slice() {
            [job] if job["status"]["succeeded"] == 1 => Ok(job.clone()),
            other => Err(format!("{} jobs", other.len())),
        })
    })?;
    // What kubectl makes of the same CronJob, by its own hand.
    let by_hand = world.kubectl.json(&[
        "create",
        "job",
        "by-hand",
        "--from=cronjob/nightly",
        "-n",
        NAMESPACE,
        "--dry-run=client",
    ])?;
    for pointer in ["/metadata/annotations", "/metadata/ownerReferences"] {
        ensure!(
            job.pointer(pointer) == by_hand.pointer(pointer),
            "{pointer}: {:?} and by kubectl {:?}",
            job.pointer(pointer),
            by_hand.pointer(pointer)
        );
    }
    ensure!(
        job["metadata"]["labels"]["tier"] == "batch",
        "labels: {}",
        job["metadata"]["labels"]
    );
    done(world, &nightly, "resumeCronJob")?;
    await_field(world, "cronjob", "nightly", "/spec/suspend", &json!(false))
}

fn cordon(world: &mut World) -> anyhow::Result<()> {
    for (control, wanted) in [("cordonNode", json!(true)), ("uncordonNode", Value::Null)] {
        let node = world.kubectl.json(&["get", "node", THROUGH])?;
        let uid = node["metadata"]["uid"].clone();
        let click = click(world, &format!("{THROUGH};<host>"), control)?;
        ensure!(
            click.http == 200 || click.body.contains("pending: "),
            "{control}: HTTP {}: {}",
            click.http,
            click.body
        );
        await_some(&format!("{control} of {THROUGH}"), SOON, || {
            let node = world.kubectl.json(&["get", "node", THROUGH])?;
            let is = &node["spec"]["unschedulable"];
            Ok(if *is == wanted && node["metadata"]["uid"] == uid {
                Ok(())
            } else {
                Err(is.to_string())
            })
        })?;
    }
    // A host is acted on through its own probe alone: another one's page does not carry the click here.
    refused(world, "node2;<host>", "cordonNode", "node2")
}

fn refusals(world: &mut World) -> anyhow::Result<()> {
    let gone = "00000000-0000-4000-8000-000000000000";
    refused(
        world,
        &format!("{gone};<deployment>"),
        "scaleUp",
        "no Deployment with the UID",
    )?;
    refused(
        world,
        &format!("{gone};<cronjob>"),
        "scaleUp",
        "is not a node that scaleUp works on",
    )?;
    let agents = world.kubectl.json(&[
        "get",
        "daemonset",
        "scope-plugin-cluster-actions",
        "-n",
        PLUGINS,
    ])?;
    let before = agents["metadata"]["generation"].clone();
    refused(
        world,
        &node_id(&agents)?,
        "restartRollout",
        "belongs to the Scope plugins",
    )?;
    let agents = world.kubectl.json(&[
        "get",
        "daemonset",
        "scope-plugin-cluster-actions",
        "-n",
        PLUGINS,
    ])?;
    ensure!(
        agents["metadata"]["generation"] == before,
        "the agents' DaemonSet was changed"
    );
    Ok(())
}
