//! How the probe makes one report out of many.
//!
//! Where Scope's result depends on which side is longer, so does this one: such ties are part of what
//! a plugin meets.

use std::collections::BTreeMap;
use std::mem;

use crate::report::{
    Control, Death, DnsRecord, LatestControl, LatestEntry, MetadataTemplate, Metric,
    MetricTemplate, Node, PluginSpec, Report, Sample, TableTemplate, Topology,
};
use crate::stamp::Stamp;

impl Report {
    /// Merges another report into this one.
    ///
    /// # Errors
    ///
    /// Two nodes of one key that name different topologies make the probe panic.
    pub fn merge(&mut self, other: Report) -> Result<(), Death> {
        if other.ts != Stamp::ZERO && (self.ts == Stamp::ZERO || other.ts < self.ts) {
            self.ts = other.ts;
        }
        self.dns = merge_dns(mem::take(&mut self.dns), other.dns);
        self.sampling.count = self.sampling.count.wrapping_add(other.sampling.count);
        self.sampling.total = self.sampling.total.wrapping_add(other.sampling.total);
        self.window = self.window.wrapping_add(other.window);
        self.plugins = merge_specs(mem::take(&mut self.plugins), other.plugins);
        for (ours, theirs) in self.topologies.iter_mut().zip(other.topologies) {
            ours.merge(theirs)?;
        }
        Ok(())
    }
}

impl Topology {
    fn merge(&mut self, other: Topology) -> Result<(), Death> {
        if self.shape.is_empty() {
            self.shape = other.shape;
        }
        if self.label.is_empty() {
            self.label = other.label;
            self.label_plural = other.label_plural;
        }
        if self.tag.is_empty() {
            self.tag = other.tag;
        }
        for (key, node) in other.nodes {
            match self.nodes.remove(&key) {
                None => self.nodes.insert(key, node),
                Some(existing) => self.nodes.insert(key, merge_nodes(node, existing)?),
            };
        }
        self.controls = merge_controls(mem::take(&mut self.controls), other.controls);
        self.metadata_templates = merge_by_priority(
            mem::take(&mut self.metadata_templates),
            other.metadata_templates,
        );
        self.metric_templates = merge_by_priority(
            mem::take(&mut self.metric_templates),
            other.metric_templates,
        );
        self.table_templates =
            merge_tables(mem::take(&mut self.table_templates), other.table_templates);
        Ok(())
    }
}

/// Merges two nodes of one key, the newcomer first.
pub(crate) fn merge_nodes(node: Node, other: Node) -> Result<Node, Death> {
    if !node.topology.is_empty() && !other.topology.is_empty() && node.topology != other.topology {
        return Err(Death::Panic(format!(
            "Cannot merge nodes with different topology types: {} != {}",
            node.topology, other.topology
        )));
    }
    Ok(Node {
        id: if node.id.is_empty() {
            other.id
        } else {
            node.id
        },
        topology: if node.topology.is_empty() {
            other.topology
        } else {
            node.topology
        },
        latest: merge_latest(node.latest, other.latest),
        metrics: merge_metrics(node.metrics, other.metrics),
        sets: merge_sets(node.sets, other.sets),
        parents: merge_sets(node.parents, other.parents),
        adjacency: union(&node.adjacency, &other.adjacency),
        children: merge_children(node.children, other.children),
        latest_controls: merge_latest_controls(node.latest_controls, other.latest_controls),
    })
}

/// Puts the larger map first; of two of equal size, the left one.
fn larger_first<V>(
    left: BTreeMap<String, V>,
    right: BTreeMap<String, V>,
) -> (BTreeMap<String, V>, BTreeMap<String, V>) {
    if right.len() > left.len() {
        (right, left)
    } else {
        (left, right)
    }
}

/// Newest wins. On a tie the larger map does, and of two equally large ones the one whose first entry
/// is newer.
fn merge_latest(
    left: BTreeMap<String, LatestEntry>,
    right: BTreeMap<String, LatestEntry>,
) -> BTreeMap<String, LatestEntry> {
    let first = |map: &BTreeMap<String, LatestEntry>| map.values().next().map(|entry| entry.stamp);
    let swap = left.len() == right.len() && first(&left) < first(&right);
    let (mut out, other) = if swap {
        (right, left)
    } else {
        larger_first(left, right)
    };
    for (key, entry) in other {
        match out.get(&key) {
            Some(existing) if existing.stamp >= entry.stamp => {}
            _ => {
                out.insert(key, entry);
            }
        }
    }
    out
}

/// Newest wins, control by control.
fn merge_latest_controls(
    left: BTreeMap<String, LatestControl>,
    right: BTreeMap<String, LatestControl>,
) -> BTreeMap<String, LatestControl> {
    let (mut out, other) = larger_first(left, right);
    for (id, control) in other {
        match out.get(&id) {
            Some(existing) if existing.stamp >= control.stamp => {}
            _ => {
                out.insert(id, control);
            }
        }
    }
    out
}

fn merge_metrics(
    left: BTreeMap<String, Metric>,
    right: BTreeMap<String, Metric>,
) -> BTreeMap<String, Metric> {
    let (mut out, other) = larger_first(left, right);
    for (key, metric) in other {
        let merged = match out.remove(&key) {
            Some(existing) => merge_metric(existing, metric),
            None => metric,
        };
        out.insert(key, merged);
    }
    out
}

