//! What the agent tells, of which nodes, from which files, with which rights, and what that costs:
//! the source of `docs/collectors.md`.

use std::fmt::Write as _;

use scope_protocol::Topology;
use scope_protocol::report::MetricFormat;

use crate::collect::metric::{self, METRICS};
use crate::sample::Datum;

/// Where a metric comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Its ID.
    pub metric: &'static str,
    /// The nodes that carry it.
    pub nodes: &'static [Topology],
    /// The unit of its value.
    pub unit: &'static str,
    /// The files of cgroup v1; of both where `v2` is the same.
    pub v1: &'static str,
    /// The files of cgroup v2.
    pub v2: &'static str,
    /// How often it is read, as a heading of [`COSTS`].
    pub read: Read,
    /// What is missing where it cannot be read.
    pub datum: Datum,
}

/// How something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// In every sample, from files that stay open.
    Kept,
    /// In every sample, one file for each process.
    Process,
    /// Every five seconds, from a file that is opened for it.
    Seldom,
    /// Every five seconds, without opening anything.
    Size,
    /// Every ten seconds, from a file that is opened for it.
    Limit,
    /// Together with another figure.
    Free,
}

impl Read {
    fn as_str(self) -> &'static str {
        match self {
            Read::Kept => "each sample, kept open",
            Read::Process => "each sample, per process",
            Read::Seldom => "every 5 s",
            Read::Size => "every 5 s, by size",
            Read::Limit => "limit every 10 s",
            Read::Free => "with another",
        }
    }
}

/// What reading costs: microseconds of CPU for one file of one cgroup or process, as measured with
/// 2,000 to 10,000 processes.
const COSTS: [(Read, &str); 6] = [
    (
        Read::Kept,
        "1.5 µs a file (3 µs `net/dev`), one descriptor and 5 KiB of kernel memory each; at most half of `RLIMIT_NOFILE` and 5,000 in all, beyond which files are opened each time (5 µs)",
    ),
    (
        Read::Process,
        "6–7 µs a process; its `cgroup` besides (7–10 µs) when it is new, two seconds later, and in one of 60 samples",
    ),
    (
        Read::Seldom,
        "5 µs a file; so 1 µs a second. Spread over the seconds by a hash of the path",
    ),
    (
        Read::Size,
        "3 µs a process with Linux 6.2 or newer, so 0.6 µs a second; 15 µs where the directory has to be listed, then 10,000 entries in one sample at most and 5,000 of one process",
    ),
    (Read::Limit, "5 µs a file"),
    (Read::Free, "nothing"),
];

const BOTH: &[Topology] = &[Topology::Container, Topology::Pod];
const PODS: &[Topology] = &[Topology::Pod];
const WITH_HOST: &[Topology] = &[Topology::Container, Topology::Pod, Topology::Host];

const fn origin(
    metric: &'static str,
    nodes: &'static [Topology],
    unit: &'static str,
    (v1, v2): (&'static str, &'static str),
    read: Read,
    datum: Datum,
) -> Origin {
    Origin {
        metric,
        nodes,
        unit,
        v1,
        v2,
        read,
        datum,
    }
}

const CPU_FILES: (&str, &str) = ("`cpuacct.usage`", "`cpu.stat` `usage_usec`");
const STAT: (&str, &str) = ("`/proc/<pid>/stat`", "`/proc/<pid>/stat`");
const DISK_FILES: (&str, &str) = (
    "`blkio.throttle.io_service_bytes_recursive` (before Linux 5.3 without `_recursive`, and then \
     none of pods), `/proc/devices`",
    "`io.stat`, `/proc/devices`",
);
const NET_DEV: (&str, &str) = ("`/proc/<pid>/net/dev`", "`/proc/<pid>/net/dev`");
const CPU_WAITS: (&str, &str) = (
    "hosts only: `/proc/pressure/cpu`",
    "`cpu.pressure`; hosts as v1",
);
const MEMORY_WAITS: (&str, &str) = (
    "hosts only: `/proc/pressure/memory`",
    "`memory.pressure`; hosts as v1",
);
const IO_WAITS: (&str, &str) = (
    "hosts only: `/proc/pressure/io`",
    "`io.pressure`; hosts as v1",
);

