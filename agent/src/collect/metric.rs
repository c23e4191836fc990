//! The metrics of the Resources collector: their IDs, templates and scales.

use std::collections::BTreeMap;

use scope_protocol::report::MetricFormat;
use scope_protocol::{Metric, MetricTemplate, Node, Timestamp};

use crate::attribution::{Cpu, Memory, Network, ProcessTotals};

/// Scope's own ID for CPU in percent of the whole node.
pub const CPU: &str = "docker_cpu_total_usage";
/// Scope's own ID for memory.
pub const MEMORY: &str = "docker_memory_usage";
/// CPU in thousandths of one CPU.
pub const MILLICORES: &str = "cpu_millicores";
/// Resident memory, summed over the processes.
pub const RSS: &str = "rss";
/// Number of threads.
pub const THREADS: &str = "threads";
/// Number of processes.
pub const PROCESSES: &str = "processes";
/// Bytes received per second.
pub const NETWORK_RECEIVED: &str = "network_rx";
/// Bytes sent per second.
pub const NETWORK_SENT: &str = "network_tx";

/// The template of each metric. No label but Scope's own says just "CPU" or "Memory": Scope's
/// graph view lists the labels, and two of one name would be two colours of one thing.
const TEMPLATES: [(&str, &str, MetricFormat, f64); 8] = [
    (CPU, "CPU", MetricFormat::Percent, 1.0),
    (MEMORY, "Memory", MetricFormat::FileSize, 2.0),
    (MILLICORES, "Millicores", MetricFormat::Number, 3.0),
    (RSS, "RSS", MetricFormat::FileSize, 4.0),
    (THREADS, "Threads", MetricFormat::Integer, 5.0),
    (PROCESSES, "Processes", MetricFormat::Integer, 6.0),
    (
        NETWORK_RECEIVED,
        "Received B/s",
        MetricFormat::FileSize,
        7.0,
    ),
    (NETWORK_SENT, "Sent B/s", MetricFormat::FileSize, 8.0),
];

/// Which templates a topology gets. They are the same in every report: templates that come and go
/// make metrics come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selection {
    /// Those with Scope's own IDs.
    pub(super) scopes_own: bool,
    /// Those of the network.
    pub(super) network: bool,
}

/// The selected templates by metric.
pub(super) fn templates(selection: Selection) -> BTreeMap<String, MetricTemplate> {
    TEMPLATES
        .iter()
        .filter(|(id, ..)| match *id {
            CPU | MEMORY => selection.scopes_own,
            NETWORK_RECEIVED | NETWORK_SENT => selection.network,
            _ => true,
        })
        .map(|&(id, label, format, priority)| {
            let group = String::new();
            let template = MetricTemplate {
                label: label.to_owned(),
                format,
                group,
                priority,
            };
            (id.to_owned(), template)
        })
        .collect()
}

/// The upper ends of the scales. Scope fills a node by the share of its value in the scale, so one
/// scale for all nodes of a kind makes them comparable.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scales {
    cpus: Option<u32>,
    memory: Option<u64>,
    threads: u64,
    processes: u64,
    network: f64,
}

impl Scales {
    /// Scales of a machine of this size.
    pub(super) fn new(cpus: Option<u32>, memory: Option<u64>) -> Self {
        Scales {
            cpus,
            memory,
            ..Scales::default()
        }
    }

    /// Widens the scales that end at the highest value of all nodes.
    pub(super) fn include(&mut self, processes: Option<ProcessTotals>, network: Option<Network>) {
        if let Some(totals) = processes {
            self.threads = self.threads.max(totals.threads);
            self.processes = self.processes.max(totals.count);
        }
        if let Some(Network { received, sent }) = network {
            self.network = self.network.max(received).max(sent);
        }
    }
}

/// Adds metrics to a node, all with one date.
pub(super) struct Meter<'a> {
    pub(super) node: &'a mut Node,
    pub(super) at: Timestamp,
    pub(super) scales: Scales,
}

impl Meter<'_> {
    /// CPU and memory under Scope's IDs.
    pub(super) fn scopes_own(&mut self, cpu: Option<Cpu>, memory: Option<Memory>) {
        if let Some(percent) = cpu.and_then(|cpu| cpu.percent) {
            self.set(CPU, percent, 100.0);
        }
        if let Some(memory) = memory {
            let max = memory
                .limit
                .or(self.scales.memory)
                .unwrap_or(memory.working_set);
            self.set(MEMORY, memory.working_set as f64, max as f64);
        }
    }

    /// The metrics that Scope has not got.
    pub(super) fn further(
        &mut self,
        cpu: Option<Cpu>,
        processes: Option<ProcessTotals>,
        network: Option<Network>,
    ) {
        if let Some(Cpu { millicores, .. }) = cpu {
            let max = self
                .scales
                .cpus
                .map_or(millicores, |cpus| f64::from(cpus) * 1000.0);
            // A tenth of a millicore is below what a second's sample can tell.
            self.set(MILLICORES, (millicores * 10.0).round() / 10.0, max);
        }
        if let Some(ProcessTotals {
            count,
            threads,
            rss,
        }) = processes
        {
            self.set(RSS, rss as f64, self.scales.memory.unwrap_or(rss) as f64);
            self.set(THREADS, threads as f64, self.scales.threads as f64);
            self.set(PROCESSES, count as f64, self.scales.processes as f64);
        }
        if let Some(Network { received, sent }) = network {
            self.set(NETWORK_RECEIVED, received.round(), self.scales.network);
            self.set(NETWORK_SENT, sent.round(), self.scales.network);
        }
    }

    /// A scale that ends at 0 would fill the node without end.
    fn set(&mut self, id: &str, value: f64, max: f64) {
        self.node
            .metrics
            .insert(id.to_owned(), Metric::single(self.at, value, max.max(1.0)));
    }
}
