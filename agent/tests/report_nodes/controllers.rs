//! Totals of controllers: the same on all nodes, and nothing without them.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::collect::{Cycle, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_agent::totals::{Totals, TotalsBoard, object};
use scope_protocol::{Metric as Shown, Report, Topology};
use scope_totals_wire::{Fate, Metric, Object, Reply, Stamp, Total, Uid, VERSION};
use tokio::time::Instant;

use crate::reported::{ids, known, latest, metric, node, report, settings, usage};

const AT_MS: i64 = 1_795_397_680_764;

/// The known pods, whose controllers have UIDs as the API server gives them.
fn inventory() -> Inventory {
    let mut known = known();
    let mut uids: BTreeMap<String, u8> = BTreeMap::new();
    for pod in known.pods.values_mut() {
        for owner in &mut pod.owners {
            let next = uids.len() as u8;
            let number = *uids.entry(owner.uid.clone()).or_insert(next);
            owner.uid = Uid::from_bytes([number; 16]).to_string();
        }
    }
    known
}

fn objects(known: &Inventory) -> BTreeMap<Topology, (Object, String)> {
    let owners = known.pods.values().flat_map(|pod| &pod.owners);
    let named = owners.filter_map(|owner| {
        let tag = owner.topology.id_tag().unwrap();
        let id = format!("{};<{tag}>", owner.uid);
        Some((owner.topology, (object(owner)?, id)))
    });
    named.collect()
}

fn total(object: Object, pods: u32, values: &[(Metric, f64)]) -> Total {
    Total {
        kind: object.kind,
        uid: object.uid,
        pods,
        counted: pods.min(3),
        cpus: 8,
        memory: 1 << 34,
        valid_ms: 9000,
        values: values.iter().copied().collect(),
    }
}

