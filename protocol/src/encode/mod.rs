//! The encoder: reports and control answers as the JSON that Scope reads.
//!
//! It writes what Scope needs and nothing that the probe fills in itself: no `topology` in nodes
//! (a wrong one can panic the probe), no `Window` or `Sampling` (the probe adds them up), no
//! `shape` or `label` of topologies (the probe's stay). `Plugins` comes first: Scope ignores
//! errors inside a node and reads on from the middle, and the spec must not be behind one.
//!
//! Equal reports give equal bytes. Nothing is allocated besides the growth of the output.

mod json;
mod slots;

use std::collections::{BTreeMap, BTreeSet};

use json::{Encoder, Members, rounded};

use crate::report::TableKind;
use crate::{
    API_VERSION, Control, ControlResponse, MetadataTemplate, Metric, MetricTemplate, Node,
    PluginSpec, Report, TableTemplate, Timestamp, TopologyReport,
};

pub use slots::ProbeSlots;

/// Appends the report as JSON, without any `control_probe_id`.
pub fn encode(report: &Report, out: &mut Vec<u8>) {
    Encoder::new(out).report(report);
}

/// Appends the report as JSON, and says where the asking probe's ID is to be put in for
/// [`Node::control_probe`].
pub fn encode_for_probes(report: &Report, out: &mut Vec<u8>) -> ProbeSlots {
    let mut encoder = Encoder::new(out);
    encoder.report(report);
    encoder.slots
}

/// Appends the answer to a `POST /control` as JSON. Parts that are absent or empty are left out;
/// `{}` is plain success.
pub fn encode_control_response(response: &ControlResponse, out: &mut Vec<u8>) {
    let mut e = Encoder::new(out);
    let mut o = e.open_object();
    if let Some(error) = response.error.as_deref().filter(|error| !error.is_empty()) {
        e.string_member(&mut o, "error", error);
    }
    if let Some(value) = &response.value {
        e.key(&mut o, "value");
        // `Value`'s own text is JSON.
        e.raw(value.to_string().as_bytes());
    }
    if let Some(removed) = &response.removed_node {
        e.string_member(&mut o, "removedNode", removed.as_str());
    }
    if let Some(report) = &response.shortcut_report {
        e.key(&mut o, "shortcutReport");
        e.report(report);
    }
    e.close_object();
}

