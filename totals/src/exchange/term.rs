//! A term of this replica: what it has been told since it began to lead.

mod people;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use scope_totals_wire::{self as wire, Fate, Reply, Report, VERSION, ValuesOf, Warming};
use tokio::sync::Notify;

use crate::{
    census::Holdings,
    fleet::{Designated, Fleet},
    ledger::{Agent, Ledger, Round, TooManyPlugins},
    pace::Pace,
    rates::Rates,
    time::{Moment, Stamps},
    top::Questions,
    trust::Speaker,
};

pub(super) use people::SHARE;

/// What was told in this term, and what it added up to last.
pub struct Term {
    stamps: Stamps,
    began: Moment,
    pace: Mutex<Pace>,
    /// Somebody looks again, so that a round is due.
    woken: Notify,
    /// Pods came or went by a report.
    changed: Notify,
    ledger: Mutex<Ledger>,
    fleet: Mutex<Fleet>,
    rates: Mutex<Rates>,
    questions: Mutex<Questions>,
    added: ArcSwap<Added>,
}

/// A round, and when and of what it was made.
pub struct Added {
    round: Round,
    at: Timestamp,
    holdings: Arc<Holdings>,
    /// Who draws the controllers without pods until the next round.
    designated: Designated,
}

/// How much there is in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Agents that have reported within three intervals.
    pub agents: usize,
    /// Totals of all plugins.
    pub totals: usize,
    /// Controllers without pods that are told of.
    pub podless: usize,
    /// And those for which there was no room.
    pub podless_left_out: usize,
    /// Agents that are told of them.
    pub designated: usize,
    /// Services with pods that agents sum up.
    pub services: usize,
    /// And those whose pods cannot be told, or for which a node's list has no room.
    pub services_left_out: usize,
    /// Questions that agents are asked, of all plugins.
    pub questions: usize,
    /// Names of images without totals, since one of their images goes by several.
    pub images_ambiguous: usize,
}

impl Term {
    /// A term that begins now. `number` is one that no other term of any replica has.
    pub fn new(number: u64, holdings: Arc<Holdings>, wall: Timestamp, now: Moment) -> Self {
        Self {
            stamps: Stamps::new(number),
            began: now,
            pace: Mutex::new(Pace::new(holdings.nodes.len(), now)),
            woken: Notify::new(),
            changed: Notify::new(),
            ledger: Mutex::default(),
            fleet: Mutex::default(),
            rates: Mutex::default(),
            questions: Mutex::default(),
            added: ArcSwap::from_pointee(Added {
                round: Round::default(),
                at: wall,
                holdings,
                designated: Designated::default(),
            }),
        }
    }

    /// How often agents are asked to report.
    pub fn pace(&self) -> Pace {
        *self.pace_now()
    }

    /// Ends when agents that rested are asked to report as often as usual.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Ends when a report is of other pods than the one before it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the first three intervals are not over.
    pub fn is_young(&self, now: Moment) -> bool {
        self.began.within(self.pace().reach(), now)
    }

    /// Adds up what there is, and chooses who draws the controllers without pods.
    pub fn add_up(&self, holdings: Arc<Holdings>, wall: Timestamp, now: Moment) -> Counts {
        let pace = self.pace();
        let interval = pace.interval();
        let (ledger, agents) = {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.forget(&holdings.nodes);
            (ledger.copy(), ledger.agents(now, interval))
        };
        let (designated, is_watched) = {
            let mut fleet = self.fleet();
            fleet.forget(&holdings.nodes);
            let heard = pace.heard(now);
            let designated = self.added.load().designated.next(&fleet, now, heard);
            (designated, fleet.is_watched(now, heard))
        };
        let questions = self.forget_questions(now);
        let round = Round::new(&ledger, &holdings, now, interval);
        let without_pods = holdings.without_pods.as_ref();
        let memberships = holdings.memberships.as_ref();
        let counts = Counts {
            agents,
            totals: round.len(),
            podless: without_pods.map_or(0, |list| list.objects().len()),
            podless_left_out: without_pods.map_or(0, |list| list.left_out()),
            designated: designated.len(),
            services: memberships.map_or(0, |of| of.services()),
            services_left_out: memberships.map_or(0, |of| of.left_out()),
            questions,
            images_ambiguous: holdings.ambiguous_images,
        };
        self.added.store(Arc::new(Added {
            round,
            at: wall,
            holdings,
            designated,
        }));
        // Before all have reported once, their number says nothing; that of the nodes stands for it.
        if !self.is_young(now) {
            let mut pace = self.pace_now();
            *pace = pace.next(agents, is_watched || questions > 0, now);
        }
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.forget(now, pace.period().max(people::SHARE));
        counts
    }

