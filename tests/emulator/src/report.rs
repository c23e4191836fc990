//! A report as the probe holds it in memory.

use std::collections::BTreeMap;

use crate::kind::Kind;
use crate::stamp::Stamp;

/// The latest key that holds the controls a node offers, separated by semicolons.
pub(crate) const ACTIVE_CONTROLS: &str = "active_controls";

/// How a plugin brings the whole probe down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    /// A panic that nobody recovers; the process ends with exit code 2.
    #[error("panic: {0}")]
    Panic(String),
    /// The decoder never comes back and takes more and more memory, until the system kills the
    /// process.
    #[error("killed, out of memory: {0}")]
    Endless(String),
}

/// A whole report: of one plugin, or of the probe once all are merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The earliest time of any merged report.
    pub ts: Stamp,
    pub(crate) topologies: Vec<Topology>,
    /// Names by address.
    pub dns: BTreeMap<String, DnsRecord>,
    /// The same under the key `nodes`, an old mistake that Scope still reads and never merges.
    pub(crate) misplaced_dns: BTreeMap<String, DnsRecord>,
    /// Packet sampling, summed up.
    pub sampling: Sampling,
    /// Nanoseconds that the report covers, summed up.
    pub window: i64,
    /// Published at once, past the publish interval.
    pub shortcut: bool,
    /// The plugins that took part, by id.
    pub plugins: BTreeMap<String, PluginSpec>,
}

impl Default for Report {
    fn default() -> Self {
        Self::empty()
    }
}

impl Report {
    /// The empty report that Scope starts from: every topology there, with its shape and its label.
    pub fn empty() -> Self {
        let topologies = Kind::ALL
            .into_iter()
            .map(|kind| Topology {
                shape: kind.shape().to_owned(),
                tag: kind.tag().to_owned(),
                label: kind.label().to_owned(),
                label_plural: kind.plural().to_owned(),
                ..Topology::default()
            })
            .collect();
        Self {
            topologies,
            ..Self::zero()
        }
    }

    /// A report without even the defaults; Scope decodes shortcut reports into one.
    pub(crate) fn zero() -> Self {
        Self {
            ts: Stamp::ZERO,
            topologies: vec![Topology::default(); Kind::ALL.len()],
            dns: BTreeMap::new(),
            misplaced_dns: BTreeMap::new(),
            sampling: Sampling::default(),
            window: 0,
            shortcut: false,
            plugins: BTreeMap::new(),
        }
    }

    /// One topology.
    pub fn topology(&self, kind: Kind) -> &Topology {
        &self.topologies[kind.index()]
    }

    /// One topology, to be changed.
    pub fn topology_mut(&mut self, kind: Kind) -> &mut Topology {
        &mut self.topologies[kind.index()]
    }

    /// All topologies, in the order in which Scope walks them.
    pub fn topologies(&self) -> impl Iterator<Item = (Kind, &Topology)> {
        Kind::ALL.into_iter().zip(&self.topologies)
    }

    pub(crate) fn topologies_mut(&mut self) -> impl Iterator<Item = (Kind, &mut Topology)> {
        Kind::ALL.into_iter().zip(&mut self.topologies)
    }

    /// The node under this key of this topology.
    pub fn node(&self, kind: Kind, id: &str) -> Option<&Node> {
        self.topology(kind).nodes.get(id)
    }
}

/// One topology of a report.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Topology {
    pub shape: String,
    pub tag: String,
    pub label: String,
    pub label_plural: String,
    pub nodes: BTreeMap<String, Node>,
    pub controls: BTreeMap<String, Control>,
    pub metadata_templates: BTreeMap<String, MetadataTemplate>,
    pub metric_templates: BTreeMap<String, MetricTemplate>,
    pub table_templates: BTreeMap<String, TableTemplate>,
}

