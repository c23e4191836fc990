//! Single decisions; whole courses are in the simulation.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::rollout::{
    Carried, Decision, Fleet, Input, Node, Pod, Policy, Record, Run, Stage, Turn, Waiting, plan,
};

const STARTED: &str = "2030-01-01T00:00:10.9Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn node(up: bool, since: &str, revision: &str, created: &str) -> Node {
    Node {
        up,
        since: at(since),
        canary: false,
        bare_since: None,
        pod: Some(Pod {
            name: "p".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            revision: Some(revision.into()),
            created: at(created),
            ready_since: Some(at(created)),
            restarts: 0,
            failure: None,
        }),
    }
}

/// A rollout to "new".
fn run(stage: Stage) -> Run {
    Run {
        target: "new".into(),
        generation: 2,
        upgrade: false,
        started: at(STARTED),
        stage,
        canary: BTreeMap::new(),
        in_flight: BTreeMap::new(),
    }
}

/// What a decision is made from, but for the rollout.
struct Given {
    rollout: serde_json::Value,
    carried: &'static str,
    made: &'static str,
    leads_since: &'static str,
    refused: Option<&'static str>,
    now: &'static str,
}

/// Less than a minute later, where the DaemonSet carries "new" already.
const GIVEN: Given = Given {
    rollout: serde_json::Value::Null,
    carried: "new",
    made: BEFORE,
    leads_since: BEFORE,
    refused: None,
    now: "2030-01-01T00:01:00Z",
};

const BEFORE: &str = "2029-01-01T00:00:00Z";

impl Given {
    fn decided<const N: usize>(
        &self,
        nodes: [(String, Node); N],
        good: &str,
        run: Run,
    ) -> Decision {
        let rollout = match &self.rollout {
            serde_json::Value::Null => serde_json::json!({}),
            rollout => rollout.clone(),
        };
        let input = Input {
            policy: &Policy::from(&serde_json::from_value(rollout).unwrap()),
            wanted: "new",
            generation: 2,
            turn: &Turn::Ours,
            carried: &Carried {
                revision: Some(self.carried.into()),
                observed: true,
                made: Some(at(self.made)),
                since: Some(at(self.made)),
            },
            fleet: &Fleet {
                nodes: nodes.into(),
            },
            record: &Record {
                good: Some(good.into()),
                run: Some(run),
            },
            leads_since: at(self.leads_since),
            refused: self.refused,
        };
        plan(&input, at(self.now))
    }
}

/// Where a rollout ends whose first node is lost at this time, with a pod of this age.
fn end(stage: Stage, canary: bool, created: &str, lost: &str) -> (Stage, Vec<String>) {
    let nodes = [
        ("a".to_owned(), node(false, lost, "new", created)),
        ("b".to_owned(), node(true, BEFORE, "old", BEFORE)),
        ("c".to_owned(), node(true, BEFORE, "old", BEFORE)),
    ];
    let mut run = run(stage);
    run.canary = canary.then(|| ("a".to_owned(), 0)).into_iter().collect();
    let decision = GIVEN.decided(nodes, "old", run);
    let failing = decision.standing.failing;
    let reasons = failing
        .worst()
        .iter()
        .map(|failing| failing.reason.clone())
        .collect();
    (decision.record.run.unwrap().stage, reasons)
}

/// Kubernetes writes 10 s for what began at 10.9 s.
#[test]
fn a_node_lost_after_its_update_fails_the_rollout() {
    let (canary, soon) = (Stage::Canary, "2030-01-01T00:00:30Z");
    for (stage, canary, created, lost) in [
        (canary.clone(), true, "2030-01-01T00:00:10Z", soon),
        (canary, true, "2030-01-01T00:00:11Z", soon),
        (Stage::Rolling, false, "2030-01-01T00:00:10Z", soon),
        (Stage::Rolling, false, "2030-01-01T00:00:11Z", soon),
    ] {
        let (halted, failing) = end(stage, canary, created, lost);
        assert!(matches!(halted, Stage::Halted { .. }), "{halted:?}");
        assert_eq!(failing, ["NodeNotReady"]);
        // As long as it is lost, it is named.
        let (still, failing) = end(halted.clone(), canary, created, lost);
        assert_eq!((still, failing), (halted, vec!["NodeNotReady".to_owned()]));
    }
}

