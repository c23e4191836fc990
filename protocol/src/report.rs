//! The report: what a plugin answers to `GET /report` (`report/report.go`, `report/node.go`).
//!
//! Sorted maps and sets throughout: Scope's merges assume sorted, unique sets, and equal content
//! gives equal bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Timestamp, Topology};

/// One plugin's report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The plugin; its `id` must be the socket's base name.
    pub plugin: PluginSpec,
    /// What is reported, by topology. Absent topologies are fine.
    pub topologies: BTreeMap<Topology, TopologyReport>,
}

impl Report {
    /// An empty report of this plugin.
    pub fn new(plugin: PluginSpec) -> Self {
        Report {
            plugin,
            topologies: BTreeMap::new(),
        }
    }

    /// The part for a topology, made if absent.
    pub fn topology(&mut self, topology: Topology) -> &mut TopologyReport {
        self.topologies.entry(topology).or_default()
    }
}

/// A member of `Plugins` (`common/xfer/plugin_spec.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSpec {
    /// Base name of the socket without its last extension.
    pub id: String,
    /// Shown in Scope's list of plugins; must not be empty.
    pub label: String,
    /// Tooltip in that list.
    pub description: String,
    /// Whether `controller` is declared besides `reporter`. A controller must not list nodes: the
    /// probe rewrites `active_controls` of each node of such a report.
    pub controller: bool,
}

/// One topology of a report (`report/topology.go`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopologyReport {
    /// Nodes by ID.
    pub nodes: BTreeMap<String, Node>,
    /// Controls by ID; the map key is the control's ID.
    pub controls: BTreeMap<String, Control>,
    /// Metadata rows by ID.
    pub metadata_templates: BTreeMap<String, MetadataTemplate>,
    /// Metrics by ID. A metric without a template in its node's topology is not shown.
    pub metric_templates: BTreeMap<String, MetricTemplate>,
    /// Tables by ID.
    pub table_templates: BTreeMap<String, TableTemplate>,
}

impl TopologyReport {
    /// The node with this ID, made if absent.
    pub fn node(&mut self, id: impl Into<String>) -> &mut Node {
        self.nodes.entry(id.into()).or_default()
    }
}

/// A node (`report/node.go`). Its ID is its key in [`TopologyReport::nodes`] and is written into
/// the node as well, since nothing fills it in for a plugin that is no controller.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Values by key; per key the newest timestamp wins when reports are merged.
    pub latest: BTreeMap<String, Latest>,
    /// Metrics by ID.
    pub metrics: BTreeMap<String, Metric>,
    /// Sets of strings by key.
    pub sets: BTreeMap<String, BTreeSet<String>>,
    /// IDs of parent nodes by topology.
    pub parents: BTreeMap<Topology, BTreeSet<String>>,
    /// IDs of nodes of the same topology; meaningful in `Endpoint` and `Overlay` only.
    pub adjacency: BTreeSet<String>,
    /// Whole numbers by key. Never one named like the node's own topology: Scope then hides its
    /// metrics and tables.
    pub counters: BTreeMap<String, i64>,
    /// The stamp of `latest.control_probe_id`, on a node whose clicks go through the probe that asks
    /// for the report. The value differs from probe to probe: see
    /// [`encode_for_probes`](crate::encode::encode_for_probes). It has an effect only beside
    /// `active_controls`, and so is written only where `latest` has something else too.
    pub control_probe: Option<Timestamp>,
}

impl Node {
    /// Sets a `latest` value with this stamp.
    pub fn set(&mut self, key: impl Into<String>, at: Timestamp, value: impl Into<String>) {
        self.latest.insert(
            key.into(),
            Latest {
                timestamp: at,
                value: value.into(),
            },
        );
    }

    /// Adds a parent.
    pub fn add_parent(&mut self, topology: Topology, id: impl Into<String>) {
        self.parents.entry(topology).or_default().insert(id.into());
    }
}

/// A stamped value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The newest stamp wins; one in the future beats the probe's own value.
    pub timestamp: Timestamp,
    /// Always a string.
    pub value: String,
}

