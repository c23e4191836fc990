//! A pod with a container at its limit of CPU and one that holds memory.

use anyhow::ensure;
use throwaway_vm_guest::HOST_NAME;

use super::{
    CPU, CPU_LIMIT_USE, CPU_PRESSURE, CPUS, MEMORY, MEMORY_LIMIT_USE, MEMORY_PRESSURE, MILLICORES,
    THROTTLED,
};
use crate::agent::Report;
use crate::measure::{near, percent, rates, stalled, until_it_holds};
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::Start;

/// Thousandths of a CPU that the burner may use.
const BURNER_LIMIT: u32 = 200;
const HOLDER_MIB: u32 = 24;
const HOLDER_LIMIT: u64 = 64 << 20;

pub(super) struct Busy {
    pod: Pod,
    burner: Container,
    holder: Container,
    burning: Process,
    _holding: Process,
}

impl Busy {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Busy> {
        let pod = Pod::new(driver, number)?;
        let burner = pod.container(1)?;
        let quota = format!("{} 100000", BURNER_LIMIT * 100);
        burner.cgroup.set("cpu.max", &quota)?;
        let holder = pod.container(2)?;
        holder.cgroup.set("memory.max", &HOLDER_LIMIT.to_string())?;
        let start = Start::default();
        Ok(Busy {
            burning: burner.start(&start, &["burn"])?,
            _holding: holder.start(&start, &["hold", &HOLDER_MIB.to_string()])?,
            pod,
            burner,
            holder,
        })
    }

    pub(super) fn check(
        &self,
        report: &mut impl FnMut() -> anyhow::Result<Report>,
    ) -> anyhow::Result<()> {
        until_it_holds(|| {
            let cgroup = &self.burner.cgroup;
            let counters = || {
                let cpu = |word| cgroup.number("cpu.stat", word);
                let [some, full] = stalled(&cgroup.get("cpu.pressure")?)?;
                Ok([
                    cpu("usage_usec")?,
                    cpu("nr_periods")?,
                    cpu("nr_throttled")?,
                    some,
                    full,
                ])
            };
            let ([used, periods, throttled, some, full], report) = rates(counters, report)?;
            self.check_cpu(&report, used / 1000.0)?;
            self.check_limits(&report, throttled / periods * 100.0)?;
            self.check_pressure(&report, [some, full].map(percent))?;
            self.check_memory(&report)?;
            self.check_places(&report)
        })
    }

    fn check_cpu(&self, report: &Report, expected: f64) -> anyhow::Result<()> {
        let limit = f64::from(BURNER_LIMIT);
        near("the kernel's own CPU", expected, limit, limit * 0.35)?;
        for (topology, id) in [
            ("Container", self.burner.node_id()),
            ("Pod", self.pod.node_id()),
        ] {
            let millicores = report.metric(topology, &id, MILLICORES)?;
            near("CPU", millicores, expected, limit * 0.35)?;
            let percent = report.metric(topology, &id, CPU)?;
            near("CPU in percent", percent, millicores / 10.0 / CPUS, 0.1)?;
        }
        let idle = report.metric("Container", &self.holder.node_id(), MILLICORES)?;
        ensure!(idle < 20.0, "a process that rests uses {idle} millicores");
        Ok(())
    }

    fn check_limits(&self, report: &Report, throttled: f64) -> anyhow::Result<()> {
        let (burner, holder) = (self.burner.node_id(), self.holder.node_id());
        let metric = |id, metric| report.metric("Container", id, metric);
        near("throttled", metric(&burner, THROTTLED)?, throttled, 25.0)?;
        near(
            "use of the CPU limit",
            metric(&burner, CPU_LIMIT_USE)?,
            100.0,
            35.0,
        )?;
        let share = metric(&holder, MEMORY)? / HOLDER_LIMIT as f64 * 100.0;
        near(
            "use of the memory limit",
            metric(&holder, MEMORY_LIMIT_USE)?,
            share,
            1.0,
        )?;
        for (id, without) in [
            (&burner, MEMORY_LIMIT_USE),
            (&holder, CPU_LIMIT_USE),
            (&holder, THROTTLED),
        ] {
            ensure!(
                metric(id, without).is_err(),
                "{id} has {without} without a limit"
            );
        }
        Ok(())
    }

    /// A container that is held back waits for the CPU; for memory nobody waits here.
    fn check_pressure(&self, report: &Report, expected: [f64; 2]) -> anyhow::Result<()> {
        let id = self.burner.node_id();
        for (metric, expected) in CPU_PRESSURE.into_iter().zip(expected) {
            ensure!(
                expected > 20.0,
                "the kernel's own {metric} is only {expected}"
            );
            near(
                metric,
                report.metric("Container", &id, metric)?,
                expected,
                35.0,
            )?;
        }
        for metric in MEMORY_PRESSURE {
            near(metric, report.metric("Container", &id, metric)?, 0.0, 5.0)?;
        }
        Ok(())
    }

    fn check_memory(&self, report: &Report) -> anyhow::Result<()> {
        let holder = self.holder.node_id();
        let memory = report.metric("Container", &holder, MEMORY)?;
        let cgroup = &self.holder.cgroup;
        let kernel = cgroup.get("memory.current")?.parse::<f64>()?
            - cgroup.number("memory.stat", "inactive_file")? as f64;
        near("memory", memory, kernel, 524_288.0)?;
        ensure!(
            memory >= f64::from(HOLDER_MIB << 20),
            "memory of {memory} bytes is less than is held"
        );
        let scale = report.scale("Container", &holder, MEMORY)?;
        near("the scale of memory", scale, HOLDER_LIMIT as f64, 0.0)?;
        let whole = report.metric("Pod", &self.pod.node_id(), MEMORY)?;
        let current = self.pod.cgroup.get("memory.current")?.parse::<f64>()?;
        ensure!(
            (memory..=current + 524_288.0).contains(&whole),
            "a pod's memory is {whole}, its container's {memory}, of {current} in its cgroup"
        );
        Ok(())
    }

    fn check_places(&self, report: &Report) -> anyhow::Result<()> {
        for container in [&self.burner, &self.holder] {
            let id = container.node_id();
            let pods = report.parents("Container", &id, "pod")?;
            ensure!(
                pods == [self.pod.node_id()],
                "{id} is in {pods:?}, not in {}",
                self.pod.node_id()
            );
            let state = report.latest("Container", &id, "docker_container_state")?;
            ensure!(state == "running", "{id} is {state}");
            let processes = report.metric("Container", &id, "processes")?;
            near("the number of processes", processes, 1.0, 0.0)?;
        }
        let process = format!("{HOST_NAME};{}", self.burning.pid());
        let container = report.latest("Process", &process, "docker_container_id")?;
        ensure!(
            container == self.burner.id,
            "process {process} is in {container}, not in {}",
            self.burner.id
        );
        Ok(())
    }
}
