//! Containers restarted, frozen and thawed by a click, as the kernel and Kubernetes see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::product::{PLUGINS, agent_pods, await_ready};
use crate::progress::await_some;
use crate::truth;
use crate::world::{Clicked, World};

const PLUGIN: &str = "node-metrics";
pub(super) const NODE: &str = "node1";
const NAMESPACE: &str = "touched";
const PROBE_LIMIT: Duration = Duration::from_millis(500);
pub(super) const SOON: Duration = Duration::from_secs(60);

/// One that heeds SIGTERM, one that does not, two that have to answer, and one that is protected.
const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: touched}
---
apiVersion: v1
kind: Pod
metadata: {name: quick, namespace: touched}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 20
  containers:
    - name: quick
      image: harness.local/box:1
      command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: deaf, namespace: touched}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 2
  containers:
    - name: deaf
      image: harness.local/box:1
      command: [sleep, "1000000"]
      securityContext: {runAsUser: 4242}
---
apiVersion: v1
kind: Pod
metadata: {name: probed, namespace: touched}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: probed
      image: harness.local/box:1
      command: [sleep, "1000000"]
      livenessProbe: {exec: {command: ["true"]}, periodSeconds: 3600}
---
apiVersion: v1
kind: Pod
metadata: {name: starting, namespace: touched}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: starting
      image: harness.local/box:1
      command: [sleep, "1000000"]
      startupProbe: {exec: {command: ["false"]}, periodSeconds: 10, failureThreshold: 1000}
---
apiVersion: v1
kind: Pod
metadata: {name: touched-guarded, namespace: kube-system}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: guarded
      image: harness.local/box:1
      command: [sleep, "1000000"]
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere, namespace: touched}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 0
  containers:
    - name: elsewhere
      image: harness.local/box:1
      command: [sleep, "1000000"]
"#;

pub(super) const STATIC_POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: rooted, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: rooted
      image: harness.local/box:1
      command: [sleep, "1000000"]
"#;

/// A running container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) namespace: String,
    pub(super) pod: String,
    pod_uid: String,
    pub(super) id: String,
}

impl Container {
    pub(super) fn node_id(&self) -> String {
        format!("{};<container>", self.id)
    }
}

/// The only container of this pod, once it runs.
pub(super) fn container(world: &World, namespace: &str, pod: &str) -> anyhow::Result<Container> {
    await_some(&format!("{namespace}/{pod} running"), SOON, || {
        let found = truth::pod_named(&world.kubectl, namespace, pod)?;
        let running = found
            .as_ref()
            .and_then(|p| Some((p, p.containers.keys().next()?)));
        Ok(match running {
            Some((found, id)) => Ok(Container {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                pod_uid: found.uid.clone(),
                id: id.clone(),
            }),
            None => Err(format!("{found:?}")),
        })
    })
}

