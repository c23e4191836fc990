//! What is shown of each plugin, and when that changes.
//!
//! A status is written when it has something else to say, so what it says must not follow each answer. Whether
//! Scope asks the agents is shown as soon as it is known to be otherwise; figures beside it change now and then. An
//! answer that is missing, or does not tell of a plugin, takes nothing back before it has been missing for a while:
//! another replica of scope-totals needs some time to know what the one before it did.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use scope_crds::CollectorOff;
use scope_totals_wire::{Fleet, MAX_SILENT, OffNodes, PluginHealth};

use super::AskError;

/// So long what was shown stays, though nothing is heard: the Lease of scope-totals changes hands within 20 s, and
/// in the largest fleet its next replica has heard of all agents 3 minutes later.
const PATIENCE: Duration = Duration::from_secs(300);
/// Figures change at most so often: with 64 plugins, which is as many as report, that is a write in two seconds.
const SETTLE: Duration = Duration::from_secs(120);

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
    /// The first of these, by name.
    pub(crate) silent_nodes: Vec<String>,
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

impl Told {
    fn of(health: &PluginHealth) -> Self {
        let off: Vec<OffNodes> = health.off.iter().take(CollectorOff::MAX).cloned().collect();
        let listed = u32::try_from(health.off.len()).unwrap_or(u32::MAX);
        let names = health.silent_nodes.iter().take(MAX_SILENT);
        Self {
            asked: health.asked,
            silent: health.silent,
            silent_nodes: names.cloned().collect(),
            off,
            off_total: listed.saturating_add(health.off_left_out),
        }
    }

    /// What it comes to.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.asked, self.silent) {
            (_, 0) => Verdict::All,
            (0, _) => Verdict::None,
            _ => Verdict::Some,
        }
    }
}

