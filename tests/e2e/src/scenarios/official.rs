//! The jobs of Scope's own plugins: the examples, each against what the system itself says.

mod http;
mod hung;
mod iowait;
mod volumes;

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::product::{PLUGINS, await_ready};
use crate::progress::await_some;
use crate::world::World;

pub(super) use http::by_count as http_by_count;
pub(super) use iowait::against_the_kernel as iowait_against_the_kernel;
pub(super) use volumes::against_df as volumes_against_df;

/// Where all of it happens.
const NODE: &str = "node1";

/// Applies an example, lets `look` look, and removes it again. Its canary soaks for two seconds only.
fn with_example(
    world: &mut World,
    plugin: &str,
    look: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let example = world.product.text(&format!("examples/{plugin}.yaml"))?;
    with_manifest(world, plugin, &example, look)
}

/// The same with a manifest that ends in the plugin's spec.
fn with_manifest(
    world: &mut World,
    plugin: &str,
    manifest: &str,
    look: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let rollout = "  rollout: {canary: {soak: 2s}, minReady: 1s}\n";
    world.kubectl.apply(&format!("{manifest}{rollout}"))?;
    let looked = await_ready(&world.kubectl, plugin, Duration::from_secs(60)).and_then(|()| {
        await_some("the plugin in Scope", Duration::from_secs(20), || {
            let heard = world.hear(NODE)?;
            Ok(match heard.plugin_label(plugin) {
                Some(_) => Ok(()),
                None => Err("others".to_owned()),
            })
        })?;
        look(world)
    });
    let removed = world
        .kubectl
        .ok(&["delete", "scopeplugin", plugin, "--timeout=60s"]);
    // The scenarios to come expect the one plugin, and the one agent: it takes its sockets away before it ends.
    let of_plugin = format!("app.kubernetes.io/instance={plugin}");
    let gone = await_some("no agent of the plugin", Duration::from_secs(60), || {
        let pods = world
            .kubectl
            .ok(&["get", "pods", "-n", PLUGINS, "-l", &of_plugin, "-o", "name"])?;
        Ok(match pods.trim() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        })
    });
    looked?;
    removed?;
    gone?;
    await_some("no plugin in Scope", Duration::from_secs(60), || {
        for node in world.nodes() {
            if world.hear(&node)?.plugin_label(plugin).is_some() {
                return Ok(Err(node));
            }
        }
        Ok(Ok(()))
    })
}

/// What a command says in the node, word by word.
fn words(world: &World, command: &[&str]) -> anyhow::Result<Vec<u64>> {
    let text = world.node(NODE)?.exec(command)?;
    let last = text.lines().last().context("no answer")?;
    let numbers: Vec<u64> = last
        .split_whitespace()
        .filter_map(|word| word.trim_end_matches('%').parse().ok())
        .collect();
    ensure!(!numbers.is_empty(), "{command:?} said {text}");
    Ok(numbers)
}
