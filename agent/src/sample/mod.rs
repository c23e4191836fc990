//! Reading the node: one [`Sample`] is what its processes and cgroups had used up to a moment.
//!
//! Counters are kept as they are read; rates are made by [`crate::attribution`] from two samples.

mod bandwidth;
mod cgroup_files;
mod cgroup_index;
mod cgroup_inodes;
mod cgroup_path;
mod disk;
mod further_files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group_table;
mod hierarchy;
mod host;
mod kept_file;
mod net_dev;
mod number;
mod open_files;
mod pod_network;
mod pressure;
mod problem;
mod process_io;
mod process_stat;
mod process_table;
mod reader;
mod sampler;
mod sandboxes;
mod seldom;
mod wanted;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use scope_protocol::Timestamp;

use crate::inventory::Inventory;

pub(crate) use cgroup_path::{Place, parse_process};
pub use problem::{Cause, Datum, Problem, Problems};
pub use sampler::Sampler;

/// Where the kernel's files are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The process file system, normally `/proc`.
    pub proc: PathBuf,
    /// The cgroup file systems, normally `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

/// What is known of the node besides its own files.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// The pods that Kubernetes says run here; nothing else is looked at, since the cgroups of
    /// other nodes may be visible on the same machine.
    Cluster(&'a Inventory),
    /// Nothing: whatever looks like a container is one.
    Standalone,
}

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On a clock that never jumps, for intervals. Only differences have a meaning.
    pub monotonic: Duration,
    /// On the wall clock, for the dates in a report.
    pub wall: Timestamp,
}

/// The machine's own clocks, for [`Sampler::new`].
pub fn system_clock() -> impl Fn() -> Moment + Send + 'static {
    let origin = Instant::now();
    move || Moment {
        monotonic: origin.elapsed(),
        wall: SystemTime::now().into(),
    }
}

/// A counter and when it was read on the monotonic clock. Each has its own time, since an agent
/// that waits for a busy CPU may read its last file long after its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// When it was read.
    pub at: Duration,
    /// Its value, ever growing unless what it counts is made anew.
    pub value: u64,
}

/// Counters that are not read for every sample: their last reading and the one before it, which
/// may both be older than the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<T> {
    /// When they were read last.
    pub at: Duration,
    /// What they were then.
    pub value: T,
    /// When they were read before and what they were; `None` at the first reading and after one
    /// that failed.
    pub before: Option<(Duration, T)>,
}

impl<T: Copy> Span<T> {
    fn next(before: Option<Span<T>>, at: Duration, value: T) -> Self {
        let before = before.map(|span| (span.at, span.value));
        Span { at, value, before }
    }
}

/// What the node had done up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When the sample was begun; the time of the processes' counters.
    pub at: Moment,
    /// The machine as a whole.
    pub host: HostSample,
    /// Processes by ascending pid, without kernel threads.
    pub processes: Vec<ProcessSample>,
    /// How many kernel threads there are.
    pub kernel_threads: u32,
    /// The containers (and what runs in a pod but in no container) that were found.
    pub groups: Vec<GroupSample>,
    /// The pods that were found, by their ID.
    pub pods: BTreeMap<Arc<str>, PodSample>,
    /// Whether the kernel counts OOM kills of pods: where the memory controller is v2.
    pub oom_counted: bool,
    /// What could not be read this time.
    pub problems: Problems,
}

/// The machine as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostSample {
    /// Nanoseconds that the CPUs were busy.
    pub cpu: Option<Counter>,
    /// What the CPUs did with their time.
    pub cpu_times: Option<CpuTimes>,
    /// Number of CPUs online.
    pub cpus: Option<u32>,
    /// Bytes of memory.
    pub memory_total: Option<u64>,
    /// Bytes of memory that a program could get without swapping.
    pub memory_available: Option<u64>,
    /// How long its processes waited for the CPU, memory and I/O.
    pub pressure: PressureSample,
    /// Whether the kernel counts how long processes wait for block I/O.
    pub delay_accounting: bool,
}

/// Clock ticks since boot, summed over the CPUs, by what they did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// They computed.
    pub busy: u64,
    /// They had nothing to do.
    pub idle: u64,
    /// They had nothing to do, and something waited for I/O.
    pub io_wait: u64,
    /// The hypervisor had given them to somebody else.
    pub stolen: u64,
}

/// One process. The pid and the start together tell processes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSample {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its name.
    pub name: ProcessName,
    /// CPU used, in nanoseconds.
    pub cpu: u64,
    /// Resident bytes.
    pub rss: u64,
    /// Number of threads.
    pub threads: u32,
    /// Nanoseconds that its first thread waited for block I/O; 0 also where that is not counted.
    pub block_delay: u64,
    /// Number of open descriptors, some seconds old; `None` where unknown. Only looked at in
    /// containers and pods.
    pub files: Option<u64>,
    /// Index into [`Sample::groups`] of where it runs; `None` outside of containers and pods.
    pub group: Option<u32>,
}

