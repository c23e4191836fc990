//! Controllers without pods: drawn by whom the service asks, in their namespaces and with their controls.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_agent::collect::{ControlNames, Cycle, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_agent::totals::{Totals, TotalsBoard};
use scope_protocol::{Report, Topology};
use scope_totals_wire::{Controller, Fate, Kind, Podless, Reply, Stamp, Uid, VERSION};
use tokio::time::Instant;

use crate::reported::{ids, known, latest, metric, node, report, settings, usage};

const KINDS: [(Kind, Topology); 4] = [
    (Kind::Deployment, Topology::Deployment),
    (Kind::StatefulSet, Topology::StatefulSet),
    (Kind::DaemonSet, Topology::DaemonSet),
    (Kind::CronJob, Topology::CronJob),
];

fn controller(number: u8, kind: Kind) -> Controller {
    Controller {
        kind,
        uid: Uid::from_bytes([number; 16]),
        name: format!("idle-{number}"),
        namespace: "quiet".into(),
        namespace_uid: Uid::from_bytes([99; 16]),
    }
}

fn id(number: u8, topology: Topology) -> String {
    let uid = Uid::from_bytes([number; 16]);
    format!("{uid};<{}>", topology.id_tag().unwrap())
}

fn totals(objects: Vec<Controller>, after: Duration) -> Totals {
    let board = TotalsBoard::new();
    let reply = Reply {
        version: VERSION,
        fate: Fate::Taken,
        stamp: Stamp("1-1".into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: 1_795_397_680_764,
        totals: Vec::new(),
        podless: Some(Podless {
            version: 1,
            valid_ms: 15_000,
            objects: Some(objects),
            left_out: 0,
        }),
        services: None,
        top: Vec::new(),
    };
    let now = Instant::now();
    board.replied(reply, Duration::from_secs(5), now);
    board.totals(now + after)
}

fn one_of_each() -> Vec<Controller> {
    let kinds = KINDS.iter().zip(1..);
    kinds.map(|((kind, _), n)| controller(n, *kind)).collect()
}

fn with(objects: Vec<Controller>) -> Settings {
    Settings {
        totals: Some(totals(objects, Duration::ZERO)),
        ..settings()
    }
}

fn report_with(known: &Inventory, settings: &Settings) -> Report {
    let mode = Mode::Cluster(known);
    report(&usage(mode), mode, settings)
}

fn buttons() -> ControlNames {
    let button = || vec!["node-metrics-controls~x".to_owned()];
    ControlNames {
        deployment: button(),
        stateful_set: button(),
        daemon_set: button(),
        cron_job: button(),
        ..ControlNames::default()
    }
}

#[test]
fn each_is_drawn_in_its_namespace_with_its_controls() {
    let known = known();
    let without = report_with(&known, &with(Vec::new()));
    for has_buttons in [false, true] {
        let controls = match has_buttons {
            true => buttons(),
            false => ControlNames::default(),
        };
        let report = report_with(
            &known,
            &Settings {
                controls,
                ..with(one_of_each())
            },
        );
        for ((_, topology), number) in KINDS.into_iter().zip(1..) {
            let drawn = node(&report, topology, &id(number, topology));
            let name = format!("idle-{number}");
            assert_eq!(latest(drawn, "kubernetes_name"), Some(&*name), "{topology}");
            assert_eq!(latest(drawn, "kubernetes_namespace"), Some("quiet"));
            let all = match topology {
                Topology::Deployment => {
                    "kubernetes_scale_up;kubernetes_scale_down;kubernetes_describe;\
                     node-metrics-controls~x"
                }
                _ => "kubernetes_describe;node-metrics-controls~x",
            };
            let all = has_buttons.then_some(all);
            assert_eq!(latest(drawn, "active_controls"), all, "{topology}");
            // The probe lists all others, and says itself that it takes the clicks.
            let takes_clicks = has_buttons && topology == Topology::CronJob;
            assert_eq!(drawn.control_probe.is_some(), takes_clicks, "{topology}");
            assert!(drawn.metrics.is_empty() && drawn.parents.is_empty());
        }
        let namespace = node(&report, Topology::Namespace, &id(99, Topology::Namespace));
        assert_eq!(latest(namespace, "kubernetes_name"), Some("quiet"));
        assert_eq!(metric(namespace, "pods"), Some((0.0, 0.0)));
        let count = ids(&report, Topology::Namespace).len();
        assert_eq!(count, ids(&without, Topology::Namespace).len() + 1);
    }
}

#[test]
fn nothing_else_changes_and_it_ends_with_its_time() {
    let known = known();
    let empty = report_with(&known, &with(Vec::new()));
    let over = Settings {
        totals: Some(totals(one_of_each(), Duration::from_secs(15))),
        ..settings()
    };
    assert_eq!(report_with(&known, &over), empty);
    let mut drawn = report_with(&known, &with(one_of_each()));
    for ((_, topology), number) in KINDS.into_iter().zip(1..) {
        let nodes = &mut drawn.topology(topology).nodes;
        assert!(nodes.remove(&id(number, topology)).is_some());
    }
    let namespaces = &mut drawn.topology(Topology::Namespace).nodes;
    assert!(namespaces.remove(&id(99, Topology::Namespace)).is_some());
    assert_eq!(drawn, empty);
}

/// The list may be some seconds older than the pods of this node, and a namespace may have others.
#[test]
fn what_has_pods_here_is_told_as_before() {
    let mut known = known();
    let uid = Uid::from_bytes([1; 16]);
    let owners = known.pods.values_mut().flat_map(|pod| &mut pod.owners);
    for owner in owners.filter(|owner| owner.topology == Topology::Deployment) {
        owner.uid = uid.to_string();
    }
    let busy = known.pods.values().next().unwrap().namespace.clone();
    let namespace = Uid::from_bytes([99; 16]);
    known.namespaces.insert(busy.clone(), namespace.to_string());
    let before = report_with(&known, &with(Vec::new()));
    let mut objects = one_of_each();
    objects
        .iter_mut()
        .for_each(|o| o.namespace.clone_from(&busy));
    let report = report_with(&known, &with(objects));
    for (topology, number) in [(Topology::Deployment, 1), (Topology::Namespace, 99)] {
        let id = id(number, topology);
        assert_eq!(node(&report, topology, &id), node(&before, topology, &id));
    }
    node(&report, Topology::CronJob, &id(4, Topology::CronJob));
}

#[test]
fn where_scope_is_not_mended_only_what_has_controls_is_drawn() {
    let known = known();
    let mut settings = Settings {
        mend: Mend::Never,
        controls: ControlNames::default(),
        ..with(one_of_each())
    };
    let drawn = |settings: &Settings| {
        let report = report_with(&known, settings);
        let kinds = KINDS.into_iter().zip(1..);
        let drawn = kinds.filter(|((_, topology), number)| {
            let nodes = report.topologies.get(topology).map(|t| &t.nodes);
            nodes.is_some_and(|nodes| nodes.contains_key(&id(*number, *topology)))
        });
        drawn.map(|((_, topology), _)| topology).collect::<Vec<_>>()
    };
    assert_eq!(drawn(&settings), []);
    settings.controls.cron_job = buttons().cron_job;
    assert_eq!(drawn(&settings), [Topology::CronJob]);
    settings.controls = buttons();
    assert_eq!(drawn(&settings).len(), KINDS.len());
}

/// Never without their namespaces, and marked, so that the probe leaves none of it out.
#[test]
fn each_has_its_turn_once_in_a_cycle() {
    let known = known();
    let objects: Vec<_> = (1..40)
        .map(|number| controller(number, Kind::Deployment))
        .collect();
    for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
        let mut told: BTreeMap<u8, usize> = BTreeMap::new();
        for number in 0..cycle.names {
            let settings = Settings {
                controls: buttons(),
                share: Share::Turn { number, cycle },
                ..with(objects.clone())
            };
            let report = report_with(&known, &settings);
            let has = |number: u8, topology| {
                let nodes = report.topologies.get(&topology).map(|t| &t.nodes);
                nodes.and_then(|nodes| nodes.get(&id(number, topology)))
            };
            let mut any = false;
            for number in 1..40 {
                if let Some(node) = has(number, Topology::Deployment) {
                    assert!(latest(node, "t").is_some());
                    *told.entry(number).or_default() += 1;
                    any = true;
                }
            }
            assert_eq!(has(99, Topology::Namespace).is_some(), any);
        }
        assert_eq!(told.len(), objects.len());
        assert!(told.values().all(|times| *times == 1), "{told:?}");
    }
}
