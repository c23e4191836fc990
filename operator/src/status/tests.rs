use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::{plan::Foreign, testing};

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn later() -> Timestamp {
    "2030-01-01T01:00:00Z".parse().unwrap()
}

/// A DaemonSet of (desired, current, updated, ready) that its controller has seen.
fn daemon_set(desired: i32, current: i32, updated: i32, ready: i32) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"generation": 2, "annotations": {crate::names::INTENT: "wanted"}},
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
    trouble: Option<Trouble>,
    allowed: BTreeSet<Control>,
}

impl Case {
    fn new(spec: Value, daemon_set: Option<DaemonSet>) -> Self {
        Self {
            plugin: testing::plugin("a", spec),
            daemon_set,
            trouble: None,
            allowed: BTreeSet::new(),
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
                wanted_intent: (!self.plugin.spec.suspended).then_some("wanted"),
                trouble: self.trouble.clone(),
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
    let plain = || json!({"agent": {}});
    let rolling = [
        "Ready=False RollingOut",
        "Available=False TooFewNodes",
        "Reconciling=True RollingOut",
    ];
    for (daemon_set_there, said, message) in [
        (
            None,
            vec![
                "Ready=False Applying",
                "Available=False TooFewNodes",
                "Reconciling=True Applying",
            ],
            "being brought up to date",
        ),
        (
            Some(daemon_set(20, 0, 0, 0)),
            rolling.to_vec(),
            "0 of 20 nodes ready, 0 updated",
        ),
        (
            Some(daemon_set(20, 20, 20, 1)),
            rolling.to_vec(),
            "1 of 20 nodes ready",
        ),
        (
            Some(daemon_set(20, 20, 20, 18)),
            vec![
                "Ready=False RollingOut",
                "Available=True EnoughNodes",
                "Reconciling=True RollingOut",
            ],
            "18 of 20 nodes ready",
        ),
        (
            Some(daemon_set(20, 20, 20, 20)),
            vec!["Ready=True AllNodesReady", "Available=True EnoughNodes"],
            "20 of 20 nodes ready",
        ),
        (
            Some(daemon_set(1, 1, 1, 0)),
            rolling.to_vec(),
            "0 of 1 node ready",
        ),
    ] {
        let case = Case::new(plain(), daemon_set_there);
        assert_eq!(case.said(), said);
        assert!(case.message().contains(message), "{}", case.message());
    }
}

#[test]
fn an_update_counts_only_what_its_controller_has_seen() {
    let mut behind = daemon_set(2, 2, 2, 2);
    behind.metadata.generation = Some(3);
    let case = Case::new(json!({"agent": {}}), Some(behind));
    assert_eq!(case.said()[0], "Ready=False Applying");
    assert_eq!(case.assess_at(now()).nodes.unwrap().updated, 0);

    let mut old_intent = daemon_set(2, 2, 2, 2);
    old_intent.metadata.annotations = None;
    let case = Case::new(json!({"agent": {}}), Some(old_intent));
    assert_eq!(
        case.said(),
        [
            "Ready=False Applying",
            "Available=True EnoughNodes",
            "Reconciling=True Applying"
        ]
    );

    let half = Case::new(json!({"agent": {}}), Some(daemon_set(2, 2, 1, 2)));
    assert_eq!(half.said()[0], "Ready=False RollingOut");
    assert_eq!(half.message(), "2 of 2 nodes ready, 1 updated");
    assert_eq!(
        half.assess_at(now()).nodes,
        Some(NodeCounts {
            desired: 2,
            updated: 1,
            ready: 2,
            unavailable: 0
        })
    );
}

#[test]
fn a_node_that_goes_down_later_is_no_rollout() {
    let mut case = Case::new(json!({"agent": {}}), Some(daemon_set(2, 2, 2, 2)));
    case.plugin.status = Some(case.assess_at(now()));
    case.daemon_set = Some(daemon_set(2, 2, 2, 1));
    assert_eq!(
        case.said(),
        ["Ready=False NodesNotReady", "Available=True EnoughNodes"]
    );
    case.plugin.status = Some(case.assess_at(now()));
    assert_eq!(
        case.said(),
        ["Ready=False NodesNotReady", "Available=True EnoughNodes"]
    );

    case.plugin.metadata.generation = Some(4);
    assert_eq!(
        case.said()[0],
        "Ready=False RollingOut",
        "a new generation is one"
    );
}

#[test]
fn no_node_names_the_selector() {
    let spec = json!({"agent": {}, "placement": {"nodeSelector": {"pool": "none"}}});
    let case = Case::new(spec, Some(daemon_set(0, 0, 0, 0)));
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
    let mut case = Case::new(json!({"agent": {}}), Some(daemon_set(2, 2, 2, 1)));
    let first = case.assess_at(now());
    case.plugin.status = Some(first.clone());
    assert_eq!(case.assess_at(later()), first);

    case.daemon_set = Some(daemon_set(2, 2, 2, 2));
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
    let at = |ready| Case::new(json!({"agent": {}}), Some(daemon_set(2, 2, 2, ready)));
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
    let nowhere = Case::new(json!({"agent": {}}), Some(daemon_set(0, 0, 0, 0)));
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
