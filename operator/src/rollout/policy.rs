//! The numbers of `spec.rollout`, as the planner counts with them.

use std::{collections::BTreeMap, time::Duration};

use scope_crds::{CanaryNodes, MAX_IN_FLIGHT, MaxFailures, MaxUnavailable, OnFailure, Rollout};

/// What the spec says about rollouts.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    max_unavailable: MaxUnavailable,
    max_failures: MaxFailures,
    /// How many nodes the canary has, or nothing when labels say which.
    canary: Option<CanaryNodes>,
    /// The labels of the canary's nodes.
    pub(crate) canary_labels: Option<BTreeMap<String, String>>,
    pub(crate) soak: Duration,
    pub(crate) partition: usize,
    pub(crate) min_ready: Duration,
    pub(crate) deadline: Duration,
    pub(crate) on_failure: OnFailure,
    pub(crate) paused: bool,
}

impl From<&Rollout> for Policy {
    fn from(rollout: &Rollout) -> Self {
        let canary_labels = rollout.canary.node_selector.clone();
        let one = || CanaryNodes(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(1));
        Self {
            max_unavailable: rollout.max_unavailable.clone(),
            max_failures: rollout.max_failures.clone(),
            canary: match canary_labels {
                Some(_) => None,
                None => Some(rollout.canary.nodes.clone().unwrap_or_else(one)),
            },
            canary_labels,
            soak: rollout.canary.soak.duration(),
            partition: usize::try_from(rollout.partition).unwrap_or_default(),
            min_ready: rollout.min_ready.duration(),
            deadline: rollout.deadline.duration(),
            on_failure: rollout.on_failure,
            paused: rollout.paused,
        }
    }
}

impl Policy {
    /// How many of `nodes` may be without a serving agent at a time.
    pub(crate) fn budget(&self, nodes: usize) -> usize {
        positive(self.max_unavailable.of(count(nodes))).clamp(1, MAX_IN_FLIGHT)
    }

    /// How many of `nodes` may fail once the canary has passed.
    pub(crate) fn forgiven(&self, nodes: usize) -> usize {
        positive(self.max_failures.of(count(nodes)))
    }

    /// How many of `nodes` the canary has, unless labels say which.
    pub(crate) fn canary_count(&self, nodes: usize) -> Option<usize> {
        let canary = self.canary.as_ref()?;
        Some(positive(canary.of(count(nodes))).min(MAX_IN_FLIGHT))
    }

    /// Whether there is a canary at all.
    pub(crate) fn has_canary(&self) -> bool {
        // A share of 1 node is 0 only when it was written as 0.
        self.canary_count(1) != Some(0)
    }
}

fn count(nodes: usize) -> i32 {
    i32::try_from(nodes).unwrap_or(i32::MAX)
}

fn positive(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(rollout: serde_json::Value) -> Policy {
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        Policy::from(&rollout)
    }

    #[test]
    fn defaults_are_a_canary_of_one_and_a_tenth() {
        let policy = policy(json!({}));
        assert_eq!(policy.canary_count(500), Some(1));
        assert_eq!((policy.budget(500), policy.budget(3)), (50, 1));
        assert_eq!(policy.forgiven(500), 0);
        assert_eq!(policy.soak.as_secs(), 90);
        assert_eq!(policy.min_ready.as_secs(), 5);
        assert_eq!(policy.deadline.as_secs(), 300);
        assert!(policy.has_canary());
    }

    #[test]
    fn numbers_are_bounded_by_what_the_record_holds() {
        let all = policy(json!({"maxUnavailable": "100%", "canary": {"nodes": "100%"}}));
        assert_eq!(all.budget(5000), MAX_IN_FLIGHT);
        assert_eq!(all.canary_count(5000), Some(MAX_IN_FLIGHT));
    }

    #[test]
    fn a_canary_can_be_switched_off_or_chosen_by_labels() {
        assert!(!policy(json!({"canary": {"nodes": 0}})).has_canary());
        let labels = policy(json!({"canary": {"nodeSelector": {"pool": "canary"}}}));
        assert_eq!(labels.canary_count(500), None);
        assert!(labels.has_canary());
    }
}