#[test]
fn a_node_that_was_lost_anyway_fails_no_rollout() {
    for (created, lost) in [
        // Lost long after.
        ("2030-01-01T00:00:10Z", "2030-01-01T00:30:00Z"),
        // Lost before.
        ("2030-01-01T00:00:11Z", "2030-01-01T00:00:05Z"),
        // At the target since an earlier rollout.
        ("2029-01-01T00:00:00Z", "2030-01-01T00:00:30Z"),
    ] {
        let (stage, failing) = end(Stage::Rolling, false, created, lost);
        assert!(!matches!(stage, Stage::Halted { .. }), "{stage:?}");
        assert_eq!(failing, [""; 0]);
    }
}

/// What a rollout that is over does about a node that comes back with the old revision.
fn straggler(rollout: serde_json::Value, stage: Stage) -> (Vec<String>, Waiting) {
    let nodes = ["a", "b", "c"].map(|name| {
        let revision = if name == "c" { "old" } else { "new" };
        (name.to_owned(), node(true, BEFORE, revision, BEFORE))
    });
    let decision = Given { rollout, ..GIVEN }.decided(nodes, "new", run(stage));
    let run = decision.record.run.unwrap();
    (
        run.in_flight.into_keys().collect(),
        decision.standing.waiting,
    )
}

#[test]
fn who_comes_back_later_keeps_to_pause_and_partition() {
    let none = Vec::<String>::new();
    let (started, _) = straggler(serde_json::json!({}), Stage::Done);
    assert_eq!(started, ["c"]);
    let paused = straggler(serde_json::json!({"paused": true}), Stage::Done);
    assert_eq!(paused, (none.clone(), Waiting::Paused));
    let held = straggler(serde_json::json!({"partition": 1}), Stage::Done);
    assert_eq!(held, (none, Waiting::Partition { stay: 1 }));
}

/// A node whose old pod was deleted when the rollout began, and that has no other since.
fn waits_for_a_pod(given: Given) -> (Stage, Vec<String>) {
    let nodes = ["a", "b"].map(|name| {
        let mut node = node(true, BEFORE, "old", BEFORE);
        node.pod.take_if(|_| name == "a");
        (name.to_owned(), node)
    });
    let mut run = run(Stage::Rolling);
    run.in_flight = [("a".to_owned(), at(STARTED))].into();
    let decision = given.decided(nodes, "old", run);
    let failing = decision.standing.failing;
    let words = failing.worst().iter().map(|failing| failing.in_words());
    (decision.record.run.unwrap().stage, words.collect())
}

#[test]
fn the_deadline_is_for_what_could_happen_and_was_looked_at() {
    const LATE: &str = "2030-01-01T00:06:00Z";
    let (stage, failing) = waits_for_a_pod(Given { now: LATE, ..GIVEN });
    assert!(matches!(stage, Stage::Halted { .. }), "{stage:?}");
    assert_eq!(failing, ["a: NoPod: no pod was created within 300 s"]);
    let (stage, failing) = waits_for_a_pod(Given {
        now: LATE,
        refused: Some("exceeded quota"),
        ..GIVEN
    });
    let said = "a: NoPod: no pod was created within 300 s: exceeded quota";
    assert_eq!(failing, [said]);
    let Stage::Halted { why } = stage else {
        panic!("{stage:?}")
    };
    assert!(
        why.contains(said),
        "kept when pods are created again: {why}"
    );
    // Nobody has looked until a moment ago, or there was no DaemonSet, as while it was suspended.
    for given in [
        Given {
            leads_since: "2030-01-01T00:05:59Z",
            now: LATE,
            ..GIVEN
        },
        Given {
            made: "2030-01-01T00:05:59Z",
            now: LATE,
            ..GIVEN
        },
    ] {
        assert_eq!(waits_for_a_pod(given), (Stage::Rolling, vec![]));
    }
}

