//! How far a rollout goes now, and which nodes it starts.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Planner, later};
use crate::rollout::{Stage, Waiting};

impl Planner<'_> {
    /// Takes the stage as far as it goes now and starts nodes. Returns what is waited for.
    pub(super) fn advance(&mut self) -> Waiting {
        if self.input.policy.paused && self.run.stage.is_under_way() {
            let pending = self.pending_names();
            return match pending.is_empty() && self.all_up_are_done() {
                true => Waiting::Nothing,
                false => Waiting::Paused,
            };
        }
        if matches!(self.run.stage, Stage::Canary) {
            let waiting = self.canary();
            if !matches!(self.run.stage, Stage::Rolling) {
                return waiting;
            }
        }
        if let Stage::Soaking { since } = self.run.stage {
            let waiting = self.soak(since);
            if !matches!(self.run.stage, Stage::Rolling) {
                return waiting;
            }
        }
        match self.run.stage {
            Stage::Rolling => self.roll(),
            Stage::RollingBack { .. } if self.input.policy.paused => Waiting::Paused,
            Stage::RollingBack { .. } => self.start_rest(usize::MAX),
            Stage::Done | Stage::RolledBack { .. } => self.stragglers(),
            _ => Waiting::Nothing,
        }
    }

    fn all_up_are_done(&self) -> bool {
        self.nodes()
            .filter(|(_, node)| node.up)
            .all(|(_, node)| self.is_done(node))
    }

    /// How many nodes may be at the target in the end.
    fn allowance(&self) -> usize {
        let partition = self.input.policy.partition;
        self.desired().saturating_sub(partition)
    }

    /// How many further nodes may be started until then.
    fn allowed_now(&self) -> usize {
        let touched = self
            .nodes()
            .filter(|(name, node)| {
                node.is_at(self.goal()) || self.run.in_flight.contains_key(*name)
            })
            .count();
        self.allowance().saturating_sub(touched)
    }

    fn canary(&mut self) -> Waiting {
        if self.desired() > 0 && self.allowance() == 0 {
            let partition = self.input.policy.partition;
            return Waiting::PartitionTooLarge { partition };
        }
        match self.input.policy.canary_count(self.desired()) {
            Some(count) => self.choose_canary(count.min(self.allowance())),
            None => {
                let chosen: Vec<_> = self
                    .nodes()
                    .filter(|(_, node)| node.canary && node.up)
                    .map(|(name, _)| name.to_owned())
                    .take(scope_crds::MAX_IN_FLIGHT)
                    .collect();
                for name in chosen {
                    self.run.canary.entry(name).or_default();
                }
                if !self.nodes().any(|(_, node)| node.canary) {
                    return Waiting::NoCanary;
                }
            }
        }
        if self.run.canary.is_empty() {
            return match self.input.policy.has_canary() {
                true => Waiting::Down,
                // Switched off meanwhile.
                false => {
                    self.run.stage = Stage::Rolling;
                    Waiting::Nothing
                }
            };
        }
        let canary: Vec<String> = self.run.canary.keys().cloned().collect();
        let open: Vec<_> = canary
            .iter()
            .filter_map(|name| Some((name.as_str(), self.node(name)?)))
            .filter(|(_, node)| !self.is_done(node))
            .collect();
        if open.is_empty() {
            let restarts = |name: &String| {
                let pod = self.node(name).and_then(|node| node.pod.as_ref());
                pod.map_or(0, |pod| pod.restarts)
            };
            self.run.canary = canary
                .iter()
                .map(|name| (name.clone(), restarts(name)))
                .collect();
            self.run.stage = Stage::Soaking { since: self.now };
            return self.soak(self.now);
        }
        let open: Vec<_> = open.into_iter().map(|(name, _)| name.to_owned()).collect();
        let allowed = self.allowed_now();
        let waiting = self.start(&open, allowed);
        // They would all get what is tried at once; see `few_others_lack_pods`.
        if self.a_started_node_lacks_pod() && !self.few_others_lack_pods() {
            let away = self.away().into_iter().map(str::to_owned).collect();
            let budget = self.budget();
            return Waiting::Budget { away, budget };
        }
        waiting
    }

    /// The canary's nodes: those that are at the target already, those that do not serve anyway, and
    /// others by name.
    fn choose_canary(&mut self, count: usize) {
        if self.run.canary.len() >= count {
            return;
        }
        let mut others: Vec<_> = self
            .nodes()
            .filter(|(name, node)| node.up && !self.run.canary.contains_key(*name))
            .collect();
        others.sort_by_key(|(name, node)| (!node.is_at(self.goal()), self.serves(node), *name));
        let missing = count - self.run.canary.len();
        for (name, _) in others.into_iter().take(missing) {
            self.run.canary.insert(name.to_owned(), 0);
        }
    }

    fn soak(&mut self, since: Timestamp) -> Waiting {
        let unwell: Vec<String> = self
            .run
            .canary
            .keys()
            .filter(|name| self.node(name).is_none_or(|node| !self.is_done(node)))
            .cloned()
            .collect();
        if self.run.canary.is_empty() || !unwell.is_empty() {
            // Not certain enough to fail; it gets the time that a start gets, and soaks anew.
            self.run.stage = Stage::Canary;
            for name in &unwell {
                self.run.in_flight.entry(name.clone()).or_insert(self.now);
            }
            return match unwell.is_empty() {
                true => self.canary(),
                false => Waiting::Nodes(unwell),
            };
        }
        let until = later(since, self.input.policy.soak);
        if until > self.now {
            self.look_again(until);
            return Waiting::Soak { until };
        }
        self.run.stage = Stage::Rolling;
        Waiting::Nothing
    }

    fn roll(&mut self) -> Waiting {
        let partition = self.input.policy.partition;
        if partition > 0 && self.desired() > 0 && self.allowance() == 0 && !self.all_up_are_done() {
            return Waiting::PartitionTooLarge { partition };
        }
        self.start_rest(self.allowed_now())
    }

    /// Starts as many of all nodes as may be.
    fn start_rest(&mut self, allowed: usize) -> Waiting {
        let open: Vec<String> = self
            .nodes()
            .filter(|(_, node)| node.up && !self.is_done(node))
            .map(|(name, _)| name.to_owned())
            .collect();
        if open.is_empty() && self.nodes().any(|(_, node)| !node.up) {
            return Waiting::Down;
        }
        self.start(&open, allowed)
    }

    /// Nodes that come back, or were left out, get the revision that all others have. One whose agent
    /// merely does not serve is no rollout.
    fn stragglers(&mut self) -> Waiting {
        let behind: Vec<String> = self
            .nodes()
            .filter(|(_, node)| node.up && node.pod.is_some() && !node.is_at(self.goal()))
            .map(|(name, _)| name.to_owned())
            .collect();
        if behind.is_empty() && self.run.in_flight.is_empty() {
            return Waiting::Nothing;
        }
        if self.input.policy.paused {
            return Waiting::Paused;
        }
        let allowed = match self.run.stage.goes_back() {
            true => usize::MAX,
            false => self.allowed_now(),
        };
        self.start(&behind, allowed)
    }

    /// Puts nodes under way: those that do not serve first, those that do while the budget lasts.
    fn start(&mut self, open: &[String], allowed: usize) -> Waiting {
        let budget = self.budget();
        let mut away = self.away();
        let mut left = allowed;
        let goal = self.goal().to_owned();
        let mut candidates: Vec<_> = open
            .iter()
            .filter_map(|name| Some((name.as_str(), self.node(name)?)))
            .filter(|(name, node)| {
                node.up
                    && node.pod.is_some()
                    && !node.is_at(&goal)
                    && !self.run.in_flight.contains_key(*name)
            })
            .collect();
        candidates.sort_by_key(|(name, node)| (self.serves(node), *name));
        let (mut short, mut held) = (false, false);
        for (name, node) in candidates {
            if left == 0 {
                held = true;
                break;
            }
            let free = match self.serves(node) {
                true => away.len() < budget,
                false => self.run.in_flight.len() < budget,
            };
            if !free || self.run.in_flight.len() >= budget {
                short = true;
                continue;
            }
            if let Some((name, _)) = self.input.fleet.nodes.get_key_value(name) {
                away.insert(name);
            }
            self.run.in_flight.insert(name.to_owned(), self.now);
            left -= 1;
        }
        let names = self.pending_names();
        let starting: Vec<String> = open
            .iter()
            .filter(|name| {
                names.contains(*name)
                    || self
                        .node(name)
                        .is_some_and(|n| n.is_at(&goal) || n.pod.is_none())
            })
            .cloned()
            .collect();
        for name in &starting {
            if let Some(since) = self.run.in_flight.get(name) {
                let deadline = self.due(*since);
                self.look_again(deadline);
            }
        }
        if short && (self.run.in_flight.is_empty() || starting.is_empty()) {
            let away = away.into_iter().map(str::to_owned).collect();
            Waiting::Budget { away, budget }
        } else if !starting.is_empty() {
            Waiting::Nodes(starting)
        } else if held {
            let others = self.nodes().filter(|(_, node)| !node.is_at(&goal));
            Waiting::Partition {
                stay: others.count(),
            }
        } else {
            Waiting::Nothing
        }
    }

    fn pending_names(&self) -> BTreeSet<String> {
        self.run.in_flight.keys().cloned().collect()
    }
}
