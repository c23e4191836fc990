//! What could not be read, counted by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use scope_crds::Collector;

/// The datum that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Datum {
    /// The list of processes.
    ProcessList,
    /// CPU, memory and threads of a process.
    ProcessStat,
    /// The container of a process.
    ProcessCgroup,
    /// CPU of a container or pod.
    CgroupCpu,
    /// Memory of a container or pod.
    CgroupMemory,
    /// The tree of cgroups.
    CgroupTree,
    /// Disk bytes of a container or pod.
    CgroupDisk,
    /// CPU throttling and CPU limit of a container or pod.
    CgroupThrottling,
    /// Pressure (PSI) of a container or pod.
    CgroupPressure,
    /// Whether a container is frozen.
    CgroupFrozen,
    /// OOM kills of a pod.
    OomKills,
    /// Open descriptors of a process.
    OpenFiles,
    /// Block-I/O delay of processes.
    BlockDelay,
    /// Network of a pod.
    PodNetwork,
    /// What is set on the network of a pod.
    PodTraffic,
    /// Setting delay, jitter and loss.
    TrafficNetem,
    /// Setting a rate alone.
    TrafficTbf,
    /// CPU of the host.
    HostCpu,
    /// Memory of the host.
    HostMemory,
    /// Pressure (PSI) of the host.
    HostPressure,
    /// How full volumes are.
    VolumeUse,
    /// HTTP requests and responses.
    HttpCounts,
}

impl Datum {
    /// All of them, in their order.
    pub const ALL: [Datum; 22] = [
        Datum::ProcessList,
        Datum::ProcessStat,
        Datum::ProcessCgroup,
        Datum::CgroupCpu,
        Datum::CgroupMemory,
        Datum::CgroupTree,
        Datum::CgroupDisk,
        Datum::CgroupThrottling,
        Datum::CgroupPressure,
        Datum::CgroupFrozen,
        Datum::OomKills,
        Datum::OpenFiles,
        Datum::BlockDelay,
        Datum::PodNetwork,
        Datum::PodTraffic,
        Datum::TrafficNetem,
        Datum::TrafficTbf,
        Datum::HostCpu,
        Datum::HostMemory,
        Datum::HostPressure,
        Datum::VolumeUse,
        Datum::HttpCounts,
    ];

    /// The collector that brings it; `None` of what only a control needs.
    pub fn collector(self) -> Option<Collector> {
        match self {
            Datum::CgroupFrozen => None,
            Datum::BlockDelay => Some(Collector::IOWait),
            Datum::VolumeUse => Some(Collector::VolumeCount),
            Datum::HttpCounts => Some(Collector::HTTPStatistics),
            Datum::PodTraffic | Datum::TrafficNetem | Datum::TrafficTbf => {
                Some(Collector::TrafficControl)
            }
            Datum::ProcessList
            | Datum::ProcessStat
            | Datum::ProcessCgroup
            | Datum::CgroupCpu
            | Datum::CgroupMemory
            | Datum::CgroupTree
            | Datum::CgroupDisk
            | Datum::CgroupThrottling
            | Datum::CgroupPressure
            | Datum::OomKills
            | Datum::OpenFiles
            | Datum::PodNetwork
            | Datum::HostCpu
            | Datum::HostMemory
            | Datum::HostPressure => Some(Collector::Resources),
        }
    }

    /// A short name that is fit for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Datum::ProcessList => "process_list",
            Datum::ProcessStat => "process_stat",
            Datum::ProcessCgroup => "process_cgroup",
            Datum::CgroupCpu => "cgroup_cpu",
            Datum::CgroupMemory => "cgroup_memory",
            Datum::CgroupTree => "cgroup_tree",
            Datum::CgroupDisk => "cgroup_disk",
            Datum::CgroupThrottling => "cgroup_throttling",
            Datum::CgroupPressure => "cgroup_pressure",
            Datum::CgroupFrozen => "cgroup_frozen",
            Datum::OomKills => "oom_kills",
            Datum::OpenFiles => "open_files",
            Datum::BlockDelay => "block_delay",
            Datum::PodNetwork => "pod_network",
            Datum::PodTraffic => "pod_traffic",
            Datum::TrafficNetem => "traffic_netem",
            Datum::TrafficTbf => "traffic_tbf",
            Datum::HostCpu => "host_cpu",
            Datum::HostMemory => "host_memory",
            Datum::HostPressure => "host_pressure",
            Datum::VolumeUse => "volume_use",
            Datum::HttpCounts => "http_counts",
        }
    }
}

impl fmt::Display for Datum {
    /// For a person: what is missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Datum::ProcessList => "list of processes",
            Datum::ProcessStat => "CPU and memory of a process",
            Datum::ProcessCgroup => "container of a process",
            Datum::CgroupCpu => "CPU of a container or pod",
            Datum::CgroupMemory => "memory of a container or pod",
            Datum::CgroupTree => "tree of cgroups",
            Datum::CgroupDisk => "disk I/O of a container or pod",
            Datum::CgroupThrottling => "CPU throttling of a container or pod",
            Datum::CgroupPressure => "pressure (PSI) of a container or pod",
            Datum::CgroupFrozen => "whether a container is frozen",
            Datum::OomKills => "OOM kills of a pod",
            Datum::OpenFiles => "open descriptors of a process",
            Datum::BlockDelay => "block-I/O delay (sysctl kernel.task_delayacct)",
            Datum::PodNetwork => "network of a pod",
            Datum::PodTraffic => "traffic control of a pod",
            Datum::TrafficNetem => "delay, jitter and loss for pods (sch_netem)",
            Datum::TrafficTbf => "a rate for pods (sch_tbf)",
            Datum::HostCpu => "CPU of the host",
            Datum::HostMemory => "memory of the host",
            Datum::HostPressure => "pressure (PSI) of the host",
            Datum::VolumeUse => "how full volumes are",
            Datum::HttpCounts => "HTTP requests and responses",
        })
    }
}

