//! What is shown of each plugin, and when that changes.
//!
//! A status is written when it has something else to say, so what it says must not follow each answer. Whether
//! Scope asks the agents is shown as soon as it is known to be otherwise, but a verdict that is young or disputed has
//! to wait; figures beside it change now and then. An answer that is missing, or does not tell of a plugin, takes
//! nothing back before it has been missing for a while: another replica of scope-totals needs some time to know what
//! the one before it did. Nor does an agent that is not heard while it is replaced count as one that is asked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use scope_crds::CollectorOff;
use scope_totals_wire::{Fleet, OffNodes, PluginHealth};

use super::{AskError, error::line};

/// So long what was shown stays, though nothing is heard: the Lease of scope-totals changes hands within 20 s, and
/// in the largest fleet its next replica has heard of all agents 3 minutes later.
const PATIENCE: Duration = Duration::from_secs(300);
/// Figures change at most so often, and so do verdicts: with 64 plugins, which is as many as report, each is a write
/// in two seconds.
const SETTLE: Duration = Duration::from_secs(120);
/// Why nothing is known changes at most so often: reasons of one trouble come in turns.
const SAME_TROUBLE: Duration = Duration::from_secs(600);
/// So many silent nodes are named: with the longest names of hosts, a message with what to do fits into an Event.
const NAMED: usize = 3;
/// The bound of a node's name, in characters.
const MAX_NODE: usize = 253;

/// What is shown of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// What its agents tell.
    Told(Told),
    /// That it is not known, and why.
    Unknown {
        /// As one word.
        reason: &'static str,
        /// As a sentence that says what to do.
        message: String,
    },
}

/// What the agents of a plugin tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Nodes on which a probe asked lately.
    pub(crate) asked: u32,
    /// Nodes on which none did.
    pub(crate) silent: u32,
    /// The first three of these, by name; one line each.
    pub(crate) silent_nodes: Vec<String>,
    /// Nodes with an agent that does not tell, or of which scope-totals does not hear.
    pub(crate) unknown: u32,
    /// Collectors that bring nothing; at most [`CollectorOff::MAX`].
    pub(crate) off: Vec<OffNodes>,
    /// How many there are, the listed ones included.
    pub(crate) off_total: u32,
}

/// Whether Scope asks a plugin's agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of those that tell.
    All,
    /// Not on some nodes.
    Some,
    /// On no node.
    None,
}

impl Shown {
    /// What it comes to, if that is known.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Told(told) => Some(told.verdict()),
            Self::Unknown { .. } => None,
        }
    }
}

impl Told {
    /// `agents`: on so many nodes an agent is ready.
    fn of(health: &PluginHealth, agents: u32) -> Self {
        let off: Vec<OffNodes> = health.off.iter().take(CollectorOff::MAX).cloned().collect();
        let listed = u32::try_from(health.off.len()).unwrap_or(u32::MAX);
        let names = health.silent_nodes.iter().take(NAMED);
        let tell = health.asked.saturating_add(health.silent);
        Self {
            asked: health.asked,
            silent: health.silent,
            silent_nodes: names.map(|name| line(name, MAX_NODE)).collect(),
            unknown: agents.saturating_sub(tell).max(health.unknown),
            off,
            off_total: listed.saturating_add(health.off_left_out),
        }
    }

    /// What it comes to.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.asked, self.silent) {
            (_, 0) => Verdict::All,
            // A few that are silent do not speak for the others.
            (0, silent) if silent >= self.unknown => Verdict::None,
            _ => Verdict::Some,
        }
    }

    /// Nodes of which it is known.
    pub(crate) fn tell(&self) -> u32 {
        self.asked.saturating_add(self.silent)
    }
}

/// A plugin whose agents should report.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) uid: String,
    pub(crate) name: String,
    /// Nodes on which its agent is ready, as its status says.
    pub(crate) agents: u32,
}

/// What is shown of all plugins in the present term. What another replica showed before it, the statuses have.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    term: u64,
    /// By UID; none but those that are expected.
    plugins: HashMap<String, Plugin>,
}

/// What is shown of a plugin, and since when another thing is heard.
#[derive(Debug, Default)]
struct Plugin {
    shown: Option<(Arc<Shown>, Instant)>,
    /// When the verdict that is shown took the place of another one.
    changed: Option<Instant>,
    /// When another verdict than the shown one was heard last, and was not shown.
    disputed: Option<Instant>,
    /// The verdict of the last answer; nothing before the first one and after one that is uncertain.
    last: Option<Option<Verdict>>,
    /// Nothing is heard since.
    unheard: Option<Instant>,
    /// It is not known of all nodes since, and of none is known that it is silent.
    uncertain: Option<Instant>,
}

impl Board {
    /// What to show of a plugin; nothing as long as nothing was heard in this term.
    pub(crate) fn shown(&self, uid: &str, term: u64) -> Option<Arc<Shown>> {
        let held = self.held();
        let shown = held.plugins.get(uid).filter(|_| held.term == term)?;
        shown.shown.as_ref().map(|(shown, _)| Arc::clone(shown))
    }

