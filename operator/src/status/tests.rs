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
fn the_course_of_a_rollout() {
    let waiting = |waiting, standing| Standing {
        waiting,
        ..standing
    };
    let under_way = Waiting::Nodes(["n1", "n2", "n3", "n4", "n5"].map(str::to_owned).to_vec());
    for (stage, standing, said, phase, message) in [
        (
            Stage::Canary,
            waiting(Waiting::Nodes(vec!["n1".into()]), standing(20, 0, 19)),
            [
                "Ready=False RollingOut",
                "Available=True EnoughNodes",
                "Reconciling=True RollingOut",
            ]
            .as_slice(),
            "Canary",
            "19 of 20 nodes ready, 0 updated; under way: n1",
        ),
        (
            Stage::Soaking { since: now() },
            waiting(Waiting::Soak { until: later() }, standing(20, 1, 20)),
            &[
                "Ready=False CanarySoaking",
                "Available=True EnoughNodes",
                "Reconciling=True CanarySoaking",
            ],
            "Soaking",
            "the canary is watched until 2030-01-01T01:00:00Z",
        ),
        (
            Stage::Rolling,
            waiting(under_way, standing(20, 9, 15)),
            &[
                "Ready=False RollingOut",
                "Available=False TooFewNodes",
                "Reconciling=True RollingOut",
            ],
            "Rolling",
            "under way: n1, n2, n3 (+2)",
        ),
        (
            Stage::Rolling,
            waiting(
                Waiting::Budget {
                    away: vec!["n7".into()],
                    budget: 1,
                },
                standing(20, 9, 19),
            ),
            &[
                "Ready=False RollingOut",
                "Available=True EnoughNodes",
                "Reconciling=True RollingOut",
            ],
            "Rolling",
            "waiting, since 1 may be without a serving agent and 1 are: n7",
        ),
        (
            Stage::Done,
            standing(20, 20, 20),
            &["Ready=True AllNodesReady", "Available=True EnoughNodes"],
            "Idle",
            "20 of 20 nodes ready",
        ),
        (
            Stage::Done,
            Standing {
                down: vec!["n3".into()],
                ..standing(20, 19, 19)
            },
            &["Ready=True ReadyNodesDone", "Available=True EnoughNodes"],
            "Idle",
            "waiting for NotReady nodes n3",
        ),
        (
            Stage::Done,
            standing(20, 20, 19),
            &["Ready=False NodesNotReady", "Available=True EnoughNodes"],
            "Idle",
            "19 of 20 nodes ready",
        ),
        (
            Stage::Halted {
                why: "n1: CrashLoopBackOff: no".into(),
            },
            standing(20, 1, 19),
            &[
                "Ready=False RolloutHalted",
                "Available=True EnoughNodes",
                "Stalled=True RolloutHalted",
            ],
            "Halted",
            "The rollout stopped: n1: CrashLoopBackOff: no. 19 of 20 nodes ready, 1 updated",
        ),
        (
            Stage::RolledBack {
                why: "n1: no".into(),
            },
            standing(20, 0, 20),
            &[
                "Ready=False RolledBack",
                "Available=True EnoughNodes",
                "Stalled=True RolledBack",
            ],
            "RolledBack",
            "Back at the last good revision: n1: no",
        ),
    ] {
        let case = Case::at(stage, standing);
        assert_eq!(case.said(), said);
        assert!(case.message().contains(message), "{}", case.message());
        let rollout = case.assess_at(now()).rollout.unwrap();
        assert_eq!(rollout.phase.as_str(), phase);
        assert_eq!(rollout.message, case.message());
    }
    let nothing = Case::new(json!({"agent": {}}), None);
    assert_eq!(
        nothing.said(),
        [
            "Ready=False Applying",
            "Available=False TooFewNodes",
            "Reconciling=True Applying",
        ]
    );
}

#[test]
fn what_the_spec_holds_is_ready_and_what_contradicts_itself_is_stalled() {
    for (waiting, said, message) in [
        (
            Waiting::Paused,
            [
                "Ready=True Paused",
                "Available=True EnoughNodes",
                "Paused=True Paused",
            ],
            "2 of 2 nodes ready, 0 updated. Paused by spec",
        ),
        (
            Waiting::Partition { stay: 2 },
            [
                "Ready=True HeldByPartition",
                "Available=True EnoughNodes",
                "Paused=True HeldByPartition",
            ],
            "Held by partition: 2 stay at the old revision",
        ),
        (
            Waiting::PartitionTooLarge { partition: 9 },
            [
                "Ready=False PartitionTooLarge",
                "Available=True EnoughNodes",
                "Stalled=True PartitionTooLarge",
            ],
            "spec.rollout.partition is 9 and the plugin has 2 nodes",
        ),
        (
            Waiting::NoCanary,
            [
                "Ready=False CanaryMatchesNoNode",
                "Available=True EnoughNodes",
                "Stalled=True CanaryMatchesNoNode",
            ],
            "spec.rollout.canary.nodeSelector",
        ),
    ] {
        let standing = Standing {
            waiting,
            ..standing(2, 0, 2)
        };
        let case = Case::at(Stage::Rolling, standing);
        assert_eq!(case.said(), said);
        assert!(case.message().contains(message), "{}", case.message());
    }
}

