//! The planner: from what is wanted, what is there and what was written down to what happens next. It
//! knows no clock but `now` and does nothing itself.
//!
//! At every step:
//!
//! * a serving agent is taken away only while fewer nodes than the budget are without one, whoever took
//!   theirs away; nodes that are NotReady neither count nor are touched, unless they went down after we
//!   updated them;
//! * nodes whose agent does not serve anyway go first, and never more than the budget are under way;
//! * nothing beyond the canary is touched before the canary has soaked;
//! * a node that is at the target is never taken back, but by a rollback;
//! * a pod is deleted only if the record that is written says that its node is under way, and the DaemonSet
//!   carries the template that should replace it.

mod failures;
mod pods;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Fleet, Node, Pod, Policy, Record, Run, Stage, Standing, Waiting};

/// The longest text that a record keeps about why it ended.
const MAX_WHY: usize = 1024;

/// Everything that a decision depends on, but the clock.
pub(crate) struct Input<'a> {
    pub(crate) policy: &'a Policy,
    /// The revision that the plugin asks for.
    pub(crate) wanted: &'a str,
    /// The plugin's generation.
    pub(crate) generation: i64,
    /// Whether a change that comes with another operator may begin now.
    pub(crate) turn: &'a Turn,
    /// The template that stands in the DaemonSet.
    pub(crate) carried: &'a Carried,
    pub(crate) fleet: &'a Fleet,
    /// As it is written.
    pub(crate) record: &'a Record,
    /// Since when this replica has led. What it has not seen happen before that may have happened.
    pub(crate) leads_since: Timestamp,
    /// Why pods cannot be created, in the API server's words.
    pub(crate) refused: Option<&'a str>,
}

/// Which plugin's agents a new operator changes first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    Ours,
    /// The one that has to be done before.
    After(String),
}

/// The template that stands in the DaemonSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Carried {
    /// Its revision, if there is a DaemonSet and it says.
    pub(crate) revision: Option<String>,
    /// Whether the DaemonSet controller has taken notice of it.
    pub(crate) observed: bool,
    /// When the DaemonSet was made, if there is one.
    pub(crate) made: Option<Timestamp>,
    /// Since when its controller is known to have taken notice of this very template.
    pub(crate) since: Option<Timestamp>,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// To be written first, if it differs.
    pub(crate) record: Record,
    /// The revision whose template the DaemonSet has to carry.
    pub(crate) carry: String,
    /// The pods to delete now.
    pub(crate) delete: Vec<Deletion>,
    pub(crate) standing: Standing,
    /// When something changes by the mere passing of time.
    pub(crate) again: Option<Timestamp>,
}

/// A pod to delete, if it is still as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deletion {
    pub(crate) node: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

/// Decides.
pub(crate) fn plan(input: &Input<'_>, now: Timestamp) -> Decision {
    let mut record = input.record.clone();
    let waits_for = begin(input, &mut record, now);
    let Some(run) = record.run.take() else {
        // `begin` has made one unless another plugin goes first, and then one is there.
        unreachable!("a rollout has begun")
    };
    let mut planner = Planner {
        input,
        now,
        good: record.good.clone(),
        run,
        again: None,
    };
    planner.stay_where_there_is_no_way_back();
    planner.tidy();
    planner.withdraw();
    let failing = planner.failing();
    planner.judge(&failing);
    let waiting = planner.advance();
    let waiting = waits_for.map_or(waiting, Waiting::Plugin);
    let carry = planner.carry();
    let delete = planner.deletions(&carry);
    let standing = planner.standing(waiting, failing);
    Decision {
        carry,
        delete,
        standing,
        again: planner.again,
        record: Record {
            good: planner.good,
            run: Some(planner.run),
        },
    }
}

/// Begins a rollout if another revision is wanted than the newest one is about. Returns the plugin that
/// has to be done before, if there is one.
fn begin(input: &Input<'_>, record: &mut Record, now: Timestamp) -> Option<String> {
    let wanted = input.wanted;
    let mut upgrade = false;
    if let Some(run) = &mut record.run {
        let same_spec = run.generation == input.generation;
        let failed = run.stage.goes_back() || matches!(run.stage, Stage::Halted { .. });
        // After a failure any change of the spec is another attempt.
        if run.target == wanted && (same_spec || !failed) {
            run.generation = input.generation;
            return None;
        }
        upgrade = same_spec;
    }
    if upgrade && let Turn::After(other) = input.turn {
        return Some(other.clone());
    }
    // Where nothing else serves, or may serve again, there is nothing that a canary would protect.
    let protects = |node: &Node| {
        let ready = |pod: &Pod| pod.ready_since.is_some();
        !node.is_at(wanted)
            && node
                .pod
                .as_ref()
                .is_some_and(|pod| ready(pod) || !node.up || record.good.is_some())
    };
    let known_good = record.good.as_deref() == Some(wanted);
    let canary =
        input.policy.has_canary() && !known_good && input.fleet.nodes.values().any(protects);
    record.run = Some(Run {
        target: wanted.to_owned(),
        generation: input.generation,
        upgrade,
        started: now,
        stage: if canary {
            Stage::Canary
        } else {
            Stage::Rolling
        },
        canary: BTreeMap::new(),
        in_flight: BTreeMap::new(),
    });
    None
}