/// Which process, for as long as the machine runs. Older ones are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its pid.
    pub pid: u32,
}

impl ProcessSample {
    /// Which one it is: a pid alone is used again.
    pub fn identity(&self) -> ProcessId {
        ProcessId {
            start: self.start,
            pid: self.pid,
        }
    }
}

/// The first 15 bytes of a process's name, as the kernel keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessName {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl ProcessName {
    /// The kernel's limit for the name of a user process.
    pub const MAX: usize = 15;

    /// Takes at most [`Self::MAX`] bytes.
    pub fn new(name: &[u8]) -> Self {
        let len = name.len().min(Self::MAX);
        let mut bytes = [0; Self::MAX];
        bytes[..len].copy_from_slice(&name[..len]);
        // The cast cannot lose anything: at most `MAX`.
        ProcessName {
            len: len as u8,
            bytes,
        }
    }

    /// The bytes of the name; any but NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for ProcessName {
    /// With everything that could move a terminal's cursor replaced: a process names itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = String::from_utf8_lossy(self.as_bytes())
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        f.pad(&name)
    }
}

impl fmt::Debug for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Where a process runs. At least one of the two is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// ID of the pod.
    pub pod: Option<Arc<str>>,
    /// 64-hex ID of the container; `None` for what the runtime runs beside a pod's containers.
    pub container: Option<Arc<str>>,
    /// The runtime, where the cgroup's name tells.
    pub runtime: Option<Runtime>,
}

/// Container runtimes that give themselves away by the names of their cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// `docker-<id>.scope`, `/docker/<id>`.
    Docker,
    /// `libpod-<id>.scope`.
    Podman,
    /// `cri-containerd-<id>.scope`.
    Containerd,
    /// `crio-<id>.scope`.
    Crio,
}

impl Runtime {
    /// The scheme of its container IDs in Kubernetes; for Podman its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Podman => "podman",
            Runtime::Containerd => "containerd",
            Runtime::Crio => "cri-o",
        }
    }
}

/// A group and what its cgroup says.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSample {
    /// Which one.
    pub group: Arc<Group>,
    /// Its cgroup's counters; empty where the cgroup was not found.
    pub cgroup: CgroupSample,
}

/// A pod as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PodSample {
    /// Counters of the pod's own cgroup: they include its pause container and the containers that
    /// have ended.
    pub cgroup: CgroupSample,
    /// Bytes over all its interfaces but the loopback.
    pub network: Option<NetworkSample>,
}

/// What a cgroup says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupSample {
    /// CPU used, in nanoseconds.
    pub cpu: Option<Counter>,
    /// Memory.
    pub memory: Option<MemorySample>,
    /// What is read every few seconds.
    pub further: FurtherSample,
}

/// What a cgroup says that is read every few seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FurtherSample {
    /// Bytes read from and written to disks.
    pub disk: Option<Span<DiskBytes>>,
    /// How often it was held back by its CPU limit.
    pub throttling: Option<Span<Throttling>>,
    /// The cgroup's own CPU limit.
    pub cpu_limit: Option<CpuLimit>,
    /// How long its processes waited; v2 only.
    pub pressure: PressureSample,
    /// Processes that the kernel killed in it for want of memory; pods on v2 only.
    pub oom_kills: Option<u64>,
    /// Whether its processes are frozen, read for every sample; containers only.
    pub frozen: Option<bool>,
}

/// Bytes over all disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// Periods of a CPU limit, usually of a tenth of a second each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// Those in which something ran.
    pub periods: u64,
    /// Those at the end of which something waited, since the limit was used up.
    pub throttled: u64,
}

/// So many microseconds of CPU in each period of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuLimit {
    /// Microseconds of CPU, over all CPUs; not 0.
    pub quota: u64,
    /// Microseconds of the period; not 0.
    pub period: u64,
}

/// How long processes waited, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PressureSample {
    /// For a CPU.
    pub cpu: Option<Span<Stall>>,
    /// For memory.
    pub memory: Option<Span<Stall>>,
    /// For I/O.
    pub io: Option<Span<Stall>>,
}

/// Microseconds of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// While at least one process waited.
    pub some: u64,
    /// While all waited that had something to do.
    pub full: Option<u64>,
}

/// Memory of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySample {
    /// Bytes in use as the kubelet counts them: without the file cache that is easy to give back.
    pub working_set: u64,
    /// The cgroup's own limit.
    pub limit: Option<u64>,
}

/// Network counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSample {
    /// The process that they were read through. Those of another may be of another network.
    pub process: ProcessId,
    /// When they were read on the monotonic clock.
    pub at: Duration,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}
