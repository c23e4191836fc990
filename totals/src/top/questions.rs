//! What agents are asked about pods and nodes, and their answers.
//!
//! The largest of all nodes are among the largest of each, so rows of as many as are wanted of every node are enough,
//! and what is merged is exact whatever comes when. Everything here is a function of the answers and of one clock,
//! which is an argument.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use scope_totals_wire::{
    Asked, Found, MAX_QUESTIONS, MAX_ROWS, Metric, Node, PodFigure, Question, ROWS, TopRow, Uid,
};
use tokio::sync::watch;

use super::order;
use crate::{
    ledger::{Agent, reach},
    time::Moment,
};

/// Rows that are kept, if all nodes answer all questions with as many as they may: of some 110 bytes each, so
/// 18 MiB at most. With 5,000 nodes that is one question for 32 pods, or three for ten.
const MAX_KEPT: usize = 160_000;
/// So long nobody is made to wait for an answer, however slowly agents report: the whole request has 30 s, and four
/// of them for each review.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The sample of the second interval takes up to a second, and then it has to be sent.
const LATE: Duration = Duration::from_secs(2);

/// Something that is to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By the agents of this plugin.
    pub plugin: Arc<str>,
    /// Of pods or of nodes.
    pub of: Asked,
    /// By which metric.
    pub metric: Metric,
    /// In which namespace; nothing for all.
    pub namespace: Option<String>,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// As the API server calls them.
    pub name: &'a Arc<str>,
    /// So many rows.
    pub limit: usize,
}

/// As many questions as agents and this service can bear are asked already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "other questions are being asked of all nodes, and this one has no room beside them: ask again in a minute, for fewer \
     rows, or the same as others"
)]
pub struct Busy;

/// A question that is being asked.
#[derive(Clone, Debug)]
pub struct Open {
    id: u64,
    /// Until when it is worth to wait for more answers.
    pub until: Moment,
    /// Whether all have answered that are heard of.
    pub complete: watch::Receiver<bool>,
    /// How many questions of others made room for it.
    pub displaced: usize,
}

/// What is being asked.
#[derive(Debug, Default)]
pub struct Questions {
    last: u64,
    open: Vec<Asking>,
}

#[derive(Debug)]
struct Asking {
    id: u64,
    /// Who asked first. Others may have joined.
    by: Arc<str>,
    wanted: Wanted,
    /// Rows of each node.
    most: usize,
    /// Rows of all nodes, at most.
    kept: usize,
    began: Moment,
    /// When somebody wanted to know last.
    last: Moment,
    /// Agents that are heard of.
    agents: usize,
    answers: HashMap<Arc<str>, Answer>,
    complete: watch::Sender<bool>,
}

#[derive(Debug)]
struct Answer {
    sampled: Moment,
    pods: Box<[Row]>,
    node: Option<f64>,
}

#[derive(Debug)]
struct Row {
    uid: Uid,
    value: f64,
    /// Namespace and name, with the slash between them that neither has.
    name: Box<str>,
}

impl Row {
    fn names(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or_default()
    }
}

impl Questions {
    /// Somebody wants to know the first so many. `agents` are those that are heard of, on one of the `nodes` each.
    ///
    /// Where there is no room, questions of others go: of whoever asks at least two more, or for more rows than this
    /// person would.
    pub fn ask(
        &mut self,
        wanted: &Wanted,
        person: Person<'_>,
        agents: usize,
        nodes: usize,
        now: Moment,
        interval: Duration,
    ) -> Result<Open, Busy> {
        self.forget(now, interval);
        let limit = person.limit;
        // Two sizes, so that people who want a few more or less ask the same.
        let most = match limit {
            0..=ROWS => ROWS,
            _ => MAX_ROWS,
        };
        let same = |open: &&mut Asking| open.wanted == *wanted && open.most >= limit;
        if let Some(open) = self.open.iter_mut().find(same) {
            open.last = now;
            open.agents = agents;
            open.answers
                .retain(|_, answer| answer.sampled.within(reach(interval), now));
            open.complete.send_replace(open.answers.len() >= agents);
            return Ok(open.open(interval));
        }
        let kept = match wanted.of {
            Asked::Pods => most * nodes,
            Asked::Node | Asked::Other => nodes,
        };
        let go = self.room(person.name, &wanted.plugin, most, kept)?;
        self.open.retain(|open| !go.contains(&open.id));
        self.last += 1;
        let asking = Asking {
            id: self.last,
            by: Arc::clone(person.name),
            wanted: wanted.clone(),
            most,
            kept,
            began: now,
            last: now,
            agents,
            answers: HashMap::new(),
            complete: watch::Sender::new(agents == 0),
        };
        let open = Open {
            displaced: go.len(),
            ..asking.open(interval)
        };
        self.open.push(asking);
        Ok(open)
    }

