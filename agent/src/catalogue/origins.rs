//! Where each metric comes from, and on which nodes it is.

use scope_protocol::Topology;

use super::{Origin, Read};
use crate::collect::metric::{self, METRICS};
use crate::sample::Datum;

const HOST: &[Topology] = &[Topology::Host];
const BOTH: &[Topology] = &[Topology::Container, Topology::Pod];
const PODS: &[Topology] = &[Topology::Pod];
const SERVERS: &[Topology] = &[Topology::Process, Topology::Container, Topology::Pod];
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
     none of pods), `/proc/devices`, `/proc/diskstats`; without: `/proc/<pid>/io`",
    "`io.stat`, `/proc/devices`; without: `/proc/<pid>/io`",
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

const HTTP: (&str, &str) = (
    "own counters in the kernel (BPF), see below",
    "own counters in the kernel (BPF), see below",
);

const CPU_TIMES: (&str, &str) = ("`/proc/stat`", "`/proc/stat`");

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
    origin(
        metric::IO_WAIT,
        HOST,
        "% of the CPUs' time in the last interval",
        CPU_TIMES,
        Read::Free,
        Datum::HostCpu,
    ),
    origin(
        metric::IDLE,
        HOST,
        "% of the CPUs' time in the last interval",
        CPU_TIMES,
        Read::Free,
        Datum::HostCpu,
    ),
    origin(
        metric::VOLUME_USE,
        PODS,
        "% in use of the fullest volume, as `df` has it",
        ("`statvfs` of the volume", "`statvfs` of the volume"),
        Read::Volume,
        Datum::VolumeUse,
    ),
    origin(
        metric::HTTP_REQUESTS,
        SERVERS,
        "per second",
        HTTP,
        Read::Counted,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_ERRORS,
        BOTH,
        "% of the final responses",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_2XX,
        BOTH,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_3XX,
        BOTH,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_4XX,
        BOTH,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_5XX,
        BOTH,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP_OTHERS,
        SERVERS,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
    origin(
        metric::HTTP2_CONNECTIONS,
        BOTH,
        "per second",
        HTTP,
        Read::Free,
        Datum::HttpCounts,
    ),
];