/// The container's directory in the hierarchy that freezes on this machine.
fn freezer_directory(id: &str) -> anyhow::Result<PathBuf> {
    let v1 = Path::new("/sys/fs/cgroup/freezer");
    let root = if v1.is_dir() {
        v1
    } else {
        Path::new("/sys/fs/cgroup")
    };
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().contains(id) {
                return Ok(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    anyhow::bail!("no cgroup of container {id} below {}", root.display())
}

/// Whether the kernel says that the container is frozen.
fn is_frozen(id: &str) -> anyhow::Result<bool> {
    let directory = freezer_directory(id)?;
    if let Ok(state) = std::fs::read_to_string(directory.join("freezer.state")) {
        return Ok(state.trim() == "FROZEN");
    }
    let events = std::fs::read_to_string(directory.join("cgroup.events"))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

fn await_frozen(what: &str, id: &str, frozen: bool) -> anyhow::Result<()> {
    await_some(what, SOON, || {
        let is = is_frozen(id)?;
        Ok(if is == frozen {
            Ok(())
        } else {
            Err(format!("frozen: {is}"))
        })
    })
}

/// A click, answered in the probe's time.
fn click(
    world: &mut World,
    node_id: &str,
    control: &str,
    args: &[(&str, &str)],
) -> anyhow::Result<Clicked> {
    click_of(PLUGIN, world, node_id, control, args)
}

/// The same on a control of this plugin.
pub(super) fn click_of(
    plugin: &str,
    world: &mut World,
    node_id: &str,
    control: &str,
    args: &[(&str, &str)],
) -> anyhow::Result<Clicked> {
    let args: BTreeMap<String, String> = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    world.hear(NODE)?;
    let control = format!("{plugin}-controls~{control}");
    let clicked = world.click_with(NODE, node_id, &control, &args)?;
    ensure!(
        clicked.took < PROBE_LIMIT,
        "{control} took {:?}",
        clicked.took
    );
    Ok(clicked)
}

pub(super) fn done(clicked: &Clicked) -> anyhow::Result<()> {
    ensure!(
        clicked.http == 200,
        "HTTP {}: {}",
        clicked.http,
        clicked.body
    );
    Ok(())
}

pub(super) fn refused(clicked: &Clicked, words: &str) -> anyhow::Result<()> {
    ensure!(clicked.http == 400, "not refused: {}", clicked.body);
    ensure!(
        clicked.body.contains(words),
        "{:?} lacks {words:?}",
        clicked.body
    );
    Ok(())
}

/// An Event of ours on the pod with these words, and the ScopeAction that it comes from.
pub(super) fn await_record(
    world: &World,
    of: &Container,
    control: &str,
    words: &str,
) -> anyhow::Result<()> {
    await_some(
        &format!("an Event with {words:?} on {}", of.pod),
        SOON,
        || {
            let events = world
                .kubectl
                .json(&["get", "events", "-n", &of.namespace])?;
            let texts: Vec<&str> = events["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|e| e["involvedObject"]["uid"] == of.pod_uid.as_str())
                .filter_map(|e| e["message"].as_str())
                .collect();
            let found = texts.iter().any(|text| text.contains(words));
            Ok(if found {
                Ok(())
            } else {
                Err(format!("{texts:?}"))
            })
        },
    )?;
    let actions = world
        .kubectl
        .json(&["get", "scopeactions", "-n", PLUGINS])?;
    let recorded = actions["items"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|action| {
            action["spec"]["control"] == control
                && action["spec"]["target"]["container"]["id"] == of.id.as_str()
                && action["status"]["phase"] == action["spec"]["done"]["phase"]
                && action["spec"]["done"]["message"]
                    .as_str()
                    .is_some_and(|m| m.contains(words))
        });
    ensure!(recorded, "no ScopeAction of {control} with {words:?}");
    Ok(())
}

/// What the agent of the node says of the container.
pub(super) fn await_latest(
    world: &mut World,
    of: &Container,
    key: &str,
    fits: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let heard = world.hear(NODE)?;
        let node = heard.node("Container", &of.node_id());
        let value = node
            .as_ref()
            .and_then(|node| node.latest(key))
            .map(str::to_owned);
        if value.as_deref().is_some_and(&fits) {
            return Ok(());
        }
        ensure!(
            began.elapsed() < SOON,
            "{key} of {} stays {value:?}",
            of.pod
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Does something while the agents offer everything there is.
pub(super) fn with_all_controls(
    world: &mut World,
    run: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    offer(
        world,
        r#""DeletePod","RestartContainer","FreezeContainer","ThawContainer""#,
    )?;
    let result = run(world);
    offer(world, r#""DeletePod""#)?;
    result
}

fn offer(world: &World, controls: &str) -> anyhow::Result<()> {
    let patch = format!(r#"{{"spec":{{"agent":{{"controls":[{controls}]}}}}}}"#);
    world
        .kubectl
        .ok(&["patch", "scopeplugin", PLUGIN, "--type=merge", "-p", &patch])?;
    await_ready(&world.kubectl, PLUGIN, SOON)
}

/// All of it, on one node, with the controls switched on for as long as it takes.
pub(super) fn containers(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(PODS)?;
    world.static_pod(NODE, "rooted", Some(STATIC_POD))?;
    let result = with_all_controls(world, |world| {
        frozen_and_thawed(world).context("freezing")?;
        thaws_whatever_happens(world).context("thawing")?;
        restarted(world).context("restarting")?;
        refusals(world).context("refusing")
    });
    world.static_pod(NODE, "rooted", None)?;
    world.kubectl.ok(&[
        "delete",
        "pod",
        "touched-guarded",
        "-n",
        "kube-system",
        "--wait=false",
    ])?;
    world
        .kubectl
        .ok(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    result
}

fn frozen_and_thawed(world: &mut World) -> anyhow::Result<()> {
    let quick = container(world, NAMESPACE, "quick")?;
    await_latest(world, &quick, "active_controls", |controls| {
        controls.contains("~freezeContainer")
            && controls.contains("~restartContainer")
            && !controls.contains("~thawContainer")
    })?;
    done(&click(world, &quick.node_id(), "freezeContainer", &[])?)?;
    ensure!(is_frozen(&quick.id)?, "the kernel has not frozen it");
    await_record(world, &quick, "FreezeContainer", "is frozen for 10 min")?;
    await_latest(world, &quick, "docker_container_state", |state| {
        state == "paused"
    })?;
    await_latest(world, &quick, "active_controls", |controls| {
        controls.contains("~thawContainer") && !controls.contains("~freezeContainer")
    })?;
    let again = click(
        world,
        &quick.node_id(),
        "freezeContainer",
        &[("duration", "9s")],
    )?;
    refused(&again, "is frozen already")?;
    refused(
        &click(world, &quick.node_id(), "restartContainer", &[])?,
        "thaw it first",
    )?;
    done(&click(world, &quick.node_id(), "thawContainer", &[])?)?;
    ensure!(!is_frozen(&quick.id)?, "the kernel has not thawed it");
    await_record(world, &quick, "ThawContainer", "is thawed")?;
    await_latest(world, &quick, "docker_container_state", |state| {
        state == "running"
    })?;
    refused(
        &click(world, &quick.node_id(), "thawContainer", &[("x", "y")])?,
        "has no argument",
    )
}

fn thaws_whatever_happens(world: &mut World) -> anyhow::Result<()> {
    let deaf = container(world, NAMESPACE, "deaf")?;
    // By itself.
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "3s")],
    )?)?;
    ensure!(is_frozen(&deaf.id)?, "not frozen");
    await_frozen("the end of its three seconds", &deaf.id, false)?;
    await_record(world, &deaf, "ThawContainer", "its time was over")?;

    // By the agent that comes after one that was killed, and not before the time is over.
    let began = Instant::now();
    let long = Duration::from_secs(30);
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "30s")],
    )?)?;
    world.kill(world.agent_pid(NODE)?)?;
    await_frozen("the next agent to thaw it", &deaf.id, false)?;
    ensure!(
        began.elapsed() + Duration::from_secs(1) > long,
        "thawed after {:?}, before its time was over",
        began.elapsed()
    );
    await_ready(&world.kubectl, PLUGIN, SOON)?;

    // By an agent that ends regularly.
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "1h")],
    )?)?;
    ensure!(is_frozen(&deaf.id)?, "not frozen");
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    world.kubectl.ok(&["delete", "pod", agent, "-n", PLUGINS])?;
    ensure!(!is_frozen(&deaf.id)?, "the agent ended and left it frozen");
    await_record(
        world,
        &deaf,
        "ThawContainer",
        "the agent that froze it ends",
    )?;
    await_ready(&world.kubectl, PLUGIN, SOON)
}

