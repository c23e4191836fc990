//! What a fleet loses to bad revisions, looked at while they come.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{BROKEN, MENDED, PLUGIN, agents, patch, plugin, settled};
use crate::serving;
use crate::world::World;

/// Another revision that cannot start, for the same reason.
const BROKEN_AGAIN: &str =
    r#"{"spec":{"agent":{"resources":{"requests":{"memory":"2Mi"},"limits":{"memory":"2Mi"}}}}}"#;
/// `maxUnavailable` of four nodes, as it is when nobody says.
const MAY_BE_AWAY: usize = 1;

/// Two bad revisions, one after the other, and then a good one: at no time more nodes are without a
/// serving agent than `maxUnavailable`, and none but one is touched until the good one comes.
pub(in crate::scenarios) fn two_bad_revisions(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let before = agents(&kubectl)?;
    let started = Instant::now();
    let seen = serving::while_watched(world, PLUGIN, |_| {
        let mut failed = Vec::new();
        for bad in [BROKEN, BROKEN_AGAIN] {
            patch(&kubectl, bad)?;
            let object = settled(&kubectl, "False", "RolloutHalted")?;
            failed.push(object["status"]["failingNodes"][0]["node"].clone());
            let now = agents(&kubectl)?;
            let kept = before
                .iter()
                .filter(|(node, pod)| now.get(*node) == Some(*pod));
            ensure!(kept.count() + 1 == before.len(), "{before:?} -> {now:?}");
        }
        ensure!(failed[0] == failed[1], "two nodes were taken: {failed:?}");
        patch(&kubectl, MENDED)?;
        settled(&kubectl, "True", "AllNodesReady").map(drop)
    })?;
    let most = seen.most_away()?;
    eprintln!(
        "    {most} away at most in {} looks over {:.0} s",
        seen.looks(),
        started.elapsed().as_secs_f64()
    );
    ensure!(most == MAY_BE_AWAY, "{most} nodes without an agent at once");
    ensure!(
        started.elapsed() > Duration::from_secs(30),
        "two deadlines of 15 s cannot have passed: {}",
        plugin(&kubectl)?["status"]
    );
    Ok(())
}
