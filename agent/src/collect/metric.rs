//! The metrics: their IDs, collectors, templates and scales.

use std::collections::BTreeMap;

use scope_crds::Collector;
use scope_protocol::report::MetricFormat;
use scope_protocol::{Metric, MetricTemplate, Node, Timestamp};

use super::http;
use crate::Collectors;
use crate::attribution::{Cpu, Disk, Figures, Memory, Network, Pressure, ProcessTotals, Waiting};
use crate::http_rates::HttpRates;

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

/// Open descriptors.
pub const FILES: &str = "open_files";
/// Bytes read from disks per second.
pub const DISK_READ: &str = "disk_read";
/// Bytes written to disks per second.
pub const DISK_WRITTEN: &str = "disk_write";
/// Percent of the CPU limit's periods in which the limit held it back.
pub const THROTTLED: &str = "cpu_throttled";
/// CPU in percent of the limit.
pub const CPU_LIMIT_USE: &str = "cpu_limit_use";
/// Memory in percent of the limit.
pub const MEMORY_LIMIT_USE: &str = "memory_limit_use";
/// Percent of the time in which at least one process waited for a CPU.
pub const CPU_PRESSURE_SOME: &str = "psi_cpu_some";
/// Percent of the time in which all waited for a CPU.
pub const CPU_PRESSURE_FULL: &str = "psi_cpu_full";
/// Percent of the time in which at least one process waited for memory.
pub const MEMORY_PRESSURE_SOME: &str = "psi_memory_some";
/// Percent of the time in which all waited for memory.
pub const MEMORY_PRESSURE_FULL: &str = "psi_memory_full";
/// Percent of the time in which at least one process waited for I/O.
pub const IO_PRESSURE_SOME: &str = "psi_io_some";
/// Percent of the time in which all waited for I/O.
pub const IO_PRESSURE_FULL: &str = "psi_io_full";
/// Milliseconds per second of waiting for block I/O, summed over the processes.
pub const BLOCK_DELAY: &str = "block_io_delay";
/// Processes killed for want of memory since the pod began.
pub const OOM_KILLS: &str = "oom_kills";

/// Percent of the time in which a CPU of the host had nothing to do while something waited for I/O:
/// the ID of Scope's own IOWait plugin.
pub const IO_WAIT: &str = "iowait";
/// Percent of the time in which a CPU of the host had nothing to do and nothing to wait for: likewise.
pub const IDLE: &str = "idle";

/// Percent in use of the fullest of a pod's volumes.
pub const VOLUME_USE: &str = "volume_use";

/// HTTP requests per second: the ID of Scope's own HTTP Statistics plugin.
pub const HTTP_REQUESTS: &str = "http_requests_per_second";
/// Percent of the final HTTP responses that are server errors.
pub const HTTP_ERRORS: &str = "http_error_ratio";
/// HTTP responses per second with a code of 200 to 299.
pub const HTTP_2XX: &str = "http_2xx_responses_per_second";
/// The same for 300 to 399.
pub const HTTP_3XX: &str = "http_3xx_responses_per_second";
/// The same for 400 to 499.
pub const HTTP_4XX: &str = "http_4xx_responses_per_second";
/// The same for 500 to 599.
pub const HTTP_5XX: &str = "http_5xx_responses_per_second";
/// HTTP responses per second that are in no other figure: the ID of the same plugin.
pub const HTTP_OTHERS: &str = "http_OTHERS_responses_per_second";
/// Connections per second that began as HTTP/2.
pub const HTTP2_CONNECTIONS: &str = "http2_connections_per_second";

/// Begins the IDs of all metrics of HTTP, those of single status codes too.
const HTTP: &str = "http";

/// A metric as Scope shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Its ID.
    pub id: &'static str,
    /// What a person reads.
    pub label: &'static str,
    /// How the value is written.
    pub format: MetricFormat,
    /// Its place in a panel that comes with it; otherwise it has that of its number.
    pub place: Option<f64>,
}

impl Shown {
    /// Its template, in this place unless it brings one.
    pub(super) fn template(&self, number: u32) -> MetricTemplate {
        MetricTemplate {
            label: self.label.to_owned(),
            format: self.format,
            group: String::new(),
            priority: self.place.unwrap_or(f64::from(number)),
        }
    }
}

const fn shown(id: &'static str, label: &'static str, format: MetricFormat) -> Shown {
    Shown {
        id,
        label,
        format,
        place: None,
    }
}

/// Before all that the probe itself tells of the node, as the plugin had it whose metric it is.
const fn before_all(id: &'static str, label: &'static str, place: f64) -> Shown {
    Shown {
        id,
        label,
        format: MetricFormat::Percent,
        place: Some(place),
    }
}

