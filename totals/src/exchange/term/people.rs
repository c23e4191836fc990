//! What people ask in a term, and what they hear.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use scope_totals_wire::{Answered, Question, Report, Top, Uid, VERSION, Warming};

use super::Term;
use crate::{
    census::Census,
    ledger::Agent,
    time::Moment,
    top::{self, Ask, Busy, Open, Person, Questions, Totalled, Wanted},
    trust::Speaker,
};

/// A person may ask twice in this time, in the long run, however slowly agents report.
pub(in crate::exchange) const SHARE: Duration = Duration::from_secs(5);

impl Term {
    /// Whether somebody may ask now.
    pub(in crate::exchange) fn may_ask(&self, user: &Speaker, now: Moment) -> bool {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(user, now, SHARE)
    }

    /// What the agents of a plugin are asked.
    pub(super) fn asked_of(&self, plugin: &str, now: Moment) -> Vec<Question> {
        self.questions().of(plugin, now, self.heard(now))
    }

    /// Asks no more what nobody wants to know any longer. How many questions there are.
    pub(super) fn forget_questions(&self, now: Moment) -> usize {
        let interval = self.heard(now);
        let mut questions = self.questions();
        questions.forget(now, interval);
        questions.len()
    }

    /// Takes an agent's answers to what people ask. How many rows were dropped: those of pods that are not on its node.
    pub(in crate::exchange) fn take_answers(
        &self,
        agent: &Agent,
        report: &Report,
        census: &Census,
        now: Moment,
    ) -> usize {
        let sampled = report.sampled.as_ref();
        let sampled = sampled.and_then(|sampled| self.stamps.sampled(sampled, now));
        let is_here = |uid: &Uid| {
            let pod = census.pods.get(uid);
            pod.is_some_and(|pod| pod.node == agent.node)
        };
        sampled.map_or(0, |sampled| {
            let mut questions = self.questions();
            questions.take(agent, &report.top, sampled, report.node, is_here)
        })
    }

    /// The plugins whose agents report.
    pub(in crate::exchange) fn plugins(&self) -> Vec<Arc<str>> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.plugins().cloned().collect()
    }

    /// Has agents asked what somebody wants to know, and report as often as usual if they rest.
    pub(in crate::exchange) fn ask(
        &self,
        wanted: &Wanted,
        person: Person<'_>,
        now: Moment,
    ) -> Result<Open, Busy> {
        let (heard, nodes) = self.reporting(&wanted.plugin, now);
        // Who has not been heard of yet is waited for as well.
        let agents = self.warm(&wanted.plugin, now).map_or(nodes, |()| heard);
        self.wake(now);
        let interval = self.heard(now);
        self.questions()
            .ask(wanted, person, agents, nodes, now, interval)
    }

    /// What they have answered so far; nothing if the question was forgotten meanwhile.
    pub(in crate::exchange) fn found(
        &self,
        wanted: &Wanted,
        ask: &Ask,
        open: &Open,
        wall: Timestamp,
        now: Moment,
    ) -> Option<Top> {
        let interval = self.heard(now);
        let found = self.questions().answer(open, ask.limit, now, interval);
        let (answered, rows) = found?;
        let (_, nodes) = self.reporting(&wanted.plugin, now);
        Some(Top {
            at_ms: wall.as_millisecond(),
            nodes: of_nodes(answered, nodes),
            rows,
            ..of(&wanted.plugin, ask)
        })
    }

    /// Whether there are totals of a plugin, and if not, why.
    pub(in crate::exchange) fn warm(&self, plugin: &str, now: Moment) -> Result<(), Warming> {
        let warming = self.warming(plugin, &self.added.load(), now);
        warming.map_or(Ok(()), Err)
    }

    /// What uses most by the totals of the last round. While agents rest these are as old as they may be then, and
    /// nobody is woken: others would be there later than they are worth.
    pub(in crate::exchange) fn totalled(
        &self,
        plugin: &Arc<str>,
        ask: &Ask,
        census: &Census,
        now: Moment,
    ) -> Top {
        let (interval, added) = (self.heard(now), self.added.load());
        let totals = added.round.of(plugin);
        let total = |object| {
            let total = totals?.get(object, now, interval)?;
            Some(Totalled {
                pods: total.pods,
                counted: total.counted,
                value: top::value(ask.metric, |metric| total.values.get(metric))?,
            })
        };
        let namespace = ask.namespace.as_deref();
        let holdings = &added.holdings;
        let (rows, left_out) =
            top::controllers(census, holdings, ask.of, namespace, ask.limit, total);
        let (answered, nodes) = self.reporting(plugin, now);
        Top {
            at_ms: added.at.as_millisecond(),
            nodes: of_nodes(answered, nodes),
            left_out: left_out as u32,
            rows,
            ..of(plugin, ask)
        }
    }

    /// How many agents of a plugin are heard of, and how many nodes there are.
    fn reporting(&self, plugin: &str, now: Moment) -> (usize, usize) {
        let nodes = self.added.load().holdings.nodes.len();
        let interval = self.heard(now);
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        (ledger.agents_of(plugin, now, interval), nodes)
    }

    /// The interval by which agents are heard of.
    fn heard(&self, now: Moment) -> Duration {
        self.pace().heard(now)
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// There are no more nodes than a u32 counts.
fn of_nodes(answered: usize, of: usize) -> Answered {
    Answered {
        answered: answered as u32,
        of: of as u32,
    }
}

/// An answer without rows.
fn of(plugin: &Arc<str>, ask: &Ask) -> Top {
    Top {
        version: VERSION,
        plugin: plugin.as_ref().into(),
        of: ask.of,
        metric: ask.metric.id().into_owned(),
        unit: ask.metric.unit().into(),
        namespace: ask.namespace.clone(),
        limit: ask.limit as u32,
        at_ms: 0,
        nodes: Answered::default(),
        left_out: 0,
        rows: Vec::new(),
    }
}
