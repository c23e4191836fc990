//! Who used what: rates between two samples, by process, container, pod and host.
//!
//! A container's and a pod's CPU is its cgroup's, which also has what ran and ended between the
//! samples; the sum over its processes stands in only where the cgroup cannot be read. Counters that
//! are not read for each sample bring their previous reading along.

mod homes;
mod rate;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::http_rates::HttpUsage;
use crate::sample::{CgroupSample, Counter, FurtherSample, HostSample, Mode, PodSample, Sample};
use homes::{Growth, Homes, Sum, Sums};

pub use usage::{
    ContainerUsage, Cpu, Disk, Figures, HostUsage, Memory, Network, Pressure, ProcessTotals,
    ProcessUsage, Stalled, Usage, Waiting,
};

/// What was used between two samples. Without a previous one there are no rates; a counter that
/// stepped back is a new baseline and gives none either.
pub fn attribute(previous: Option<&Sample>, current: &Sample, mode: Mode<'_>) -> Usage {
    let interval = previous
        .and_then(|previous| current.at.monotonic.checked_sub(previous.at.monotonic))
        .filter(|interval| !interval.is_zero());
    let previous = previous.filter(|_| interval.is_some());
    let machine = Machine {
        cpus: current.host.cpus,
        memory: current.host.memory_total,
        delays: current.host.delay_accounting,
    };

    let homes = Homes::new(current, mode);
    let mut sums = Sums::new(&homes);
    let processes = processes(previous, current, interval, machine, &homes, &mut sums);

    let before = previous.map(cgroups_by_container).unwrap_or_default();
    let containers: BTreeMap<Arc<str>, ContainerUsage> = homes
        .containers
        .iter()
        .zip(&sums.containers)
        .map(|(home, sum)| {
            let before = before.get(&*home.id).copied();
            let frozen = home.cgroup.further.frozen;
            let was_frozen = before.and_then(|before| before.further.frozen);
            let usage = ContainerUsage {
                pod: home.pod.map(|pod| homes.pods.ids[pod].clone()),
                runtime: home.runtime,
                frozen,
                frozen_changed: was_frozen.zip(frozen).is_some_and(|(was, is)| was != is),
                figures: machine.figures(before, home.cgroup, sum, interval),
            };
            (home.id.clone(), usage)
        })
        .collect();
    let memory_sums = homes.memory_by_pod();
    let pods = homes
        .pods
        .ids
        .iter()
        .zip(sums.pods.iter().zip(memory_sums))
        .map(|(id, (sum, memory_sum))| {
            let now = current.pods.get(id).copied().unwrap_or_default();
            let before = previous.and_then(|previous| previous.pods.get(id));
            let own = machine.figures(before.map(|pod| &pod.cgroup), &now.cgroup, sum, interval);
            let figures = Figures {
                memory: own.memory.or(memory_sum),
                network: before.and_then(|before| network(before, &now)),
                oom_kills: match current.oom_counted {
                    true => own.oom_kills,
                    false => oom_kills_by_status(mode, id),
                },
                ..own
            };
            (id.clone(), figures)
        })
        .collect();

    Usage {
        at: current.at.wall,
        interval,
        host: host(previous.map(|previous| &previous.host), current, machine),
        pods,
        containers,
        processes,
        volumes: Arc::default(),
        http: HttpUsage::default(),
        problems: current.problems.clone(),
    }
}

/// What shares are shares of.
#[derive(Clone, Copy)]
struct Machine {
    cpus: Option<u32>,
    memory: Option<u64>,
    /// Whether waiting for block I/O is counted.
    delays: bool,
}

impl Machine {
    /// What a cgroup and the processes in it use.
    fn figures(
        self,
        before: Option<&CgroupSample>,
        now: &CgroupSample,
        sum: &Sum,
        interval: Option<Duration>,
    ) -> Figures {
        let cpu = self.cpu_of(before, now, sum, interval);
        let memory = self.memory_of(now);
        let FurtherSample {
            disk,
            throttling,
            cpu_limit,
            pressure,
            oom_kills,
            frozen: _,
        } = now.further;
        let limits = memory.and_then(|memory| Some((memory.working_set, memory.limit?)));
        let delay = sum.delay().filter(|_| self.delays);
        Figures {
            cpu,
            memory,
            processes: sum.seen(),
            files: sum.files(),
            disk: disk.and_then(Disk::new),
            network: None,
            throttled: throttling.and_then(|periods| rate::throttled(periods, cpu_limit.is_some())),
            cpu_limit_use: cpu
                .zip(cpu_limit)
                .map(|(cpu, limit)| cpu.millicores / limit.millicores() * 100.0),
            memory_limit_use: limits
                .filter(|&(_, limit)| limit > 0)
                .map(|(used, limit)| used as f64 / limit as f64 * 100.0),
            pressure: Pressure::new(pressure),
            block_delay: delay
                .zip(interval)
                .and_then(|(delay, interval)| rate::over(delay, interval))
                .map(|share| share * 1000.0),
            oom_kills,
        }
    }

    /// CPU by the cgroup's counter; by the processes' where the cgroup has none at all. A cgroup
    /// that is read for the first time is worth waiting one sample for.
    fn cpu_of(
        self,
        before: Option<&CgroupSample>,
        now: &CgroupSample,
        sum: &Sum,
        interval: Option<Duration>,
    ) -> Option<Cpu> {
        match now.cpu {
            Some(now) => self.cpu(before?.cpu?, now),
            None => Cpu::new(rate::over(sum.cpu?, interval?)?, self.cpus),
        }
    }