    /// What has to go so that a question of this person to the agents of a plugin has room.
    fn room(&self, person: &str, plugin: &str, most: usize, kept: usize) -> Result<Vec<u64>, Busy> {
        let mut go = Vec::new();
        while !self.has_room(&go, plugin, most, kept) {
            let unfair = self.unfair(&go, person, plugin, kept);
            go.push(unfair.ok_or(Busy)?);
        }
        // With a larger one gone, one that went before may have room again.
        let mut place = 0;
        while place < go.len() {
            let id = go.remove(place);
            if !self.has_room(&go, plugin, most, kept) {
                go.insert(place, id);
                place += 1;
            }
        }
        Ok(go)
    }

    /// Whether there is room for a question to the agents of a plugin when these are gone.
    fn has_room(&self, gone: &[u64], plugin: &str, most: usize, kept: usize) -> bool {
        let mut others = self.staying(gone).peekable();
        // For the usual number of rows there is always room for one question, however large the cluster.
        if others.peek().is_none() && most == ROWS {
            return true;
        }
        let (mut of_plugin, mut rows) = (0, kept);
        for open in others {
            of_plugin += usize::from(*open.wanted.plugin == *plugin);
            rows += open.kept;
        }
        of_plugin < MAX_QUESTIONS && rows <= MAX_KEPT
    }

    /// When these are gone: the question that was asked for last the longest ago, of those of whom has most of what is
    /// short. Nothing if nobody has so much more than this person that it would be fairer without.
    fn unfair(&self, gone: &[u64], person: &str, plugin: &str, kept: usize) -> Option<u64> {
        let of_plugin = |open: &&Asking| *open.wanted.plugin == *plugin;
        let few = self.staying(gone).filter(of_plugin).count() < MAX_QUESTIONS;
        // If it is not questions, it is rows.
        let share = |name: &str| {
            let of_person = self.staying(gone).filter(|open| *open.by == *name);
            match few {
                true => of_person.map(|open| open.kept).sum(),
                false => of_person.filter(of_plugin).count(),
            }
        };
        let mine = share(person) + if few { kept } else { 1 };
        let others = self.staying(gone).filter(|open| few || of_plugin(open));
        let others = others.map(|open| (share(&open.by), open));
        others
            .filter(|(share, _)| *share > mine)
            .max_by_key(|(share, open)| (*share, Reverse(open.last)))
            .map(|(_, open)| open.id)
    }

    fn staying(&self, gone: &[u64]) -> impl Iterator<Item = &Asking> {
        let open = self.open.iter();
        open.filter(move |open| !gone.contains(&open.id))
    }

    /// What the agents of a plugin are to be asked now.
    pub fn of(&self, plugin: &str, now: Moment, interval: Duration) -> Vec<Question> {
        let open = self.open.iter();
        open.filter(|open| *open.wanted.plugin == *plugin && open.is_wanted(now, interval))
            .map(Asking::question)
            .collect()
    }

    /// Takes an agent's answers, of a sample of that moment. `is_here` says whether a pod is on the agent's node;
    /// of others it cannot speak. How many rows were dropped.
    pub fn take(
        &mut self,
        agent: &Agent,
        answers: &[Found],
        sampled: Moment,
        node: Node,
        is_here: impl Fn(&Uid) -> bool,
    ) -> usize {
        let mut dropped = 0;
        for found in answers {
            let asking = self.open.iter_mut();
            let asking = asking.filter(|open| open.wanted.plugin == agent.plugin);
            // Who answers late answers what nobody wants to know any more.
            let Some(open) = asking.into_iter().find(|open| open.id == found.id) else {
                continue;
            };
            let answer = open.answer(found, sampled, node, &is_here);
            dropped += found.pods.len() - answer.pods.len();
            open.answers.insert(Arc::clone(&agent.node), answer);
            if open.answers.len() >= open.agents {
                open.complete.send_if_modified(|complete| {
                    let changed = !*complete;
                    *complete = true;
                    changed
                });
            }
        }
        dropped
    }