/// Interleaves the samples by time; of two of the same time the left one stays.
fn merge_metric(left: Metric, right: Metric) -> Metric {
    if left.samples.is_empty() {
        return right;
    }
    if right.samples.is_empty() {
        return left;
    }
    let (min, max) = (go_min(left.min, right.min), go_max(left.max, right.max));
    let samples = interleave(left.samples, right.samples);
    Metric { samples, min, max }
}

fn interleave(left: Vec<Sample>, right: Vec<Sample>) -> Vec<Sample> {
    let after = |first: &[Sample], second: &[Sample]| match (first.first(), second.last()) {
        (Some(first), Some(last)) => first.date > last.date,
        _ => true,
    };
    // The two common cases come first in Scope too, which matters for samples out of order.
    if after(&right, &left) {
        return [left, right].concat();
    }
    if after(&left, &right) {
        return [right, left].concat();
    }
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if left[i].date > right[j].date {
            out.push(right[j]);
            j += 1;
        } else {
            j += usize::from(left[i].date == right[j].date);
            out.push(left[i]);
            i += 1;
        }
    }
    out.extend_from_slice(&left[i..]);
    out.extend_from_slice(&right[j..]);
    out
}

fn go_max(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() {
        f64::NAN
    } else {
        left.max(right)
    }
}

fn go_min(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() {
        f64::NAN
    } else {
        left.min(right)
    }
}

fn merge_sets(
    left: BTreeMap<String, Vec<String>>,
    right: BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let (mut out, other) = larger_first(left, right);
    for (key, words) in other {
        let merged = match out.get(&key) {
            Some(existing) => union(existing, &words),
            None => words,
        };
        out.insert(key, merged);
    }
    out
}

/// The union of two sorted lists. Lists that are *not* sorted come out with duplicates or in the
/// wrong order, exactly as Scope makes them.
pub(crate) fn union(left: &[String], right: &[String]) -> Vec<String> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if left[i] > right[j] {
            out.push(right[j].clone());
            j += 1;
        } else {
            j += usize::from(left[i] == right[j]);
            out.push(left[i].clone());
            i += 1;
        }
    }
    out.extend_from_slice(&left[i..]);
    out.extend_from_slice(&right[j..]);
    out
}

/// The smaller side wins a clash.
fn merge_children(
    left: BTreeMap<String, Node>,
    right: BTreeMap<String, Node>,
) -> BTreeMap<String, Node> {
    let (mut out, other) = larger_first(left, right);
    out.extend(other);
    out
}

/// The smaller side wins a clash.
fn merge_controls(
    left: BTreeMap<String, Control>,
    right: BTreeMap<String, Control>,
) -> BTreeMap<String, Control> {
    let (mut out, other) = larger_first(left, right);
    out.extend(other);
    out
}

/// The smaller side wins a clash.
fn merge_specs(
    left: BTreeMap<String, PluginSpec>,
    right: BTreeMap<String, PluginSpec>,
) -> BTreeMap<String, PluginSpec> {
    let (mut out, other) = larger_first(left, right);
    out.extend(other);
    out
}

trait Prioritised {
    fn priority(&self) -> f64;
}

impl Prioritised for MetadataTemplate {
    fn priority(&self) -> f64 {
        self.priority
    }
}

impl Prioritised for MetricTemplate {
    fn priority(&self) -> f64 {
        self.priority
    }
}

/// The higher number wins a clash.
fn merge_by_priority<T: Prioritised>(
    left: BTreeMap<String, T>,
    right: BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    let (mut out, other) = larger_first(left, right);
    for (key, template) in other {
        let better = match out.get(&key) {
            Some(existing) => existing.priority() < template.priority(),
            None => true,
        };
        if better {
            out.insert(key, template);
        }
    }
    out
}

fn merge_tables(
    left: BTreeMap<String, TableTemplate>,
    right: BTreeMap<String, TableTemplate>,
) -> BTreeMap<String, TableTemplate> {
    let (mut out, other) = larger_first(left, right);
    for (key, template) in other {
        let merged = match out.remove(&key) {
            Some(existing) => merge_table(template, existing),
            None => template,
        };
        out.insert(key, merged);
    }
    out
}

/// Field by field the greater text, and the longer lists.
fn merge_table(left: TableTemplate, right: TableTemplate) -> TableTemplate {
    let longer_columns = right.columns.len() > left.columns.len();
    let longer_rows = right.fixed_rows.len() > left.fixed_rows.len();
    TableTemplate {
        id: left.id.max(right.id),
        label: left.label.max(right.label),
        prefix: left.prefix.max(right.prefix),
        kind: left.kind.max(right.kind),
        columns: if longer_columns {
            right.columns
        } else {
            left.columns
        },
        fixed_rows: if longer_rows {
            right.fixed_rows
        } else {
            left.fixed_rows
        },
    }
}

/// Unites the names of an address, unless the smaller side knows them all already: then the larger
/// side stays as it was, names missing or not, by a slip of Scope's.
fn merge_dns(
    left: BTreeMap<String, DnsRecord>,
    right: BTreeMap<String, DnsRecord>,
) -> BTreeMap<String, DnsRecord> {
    let (mut out, other) = larger_first(left, right);
    for (address, record) in other {
        let merged = match out.get(&address) {
            None => record,
            Some(existing) => {
                let forward = union(&record.forward, &existing.forward);
                let reverse = union(&record.reverse, &existing.reverse);
                if (forward.len(), reverse.len()) == (record.forward.len(), record.reverse.len()) {
                    continue;
                }
                DnsRecord { forward, reverse }
            }
        };
        out.insert(address, merged);
    }
    out
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
