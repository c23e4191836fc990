//! Revisions: a bad one reaches one node and no other, what it broke is mended, and what is asked for holds.

use anyhow::{Context, bail, ensure};

use super::{BROKEN, LIMIT, MENDED, PLUGIN, agents, patch, plugin, revision_on, settled};
use crate::product::{PLUGINS, condition};
use crate::progress::await_some;
use crate::world::World;

/// A broken revision reaches the canary alone: first an image that is nowhere, which an upgrade brings, then a
/// spec. Node and reason are in the status; a pod that is deleted by hand elsewhere comes back as it was; the
/// second takes no further node; a corrected spec reaches all.
pub(in crate::scenarios) fn halts_at_the_canary(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let before = agents(&kubectl)?;
    let good = plugin(&kubectl)?["status"]["lastGoodRevision"].clone();
    ensure!(good.is_string(), "no revision is called good");
    for by_image in [true, false] {
        if by_image {
            world
                .product
                .upgrade(&kubectl, &["--set", "agent.image.tag=nowhere"])?;
        } else {
            world
                .product
                .upgrade(&kubectl, &["--set", "agent.image.tag="])?;
            patch(&kubectl, BROKEN)?;
        }
        let object = settled(&kubectl, "False", "RolloutHalted")?;
        let status = &object["status"];
        ensure!(
            condition(&object, "Stalled").is_some(),
            "not Stalled: {status}"
        );
        ensure!(status["rollout"]["phase"] == "Halted", "{status}");
        ensure!(status["lastGoodRevision"] == good, "{status}");
        let failing = &status["failingNodes"];
        ensure!(failing.as_array().is_some_and(|f| f.len() == 1), "{status}");
        let node = failing[0]["node"].as_str().unwrap_or_default().to_owned();
        ensure!(
            failing[0]["reason"].as_str().is_some_and(|r| !r.is_empty())
                && failing[0]["message"]
                    .as_str()
                    .is_some_and(|m| !m.is_empty()),
            "{status}"
        );
        eprintln!(
            "    {node}: {}: {}",
            failing[0]["reason"], failing[0]["message"]
        );
        let now = agents(&kubectl)?;
        for (name, pod) in &before {
            ensure!(
                *name == node || now.get(name) == Some(pod),
                "{name} was touched too: {now:?}, was {before:?}"
            );
        }
    }
    // One of those that were left alone.
    let object = plugin(&kubectl)?;
    let failing = object["status"]["failingNodes"][0]["node"]
        .as_str()
        .unwrap_or_default();
    let Some((node, (name, uid))) = before.iter().find(|(node, _)| *node != failing) else {
        bail!("there is no other node");
    };
    kubectl.ok(&["delete", "pod", name, "-n", PLUGINS])?;
    await_some("the pod that was deleted by hand", LIMIT, || {
        let pods = agents(&kubectl)?;
        let fresh = pods.get(node).is_some_and(|(_, now)| now != uid);
        if !fresh {
            return Ok(Err(format!("{pods:?}")));
        }
        let Some((revision, ready)) = revision_on(&kubectl, node)? else {
            return Ok(Err("gone again".into()));
        };
        ensure!(good == *revision, "it came back as {revision}, want {good}");
        Ok(if ready {
            Ok(())
        } else {
            Err("not ready".into())
        })
    })?;
    patch(&kubectl, MENDED)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// With `onFailure: Rollback` the canary gets the good revision back without a hand.
pub(in crate::scenarios) fn rolls_back(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    patch(&kubectl, r#"{"spec":{"rollout":{"onFailure":"Rollback"}}}"#)?;
    settled(&kubectl, "True", "AllNodesReady")?;
    let good = plugin(&kubectl)?["status"]["lastGoodRevision"].clone();
    patch(&kubectl, BROKEN)?;
    await_some("all nodes back at the good revision", LIMIT, || {
        let object = settled(&kubectl, "False", "RolledBack")?;
        let mut back = true;
        for node in world.nodes() {
            let here = revision_on(&kubectl, &node)?;
            back &= here.is_some_and(|(revision, ready)| ready && good == *revision);
        }
        let told = object["status"]["rollout"]["message"]
            .as_str()
            .unwrap_or_default();
        let back = back && told.starts_with("Back at the last good revision");
        Ok(if back {
            Ok(())
        } else {
            Err(object["status"].to_string())
        })
    })?;
    patch(&kubectl, MENDED)?;
    patch(&kubectl, r#"{"spec":{"rollout":{"onFailure":null}}}"#)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// An agent that runs and is not ready, since somebody took its rights away: the status says why in its own
/// words, which the kubelet does not pass on.
pub(in crate::scenarios) fn agent_says_why(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    patch(&kubectl, r#"{"spec":{"rollout":{"deadline":"10s"}}}"#)?;
    settled(&kubectl, "True", "AllNodesReady")?;
    let node = world.nodes().into_iter().next().context("a node")?;
    let failing = world.refused_on_purpose(|world| {
        kubectl.ok(&["delete", "clusterrolebinding", "scope-agent"])?;
        let before = agents(&kubectl)?;
        let (pod, _) = before.get(&node).context("its agent")?;
        kubectl.ok(&["delete", "pod", pod, "-n", PLUGINS])?;
        let failing = await_some("the agent's own words", LIMIT, || {
            let object = plugin(&kubectl)?;
            let failing = object["status"]["failingNodes"][0].clone();
            let message = failing["message"].as_str().unwrap_or_default();
            let said = failing["reason"] == "ReadinessRefused"
                && message.starts_with("the agent says: ")
                && message.contains("cannot list resource \"pods\"");
            Ok(match said {
                true => Ok(failing),
                false => Err(object["status"].to_string()),
            })
        });
        // What the release has lost comes back with it.
        world.product.upgrade(&kubectl, &[])?;
        // It has been refused until it is ready.
        settled(&kubectl, "True", "AllNodesReady")?;
        failing
    })?;
    eprintln!("    {}: {}", failing["node"], failing["message"]);
    ensure!(failing["node"] == node.as_str(), "{failing}");
    patch(&kubectl, r#"{"spec":{"rollout":{"deadline":null}}}"#)?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// Paused, nothing moves; with a partition of one, one node stays; both are told as what was asked for.
pub(in crate::scenarios) fn is_paused_and_held(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let before = agents(&kubectl)?;
    patch(
        &kubectl,
        r#"{"spec":{"label":"Later","rollout":{"paused":true}}}"#,
    )?;
    let object = settled(&kubectl, "True", "Paused")?;
    ensure!(
        condition(&object, "Paused").is_some(),
        "{}",
        object["status"]
    );
    ensure!(agents(&kubectl)? == before, "a paused rollout has moved");
    patch(
        &kubectl,
        r#"{"spec":{"rollout":{"paused":false,"partition":1}}}"#,
    )?;
    settled(&kubectl, "True", "HeldByPartition")?;
    let now = agents(&kubectl)?;
    let same = before
        .iter()
        .filter(|(node, pod)| now.get(*node) == Some(*pod))
        .count();
    ensure!(same == 1, "{same} nodes stayed, want 1");
    patch(&kubectl, r#"{"spec":{"rollout":{"partition":9}}}"#)?;
    // What is updated stays so, whatever the number.
    let held = await_some("held", LIMIT, || {
        let object = plugin(&kubectl)?;
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok(if current {
            Ok(())
        } else {
            Err(object["status"].to_string())
        })
    });
    held?;
    ensure!(
        agents(&kubectl)? == now,
        "a change of the partition took a node back"
    );
    patch(
        &kubectl,
        r#"{"spec":{"label":"Node metrics","rollout":{"partition":0,"paused":false}}}"#,
    )?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}

/// Of twelve revisions, each wanted for a moment, ten are kept.
pub(in crate::scenarios) fn forgets_old_templates(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    patch(&kubectl, r#"{"spec":{"rollout":{"paused":true}}}"#)?;
    for n in 0..12 {
        patch(&kubectl, &format!(r#"{{"spec":{{"label":"Take {n}"}}}}"#))?;
        settled(&kubectl, "True", "Paused")?;
    }
    let kept = || -> anyhow::Result<usize> {
        let selector = format!("scopeplugins.dev/plugin={PLUGIN}");
        let list = kubectl.json(&["get", "controllerrevisions", "-n", PLUGINS, "-l", &selector])?;
        Ok(list["items"].as_array().map_or(0, Vec::len))
    };
    await_some("ten kept templates", LIMIT, || {
        let count = kept()?;
        Ok(if (2..=11).contains(&count) {
            Ok(())
        } else {
            Err(format!("{count} kept"))
        })
    })?;
    patch(
        &kubectl,
        r#"{"spec":{"label":"Node metrics","rollout":{"paused":false}}}"#,
    )?;
    settled(&kubectl, "True", "AllNodesReady").map(drop)
}