/// The container's ID and restarts, once they changed.
fn await_restart(world: &World, old: &Container) -> anyhow::Result<()> {
    await_some(&format!("another container in {}", old.pod), SOON, || {
        let pod = world
            .kubectl
            .json(&["get", "pod", &old.pod, "-n", &old.namespace])?;
        let status = &pod["status"]["containerStatuses"][0];
        let other = status["containerID"]
            .as_str()
            .is_some_and(|id| !id.contains(&old.id));
        let restarted =
            other && status["restartCount"] == 1 && status["state"]["running"].is_object();
        Ok(if restarted {
            Ok(())
        } else {
            Err(status.to_string())
        })
    })
}

fn restarted(world: &mut World) -> anyhow::Result<()> {
    let quick = container(world, NAMESPACE, "quick")?;
    let heeds = click(world, &quick.node_id(), "restartContainer", &[])?;
    // Done, or not yet when the answer had to leave.
    ensure!(
        heeds.http == 200 || heeds.body.contains("accepted: "),
        "{}",
        heeds.body
    );
    await_restart(world, &quick)?;
    await_record(world, &quick, "RestartContainer", "after SIGTERM")?;

    // Of another user than the agent's; the first process of a namespace has no default action.
    let deaf = container(world, NAMESPACE, "deaf")?;
    let began = Instant::now();
    refused(
        &click(world, &deaf.node_id(), "restartContainer", &[])?,
        "accepted: ",
    )?;
    await_restart(world, &deaf)?;
    ensure!(
        began.elapsed() >= Duration::from_secs(2),
        "killed after {:?}, before its grace period",
        began.elapsed()
    );
    await_record(world, &deaf, "RestartContainer", "got SIGKILL")
}

