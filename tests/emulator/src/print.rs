//! What the program prints.

use std::collections::BTreeSet;

use scope_emulator::{ClickOutcome, Kind, Merged, Node, PluginState, Probe};

/// One line for each plugin.
pub(crate) fn plugins(probe: &Probe) {
    let mut any = false;
    for plugin in probe.plugins() {
        any = true;
        println!("{}", plugin_line(plugin));
    }
    if !any {
        println!("no plugin: there is no socket with a valid name");
    }
    // Sockets that are no plugins would only show in the probe's log, once a scan.
    let complaints: BTreeSet<&str> = probe
        .log()
        .filter(|line| line.contains("error loading"))
        .collect();
    for line in complaints {
        println!("  {line}");
    }
}

fn plugin_line(plugin: &PluginState) -> String {
    let spec = &plugin.spec;
    let facts = plugin.last.as_ref().map_or(String::new(), |last| {
        format!(
            "  {:.1} ms, {} bytes",
            last.took.as_secs_f64() * 1000.0,
            last.body.len()
        )
    });
    format!("{:<20} {:<30} {}{facts}", spec.id, spec.label, spec.status)
}

/// The nodes of one topology, or of all.
pub(crate) fn nodes(merged: &Merged, only: Option<Kind>) {
    for (kind, topology) in merged.topologies() {
        if only.is_some_and(|only| only != kind) || (only.is_none() && topology.nodes.is_empty()) {
            continue;
        }
        println!("\n{kind}: {} nodes", topology.nodes.len());
        for (key, content) in &topology.nodes {
            println!("  {key}");
            node(content);
        }
        for (id, control) in &topology.controls {
            println!("  control {id}: {}", control.human);
        }
        for template in topology.metric_templates.values() {
            println!(
                "  metric {}: {} {}",
                template.id, template.label, template.format
            );
        }
        if let Some(panic) = scope_emulator::summary_panic(merged, kind) {
            println!("  WARNING: {panic}");
        }
    }
}

fn node(node: &Node) {
    for (key, entry) in &node.latest {
        println!("    {key} = {}", entry.value);
    }
    for (id, metric) in &node.metrics {
        match metric.samples.last() {
            Some(sample) => println!("    metric {id} = {} (max {})", sample.value, metric.max),
            None => println!("    metric {id} has no sample"),
        }
    }
    for (name, ids) in &node.parents {
        println!("    parent {name}: {}", ids.join(", "));
    }
    for (name, words) in &node.sets {
        println!("    set {name}: {}", words.join(", "));
    }
    if !node.adjacency.is_empty() {
        println!("    adjacent: {}", node.adjacency.join(", "));
    }
}

/// What became of a click.
pub(crate) fn outcome(outcome: &ClickOutcome, offered: &[String]) {
    println!("HTTP {}: {}", outcome.http, outcome.body);
    if let Some(exchange) = &outcome.exchange {
        println!(
            "the plugin took {:.1} ms",
            exchange.took.as_secs_f64() * 1000.0
        );
    } else {
        println!(
            "no plugin was asked; the controls on offer are: {}",
            offered.join(", ")
        );
    }
    if let Some(node) = &outcome.removed_node {
        println!("Scope would close the panel of {node}");
    }
    if let Some(report) = &outcome.shortcut {
        let nodes: usize = report
            .topologies()
            .map(|(_, topology)| topology.nodes.len())
            .sum();
        println!("a shortcut report with {nodes} nodes would be published at once");
    }
}