/// Likewise, per second. A status code's place is a thousandth of it.
const fn per_second(id: &'static str, label: &'static str, place: f64) -> Shown {
    Shown {
        id,
        label,
        format: MetricFormat::Number,
        place: Some(place),
    }
}

/// The metrics in the order in which Scope lists them. No label but Scope's own says just "CPU" or
/// "Memory": Scope's graph view lists the labels, and two of one name would be two colours of one
/// thing.
pub const METRICS: [Shown; 33] = [
    shown(CPU, "CPU", MetricFormat::Percent),
    shown(MEMORY, "Memory", MetricFormat::FileSize),
    shown(MILLICORES, "Millicores", MetricFormat::Number),
    shown(RSS, "RSS", MetricFormat::FileSize),
    shown(THREADS, "Threads", MetricFormat::Integer),
    shown(PROCESSES, "Processes", MetricFormat::Integer),
    shown(NETWORK_RECEIVED, "Received B/s", MetricFormat::FileSize),
    shown(NETWORK_SENT, "Sent B/s", MetricFormat::FileSize),
    shown(DISK_READ, "Disk read B/s", MetricFormat::FileSize),
    shown(DISK_WRITTEN, "Disk write B/s", MetricFormat::FileSize),
    shown(CPU_LIMIT_USE, "CPU limit use", MetricFormat::Percent),
    shown(THROTTLED, "Throttled periods", MetricFormat::Percent),
    shown(MEMORY_LIMIT_USE, "Memory limit use", MetricFormat::Percent),
    shown(OOM_KILLS, "OOM kills", MetricFormat::Integer),
    shown(FILES, "Open descriptors", MetricFormat::Integer),
    shown(
        CPU_PRESSURE_SOME,
        "CPU pressure (some)",
        MetricFormat::Percent,
    ),
    shown(
        CPU_PRESSURE_FULL,
        "CPU pressure (full)",
        MetricFormat::Percent,
    ),
    shown(
        MEMORY_PRESSURE_SOME,
        "Memory pressure (some)",
        MetricFormat::Percent,
    ),
    shown(
        MEMORY_PRESSURE_FULL,
        "Memory pressure (full)",
        MetricFormat::Percent,
    ),
    shown(
        IO_PRESSURE_SOME,
        "I/O pressure (some)",
        MetricFormat::Percent,
    ),
    shown(
        IO_PRESSURE_FULL,
        "I/O pressure (full)",
        MetricFormat::Percent,
    ),
    shown(BLOCK_DELAY, "Block I/O delay ms/s", MetricFormat::Number),
    before_all(IO_WAIT, "IO Wait", 0.1),
    before_all(IDLE, "Idle", 0.2),
    shown(VOLUME_USE, "Fullest volume", MetricFormat::Percent),
    per_second(HTTP_REQUESTS, "HTTP Req/Second", 0.1),
    before_all(HTTP_ERRORS, "HTTP errors (5xx)", 0.11),
    per_second(HTTP_2XX, "HTTP Resp 2xx/Second", 0.12),
    per_second(HTTP_3XX, "HTTP Resp 3xx/Second", 0.13),
    per_second(HTTP_4XX, "HTTP Resp 4xx/Second", 0.14),
    per_second(HTTP_5XX, "HTTP Resp 5xx/Second", 0.15),
    per_second(HTTP_OTHERS, "HTTP Resp OTHERS/Second", 0.999),
    per_second(HTTP2_CONNECTIONS, "HTTP/2 connections/Second", 0.16),
];

/// The collectors that tell a metric, each by itself; `None` for what belongs to mending.
pub fn collectors_of(id: &str) -> Option<&'static [Collector]> {
    match id {
        CPU | MEMORY => None,
        IO_WAIT | IDLE => Some(&[Collector::IOWait]),
        VOLUME_USE => Some(&[Collector::VolumeCount]),
        IO_PRESSURE_SOME | IO_PRESSURE_FULL => Some(&[Collector::Resources, Collector::IOWait]),
        _ if id.starts_with(HTTP) => Some(&[Collector::HTTPStatistics]),
        _ => Some(&[Collector::Resources]),
    }
}

fn is_told(id: &str, collectors: Collectors) -> bool {
    collectors_of(id).is_none_or(|of| collectors.has_any(of))
}

/// Which templates a topology gets. They are the same in every report: templates that come and go
/// make metrics come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Selection {
    /// Those of these collectors.
    pub(super) collectors: Collectors,
    /// Those with Scope's own IDs.
    pub(super) scopes_own: bool,
    /// Those that only pods have, and what Scope lifts from pods.
    pub(super) pods: bool,
}