/// Why it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The kernel refused the read.
    Denied,
    /// The text is not what the kernel writes.
    Malformed,
    /// There is no such file, although what it describes is there.
    Absent,
    /// More than this agent is willing to read.
    TooLarge,
    /// Any other failure of the read.
    Failed,
}

impl Cause {
    /// A short name that is fit for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Denied => "denied",
            Cause::Malformed => "malformed",
            Cause::Absent => "absent",
            Cause::TooLarge => "too_large",
            Cause::Failed => "failed",
        }
    }
}

impl fmt::Display for Cause {
    /// For a person: why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Denied => "permission denied",
            Cause::Malformed => "unexpected content",
            Cause::Absent => "not provided by this kernel or runtime",
            Cause::TooLarge => "too large",
            Cause::Failed => "read failed",
        })
    }
}

/// How often a datum was missing for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How often.
    pub count: u64,
    /// The first path that it happened with.
    pub example: String,
    /// When it happened last, on the monotonic clock.
    last: Duration,
}

/// Everything that could not be read. A process or container that vanished is no problem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    kinds: BTreeMap<(Datum, Cause), Problem>,
    /// When the node was last looked at, on the monotonic clock.
    looked: Duration,
}

/// What did not happen for this long is over: a sysctl was set, or a file was missing for a moment
/// only. Everything that can be missing is looked for at least twice in it.
const OVER: Duration = Duration::from_secs(60);

impl Problems {
    /// Counts one; the path is kept when it is the first of its kind. Says whether it was.
    pub fn add(&mut self, datum: Datum, cause: Cause, path: impl FnOnce() -> String) -> bool {
        let mut first = false;
        let problem = self.kinds.entry((datum, cause)).or_insert_with(|| {
            first = true;
            Problem {
                count: 0,
                example: path(),
                last: self.looked,
            }
        });
        problem.count = problem.count.saturating_add(1);
        problem.last = self.looked;
        first
    }

    /// Adds all counts of a look at the node at this time on the monotonic clock.
    pub fn absorb(&mut self, other: &Problems, at: Duration) {
        self.looked = at;
        for (&(datum, cause), problem) in &other.kinds {
            let more = problem.count.saturating_sub(1);
            self.add(datum, cause, || problem.example.clone());
            if let Some(known) = self.kinds.get_mut(&(datum, cause)) {
                known.count = known.count.saturating_add(more);
            }
        }
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The problems by kind.
    pub fn iter(&self) -> impl Iterator<Item = (Datum, Cause, &Problem)> {
        self.kinds
            .iter()
            .map(|(&(datum, cause), problem)| (datum, cause, problem))
    }

    /// What the machine or its rights lack at present, in words; `None` where that is nothing. What one
    /// file or one moment lacks is in the log and the counters.
    pub fn not_available(&self) -> Option<String> {
        let lacking = self.lacking();
        let lacking: Vec<String> = lacking
            .map(|(datum, cause)| format!("{datum} ({cause})"))
            .collect();
        (!lacking.is_empty()).then(|| lacking.join(", "))
    }

    /// The same as data and causes.
    pub fn lacking(&self) -> impl Iterator<Item = (Datum, Cause)> {
        self.iter()
            .filter(|(_, cause, problem)| {
                matches!(cause, Cause::Denied | Cause::Absent)
                    && self.looked.saturating_sub(problem.last) < OVER
            })
            .map(|(datum, cause, _)| (datum, cause))
    }

    /// The problem of this kind.
    pub fn get(&self, datum: Datum, cause: Cause) -> Option<&Problem> {
        self.kinds.get(&(datum, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_data_are_listed_once() {
        assert!(Datum::ALL.is_sorted());
        let last = Datum::ALL.len() - 1;
        for (n, datum) in Datum::ALL.into_iter().enumerate() {
            assert_eq!(datum as usize, n, "{datum}");
        }
        assert_eq!(Datum::ALL[last], Datum::HttpCounts);
    }

    #[test]
    fn what_is_over_is_counted_and_not_told_any_more() {
        let lacking = |datum| {
            let mut problems = Problems::default();
            problems.add(datum, Cause::Absent, || "first".into());
            problems.add(datum, Cause::Absent, || "second".into());
            problems
        };
        let (delay, pressure) = (lacking(Datum::BlockDelay), lacking(Datum::HostPressure));
        let mut all = Problems::default();
        for seconds in 100..200 {
            let at = Duration::from_secs(seconds);
            if seconds == 100 {
                all.absorb(&delay, at);
            }
            all.absorb(&pressure, at);
            let told = all.not_available().unwrap_or_default();
            assert_eq!(told.contains("delay"), seconds < 160, "{seconds}: {told}");
            assert!(told.contains("of the host"), "{seconds}: {told}");
        }
        let counted = |datum| {
            all.get(datum, Cause::Absent)
                .map(|p| (p.count, &*p.example))
        };
        assert_eq!(counted(Datum::BlockDelay), Some((2, "first")));
        assert_eq!(counted(Datum::HostPressure), Some((200, "first")));
        all.absorb(&delay, Duration::from_secs(300));
        assert!(
            all.not_available()
                .is_some_and(|told| told.contains("delay")),
            "again"
        );
    }
}
