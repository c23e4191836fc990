mod rollout;
mod stalled;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::{
    plan::Foreign,
    rollout::{Failures, Found, Record, Run, Stage, Standing, Waiting},
    testing,
};

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn later() -> Timestamp {
    "2030-01-01T01:00:00Z".parse().unwrap()
}

/// A DaemonSet of (desired, current, updated, ready) that its controller has seen.
fn daemon_set(desired: i32, current: i32, updated: i32, ready: i32) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"generation": 2},
        "status": {
            "desiredNumberScheduled": desired, "currentNumberScheduled": current,
            "updatedNumberScheduled": updated, "numberReady": ready, "numberAvailable": ready,
            "numberUnavailable": desired - ready, "numberMisscheduled": 0, "observedGeneration": 2,
        },
    }))
    .unwrap()
}

struct Case {
    plugin: ScopePlugin,
    daemon_set: Option<DaemonSet>,
    record: Record,
    standing: Standing,
    trouble: Option<Trouble>,
    overlap: Option<Overlap>,
    allowed: BTreeSet<Control>,
}

/// A fleet of so many nodes, all of them up.
fn standing(desired: usize, updated: usize, ready: usize) -> Standing {
    Standing {
        desired,
        updated,
        ready,
        serving: ready,
        ..Standing::default()
    }
}

fn at_stage(stage: Stage) -> Record {
    Record {
        good: Some("old".into()),
        run: Some(Run {
            target: "new".into(),
            generation: 3,
            upgrade: false,
            started: now(),
            stage,
            canary: BTreeMap::new(),
            in_flight: BTreeMap::new(),
        }),
    }
}

impl Case {
    fn new(spec: Value, daemon_set: Option<DaemonSet>) -> Self {
        Self {
            plugin: testing::plugin("a", spec),
            daemon_set,
            record: at_stage(Stage::Done),
            standing: standing(2, 2, 2),
            trouble: None,
            overlap: None,
            allowed: BTreeSet::new(),
        }
    }

    /// A plugin at this stage of a rollout.
    fn at(stage: Stage, standing: Standing) -> Self {
        Self {
            record: at_stage(stage),
            standing,
            ..Self::new(json!({"agent": {}}), Some(daemon_set(2, 2, 2, 2)))
        }
    }

    fn with(trouble: Trouble) -> Self {
        Self {
            trouble: Some(trouble),
            ..Self::new(json!({"agent": {}}), Some(daemon_set(2, 2, 2, 2)))
        }
    }

    fn assess_at(&self, time: Timestamp) -> ScopePluginStatus {
        assess(
            &Facts {
                plugin: &self.plugin,
                allowed: &self.allowed,
                daemon_set: self.daemon_set.as_ref(),
                progress: self.daemon_set.as_ref().map(|_| Progress {
                    record: &self.record,
                    standing: &self.standing,
                    wanted: "new",
                }),
                overlap: self.overlap.as_ref(),
                trouble: self.trouble.clone(),
                connection: Connection::Unsaid,
                plugin_directory: "/var/run/scope/plugins",
            },
            time,
        )
    }

    /// The conditions as words: type, status and reason.
    fn said(&self) -> Vec<String> {
        self.assess_at(now())
            .conditions
            .iter()
            .map(|condition| {
                format!(
                    "{}={} {}",
                    condition.type_, condition.status, condition.reason
                )
            })
            .collect()
    }

    fn message(&self) -> String {
        let status = self.assess_at(now());
        condition(&status.conditions, READY)
            .unwrap()
            .message
            .clone()
    }
}

#[test]
fn an_unchanged_status_is_equal_and_a_transition_moves_the_time() {
    let mut case = Case::at(Stage::Done, standing(2, 2, 1));
    let first = case.assess_at(now());
    case.plugin.status = Some(first.clone());
    assert_eq!(case.assess_at(later()), first);

    case.standing = standing(2, 2, 2);
    let second = case.assess_at(later());
    assert_eq!(
        condition(&second.conditions, READY)
            .unwrap()
            .last_transition_time
            .0,
        later()
    );
    let available = condition(&second.conditions, AVAILABLE).unwrap();
    assert_eq!(
        available.last_transition_time.0,
        now(),
        "it was available before"
    );
    assert!(
        second
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(3))
    );
}

#[test]
fn messages_fit_the_schema_at_a_characters_border() {
    let case = Case::with(Trouble::PodsNotCreated {
        message: "ü".repeat(5000),
    });
    assert_eq!(case.message().chars().count(), 4096);
}

#[test]
fn transitions_are_told_once_and_progress_is_not() {
    let told = |before: &Case, after: &Case| {
        let before = before.assess_at(now());
        let after = after.assess_at(now());
        transitions(Some(&before), &after)
            .iter()
            .map(|transition| (transition.reason.to_owned(), transition.warning))
            .collect::<Vec<_>>()
    };
    let at = |ready| match ready {
        2 => Case::at(Stage::Done, standing(2, 2, 2)),
        ready => Case::at(Stage::Rolling, standing(2, 2, ready)),
    };
    assert_eq!(told(&at(0), &at(1)), []);
    assert_eq!(told(&at(1), &at(2)), [("AllNodesReady".to_owned(), false)]);
    assert_eq!(told(&at(2), &at(2)), []);
    let forbidden = Case::with(Trouble::PodsNotCreated {
        message: "no".into(),
    });
    assert_eq!(
        told(&at(2), &forbidden),
        [("PodsNotCreated".to_owned(), true)]
    );
    let nowhere = Case::at(Stage::Done, standing(0, 0, 0));
    assert_eq!(
        told(&at(2), &nowhere),
        [("NoMatchingNodes".to_owned(), true)]
    );
    assert_eq!(told(&at(2), &Case::new(json!({"agent": {}}), None)), []);
    let clicks = Case::new(
        json!({"agent": {"controls": ["DeletePod"]}}),
        Some(daemon_set(2, 2, 2, 2)),
    );
    assert_eq!(
        told(&at(2), &clicks),
        [("ControlsNotAllowed".to_owned(), true)]
    );
    assert_eq!(transitions(None, &at(2).assess_at(now())).len(), 1);
}