fn refusals(world: &mut World) -> anyhow::Result<()> {
    let probed = container(world, NAMESPACE, "probed")?;
    let guarded = container(world, "kube-system", "touched-guarded")?;
    let rooted = container(world, "default", &format!("rooted-{NODE}"))?;
    let elsewhere = container(world, NAMESPACE, "elsewhere")?;
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    let own = container(world, PLUGINS, agent)?;
    let old = format!("{};<container>", "0".repeat(64));
    let pod = format!("{};<pod>", probed.pod_uid);
    for (node_id, words) in [
        (guarded.node_id(), "kube-system is protected"),
        (own.node_id(), "belong"),
        (rooted.node_id(), "static pod"),
        (elsewhere.node_id(), "runs on this node"),
        (old, "runs on this node"),
        (pod, "nodes of kind Container"),
        ("nonsense".to_owned(), "nonsense"),
    ] {
        for control in ["freezeContainer", "thawContainer", "restartContainer"] {
            refused(&click(world, &node_id, control, &[])?, words)
                .with_context(|| format!("{control} on {node_id}"))?;
        }
    }
    let node_id = probed.node_id();
    for (args, words) in [
        (&[][..], "liveness probe"),
        (&[("duration", "2h")], "the argument duration"),
        (&[("force", "maybe")], "the argument force"),
    ] {
        refused(&click(world, &node_id, "freezeContainer", args)?, words)?;
    }
    let starting = container(world, NAMESPACE, "starting")?;
    let unasked = click(world, &starting.node_id(), "freezeContainer", &[])?;
    refused(&unasked, "startup probe has not succeeded yet")?;
    for untouched in [&probed, &starting, &guarded, &own, &rooted, &elsewhere] {
        ensure!(!is_frozen(&untouched.id)?, "{} is frozen", untouched.pod);
        let now = container(world, &untouched.namespace, &untouched.pod)?;
        ensure!(now.id == untouched.id, "{} was restarted", untouched.pod);
    }
    let forced = [("force", "true"), ("duration", "5s")];
    done(&click(world, &node_id, "freezeContainer", &forced)?)?;
    done(&click(world, &node_id, "thawContainer", &[])?)?;

    // Nobody may say that something is done which the operator would have to do.
    world.refused_on_purpose(forged_records)
}

fn forged_records(world: &mut World) -> anyhow::Result<()> {
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (_, node, uid) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    let thief = world.kubectl_with_token(&world.token_of(node, uid)?)?;
    let record = |control: &str, node: &str, done: bool| -> Value {
        let mut record = serde_json::json!({
            "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
            "metadata": {"generateName": "forged-", "namespace": PLUGINS},
            "spec": {
                "plugin": PLUGIN, "control": control, "node": node,
                "target": {"kind": "Pod", "uid": "00000000-0000-4000-8000-000000000001"},
                "notAfter": "2020-01-01T00:00:00Z",
            },
        });
        if done {
            record["spec"]["target"]["container"] = serde_json::json!({
                "id": "0".repeat(64), "name": "x", "namespace": "default", "pod": "x",
            });
            record["spec"]["done"] = serde_json::json!({
                "phase": "Succeeded", "message": "forged", "at": "2020-01-01T00:00:00Z",
            });
        }
        record
    };
    for (control, node, done, accepted) in [
        ("FreezeContainer", NODE, true, true),
        ("FreezeContainer", "node2", true, false),
        ("FreezeContainer", NODE, false, false),
        ("DeletePod", NODE, true, false),
    ] {
        let manifest = record(control, node, done).to_string();
        let output = thief.pipe(&["create", "--validate=false", "-f", "-"], &manifest)?;
        ensure!(
            output.status.success() == accepted,
            "{control} of {node}, done {done}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