    /// Whether the last round knew of this node.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.added.load().holdings.nodes.contains(node)
    }

    /// Whether an agent may send a report now, or the operator ask.
    pub(super) fn may_speak(&self, speaker: &Speaker, now: Moment) -> bool {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(speaker, now, self.pace().period())
    }

    /// Takes a report.
    pub(super) fn take(
        &self,
        agent: &Agent,
        report: &Report,
        now: Moment,
    ) -> Result<Fate, TooManyPlugins> {
        let sampled = report.sampled.as_ref();
        let sampled = sampled.and_then(|sampled| self.stamps.sampled(sampled, now));
        let pace = self.pace();
        let (fate, changed) = {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let fate = ledger.take(agent, report, sampled, now, pace.interval())?;
            (fate, ledger.take_changed())
        };
        if changed && !pace.is_resting() {
            self.changed.notify_one();
        }
        // What else a report says is as old as the report.
        if fate == Fate::Taken {
            self.fleet().take(agent, report, now);
        }
        // Only of an agent that says so: one that does not tell is no news in each of its reports.
        if report.watched == Some(true) {
            self.wake(now);
        }
        Ok(fate)
    }

    /// Has all agents report as often as usual again, if they rest.
    fn wake(&self, now: Moment) {
        let nodes = self.added.load().holdings.nodes.len();
        let mut pace = self.pace_now();
        if pace.is_resting() {
            *pace = pace.wake(nodes, now);
            self.woken.notify_one();
        }
    }

    /// What the agent hears, as it is written: nothing of the round is copied for it.
    pub(super) fn reply<R>(
        &self,
        agent: &Agent,
        report: &Report,
        fate: Fate,
        now: Moment,
        write: impl FnOnce(&Reply<ValuesOf<'_>>) -> R,
    ) -> R {
        let pace = self.pace();
        let added = self.added.load();
        let warming = self.warming(&agent.plugin, &added, now);
        let totals = added.round.of(&agent.plugin);
        let totals = totals.filter(|_| warming.is_none() && !pace.is_resting());
        let objects = report.objects.iter().map(|partial| partial.object());
        let told = totals.map_or_else(Vec::new, |totals| {
            // Of nearly all there is one.
            let mut told = Vec::with_capacity(report.objects.len());
            told.extend(objects.filter_map(|object| totals.get(object, now, pace.interval())));
            told
        });
        write(&Reply {
            version: VERSION,
            fate,
            stamp: self.stamps.stamp(now),
            interval_ms: pace.period().as_millis() as u64,
            resting: pace.is_resting(),
            warming,
            at_ms: added.at.as_millisecond(),
            totals: told,
            podless: added.podless(agent, report.podless, pace),
            services: added.services(agent, report.services, pace),
            top: self.asked_of(&agent.plugin, now),
        })
    }

    /// What the operator hears.
    pub(super) fn fleet_told(&self, now: Moment) -> wire::Fleet {
        let pace = self.pace();
        let warming = pace.reach().checked_sub(self.began.age(now));
        let warming = warming.filter(|left| !left.is_zero());
        wire::Fleet {
            version: VERSION,
            warming_ms: warming.map(|left| left.as_millis() as u64),
            plugins: self.fleet().tally(now, pace.heard(now)),
        }
    }

    /// Whether the API server answers no agent either.
    pub(super) fn server_is_away(&self) -> bool {
        self.fleet().server_is_away()
    }

    fn pace_now(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is said yet: in the first three intervals, until all nodes have been heard.
    fn warming(&self, plugin: &str, added: &Added, now: Moment) -> Option<Warming> {
        let left = self.pace().reach().checked_sub(self.began.age(now))?;
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let (heard, nodes) = (ledger.heard(plugin), added.holdings.nodes.len());
        let warm = left.is_zero() || heard >= nodes;
        (!warm).then_some(Warming {
            heard: heard as u32,
            nodes: nodes as u32,
            left_ms: left.as_millis() as u64,
        })
    }
}

impl Added {
    /// The controllers without pods, for an agent that is to draw them.
    fn podless(&self, agent: &Agent, held: Option<u64>, pace: Pace) -> Option<wire::Podless> {
        let list = self.holdings.without_pods.as_ref()?;
        let valid_ms = pace.reach().as_millis() as u64;
        let is_told = self.designated.is(agent);
        is_told.then(|| list.told(held, valid_ms))
    }

    /// The Services of the pods on the agent's node, if it can read that.
    fn services(&self, agent: &Agent, held: Option<u64>, pace: Pace) -> Option<wire::Services> {
        let memberships = self.holdings.memberships.as_ref()?;
        let valid_ms = pace.reach().as_millis() as u64;
        Some(memberships.told(&agent.node, held?, valid_ms))
    }
}

#[cfg(test)]
mod tests;
