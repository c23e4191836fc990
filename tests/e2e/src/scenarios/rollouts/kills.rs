//! The leader is killed at its writes, one rollout after the other: before a write is carried out, and
//! when it has been, while its answer is on the way.

use anyhow::{Context, ensure};
use throwaway_cluster::{AuditEvent, Error, Stage};

use super::{LIMIT, agents, leader, patch, replaced_once, settled};
use crate::audit::operator;
use crate::product::{SYSTEM, await_operator};
use crate::world::World;

/// Where a leader is killed: at its n-th write of a rollout, counted from 1.
#[derive(Debug, Clone, Copy)]
struct Point {
    write: usize,
    stage: Stage,
}

/// In the middle, after a write whose answer it does not get.
pub(in crate::scenarios) fn at_a_write(world: &mut World) -> anyhow::Result<()> {
    let write = undisturbed(world)?.len() / 2;
    let stage = Stage::ResponseComplete;
    let reached = killed(world, Point { write, stage })?;
    ensure!(reached, "a rollout took less than half of its writes");
    Ok(())
}

/// Before and after writes of a rollout, one half of `points` each: from the first to the last that an
/// undisturbed one takes, evenly.
///
/// # Errors
/// When a rollout does not end as it would have, or one more pod is deleted.
pub fn at_writes(world: &mut World, points: usize) -> anyhow::Result<()> {
    let writes = undisturbed(world)?.len();
    let (mut reached, mut missed) = (0, 0);
    for write in spread(writes, points.div_ceil(2)) {
        for stage in [Stage::RequestReceived, Stage::ResponseComplete] {
            match killed(world, Point { write, stage })? {
                true => reached += 1,
                false => missed += 1,
            }
        }
    }
    eprintln!("    killed at {reached} points; {missed} never came");
    // Those of the last write, at most.
    ensure!(missed <= 2, "too few writes to kill at");
    Ok(())
}

/// `count` of the numbers from 1 to `last`, the first and the last among them; all, if there are no more.
fn spread(last: usize, count: usize) -> Vec<usize> {
    let count = count.min(last);
    let gaps = count.saturating_sub(1).max(1);
    (0..count)
        .map(|n| 1 + (n * (last - 1) + gaps / 2) / gaps)
        .collect()
}

/// The writes of a rollout during which nothing happens.
fn undisturbed(world: &mut World) -> anyhow::Result<Vec<String>> {
    let mark = world.audit_mark()?;
    let before = agents(&world.kubectl)?;
    patch(&world.kubectl, r#"{"spec":{"label":"Undisturbed"}}"#)?;
    settled(&world.kubectl, "True", "AllNodesReady")?;
    let requests = world.audit_since(mark)?;
    replaced_once(world, &before, &requests)?;
    let writes: Vec<String> = requests
        .iter()
        .filter(|r| r.user == operator() && r.is_write() && r.resource != "leases")
        .map(|r| format!("{} {}", r.verb, r.resource))
        .collect();
    eprintln!("    undisturbed: {}", writes.join(", "));
    ensure!(writes.len() >= 6, "too few writes to kill at");
    Ok(writes)
}

/// One rollout whose leader is killed at this point: it ends as it would have, with as many deletions. Not
/// reached where the rollout takes fewer writes: events that come close together are one look.
fn killed(world: &mut World, point: Point) -> anyhow::Result<bool> {
    let kubectl = world.kubectl.clone();
    await_operator(&kubectl, LIMIT)?;
    let mark = world.audit_mark()?;
    let before = agents(&kubectl)?;
    let name = leader(&kubectl)?;
    let pod = world.running_pod(SYSTEM, &name)?;
    let mut log = world.audit_follow()?;
    let label = format!("At {} {:?}", point.write, point.stage);
    let at = std::thread::scope(|scope| -> anyhow::Result<Option<AuditEvent>> {
        let rollout =
            scope.spawn(|| patch(&kubectl, &format!(r#"{{"spec":{{"label":"{label}"}}}}"#)));
        let at = log.nth_write(&operator(), point.write, point.stage, LIMIT);
        pod.kill()?;
        rollout
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        match at {
            Ok(at) => Ok(Some(at)),
            Err(Error::Timeout { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    // A container that dies for the second time is started late; a new pod is not.
    pod.remove()?;
    let started = std::time::Instant::now();
    let what = at.as_ref().map_or_else(
        || "which never came".to_owned(),
        |at| format!("{} {}", at.verb, at.resource),
    );
    settled(&kubectl, "True", "AllNodesReady")
        .and_then(|_| replaced_once(world, &before, &world.audit_since(mark)?))
        .with_context(|| format!("killed at {point:?}, {what}"))?;
    eprintln!(
        "    {:?} of write {}, {what}: over {:.1} s later",
        point.stage,
        point.write,
        started.elapsed().as_secs_f64()
    );
    Ok(at.is_some())
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn points_are_spread_from_the_first_write_to_the_last() {
        assert_eq!(spread(33, 5), [1, 9, 17, 25, 33]);
        assert_eq!(spread(10, 4), [1, 4, 7, 10]);
        assert_eq!(spread(3, 9), [1, 2, 3]);
        assert_eq!(spread(1, 1), [1]);
    }
}