#[test]
fn failing_nodes_are_named_up_to_a_number_and_counted() {
    let mut failing = Failures::default();
    for n in 0..13 {
        failing.add(Found {
            node: &format!("n{n:02}"),
            reason: "CrashLoopBackOff",
            message: "exit code 64".into(),
            since: now(),
            counts: true,
        });
    }
    let standing = Standing {
        failing,
        ..standing(20, 13, 7)
    };
    let case = Case::at(Stage::Rolling, standing);
    let status = case.assess_at(now());
    assert_eq!(status.failing_nodes.len(), 10);
    assert_eq!(status.failing_nodes_total, Some(13));
    assert_eq!(status.failing_nodes[0].node, "n00");
    assert_eq!(status.failing_nodes[0].message, "exit code 64");
    assert!(
        case.message()
            .contains("n00: CrashLoopBackOff: exit code 64")
    );
    let well = Case::at(Stage::Done, Standing::default()).assess_at(now());
    assert_eq!(
        (well.failing_nodes.len(), well.failing_nodes_total),
        (0, None)
    );
}

#[test]
fn counts_revisions_and_times_are_those_of_the_fleet() {
    let standing = Standing {
        down: vec!["n3".into()],
        serving: 1,
        ..standing(4, 1, 2)
    };
    let status = Case::at(Stage::Rolling, standing).assess_at(later());
    assert_eq!(
        status.nodes,
        Some(NodeCounts {
            desired: 4,
            updated: 1,
            ready: 2,
            unavailable: 3,
            not_ready_nodes: 1,
        })
    );
    assert_eq!(status.revision.as_deref(), Some("new"));
    assert_eq!(status.last_good_revision.as_deref(), Some("old"));
    let rollout = status.rollout.unwrap();
    assert_eq!(rollout.started_at.unwrap().0, now());
    assert_eq!(rollout.wave.as_deref(), Some("rest"));
}

#[test]
fn an_overlap_is_said_beside_ready() {
    let mut case = Case::at(Stage::Done, standing(2, 2, 2));
    case.overlap = Some(Overlap {
        with: "older".into(),
        nodes: vec!["n1".into()],
        more_nodes: 0,
        more_plugins: 0,
    });
    assert_eq!(
        case.said(),
        [
            "Ready=True AllNodesReady",
            "Available=True EnoughNodes",
            "Overlapping=True SameNodes"
        ]
    );
    let after = case.assess_at(now());
    let told = transitions(
        Some(&Case::at(Stage::Done, standing(2, 2, 2)).assess_at(now())),
        &after,
    )
    .iter()
    .map(|transition| (transition.reason.to_owned(), transition.warning))
    .collect::<Vec<_>>();
    assert_eq!(told, [("Overlapping".to_owned(), true)]);
}

#[test]
fn no_node_names_the_selector() {
    let spec = json!({"agent": {}, "placement": {"nodeSelector": {"pool": "none"}}});
    let mut case = Case::new(spec, Some(daemon_set(0, 0, 0, 0)));
    case.standing = standing(0, 0, 0);
    assert_eq!(
        case.said(),
        ["Ready=False NoMatchingNodes", "Available=False TooFewNodes"]
    );
    assert!(
        case.message().contains("kubernetes.io/os=linux,pool=none"),
        "{}",
        case.message()
    );
}

#[test]
fn suspended_is_ready_once_nothing_runs() {
    let spec = json!({"agent": {}, "suspended": true});
    let going = Case::new(spec.clone(), Some(daemon_set(2, 2, 2, 2)));
    assert_eq!(
        going.said(),
        [
            "Ready=False Suspending",
            "Available=False Suspended",
            "Reconciling=True Suspending"
        ]
    );
    let gone = Case::new(spec, None);
    assert_eq!(
        gone.said(),
        ["Ready=True Suspended", "Available=False Suspended"]
    );
    assert_eq!(gone.assess_at(now()).nodes, Some(NodeCounts::default()));
}

#[test]
fn trouble_stalls_and_says_what_to_do() {
    let foreign = Foreign {
        kind: Kind::DaemonSet,
        namespace: "scope-plugins".into(),
        name: "scope-plugin-a".into(),
        owner: None,
    };
    for (trouble, reason, words) in [
        (
            Trouble::Obstacle(Obstacle::SocketPathTooLong {
                path: "/x".repeat(60),
            }),
            "SocketPathTooLong",
            "has 120 bytes, and the kernel takes 107",
        ),
        (
            Trouble::Obstacle(Obstacle::Foreign(foreign)),
            "ForeignObject",
            "kubectl delete daemonset -n scope-plugins scope-plugin-a",
        ),
        (
            Trouble::Refused {
                kind: Kind::DaemonSet,
                name: "scope-plugin-a".into(),
                message: "spec.template is bad".into(),
            },
            "Refused",
            "refused the DaemonSet scope-plugin-a: spec.template is bad",
        ),
        (
            Trouble::PodsNotCreated {
                message: "violates PodSecurity".into(),
            },
            "PodsNotCreated",
            "violates PodSecurity",
        ),
    ] {
        let case = Case::with(trouble);
        assert_eq!(
            case.said(),
            [
                format!("Ready=False {reason}"),
                "Available=True EnoughNodes".into(),
                format!("Stalled=True {reason}"),
            ]
        );
        assert!(case.message().contains(words), "{}", case.message());
    }
}

