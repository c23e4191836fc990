//! Whether Scope asks the agents: what the agents tell scope-totals, and the operator in the plugin's status.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::product::condition;
use crate::progress::await_some;
use crate::world::World;

const PLUGIN: &str = "node-metrics";
const CONNECTED: &str = "ScopeConnected";
/// As a probe asks.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A verdict that took another one's place lately stands for two minutes, as figures beside it do. The one after it is heard within that time
/// or, where a node has to be silent for a minute first, about then; twice, since it is disputed. And some more.
const SAID_WITHIN: Duration = Duration::from_secs(200);
/// An agent that began lately is not known for a minute, before which all that may happen.
const KNOWN_WITHIN: Duration = Duration::from_secs(270);

/// Has a probe ask on each of these nodes, a second apart, until the plugin says what is wanted of it.
fn asking(
    world: &mut World,
    nodes: &[String],
    what: &str,
    limit: Duration,
    mut wanted: impl FnMut(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut next = Instant::now();
    await_some(what, limit, || {
        if Instant::now() < next {
            return Ok(Err("a moment".to_owned()));
        }
        next = Instant::now() + ASK_EVERY;
        for node in nodes {
            world.hear(node)?;
        }
        let plugin = world.kubectl.json(&["get", "scopeplugin", PLUGIN])?;
        Ok(match wanted(&plugin) {
            true => Ok(plugin),
            false => {
                let (said, scope) = (condition(&plugin, CONNECTED), &plugin["status"]["scope"]);
                Err(format!("{scope} {said:?}"))
            }
        })
    })
}

/// Whether it says so, with these numbers of nodes that are asked and silent.
fn says(plugin: &Value, status: &str, reason: &str, asked: usize, silent: usize) -> bool {
    let scope = &plugin["status"]["scope"];
    condition(plugin, CONNECTED).is_some_and(|it| it["status"] == status && it["reason"] == reason)
        && scope["nodesAsked"] == asked
        && scope["nodesSilent"] == silent
}

/// Has a probe ask on all nodes until the plugin says that it does.
fn everywhere(world: &mut World, limit: Duration) -> anyhow::Result<()> {
    let nodes = world.nodes();
    let all = nodes.len();
    asking(
        world,
        &nodes,
        "every node's agent to be asked, as the plugin says",
        limit,
        |plugin| says(plugin, "True", "AllNodesAsked", all, 0),
    )
    .map(drop)
}

/// The same, so that nothing more is to be said of it while the probes go on: nodes are alike, so what one of them
/// lacks all do, and no change is held back any more.
pub(super) fn is_settled(world: &mut World) -> anyhow::Result<()> {
    let nodes = world.nodes();
    let all = nodes.len();
    let what = "every node's agent to be asked, and all to be said of it";
    let settled = |plugin: &Value| {
        let off = plugin["status"]["collectorsOff"].as_array();
        says(plugin, "True", "AllNodesAsked", all, 0)
            && off.is_none_or(|off| off.iter().all(|one| one["nodes"] == all))
    };
    asking(world, &nodes, what, KNOWN_WITHIN, settled).map(drop)
}

/// A probe asks on all nodes, then one node's probe stops and begins anew: the plugin says each, names the node and
/// what to do, and stays ready all the while.
pub(super) fn silence_is_named(world: &mut World) -> anyhow::Result<()> {
    everywhere(world, KNOWN_WITHIN)?;
    let mut nodes = world.nodes();
    let all = nodes.len();
    let silent = nodes.pop().context("a node")?;
    let before = told(&world.kubectl, "NodesSilent")?;
    let began = Instant::now();
    let plugin = asking(
        world,
        &nodes,
        "the silent node to be named",
        SAID_WITHIN,
        |plugin| says(plugin, "False", "NodesSilent", all - 1, 1),
    )?;
    let took = began.elapsed();
    let message = condition(&plugin, CONNECTED)
        .and_then(|it| it["message"].as_str())
        .context("a message")?;
    let begin = format!("on 1 of {all} nodes for a minute: {silent}. ");
    for part in [begin.as_str(), "restart the pods of Scope's agent", "mount"] {
        ensure!(message.contains(part), "{part:?} is not in {message:?}");
    }
    eprintln!(
        "    {silent} is silent: said after {:.1} s",
        took.as_secs_f64()
    );
    ensure!(
        condition(&plugin, "Ready").is_some_and(|ready| ready["status"] == "True"),
        "silence is no fault of the agents: {}",
        plugin["status"]
    );
    told_anew(&world.kubectl, "NodesSilent", &before)?;
    let before = told(&world.kubectl, "AllNodesAsked")?;
    let began = Instant::now();
    everywhere(world, SAID_WITHIN)?;
    eprintln!(
        "    it is asked again: said after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    told_anew(&world.kubectl, "AllNodesAsked", &before)
}

/// The Events about the plugin with this reason: how often each was told. One that is told again within some minutes
/// is a series of the first.
fn told(kubectl: &Kubectl, reason: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let selector = format!("reason={reason}");
    let events = kubectl.json(&[
        "get",
        "events",
        "-n",
        "default",
        "--field-selector",
        &selector,
    ])?;
    let events = events["items"].as_array().context("a list")?;
    let about = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == PLUGIN);
    about
        .map(|event| {
            let name = event["metadata"]["name"].as_str().context("a name")?;
            Ok((
                name.to_owned(),
                event["series"]["count"].as_u64().unwrap_or(1),
            ))
        })
        .collect()
}

/// Waits until it is told once more, which comes after the status.
fn told_anew(
    kubectl: &Kubectl,
    reason: &str,
    before: &BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let what = format!("one more Event {reason}");
    await_some(&what, Duration::from_secs(10), || {
        let now = told(kubectl, reason)?;
        let anew = now
            .iter()
            .any(|(name, count)| before.get(name).is_none_or(|before| count > before));
        Ok(match anew {
            true => Ok(()),
            false => Err(format!("{now:?}")),
        })
    })
}
