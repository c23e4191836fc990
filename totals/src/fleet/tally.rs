//! What the operator hears of all agents: counts, and a few names to begin with.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use scope_totals_wire::{
    Health, MAX_OFF, MAX_SILENT, MAX_VERSIONS, Off, OffNodes, PluginHealth, Share, VersionNodes,
};

use super::{Fleet, Standing, Told};
use crate::time::Moment;

impl Fleet {
    /// How the agents of each plugin are: those that were heard of within three intervals. A plugin none of
    /// whose agents was is told with no nodes.
    pub fn tally(&self, now: Moment, interval: Duration) -> Vec<PluginHealth> {
        let plugins = self.heard(now, interval);
        plugins
            .map(|(plugin, agents)| of(plugin, agents, now))
            .collect()
    }
}

fn of<'a>(
    plugin: &str,
    agents: impl Iterator<Item = (&'a Arc<str>, &'a Told)>,
    now: Moment,
) -> PluginHealth {
    let mut all = PluginHealth {
        plugin: plugin.into(),
        ..PluginHealth::default()
    };
    let mut silent = Vec::new();
    let mut told: Vec<(&str, &Health)> = Vec::new();
    for (node, agent) in agents {
        all.nodes += 1;
        match agent.standing(now) {
            Standing::Asked => all.asked += 1,
            Standing::Silent => silent.push(&**node),
            Standing::Unknown => all.unknown += 1,
        }
        told.extend(agent.health.as_ref().map(|health| (&**node, health)));
    }
    // Names and sums are the same each time, whatever order the agents are kept in.
    silent.sort_unstable();
    told.sort_unstable_by_key(|(node, _)| *node);
    all.silent = number(silent.len());
    silent.truncate(MAX_SILENT);
    all.silent_nodes = silent.into_iter().map(str::to_owned).collect();
    (all.off, all.off_left_out) = off(&told);
    (all.versions, all.versions_left_out) = versions(&told);
    all.millicores = share(&told, |health| health.millicores);
    all.memory = share(&told, |health| health.memory.map(|bytes| bytes as f64));
    all
}

/// What brings nothing, on most nodes first, and how much more there is.
fn off(told: &[(&str, &Health)]) -> (Vec<OffNodes>, u32) {
    let mut found: HashMap<&Off, (u32, &str)> = HashMap::new();
    for (node, health) in told {
        // Said twice by one agent it is still on one node.
        let once: HashSet<&Off> = health.collectors_off.iter().collect();
        for off in once {
            found.entry(off).or_insert((0, *node)).0 += 1;
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|(off, (nodes, _))| (Reverse(*nodes), *off));
    let left_out = found.len().saturating_sub(MAX_OFF);
    found.truncate(MAX_OFF);
    let row = |(off, (nodes, example)): (&Off, (u32, &str))| OffNodes {
        collector: off.collector.clone(),
        why: off.why.clone(),
        nodes,
        example: example.into(),
    };
    (found.into_iter().map(row).collect(), number(left_out))
}

/// The versions, most frequent first, and on how many nodes there are others.
fn versions(told: &[(&str, &Health)]) -> (Vec<VersionNodes>, u32) {
    let mut found: HashMap<&str, u32> = HashMap::new();
    for (_, health) in told {
        *found.entry(&health.version).or_default() += 1;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable_by_key(|(version, nodes)| (Reverse(*nodes), *version));
    let rest = found.split_off(found.len().min(MAX_VERSIONS));
    let row = |(version, nodes): (&str, u32)| VersionNodes {
        version: version.into(),
        nodes,
    };
    let left_out = rest.iter().map(|(_, nodes)| nodes).sum();
    (found.into_iter().map(row).collect(), left_out)
}

/// What agents take of something, if any of them tells.
fn share(told: &[(&str, &Health)], of: impl Fn(&Health) -> Option<f64>) -> Option<Share> {
    let known = told.iter();
    let known: Vec<(&str, f64)> = known
        .filter_map(|(node, health)| Some((*node, of(health)?)))
        .collect();
    let (node, most) = known
        .iter()
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let sum: f64 = known.iter().map(|(_, value)| value).sum();
    Some(Share {
        mean: sum / known.len() as f64,
        most: *most,
        node: (*node).into(),
    })
}

/// There are no more of anything than a u32 counts.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
