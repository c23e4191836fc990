//! Which template the DaemonSet carries, which pods are deleted, and how it all
//! stands.

use super::{Deletion, Planner};
use crate::rollout::{Failures, Node, Pod, Stage, Standing, Waiting};

impl Planner<'_> {
    /// Which template the DaemonSet carries.
    pub(super) fn carry(&self) -> String {
        let goal = self.goal();
        let Some(good) = self.good.as_deref() else {
            // What failed is not made to be the template again.
            return match (&self.run.stage, &self.input.carried.revision) {
                (Stage::Halted { .. }, Some(carried)) => carried.clone(),
                _ => goal.to_owned(),
            };
        };
        let needed = match self.run.stage {
            Stage::Canary | Stage::Soaking { .. } => {
                self.a_started_node_lacks_pod() && self.few_others_lack_pods()
            }
            Stage::Rolling if self.input.policy.paused => self.a_started_node_lacks_pod(),
            // Where nothing of another revision runs any more, nothing is tried out.
            Stage::Rolling => {
                !self.run.in_flight.is_empty()
                    || self
                        .nodes()
                        .all(|(_, node)| node.pod.is_none() || node.is_at(goal))
            }
            Stage::Done => true,
            Stage::Halted { .. } | Stage::RollingBack { .. } | Stage::RolledBack { .. } => false,
        };
        if needed { goal } else { good }.to_owned()
    }

    /// Whether a node that is under way has no pod of what it should get.
    pub(super) fn a_started_node_lacks_pod(&self) -> bool {
        let mut names = self.run.in_flight.keys();
        names.any(|name| self.node(name).is_some_and(|node| !node.is_at(self.goal())))
    }

    /// Whether the nodes that are not under way and have no pod are so few that the budget covers them. They
    /// all get whatever the DaemonSet carries: when it was deleted in the middle of a canary, the good
    /// revision, or one deletion by hand would roll out what nobody has tried.
    pub(super) fn few_others_lack_pods(&self) -> bool {
        let others = self
            .nodes()
            .filter(|(name, node)| node.up && !self.run.in_flight.contains_key(*name))
            .filter(|(_, node)| node.pod.is_none());
        self.run.in_flight.len() + others.count() <= self.budget()
    }

    /// The pods to delete, all of nodes that the written record names, or that do not serve.
    pub(super) fn deletions(&self, carry: &str) -> Vec<Deletion> {
        let carried = self.input.carried;
        if carried.revision.as_deref() != Some(carry) || !carried.observed {
            return Vec::new();
        }
        let goal = self.goal();
        let written = self.input.record.run.as_ref().filter(|written| {
            written.target == self.run.target
                && written.stage.goes_back() == self.run.stage.goes_back()
        });
        let mut doomed = Vec::new();
        if carry == goal && !matches!(self.run.stage, Stage::Halted { .. }) {
            let in_flight = written
                .into_iter()
                .flat_map(|written| written.in_flight.keys());
            doomed.extend(
                in_flight
                    .filter(|name| self.run.in_flight.contains_key(*name))
                    .cloned(),
            );
        } else if self.good.as_deref() == Some(carry) {
            doomed.extend(self.repairs());
        }
        doomed
            .iter()
            .filter_map(|name| Some((name, self.node(name)?)))
            .filter(|(_, node)| node.up && !node.is_at(carry))
            .filter_map(|(name, node)| {
                let pod = node.pod.as_ref()?;
                Some(Deletion {
                    node: name.clone(),
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                    resource_version: pod.resource_version.clone(),
                })
            })
            .collect()
    }

    /// Nodes with a pod of neither revision that certainly does not serve, left by a rollout that failed
    /// before this one. Where it is not their turn they get the good revision back.
    fn repairs(&self) -> Vec<String> {
        let bare = self
            .nodes()
            .filter(|(_, node)| node.up && node.pod.is_none());
        let under_way = self.run.in_flight.len() + bare.count();
        self.nodes()
            .filter(|(name, node)| {
                let failed_from = node.pod.as_ref().and_then(Pod::failed_from);
                node.up
                    && failed_from.is_some_and(|from| from <= self.now)
                    && !self.serves(node)
                    && !node.is_at(self.goal())
                    && !node.is_at(&self.run.target)
                    && !self.good.as_deref().is_some_and(|good| node.is_at(good))
                    && !self.run.canary.contains_key(*name)
            })
            .map(|(name, _)| name.to_owned())
            .take(self.budget().saturating_sub(under_way))
            .collect()
    }

    pub(super) fn standing(&self, waiting: Waiting, failing: Failures) -> Standing {
        let count =
            |what: &dyn Fn(&Node) -> bool| self.nodes().filter(|(_, node)| what(node)).count();
        Standing {
            desired: self.desired(),
            updated: count(&|node| node.is_at(self.input.wanted)),
            ready: count(&|node| {
                node.up
                    && node
                        .pod
                        .as_ref()
                        .is_some_and(|pod| pod.ready_since.is_some())
            }),
            serving: count(&|node| self.serves(node)),
            down: self
                .nodes()
                .filter(|(_, node)| !node.up)
                .map(|(name, _)| name.to_owned())
                .collect(),
            waiting,
            failing,
        }
    }
}
