//! Containers restarted, frozen and thawed by a click, as the kernel and Kubernetes see it.

mod freezes;
mod refusals;
mod restarts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::product::{PLUGINS, agent_pods, await_ready};
use crate::progress::await_some;
use crate::truth;
use crate::world::{Clicked, World};

use freezes::{frozen_and_thawed, thaws_whatever_happens};
use refusals::refusals;
use restarts::restarted;

const PLUGIN: &str = "node-metrics";
pub(super) const NODE: &str = "node1";
const NAMESPACE: &str = "touched";
const PROBE_LIMIT: Duration = Duration::from_millis(500);
pub(super) const SOON: Duration = Duration::from_secs(60);

/// One that heeds SIGTERM, one that does not, two that have to answer, and one that is protected.
const PODS: &str = include_str!("pods.yaml");

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
