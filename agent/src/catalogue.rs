//! What the agent tells, of which nodes, from which files, with which rights, and what that costs:
//! the source of `docs/collectors.md`.

mod http;
mod origins;
mod totals;

use std::fmt::Write as _;

use scope_protocol::Topology;
use scope_protocol::report::MetricFormat;

use crate::collect::metric::{self, METRICS};
use crate::sample::Datum;
pub use origins::ORIGINS;

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
    /// In every sample, one file for each container, opened for it.
    Container,
    /// Every five seconds, from a file that is opened for it.
    Seldom,
    /// Every five seconds, one file for each process, opened for it.
    ProcessSeldom,
    /// Every five seconds, without opening anything.
    Size,
    /// Every ten seconds, from a file that is opened for it.
    Limit,
    /// In every sample, from counters that the agent's own programs keep in the kernel.
    Counted,
    /// Every eight seconds, by a thread of its own, one question for each file system.
    Volume,
    /// Together with another figure.
    Free,
}

impl Read {
    fn as_str(self) -> &'static str {
        match self {
            Read::Kept => "each sample, kept open",
            Read::Process => "each sample, per process",
            Read::Container => "each sample, per container",
            Read::Seldom => "every 5 s",
            Read::ProcessSeldom => "every 5 s, per process",
            Read::Size => "every 5 s, by size",
            Read::Limit => "limit every 10 s",
            Read::Counted => "each sample, counters of the kernel",
            Read::Volume => "every 8 s, per volume",
            Read::Free => "with another",
        }
    }
}