/// One node. Its key in the topology counts, whatever its `id` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// What the node says of its own id.
    pub id: String,
    /// The topology that the node says it is in; the probe overwrites it after merging.
    pub topology: String,
    /// Values with the time they are from.
    pub latest: BTreeMap<String, LatestEntry>,
    /// Time series.
    pub metrics: BTreeMap<String, Metric>,
    /// Sets of words, in the order in which they came.
    pub sets: BTreeMap<String, Vec<String>>,
    /// Ids of nodes of other topologies, by the name of the topology.
    pub parents: BTreeMap<String, Vec<String>>,
    /// Ids of nodes of the same topology.
    pub adjacency: Vec<String>,
    /// Nodes inside this one, by their `id`.
    pub children: BTreeMap<String, Node>,
    /// Controls one by one, as Scope knew them up to 1.12; a later one only reads them into the
    /// value `active_controls`.
    pub latest_controls: BTreeMap<String, LatestControl>,
}

impl Node {
    /// An empty node.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// The same node with one more value.
    #[must_use]
    pub fn with_latest(mut self, key: &str, stamp: Stamp, value: &str) -> Self {
        self.set_latest(key, stamp, value);
        self
    }

    pub(crate) fn set_latest(&mut self, key: &str, stamp: Stamp, value: &str) {
        self.latest.insert(
            key.to_owned(),
            LatestEntry {
                stamp,
                value: value.to_owned(),
            },
        );
    }

    /// The value of a key, whatever its age.
    pub fn latest(&self, key: &str) -> Option<&str> {
        self.latest.get(key).map(|entry| entry.value.as_str())
    }

    /// The value of the newest sample of a metric.
    pub fn last_sample(&self, metric: &str) -> Option<f64> {
        self.metrics
            .get(metric)?
            .samples
            .last()
            .map(|sample| sample.value)
    }

    /// The nodes of another topology that this one belongs to.
    pub fn parents(&self, kind: Kind) -> &[String] {
        self.parents.get(kind.name()).map_or(&[], Vec::as_slice)
    }

    /// The controls that the node offers, in their order, as Scope reads them from 1.13 on.
    pub fn active_controls(&self) -> Vec<&str> {
        let joined = self.latest(ACTIVE_CONTROLS).unwrap_or_default();
        joined.split(';').filter(|id| !id.is_empty()).collect()
    }
}

/// Whether a node offers a control, and since when that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct LatestControl {
    pub stamp: Stamp,
    pub dead: bool,
}

/// A value and the time it is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the type says it")]
pub struct LatestEntry {
    pub stamp: Stamp,
    pub value: String,
}

/// A time series.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Metric {
    pub samples: Vec<Sample>,
    pub min: f64,
    pub max: f64,
}

/// One point of a time series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Sample {
    pub date: Stamp,
    pub value: f64,
}

/// A button.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Control {
    pub id: String,
    pub human: String,
    pub icon: String,
    pub confirmation: String,
    pub rank: i64,
}

/// How to show a value or a set.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct MetadataTemplate {
    pub id: String,
    pub label: String,
    pub truncate: i64,
    pub data_type: String,
    pub priority: f64,
    pub from: String,
}

/// How to show a metric.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct MetricTemplate {
    pub id: String,
    pub label: String,
    pub format: String,
    pub group: String,
    pub priority: f64,
}

/// How to show a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct TableTemplate {
    pub id: String,
    pub label: String,
    pub prefix: String,
    pub kind: String,
    pub columns: Vec<Column>,
    pub fixed_rows: BTreeMap<String, String>,
}

/// A column of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Column {
    pub id: String,
    pub label: String,
    pub data_type: String,
}

/// What a plugin says of itself, and what the probe says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct PluginSpec {
    pub id: String,
    pub label: String,
    pub description: String,
    pub interfaces: Vec<String>,
    pub api_version: String,
    /// `ok`, or `error: …`; set by the probe, whatever the plugin sends.
    pub status: String,
}

impl PluginSpec {
    /// Whether the plugin names this interface.
    pub fn implements(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|name| name == interface)
    }
}

/// Names of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct DnsRecord {
    pub forward: Vec<String>,
    pub reverse: Vec<String>,
}

/// How many packets were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the keys of the wire format")]
pub struct Sampling {
    pub count: u64,
    pub total: u64,
}