#[test]
fn a_rollout_is_done_where_only_the_forgiven_are_left() {
    let failed = |reason: &str| {
        let mut node = node(true, BEFORE, "new", "2030-01-01T00:00:20Z");
        let pod = node.pod.as_mut().unwrap();
        pod.ready_since = None;
        pod.failure = Some(crate::rollout::Failure {
            reason: reason.into(),
            message: String::new(),
            certain_after: Some(std::time::Duration::ZERO),
        });
        node
    };
    let fleet = |last: Node| {
        [
            ("a".to_owned(), failed("CrashLoopBackOff")),
            ("b".to_owned(), node(true, BEFORE, "new", BEFORE)),
            ("c".to_owned(), last),
        ]
    };
    let ends = |max_failures: u8, last: Node| {
        let mut run = run(Stage::Rolling);
        run.in_flight = [("a".to_owned(), at(STARTED))].into();
        let rollout = serde_json::json!({"maxFailures": max_failures});
        let decision = Given { rollout, ..GIVEN }.decided(fleet(last), "old", run);
        let record = decision.record;
        (record.run.unwrap().stage, record.good.unwrap())
    };
    let new = || node(true, BEFORE, "new", BEFORE);
    assert_eq!(ends(1, new()), (Stage::Done, "new".into()));
    assert!(matches!(ends(0, new()).0, Stage::Halted { .. }));
    // One that is still to come, or may still become ready, is waited for.
    let old = node(true, BEFORE, "old", BEFORE);
    assert_eq!(ends(1, old), (Stage::Rolling, "old".into()));
    let mut starts = node(true, BEFORE, "new", "2030-01-01T00:00:50Z");
    starts.pod.as_mut().unwrap().ready_since = None;
    assert_eq!(ends(1, starts), (Stage::Rolling, "old".into()));
    // More than are forgiven are none that are.
    assert!(matches!(
        ends(1, failed("CrashLoopBackOff")).0,
        Stage::Halted { .. }
    ));
}

/// A rollout while two of four nodes have got no pod of the good revision, of which the DaemonSet is.
fn beside_bare_nodes(
    stage: Stage,
    budget: u8,
    carried: &'static str,
    since: &'static str,
) -> Decision {
    let nodes = ["a", "b", "c", "d"].map(|name| {
        let mut node = node(true, BEFORE, "old", BEFORE);
        if name > "b" {
            node.pod = None;
            node.bare_since = Some(at(BEFORE));
        }
        (name.to_owned(), node)
    });
    let given = Given {
        rollout: serde_json::json!({"maxUnavailable": budget}),
        carried,
        made: since,
        now: "2030-01-01T00:06:00Z",
        ..GIVEN
    };
    let mut run = run(stage);
    run.canary = [("c".to_owned(), 0)].into();
    run.in_flight = [("c".to_owned(), at(STARTED))].into();
    given.decided(nodes, "old", run)
}

#[test]
fn nodes_that_the_good_revision_gives_no_pod_do_not_fail_another() {
    // All of them would get what is tried, so it has to be allowed for as many.
    let held = beside_bare_nodes(Stage::Canary, 1, "old", BEFORE);
    let budget = Waiting::Budget {
        away: vec!["c".into(), "d".into()],
        budget: 1,
    };
    assert_eq!(
        (held.carry.as_str(), &held.standing.waiting),
        ("old", &budget)
    );
    assert_eq!(held.record.run.unwrap().stage, Stage::Canary);
    let tried = beside_bare_nodes(Stage::Canary, 2, "old", BEFORE);
    assert_eq!(tried.carry, "new");
    // And then it has the time that any pod has.
    let soon = beside_bare_nodes(Stage::Rolling, 2, "new", "2030-01-01T00:05:30Z");
    assert_eq!(soon.record.run.unwrap().stage, Stage::Rolling);
    let late = beside_bare_nodes(Stage::Rolling, 2, "new", "2030-01-01T00:00:30Z");
    let stage = late.record.run.unwrap().stage;
    assert!(matches!(stage, Stage::Halted { .. }), "{stage:?}");
}