/// The API server's stamps are whole seconds, by another clock than ours: a pod that seems to be older than
/// the rollout by less than this was made for it.
const SKEW: Duration = Duration::from_secs(5);

struct Planner<'a> {
    input: &'a Input<'a>,
    now: Timestamp,
    good: Option<String>,
    run: Run,
    again: Option<Timestamp>,
}

impl<'a> Planner<'a> {
    /// The revision that nodes get now.
    fn goal(&self) -> &str {
        match (&self.good, self.run.stage.goes_back()) {
            (Some(good), true) => good,
            _ => &self.run.target,
        }
    }

    fn nodes(&self) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        let nodes = &self.input.fleet.nodes;
        nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        self.input.fleet.nodes.get(name)
    }

    fn desired(&self) -> usize {
        self.input.fleet.nodes.len()
    }

    fn budget(&self) -> usize {
        self.input.policy.budget(self.desired())
    }

    fn serves(&self, node: &Node) -> bool {
        node.serves(self.input.policy.min_ready, self.now)
    }

    /// At the goal, and serving.
    fn is_done(&self, node: &Node) -> bool {
        node.is_at(self.goal()) && self.serves(node)
    }

    /// Whether the node went down after we updated it: soon after, or at any time as a canary.
    fn went_down_after_us(&self, name: &str, node: &Node) -> bool {
        let halted = matches!(self.run.stage, Stage::Halted { .. });
        if node.up || !(halted || self.run.stage.is_under_way()) {
            return false;
        }
        match &node.pod {
            Some(pod) if node.is_at(self.goal()) => {
                let soon = later(pod.created, self.input.policy.deadline);
                let canary = self.run.canary.contains_key(name);
                let ours = canary || later(pod.created, SKEW) >= self.run.started;
                node.since >= pod.created && ours && (canary || node.since <= soon)
            }
            // Its old pod is gone already.
            None => self.run.in_flight.contains_key(name),
            Some(_) => false,
        }
    }

    /// Nodes without a serving agent that count against the budget.
    fn away(&self) -> BTreeSet<&'a str> {
        self.nodes()
            .filter(|(name, node)| {
                self.run.in_flight.contains_key(*name)
                    || (node.up && !self.serves(node))
                    || self.went_down_after_us(name, node)
            })
            .map(|(name, _)| name)
            .collect()
    }

    /// When whoever began at `since` should be done: what could not happen, or was not looked at, takes no
    /// time.
    fn due(&self, since: Timestamp) -> Timestamp {
        let possible = self.input.carried.made.unwrap_or(self.now);
        let since = since.max(possible).max(self.input.leads_since);
        later(since, self.input.policy.deadline)
    }

    /// Whether the DaemonSet carries what the nodes should get.
    fn carries_goal(&self) -> bool {
        self.input.carried.revision.as_deref() == Some(self.goal())
    }

    /// Looks again at this time at the latest.
    fn look_again(&mut self, at: Timestamp) {
        if at > self.now {
            self.again = Some(self.again.map_or(at, |before| before.min(at)));
        }
    }

    /// Without the template of the good revision nothing goes back to it, and certainly not to the one that
    /// failed.
    fn stay_where_there_is_no_way_back(&mut self) {
        if self.good.is_some() {
            return;
        }
        if let Stage::RollingBack { why } | Stage::RolledBack { why } = &self.run.stage {
            let why = format!("The template of the last good revision is gone. {why}");
            self.run.stage = Stage::Halted {
                why: why.chars().take(MAX_WHY).collect(),
            };
            self.run.in_flight.clear();
        }
    }

    /// Strikes out what is done, gone, or was never begun.
    fn tidy(&mut self) {
        let keep = |planner: &Self, name: &str| {
            planner.node(name).is_some_and(|node| {
                let untouched = !node.up && node.pod.is_some() && !node.is_at(planner.goal());
                !planner.is_done(node) && !untouched
            })
        };
        let over: Vec<String> = self.run.in_flight.keys().cloned().collect();
        for name in over {
            if !keep(self, &name) {
                self.run.in_flight.remove(&name);
            }
        }
        let fits = |planner: &Self, name: &str| {
            let by_label = planner.input.policy.canary_labels.is_some();
            planner.node(name).is_some_and(|node| {
                let begun = node.is_at(planner.goal()) || planner.run.in_flight.contains_key(name);
                (node.up || begun) && (!by_label || node.canary || begun)
            })
        };
        let canary: Vec<String> = self.run.canary.keys().cloned().collect();
        for name in canary {
            if !fits(self, &name) {
                self.run.canary.remove(&name);
            }
        }
    }

    /// Takes nodes back out whose old agent still serves, where others have lost theirs meanwhile and the
    /// budget is spent.
    fn withdraw(&mut self) {
        let budget = self.budget();
        let mut without = self
            .nodes()
            .filter(|(name, node)| {
                (node.up && !self.serves(node)) || self.went_down_after_us(name, node)
            })
            .count();
        let untouched: Vec<String> = self
            .run
            .in_flight
            .keys()
            .filter(|name| self.node(name).is_some_and(|node| self.serves(node)))
            .cloned()
            .collect();
        for name in untouched {
            if without < budget {
                without += 1;
            } else {
                self.run.in_flight.remove(&name);
            }
        }
    }
}

/// `duration` after `at`.
fn later(at: Timestamp, duration: Duration) -> Timestamp {
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
