//! HTTP requests and responses per second: from what the kernel counted for each process to figures
//! of processes, containers and pods.
//!
//! The kernel's counts come as plain values ([`crate::bpf::http`]), and where a process belongs is
//! asked of [`Node`]; so all of it runs in tests on any machine. Each level sums up what was counted
//! in the interval, and divides by the time that passed: sums of rates would mix intervals.

mod book;
mod codes;
mod growth;
mod look;
mod sampled;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use book::{Book, Entry, MAX_PROCESSES, Process};
pub use codes::{Class, MAX_CODES_OF_NODE, MAX_ODD_CODES};
pub use look::{Counters, HttpBoard, HttpLook, Off, Standing};
pub use sampled::{Sampled, has_other_pids};

/// Where a process belongs. Neither is known of one of the host's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// The ID of its container.
    pub container: Option<Arc<str>>,
    /// The ID of its pod.
    pub pod: Option<Arc<str>>,
}

impl Home {
    /// Whether nothing is known of it, as of one of the host's own.
    fn is_nowhere(&self) -> bool {
        self.container.is_none() && self.pod.is_none()
    }
}

/// What became of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has this pid, which need not be that of the kernel, and runs there.
    Alive(u32, Home),
    /// It ended.
    Gone,
    /// It cannot be told from others.
    Unknown,
}

/// What is known of the node when something is read.
pub trait Node {
    /// The process that the kernel knows by this pid, start and cgroup.
    fn find(&mut self, pid: u32, started: Duration, cgroup: Option<u64>) -> Found;
    /// What the cgroup with this inode belongs to; `None` if that is not known.
    fn home_of_cgroup(&mut self, inode: u64) -> Option<Home>;
    /// Whether the container runs.
    fn has_container(&self, id: &str) -> bool;
    /// Whether the pod runs.
    fn has_pod(&self, id: &str) -> bool;
}

/// What a process, container or pod did with HTTP in the interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpRates {
    /// Requests per second: those seen, or the final responses if these are more, since each of them
    /// answers a request. `None` of what was never seen to speak HTTP/1: requests of HTTP/2 are not
    /// counted.
    pub requests: Option<f64>,
    /// Responses per second by class; `None` of a class that it never sent.
    pub classes: [Option<f64>; Class::ALL.len()],
    /// Responses per second by status code, ascending; none with rate 0.
    pub codes: Vec<(u16, f64)>,
    /// Responses per second that are in none of the codes.
    pub others: f64,
    /// Percent of the final responses that are server errors (5xx); `None` where there were none.
    pub errors: Option<f64>,
    /// Connections per second that began as HTTP/2.
    pub http2: f64,
}

/// What all of the node's servers did in the interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpUsage {
    /// By pid: those that live and have served, at most [`MAX_PROCESSES`].
    pub processes: BTreeMap<u32, HttpRates>,
    /// By container ID.
    pub containers: BTreeMap<Arc<str>, HttpRates>,
    /// By pod ID.
    pub pods: BTreeMap<Arc<str>, HttpRates>,
    /// What was seen on the node so far, which decides which figures there are.
    pub seen: HttpSeen,
    /// Whether all was counted, so that what is in none of the figures was not there.
    pub counted: bool,
    /// What a person is told about how it is counted, or why it is not.
    pub said: Option<String>,
}

impl HttpUsage {
    /// Leaves out what is wrong where not all was counted: the share of errors, and classes of which
    /// nothing was counted.
    fn leave_out_what_needs_all(&mut self) {
        let processes = self.processes.values_mut();
        let others = self.containers.values_mut().chain(self.pods.values_mut());
        for rates in processes.chain(others) {
            rates.errors = None;
            for class in &mut rates.classes {
                *class = class.filter(|rate| *rate > 0.0);
            }
        }
    }
}

/// What was seen on the node so far. It only grows: templates that come and go make metrics come
/// and go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSeen {
    /// Whether anything was counted at all.
    pub requests: bool,
    /// Classes of responses.
    pub classes: BTreeSet<Class>,
    /// Status codes that have a figure of their own.
    pub codes: BTreeSet<u16>,
    /// Responses in none of them.
    pub others: bool,
    /// Connections that began as HTTP/2.
    pub http2: bool,
}
