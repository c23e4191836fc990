//! Whether Scope asks the agents, as a condition and as counts. It says nothing of readiness: an agent serves,
//! whoever asks.

use std::sync::Arc;

use scope_crds::{CollectorOff, ScopeCounts, ScopePluginStatus};

use super::{Conditions, condition, words};
use crate::totals::{Shown, Verdict};

/// The condition, where scope-totals is installed.
pub(crate) const SCOPE_CONNECTED: &str = "ScopeConnected";

/// What to say of it.
#[derive(Clone, Debug, Default)]
pub(crate) enum Connection {
    /// Nothing: nobody is asked, or there are no agents.
    #[default]
    Unsaid,
    /// What was said before: nothing was heard yet by this replica.
    AsBefore,
    /// This.
    Shown(Arc<Shown>),
}

impl Connection {
    /// On how many nodes, if that is known; `before` is the status so far.
    pub(crate) fn counts(&self, before: Option<&ScopePluginStatus>) -> Option<ScopeCounts> {
        match self {
            Self::Unsaid => None,
            Self::AsBefore => before?.scope,
            Self::Shown(shown) => match &**shown {
                Shown::Told(told) => Some(ScopeCounts {
                    nodes_asked: number(told.asked),
                    nodes_silent: number(told.silent),
                    nodes_unknown: number(told.unknown),
                }),
                Shown::Unknown { .. } => None,
            },
        }
    }
}

/// The part of a status that comes of it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) scope: Option<ScopeCounts>,
    pub(super) off: Vec<CollectorOff>,
    pub(super) off_total: Option<i32>,
}

/// Says it: the condition in `conditions`, the rest is returned.
pub(super) fn say(
    connection: &Connection,
    before: Option<&ScopePluginStatus>,
    plugin_directory: &str,
    conditions: &mut Conditions<'_>,
) -> Said {
    let scope = connection.counts(before);
    let shown = match connection {
        Connection::Unsaid => return Said::default(),
        Connection::AsBefore => {
            let Some(before) = before else {
                return Said::default();
            };
            if let Some(said) = condition(&before.conditions, SCOPE_CONNECTED) {
                conditions.put_as(SCOPE_CONNECTED, &said.status, &said.reason, &said.message);
            }
            return Said {
                scope,
                off: before.collectors_off.clone(),
                off_total: before.collectors_off_total,
            };
        }
        Connection::Shown(shown) => shown,
    };
    match &**shown {
        Shown::Unknown { reason, message } => {
            conditions.put_as(SCOPE_CONNECTED, "Unknown", reason, message);
            Said::default()
        }
        Shown::Told(told) => {
            let (connected, reason) = match told.verdict() {
                Verdict::All => (true, "AllNodesAsked"),
                Verdict::Some => (false, "NodesSilent"),
                Verdict::None => (false, "NoNodeAsked"),
            };
            let message = words::connected(told, plugin_directory);
            conditions.put(SCOPE_CONNECTED, connected, reason, &message);
            let off = told.off.iter();
            let off = off.map(|off| {
                CollectorOff::new(&off.collector, &off.why, number(off.nodes), &off.example)
            });
            Said {
                scope,
                off: off.collect(),
                off_total: (told.off_total > 0).then(|| number(told.off_total)),
            }
        }
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
