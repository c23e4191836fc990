//! What has to hold: whenever a pod is deleted, whenever the record changes, and in the end.

use super::*;

impl World {
    /// A DaemonSet that is made anew gives all nodes a pod at once: of what is tried out on a canary only as
    /// many as may be away.
    pub(super) fn check_what_is_made_anew(&mut self) {
        let Some(observed) = self.observed.filter(|_| self.made_anew) else {
            return;
        };
        self.made_anew = false;
        if observed < self.forbidden {
            return;
        }
        let run = self.record.run.as_ref().unwrap();
        let tried = matches!(run.stage, Stage::Canary | Stage::Soaking { .. })
            && self.record.good.is_some()
            && revision(observed) == run.target;
        if tried {
            let bare = self.nodes.iter().filter(|(name, node)| {
                node.up
                    && self.seen.nodes.contains_key(*name)
                    && node
                        .pods
                        .iter()
                        .all(|pod| pod.gone_at.is_some_and(|at| at <= self.now))
            });
            let (bare, budget) = (bare.count(), self.policy().budget(self.nodes.len()));
            assert!(
                bare <= budget,
                "{bare} nodes get what is tried out, of {budget}"
            );
        }
    }

    pub(super) fn delete(&mut self, deletion: &Deletion, policy: &Policy, late: bool) {
        self.deleted.insert(deletion.uid.clone());
        let there = self.nodes.contains_key(&deletion.node);
        let serves = there && self.is_known_to_serve(&deletion.node);
        let without: BTreeSet<String> = self
            .nodes
            .iter()
            .filter(|(name, node)| node.up && !self.serves(name))
            .map(|(name, _)| name.clone())
            .collect();
        let budget = policy.budget(self.nodes.len());
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&deletion.node) else {
            return;
        };
        let Some(pod) = node
            .pods
            .iter_mut()
            .find(|pod| pod.uid.to_string() == deletion.uid)
        else {
            return;
        };
        if pod.gone_at.is_some() {
            return;
        }
        let run = self.record.run.as_ref().unwrap();
        let goal = self.record.effective().unwrap();
        let of = revision(pod.revision);
        assert!(
            late || node.up,
            "a pod of a NotReady node is deleted: {}",
            deletion.node
        );
        assert_ne!(of, goal, "an updated node is taken back: {}", deletion.node);
        assert!(
            self.record.good.is_some() || run.stage.is_under_way() || run.stage == Stage::Done,
            "a pod is deleted with no way back: {}",
            deletion.node
        );
        let repair = !run.in_flight.contains_key(&deletion.node);
        if repair {
            assert!(
                !serves || late,
                "a serving pod is deleted that is not under way"
            );
        }
        if matches!(run.stage, Stage::Canary | Stage::Soaking { .. }) && serves {
            assert!(
                run.canary.contains_key(&deletion.node),
                "beyond the canary: {}",
                deletion.node
            );
        }
        pod.gone_at = Some(now + SignedDuration::from_secs(1));
        pod.ready_at = None;
        if serves {
            node.victim = true;
        }
        if !late && serves {
            assert!(
                without.len() < budget,
                "{} of {budget} are away already ({without:?}), and {} is taken",
                without.len(),
                deletion.node
            );
        }
        if serves {
            let victims = self
                .nodes
                .values()
                .filter(|node| node.victim && node.up)
                .count();
            assert!(
                victims <= budget,
                "{victims} nodes are without agent because of us, of {budget}"
            );
        }
    }

    /// More nodes are put under way only within the budget, which may have been larger before, and never
    /// where the spec says to stand still. A canary that is unwell while it soaks is put back, as it does not
    /// serve.
    pub(super) fn check_growth(&self, next: &Record, policy: &Policy, fleet: &Fleet) {
        let (Some(before), Some(after)) = (&self.record.run, &next.run) else {
            return;
        };
        assert!(
            matches!(self.turn, Turn::Ours) || !after.upgrade || before.target == after.target,
            "it is another plugin's turn"
        );
        let soaked = matches!(before.stage, Stage::Soaking { .. });
        let mut started = after.in_flight.keys();
        if !started.any(|name| !before.in_flight.contains_key(name)) || soaked {
            return;
        }
        let budget = policy.budget(fleet.nodes.len());
        assert!(
            after.in_flight.len() <= budget.max(before.in_flight.len()),
            "more under way than allowed"
        );
        assert!(!policy.paused, "a node is started while it is paused");
        if !after.stage.goes_back() {
            let at = |name: &&String| {
                after.in_flight.contains_key(*name) || fleet.nodes[*name].is_at(&after.target)
            };
            let touched = fleet.nodes.keys().filter(at).count();
            let allowed = fleet.nodes.len().saturating_sub(policy.partition);
            let touched_before = fleet.nodes.keys().filter(|name| {
                before.in_flight.contains_key(*name) || fleet.nodes[*name].is_at(&after.target)
            });
            assert!(
                touched <= allowed.max(touched_before.count()),
                "{touched} nodes get the target, of {allowed} that the partition leaves"
            );
        }
    }

    /// A rollout ends badly only where something of it is bad: its pods, where they are, or where they cannot
    /// be created, or a node that went down.
    pub(super) fn check_end(&self, next: &Record, policy: &Policy, late: bool) {
        let (Some(before), Some(after)) = (&self.record.run, &next.run) else {
            return;
        };
        let ends = before.stage.is_under_way()
            && (after.stage.goes_back() || matches!(after.stage, Stage::Halted { .. }));
        if !ends || late || self.record.good.is_none() {
            return;
        }
        let target: usize = after.target[1..].parse().unwrap();
        let bad = self.revisions[target] != Behaviour::Good;
        let long =
            |at: Timestamp| at.saturating_add(policy.deadline).unwrap() <= self.now + self.skew;
        let refused = self.forbidden > target;
        let down = self.nodes.values().any(|node| !node.up);
        // One that was down while its time ran, or that goes so slowly that another took its pod again.
        let late_node = before.in_flight.values().any(|since| long(*since));
        assert!(
            bad || refused || down || late_node,
            "a good rollout ended: {:?}",
            after.stage
        );
    }

    /// Lets everything settle, and checks that the rollout ended or names what it waits for.
    pub(super) fn settle(&mut self) {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            let node = self.nodes.get_mut(&name).unwrap();
            if !node.up {
                node.up = true;
                node.since = self.now;
            }
        }
        self.suspended = false;
        self.turn = Turn::Ours;
        // Half of the time what was refused still is.
        if self.next.is_multiple_of(2) {
            self.forbidden = 0;
        }
        self.set("paused", json!(false));
        self.set("partition", json!(0));
        for _ in 0..40 {
            for _ in 0..10 {
                self.second();
            }
            for _ in 0..3 {
                self.second();
                self.operate(false, usize::MAX);
            }
        }
        let run = self.record.run.as_ref().unwrap();
        let at = |name: &String, revision: &str| self.look().nodes[name].is_at(revision);
        let up: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.up)
            .map(|(name, _)| name.clone())
            .collect();
        match &run.stage {
            Stage::Done | Stage::RolledBack { .. } => {
                let goal = self.record.effective().unwrap();
                let behind: Vec<_> = up.iter().filter(|name| !at(name, goal)).collect();
                // Others that fail may keep them, and then that is said.
                let goal_number: usize = goal[1..].parse().unwrap();
                let excused = |name: &str| match &self.standing.waiting {
                    Waiting::Budget { away, budget } => {
                        away.len() >= *budget && away.iter().all(|name| !self.serves(name))
                    }
                    // None can be created there.
                    _ => self.look().nodes[name].pod.is_none() && goal_number < self.forbidden,
                };
                assert!(
                    behind.iter().all(|name| excused(name)),
                    "{behind:?} were left behind: {:?}",
                    self.standing
                );
            }
            Stage::Halted { why } => assert!(!why.is_empty()),
            _ => assert_ne!(
                self.standing.waiting,
                Waiting::Nothing,
                "it stands still without a word: {run:?}"
            ),
        }
        // What is good everywhere gets everywhere.
        let all_good = self
            .revisions
            .iter()
            .all(|behaviour| *behaviour == Behaviour::Good);
        if all_good
            && self.forbidden == 0
            && !up.is_empty()
            && self.standing.waiting != Waiting::NoCanary
        {
            assert_eq!(run.stage, Stage::Done, "{:?}", self.standing);
        }
    }
}
