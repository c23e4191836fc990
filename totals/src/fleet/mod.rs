//! How the agents are, by what each of them said last: what the operator hears of them, and which of them draw
//! the controllers without pods.
//!
//! Everything here is a function of the reports and of one clock, which is an argument.

mod designated;
mod tally;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use scope_totals_wire::{ASKED, Health, Report};

use crate::{
    census::Nodes,
    ledger::{Agent, reach},
    time::Moment,
};
pub use designated::Designated;

/// What each agent said last. There are as many as the [ledger](crate::ledger::Ledger) has, since only what
/// it takes comes here.
#[derive(Debug, Default)]
pub struct Fleet {
    plugins: BTreeMap<Arc<str>, HashMap<Arc<str>, Told>>,
    /// Agents whose last word was that the API server answers them.
    answered: usize,
}

/// What an agent said.
#[derive(Debug)]
struct Told {
    boot: Box<str>,
    /// When this process was heard of first and last.
    since: Moment,
    heard: Moment,
    server_away: bool,
    is_watched: bool,
    health: Option<Health>,
}

/// Whether Scope shows what an agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A probe asked.
    Asked,
    /// None did.
    Silent,
    /// That cannot be told.
    Unknown,
}

impl Fleet {
    /// Takes what an agent says of itself. The report is within its bounds, and the ledger took it.
    pub fn take(&mut self, agent: &Agent, report: &Report, now: Moment) {
        let agents = self.plugins.entry(Arc::clone(&agent.plugin)).or_default();
        let boot = report.boot.as_str();
        let known = agents.get(&agent.node).filter(|told| *told.boot == *boot);
        let since = known.map_or(now, |told| told.since);
        let told = Told {
            boot: boot.into(),
            since,
            heard: now,
            server_away: report.server_away,
            // One of a version that does not tell may be.
            is_watched: report.watched != Some(false),
            health: report.health.clone(),
        };
        let before = agents.insert(Arc::clone(&agent.node), told);
        self.answered += usize::from(!report.server_away);
        self.answered -= usize::from(before.is_some_and(|told| !told.server_away));
    }

    /// Forgets nodes that there are no more, and plugins of which no agent is left.
    pub fn forget(&mut self, nodes: &Nodes) {
        for agents in self.plugins.values_mut() {
            agents.retain(|node, _| nodes.contains(node));
        }
        self.plugins.retain(|_, agents| !agents.is_empty());
        let agents = self.plugins.values().flat_map(HashMap::values);
        self.answered = agents.filter(|told| !told.server_away).count();
    }

    /// Whether the API server is away for all agents, by the last word of each, however old that is: one that is
    /// not heard any more may have found a replica that leads.
    pub fn server_is_away(&self) -> bool {
        self.answered == 0 && !self.plugins.is_empty()
    }

    /// Whether anybody looks at what agents report, by the last word of those that were heard of within three
    /// intervals.
    pub fn is_watched(&self, now: Moment, interval: Duration) -> bool {
        self.heard(now, interval)
            .any(|(_, mut agents)| agents.any(|(_, told)| told.is_watched))
    }

    /// Every plugin, with its agents that were heard of within three intervals.
    fn heard(
        &self,
        now: Moment,
        interval: Duration,
    ) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = (&Arc<str>, &Told)>)> {
        self.plugins.iter().map(move |(plugin, agents)| {
            let heard =
                move |(_, told): &(&Arc<str>, &Told)| told.heard.within(reach(interval), now);
            (plugin, agents.iter().filter(heard))
        })
    }
}

impl Told {
    /// It is judged as of the agent's last word. A process that nobody asked yet has to be given the time in
    /// which somebody would.
    fn standing(&self, now: Moment) -> Standing {
        let Some(health) = &self.health else {
            return Standing::Unknown;
        };
        match health.asked_ms_ago.map(Duration::from_millis) {
            Some(ago) if ago < ASKED => Standing::Asked,
            None if self.since.within(ASKED, now) => Standing::Unknown,
            Some(_) | None => Standing::Silent,
        }
    }
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