    /// On how many nodes a question was answered within three intervals, and the first rows of all of them. Nothing if
    /// it is asked no more.
    pub fn answer(
        &self,
        open: &Open,
        limit: usize,
        now: Moment,
        interval: Duration,
    ) -> Option<(usize, Vec<TopRow>)> {
        let asking = self.open.iter().find(|asking| asking.id == open.id)?;
        let fresh = asking.answers.iter();
        let fresh: Vec<(&Arc<str>, &Answer)> = fresh
            .filter(|(_, answer)| answer.sampled.within(reach(interval), now))
            .collect();
        let rows = match asking.wanted.of {
            Asked::Pods => pods(&fresh, limit),
            Asked::Node | Asked::Other => nodes(&fresh, limit),
        };
        Some((fresh.len(), rows))
    }

    /// Asks no more what nobody has wanted to know for three intervals.
    pub fn forget(&mut self, now: Moment, interval: Duration) {
        self.open.retain(|open| open.is_wanted(now, interval));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Asking {
    fn is_wanted(&self, now: Moment, interval: Duration) -> bool {
        self.last.within(reach(interval), now)
    }

    fn question(&self) -> Question {
        Question {
            id: self.id,
            of: self.wanted.of,
            metric: self.wanted.metric.id().into_owned(),
            namespace: self.wanted.namespace.clone(),
            most: self.most as u32,
        }
    }

    /// An agent hears it with the next reply, and answers with the report after that.
    fn open(&self, interval: Duration) -> Open {
        Open {
            id: self.id,
            until: self.began.plus((interval * 2 + LATE).min(LONGEST_WAIT)),
            complete: self.complete.subscribe(),
            displaced: 0,
        }
    }

    fn answer(
        &self,
        found: &Found,
        sampled: Moment,
        node: Node,
        is_here: impl Fn(&Uid) -> bool,
    ) -> Answer {
        let is_possible = |value: f64| (0.0..=node.most(self.wanted.metric)).contains(&value);
        let namespace = self.wanted.namespace.as_deref();
        let mut seen = HashSet::new();
        let of_this = |row: &&PodFigure| {
            let is_asked = namespace.is_none_or(|namespace| row.namespace == *namespace);
            is_asked && is_possible(row.value) && is_here(&row.uid) && seen.insert(row.uid)
        };
        let is_of_pods = self.wanted.of == Asked::Pods;
        let pods = found.pods.iter().filter(|_| is_of_pods).filter(of_this);
        Answer {
            sampled,
            pods: pods
                .take(self.most)
                .map(|row| Row {
                    uid: row.uid,
                    value: row.value,
                    name: format!("{}/{}", row.namespace, row.name).into(),
                })
                .collect(),
            node: found
                .node
                .filter(|value| !is_of_pods && is_possible(*value)),
        }
    }
}

fn pods(answers: &[(&Arc<str>, &Answer)], limit: usize) -> Vec<TopRow> {
    let mut rows: Vec<(&Arc<str>, &Row)> = answers
        .iter()
        .flat_map(|(node, answer)| answer.pods.iter().map(move |row| (*node, row)))
        .collect();
    // Two pods of a name are never there at once; before and after, the UID tells them apart.
    let compare = |one: &Row, other: &Row| {
        let ((namespace, name), (its, its_name)) = (one.names(), other.names());
        order((one.value, namespace, name), (other.value, its, its_name))
            .then(one.uid.cmp(&other.uid))
    };
    // There may be a hundred thousand, and agents wait for the lock meanwhile: only the first ones are put in order.
    let compare =
        |(_, one): &(&Arc<str>, &Row), (_, other): &(&Arc<str>, &Row)| compare(one, other);
    if limit < rows.len() {
        rows.select_nth_unstable_by(limit, compare);
        rows.truncate(limit);
    }
    rows.sort_unstable_by(compare);
    let row = |(node, row): &(&Arc<str>, &Row)| {
        let (namespace, name) = row.names();
        TopRow {
            kind: None,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: Some(row.uid),
            node: Some(node.as_ref().into()),
            pods: None,
            counted: None,
            value: row.value,
        }
    };
    rows.iter().map(row).collect()
}

fn nodes(answers: &[(&Arc<str>, &Answer)], limit: usize) -> Vec<TopRow> {
    let mut rows: Vec<(&str, f64)> = answers
        .iter()
        .filter_map(|(node, answer)| Some((node.as_ref(), answer.node?)))
        .collect();
    rows.sort_unstable_by(|(one, value), (other, its)| order((*value, "", one), (*its, "", other)));
    let row = |(node, value): &(&str, f64)| TopRow {
        kind: None,
        namespace: None,
        name: (*node).to_owned(),
        uid: None,
        node: None,
        pods: None,
        counted: None,
        value: *value,
    };
    rows.iter().take(limit).map(row).collect()
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
