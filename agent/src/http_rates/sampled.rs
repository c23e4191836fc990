//! Where processes belong, by the sample of the same tick.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Found, Home, Node};
use crate::attribution::{ProcessUsage, Usage};
use crate::sample::{Sample, Sampler};

/// The number of the machine's own pid namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
const MACHINES_OWN: u64 = 0xEFFF_FFFC;

/// Whether processes have other pids here than for the kernel: in a pid namespace that is not the
/// machine's, as that of a node that is itself a container.
pub fn has_other_pids(proc: &Path) -> bool {
    rustix::fs::stat(proc.join("self/ns/pid")).is_ok_and(|stat| stat.st_ino != MACHINES_OWN)
}

/// A sample and what was made of it.
pub struct Sampled<'a> {
    /// The sample.
    pub sample: &'a Sample,
    /// What was made of it.
    pub usage: &'a Usage,
    /// Who took it: it knows where the cgroups are.
    pub sampler: &'a mut Sampler,
    /// Whether processes have other pids here than for the kernel.
    pub other_pids: bool,
}

impl Sampled<'_> {
    /// The process of the sample with this index: there is one for each, in the same order.
    fn alive(&self, index: usize) -> Option<&ProcessUsage> {
        let pid = self.sample.processes.get(index)?.pid;
        self.usage.processes.get(index).filter(|p| p.pid == pid)
    }

    /// Without its pid: the only process of its container that started in the same clock tick.
    fn find_by_start(&mut self, start: u64, cgroup: Option<u64>) -> Option<(u32, Home)> {
        let container: Arc<str> = self.home_of_cgroup(cgroup?)?.container?;
        let mut found = (0..self.sample.processes.len())
            .filter(|&index| self.sample.processes[index].start == start)
            .filter_map(|index| self.alive(index))
            .filter(|process| process.container.as_ref() == Some(&container));
        let process = found.next().filter(|_| found.next().is_none())?;
        Some((process.pid, home(process)))
    }
}

fn home(process: &ProcessUsage) -> Home {
    Home {
        container: process.container.clone(),
        pod: process.pod.clone(),
    }
}

impl Node for Sampled<'_> {
    fn find(&mut self, pid: u32, started: Duration, cgroup: Option<u64>) -> Found {
        let start = self.sampler.ticks(started);
        if self.other_pids {
            return match self.find_by_start(start, cgroup) {
                Some((pid, home)) => Found::Alive(pid, home),
                None => Found::Unknown,
            };
        }
        let processes = &self.sample.processes;
        let index = processes.binary_search_by_key(&pid, |p| p.pid).ok();
        let index = index.filter(|&index| processes[index].start == start);
        match index.and_then(|index| self.alive(index)) {
            Some(process) => Found::Alive(pid, home(process)),
            None => Found::Gone,
        }
    }

    fn home_of_cgroup(&mut self, inode: u64) -> Option<Home> {
        let (container, pod) = self.sampler.container_of_cgroup(inode)?;
        let known = self.usage.containers.get(&container);
        Some(Home {
            pod: known.and_then(|used| used.pod.clone()).or(pod),
            container: Some(container),
        })
    }

    fn has_container(&self, id: &str) -> bool {
        self.usage.containers.contains_key(id)
    }

    fn has_pod(&self, id: &str) -> bool {
        self.usage.pods.contains_key(id)
    }
}