/// The selected templates by metric.
pub(super) fn templates(selection: Selection) -> BTreeMap<String, MetricTemplate> {
    templates_of(|id| match id {
        CPU | MEMORY => selection.scopes_own,
        IO_WAIT | IDLE => false,
        // By what was seen, see `http::templates`.
        _ if id.starts_with(HTTP) => false,
        _ if !is_told(id, selection.collectors) => false,
        NETWORK_RECEIVED | NETWORK_SENT | OOM_KILLS | VOLUME_USE => selection.pods,
        _ => true,
    })
}

/// The templates of CPU and memory alone.
pub(super) fn essential_templates() -> BTreeMap<String, MetricTemplate> {
    templates_of(|id| matches!(id, CPU | MEMORY))
}

/// The templates of hosts: Scope's probe has all else.
pub(super) fn host_templates(collectors: Collectors) -> BTreeMap<String, MetricTemplate> {
    templates_of(|id| match id {
        CPU_PRESSURE_SOME | MEMORY_PRESSURE_SOME | MEMORY_PRESSURE_FULL | IO_PRESSURE_SOME
        | IO_PRESSURE_FULL | IO_WAIT | IDLE => is_told(id, collectors),
        _ => false,
    })
}

fn templates_of(select: impl Fn(&str) -> bool) -> BTreeMap<String, MetricTemplate> {
    METRICS
        .iter()
        .zip(1u32..)
        .filter(|(shown, _)| select(shown.id))
        .map(|(shown, number)| (shown.id.to_owned(), shown.template(number)))
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
    files: u64,
    network: f64,
    disk: f64,
    block_delay: f64,
    oom_kills: u64,
    http: f64,
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
    pub(super) fn include(&mut self, figures: &Figures) {
        if let Some(totals) = figures.processes {
            self.threads = self.threads.max(totals.threads);
            self.processes = self.processes.max(totals.count);
        }
        if let Some(Network { received, sent }) = figures.network {
            self.network = self.network.max(received).max(sent);
        }
        if let Some(Disk { read, written }) = figures.disk {
            self.disk = self.disk.max(read).max(written);
        }
        self.files = self.files.max(figures.files.unwrap_or_default());
        self.oom_kills = self.oom_kills.max(figures.oom_kills.unwrap_or_default());
        self.block_delay = self
            .block_delay
            .max(figures.block_delay.unwrap_or_default());
    }

    /// The same for rates of HTTP.
    pub(super) fn include_http(&mut self, rates: &HttpRates) {
        self.http = self.http.max(hundredth(http::highest(rates)));
    }
}

/// Finer than this says nothing, and each digit costs a byte.
fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Adds metrics to a node, all with one date, and none but those of the collectors.
pub(super) struct Meter<'a> {
    pub(super) node: &'a mut Node,
    pub(super) at: Timestamp,
    pub(super) collectors: Collectors,
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
    pub(super) fn further(&mut self, figures: &Figures) {
        let scales = self.scales;
        if let Some(Cpu { millicores, .. }) = figures.cpu {
            let max = scales
                .cpus
                .map_or(millicores, |cpus| f64::from(cpus) * 1000.0);
            self.set(MILLICORES, tenth(millicores), max);
        }
        if let Some(ProcessTotals {
            count,
            threads,
            rss,
        }) = figures.processes
        {
            self.set(RSS, rss as f64, scales.memory.unwrap_or(rss) as f64);
            self.set(THREADS, threads as f64, scales.threads as f64);
            self.set(PROCESSES, count as f64, scales.processes as f64);
        }
        if let Some(files) = figures.files {
            self.set(FILES, files as f64, scales.files as f64);
        }
        if let Some(Network { received, sent }) = figures.network {
            self.set(NETWORK_RECEIVED, received.round(), scales.network);
            self.set(NETWORK_SENT, sent.round(), scales.network);
        }
        if let Some(Disk { read, written }) = figures.disk {
            self.set(DISK_READ, read.round(), scales.disk);
            self.set(DISK_WRITTEN, written.round(), scales.disk);
        }
        self.share(THROTTLED, figures.throttled);
        self.share(CPU_LIMIT_USE, figures.cpu_limit_use);
        self.share(MEMORY_LIMIT_USE, figures.memory_limit_use);
        self.pressure(figures.pressure);
        if let Some(delay) = figures.block_delay {
            self.set(BLOCK_DELAY, tenth(delay), scales.block_delay);
        }
        if let Some(kills) = figures.oom_kills {
            self.set(OOM_KILLS, kills as f64, scales.oom_kills as f64);
        }
    }

    /// What the CPUs of the host did with the time in which they did nothing.
    pub(super) fn waiting(&mut self, waiting: Option<Waiting>) {
        self.share(IO_WAIT, waiting.map(|waiting| waiting.io));
        self.share(IDLE, waiting.map(|waiting| waiting.idle));
    }

    /// How long processes waited.
    pub(super) fn pressure(&mut self, pressure: Pressure) {
        for (some, full, stalled) in [
            (CPU_PRESSURE_SOME, CPU_PRESSURE_FULL, pressure.cpu),
            (MEMORY_PRESSURE_SOME, MEMORY_PRESSURE_FULL, pressure.memory),
            (IO_PRESSURE_SOME, IO_PRESSURE_FULL, pressure.io),
        ] {
            self.share(some, stalled.map(|stalled| stalled.some));
            self.share(full, stalled.and_then(|stalled| stalled.full));
        }
    }

    /// How full the fullest volume is.
    pub(super) fn fullest_volume(&mut self, percent: Option<f64>) {
        self.share(VOLUME_USE, percent);
    }

    /// A rate of HTTP, all of which have one scale.
    pub(super) fn rate(&mut self, id: &str, rate: f64) {
        self.set(id, hundredth(rate), self.scales.http);
    }

    /// Percent, of what can be exceeded for a moment in the case of a limit.
    pub(super) fn share(&mut self, id: &str, percent: Option<f64>) {
        if let Some(percent) = percent {
            let percent = hundredth(percent);
            self.set(id, percent, percent.max(100.0));
        }
    }

    /// A scale that ends at 0 would fill the node without end.
    pub(super) fn set(&mut self, id: &str, value: f64, max: f64) {
        if !is_told(id, self.collectors) {
            return;
        }
        self.node
            .metrics
            .insert(id.to_owned(), Metric::single(self.at, value, max.max(1.0)));
    }
}