/// The metrics in the order of [`METRICS`].
pub const ORIGINS: [Origin; METRICS.len()] = [
    origin(
        metric::CPU,
        BOTH,
        "% of all CPUs of the node",
        CPU_FILES,
        Read::Kept,
        Datum::CgroupCpu,
    ),
    origin(
        metric::MEMORY,
        BOTH,
        "bytes of working set, up to the limit",
        (
            "`memory.usage_in_bytes` − `total_inactive_file` of `memory.stat`, `memory.limit_in_bytes`",
            "`memory.current` − `inactive_file` of `memory.stat`, `memory.max`",
        ),
        Read::Kept,
        Datum::CgroupMemory,
    ),
    origin(
        metric::MILLICORES,
        BOTH,
        "1/1000 CPU",
        CPU_FILES,
        Read::Free,
        Datum::CgroupCpu,
    ),
    origin(
        metric::RSS,
        BOTH,
        "bytes, summed over processes",
        STAT,
        Read::Process,
        Datum::ProcessStat,
    ),
    origin(
        metric::THREADS,
        BOTH,
        "number",
        STAT,
        Read::Free,
        Datum::ProcessStat,
    ),
    origin(
        metric::PROCESSES,
        BOTH,
        "number",
        STAT,
        Read::Free,
        Datum::ProcessList,
    ),
    origin(
        metric::NETWORK_RECEIVED,
        PODS,
        "bytes per second",
        NET_DEV,
        Read::Kept,
        Datum::PodNetwork,
    ),
    origin(
        metric::NETWORK_SENT,
        PODS,
        "bytes per second",
        NET_DEV,
        Read::Free,
        Datum::PodNetwork,
    ),
    origin(
        metric::DISK_READ,
        BOTH,
        "bytes per second",
        DISK_FILES,
        Read::Seldom,
        Datum::CgroupDisk,
    ),
    origin(
        metric::DISK_WRITTEN,
        BOTH,
        "bytes per second",
        DISK_FILES,
        Read::Free,
        Datum::CgroupDisk,
    ),
    origin(
        metric::CPU_LIMIT_USE,
        BOTH,
        "% of the limit",
        ("`cpu.cfs_quota_us`, `cpu.cfs_period_us`", "`cpu.max`"),
        Read::Seldom,
        Datum::CgroupThrottling,
    ),
    origin(
        metric::THROTTLED,
        BOTH,
        "% of the limit's periods",
        (
            "`cpu.stat` `nr_throttled`/`nr_periods`",
            "`cpu.stat` `nr_throttled`/`nr_periods`",
        ),
        Read::Seldom,
        Datum::CgroupThrottling,
    ),
    origin(
        metric::MEMORY_LIMIT_USE,
        BOTH,
        "% of the limit",
        ("`memory.limit_in_bytes`", "`memory.max`"),
        Read::Limit,
        Datum::CgroupMemory,
    ),
    origin(
        metric::OOM_KILLS,
        PODS,
        "number since the pod began; v1: containers whose last run ended so",
        ("the pod's status", "`memory.events` `oom_kill` of the pod"),
        Read::Seldom,
        Datum::OomKills,
    ),
    origin(
        metric::FILES,
        BOTH,
        "number, of all processes or none",
        ("size of `/proc/<pid>/fd`", "size of `/proc/<pid>/fd`"),
        Read::Size,
        Datum::OpenFiles,
    ),
    origin(
        metric::CPU_PRESSURE_SOME,
        WITH_HOST,
        "% of time",
        CPU_WAITS,
        Read::Seldom,
        Datum::CgroupPressure,
    ),
    origin(
        metric::CPU_PRESSURE_FULL,
        BOTH,
        "% of time",
        ("—", "`cpu.pressure`"),
        Read::Free,
        Datum::CgroupPressure,
    ),
    origin(
        metric::MEMORY_PRESSURE_SOME,
        WITH_HOST,
        "% of time",
        MEMORY_WAITS,
        Read::Seldom,
        Datum::CgroupPressure,
    ),
    origin(
        metric::MEMORY_PRESSURE_FULL,
        WITH_HOST,
        "% of time",
        MEMORY_WAITS,
        Read::Free,
        Datum::CgroupPressure,
    ),
    origin(
        metric::IO_PRESSURE_SOME,
        WITH_HOST,
        "% of time",
        IO_WAITS,
        Read::Seldom,
        Datum::CgroupPressure,
    ),
    origin(
        metric::IO_PRESSURE_FULL,
        WITH_HOST,
        "% of time",
        IO_WAITS,
        Read::Free,
        Datum::CgroupPressure,
    ),
    origin(
        metric::BLOCK_DELAY,
        BOTH,
        "ms per second, summed over the first threads of processes",
        ("`/proc/<pid>/stat` field 42", "`/proc/<pid>/stat` field 42"),
        Read::Free,
        Datum::BlockDelay,
    ),
];

/// What nodes carry besides metrics.
const NODES: [(Topology, &str, &str); 8] = [
    (
        Topology::Container,
        "name, state, creation, image, IPs, labels of the pod, parents pod, host and image; not on Docker nodes, where Scope's probe has them",
        "the pod's status; the state from `freezer.state` (v1) or `cgroup.events` (v2)",
    ),
    (
        Topology::ContainerImage,
        "ID, name, parent host; not on Docker nodes",
        "the pod's status",
    ),
    (
        Topology::Process,
        "the container, by which Scope links connections; not on Docker nodes",
        "`/proc/<pid>/cgroup`",
    ),
    (
        Topology::Pod,
        "parents host and controllers, controls",
        "the watch of the node's pods",
    ),
    (
        Topology::ReplicaSet,
        "name, parent Deployment",
        "one metadata GET for each",
    ),
    (
        Topology::Job,
        "name, parent CronJob; likewise the other controllers",
        "one metadata GET for each",
    ),
    (
        Topology::Namespace,
        "name, number of pods here",
        "one metadata GET for each",
    ),
    (
        Topology::Host,
        "tables of the Node object: versions, roles, taints, conditions, allocatable, pods, labels",
        "one GET of the Node every 5 minutes",
    ),
];

