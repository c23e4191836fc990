//! The report as a whole.

use std::collections::BTreeSet;

use scope_agent::attribution::{Usage, attribute};
use scope_agent::collect::{self, Cycle, Mend, Settings, Share};
use scope_agent::inventory::Inventory;
use scope_agent::sample::Mode;
use scope_protocol::{Node, Report, Topology};

use crate::made_node::{Layout, MadeNode, id, uid};
use crate::reported::{ids, known, latest, metric, node, report, settings, usage};

#[test]
fn templates_do_not_depend_on_what_runs() {
    let templates = |usage: &Usage, mode: Mode<'_>| -> Vec<_> {
        let settings = Settings {
            mend: Mend::Always,
            ..settings()
        };
        let report = report(usage, mode, &settings);
        let topologies = report.topologies.into_iter();
        topologies
            .map(|(t, content)| (t, content.metric_templates, content.metadata_templates))
            .filter(|(_, metrics, metadata)| !metrics.is_empty() || !metadata.is_empty())
            .collect()
    };
    let known = known();
    let mode = Mode::Cluster(&known);
    let busy = templates(&usage(mode), mode);
    let nothing = Inventory::default();
    let empty = MadeNode::new(Layout::V2Systemd)
        .sampler()
        .take(Mode::Cluster(&nothing));
    let usage = attribute(None, &empty, Mode::Cluster(&nothing));
    assert_eq!(templates(&usage, Mode::Cluster(&nothing)), busy);
}

#[test]
fn docker_is_left_to_scope_itself() {
    let mut known = known();
    for pod in known.pods.values_mut() {
        pod.containers
            .values_mut()
            .for_each(|container| container.runtime = "docker".into());
    }
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    let mended = |mend| {
        let report = report(&usage, mode, &Settings { mend, ..settings() });
        let of_scopes = |node: &Node| node.metrics.keys().any(|id| id.starts_with("docker_"));
        let named = report.topologies[&Topology::Container]
            .nodes
            .values()
            .any(|node| of_scopes(node) || !node.latest.is_empty() || !node.parents.is_empty());
        if !named {
            for topology in [
                Topology::ContainerImage,
                Topology::Process,
                Topology::ReplicaSet,
            ] {
                assert!(ids(&report, topology).is_empty(), "{topology}");
            }
            let pods = &report.topologies[&Topology::Pod];
            assert!(!pods.metric_templates.contains_key("docker_cpu_total_usage"));
            for pod in pods.nodes.values() {
                assert!(!of_scopes(pod) && pod.parents.is_empty());
                assert!(latest(pod, "active_controls").is_some());
            }
            // What Scope has not got is still there.
            let app = node(
                &report,
                Topology::Container,
                &format!("{};<container>", id('b')),
            );
            assert_eq!(metric(app, "cpu_millicores"), Some((100.0, 2000.0)));
            assert_eq!(ids(&report, Topology::Namespace).len(), 1);
        }
        named
    };
    assert!(!mended(Mend::Auto));
    assert!(mended(Mend::Always));
    assert!(!mended(Mend::Never));

    let other = crate::reported::known();
    let mode = Mode::Cluster(&other);
    let usage = crate::reported::usage(mode);
    let never = report(
        &usage,
        mode,
        &Settings {
            mend: Mend::Never,
            ..settings()
        },
    );
    assert!(ids(&never, Topology::Process).is_empty());
}

#[test]
fn turns_make_up_the_whole() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    let whole = report(&usage, mode, &settings());
    let mut together = Report::new(whole.plugin.clone());
    let mut smaller = 0;
    let mut marks = BTreeSet::new();
    // A multiple of all cycles.
    for turn in 0..24 {
        let settings = Settings {
            share: Share::Turn {
                number: turn,
                cycle: Cycle::SECOND,
            },
            ..settings()
        };
        let part = report(&usage, mode, &settings);
        for id in [id('b'), id('c'), id('d'), id('e')] {
            let container = node(&part, Topology::Container, &format!("{id};<container>"));
            assert!(
                metric(container, "docker_cpu_total_usage").is_some(),
                "in every report"
            );
            assert!(
                metric(container, "docker_memory_usage").is_some(),
                "in every report"
            );
        }
        for (topology, content) in part.topologies {
            let all = together.topology(topology);
            all.metric_templates = content.metric_templates;
            all.metadata_templates = content.metadata_templates;
            all.table_templates = content.table_templates;
            for (id, node) in content.nodes {
                let merged = all.node(id.clone());
                smaller += usize::from(node.latest.len() < 11);
                merged.latest.extend(node.latest);
                // It changes each time that the node's names are told, and so tells nothing itself.
                if let Some(mark) = merged.latest.remove("t") {
                    assert!(
                        marks.insert((id.clone(), mark.value)),
                        "{id} is marked alike"
                    );
                }
                merged.metrics.extend(node.metrics);
                merged.sets.extend(node.sets);
                merged.parents.extend(node.parents);
            }
        }
    }
    assert!(together == whole, "the turns do not make up the whole");
    assert!(smaller > 0 && marks.len() >= 4 * 3 + 4 * 3);
}

#[test]
fn equal_input_gives_equal_bytes() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let (mut one, mut other) = (Vec::new(), b"something old".to_vec());
    collect::render(&usage(mode), mode, &settings(), &mut one);
    collect::render(&usage(mode), mode, &settings(), &mut other);
    assert!(!one.is_empty());
    assert_eq!(String::from_utf8(one), String::from_utf8(other));
}

#[test]
fn standalone_reports_what_the_node_alone_tells() {
    let usage = usage(Mode::Standalone);
    let report = report(&usage, Mode::Standalone, &settings());
    let app = node(
        &report,
        Topology::Container,
        &format!("{};<container>", id('b')),
    );
    assert_eq!(latest(app, "docker_container_name"), Some("bbbbbbbbbbbb"));
    assert!(latest(app, "docker_image_name").is_none());
    let pod = format!("{};<pod>", uid('1'));
    assert_eq!(app.parents[&Topology::Pod], BTreeSet::from([pod.clone()]));
    assert!(metric(node(&report, Topology::Pod, &pod), "docker_cpu_total_usage").is_some());
    assert!(ids(&report, Topology::Namespace).is_empty());
}
