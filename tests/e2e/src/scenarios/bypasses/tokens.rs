//! To a token of an agent's account.

use anyhow::Context;

use super::way;
use crate::audit::operator;
use crate::product::{PLUGINS, agent_pods};
use crate::world::World;

/// Tokens of agents' accounts, beside those that scenario `nobody-borrows-the-account` tries.
pub(in crate::scenarios) fn to_a_token(world: &mut World) -> anyhow::Result<()> {
    let pods = agent_pods(&world.kubectl, "node-metrics")?;
    let (elsewhere, ..) = pods
        .iter()
        .find(|(_, node, _)| node == "node2")
        .context("an agent on node2")?;
    let token = format!("create token -n {PLUGINS} scope-plugin-node-metrics");
    for way in [
        way("a token by the operator", &token, "", "only to the nodes").by(&operator()),
        way("a token for no pod by a node", &token, "", "orbidden").by_node("node1"),
        way(
            "a token for a pod of another node by a node",
            &format!("{token} --bound-object-kind Pod --bound-object-name {elsewhere}"),
            "",
            "orbidden",
        )
        .by_node("node1"),
    ] {
        way.is_refused(&world.kubectl)?;
    }
    Ok(())
}
