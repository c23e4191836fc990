//! Any report that a plugin may send.

// Each test binary has its own copy of this and uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use scope_protocol::report::{Column, DataType, From, MetricFormat, TableKind};
use scope_protocol::*;

/// Texts with everything in them that has to be escaped.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 _.-]{0,12}",
        "\\PC{0,8}",
        "[\u{0}-\u{1f}\"\\\\/\u{7f}\u{2028}\u{1f600}]{0,6}"
    ]
}

/// A key of `latest`; none begins like a multi-column table of [`tables`].
fn key() -> impl Strategy<Value = String> {
    "[a-z\u{0}\u{e9}\"\\\\_]{1,10}"
}

pub(crate) fn plugin_id() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,4}){0,2}"
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    // 1970 to 2096.
    (0..4_000_000_000_000_000i64).prop_map(Timestamp::from_unix_micros)
}

pub(crate) fn node_id(topology: Topology) -> BoxedStrategy<NodeId> {
    let name = "[a-z0-9._:-]{1,16}";
    match topology {
        Topology::Process => (name, 1..u32::MAX)
            .prop_map(|(host, pid)| NodeId::process(&host, pid))
            .boxed(),
        Topology::Endpoint => ("[a-z0-9-]{0,8}", "[0-9a-f.:]{1,16}", any::<u16>())
            .prop_map(|(scope, address, port)| NodeId::endpoint(&scope, &address, port))
            .boxed(),
        Topology::EcsService => (name, name)
            .prop_map(|(c, s)| NodeId::ecs_service(&c, &s))
            .boxed(),
        Topology::Overlay => name.prop_map(|peer| NodeId::overlay(&peer)).boxed(),
        tagged => name
            .prop_map(move |name| NodeId::object(tagged, &name).expect("its IDs have a tag"))
            .boxed(),
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e6..1e6f64,
        2 => (-1000..1000i32).prop_map(f64::from),
        // Beyond this, `serde_json` reads some numbers one bit off.
        1 => -1e12..1e12f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(0.0),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    let samples =
        (timestamp(), vec((1..10_000_000i64, value()), 0..4)).prop_map(|(start, steps)| {
            let mut at = start.unix_micros();
            let mut samples = Vec::new();
            for (step, value) in steps {
                at += step;
                samples.push(Sample {
                    date: Timestamp::from_unix_micros(at),
                    value,
                });
            }
            samples
        });
    (samples, value(), value()).prop_map(|(samples, min, max)| Metric { samples, min, max })
}

fn topology() -> impl Strategy<Value = Topology> {
    proptest::sample::select(Topology::ALL)
}

fn parents() -> impl Strategy<Value = BTreeMap<Topology, BTreeSet<String>>> {
    let parent =
        topology().prop_flat_map(|t| (Just(t), btree_set(node_id(t).prop_map(String::from), 0..3)));
    vec(parent, 0..3).prop_map(|parents| parents.into_iter().collect())
}

fn node(topology: Topology, metrics: Vec<String>) -> impl Strategy<Value = Node> {
    let latest = (timestamp(), text()).prop_map(|(timestamp, value)| Latest { timestamp, value });
    let metric_ids = if metrics.is_empty() {
        Just(Vec::new()).boxed()
    } else {
        let most = metrics.len();
        proptest::sample::subsequence(metrics, 0..=most).boxed()
    };
    let metrics = metric_ids.prop_flat_map(|ids| {
        let len = ids.len();
        (Just(ids), vec(metric(), len))
            .prop_map(|(ids, metrics)| ids.into_iter().zip(metrics).collect())
    });
    let adjacency = match topology {
        Topology::Endpoint | Topology::Overlay => {
            btree_set(node_id(topology).prop_map(String::from), 0..3).boxed()
        }
        _ => Just(BTreeSet::new()).boxed(),
    };
    let cells = btree_map("tab~[a-z]{1,3}___[ab]", (timestamp(), text()), 0..3);
    (
        btree_map(key(), latest, 0..4),
        cells,
        metrics,
        btree_map(key(), btree_set(text(), 0..4), 0..3),
        parents(),
        adjacency,
        btree_map("n[a-z]{1,4}[0-9]", any::<i64>(), 0..3),
    )
        .prop_map(
            |(mut latest, cells, metrics, sets, parents, adjacency, counters)| {
                latest.extend(
                    cells
                        .into_iter()
                        .map(|(k, (timestamp, value))| (k, Latest { timestamp, value })),
                );
                Node {
                    latest,
                    metrics,
                    sets,
                    parents,
                    adjacency,
                    counters,
                    control_probe: None,
                }
            },
        )
}

fn data_type() -> impl Strategy<Value = DataType> {
    use DataType::*;
    proptest::sample::select(vec![Text, Number, Ip, DateTime, Duration, Link])
}

fn metric_template() -> impl Strategy<Value = MetricTemplate> {
    use MetricFormat::*;
    let format = proptest::sample::select(vec![Number, FileSize, Integer, Percent]);
    (text(), format, text(), 0..100_000i32).prop_map(|(label, format, group, priority)| {
        MetricTemplate {
            label,
            format,
            group,
            priority: f64::from(priority) / 1000.0,
        }
    })
}

fn metadata_template() -> impl Strategy<Value = MetadataTemplate> {
    let from = proptest::sample::select(vec![From::Latest, From::Sets, From::Counters]);
    (text(), any::<u32>(), data_type(), 1..10_000i32, from).prop_map(
        |(label, truncate, data_type, priority, from)| MetadataTemplate {
            label,
            truncate,
            data_type,
            priority: f64::from(priority) / 1000.0,
            from,
        },
    )
}

fn tables() -> impl Strategy<Value = TableTemplate> {
    let columns = vec(
        (text(), text(), data_type()).prop_map(|(id, label, data_type)| Column {
            id,
            label,
            data_type,
        }),
        0..3,
    );
    let kind = prop_oneof![
        btree_map(text(), text(), 0..3)
            .prop_map(|fixed_rows| TableKind::PropertyList { fixed_rows }),
        columns.prop_map(|columns| TableKind::MultiColumn { columns }),
    ];
    (text(), kind).prop_map(|(label, kind)| TableTemplate {
        label,
        prefix: "tab~".to_owned(),
        kind,
    })
}

fn control() -> impl Strategy<Value = Control> {
    // An empty confirmation is none, on the wire as well.
    let confirmation = proptest::option::of("[a-z \"]{1,10}");
    (text(), text(), any::<i32>(), confirmation).prop_map(|(human, icon, rank, confirmation)| {
        Control {
            human,
            icon,
            rank,
            confirmation,
        }
    })
}

fn section(controller: bool) -> impl Strategy<Value = (Topology, TopologyReport)> {
    let templates = btree_map("[a-z_\"]{1,6}", metric_template(), 0..4);
    let base = (
        topology(),
        templates,
        btree_map(text(), metadata_template(), 0..3),
    );
    base.prop_flat_map(move |(topology, metric_templates, metadata_templates)| {
        let ids: Vec<String> = metric_templates.keys().cloned().collect();
        let id = node_id(topology).prop_map(String::from);
        let nodes = btree_map(
            id,
            node(topology, ids),
            if controller { 0..1 } else { 0..4 },
        );
        let controls = btree_map(
            "[A-Za-z0-9_-]{1,8}",
            control(),
            if controller { 0..4 } else { 0..1 },
        );
        let tables = btree_map(text(), tables(), 0..2);
        (nodes, controls, tables).prop_map(move |(nodes, controls, table_templates)| {
            let report = TopologyReport {
                nodes,
                controls,
                metadata_templates: metadata_templates.clone(),
                metric_templates: metric_templates.clone(),
                table_templates,
            };
            (topology, report)
        })
    })
}

pub(crate) fn report() -> impl Strategy<Value = Report> {
    let plugin = (plugin_id(), "[\\PC\"\\\\]{1,8}", text(), any::<bool>()).prop_map(
        |(id, label, description, controller)| PluginSpec {
            id,
            label,
            description,
            controller,
        },
    );
    plugin.prop_flat_map(|plugin| {
        vec(section(plugin.controller), 0..4).prop_map(move |sections| Report {
            plugin: plugin.clone(),
            topologies: sections.into_iter().collect(),
        })
    })
}
