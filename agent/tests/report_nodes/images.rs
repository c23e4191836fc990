//! Totals of images: on the images that are drawn here, and the same on all versions of one.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::collect::{Cycle, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_agent::totals::{Totals, TotalsBoard};
use scope_protocol::{Report, Topology};
use scope_totals_wire::{Fate, Kind, Metric, Reply, Stamp, Total, VERSION, image_uid};
use tokio::time::Instant;

use crate::reported::{ids, known, latest, metric, node, report, settings, usage};

const ROW: &str = "totals_pods_counted";
const TEMPLATES: [&str; 2] = ["docker_cpu_total_usage", "docker_memory_usage"];

/// With totals of the images of these names.
fn with(names: &[&str], after: Duration) -> Settings {
    let total = |name: &&str| Total {
        kind: Kind::Image,
        uid: image_uid(name),
        pods: 40,
        counted: 39,
        cpus: 8,
        memory: 1 << 34,
        valid_ms: 9000,
        values: [(Metric::Millicores, 600.0), (Metric::Memory, 300.0)]
            .into_iter()
            .collect(),
    };
    let reply = Reply {
        version: VERSION,
        fate: Fate::Taken,
        stamp: Stamp("1-1".into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: 1_795_397_680_764,
        totals: names.iter().map(total).collect(),
        podless: None,
        services: None,
        top: Vec::new(),
    };
    let (board, now) = (TotalsBoard::new(), Instant::now());
    board.replied(reply, Duration::from_secs(5), now);
    let totals: Totals = board.totals(now + after);
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

fn id(name: &str) -> String {
    format!("{};<container_image>", name.repeat(8))
}

/// What is known, and the image `tail` is another version of `app`.
fn two_versions() -> Inventory {
    let mut known = known();
    let pods = known.pods.values_mut();
    for container in pods.flat_map(|pod| pod.containers.values_mut()) {
        container.image = match &*container.name {
            "tail" => "mirror.example/shop/app:2".into(),
            name => format!("registry.example/shop/{name}:1"),
        };
    }
    known
}

#[test]
fn every_version_of_an_image_has_the_total_of_its_name() {
    let known = two_versions();
    let settings = with(&["x.example/shop/app:3", "elsewhere"], Duration::ZERO);
    let report = report_with(&known, &settings);
    let images = &report.topologies[&Topology::ContainerImage];
    assert_eq!(ids(&report, Topology::ContainerImage).len(), 4);
    for (name, has) in [
        ("app", true),
        ("tail", true),
        ("sidecar", false),
        ("dump", false),
    ] {
        let image = node(&report, Topology::ContainerImage, &id(name));
        assert!(latest(image, "docker_image_name").is_some(), "{name}");
        assert_eq!(latest(image, ROW), has.then_some("39 of 40"), "{name}");
        let [cpu, memory] = TEMPLATES.map(|metric_id| metric(image, metric_id));
        assert_eq!(cpu, has.then_some((7.5, 100.0)), "{name}");
        let all = (1_u64 << 34) as f64;
        assert_eq!(memory, has.then_some((300.0, all)), "{name}");
        assert_eq!(image.metrics.len(), if has { 2 } else { 0 }, "{name}");
    }
    let templates: Vec<&str> = images.metric_templates.keys().map(String::as_str).collect();
    assert_eq!(templates, TEMPLATES);
    assert_eq!(images.metadata_templates[ROW].label, "Pods counted");
}

#[test]
fn templates_stay_and_where_scope_draws_images_there_is_nothing() {
    let known = known();
    let over = with(&["registry.example/app"], Duration::from_secs(9));
    let report = report_with(&known, &over);
    let images = &report.topologies[&Topology::ContainerImage];
    assert_eq!(images.metric_templates.len(), TEMPLATES.len());
    assert!(images.nodes.values().all(|image| image.metrics.is_empty()));

    let mend = Mend::Never;
    let settings = Settings {
        mend,
        ..with(&["registry.example/app"], Duration::ZERO)
    };
    let report = report_with(&known, &settings);
    assert!(!report.topologies.contains_key(&Topology::ContainerImage));

    let without = report_with(&known, &crate::reported::settings());
    let images = &without.topologies[&Topology::ContainerImage];
    assert!(images.metric_templates.is_empty());
    assert!(!images.metadata_templates.contains_key(ROW));
}

#[test]
fn every_total_of_an_image_is_told_within_a_cycle() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    let names = ["app", "sidecar", "dump", "tail"];
    let references = names.map(|name| format!("registry.example/{name}:1"));
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        // What some of many nodes tell is drawn by lot for each cycle.
        for number in 0..40 * cycle.names {
            let settings = Settings {
                share: Share::Turn { number, cycle },
                ..with(&references, Duration::ZERO)
            };
            let report = report(&usage, mode, &settings);
            for id in ids(&report, Topology::ContainerImage) {
                let image = node(&report, Topology::ContainerImage, id);
                if image.metrics.is_empty() {
                    continue;
                }
                *told.entry(id.to_owned()).or_default() += 1;
                assert!(image.latest.contains_key("t"), "or the probe drops the row");
            }
        }
        assert_eq!(told.len(), names.len());
        // Twelve of forty nodes with a pod of it.
        assert!(
            told.values().all(|cycles| (4..25).contains(cycles)),
            "{told:?}"
        );
    }
}