/// Finer than this is below what a sample can tell.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_told_apart_by_id_and_label() {
        for (n, metric) in METRICS.iter().enumerate() {
            for other in &METRICS[..n] {
                assert_ne!(metric.id, other.id);
                assert_ne!(metric.label.to_lowercase(), other.label.to_lowercase());
            }
        }
    }

    #[test]
    fn what_a_host_has_is_pressure_without_what_has_no_meaning() {
        let ids = |collectors: &[Collector]| -> Vec<String> {
            host_templates(collectors.iter().copied().collect())
                .into_keys()
                .collect()
        };
        assert_eq!(
            ids(&[Collector::Resources]),
            [
                CPU_PRESSURE_SOME,
                IO_PRESSURE_FULL,
                IO_PRESSURE_SOME,
                MEMORY_PRESSURE_FULL,
                MEMORY_PRESSURE_SOME
            ]
        );
        assert_eq!(
            ids(&[Collector::IOWait]),
            [IDLE, IO_WAIT, IO_PRESSURE_FULL, IO_PRESSURE_SOME]
        );
    }

    #[test]
    fn the_hosts_own_metrics_are_as_the_iowait_plugin_had_them() {
        let templates = host_templates([Collector::IOWait].into_iter().collect());
        for (id, label) in [("iowait", "IO Wait"), ("idle", "Idle")] {
            let template = &templates[id];
            assert_eq!(template.label, label);
            assert_eq!(template.format, MetricFormat::Percent);
            assert!(template.priority > 0.0 && template.priority < 1.0, "{id}");
        }
        assert!(templates["iowait"].priority < templates["idle"].priority);
    }

    #[test]
    fn no_value_exceeds_its_scale() {
        let figures = Figures {
            cpu_limit_use: Some(250.123),
            memory_limit_use: Some(f64::from(u32::MAX)),
            block_delay: Some(2500.04),
            files: Some(u64::MAX),
            oom_kills: Some(3),
            disk: Some(Disk {
                read: 0.4,
                written: 1e12,
            }),
            ..Figures::default()
        };
        let mut scales = Scales::new(Some(2), Some(1 << 30));
        scales.include(&figures);
        let mut node = Node::default();
        let at = Timestamp::from_unix_micros(0);
        Meter {
            node: &mut node,
            at,
            collectors: Collectors::ALL,
            scales,
        }
        .further(&figures);
        let ids: Vec<&str> = node.metrics.keys().map(String::as_str).collect();
        assert_eq!(
            ids,
            [
                BLOCK_DELAY,
                CPU_LIMIT_USE,
                DISK_READ,
                DISK_WRITTEN,
                MEMORY_LIMIT_USE,
                OOM_KILLS,
                FILES
            ],
            "what is unknown is absent"
        );
        for (id, metric) in &node.metrics {
            assert!(metric.samples[0].value <= metric.max, "{id}: {metric:?}");
        }
        assert_eq!(node.metrics[CPU_LIMIT_USE].samples[0].value, 250.12);
    }
}