fn totals(totals: impl IntoIterator<Item = Total>) -> Totals {
    let board = TotalsBoard::new();
    let reply = Reply {
        version: VERSION,
        fate: Fate::Taken,
        stamp: Stamp("1-1".into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: AT_MS,
        totals: totals.into_iter().collect(),
        podless: None,
        services: None,
        top: Vec::new(),
    };
    let now = Instant::now();
    board.replied(reply, Duration::from_secs(5), now);
    board.totals(now)
}

const VALUES: [(Metric, f64); 4] = [
    (Metric::Millicores, 600.0),
    (Metric::Memory, 300.0),
    (Metric::MemoryLimit, 1200.0),
    (Metric::Threads, 7.0),
];

fn report_with(known: &Inventory, settings: &Settings) -> Report {
    let mode = Mode::Cluster(known);
    report(&usage(mode), mode, settings)
}

#[test]
fn a_controller_shows_its_total_by_numbers_that_every_node_makes_of_it() {
    let known = inventory();
    let all = objects(&known);
    let settings = Settings {
        totals: Some(totals(
            all.values().map(|(object, _)| total(*object, 4, &VALUES)),
        )),
        ..settings()
    };
    let report = report_with(&known, &settings);
    assert_eq!(all.len(), 5, "all but the ReplicaSet");
    for (topology, (_, id)) in &all {
        let controller = node(&report, *topology, id);
        for (id, value, max) in [
            // 600 of 8,000 millicores.
            ("docker_cpu_total_usage", 7.5, 100.0),
            ("docker_memory_usage", 300.0, 1200.0),
            ("cpu_millicores", 600.0, 8000.0),
            ("memory_limit_use", 25.0, 100.0),
            ("threads", 7.0, 7.0),
        ] {
            assert_eq!(
                metric(controller, id),
                Some((value, max)),
                "{topology} {id}"
            );
        }
        assert_eq!(controller.metrics.len(), 5, "{topology}");
        let micros = |shown: &Shown| shown.samples[0].date.unix_micros();
        // To the tenth of a second, as all dates.
        assert!(
            controller
                .metrics
                .values()
                .all(|shown| micros(shown) == AT_MS / 100 * 100_000)
        );
        assert_eq!(latest(controller, "totals_pods_counted"), Some("3 of 4"));
        let row = &controller.latest["totals_pods_counted"];
        assert_eq!(row.timestamp.unix_micros(), AT_MS / 1000 * 1_000_000);
        let templates = &report.topologies[topology].metadata_templates;
        assert_eq!(templates["totals_pods_counted"].label, "Pods counted");
        assert!(
            latest(controller, "kubernetes_name").is_some(),
            "it has its name still"
        );
    }
    let set = ids(&report, Topology::ReplicaSet);
    assert!(
        node(&report, Topology::ReplicaSet, set[0])
            .metrics
            .is_empty()
    );
}

#[test]
fn without_a_total_a_controller_is_as_it_was() {
    let known = inventory();
    let without = report_with(&known, &settings());
    let with = Settings {
        totals: Some(totals([])),
        ..settings()
    };
    let mut empty = report_with(&known, &with);
    for (topology, (_, id)) in objects(&known) {
        let was = node(&without, topology, &id);
        assert_eq!(node(&empty, topology, &id), was);
        let rows = &mut empty.topology(topology).metadata_templates;
        assert!(rows.remove("totals_pods_counted").is_some());
    }
    let of_services = empty.topologies.remove(&Topology::Service);
    let of_services = of_services.expect("constant templates");
    assert_eq!(of_services.metric_templates.len(), 2);
    assert!(of_services.nodes.is_empty() && of_services.metadata_templates.is_empty());
    let images = empty.topology(Topology::ContainerImage);
    assert_eq!(std::mem::take(&mut images.metric_templates).len(), 2);
    assert!(
        images
            .metadata_templates
            .remove("totals_pods_counted")
            .is_some()
    );
    assert_eq!(empty, without, "but for the templates");
}

#[test]
fn a_single_pod_has_what_scope_lifts_and_a_scale_without_limits_is_of_the_nodes() {
    let known = inventory();
    let all = objects(&known);
    let values = [
        (Metric::Millicores, 600.0),
        (Metric::Memory, 300.0),
        (Metric::Rss, 200.0),
    ];
    let settings = Settings {
        totals: Some(totals(
            all.values().map(|(object, _)| total(*object, 1, &values)),
        )),
        ..settings()
    };
    let report = report_with(&known, &settings);
    for (topology, (_, id)) in &all {
        let controller = node(&report, *topology, id);
        let memory = (300.0, (1u64 << 34) as f64);
        assert_eq!(metric(controller, "docker_memory_usage"), Some(memory));
        assert_eq!(latest(controller, "totals_pods_counted"), Some("1 of 1"));
        // Of a Job Scope may still list earlier pods.
        let is_job = matches!(topology, Topology::Job | Topology::CronJob);
        let rss = is_job.then_some((200.0, (1u64 << 34) as f64));
        assert_eq!(metric(controller, "rss"), rss, "{topology}");
    }
}

#[test]
fn where_scope_is_not_mended_nobody_is_drawn_by_a_total() {
    let known = inventory();
    let all = objects(&known);
    let totals = Some(totals(
        all.values().map(|(object, _)| total(*object, 4, &VALUES)),
    ));
    let docker = Settings {
        totals: totals.clone(),
        mend: Mend::Never,
        ..settings()
    };
    let told = |settings: &Settings| {
        let report = report_with(&known, settings);
        let told = all
            .iter()
            .filter(|(topology, _)| !ids(&report, **topology).is_empty());
        told.map(|(topology, _)| *topology).collect::<Vec<_>>()
    };
    let listed = [
        Topology::Deployment,
        Topology::DaemonSet,
        Topology::StatefulSet,
    ];
    let told_without = told(&docker);
    assert_eq!(told_without.len(), 3);
    assert!(
        listed
            .iter()
            .all(|topology| told_without.contains(topology))
    );
    let report = report_with(&known, &docker);
    let templates = &report.topologies[&Topology::Deployment].metric_templates;
    assert!(templates.contains_key("docker_cpu_total_usage"));
    let templates = &report.topologies[&Topology::Pod].metric_templates;
    assert!(
        !templates.contains_key("docker_cpu_total_usage"),
        "the probe's own"
    );
    let mut button = docker;
    button.controls.cron_job = vec!["node-metrics-controls~triggerCronJob".into()];
    assert!(told(&button).contains(&Topology::CronJob));
}

#[test]
fn every_total_is_told_within_a_cycle() {
    let known = inventory();
    let all = objects(&known);
    let totals = totals(all.values().map(|(object, _)| total(*object, 4, &VALUES)));
    for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
        let mut told: BTreeMap<(Topology, &str), u64> = BTreeMap::new();
        for number in 0..cycle.names {
            let settings = Settings {
                totals: Some(totals.clone()),
                share: Share::Turn { number, cycle },
                ..settings()
            };
            let report = report_with(&known, &settings);
            for (topology, (_, id)) in &all {
                let Some(controller) = report.topologies[topology].nodes.get(id) else {
                    continue;
                };
                for id in ["docker_cpu_total_usage", "docker_memory_usage", "threads"] {
                    let has = controller.metrics.contains_key(id);
                    *told.entry((*topology, id)).or_default() += u64::from(has);
                }
                let row = controller.latest.contains_key("totals_pods_counted");
                *told.entry((*topology, "row")).or_default() += u64::from(row);
                assert!(
                    !row || controller.latest.contains_key("t"),
                    "or the probe drops it"
                );
            }
        }
        assert_eq!(told.len(), 4 * all.len());
        for ((topology, id), count) in told {
            assert_eq!(count, 1, "{topology} {id}");
        }
    }
}