    fn cpu(self, before: Counter, now: Counter) -> Option<Cpu> {
        Cpu::new(rate::rate(before, now)?, self.cpus)
    }

    fn memory_of(self, cgroup: &CgroupSample) -> Option<Memory> {
        let memory = cgroup.memory?;
        // A limit above what the machine has limits nothing.
        let limit = memory
            .limit
            .filter(|&limit| self.memory.is_none_or(|total| limit < total));
        Some(Memory {
            working_set: memory.working_set,
            limit,
        })
    }
}

/// The processes with their rates; what belongs to a container or pod is added to its sum.
fn processes(
    previous: Option<&Sample>,
    current: &Sample,
    interval: Option<Duration>,
    machine: Machine,
    homes: &Homes<'_>,
    sums: &mut Sums,
) -> Vec<ProcessUsage> {
    let mut before = previous.map(|p| p.processes.iter().peekable());
    // Starts ascend, so what started with or after the youngest of the last sample was not there
    // then, and all that it used was used in the interval. What is older was merely not seen.
    let youngest = previous.and_then(|p| p.processes.iter().map(|process| process.start).max());
    current
        .processes
        .iter()
        .map(|process| {
            let same = before.as_mut().and_then(|before| {
                while before.next_if(|b| b.pid < process.pid).is_some() {}
                before.next_if(|b| b.pid == process.pid)
            });
            let growth = match same.filter(|before| before.start == process.start) {
                Some(before) => Growth {
                    cpu: process.cpu.checked_sub(before.cpu),
                    delay: process.block_delay.checked_sub(before.block_delay),
                },
                None => {
                    let began = youngest.filter(|&start| process.start >= start);
                    Growth {
                        cpu: began.map(|_| process.cpu),
                        delay: began.map(|_| process.block_delay),
                    }
                }
            };
            let home = process
                .group
                .and_then(|group| homes.of_group.get(group as usize))
                .copied()
                .unwrap_or_default();
            if let Some(container) = home.container {
                sums.containers[container].add(process, growth);
            }
            if let Some(pod) = home.pod {
                sums.pods[pod].add(process, growth);
            }
            let used = growth
                .cpu
                .zip(interval)
                .and_then(|(cpu, interval)| rate::over(cpu, interval));
            ProcessUsage {
                pid: process.pid,
                name: process.name,
                container: home
                    .container
                    .map(|container| homes.containers[container].id.clone()),
                pod: home.pod.map(|pod| homes.pods.ids[pod].clone()),
                cpu: used.and_then(|used| Cpu::new(used, machine.cpus)),
                rss: process.rss,
                threads: process.threads,
            }
        })
        .collect()
}

fn cgroups_by_container(sample: &Sample) -> HashMap<&str, &CgroupSample> {
    let groups = sample.groups.iter();
    groups
        .filter_map(|g| Some((g.group.container.as_deref()?, &g.cgroup)))
        .collect()
}

/// The containers of a pod whose last run was ended for want of memory, where the kernel keeps no
/// count: their cgroups are gone, and the pod's status tells of the last run alone.
fn oom_kills_by_status(mode: Mode<'_>, pod: &str) -> Option<u64> {
    let Mode::Cluster(inventory) = mode else {
        return None;
    };
    let pod = inventory.pods.get(pod)?;
    let running = pod.containers.values().map(|c| &c.last_termination);
    let stopped = pod.stopped.values().map(|c| &c.last_termination);
    let killed = running
        .chain(stopped)
        .flatten()
        .filter(|ended| ended.reason == "OOMKilled");
    Some(killed.count() as u64)
}

/// Between two readings through the same process: another may be in a network of its own, or in the one
/// that the pod was given anew, and what that had moved before is nothing that it moved in the interval.
fn network(before: &PodSample, now: &PodSample) -> Option<Network> {
    let (before, now) = (before.network?, now.network?);
    if before.process != now.process {
        return None;
    }
    let per_second = |before_value, value| {
        let before = Counter {
            at: before.at,
            value: before_value,
        };
        Some(rate::rate(before, Counter { at: now.at, value })? * 1e9)
    };
    Some(Network {
        received: per_second(before.received, now.received)?,
        sent: per_second(before.sent, now.sent)?,
    })
}

fn host(previous: Option<&HostSample>, current: &Sample, machine: Machine) -> HostUsage {
    let HostSample {
        cpu,
        cpu_times,
        cpus,
        memory_total,
        memory_available,
        pressure,
        delay_accounting: _,
    } = current.host;
    HostUsage {
        cpus,
        memory_total,
        memory_used: memory_total
            .zip(memory_available)
            .map(|(t, free)| t.saturating_sub(free)),
        cpu: previous
            .and_then(|p| p.cpu)
            .zip(cpu)
            .and_then(|(p, now)| machine.cpu(p, now)),
        waiting: previous
            .and_then(|p| p.cpu_times)
            .zip(cpu_times)
            .and_then(|(before, now)| Waiting::new(before, now)),
        processes: u32::try_from(current.processes.len()).unwrap_or(u32::MAX),
        threads: current
            .processes
            .iter()
            .map(|process| u64::from(process.threads))
            .sum(),
        kernel_threads: current.kernel_threads,
        pressure: Pressure::new(pressure),
    }
}
