//! A container that writes to and reads from a slow disk all the time.

use anyhow::{Context, ensure};
use throwaway_vm_guest::HOST_NAME;

use super::{BLOCK_DELAY, DISK_READ, DISK_WRITTEN, IO_PRESSURE};
use crate::agent::{Agent, Report};
use crate::measure::{near, percent, rates, stalled, until_it_holds};
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::{BLOCK, Start};

/// The disk of the module `null_blk`.
const DISK: &str = "/dev/nullb0";
/// Switches on that waiting for block I/O is counted, for processes that start then.
const DELAYS: &str = "/proc/sys/kernel/task_delayacct";

pub(super) struct Waiting {
    pod: Pod,
    container: Container,
    process: Process,
}

impl Waiting {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Waiting> {
        let pod = Pod::new(driver, number)?;
        let container = pod.container(1)?;
        Ok(Waiting {
            process: container.start(&Start::default(), &["disk", DISK])?,
            container,
            pod,
        })
    }

    pub(super) fn check(mut self, agent: &Agent) -> anyhow::Result<()> {
        until_it_holds(|| {
            let report = self.check_disk(agent)?;
            let delay = report.metric("Container", &self.container.node_id(), BLOCK_DELAY);
            ensure!(delay.is_err(), "{BLOCK_DELAY} is there, but is not counted");
            Ok(())
        })?;

        std::fs::write(DELAYS, "1").with_context(|| format!("cannot write {DELAYS}"))?;
        self.process = self.container.start(&Start::default(), &["disk", DISK])?;
        until_it_holds(|| {
            let report = self.check_disk(agent)?;
            let id = self.container.node_id();
            let delay = report.metric("Container", &id, BLOCK_DELAY)?;
            // Milliseconds per second; one process cannot wait longer than time goes on.
            ensure!(
                (200.0..=1100.0).contains(&delay),
                "a process that only waits for a disk waits {delay} ms/s"
            );
            Ok(())
        })
    }

    fn check_disk(&self, agent: &Agent) -> anyhow::Result<Report> {
        let cgroup = &self.container.cgroup;
        let counters = || {
            let [read, written] = bytes(&cgroup.get("io.stat")?);
            let [some, full] = stalled(&cgroup.get("io.pressure")?)?;
            let machine = std::fs::read_to_string("/proc/pressure/io")?;
            let [host, _] = stalled(&machine)?;
            Ok([read, written, some, full, host])
        };
        let ([read, written, some, full, host], report) = rates(counters, &mut || agent.report())?;
        let (container, pod) = (self.container.node_id(), self.pod.node_id());
        for (metric, expected) in [(DISK_READ, read), (DISK_WRITTEN, written)] {
            ensure!(
                expected > 10.0 * BLOCK as f64,
                "the kernel's own {metric} is only {expected}"
            );
            for (topology, id) in [("Container", &container), ("Pod", &pod)] {
                let value = report.metric(topology, id, metric)?;
                near(metric, value, expected, expected * 0.35)?;
            }
        }
        for (metric, expected) in IO_PRESSURE.into_iter().zip([some, full]) {
            let value = report.metric("Container", &container, metric)?;
            near(metric, value, percent(expected), 25.0)?;
        }
        let machine = format!("{HOST_NAME};<host>");
        let value = report.metric("Host", &machine, IO_PRESSURE[0])?;
        near("the machine's I/O pressure", value, percent(host), 25.0)?;
        Ok(report)
    }
}

/// Bytes read and written, over all disks of an `io.stat`; before the first request it is empty.
fn bytes(stat: &str) -> [u64; 2] {
    let sum = |key: &str| {
        let words = stat.split_whitespace();
        let values = words.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
        values.sum()
    };
    [sum("rbytes="), sum("wbytes=")]
}
