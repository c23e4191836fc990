//! A Deployment that never had a pod: it is on no node, and all the same on the map, to be scaled from there.

use serde_json::json;

use super::{NAMESPACE, SOON, await_field, done_through, get, node_id};
use crate::progress::await_some;
use crate::world::World;

pub(super) fn awoken(world: &mut World) -> anyhow::Result<()> {
    let asleep = get(&world.kubectl, "deployment", "asleep")?;
    let through = drawn_on(world, &node_id(&asleep)?)?;
    done_through(world, &through, &asleep, "scaleUp")?;
    await_field(
        world,
        "deployment",
        "asleep",
        "/status/readyReplicas",
        &json!(1),
    )?;
    done_through(world, &through, &asleep, "scaleDown")?;
    await_field(world, "deployment", "asleep", "/spec/replicas", &json!(0))
}

/// The first node whose agent draws it, by name, in its namespace and with its button.
fn drawn_on(world: &mut World, id: &str) -> anyhow::Result<String> {
    await_some("asleep on the map", SOON, || {
        let mut shown = Vec::new();
        for node in world.nodes() {
            let heard = world.hear(&node)?;
            let Some(drawn) = heard.node("Deployment", id) else {
                continue;
            };
            let controls = drawn.latest("active_controls").unwrap_or_default();
            let is_whole = drawn.latest("kubernetes_name") == Some("asleep")
                && drawn.latest("kubernetes_namespace") == Some(NAMESPACE)
                && controls.contains("-controls~scaleUp");
            if is_whole {
                return Ok(Ok(node));
            }
            shown.push((node, controls.to_owned()));
        }
        Ok(Err(format!("{shown:?}")))
    })
}
