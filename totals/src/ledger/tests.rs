//! Single rules of the ledger.

use scope_totals_wire::{
    Kind, Metric, Node, Object, Partial, Total, Uid, VERSION, Values, ValuesOf,
};

use super::*;
use crate::census::{Holdings, Place};

const INTERVAL: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn deployment(number: u8) -> Object {
    Object {
        kind: Kind::Deployment,
        uid: Uid::from_bytes([number; 16]),
    }
}

fn agent(node: &str) -> Agent {
    Agent {
        plugin: "node-metrics".into(),
        node: node.into(),
    }
}

/// A Deployment, its pods that were counted, and what they use.
type Part<'a> = (u8, u32, &'a [(Metric, f64)]);

fn report(boot: &str, sequence: u64, parts: &[Part<'_>]) -> Report {
    let object = |(number, counted, values): &Part<'_>| Partial {
        kind: Kind::Deployment,
        uid: deployment(*number).uid,
        counted: *counted,
        members: None,
        values: values.iter().copied().collect(),
    };
    Report {
        version: VERSION,
        boot: boot.into(),
        sequence,
        sampled: None,
        node: Node {
            cpus: 4,
            memory: 1000,
        },
        objects: parts.iter().map(object).collect(),
        podless: None,
        server_away: false,
        watched: None,
        services: None,
        health: None,
        top: Vec::new(),
    }
}

fn holdings(objects: &[(u8, &[(&str, u32)])]) -> Holdings {
    let names = objects.iter().flat_map(|(_, on)| *on);
    let nodes: Nodes = names.map(|(node, _)| Arc::from(*node)).collect();
    let found = objects.iter().flat_map(|(number, on)| {
        on.iter().map(|(node, pods)| {
            let node = nodes.number(node).unwrap();
            (deployment(*number), Place { node, pods: *pods })
        })
    });
    Holdings {
        objects: found.collect(),
        nodes: nodes.into(),
        ..Holdings::default()
    }
}

