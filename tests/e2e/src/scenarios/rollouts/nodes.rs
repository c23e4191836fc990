//! Nodes that go and come back while a rollout is on its way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};

use super::{LIMIT, agents, first_replaced, patch, plugin, replaced_once, settled};
use crate::kubectl::Kubectl;
use crate::product::{SYSTEM, condition};
use crate::progress::await_some;
use crate::world::World;

/// The canary is watched for so long that what happens to other nodes meanwhile is over when it ends.
const SLOW: &str = r#"{"spec":{"label":"LABEL","rollout":{"canary":{"soak":"20s"}}}}"#;
const USUAL: &str = r#"{"spec":{"rollout":{"canary":{"soak":"2s"}}}}"#;

fn slow(label: &str) -> String {
    SLOW.replace("LABEL", label)
}

/// Waits until the cluster takes a node for ready, or for lost.
fn await_node(kubectl: &Kubectl, node: &str, ready: bool) -> anyhow::Result<()> {
    await_some(&format!("{node} ready: {ready}"), LIMIT, || {
        let object = kubectl.json(&["get", "node", node])?;
        let is = condition(&object, "Ready").is_some_and(|c| c["status"] == "True");
        Ok(match is == ready {
            true => Ok(()),
            false => Err(object["status"]["conditions"].to_string()),
        })
    })
}

/// Waits until the canary is updated and watched, and names it.
fn soaking(
    kubectl: &Kubectl,
    before: &BTreeMap<String, (String, String)>,
) -> anyhow::Result<String> {
    let canary = first_replaced(kubectl, before)?;
    await_some("a canary that is watched", LIMIT, || {
        let object = plugin(kubectl)?;
        Ok(match object["status"]["rollout"]["phase"] == "Soaking" {
            true => Ok(()),
            false => Err(object["status"]["rollout"].to_string()),
        })
    })?;
    Ok(canary)
}

/// Where a replica of the operator is ready.
fn operator_nodes(kubectl: &Kubectl) -> anyhow::Result<BTreeSet<String>> {
    let selector = "app.kubernetes.io/name=scope-operator";
    let list = kubectl.json(&["get", "pods", "-n", SYSTEM, "-l", selector])?;
    let pods = list["items"].as_array().into_iter().flatten();
    Ok(pods
        .filter(|pod| condition(pod, "Ready").is_some_and(|c| c["status"] == "True"))
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .map(str::to_owned)
        .collect())
}

/// One node is lost before the rollout and another one during it: it completes on the rest and says whom
/// it waits for, and goes on when they are back. A replica of the operator is left on the others, as nobody
/// rolls out when all are lost.
pub(in crate::scenarios) fn lost_and_found(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let mark = world.audit_mark()?;
    let before = agents(&kubectl)?;
    let names = world.nodes();
    let operators = operator_nodes(&kubectl)?;
    let can_go = |lost: &[&String]| operators.iter().any(|node| !lost.contains(&node));
    let first = names
        .iter()
        .rfind(|name| can_go(&[name]))
        .context("a node whose loss leaves an operator")?
        .clone();
    world.node(&first)?.crash()?;
    await_node(&kubectl, &first, false)?;
    patch(&kubectl, &slow("Lost and found"))?;
    let canary = soaking(&kubectl, &before)?;
    ensure!(canary != first, "{first} was lost before: {canary}");
    let second = names
        .iter()
        .find(|name| **name != first && **name != canary && can_go(&[&first, name]))
        .context("a node that is neither lost nor the canary, and whose loss leaves an operator")?;
    world.node(second)?.crash()?;
    await_node(&kubectl, second, false)?;

    let object = await_some("an end on the nodes that are there", LIMIT, || {
        let object = plugin(&kubectl)?;
        let status = &object["status"];
        let done = status["rollout"]["phase"] == "Idle" && status["nodes"]["updated"] == 2;
        Ok(if done {
            Ok(object)
        } else {
            Err(status.to_string())
        })
    })?;
    let ready = condition(&object, "Ready").context("Ready")?;
    let message = ready["message"].as_str().unwrap_or_default();
    eprintln!("    {}: {message}", ready["reason"]);
    ensure!(
        [&first, second].iter().all(|node| message.contains(*node)) && message.contains("NotReady"),
        "Ready does not say whom it waits for: {ready}"
    );
    let now = agents(&kubectl)?;
    for node in [&first, second] {
        ensure!(
            now.get(node) == before.get(node),
            "{node}: {now:?}, was {before:?}"
        );
    }

    for node in [&first, second] {
        world.node(node)?.start()?;
    }
    settled(&kubectl, "True", "AllNodesReady")?;
    replaced_once(world, &before, &world.audit_since(mark)?)?;
    patch(&kubectl, USUAL)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// A node that dies right after its update is a failure like any other: the rollout halts, names it and
/// touches no other. What is mended reaches all.
pub(in crate::scenarios) fn dies_after_its_update(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let before = agents(&kubectl)?;
    patch(&kubectl, &slow("Deadly"))?;
    let canary = soaking(&kubectl, &before)?;
    world.node(&canary)?.crash()?;
    let object = settled(&kubectl, "False", "RolloutHalted")?;
    let failing = &object["status"]["failingNodes"];
    ensure!(
        failing.as_array().map(Vec::len) == Some(1)
            && failing[0]["node"] == canary.as_str()
            && failing[0]["reason"] == "NodeNotReady",
        "{failing}"
    );
    eprintln!("    {}", object["status"]["rollout"]["message"]);
    let now = agents(&kubectl)?;
    for (node, pod) in &before {
        ensure!(
            *node == canary || now.get(node) == Some(pod),
            "{node} was touched too: {now:?}, was {before:?}"
        );
    }
    world.node(&canary)?.start()?;
    await_node(&kubectl, &canary, true)?;
    patch(&kubectl, USUAL)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// A node that reboots in the middle of a rollout, before its turn: nobody has to do anything.
pub(in crate::scenarios) fn reboots(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let mark = world.audit_mark()?;
    let before = agents(&kubectl)?;
    patch(&kubectl, &slow("Reboots"))?;
    let canary = soaking(&kubectl, &before)?;
    let operators = operator_nodes(&kubectl)?;
    let other = before
        .keys()
        .find(|node| **node != canary && operators.iter().any(|left| left != *node))
        .context("another node whose loss leaves an operator")?;
    world.node(other)?.crash()?;
    await_node(&kubectl, other, false)?;
    world.node(other)?.start()?;
    settled(&kubectl, "True", "AllNodesReady")?;
    replaced_once(world, &before, &world.audit_since(mark)?)?;
    patch(&kubectl, USUAL)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}
