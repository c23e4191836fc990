//! How far a rollout is.

use super::*;

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
fn missing_pods_are_nodes_without_any() {
    assert_eq!(missing_pods(&daemon_set(3, 1, 1, 0)), 2);
    assert_eq!(missing_pods(&daemon_set(3, 3, 1, 0)), 0);
    assert_eq!(missing_pods(&DaemonSet::default()), 0);
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