/// A plugin whose agents should report.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) uid: String,
    pub(crate) name: String,
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
        for Expected { uid, name } in expected {
            let news = match answer {
                Ok(fleet) => News::of(told.get(name.as_str()).copied(), fleet.warming_ms),
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
    /// What its agents tell. Not `certain`: of some nodes it is not known.
    Told { told: Told, certain: bool },
    /// Nothing.
    Nothing {
        reason: &'static str,
        message: String,
    },
}

impl News {
    fn of(health: Option<&PluginHealth>, warming_ms: Option<u64>) -> Self {
        let nothing = |reason, message: String| Self::Nothing { reason, message };
        match (health, warming_ms) {
            (_, Some(ms)) => nothing(
                "TotalsWarming",
                format!(
                    "Scope-totals began a while ago and has not heard of all agents yet; it needs {} s more. If it \
                     begins again and again, see why its pods restart",
                    ms.div_ceil(1000)
                ),
            ),
            (Some(health), None) if health.asked > 0 || health.silent > 0 => Self::Told {
                told: Told::of(health),
                certain: health.unknown == 0,
            },
            (Some(health), None) if health.nodes > 0 => nothing(
                "AgentsDoNotTell",
                format!(
                    "The agents on {} nodes do not tell whether Scope asks them: those of an older release do not, \
                     and others do a minute after they began. Let the rollout of this release come to its end",
                    health.nodes
                ),
            ),
            _ => nothing(
                "AgentsNotHeard",
                "Scope-totals hears of none of the plugin's agents. Where they run, their logs say why they cannot \
                 report"
                    .to_owned(),
            ),
        }
    }
}

impl Plugin {
    /// Takes the news in. Whether something else is to be shown.
    fn hear(&mut self, news: News, now: Instant) -> bool {
        let lasts = |since: &mut Option<Instant>| {
            now.saturating_duration_since(*since.get_or_insert(now)) >= PATIENCE
        };
        let new = match news {
            News::Nothing { reason, message } => {
                self.uncertain = None;
                if !lasts(&mut self.unheard) {
                    return false;
                }
                Shown::Unknown { reason, message }
            }
            News::Told { told, certain } => {
                self.unheard = None;
                if certain || told.silent > 0 {
                    self.uncertain = None;
                // A silent node whose agent began anew is not known to be silent for a minute.
                } else if !lasts(&mut self.uncertain) && !self.shows(Verdict::All) {
                    return false;
                }
                Shown::Told(told)
            }
        };
        if let Some((shown, since)) = &self.shown {
            let fresh = now.saturating_duration_since(*since) < SETTLE;
            let settled = match (&**shown, &new) {
                (Shown::Told(before), Shown::Told(told)) => {
                    before == told || (fresh && before.verdict() == told.verdict())
                }
                // Other words for the same are none.
                (Shown::Unknown { reason: before, .. }, Shown::Unknown { reason, .. }) => {
                    before == reason || fresh
                }
                _ => false,
            };
            if settled {
                return false;
            }
        }
        self.shown = Some((Arc::new(new), now));
        true
    }

    fn shows(&self, verdict: Verdict) -> bool {
        let shown = self.shown.as_ref().map(|(shown, _)| &**shown);
        matches!(shown, Some(Shown::Told(told)) if told.verdict() == verdict)
    }
}

/// With a capital letter, as a message begins.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn health(asked: u32, silent: u32, unknown: u32) -> PluginHealth {
        PluginHealth {
            plugin: "a".into(),
            nodes: asked + silent + unknown,
            asked,
            silent,
            silent_nodes: (0..silent.min(10)).map(|n| format!("n{n}")).collect(),
            unknown,
            ..PluginHealth::default()
        }
    }

    /// A step of a story: so many seconds later this is heard.
    #[derive(Clone, Copy)]
    enum Step {
        Told(u32, u32, u32),
        Warming,
        Absent,
        NoAnswer,
    }
    use Step::{Absent, NoAnswer, Told, Warming};

    fn answer(step: Step) -> Result<Fleet, AskError> {
        let fleet = |warming_ms, plugins| Fleet {
            version: 1,
            warming_ms,
            plugins,
        };
        match step {
            Told(asked, silent, unknown) => Ok(fleet(None, vec![health(asked, silent, unknown)])),
            Warming => Ok(fleet(Some(9_001), vec![health(0, 1, 0)])),
            Absent => Ok(fleet(None, Vec::new())),
            NoAnswer => Err(AskError::TooLarge),
        }
    }

    fn expected() -> Vec<Expected> {
        vec![Expected {
            uid: "u".into(),
            name: "a".into(),
        }]
    }

    /// What is shown, in a word; a change has a mark.
    fn play(story: &[(u64, Step)]) -> Vec<String> {
        let (board, mut now) = (Board::default(), Instant::now());
        let mut words = Vec::new();
        for (seconds, step) in story {
            now += SECOND * u32::try_from(*seconds).unwrap();
            let answer = answer(*step);
            let changed = board.hear(1, &expected(), answer.as_ref(), now);
            let word = match board.shown("u", 1).as_deref() {
                None => "-".to_owned(),
                Some(Shown::Told(told)) => format!("{}/{}", told.asked, told.silent),
                Some(Shown::Unknown { reason, .. }) => (*reason).to_owned(),
            };
            let mark = if changed.is_empty() { "" } else { "!" };
            words.push(format!("{word}{mark}"));
        }
        words
    }

    #[test]
    fn what_is_shown_follows_what_is_heard() {
        for (what, story, wanted) in [
            (
                "known at once, and a verdict changes at once",
                &[(0, Told(4, 0, 0)), (30, Told(3, 1, 0)), (30, Told(4, 0, 0))][..],
                &["4/0!", "3/1!", "4/0!"][..],
            ),
            (
                "figures change now and then",
                &[
                    (0, Told(4, 0, 0)),
                    (30, Told(5, 0, 0)),
                    (30, Told(6, 0, 0)),
                    (59, Told(7, 0, 0)),
                    (1, Told(7, 0, 0)),
                    (30, Told(7, 0, 0)),
                ],
                &["4/0!", "4/0", "4/0", "4/0", "7/0!", "7/0"],
            ),
            (
                "so do those of silent nodes, but not that there is no other",
                &[(0, Told(3, 1, 0)), (30, Told(2, 2, 0)), (30, Told(0, 4, 0))],
                &["3/1!", "3/1", "0/4!"],
            ),
            (
                "a new plugin waits until all of its agents tell",
                &[
                    (0, Absent),
                    (30, Told(1, 0, 3)),
                    (30, Told(3, 0, 1)),
                    (30, Told(4, 0, 0)),
                ],
                &["-", "-", "-", "4/0!"],
            ),
            (
                "a silent node whose agent begins anew does not look asked meanwhile",
                &[(0, Told(3, 1, 0)), (30, Told(3, 0, 1)), (30, Told(3, 1, 0))],
                &["3/1!", "3/1", "3/1"],
            ),
            (
                "agents that never tell hold nothing up for ever",
                &[
                    (0, Told(3, 0, 1)),
                    (299, Told(3, 0, 1)),
                    (1, Told(3, 0, 1)),
                    (30, Told(3, 0, 1)),
                ],
                &["-", "-", "3/0!", "3/0"],
            ),
            (
                "while agents are replaced they count as before",
                &[(0, Told(4, 0, 0)), (30, Told(3, 0, 1)), (90, Told(3, 0, 1))],
                &["4/0!", "4/0", "3/0!"],
            ),
            (
                "no answer for a while takes nothing back",
                &[
                    (0, Told(4, 0, 0)),
                    (30, NoAnswer),
                    (30, Warming),
                    (239, Absent),
                    (30, Told(4, 0, 0)),
                    (30, NoAnswer),
                ],
                &["4/0!", "4/0", "4/0", "4/0", "4/0", "4/0"],
            ),
            (
                "for a longer while it does, and the first reason stays a while",
                &[
                    (0, Told(4, 0, 0)),
                    (30, NoAnswer),
                    (300, NoAnswer),
                    (30, Warming),
                    (90, Warming),
                    (30, Told(4, 0, 0)),
                ],
                &[
                    "4/0!",
                    "4/0",
                    "TotalsTooLarge!",
                    "TotalsTooLarge",
                    "TotalsWarming!",
                    "4/0!",
                ],
            ),
            (
                "agents of which nothing is known",
                &[(0, Told(0, 0, 4)), (300, Told(0, 0, 4)), (120, Absent)],
                &["-", "AgentsDoNotTell!", "AgentsNotHeard!"],
            ),
        ] {
            assert_eq!(play(story), wanted, "{what}");
        }
    }

    /// However figures flutter, there are few changes: here of each plugin one in two minutes.
    #[test]
    fn figures_that_flutter_are_seldom_shown() {
        let story: Vec<(u64, Step)> = (0..240)
            .map(|n| (30, Told(4_000 + n % 7, 0, n % 3)))
            .collect();
        let changes = play(&story)
            .iter()
            .filter(|word| word.ends_with('!'))
            .count();
        assert!(
            (2..=60).contains(&changes),
            "{changes} changes in two hours"
        );
    }

    #[test]
    fn a_term_begins_with_nothing_and_plugins_that_are_gone_are_forgotten() {
        let (board, now) = (Board::default(), Instant::now());
        let told = answer(Told(1, 0, 0));
        assert_eq!(board.hear(1, &expected(), told.as_ref(), now), ["a"]);
        assert!(board.shown("u", 1).is_some());
        assert!(board.shown("u", 2).is_none(), "another term");
        assert!(board.shown("v", 1).is_none(), "another plugin");
        let no_answer = answer(NoAnswer);
        assert!(
            board
                .hear(2, &expected(), no_answer.as_ref(), now)
                .is_empty()
        );
        assert!(board.shown("u", 2).is_none());
        board.hear(2, &expected(), told.as_ref(), now);
        assert!(board.hear(2, &[], told.as_ref(), now).is_empty());
        assert!(board.shown("u", 2).is_none(), "suspended or gone");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut much = health(1, 20, 0);
        much.silent_nodes = (0..20).map(|n| n.to_string()).collect();
        let off = OffNodes {
            collector: "IOWait".into(),
            why: "no PSI".into(),
            nodes: 1,
            example: "n1".into(),
        };
        much.off = vec![off; 20];
        much.off_left_out = 3;
        let told = super::Told::of(&much);
        assert_eq!((told.silent_nodes.len(), told.off.len()), (10, 16));
        assert_eq!(told.off_total, 23);
    }
}
