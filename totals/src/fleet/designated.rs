//! Who draws the controllers without pods: an agent of each plugin and a spare, which do the same, so that nothing
//! flickers on the map when one of them ends.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{Fleet, Standing};
use crate::{ledger::Agent, time::Moment};

/// One, and a spare.
const PLACES: usize = 2;

/// The nodes of these agents, by plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Designated {
    plugins: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Designated {
    /// Who is to do it after these: of the agents that were heard of within three intervals and that a Scope
    /// probe asks, since what others report nobody sees.
    pub fn next(&self, fleet: &Fleet, now: Moment, interval: Duration) -> Self {
        let mut plugins = BTreeMap::new();
        for (plugin, agents) in fleet.heard(now, interval) {
            let asked = agents.filter(|(_, told)| told.standing(now) == Standing::Asked);
            let asked: HashSet<&Arc<str>> = asked.map(|(node, _)| node).collect();
            let chosen = choose(plugin, self.nodes(plugin), &asked);
            if !chosen.is_empty() {
                plugins.insert(Arc::clone(plugin), chosen);
            }
        }
        Self { plugins }
    }

    /// Whether this agent is to do it.
    pub fn is(&self, agent: &Agent) -> bool {
        self.nodes(&agent.plugin).contains(&agent.node)
    }

    /// The nodes of those of a plugin.
    pub fn nodes(&self, plugin: &str) -> &[Arc<str>] {
        self.plugins.get(plugin).map_or(&[], Vec::as_slice)
    }

    /// How many there are, of all plugins.
    pub fn len(&self) -> usize {
        self.plugins.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whoever does it and can go on does. The others are chosen by rank, which is the same for every replica.
fn choose(plugin: &str, now: &[Arc<str>], asked: &HashSet<&Arc<str>>) -> Vec<Arc<str>> {
    let stay = now.iter().filter(|node| asked.contains(node));
    let mut chosen: Vec<Arc<str>> = stay.cloned().collect();
    while chosen.len() < PLACES {
        let others = asked.iter().filter(|node| !chosen.contains(node));
        let Some(next) = others.max_by_key(|node| (rank(plugin, node), **node)) else {
            break;
        };
        chosen.push(Arc::clone(next));
    }
    chosen
}

/// By chance, so that two plugins seldom burden the same node.
fn rank(plugin: &str, node: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(plugin);
    digest.update([0]);
    digest.update(node);
    digest.finalize().into()
}
