//! What keeps a rollout from going on, and who has to do something.

use super::*;

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
