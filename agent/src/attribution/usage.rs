//! What was used in an interval, by process, container, pod and host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scope_protocol::Timestamp;

use crate::http_rates::HttpUsage;
use crate::sample::{Problems, ProcessName, Runtime};
use crate::volumes::VolumeUses;

/// What the node did in the interval that ended with the current sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// When the current sample was taken: the date of every value.
    pub at: Timestamp,
    /// How long the interval was; `None` without a previous sample, and then there are no rates.
    pub interval: Option<Duration>,
    /// The machine as a whole.
    pub host: HostUsage,
    /// Pods by ID: in a cluster those of the inventory that were found on the node.
    pub pods: BTreeMap<Arc<str>, Figures>,
    /// Running containers by 64-hex ID: in a cluster those of the inventory that were found.
    pub containers: BTreeMap<Arc<str>, ContainerUsage>,
    /// All processes but kernel threads, by ascending pid.
    pub processes: Vec<ProcessUsage>,
    /// How full volumes are that are file systems of their own; nothing unless somebody who looks at
    /// them fills it in.
    pub volumes: Arc<VolumeUses>,
    /// What its servers did with HTTP; nothing unless somebody who looks at it fills it in.
    pub http: HttpUsage,
    /// What could not be read for the current sample; in an agent that serves, since its start.
    pub problems: Problems,
}

/// The machine as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostUsage {
    /// Number of CPUs online.
    pub cpus: Option<u32>,
    /// Bytes of memory.
    pub memory_total: Option<u64>,
    /// Bytes of memory that are in use and could not be given back at once.
    pub memory_used: Option<u64>,
    /// CPU of everything on it.
    pub cpu: Option<Cpu>,
    /// What the CPUs did with the time in which they did nothing.
    pub waiting: Option<Waiting>,
    /// Number of processes, kernel threads excluded.
    pub processes: u32,
    /// Number of their threads.
    pub threads: u64,
    /// Number of kernel threads.
    pub kernel_threads: u32,
    /// Waiting.
    pub pressure: Pressure,
}

/// CPU use over the interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    /// Thousandths of one CPU.
    pub millicores: f64,
    /// Share of the whole node, all CPUs together, from 0 to 100. `None` when the number of CPUs
    /// is unknown.
    pub percent: Option<f64>,
}

/// Memory at the current sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use as the kubelet counts them.
    pub working_set: u64,
    /// The limit, if there is one below the node's memory.
    pub limit: Option<u64>,
}

/// What the processes of a container or pod sum up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessTotals {
    /// Number of processes.
    pub count: u64,
    /// Number of threads.
    pub threads: u64,
    /// Resident bytes; what several processes share is counted for each.
    pub rss: u64,
}

/// A running container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerUsage {
    /// Its pod's ID.
    pub pod: Option<Arc<str>>,
    /// The runtime, where known.
    pub runtime: Option<Runtime>,
    /// Whether its processes are frozen; `None` where that cannot be told.
    pub frozen: Option<bool>,
    /// Whether that was otherwise in the previous sample.
    pub frozen_changed: bool,
    /// What it uses.
    pub figures: Figures,
}

/// What a container or a pod uses. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// CPU; of a pod with its pause container and the containers that ended.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Its processes; `None` when none could be seen.
    pub processes: Option<ProcessTotals>,
    /// Descriptors that its processes have open; `None` if it is unknown of any of them.
    pub files: Option<u64>,
    /// Disk.
    pub disk: Option<Disk>,
    /// Network; only of pods that do not share the node's.
    pub network: Option<Network>,
    /// Percent of the CPU limit's periods in which the limit held it back; `None` without a limit.
    pub throttled: Option<f64>,
    /// CPU in percent of the limit.
    pub cpu_limit_use: Option<f64>,
    /// Memory in percent of the limit.
    pub memory_limit_use: Option<f64>,
    /// Waiting.
    pub pressure: Pressure,
    /// Milliseconds per second that the first threads of its processes waited for block I/O,
    /// summed up; `None` unless the kernel counts it and counted some.
    pub block_delay: Option<f64>,
    /// Processes that the kernel killed for want of memory, since the pod began; only of pods. With
    /// cgroup v1, containers whose last run ended so.
    pub oom_kills: Option<u64>,
}

/// Disk use over the last few seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disk {
    /// Bytes read per second.
    pub read: f64,
    /// Bytes written per second.
    pub written: f64,
}

/// Shares of the last few seconds in which processes waited, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: Option<Stalled>,
    /// For memory.
    pub memory: Option<Stalled>,
    /// For I/O.
    pub io: Option<Stalled>,
}

/// Percent of a time, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stalled {
    /// While at least one process waited.
    pub some: f64,
    /// While all waited that had something to do; `None` where it has no meaning.
    pub full: Option<f64>,
}

/// Percent of the CPUs' time over the interval, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// In which a CPU had nothing to do, while something that had run there waited for I/O.
    pub io: f64,
    /// In which a CPU had nothing to do, and nothing to wait for.
    pub idle: f64,
}

/// Network use over the interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Bytes received per second.
    pub received: f64,
    /// Bytes sent per second.
    pub sent: f64,
}

/// A process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessUsage {
    /// Its pid.
    pub pid: u32,
    /// Its name.
    pub name: ProcessName,
    /// ID of its container, if that is one of [`Usage::containers`].
    pub container: Option<Arc<str>>,
    /// ID of its pod, if that is one of [`Usage::pods`].
    pub pod: Option<Arc<str>>,
    /// CPU.
    pub cpu: Option<Cpu>,
    /// Resident bytes.
    pub rss: u64,
    /// Number of threads.
    pub threads: u32,
}