#[test]
fn http_is_shown_of_what_has_served_and_by_the_same_codes_on_all_nodes() {
    let known = inventory();
    let all = objects(&known);
    let (object, id) = &all[&Topology::Deployment];
    let (idle, idle_id) = &all[&Topology::DaemonSet];
    let codes = (400..416).map(|code| (Metric::HttpCode(code), 1.0));
    let served: Vec<(Metric, f64)> = codes
        .chain([
            (Metric::HttpRequests, 20.0),
            (Metric::HttpClass(2), 3.0),
            (Metric::HttpClass(5), 1.0),
            (Metric::HttpCode(200), 3.0),
            (Metric::HttpOthers, 0.5),
        ])
        .collect();
    let totals = totals([
        total(*object, 4, &served),
        total(
            *idle,
            4,
            &[(Metric::HttpRequests, 0.0), (Metric::Millicores, 8.0)],
        ),
    ]);
    let settings = Settings {
        totals: Some(totals),
        collectors: Collectors::ALL,
        ..settings()
    };
    let report = report_with(&known, &settings);
    let controller = node(&report, Topology::Deployment, id);
    for (id, value, max) in [
        ("http_requests_per_second", 20.0, 20.0),
        ("http_2xx_responses_per_second", 3.0, 3.0),
        ("http_error_ratio", 25.0, 100.0),
        ("http_200_responses_per_second", 3.0, 3.0),
        ("http_410_responses_per_second", 1.0, 1.0),
        // Five that have no place among the twelve.
        ("http_OTHERS_responses_per_second", 5.5, 5.5),
    ] {
        assert_eq!(metric(controller, id), Some((value, max)), "{id}");
        let templates = &report.topologies[&Topology::Deployment].metric_templates;
        assert!(templates.contains_key(id), "{id}");
    }
    assert_eq!(metric(controller, "http_411_responses_per_second"), None);
    let idle = node(&report, Topology::DaemonSet, idle_id);
    assert!(metric(idle, "docker_cpu_total_usage").is_some());
    assert!(!idle.metrics.keys().any(|id| id.starts_with("http")));
}
