//! What the nodes have reported, and what it adds up to. A total is served when every node with a pod of the
//! object has reported within three intervals, and then it is of all of them; otherwise there is none.
//!
//! Everything here is a function of the reports, the [census](crate::census) and two clocks, which are
//! arguments. Neither the order of reports nor their number of copies matters.

mod kept;
mod round;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use scope_totals_wire::{Fate, INTERVALS, Report};

use crate::{census::Nodes, time::Moment};
use kept::Kept;
pub use round::{Round, Totals};

/// Plugins that agents report for. One that reports totals is the rule.
const MAX_PLUGINS: usize = 64;

/// An agent: the plugin that it is of and the node that it is on, both proven by its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Agent {
    /// The plugin.
    pub plugin: Arc<str>,
    /// The node.
    pub node: Arc<str>,
}

/// Agents of more plugins than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agents of {MAX_PLUGINS} plugins report already: remove a ScopePlugin")]
pub struct TooManyPlugins;

type Reports = HashMap<Arc<str>, Arc<Kept>>;

/// The newest report of each agent.
#[derive(Debug, Default)]
pub struct Ledger {
    plugins: BTreeMap<Arc<str>, Reports>,
    /// A report since that was last asked about was of other pods than the one before it.
    changed: bool,
}

/// How old a sample may be: three intervals.
pub fn reach(interval: Duration) -> Duration {
    interval * INTERVALS
}

impl Ledger {
    /// Takes a report with a sample of that moment. The report is within its bounds, and the agent's node is
    /// one of the cluster.
    pub fn take(
        &mut self,
        agent: &Agent,
        report: &Report,
        sampled: Option<Moment>,
        now: Moment,
        interval: Duration,
    ) -> Result<Fate, TooManyPlugins> {
        let Some(sampled) = sampled else {
            return Ok(Fate::Unstamped);
        };
        if !sampled.within(reach(interval), now) {
            return Ok(Fate::Late);
        }
        if !self.plugins.contains_key(&agent.plugin) && self.plugins.len() == MAX_PLUGINS {
            return Err(TooManyPlugins);
        }
        let nodes = self.plugins.entry(Arc::clone(&agent.plugin)).or_default();
        if nodes
            .get(&agent.node)
            .is_some_and(|kept| !kept.is_older_than(report, sampled))
        {
            return Ok(Fate::Old);
        }
        let kept = Arc::new(Kept::new(report, sampled));
        let before = nodes.insert(Arc::clone(&agent.node), Arc::clone(&kept));
        self.changed |= before.is_none_or(|before| !before.counts_as(&kept));
        Ok(Fate::Taken)
    }

    /// Whether any report since the last such question was of other pods than the one before it, by their number in
    /// each object.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Forgets nodes that there are no more, and plugins of which no agent is left.
    pub fn forget(&mut self, nodes: &Nodes) {
        for reports in self.plugins.values_mut() {
            reports.retain(|node, _| nodes.contains(node));
        }
        self.plugins.retain(|_, reports| !reports.is_empty());
    }

    /// How many agents have reported within three intervals.
    pub fn agents(&self, now: Moment, interval: Duration) -> usize {
        let reports = self.plugins.values().flat_map(HashMap::values);
        reports
            .filter(|kept| kept.sampled().within(reach(interval), now))
            .count()
    }

    /// How many agents of a plugin have reported within three intervals.
    pub fn agents_of(&self, plugin: &str, now: Moment, interval: Duration) -> usize {
        let reports = self.plugins.get(plugin).into_iter().flatten();
        reports
            .filter(|(_, kept)| kept.sampled().within(reach(interval), now))
            .count()
    }

    /// How many nodes have been heard of for a plugin.
    pub fn heard(&self, plugin: &str) -> usize {
        self.plugins.get(plugin).map_or(0, HashMap::len)
    }

    /// The plugins that agents report for.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<str>> {
        self.plugins.keys()
    }

    /// What there is now, to be added up without holding up anyone.
    pub fn copy(&self) -> Self {
        Self {
            plugins: self.plugins.clone(),
            changed: false,
        }
    }
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod images_history;
#[cfg(test)]
mod members_history;
#[cfg(test)]
mod tests;