#[test]
fn controls_that_are_not_allowed_are_said_beside_ready() {
    let spec = json!({"agent": {"controls": ["DeletePod"]}});
    let mut case = Case::new(spec, Some(daemon_set(2, 2, 2, 2)));
    assert_eq!(
        case.said(),
        [
            "Ready=True AllNodesReady",
            "Available=True EnoughNodes",
            "ControlsNotAllowed=True NotAllowedByInstallation",
        ]
    );
    let status = case.assess_at(now());
    let message = &condition(&status.conditions, CONTROLS_NOT_ALLOWED)
        .unwrap()
        .message;
    assert!(message.contains("does not allow DeletePod") && message.contains("actions.allowed"));

    case.allowed.insert(Control::DeletePod);
    assert_eq!(
        case.said(),
        ["Ready=True AllNodesReady", "Available=True EnoughNodes"]
    );
}

#[test]
fn only_what_the_operator_carries_out_is_offered_and_refused() {
    let said = |controls: &[Control]| words::controls_not_allowed(controls);
    use Control::*;
    assert_eq!(
        said(&[DeletePod]),
        "The installation does not allow DeletePod, so every click on it is refused. Add it to the \
         chart value actions.allowed, or remove it from spec.agent.controls"
    );
    for control in [RestartContainer, FreezeContainer, ThawContainer] {
        let text = said(&[control]);
        assert!(!text.contains("refused"), "{text}");
        let words = format!("does not allow {control}, so Scope does not show its button. Add it");
        assert!(text.contains(&words), "{text}");
    }
    assert_eq!(
        said(&[FreezeContainer, DeletePod, ThawContainer]),
        "The installation does not allow DeletePod, so every click on it is refused. The installation \
         does not allow FreezeContainer, ThawContainer, so Scope does not show their buttons. Add them \
         to the chart value actions.allowed, or remove them from spec.agent.controls"
    );
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
fn what_cannot_be_read_is_said_with_the_decoders_words() {
    let status = unreadable(Some(7), "missing field `agent`", now());
    assert_eq!(status.observed_generation, Some(7));
    let ready = condition(&status.conditions, READY).unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "UnreadableSpec")
    );
    assert!(ready.message.contains("missing field `agent`"));
    assert!(condition(&status.conditions, STALLED).is_some());
}

#[test]
fn what_outlives_the_operator_is_neither_ready_nor_not() {
    let mut case = Case::with(Trouble::PodsNotCreated {
        message: "no".into(),
    });
    let before = case.assess_at(now());
    let after = operator_uninstalled(Some(&before), Some(4), later());
    let said: Vec<String> = after
        .conditions
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
        .collect();
    assert_eq!(
        said,
        [
            "Ready=Unknown OperatorUninstalled",
            "Available=Unknown OperatorUninstalled",
        ],
        "and nothing that was in the way any more"
    );
    assert_eq!(after.nodes, Some(NodeCounts::default()));
    assert_eq!(after.observed_generation, Some(4));
    for condition in &after.conditions {
        assert!(condition.message.contains("Install the chart again"));
        assert_eq!(condition.last_transition_time.0, later());
        assert_eq!(condition.observed_generation, Some(4));
    }
    // Once more changes nothing, and what cannot be read gets the same.
    let much_later = later() + SignedDuration::from_hours(1);
    assert_eq!(
        operator_uninstalled(Some(&after), Some(4), much_later),
        after
    );
    assert_eq!(operator_uninstalled(None, Some(4), later()), after);

    // The operator that comes next writes all of it anew.
    case.plugin.status = Some(after.clone());
    case.trouble = None;
    case.daemon_set = None;
    let next = case.assess_at(much_later);
    assert!(
        next.conditions
            .iter()
            .all(|c| c.reason != "OperatorUninstalled")
    );
    assert_eq!(
        case.said(),
        [
            "Ready=False Applying",
            "Available=False TooFewNodes",
            "Reconciling=True Applying",
        ]
    );
    assert_eq!(transitions(Some(&after), &next), []);
}

#[test]
fn messages_fit_the_schema_at_a_characters_border() {
    let case = Case::with(Trouble::PodsNotCreated {
        message: "ü".repeat(5000),
    });
    assert_eq!(case.message().chars().count(), 4096);
}

#[test]
fn missing_pods_are_nodes_without_any() {
    assert_eq!(missing_pods(&daemon_set(3, 1, 1, 0)), 2);
    assert_eq!(missing_pods(&daemon_set(3, 3, 1, 0)), 0);
    assert_eq!(missing_pods(&DaemonSet::default()), 0);
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
