//! From one replica of the service to another: what the nodes show meanwhile is right, or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use throwaway_cluster::{AuditEvent, AuditFollow, Stage};

use super::leader::{active, holder};
use super::{
    MILLICORES, NODES, PATIENT, REPLICAS, SINGLE_PART, Shown, await_total, busy, shown_on,
};
use crate::audit::totals;
use crate::product::SYSTEM;
use crate::progress::await_some;
use crate::world::World;

/// The active replica is killed, and later told to stop: another one is published in time; until its totals are
/// true there are none, and what is shown meanwhile is no node's part.
pub(in crate::scenarios) fn outlive_their_service(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let id = busy(&kubectl)?;
    for (how, limit) in [("killed", 20), ("stopped", 2)] {
        await_total(world, &id, REPLICAS, PATIENT)?;
        let (old, _) = active(&kubectl)?.context("an active replica")?;
        let before = holder(&kubectl)?;
        let mut log = world.audit_follow()?;
        let began = Instant::now();
        match how {
            "killed" => world.running_pod(SYSTEM, &old)?.kill()?,
            _ => drop(kubectl.ok(&["delete", "pod", &old, "-n", SYSTEM, "--wait=false"])?),
        }
        // It may be the same pod, in which the kubelet has started another process.
        let new = await_some("another active replica", PATIENT, || {
            let now = holder(&kubectl)?;
            let active = active(&kubectl)?.map(|(name, _)| name);
            let published = active.filter(|name| now != before && now.starts_with(name.as_str()));
            Ok(published.ok_or_else(|| format!("held by {now:?}")))
        })?;
        let taken_over = match how {
            "killed" => began.elapsed(),
            _ => from_delete_to_address(&mut log, &old)?,
        };
        let right_again = never_wrong_until_right(world, &id, began)?;
        eprintln!(
            "    {how}: {new} after {:.1} s, totals right again after {:.1} s",
            taken_over.as_secs_f64(),
            right_again.as_secs_f64()
        );
        let limit = Duration::from_secs(limit);
        ensure!(
            taken_over <= limit,
            "another replica took over after {taken_over:?}, want {limit:?}"
        );
    }
    Ok(())
}

/// From the answer to a pod's deletion to that to the write of another replica's address, by the API server's clock:
/// each look of ours by kubectl takes a part of so short a time, on a busy machine most of it.
fn from_delete_to_address(log: &mut AuditFollow, old: &str) -> anyhow::Result<Duration> {
    let good = |event: &AuditEvent| {
        event.stage == Stage::ResponseComplete
            && event.code.is_some_and(|code| (200..300).contains(&code))
    };
    let deleted = log.find("the deletion of the active replica", PATIENT, |event| {
        good(event) && event.verb == "delete" && event.resource == "pods" && event.name == old
    })?;
    let published = log.find("another replica's address", PATIENT, |event| {
        let of_totals = event.user == totals() && event.pod != old;
        good(event) && of_totals && event.resource == "endpointslices" && event.is_write()
    })?;
    Ok(published
        .reached
        .duration_since(deleted.reached)
        .try_into()?)
}

/// What the nodes show now, each the right total or none.
pub(super) fn right_or_absent(
    world: &mut World,
    id: &str,
) -> anyhow::Result<Vec<(&'static str, Option<Shown>)>> {
    let want = MILLICORES * REPLICAS as f64;
    let mut on_nodes = Vec::new();
    for node in NODES {
        let shown = shown_on(world, node, id)?;
        ensure!(
            shown.is_none_or(|shown| (shown.millicores - want).abs() <= want * SINGLE_PART),
            "{node} shows {shown:?}, want {want} millicores or nothing"
        );
        on_nodes.push((node, shown));
    }
    Ok(on_nodes)
}

/// Looks at all nodes until they show totals of after this moment; whatever is shown until then is right.
pub(super) fn never_wrong_until_right(
    world: &mut World,
    id: &str,
    since: Instant,
) -> anyhow::Result<Duration> {
    // What was added up before the service went away is of before.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let new_from = (now - since.elapsed()).as_secs_f64() + 1.0;
    let (mut absent, mut newest) = (BTreeSet::new(), BTreeMap::new());
    await_some("totals of the new replica", PATIENT, || {
        for (node, shown) in right_or_absent(world, id)? {
            match shown {
                None => drop(absent.insert(node)),
                Some(shown) => drop(newest.insert(node, shown.at)),
            }
        }
        let new = newest.values().filter(|at| **at > new_from).count();
        Ok(match new == NODES.len() {
            true => Ok(()),
            false => Err(format!("{newest:?}, absent on {absent:?}")),
        })
    })?;
    Ok(since.elapsed())
}
