//! Whether Scope asks the agents: what the agents tell scope-totals, and the operator in the plugin's status.

use std::time::{Duration, Instant};

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
/// An agent that began lately is not known for a minute, and the operator asks every half minute.
const KNOWN_WITHIN: Duration = Duration::from_secs(150);
/// A minute without a question, half a minute until the operator hears of it, and some more.
const SILENT_WITHIN: Duration = Duration::from_secs(120);
/// Half a minute until the operator hears of it, and some more.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Has a probe ask on each of these nodes, a second apart, until the plugin says what is wanted of it.
fn asking(
    world: &mut World,
    nodes: &[String],
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
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

/// The same, so that nothing more is to be said of it while the probes go on.
pub(super) fn is_known(world: &mut World) -> anyhow::Result<()> {
    everywhere(world, KNOWN_WITHIN)
}

/// A probe asks on all nodes, then one node's probe stops and begins anew: the plugin says each, names the node and
/// what to do, and stays ready all the while.
pub(super) fn silence_is_named(world: &mut World) -> anyhow::Result<()> {
    is_known(world)?;
    let mut nodes = world.nodes();
    let all = nodes.len();
    let silent = nodes.pop().context("a node")?;
    let began = Instant::now();
    let plugin = asking(
        world,
        &nodes,
        "the silent node to be named",
        SILENT_WITHIN,
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
    told_of(&world.kubectl, "NodesSilent")?;
    let began = Instant::now();
    everywhere(world, ASKED_AGAIN_WITHIN)?;
    eprintln!(
        "    it is asked again: said after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    told_of(&world.kubectl, "AllNodesAsked")
}

/// Waits for the Event about the plugin, which comes after the status.
fn told_of(kubectl: &Kubectl, reason: &str) -> anyhow::Result<()> {
    let what = format!("an Event {reason}");
    await_some(&what, Duration::from_secs(10), || {
        let of_reason = format!("reason={reason}");
        let events = kubectl.json(&[
            "get",
            "events",
            "-n",
            "default",
            "--field-selector",
            &of_reason,
        ])?;
        let about = |event: &Value| event["involvedObject"]["name"] == PLUGIN;
        let events = events["items"].as_array().context("a list")?;
        Ok(match events.iter().any(about) {
            true => Ok(()),
            false => Err(format!("{} others", events.len())),
        })
    })
}
