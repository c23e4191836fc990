//! Leaders that are cut off from the API server, or stand still, in the middle of a rollout; and an API
//! server that goes away.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use throwaway_cluster::{AuditMark, RunningPod};

use super::{LIMIT, agents, first_replaced, leader, patch, replaced_once, settled};
use crate::audit::operator;
use crate::kubectl::Kubectl;
use crate::product::SYSTEM;
use crate::progress::await_some;
use crate::world::World;

/// Begins a rollout and comes back when its first node has another pod.
fn begun(kubectl: &Kubectl, label: &str) -> anyhow::Result<BTreeMap<String, (String, String)>> {
    let before = agents(kubectl)?;
    patch(kubectl, &format!(r#"{{"spec":{{"label":"{label}"}}}}"#))?;
    first_replaced(kubectl, &before)?;
    Ok(before)
}

/// Waits until another replica leads.
fn await_other(kubectl: &Kubectl, old: &str) -> anyhow::Result<String> {
    await_some("another leader", LIMIT, || {
        Ok(match leader(kubectl) {
            Ok(now) if now != old => Ok(now),
            Ok(now) => Err(format!("{now} still leads")),
            Err(error) => Err(error.to_string()),
        })
    })
}

/// The leader no longer reaches the API server. The other replica takes over and finishes; what the old
/// one says when it is back changes nothing.
pub(in crate::scenarios) fn leader_cut_off(world: &mut World) -> anyhow::Result<()> {
    away_until_replaced(world, "Cut off", |pod| pod.cut_off(), |pod| pod.reconnect())
}

/// The leader stands still until its lease is gone, and then goes on where it was: it must see that it
/// leads no more before it writes anything.
pub(in crate::scenarios) fn leader_frozen(world: &mut World) -> anyhow::Result<()> {
    away_until_replaced(world, "Frozen", |pod| pod.freeze(), |pod| pod.thaw())
}

/// Something happens to the leader in the middle of a rollout, and is over when another one leads.
fn away_until_replaced(
    world: &mut World,
    label: &str,
    begins: impl FnOnce(&RunningPod<'_>) -> throwaway_cluster::Result<()>,
    ends: impl FnOnce(&RunningPod<'_>) -> throwaway_cluster::Result<()>,
) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let mark = world.audit_mark()?;
    let before = begun(&kubectl, label)?;
    let old = leader(&kubectl)?;
    let pod = world.running_pod(SYSTEM, &old)?;
    begins(&pod)?;
    let new = await_other(&kubectl, &old);
    let taken_over = world.audit_mark();
    // Whatever came of it, so that the next scenario finds two replicas.
    let ended = ends(&pod);
    let (new, taken_over) = (new?, taken_over?);
    ended?;
    finished_by(world, &before, mark, taken_over, &new)
}

/// The rollout is over, and what was written since the lease changed hands was written by its new holder. An Event
/// tells of what was done before it, and may be told by who did it.
fn finished_by(
    world: &World,
    before: &BTreeMap<String, (String, String)>,
    mark: AuditMark,
    taken_over: AuditMark,
    new: &str,
) -> anyhow::Result<()> {
    settled(&world.kubectl, "True", "AllNodesReady")?;
    replaced_once(world, before, &world.audit_since(mark)?)?;
    let since = world.audit_since(taken_over)?;
    let writes = since
        .iter()
        .filter(|r| r.user == operator() && r.is_write())
        .filter(|r| !["leases", "events"].contains(&r.resource.as_str()));
    let (by_new, by_old): (Vec<_>, Vec<_>) = writes
        .filter(|r| (200..300).contains(&r.code))
        .partition(|r| r.pod == new);
    eprintln!("    {} writes by the new leader", by_new.len());
    ensure!(!by_new.is_empty(), "{new} wrote nothing");
    ensure!(by_old.is_empty(), "not by {new}: {by_old:?}");
    Ok(())
}

/// The API server goes away in the middle of a rollout for as long as it takes to start it again.
pub(in crate::scenarios) fn api_server_restarts(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let mark = world.audit_mark()?;
    let before = begun(&kubectl, "Restarted")?;
    world.stop_api_server()?;
    world.start_api_server()?;
    settled(&kubectl, "True", "AllNodesReady").context("after the restart")?;
    replaced_once(world, &before, &world.audit_since(mark)?)
}
