//! HTTP requests and responses, as counted in the kernel for each process that serves.

mod counter;
mod counts;
mod programs;

use std::time::Duration;

pub use counter::{HttpCounter, HttpMode, HttpSetup, HttpStats, ReadError};

/// One reading of what was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpReading {
    /// When it was read, since boot (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// When counting began, since boot. A reading has every counter, so one that the reading before had
    /// not stood at zero then.
    pub since: Duration,
    /// What was counted so far; each (process, what) once.
    pub counts: Vec<HttpCount>,
    /// Requests and responses that found no room in the map, so far. While it grows, figures are
    /// incomplete.
    pub lost: u64,
}

/// A counter of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpCount {
    /// The thread group, in the host's pid namespace.
    pub pid: u32,
    /// When its leader started, since boot; with `pid` it names a process for ever. The 22nd field of
    /// `/proc/<pid>/stat` is the same in clock ticks, rounded down: nanoseconds / (1,000,000,000 /
    /// `sysconf(_SC_CLK_TCK)`), so / 10,000,000 with the usual 100 ticks per second. An agent in a time
    /// namespace of its own reads that file with the namespace's offset, and this without.
    pub started: Duration,
    /// What is counted.
    pub what: HttpWhat,
    /// How many, since the process started or counting began.
    pub count: u64,
    /// The cgroup that the process was in when this was first counted: the inode of its directory, by
    /// which a process that is gone is still attributed. In the hierarchy of the memory controller where
    /// that is of version 1, else in that of version 2. `None` where the kernel did not tell.
    pub cgroup: Option<u64>,
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpWhat {
    /// Requests that the process received.
    Request,
    /// Responses that it sent, with this status code; 0 stands for a status line whose code is no
    /// number from 100 to 999.
    Response(u16),
    /// Connections that began as HTTP/2, whose requests are not counted.
    Http2Connection,
}