impl Encoder<'_> {
    fn report(&mut self, report: &Report) {
        let mut o = self.open_object();
        self.key(&mut o, "Plugins");
        self.raw(b"[");
        self.plugin(&report.plugin);
        self.raw(b"]");
        for (topology, content) in &report.topologies {
            if !is_empty(content) {
                self.key(&mut o, topology.key());
                self.topology(content);
            }
        }
        self.close_object();
    }

    fn plugin(&mut self, plugin: &PluginSpec) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", &plugin.id);
        self.string_member(&mut o, "label", &plugin.label);
        self.nonempty_member(&mut o, "description", &plugin.description);
        self.key(&mut o, "interfaces");
        self.raw(if plugin.controller {
            br#"["reporter","controller"]"#
        } else {
            br#"["reporter"]"#
        });
        self.string_member(&mut o, "api_version", API_VERSION);
        self.close_object();
    }

    fn topology(&mut self, t: &TopologyReport) {
        let mut o = self.open_object();
        self.section(&mut o, "controls", &t.controls, Self::control);
        self.section(
            &mut o,
            "metadata_templates",
            &t.metadata_templates,
            Self::metadata_template,
        );
        self.section(
            &mut o,
            "metric_templates",
            &t.metric_templates,
            Self::metric_template,
        );
        self.section(
            &mut o,
            "table_templates",
            &t.table_templates,
            Self::table_template,
        );
        self.section(&mut o, "nodes", &t.nodes, Self::node);
        self.close_object();
    }

    /// An object by ID; left out if empty. Each member gets its ID for its inner `id`.
    fn section<T>(
        &mut self,
        o: &mut Members,
        name: &'static str,
        items: &BTreeMap<String, T>,
        write: fn(&mut Self, &str, &T),
    ) {
        if items.is_empty() {
            return;
        }
        self.key(o, name);
        let mut section = self.open_object();
        for (id, item) in items {
            self.map_key(&mut section, id);
            write(self, id, item);
        }
        self.close_object();
    }

    fn control(&mut self, id: &str, control: &Control) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", id);
        self.string_member(&mut o, "human", &control.human);
        self.string_member(&mut o, "icon", &control.icon);
        self.key(&mut o, "rank");
        self.integer(control.rank);
        self.nonempty_member(
            &mut o,
            "confirmation",
            control.confirmation.as_deref().unwrap_or(""),
        );
        self.close_object();
    }

    fn metadata_template(&mut self, id: &str, template: &MetadataTemplate) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", id);
        self.string_member(&mut o, "label", &template.label);
        if template.truncate != 0 {
            self.key(&mut o, "truncate");
            self.integer(template.truncate);
        }
        self.nonempty_member(&mut o, "dataType", template.data_type.as_str());
        self.number_member(&mut o, "priority", template.priority);
        self.string_member(&mut o, "from", template.from.as_str());
        self.close_object();
    }

    fn metric_template(&mut self, id: &str, template: &MetricTemplate) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", id);
        self.string_member(&mut o, "label", &template.label);
        self.nonempty_member(&mut o, "format", template.format.as_str());
        self.nonempty_member(&mut o, "group", &template.group);
        self.number_member(&mut o, "priority", template.priority);
        self.close_object();
    }

    fn table_template(&mut self, id: &str, template: &TableTemplate) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", id);
        self.string_member(&mut o, "label", &template.label);
        self.string_member(&mut o, "prefix", &template.prefix);
        match &template.kind {
            TableKind::PropertyList { fixed_rows } => {
                self.string_member(&mut o, "type", "property-list");
                self.section(&mut o, "fixedRows", fixed_rows, |e, _, label| {
                    e.string(label)
                });
            }
            TableKind::MultiColumn { columns } => {
                self.string_member(&mut o, "type", "multicolumn-table");
                self.key(&mut o, "columns");
                self.raw(b"[");
                let mut list = Members::none();
                for column in columns {
                    self.separate(&mut list);
                    let mut o = self.open_object();
                    self.string_member(&mut o, "id", &column.id);
                    self.string_member(&mut o, "label", &column.label);
                    self.nonempty_member(&mut o, "dataType", column.data_type.as_str());
                    self.close_object();
                }
                self.raw(b"]");
            }
        }
        self.close_object();
    }

    fn node(&mut self, id: &str, node: &Node) {
        let mut o = self.open_object();
        self.string_member(&mut o, "id", id);
        self.section(&mut o, "latest", &node.latest, |e, _, latest| {
            e.latest(latest.timestamp, &latest.value);
        });
        if let Some(stamp) = node.control_probe.filter(|_| !node.latest.is_empty()) {
            // Before the brace that was written last.
            let at = self.written() - 1;
            self.slots.add(at, stamp);
        }
        self.metrics(&mut o, &node.metrics);
        self.sets(
            &mut o,
            "sets",
            node.sets.iter().map(|(key, set)| (key.as_str(), set)),
        );
        self.parents(&mut o, node);
        if !node.adjacency.is_empty() {
            self.key(&mut o, "adjacency");
            self.strings(&node.adjacency);
        }
        self.section(&mut o, "counters", &node.counters, |e, _, n| e.integer(*n));
        self.close_object();
    }

    fn latest(&mut self, stamp: Timestamp, value: &str) {
        let mut o = self.open_object();
        self.key(&mut o, "timestamp");
        self.timestamp(stamp);
        self.string_member(&mut o, "value", value);
        self.close_object();
    }

    fn parents(&mut self, o: &mut Members, node: &Node) {
        self.sets(
            o,
            "parents",
            node.parents.iter().map(|(t, set)| (t.name(), set)),
        );
    }

    fn sets<'s>(
        &mut self,
        o: &mut Members,
        name: &'static str,
        sets: impl Iterator<Item = (&'s str, &'s BTreeSet<String>)>,
    ) {
        let mut inner = None;
        for (key, set) in sets.filter(|(_, set)| !set.is_empty()) {
            if inner.is_none() {
                self.key(o, name);
            }
            let members = match &mut inner {
                Some(members) => members,
                None => inner.insert(self.open_object()),
            };
            self.map_key(members, key);
            self.strings(set);
        }
        if inner.is_some() {
            self.close_object();
        }
    }

    fn metrics(&mut self, o: &mut Members, metrics: &BTreeMap<String, Metric>) {
        let mut inner = None;
        for (id, metric) in metrics {
            let finite = metric.samples.iter().filter(|s| s.value.is_finite());
            let Some(highest) = finite.map(|s| s.value).reduce(f64::max) else {
                continue;
            };
            if inner.is_none() {
                self.key(o, "metrics");
            }
            let members = match &mut inner {
                Some(members) => members,
                None => inner.insert(self.open_object()),
            };
            self.map_key(members, id);
            self.metric(metric, highest);
        }
        if inner.is_some() {
            self.close_object();
        }
    }

    fn metric(&mut self, metric: &Metric, highest: f64) {
        let mut o = self.open_object();
        self.key(&mut o, "samples");
        self.raw(b"[");
        let mut list = Members::none();
        for sample in metric.samples.iter().filter(|s| s.value.is_finite()) {
            self.separate(&mut list);
            let mut o = self.open_object();
            self.key(&mut o, "date");
            self.timestamp(sample.date);
            self.number_member(&mut o, "value", sample.value);
            self.close_object();
        }
        self.raw(b"]");
        // Scope takes it for 0 when it is absent.
        if rounded(metric.min) != 0.0 {
            self.number_member(&mut o, "min", metric.min);
        }
        let max = if metric.max.is_finite() {
            metric.max.max(highest)
        } else {
            highest
        };
        // The UI fills a node by value/max. Where nothing gives a scale (all samples 0), 1 does.
        self.number_member(&mut o, "max", if rounded(max) > 0.0 { max } else { 1.0 });
        self.close_object();
    }

    fn strings(&mut self, set: &BTreeSet<String>) {
        self.raw(b"[");
        let mut list = Members::none();
        for text in set {
            self.separate(&mut list);
            self.string(text);
        }
        self.raw(b"]");
    }
}

fn is_empty(t: &TopologyReport) -> bool {
    t.nodes.is_empty()
        && t.controls.is_empty()
        && t.metadata_templates.is_empty()
        && t.metric_templates.is_empty()
        && t.table_templates.is_empty()
}
