//! Totals of Services: on the nodes that Scope's probe draws itself, and nothing else there.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::collect::{Cycle, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_agent::totals::{Totals, TotalsBoard};
use scope_protocol::{Report, Topology};
use scope_totals_wire::{Fate, Kind, Members, Metric, Reply, Services, Stamp, Total, Uid, VERSION};
use tokio::time::Instant;

use crate::reported::{ids, known, latest, metric, node, report, settings, usage};

const COUNT: u8 = 4;

fn uid(number: u8) -> Uid {
    Uid::from_bytes([100 + number; 16])
}

fn id(number: u8) -> String {
    format!("{};<service>", uid(number))
}

/// What is known of Services with these numbers, of which those up to `COUNT` have a pod here.
fn totals(numbers: &[u8], pods: u32, values: &[(Metric, f64)], after: Duration) -> Totals {
    let board = TotalsBoard::new();
    let total = |number: &u8| Total {
        kind: Kind::Service,
        uid: uid(*number),
        pods,
        counted: pods.min(3),
        cpus: 8,
        memory: 1 << 34,
        valid_ms: 9000,
        values: values.iter().copied().collect(),
    };
    let members = |number| Members {
        uid: uid(number),
        version: 1,
        pods: vec![Uid::from_bytes([1; 16])],
    };
    let reply = Reply {
        version: VERSION,
        fate: Fate::Taken,
        stamp: Stamp("1-1".into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: 1_795_397_680_764,
        totals: numbers.iter().map(total).collect(),
        podless: None,
        services: Some(Services {
            version: 1,
            valid_ms: 15_000,
            services: Some((0..COUNT).map(members).collect()),
        }),
        top: Vec::new(),
    };
    let now = Instant::now();
    board.replied(reply, Duration::from_secs(5), now);
    board.totals(now + after)
}

const VALUES: [(Metric, f64); 6] = [
    (Metric::Millicores, 600.0),
    (Metric::Memory, 300.0),
    (Metric::MemoryLimit, 1200.0),
    (Metric::HttpRequests, 4.0),
    (Metric::HttpClass(2), 3.0),
    (Metric::HttpClass(5), 1.0),
];

fn with(totals: Totals) -> Settings {
    Settings {
        totals: Some(totals),
        collectors: Collectors::ALL,
        ..settings()
    }
}

fn report_with(known: &Inventory, settings: &Settings) -> Report {
    let mode = Mode::Cluster(known);
    report(&usage(mode), mode, settings)
}

#[test]
fn a_service_shows_what_its_pods_use_and_serve() {
    let known = known();
    let settings = with(totals(&[0, 1, 9], 4, &VALUES, Duration::ZERO));
    for mend in [Mend::Always, Mend::Never] {
        let settings = Settings {
            mend,
            ..settings.clone()
        };
        let report = report_with(&known, &settings);
        assert_eq!(ids(&report, Topology::Service), [id(0), id(1)]);
        let service = node(&report, Topology::Service, &id(1));
        let shown = [
            ("docker_cpu_total_usage", 7.5, 100.0),
            ("docker_memory_usage", 300.0, 1200.0),
            ("http_requests_per_second", 4.0, 4.0),
            ("http_2xx_responses_per_second", 3.0, 3.0),
            ("http_5xx_responses_per_second", 1.0, 1.0),
            ("http_error_ratio", 25.0, 100.0),
        ];
        let topology = &report.topologies[&Topology::Service];
        for (id, value, max) in shown {
            assert_eq!(metric(service, id), Some((value, max)), "{id}");
            assert!(topology.metric_templates.contains_key(id), "{id}");
        }
        assert_eq!(service.metrics.len(), shown.len());
        assert_eq!(topology.metric_templates.len(), shown.len());
        assert_eq!(latest(service, "totals_pods_counted"), Some("3 of 4"));
        let row = &topology.metadata_templates["totals_pods_counted"];
        assert_eq!(row.label, "Pods counted");
        // The probe tells all else, and the app would double a namespace that is named here.
        assert_eq!(service.latest.len(), 1);
        assert!(service.parents.is_empty());
    }
}

#[test]
fn a_single_pod_has_what_scope_lifts() {
    let known = known();
    let settings = with(totals(&[0], 1, &VALUES, Duration::ZERO));
    let report = report_with(&known, &settings);
    let service = node(&report, Topology::Service, &id(0));
    assert_eq!(service.metrics.len(), 2, "CPU and memory");
    assert_eq!(latest(service, "totals_pods_counted"), Some("1 of 1"));
}

#[test]
fn without_totals_no_service_is_drawn_and_templates_stay() {
    let known = known();
    let without = report_with(&known, &settings());
    assert!(!without.topologies.contains_key(&Topology::Service));
    let templates = |report: &Report| {
        let topology = &report.topologies[&Topology::Service];
        topology
            .metric_templates
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for (numbers, after) in [(&[][..], 0), (&[0, 1][..], 9)] {
        let totals = totals(numbers, 4, &VALUES[..3], Duration::from_secs(after));
        let report = report_with(&known, &with(totals));
        assert_eq!(ids(&report, Topology::Service), [""; 0]);
        let always = ["docker_cpu_total_usage", "docker_memory_usage"];
        assert_eq!(templates(&report), always);
    }
}

#[test]
fn every_total_of_a_service_is_told_within_a_cycle() {
    let known = known();
    let numbers: Vec<u8> = (0..COUNT).collect();
    let totals = totals(&numbers, 4, &VALUES, Duration::ZERO);
    for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
        let mut told: BTreeMap<String, u64> = BTreeMap::new();
        for number in 0..cycle.names {
            let settings = Settings {
                share: Share::Turn { number, cycle },
                ..with(totals.clone())
            };
            let report = report_with(&known, &settings);
            for id in ids(&report, Topology::Service) {
                let service = node(&report, Topology::Service, id);
                let count = told.entry(id.to_owned()).or_default();
                *count += service.metrics.len() as u64;
                let marked = service.latest.contains_key("t");
                assert!(marked, "or the probe drops the row");
            }
        }
        let wanted = numbers.iter().map(|number| (id(*number), 6));
        assert_eq!(told, wanted.collect());
    }
}
