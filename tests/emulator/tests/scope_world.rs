//! From the reports that a real Scope's app held, the emulator's app draws what the real one drew.
//!
//! Compared are, of every view: the nodes, their names, metrics, values, tables, parents and edges;
//! of every panel: the same, and its controls and what is inside it. Not compared are the lists of
//! connections in the panels, which the emulator does not draw, and shapes and links to dashboards.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod recorded;

use std::collections::{BTreeMap, BTreeSet};

use scope_emulator::{Panel, Stamp, Summary, Tab, View, decode_report};
use serde_json::Value;

const WORLDS: [&str; 5] = [
    "cri-without-plugin",
    "cri-with-plugin",
    "cri-with-plugin-one-socket",
    "nocri-without-plugin",
    "nocri-with-plugin",
];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_default()
}

/// A node in lines that can be compared; rows of one priority come in any order on a real Scope.
fn lines(summary: &Summary) -> BTreeSet<String> {
    let mut lines = BTreeSet::from([
        format!("id {}", summary.id),
        format!("label {} / {}", summary.label, summary.label_minor),
        format!("rank {}", summary.rank),
        format!("pseudo {}", summary.pseudo),
    ]);
    for cell in &summary.metadata {
        lines.insert(format!(
            "value {} {} = {} ({}, {}, {})",
            cell.id, cell.label, cell.value, cell.priority, cell.data_type, cell.truncate
        ));
    }
    for row in &summary.metrics {
        lines.insert(format!(
            "metric {} {} = {} of {}..{} ({}, {}, {})",
            row.id, row.label, row.value, row.min, row.max, row.priority, row.format, row.group
        ));
    }
    for parent in &summary.parents {
        let tab = parent.tab.map_or("", Tab::url_name);
        lines.insert(format!("parent {} {} in {tab}", parent.id, parent.label));
    }
    for table in &summary.tables {
        lines.insert(format!("table {} {}", table.id, table.label));
        for (row, cells) in &table.rows {
            lines.insert(format!("row {} {row} {cells:?}", table.id));
        }
    }
    for end in &summary.adjacency {
        lines.insert(format!("edge {end}"));
    }
    lines
}

fn recorded_lines(node: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::from([
        format!("id {}", text(node, "id")),
        format!(
            "label {} / {}",
            text(node, "label"),
            text(node, "labelMinor")
        ),
        format!("rank {}", text(node, "rank")),
        format!("pseudo {}", node["pseudo"].as_bool().unwrap_or(false)),
    ]);
    for cell in list(&node["metadata"]) {
        lines.insert(format!(
            "value {} {} = {} ({}, {}, {})",
            text(cell, "id"),
            text(cell, "label"),
            text(cell, "value"),
            number(cell, "priority"),
            text(cell, "dataType"),
            number(cell, "truncate"),
        ));
    }
    for row in list(&node["metrics"]) {
        lines.insert(format!(
            "metric {} {} = {} of {}..{} ({}, {}, {})",
            text(row, "id"),
            text(row, "label"),
            number(row, "value"),
            number(row, "min"),
            number(row, "max"),
            number(row, "priority"),
            text(row, "format"),
            text(row, "group"),
        ));
    }
    for parent in list(&node["parents"]) {
        let (id, label, tab) = (
            text(parent, "id"),
            text(parent, "label"),
            text(parent, "topologyId"),
        );
        lines.insert(format!("parent {id} {label} in {tab}"));
    }
    for table in list(&node["tables"]) {
        let id = text(table, "id");
        lines.insert(format!("table {id} {}", text(table, "label")));
        for row in list(&table["rows"]) {
            let cells: BTreeMap<String, String> =
                serde_json::from_value(row["entries"].clone()).unwrap();
            lines.insert(format!("row {id} {} {cells:?}", text(row, "id")));
        }
    }
    for end in list(&node["adjacency"]) {
        lines.insert(format!("edge {}", end.as_str().unwrap()));
    }
    lines
}