/// A ledger with these reports, all of second 10.
fn ledger(reports: &[(&str, Report)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (node, report) in reports {
        let fate = ledger.take(&agent(node), report, Some(at(10)), at(10), INTERVAL);
        assert_eq!(fate, Ok(Fate::Taken));
    }
    ledger
}

fn total(ledger: &Ledger, holdings: &Holdings, number: u8, now: u64) -> Option<Total> {
    let round = Round::new(ledger, holdings, at(now), INTERVAL);
    let totals = round.of("node-metrics")?;
    Some(owned(totals.get(deployment(number), at(now), INTERVAL)?))
}

/// A total with values of its own.
pub(super) fn owned(total: Total<ValuesOf<'_>>) -> Total {
    Total {
        kind: total.kind,
        uid: total.uid,
        pods: total.pods,
        counted: total.counted,
        cpus: total.cpus,
        memory: total.memory,
        valid_ms: total.valid_ms,
        values: total.values.0.iter().copied().collect(),
    }
}

#[test]
fn a_total_is_of_all_nodes_with_pods_and_no_others() {
    let cpu = |value| [(Metric::Millicores, value)];
    let ledger = ledger(&[
        (
            "a",
            report("x", 1, &[(1, 2, &cpu(100.0)), (2, 1, &cpu(7.0))]),
        ),
        ("b", report("y", 1, &[(1, 1, &cpu(50.0))])),
        // It has no pods of the first, whatever it says.
        ("c", report("z", 1, &[(1, 9, &cpu(1e6))])),
    ]);
    let holdings = holdings(&[
        (1, &[("a", 2), ("b", 2)]),
        (2, &[("a", 1), ("d", 1)]),
        (3, &[("c", 1)]),
    ]);
    let one = total(&ledger, &holdings, 1, 12).unwrap();
    assert_eq!((one.counted, one.pods), (3, 4));
    assert_eq!((one.cpus, one.memory), (8, 2000));
    assert_eq!(one.values, Values::from_iter(cpu(150.0)));
    assert_eq!(one.valid_ms, 13_000);
    assert_eq!(total(&ledger, &holdings, 2, 12), None, "d has not reported");
    assert_eq!(
        total(&ledger, &holdings, 3, 12),
        None,
        "nothing was counted"
    );
    assert_eq!(total(&ledger, &holdings, 4, 12), None, "no pods");
}

#[test]
fn a_metric_that_a_node_does_not_know_is_left_out() {
    let all = [
        (Metric::Millicores, 1.0),
        (Metric::Rss, 2.0),
        (Metric::Threads, 3.0),
    ];
    let some = [
        (Metric::Memory, 4.0),
        (Metric::Rss, 5.0),
        (Metric::OomKills, 6.0),
    ];
    let ledger = ledger(&[
        ("a", report("x", 1, &[(1, 1, &all), (2, 1, &all)])),
        ("b", report("y", 1, &[(1, 1, &some), (2, 0, &[])])),
    ]);
    let holdings = holdings(&[(1, &[("a", 1), ("b", 1)]), (2, &[("a", 1), ("b", 1)])]);
    let one = total(&ledger, &holdings, 1, 12).unwrap();
    assert_eq!(one.values, Values::from_iter([(Metric::Rss, 7.0)]));
    let two = total(&ledger, &holdings, 2, 12).unwrap();
    assert_eq!((two.counted, two.pods), (1, 2));
    assert_eq!(
        two.values,
        Values::from_iter(all),
        "nothing of b was counted"
    );
}

/// A list of metrics is kept once where objects have the same one.
#[test]
fn each_object_of_a_report_has_its_own_metrics() {
    let (rss, threads) = ((Metric::Rss, 1.0), (Metric::Threads, 2.0));
    let parts: [&[_]; 7] = [
        &[],
        &[rss, threads],
        &[rss, (Metric::Threads, 3.0)],
        &[],
        &[rss],
        &[threads],
        &[rss, threads],
    ];
    let all: Vec<Part<'_>> = (0..).zip(parts).map(|(of, part)| (of, 1, part)).collect();
    let ledger = ledger(&[("a", report("x", 1, &all))]);
    for (of, part) in (0..).zip(parts) {
        let holdings = holdings(&[(of, &[("a", 1)])]);
        let total = total(&ledger, &holdings, of, 12).unwrap();
        assert_eq!(total.values, Values::from_iter(part.to_vec()), "{of}");
    }
}

#[test]
fn a_total_goes_with_its_oldest_sample() {
    let values = [(Metric::Rss, 1.0)];
    let mut ledger = ledger(&[("a", report("x", 1, &[(1, 1, &values)]))]);
    let second = report("y", 1, &[(1, 1, &values)]);
    let fate = ledger.take(&agent("b"), &second, Some(at(14)), at(14), INTERVAL);
    assert_eq!(fate, Ok(Fate::Taken));
    let holdings = holdings(&[(1, &[("a", 1), ("b", 1)])]);
    assert!(total(&ledger, &holdings, 1, 24).is_some());
    assert_eq!(total(&ledger, &holdings, 1, 25), None);
    let round = Round::new(&ledger, &holdings, at(20), INTERVAL);
    let totals = round.of("node-metrics").unwrap();
    let valid = |now| Some(totals.get(deployment(1), at(now), INTERVAL)?.valid_ms);
    assert_eq!(valid(20), Some(5000));
    assert_eq!(valid(24), Some(1000));
    assert_eq!(valid(25), None, "made in time and asked for too late");
    assert_eq!(
        (
            ledger.agents(at(24), INTERVAL),
            ledger.agents(at(25), INTERVAL)
        ),
        (2, 1)
    );
}

#[test]
fn what_is_old_is_told_from_what_is_new() {
    let mut ledger = Ledger::default();
    let mut take = |boot, sequence, sampled: Option<u64>| {
        let report = report(boot, sequence, &[]);
        let fate = ledger.take(&agent("a"), &report, sampled.map(at), at(20), INTERVAL);
        fate.unwrap()
    };
    assert_eq!(take("x", 1, None), Fate::Unstamped);
    assert_eq!(take("x", 1, Some(5)), Fate::Late);
    assert_eq!(take("x", 2, Some(10)), Fate::Taken);
    assert_eq!(take("x", 2, Some(10)), Fate::Old, "sent again");
    assert_eq!(take("x", 1, Some(19)), Fate::Old, "overtaken");
    assert_eq!(take("x", 3, Some(10)), Fate::Taken, "the same sample again");
    assert_eq!(take("y", 1, Some(12)), Fate::Taken, "restarted");
    assert_eq!(take("x", 4, Some(11)), Fate::Old, "from before the restart");
    assert_eq!(take("y", 2, Some(15)), Fate::Taken);
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut ledger = ledger(&[("a", report("x", 1, &[])), ("b", report("y", 1, &[]))]);
    assert_eq!(ledger.heard("node-metrics"), 2);
    assert_eq!(ledger.heard("other"), 0);
    ledger.forget(&[Arc::from("b")].into_iter().collect());
    assert_eq!(ledger.heard("node-metrics"), 1);
    ledger.forget(&Nodes::default());
    assert_eq!(ledger.plugins().count(), 0);
}

#[test]
fn there_may_be_so_many_plugins() {
    let mut ledger = Ledger::default();
    let mut take = |number: usize| {
        let agent = Agent {
            plugin: format!("p{number}").into(),
            node: "a".into(),
        };
        ledger.take(&agent, &report("x", 1, &[]), Some(at(1)), at(1), INTERVAL)
    };
    for number in 0..MAX_PLUGINS {
        assert_eq!(take(number), Ok(Fate::Taken));
    }
    assert_eq!(take(MAX_PLUGINS), Err(TooManyPlugins));
    assert_eq!(take(0), Ok(Fate::Old), "the others are as well as before");
}