#[test]
fn a_pod_that_somebody_deletes_has_the_time_of_any_other() {
    let nodes = |since: &str| {
        ["a", "b", "c"].map(|name| {
            let mut node = node(true, BEFORE, "new", BEFORE);
            if name == "a" {
                node.pod = None;
                node.bare_since = Some(at(since));
            }
            (name.to_owned(), node)
        })
    };
    // The rollout takes longer than its deadline for one node.
    let given = Given {
        now: "2030-01-01T00:20:00Z",
        ..GIVEN
    };
    let soon = given.decided(nodes("2030-01-01T00:19:59Z"), "old", run(Stage::Rolling));
    assert_eq!(soon.record.run.unwrap().stage, Stage::Rolling);
    assert_eq!(soon.standing.failing.total(), 0);
    let late = given.decided(nodes("2030-01-01T00:14:59Z"), "old", run(Stage::Rolling));
    assert_eq!(late.standing.failing.counted(), 1);
    // So has one that is seen while the canary is watched: it comes back as it was.
    let mut run = run(Stage::Canary);
    run.canary = [("b".to_owned(), 0)].into();
    let given = Given {
        carried: "old",
        ..given
    };
    let parked = given.decided(nodes("2030-01-01T00:19:59Z"), "old", run);
    assert_eq!(parked.carry, "old");
}

#[test]
fn a_straggler_says_who_keeps_it_waiting() {
    let mut failed = node(true, BEFORE, "new", BEFORE);
    failed.pod.as_mut().unwrap().ready_since = None;
    let nodes = [
        ("a".to_owned(), failed),
        ("b".to_owned(), node(true, BEFORE, "old", BEFORE)),
    ];
    let mut run = run(Stage::Done);
    run.in_flight = [("a".to_owned(), at(STARTED))].into();
    let decision = GIVEN.decided(nodes, "new", run);
    let budget = Waiting::Budget {
        away: vec!["a".into()],
        budget: 1,
    };
    assert_eq!(decision.standing.waiting, budget);
}

/// The canary still has the pod of the revision that failed before.
#[test]
fn what_another_revision_left_behind_is_no_failure_of_this_one() {
    for stage in [Stage::Canary, Stage::Rolling] {
        let mut broken = node(true, BEFORE, "failed", BEFORE);
        let pod = broken.pod.as_mut().unwrap();
        pod.ready_since = None;
        pod.failure = Some(crate::rollout::Failure {
            reason: "CrashLoopBackOff".into(),
            message: String::new(),
            certain_after: Some(std::time::Duration::ZERO),
        });
        let nodes = [
            ("a".to_owned(), broken),
            ("b".to_owned(), node(true, BEFORE, "old", BEFORE)),
        ];
        let mut run = run(stage.clone());
        run.canary = [("a".to_owned(), 0)].into();
        run.in_flight = [("a".to_owned(), at(STARTED))].into();
        let decision = GIVEN.decided(nodes, "old", run);
        assert_eq!(decision.record.run.unwrap().stage, stage);
        let named = decision.standing.failing.worst().iter();
        let counted: Vec<_> = named.map(|failing| failing.counts).collect();
        assert_eq!(counted, [false], "named all the same");
        let deleted: Vec<_> = decision.delete.into_iter().map(|it| it.node).collect();
        assert_eq!(deleted, ["a"]);
    }
}