/// What has to be allowed, and for what.
const RIGHTS: [(&str, &str); 5] = [
    ("the host's pid namespace", "everything of processes"),
    (
        "the host's `/sys/fs/cgroup`, read-only",
        "everything of cgroups",
    ),
    (
        "`CAP_DAC_READ_SEARCH`",
        "open descriptors, before Linux 6.2 only: listing `/proc/<pid>/fd` of other users; without it they are absent wherever a process refuses",
    ),
    (
        "`CAP_SYS_PTRACE`, AppArmor `unconfined`",
        "disk bytes from `/proc/<pid>/io`, where `blkio` of v1 counts nothing",
    ),
    ("RBAC: `nodes` `get`", "the tables of the host"),
];

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        "# What the agent collects\n\n\
         <!-- Written by `cargo xtask generate` from agent/src/catalogue.rs. -->\n\n\
         A figure that cannot be read is absent, never 0; the plugin's description in Scope, the log, \
         `/metrics` and `scope-agent report` say which and why. A counter that steps back is a new \
         beginning and gives no rate.\n\n\
         Files without a directory are the cgroup's, of the container or the pod. Controllers \
         (Deployment, DaemonSet, StatefulSet, Job, CronJob) have the templates of pods, and Scope \
         lifts the metrics of a single pod to them.\n\n## Metrics\n\n\
         | ID | label | nodes | unit | shown as | cgroup v1 | cgroup v2 | read | missing as |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (shown, origin) in METRICS.iter().zip(&ORIGINS) {
        let nodes: Vec<&str> = origin.nodes.iter().map(|node| node.key()).collect();
        let format = match shown.format {
            MetricFormat::Number => "number",
            other => other.as_str(),
        };
        let v2 = if origin.v1 == origin.v2 {
            "the same"
        } else {
            origin.v2
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {format} | {} | {v2} | {} | `{}` |",
            shown.id,
            shown.label,
            nodes.join(", "),
            origin.unit,
            origin.v1,
            origin.read.as_str(),
            origin.datum.as_str(),
        );
    }
    page.push_str(
        "\nNotes:\n\n\
         * CPU of a cgroup that cannot be read is the sum over its processes. A limit of memory above \
         the node's is none.\n\
         * Disk: the kernel counts a request at each device that it passes. Summed are the disks: not \
         `device-mapper`, `md`, `loop`, `bcache`, `zram` and RAM disks. Requests to multipath volumes \
         are counted at the volume only, and so missing. With v1 the kernel attributes buffered \
         writes to nobody. Where `blkio` counts nothing (v1 with Linux 6.10 or newer, unless somebody \
         set a limit for a disk), `/proc/<pid>/io` is summed up instead, 6 µs a process every 5 s; \
         absent if one process cannot be read.\n\
         * Throttled: of a limit's periods in which something ran, those at whose end something \
         waited. Absent without a limit.\n\
         * What is read every 5 s is an average over these 5 s; it says nothing of shorter bursts.\n\
         * Block-I/O delay needs `sysctl kernel.task_delayacct=1`; processes from before that stay \
         uncounted, and a container in which none ever waited has no figure.\n\
         * Pods on the node's own network have no network figures.\n\n\
         ## Other data\n\n| node | data | source |\n|---|---|---|\n",
    );
    for (node, data, source) in NODES {
        let _ = writeln!(page, "| {} | {data} | {source} |", node.key());
    }
    page.push_str("\n## Rights\n\n| needs | for |\n|---|---|\n");
    for (needs, what) in RIGHTS {
        let _ = writeln!(page, "| {needs} | {what} |");
    }
    page.push_str("\n## Cost\n\n| read | CPU |\n|---|---|\n");
    for (read, cost) in COSTS {
        let _ = writeln!(page, "| {} | {cost} |", read.as_str());
    }
    page.push_str(
        "\n## What can be missing\n\n\
         The names are labels of `scope_agent_problems_total`, beside the cause.\n\n\
         | name | what |\n|---|---|\n",
    );
    for datum in Datum::ALL {
        let _ = writeln!(page, "| `{}` | {datum} |", datum.as_str());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_origin() {
        for (shown, origin) in METRICS.iter().zip(&ORIGINS) {
            assert_eq!(shown.id, origin.metric);
        }
    }

    #[test]
    fn no_cell_ends_a_table() {
        let page = page();
        for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns = |line: &str| line.matches('|').count();
            let mut lines = table.lines();
            let first = columns(lines.next().expect("a heading"));
            assert!(lines.all(|line| columns(line) == first), "{table}");
        }
    }
}
