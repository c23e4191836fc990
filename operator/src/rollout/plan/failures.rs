//! Which nodes have failed, and when that ends a rollout.

use std::borrow::Cow;

use scope_crds::OnFailure;

use super::{MAX_WHY, Planner};
use crate::rollout::{Failing, Failures, Found, Node, Stage};

impl<'a> Planner<'a> {
    /// All nodes that should serve and do not, and for which that is more than a start that takes its
    /// time.
    pub(super) fn failing(&mut self) -> Failures {
        let mut failing = Failures::default();
        for (name, node) in self.nodes() {
            if let Some(found) = self.failure_of(name, node) {
                failing.add(found);
            }
        }
        failing
    }

    fn failure_of(&mut self, name: &'a str, node: &'a Node) -> Option<Found<'a>> {
        let fails = |reason: &'a str, message: Cow<'a, str>, since, counts| {
            Some(Found {
                node: name,
                reason,
                message,
                since,
                counts,
            })
        };
        let begun = node.is_at(self.goal()) || self.run.in_flight.contains_key(name);
        if !node.up {
            if !self.went_down_after_us(name, node) {
                return None;
            }
            let words = "the node became NotReady after its agent was updated";
            return fails("NodeNotReady", words.into(), node.since, true);
        }
        let soaking = matches!(self.run.stage, Stage::Soaking { .. });
        if let (Some(pod), Some(restarts)) = (&node.pod, self.run.canary.get(name))
            && soaking
            && node.is_at(self.goal())
            && pod.restarts > *restarts
        {
            let said = pod.failure.as_ref().map(|failure| failure.message.as_str());
            let words = said.unwrap_or("its container ended while the canary was watched");
            return fails("Restarted", words.into(), self.now, true);
        }
        // A pod that serves and should be replaced has the time that others have as well.
        let overdue = self.run.stage.is_under_way()
            && self.run.in_flight.contains_key(name)
            && !node.is_at(self.goal());
        if self.serves(node) && !overdue {
            return None;
        }
        if let Some(from) = node.serves_from(self.input.policy.min_ready) {
            self.look_again(from);
        }
        let known = node.pod.as_ref().and_then(|pod| pod.failure.as_ref());
        if let (Some(pod), Some(failure)) = (&node.pod, known)
            && let Some(from) = pod.failed_from()
        {
            if from <= self.now {
                // What another revision left behind is no failure of this one, as long as it is to be
                // replaced.
                let replaced = overdue.then(|| self.run.in_flight.get(name)).flatten();
                let due = replaced.map(|since| self.due(*since));
                if due.is_none_or(|due| due > self.now) {
                    due.into_iter().for_each(|due| self.look_again(due));
                    let counts = node.is_at(self.goal());
                    let message = (&failure.message).into();
                    return fails(&failure.reason, message, pod.created, counts);
                }
            }
            self.look_again(from);
        }
        let since = match (self.run.in_flight.get(name), &node.pod) {
            (Some(since), _) => *since,
            (None, Some(pod)) => pod.created,
            (None, None) => node.bare_since.unwrap_or(self.now),
        };
        let deadline = match &node.pod {
            Some(_) => self.due(since),
            // It can only get what the DaemonSet carries, and where it is under way that has to be the goal.
            None => {
                let carried = self.input.carried.since;
                let possible = carried.filter(|_| !begun || self.carries_goal());
                self.due(since.max(possible.unwrap_or(self.now)))
            }
        };
        if deadline > self.now {
            self.look_again(deadline);
            return None;
        }
        let seconds = self.input.policy.deadline.as_secs();
        let (reason, words) = match (known, &node.pod) {
            (_, Some(_)) if overdue => (
                "NotReplaced",
                format!("its pod was not replaced within {seconds} s").into(),
            ),
            (Some(failure), _) => (failure.reason.as_str(), (&failure.message).into()),
            (None, Some(_)) => (
                "NotReady",
                format!("its agent was not ready within {seconds} s").into(),
            ),
            (None, None) => {
                let said = self.input.refused.map(|said| format!(": {said}"));
                let said = said.unwrap_or_default();
                (
                    "NoPod",
                    format!("no pod was created within {seconds} s{said}").into(),
                )
            }
        };
        // Without any pod it counts where the rollout took the old one, or where it should have made one.
        let counts = begun || (node.pod.is_none() && self.carries_goal());
        fails(reason, words, since, counts)
    }

    /// Ends a rollout with too many failures, and one that is done.
    pub(super) fn judge(&mut self, failing: &Failures) {
        let up: Vec<_> = self.nodes().filter(|(_, node)| node.up).collect();
        let all_done = !up.is_empty()
            && self.run.in_flight.is_empty()
            && up.iter().all(|(_, node)| self.is_done(node));
        let halted_first = matches!(self.run.stage, Stage::Halted { .. }) && self.good.is_none();
        match &self.run.stage {
            Stage::RollingBack { why } if all_done => {
                self.run.stage = Stage::RolledBack { why: why.clone() };
                return;
            }
            // The first one has nothing to go back to, so its nodes may recover by themselves.
            _ if halted_first && all_done => return self.complete(),
            stage if !stage.is_under_way() => return,
            _ => {}
        }
        // What is known to be good is not stopped by a node that is not.
        if self.good.as_deref() != Some(&self.run.target) {
            let rest = matches!(self.run.stage, Stage::Rolling);
            let forgiven = match rest {
                true => self.input.policy.forgiven(self.desired()),
                false => 0,
            };
            if failing.counted() > forgiven {
                self.stop(failing);
                return;
            }
        }
        if matches!(self.run.stage, Stage::Rolling) && (all_done || self.rest_is_forgiven(failing))
        {
            self.complete();
        }
    }

    /// Whether no node is left to be updated, and those that do not serve are known to have failed, no more
    /// of them than may.
    fn rest_is_forgiven(&mut self, failing: &Failures) -> bool {
        let forgiven = self.input.policy.forgiven(self.desired());
        if !(1..=forgiven).contains(&failing.counted()) {
            return false;
        }
        let mut some = false;
        for (name, node) in self.nodes().filter(|(_, node)| node.up) {
            if node.pod.is_some() && !node.is_at(self.goal()) {
                return false;
            }
            let over = self.is_done(node) && !self.run.in_flight.contains_key(name);
            if !over
                && self
                    .failure_of(name, node)
                    .is_none_or(|found| !found.counts)
            {
                return false;
            }
            some = true;
        }
        some
    }

    fn complete(&mut self) {
        self.good = Some(self.run.target.clone());
        self.run.stage = Stage::Done;
        self.run.canary.clear();
        self.run.in_flight.clear();
    }

    fn stop(&mut self, failing: &Failures) {
        let part = match self.run.stage {
            Stage::Rolling => "",
            _ => " of the canary",
        };
        let counted = failing.counted();
        // What counts comes before what does not.
        let first = failing.worst().first().map(Failing::in_words);
        let why = format!(
            "{} node{}{part} failed; {}",
            counted,
            if counted == 1 { "" } else { "s" },
            first.unwrap_or_default()
        );
        let why = why.chars().take(MAX_WHY).collect();
        let back = self.input.policy.on_failure == OnFailure::Rollback && self.good.is_some();
        self.run.stage = match back {
            true => Stage::RollingBack { why },
            false => Stage::Halted { why },
        };
        if back {
            // They were under way to the other revision; whoever does not serve counts all the same.
            self.run.in_flight.clear();
        }
    }
}