fn view(world: &Value) -> View {
    let report = serde_json::to_vec(&world["report"]).unwrap();
    View::new(decode_report(&report, Stamp::now()).unwrap())
}

/// Compares one node with what was recorded of it.
fn check(place: &str, wanted: &BTreeSet<String>, got: &BTreeSet<String>, found: &mut Vec<String>) {
    let missing = wanted
        .difference(got)
        .map(|line| format!("{place}: - {line}"));
    let extra = got
        .difference(wanted)
        .map(|line| format!("{place}: + {line}"));
    found.extend(missing.chain(extra));
}

#[test]
fn views_are_drawn_as_recorded() {
    let (mut found, mut compared) = (Vec::new(), 0);
    for name in WORLDS {
        let world = recorded::json(name);
        let view = view(&world);
        for tab in Tab::ALL {
            let shown = view.all(tab).unwrap();
            let wanted = world["topologies"][tab.url_name()].as_object().unwrap();
            let ids: BTreeSet<&String> = wanted.keys().chain(shown.keys()).collect();
            for id in ids {
                let place = format!("{name}, {}, {id}", tab.url_name());
                let wanted = wanted.get(id).map(recorded_lines).unwrap_or_default();
                let got = shown.get(id).map(lines).unwrap_or_default();
                check(&place, &wanted, &got, &mut found);
                compared += wanted.len();
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // So that a lost fixture does not make the test an empty one.
    assert!(compared > 7000, "{compared} facts compared");
}

#[test]
fn panels_are_drawn_as_recorded() {
    let (mut found, mut compared) = (Vec::new(), 0);
    for name in WORLDS {
        let world = recorded::json(name);
        let view = view(&world);
        for tab in Tab::ALL {
            // Panels of processes were not recorded.
            let panels = world["nodes"][tab.url_name()].as_object();
            for (id, node) in panels.into_iter().flatten() {
                let place = format!("{name}, {}, {id}", tab.url_name());
                let wanted = recorded_panel(node);
                let panel = view.panel(tab, id).unwrap();
                let got = panel.as_ref().map(panel_lines).unwrap_or_default();
                check(&place, &wanted, &got, &mut found);
                compared += wanted.len();
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(compared > 20000, "{compared} facts compared");
}

fn panel_lines(panel: &Panel) -> BTreeSet<String> {
    let mut all = lines(&panel.summary);
    for (at, shown) in panel.controls.iter().enumerate() {
        let control = &shown.control;
        all.insert(format!(
            "control {at}: {} of {}: {} {} {} {}",
            control.id,
            shown.probe_id,
            control.human,
            control.icon,
            control.rank,
            control.confirmation
        ));
    }
    for (at, group) in panel.children.iter().enumerate() {
        all.insert(format!(
            "group {at}: {} in {}",
            group.label,
            group.tab.url_name()
        ));
        for node in &group.nodes {
            let lines = lines(node).into_iter();
            all.extend(lines.map(|line| format!("{} {}: {line}", group.label, node.id)));
        }
    }
    all
}

fn recorded_panel(node: &Value) -> BTreeSet<String> {
    let mut all = recorded_lines(node);
    for (at, control) in list(&node["controls"]).iter().enumerate() {
        all.insert(format!(
            "control {at}: {} of {}: {} {} {} {}",
            text(control, "id"),
            text(control, "probeId"),
            text(control, "human"),
            text(control, "icon"),
            control["rank"],
            text(control, "confirmation")
        ));
    }
    for (at, group) in list(&node["children"]).iter().enumerate() {
        let label = text(group, "label");
        all.insert(format!(
            "group {at}: {label} in {}",
            text(group, "topologyId")
        ));
        for node in list(&group["nodes"]) {
            let lines = recorded_lines(node).into_iter();
            all.extend(lines.map(|line| format!("{label} {}: {line}", text(node, "id"))));
        }
    }
    all
}