/// What reading costs: microseconds of CPU for one file of one cgroup or process, as measured with
/// 2,000 to 10,000 processes.
const COSTS: [(Read, &str); 10] = [
    (
        Read::Kept,
        "1.5 µs a file (3 µs `net/dev`), one descriptor and 5 KiB of kernel memory each; at most half of `RLIMIT_NOFILE` and 5,000 in all, beyond which files are opened each time (5 µs)",
    ),
    (
        Read::Process,
        "6–7 µs a process; its `cgroup` besides (7–10 µs) when it is new, two seconds later, and in one of 60 samples",
    ),
    (Read::Container, "5 µs a container: whether it is frozen"),
    (
        Read::ProcessSeldom,
        "6 µs a process: `/proc/<pid>/io`, only where it stands in for a controller of I/O",
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
    (
        Read::Volume,
        "2 µs a line of `/proc/self/mountinfo`, besides what the kernel takes to write it, and 25 µs a file system; so some 4 µs a volume and second. A thread for each file system that does not answer, 32 at most",
    ),
    (
        Read::Counted,
        "2 µs a counter: one for the requests of each process that serves and one for each status code that it sends, 16,384 at most",
    ),
    (Read::Free, "nothing"),
];

/// What nodes carry besides metrics.
const NODES: [(Topology, &str, &str); 14] = [
    (
        Topology::Container,
        "name, state, creation, image, IPs, labels of the pod, parents pod, host and image; not on Docker nodes, where Scope's probe has them",
        "the pod's status; the state from `freezer.state` (v1) or `cgroup.events` (v2), in each sample",
    ),
    (
        Topology::Container,
        "with the collector `TrafficControl`: the table `traffic-control-table-` (latency, pktloss, jitter, rate, until, note) of what leaves the pod, and the controls of that name; not where the pod is on the node's network",
        "the root qdisc of the pod's `eth0` by rtnetlink from its network namespace: every 5 s and after each click",
    ),
    (
        Topology::ContainerImage,
        "ID, name, parent host; with totals CPU and memory; not on Docker nodes",
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
        Topology::Container,
        "with `VolumeCount`, `volume_count` (\"# Volumes\") and `volume_kinds`: its volumes, each once, and how many of which kind",
        "the pod's spec",
    ),
    (
        Topology::Pod,
        "with `VolumeCount`, the same of all its volumes, and a table of them by name: kind, bytes in use and in all, share of both bytes and inodes in use",
        "the pod's spec; `/proc/self/mountinfo`, `statvfs`",
    ),
    (
        Topology::ReplicaSet,
        "name, parent Deployment",
        "one metadata GET for each",
    ),
    (
        Topology::Job,
        "name, parent CronJob",
        "one metadata GET for each",
    ),
    (
        Topology::Deployment,
        "name, controls; likewise CronJob",
        "the owner reference of the ReplicaSet or Job",
    ),
    (
        Topology::DaemonSet,
        "name, controls; likewise StatefulSet",
        "the pod's owner reference",
    ),
    (
        Topology::Namespace,
        "name, number of pods here",
        "one metadata GET for each",
    ),
    (
        Topology::Host,
        "with `Resources`, tables of the Node object: versions, roles, taints, conditions, allocatable, pods, labels",
        "one GET of the Node every 5 minutes, and after a click that changed it",
    ),
    (
        Topology::Host,
        "controls, once the Node object was read",
        "its UID",
    ),
];

/// What has to be allowed, and for what.
const RIGHTS: [(&str, &str); 8] = [
    ("the host's pid namespace", "everything of processes"),
    (
        "the host's `/sys/fs/cgroup`, read-only",
        "everything of cgroups",
    ),
    (
        "`CAP_DAC_READ_SEARCH`",
        "`Resources`: disk bytes from `/proc/<pid>/io`, beside `CAP_SYS_PTRACE`: the file is for the process's own user to open; and open descriptors, before Linux 6.2 only: listing `/proc/<pid>/fd` of other users. Without it both are absent wherever a process refuses",
    ),
    (
        "`CAP_SYS_PTRACE`, AppArmor `unconfined`",
        "`Resources`: disk bytes from `/proc/<pid>/io`, where no controller of I/O counts at all disks; with `--standalone` also the network of pods: `/proc/<pid>/ns/net` tells which have one of their own",
    ),
    (
        "`CAP_SYS_ADMIN`, `CAP_SYS_PTRACE`, AppArmor `unconfined`; `CAP_NET_ADMIN` to set anything",
        "the collector `TrafficControl`: `setns` into the networks of pods",
    ),
    (
        "the kubelet's directory of pods, read-only, `mountPropagation: HostToContainer`",
        "`VolumeCount`: how full volumes are",
    ),
    (
        "`CAP_BPF`, `CAP_PERFMON`",
        "`HTTPStatistics`: loading programs into the kernel that see calls of all processes",
    ),
    (
        "RBAC: `nodes` `get`",
        "the tables of the host, and its controls",
    ),
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
         | ID | label | collector | nodes | unit | shown as | cgroup v1 | cgroup v2 | read | missing as |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
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
        let collectors = match metric::collectors_of(shown.id) {
            Some(of) => of
                .iter()
                .map(|of| of.as_str())
                .collect::<Vec<_>>()
                .join(" or "),
            None => "any, where Scope is mended".to_owned(),
        };
        let of_hosts = match origin.nodes.len() > 1 && origin.nodes.contains(&Topology::Host) {
            true => format!("; hosts `{}`", Datum::HostPressure.as_str()),
            false => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {collectors} | {} | {} | {format} | {} | {v2} | {} | `{}`{of_hosts} |",
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
         `device-mapper`, `md`, `loop`, `bcache`, `drbd`, `zram` and RAM disks, nor what the kernel calls \
         `(unknown)` (paths that NVMe multipath hides, pools of ZFS). Requests to multipath volumes of the \
         device mapper are counted at the volume only, and so missing. With v1 the kernel attributes buffered \
         writes to nobody. Where no controller of I/O is mounted (v1 or v2), or `blkio` of v1 does not \
         count at every disk that is in use (Linux 6.10 or newer, unless somebody set a limit for each), \
         `/proc/<pid>/io` is summed up instead; absent if one process cannot be read.\n\
         * Throttled: of a limit's periods in which something ran, those at whose end something \
         waited. Absent without a limit.\n\
         * What is read every 5 s is an average over these 5 s; it says nothing of shorter bursts.\n\
         * Block-I/O delay needs `sysctl kernel.task_delayacct=1`; processes from before that stay \
         uncounted, and a container in which none ever waited has no figure.\n\
         * Pods on the node's own network have no network figures.\n\
         * `iowait` and `idle` are of the last `sampleInterval`. The kernel books the time of a CPU \
         that has nothing to do as waiting for I/O while something that ran there last waits for it: on \
         busy CPUs such waiting is not seen, and `psi_io_some` tells it.\n\
         * How full a volume is, is told of volumes that are file systems of their own: mounted in the \
         kubelet's directory from their root on, and not of the device that this directory is on. A disk \
         `emptyDir`, a `hostPath` and a directory of the node that is given out as a PersistentVolume \
         are part of the node's file system, which would tell of itself. What the kubelet alone writes \
         (`configMap`, `secret`, `projected`, `downwardAPI`, `image`) is counted and not asked. A file \
         system that does not answer within half a second is not asked again before it does; its row \
         says so and what was known last, and it has no part in `volume_use`. The row of one that refuses \
         says why. Where two file systems of one server (`server:/…`, `//server/…`) do not answer, its others \
         are not asked. Where 24 of all servers and processes (FUSE) do not, none of these is asked any more, \
         and where 16 do not, only those that answered the last time. Those of the kernel's own (memory, \
         disks) are asked unless 8 of them do not answer. The row of one that is not asked says so.\n\
         * A look at the networks of pods costs some 0.4 ms of CPU a pod, every 5 s, so 0.08 ms a pod and \
         second: by the test `traffic_cost`, built without optimization.\n\
         * A container's volumes are those of its `volumeMounts` and `volumeDevices`; the token that \
         Kubernetes adds is one of them (`projected`).\n\n\
         ## Other data\n\n| node | data | source |\n|---|---|---|\n",
    );
    for (node, data, source) in NODES {
        let _ = writeln!(page, "| {} | {data} | {source} |", node.key());
    }
    page.push_str(&http::section());
    page.push_str(totals::section());
    page.push_str(
        "\n## Without Kubernetes\n\n\
         With `--standalone` a container is what a cgroup's name says, and a pod what a `kubepods` cgroup \
         says. The sandbox that a runtime keeps for each pod (`pause`) is none of its containers; what it \
         uses counts for the pod. It is told by either of two things:\n\n\
         * The parent of its process is a `containerd-shim…` of the namespace `k8s.io` that was started \
         with the sandbox's ID (`/proc/<pid>/cmdline`).\n\
         * `/proc/<pid>/oom_score_adj` is -998, which containerd, CRI-O and cri-dockerd set and the kubelet \
         gives to no container of a pod (-997 is its least there).\n\n\
         A sandbox of which neither can be seen, as that of a rootless CRI-O, is listed as a container.\n",
    );
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
