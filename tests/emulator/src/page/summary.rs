//! A node in a view: names, values, metrics, tables and what it belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tab;
use super::label::label;
use crate::kind::Kind;
use crate::render::{Drawn, Scene};
use crate::report::{MetadataTemplate, TableTemplate};

/// What parents a node shows, in their order. A job is never among them.
const PARENTS: [Kind; 12] = [
    Kind::Container,
    Kind::ContainerImage,
    Kind::Pod,
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::CronJob,
    Kind::Service,
    Kind::EcsTask,
    Kind::EcsService,
    Kind::SwarmService,
    Kind::Host,
];

/// A node as a view shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The node's id.
    pub id: String,
    /// The topology it belongs to; none for stand-ins such as the internet.
    pub kind: Option<Kind>,
    /// The first line under it.
    pub label: String,
    /// The second line.
    pub label_minor: String,
    /// Nodes of a rank have the same colour.
    pub rank: String,
    /// Whether it stands for what no probe reports.
    pub pseudo: bool,
    /// Values with a template, by priority.
    pub metadata: Vec<Cell>,
    /// Metrics with a template, by priority.
    pub metrics: Vec<MetricRow>,
    /// Tables, by their ids.
    pub tables: Vec<Table>,
    /// What it belongs to.
    pub parents: Vec<Parent>,
    /// The nodes of the view that it has connections to.
    pub adjacency: Vec<String>,
}

impl Summary {
    /// The value under a template's id, if it is shown.
    pub fn value(&self, id: &str) -> Option<&str> {
        let cell = self.metadata.iter().find(|cell| cell.id == id)?;
        Some(&cell.value)
    }

    /// The figure of a metric, if it is shown.
    pub fn metric(&self, id: &str) -> Option<f64> {
        let row = self.metrics.iter().find(|row| row.id == id)?;
        Some(row.value)
    }

    /// The labels of the parents in one view.
    pub fn parent_labels(&self, tab: Tab) -> Vec<&str> {
        let of_tab = self.parents.iter().filter(|parent| parent.tab == Some(tab));
        of_tab.map(|parent| parent.label.as_str()).collect()
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the template")]
pub struct Cell {
    pub id: String,
    pub label: String,
    pub value: String,
    pub priority: f64,
    pub data_type: String,
    pub truncate: i64,
}

/// A metric.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the template")]
pub struct MetricRow {
    pub id: String,
    pub label: String,
    pub format: String,
    pub group: String,
    pub priority: f64,
    /// The newest sample, cut to two decimals; 0 without samples.
    pub value: f64,
    pub min: f64,
    pub max: f64,
    /// How many samples the line in the panel is drawn from.
    pub samples: usize,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The template's id.
    pub id: String,
    /// The template's label.
    pub label: String,
    /// Rows by their id; in a property list a row has the columns `label` and `value`.
    pub rows: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a node belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The id of the other node, whether that exists or not.
    pub id: String,
    /// What it is called.
    pub label: String,
    /// The view that it is in.
    pub tab: Option<Tab>,
}

/// Describes a node; nothing for what is never drawn.
pub(super) fn summary(scene: &Scene, node: &Drawn) -> Option<Summary> {
    let names = label(node)?;
    let kind = Kind::of_name(&node.topology);
    let mut summary = Summary {
        id: node.id.clone(),
        kind,
        label: names.major,
        label_minor: names.minor,
        rank: names.rank,
        pseudo: node.is_pseudo(),
        parents: parents(scene, node),
        adjacency: node.adjacency.iter().cloned().collect(),
        ..Summary::default()
    };
    // A node that contains nodes of its own kind is taken for a group of them.
    let grouped = node.counter(&node.topology).is_some();
    if let Some(kind) = kind.filter(|_| !grouped) {
        let topology = scene.report.topology(kind);
        let cells = topology.metadata_templates.values();
        summary.metadata = cells.filter_map(|template| cell(template, node)).collect();
        summary
            .metadata
            .sort_by(|left, right| left.priority.total_cmp(&right.priority));
        summary.metrics = metrics(scene, kind, node);
        let tables = topology.table_templates.values();
        summary.tables = tables.map(|template| table(template, node)).collect();
        summary.tables.sort_by(|left, right| left.id.cmp(&right.id));
    }
    Some(summary)
}

fn cell(template: &MetadataTemplate, node: &Drawn) -> Option<Cell> {
    let latest = || node.latest(&template.id).map(str::to_owned);
    let set = || Some(node.data.sets.get(&template.id)?.join(", "));
    let counter = || node.counter(&template.id).map(|count| count.to_string());
    let value = match template.from.as_str() {
        "latest" => latest(),
        "sets" => set(),
        "counters" => counter(),
        _ => latest().or_else(set).or_else(counter),
    }?;
    Some(Cell {
        id: template.id.clone(),
        label: template.label.clone(),
        value,
        priority: template.priority,
        data_type: template.data_type.clone(),
        truncate: template.truncate,
    })
}

fn metrics(scene: &Scene, kind: Kind, node: &Drawn) -> Vec<MetricRow> {
    let templates = scene.report.topology(kind).metric_templates.values();
    let mut rows: Vec<MetricRow> = templates
        .filter_map(|template| {
            let metric = node.data.metrics.get(&template.id)?;
            let last = metric.samples.last().map_or(0.0, |sample| sample.value);
            Some(MetricRow {
                id: template.id.clone(),
                label: template.label.clone(),
                format: template.format.clone(),
                group: template.group.clone(),
                priority: template.priority,
                value: (last * 100.0).trunc() / 100.0,
                min: metric.min,
                max: metric.max,
                samples: metric.samples.len(),
            })
        })
        .collect();
    rows.sort_by(|left, right| left.priority.total_cmp(&right.priority));
    rows
}

/// A column's cells are keyed by what follows the three underscores; that they are there has been
/// checked before.
fn table(template: &TableTemplate, node: &Drawn) -> Table {
    let mut rows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (key, entry) in &node.data.latest {
        let rest = key
            .strip_prefix(&template.prefix)
            .filter(|_| !template.prefix.is_empty());
        if template.kind == "multicolumn-table" {
            let mut parts = rest.into_iter().flat_map(|rest| rest.split("___"));
            if let (Some(row), Some(column)) = (parts.next(), parts.next()) {
                let row = rows.entry(row.to_owned()).or_default();
                row.insert(column.to_owned(), entry.value.clone());
            }
        } else if let Some(label) = template.fixed_rows.get(key).map(String::as_str).or(rest) {
            let cells = [("label", label), ("value", &entry.value)];
            let cells = cells.map(|(column, text)| (column.to_owned(), text.to_owned()));
            rows.insert(format!("label_{label}"), cells.into());
        }
    }
    Table {
        id: template.id.clone(),
        label: template.label.clone(),
        rows,
    }
}

fn parents(scene: &Scene, node: &Drawn) -> Vec<Parent> {
    let mut parents = Vec::new();
    for kind in PARENTS {
        for id in node.parents(kind) {
            if node.is(kind) && *id == node.id {
                continue;
            }
            let parent = match scene.reported(kind).get(id) {
                Some(reported) => Drawn::of(&Arc::clone(reported)),
                None => Drawn::new(id, kind.name()),
            };
            // A node that does not know its topology has no name, and is left out.
            if let Some(names) = label(&parent) {
                parents.push(Parent {
                    id: parent.id,
                    label: names.major,
                    tab: Tab::of(kind),
                });
            }
        }
    }
    parents
}