    /// Takes in an answer that was asked for in this term. Returns the names of the plugins of which something else
    /// is to be shown.
    pub(crate) fn hear(
        &self,
        term: u64,
        expected: &[Expected],
        answer: Result<&Fleet, &AskError>,
        now: Instant,
    ) -> Vec<String> {
        let mut held = self.held();
        if held.term != term {
            *held = Held {
                term,
                ..Held::default()
            };
        }
        let uids: HashSet<&str> = expected.iter().map(|plugin| plugin.uid.as_str()).collect();
        held.plugins.retain(|uid, _| uids.contains(uid.as_str()));
        let told: HashMap<&str, &PluginHealth> = answer
            .map(|fleet| &fleet.plugins[..])
            .unwrap_or_default()
            .iter()
            .map(|health| (health.plugin.as_str(), health))
            .collect();
        let mut changed = Vec::new();
        for Expected { uid, name, agents } in expected {
            let news = match answer {
                Ok(fleet) => News::of(told.get(name.as_str()).copied(), *agents, fleet.warming_ms),
                Err(error) => News::Nothing {
                    reason: error.reason(),
                    message: sentence(&error.to_string()),
                },
            };
            if held.plugins.entry(uid.clone()).or_default().hear(news, now) {
                changed.push(name.clone());
            }
        }
        changed
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer says of a plugin.
#[derive(Debug)]
enum News {
    /// What its agents tell.
    Told(Told),
    /// Nothing.
    Nothing {
        reason: &'static str,
        message: String,
    },
}

impl News {
    fn of(health: Option<&PluginHealth>, agents: u32, warming_ms: Option<u64>) -> Self {
        let nothing = |reason, message: String| Self::Nothing { reason, message };
        if warming_ms.is_some() {
            return nothing(
                "TotalsWarming",
                "Scope-totals began a while ago and has not heard of all agents yet, which takes it some minutes. If \
                 it begins again and again, see why its pods restart"
                    .to_owned(),
            );
        }
        let Some(health) = health.filter(|health| health.nodes > 0) else {
            return nothing(
                "AgentsNotHeard",
                "Scope-totals hears of none of the plugin's agents. Where they run, their logs say why they cannot \
                 report"
                    .to_owned(),
            );
        };
        let told = Told::of(health, agents);
        // The silence of a few is worth a word, that a few are asked is not.
        if told.silent > 0 || (told.tell() > 0 && told.tell() >= told.unknown) {
            return Self::Told(told);
        }
        nothing(
            "AgentsDoNotTell",
            format!(
                "On {} of {} nodes the agents do not tell whether Scope asks them: those of an older release do not, \
                 and others do a minute after they began. Let the rollout of this release come to its end. Where it \
                 did, the agents' logs say why they cannot report",
                told.unknown,
                told.unknown.saturating_add(told.tell())
            ),
        )
    }
}

impl Plugin {
    /// Takes the news in. Whether something else is to be shown.
    fn hear(&mut self, news: News, now: Instant) -> bool {
        let lasts = |since: &mut Option<Instant>| {
            now.saturating_duration_since(*since.get_or_insert(now)) >= PATIENCE
        };
        let new = match news {
            // What is uncertain does not become certain by it.
            News::Nothing { reason, message } => {
                if !lasts(&mut self.unheard) {
                    return false;
                }
                Shown::Unknown { reason, message }
            }
            News::Told(told) => {
                self.unheard = None;
                if told.silent > 0 || !self.is_uncertain(&told) {
                    self.uncertain = None;
                // A silent node whose agent began anew is not known to be silent for a minute.
                } else if !lasts(&mut self.uncertain) {
                    self.last = None;
                    return false;
                }
                Shown::Told(told)
            }
        };
        let show = self.may_show(&new, now);
        self.last = Some(new.verdict());
        if show {
            self.shown = Some((Arc::new(new), now));
        }
        show
    }

    /// Whether that no node is silent may be owed to those that are not heard. Where all are shown as asked, some of
    /// which nothing is known for a while change nothing of it.
    fn is_uncertain(&self, told: &Told) -> bool {
        match self.shown.as_ref().map(|(shown, _)| &**shown) {
            Some(Shown::Told(shown)) if shown.verdict() == Verdict::All => false,
            Some(Shown::Told(shown)) => told.unknown > 0 || told.tell() < shown.tell(),
            Some(Shown::Unknown { .. }) | None => told.unknown > 0,
        }
    }

    /// Whether it is time to show something else.
    fn may_show(&mut self, new: &Shown, now: Instant) -> bool {
        let is_over = |since: Instant, time: Duration| now.saturating_duration_since(since) >= time;
        let settled = |since: Option<Instant>| since.is_none_or(|since| is_over(since, SETTLE));
        let Some((shown, since)) = &self.shown else {
            return true;
        };
        let verdict = new.verdict();
        if shown.verdict() == verdict {
            let time = verdict.map_or(SAME_TROUBLE, |_| SETTLE);
            return **shown != *new && is_over(*since, time);
        }
        // What flutters has to be heard twice in a row.
        let agreed = self.last == Some(verdict) || settled(self.disputed);
        let show = agreed && settled(self.changed);
        if show {
            self.changed = Some(now);
        } else {
            self.disputed = Some(now);
        }
        show
    }
}

/// With a capital letter, as a message begins.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
