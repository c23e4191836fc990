//! Totals while the API server is away: nobody can lead by a Lease then, and nothing is scheduled either.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::hand_over::{never_wrong_until_right, right_or_absent};
use super::leader::{active, agents_of, holder, renewed};
use super::{LOOK_EVERY, OBJECTS, PATIENT, REPLICAS, await_total, busy};
use crate::progress::await_some;
use crate::world::World;

/// A Lease has run out after 15 s, and what was told before that is not shown for more than 18 s.
const AWAY: Duration = Duration::from_secs(45);
/// A total is never of samples that are older than three intervals, and its node may tell it eight seconds late.
const OLDEST: f64 = 27.0;
/// kube-proxy finds the API server again when its next try is due, which is up to a minute later and on each node at
/// another time. The replicas and the agents find it only then, and wait a while between two tries themselves.
const FOUND_AGAIN: Duration = Duration::from_secs(180);

/// They go on, new and right on each node, and after it, too.
pub(in crate::scenarios) fn outlive_the_api_server(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(OBJECTS)?;
    let id = busy(&world.kubectl)?;
    await_total(world, &id, REPLICAS, PATIENT)?;
    let began = Instant::now();
    world.stop_api_server()?;
    let meanwhile = new_and_right(world, &id, began + AWAY);
    world.start_api_server()?;
    let oldest = meanwhile.context("while the API server was away")?;
    let back = Instant::now();
    // Until somebody leads again, who led before goes on.
    let before = renewed(&world.kubectl)?;
    await_some("a leader that is published", FOUND_AGAIN, || {
        let (renewed, holder) = (renewed(&world.kubectl)?, holder(&world.kubectl)?);
        let active = active(&world.kubectl)?.map(|(name, _)| name);
        let is_leader = |name: &String| renewed != before && holder.starts_with(name.as_str());
        Ok(active
            .filter(is_leader)
            .ok_or_else(|| format!("{holder} at {renewed}")))
    })?;
    let led = back.elapsed();
    await_agents_at_the_leader(world, &id)?;
    let reported = back.elapsed();
    never_wrong_until_right(world, &id, Instant::now())?;
    eprintln!(
        "    away for {} s: totals at most {oldest:.1} s old; after it was back somebody led after {:.1} s, all agents \
         reported to that one after {:.1} s, and its totals were right after {:.1} s",
        AWAY.as_secs(),
        led.as_secs_f64(),
        reported.as_secs_f64(),
        back.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Who led before goes on for those nodes whose kube-proxy has not found the API server yet, so each agent comes at a
/// time of its own. Until all have, there is a right total or none.
fn await_agents_at_the_leader(world: &mut World, id: &str) -> anyhow::Result<()> {
    let nodes = world.nodes().len();
    await_some("all agents at the leader", FOUND_AGAIN, || {
        right_or_absent(world, id)?;
        let Some((leader, _)) = active(&world.kubectl)? else {
            return Ok(Err("nobody is published".to_owned()));
        };
        let agents = agents_of(&world.kubectl, &leader)?;
        Ok(agents.and_then(|agents| match agents == nodes {
            true => Ok(()),
            false => Err(format!("{agents} of {nodes} at {leader}")),
        }))
    })
}

/// The greatest age of what the nodes show until then, which is always something.
fn new_and_right(world: &mut World, id: &str, until: Instant) -> anyhow::Result<f64> {
    let mut oldest: f64 = 0.0;
    while Instant::now() < until {
        for (node, shown) in right_or_absent(world, id)? {
            let shown = shown.with_context(|| format!("{node} shows no total"))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            oldest = oldest.max(now - shown.at);
            ensure!(
                oldest <= OLDEST,
                "{node} shows {shown:?}, {oldest:.1} s old"
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(oldest)
}
