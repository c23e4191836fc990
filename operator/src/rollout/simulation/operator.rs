//! The operator: what it knows, and a look of it that may be cut off between two writes.

use super::*;

impl World {
    /// What the operator knows: what it saw, less the pods that it has deleted itself.
    pub(super) fn known(&mut self) -> Fleet {
        let mut fleet = self.seen.clone();
        let now = self.now + self.skew;
        let mut bare = BTreeMap::new();
        for (name, node) in &mut fleet.nodes {
            // Without a DaemonSet no pod is one of its.
            let lost = |pod: &Pod| self.carried.is_none() || self.deleted.contains(&pod.uid);
            if node.pod.as_ref().is_some_and(lost) {
                node.pod = None;
            }
            if node.up && node.pod.is_none() {
                let since = *self.bare.get(name).unwrap_or(&now);
                node.bare_since = Some(since);
                bare.insert(name.clone(), since);
            }
        }
        self.bare = bare;
        fleet
    }

    /// Another one leads, or the same after a while, with nothing but what is written.
    pub(super) fn forget(&mut self) {
        self.deleted.clear();
        self.bare.clear();
        self.in_force = None;
        self.leads_since = self.now;
    }

    /// Since when the operator knows the template to be in force.
    pub(super) fn in_force(&mut self) -> Option<Timestamp> {
        let carried = self.carried.filter(|_| self.carried == self.observed)?;
        let now = self.now + self.skew;
        let known = self.in_force.filter(|(revision, _)| *revision == carried);
        let (_, since) = *self.in_force.insert(known.unwrap_or((carried, now)));
        Some(since)
    }

    /// One look of the operator, cut off after so many writes.
    pub(super) fn operate(&mut self, late: bool, mut writes: usize) {
        self.steps += 1;
        if !late {
            self.seen = self.look();
        }
        if self.suspended {
            self.carried = None;
            self.observed = None;
            self.made = None;
            self.made_anew = true;
            return;
        }
        let policy = self.policy();
        let now = self.now + self.skew;
        // As the controller does: again at once after the record is written.
        for _ in 0..3 {
            let fleet = self.known();
            let carried = Carried {
                revision: self.carried.map(revision),
                observed: self.carried == self.observed,
                made: self.made.map(whole_seconds),
                since: self.in_force(),
            };
            let decision = plan(
                &Input {
                    policy: &policy,
                    wanted: &revision(self.wanted),
                    generation: self.generation,
                    turn: &self.turn,
                    carried: &carried,
                    fleet: &fleet,
                    record: &self.record,
                    leads_since: self.leads_since + self.skew,
                    refused: None,
                },
                now,
            );
            self.standing = decision.standing.clone();
            if decision.record != self.record {
                if writes == 0 {
                    return;
                }
                writes -= 1;
                self.check_growth(&decision.record, &policy, &fleet);
                self.check_end(&decision.record, &policy, late);
                self.record = decision.record;
                continue;
            }
            let carry: usize = decision.carry[1..].parse().unwrap();
            if self.carried != Some(carry) {
                if writes == 0 {
                    return;
                }
                writes -= 1;
                self.carried = Some(carry);
                self.made.get_or_insert(self.now);
            }
            for deletion in decision.delete {
                if writes == 0 {
                    return;
                }
                writes -= 1;
                self.delete(&deletion, &policy, late);
            }
            return;
        }
    }
}