/// A metric of a node (`report/metrics.go`). The encoder raises `max` to the highest sample, and
/// leaves a metric without a finite sample out: NaN would be read as 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// Ascending in time; Scope shows the last.
    pub samples: Vec<Sample>,
    /// Lower end of the scale.
    pub min: f64,
    /// Upper end of the scale.
    pub max: f64,
}

impl Metric {
    /// One sample on a scale from 0 to `max`.
    pub fn single(at: Timestamp, value: f64, max: f64) -> Self {
        Metric {
            samples: vec![Sample { date: at, value }],
            min: 0.0,
            max,
        }
    }
}

/// A sample of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub date: Timestamp,
    /// Its value.
    pub value: f64,
}

/// How a metric is labelled (`report/metric_template.go`). Map key and `id` are the same here.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricTemplate {
    /// What a person reads.
    pub label: String,
    /// How the number is written.
    pub format: MetricFormat,
    /// Group of the metric; mostly empty.
    pub group: String,
    /// Lower comes first.
    pub priority: f64,
}

/// Number formats that Scope's UI knows (`report/metric_row.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricFormat {
    /// Two decimals, SI suffix over 1100.
    Number,
    /// Bytes.
    FileSize,
    /// Whole number.
    Integer,
    /// 0–100 with a percent sign.
    Percent,
}

impl MetricFormat {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricFormat::Number => "",
            MetricFormat::FileSize => "filesize",
            MetricFormat::Integer => "integer",
            MetricFormat::Percent => "percent",
        }
    }
}

/// A metadata row (`report/metadata_template.go`).
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataTemplate {
    /// What a person reads.
    pub label: String,
    /// Characters after which the value is cut; 0 for never.
    pub truncate: u32,
    /// How the value is shown.
    pub data_type: DataType,
    /// Lower comes first; 10 and above, or 0, hides the row behind "show more".
    pub priority: f64,
    /// Where the value is looked up.
    pub from: From,
}

/// How Scope's UI shows a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// As it is.
    Text,
    /// A number.
    Number,
    /// An IP address.
    Ip,
    /// RFC 3339, shown as "x ago".
    DateTime,
    /// Seconds as text.
    Duration,
    /// A URL.
    Link,
}

impl DataType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            DataType::Text => "",
            DataType::Number => "number",
            DataType::Ip => "ip",
            DataType::DateTime => "datetime",
            DataType::Duration => "duration",
            DataType::Link => "link",
        }
    }
}

/// Where a metadata row takes its value from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// `latest`.
    Latest,
    /// `sets`, joined by ", ".
    Sets,
    /// `counters`.
    Counters,
}

impl From {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            From::Latest => "latest",
            From::Sets => "sets",
            From::Counters => "counters",
        }
    }
}

/// A table (`report/table.go`).
#[derive(Debug, Clone, PartialEq)]
pub struct TableTemplate {
    /// What a person reads.
    pub label: String,
    /// Prefix of the `latest` keys that are its rows; an empty one matches nothing.
    pub prefix: String,
    /// Its shape.
    pub kind: TableKind,
}

/// The shapes of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum TableKind {
    /// Each key with the prefix is a row; `fixed_rows` maps whole keys to row labels.
    PropertyList {
        /// Row label by `latest` key.
        fixed_rows: BTreeMap<String, String>,
    },
    /// Keys are prefix + row ID + `___` + column ID. A key without `___` takes down every view of
    /// the node in Scope's app.
    MultiColumn {
        /// The columns in order.
        columns: Vec<Column>,
    },
}

/// A column of a multi-column table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its ID in the keys.
    pub id: String,
    /// What a person reads.
    pub label: String,
    /// How values are shown.
    pub data_type: DataType,
}

/// A button (`report/controls.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Tooltip.
    pub human: String,
    /// CSS classes of a Font Awesome v4 icon, such as `fa fa-eject`.
    pub icon: String,
    /// Place among the buttons; Scope's own end at 8, ours start at 10.
    pub rank: i32,
    /// Text of the browser's question before the click is sent; since Scope 1.11.
    pub confirmation: Option<String>,
}
