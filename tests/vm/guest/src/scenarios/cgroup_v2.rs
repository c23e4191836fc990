//! The agent on a machine that has cgroup version 2 only, as all newer ones do.

use std::time::Instant;

use anyhow::ensure;

use super::{near, step};
use crate::agent::{self, Agent, Report};
use crate::cgroup::Cgroup;
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::Start;

const CPU: &str = "docker_cpu_total_usage";
const MEMORY: &str = "docker_memory_usage";
const MILLICORES: &str = "cpu_millicores";
const CPUS: f64 = 2.0;

/// A pod that uses CPU and memory, and what it may.
struct Busy {
    pod: Pod,
    burner: Container,
    holder: Container,
    /// They end with it.
    _processes: [Process; 2],
}

const BURNER_LIMIT: u32 = 20;
const HOLDER_MIB: u32 = 24;
const HOLDER_LIMIT: u64 = 64 << 20;

impl Busy {
    fn start(driver: Driver, number: u8) -> anyhow::Result<Busy> {
        let pod = Pod::new(driver, number)?;
        let burner = pod.container(number * 16 + 1)?;
        burner
            .cgroup
            .set("cpu.max", &format!("{BURNER_LIMIT}000 100000"))?;
        let holder = pod.container(number * 16 + 2)?;
        holder.cgroup.set("memory.max", &HOLDER_LIMIT.to_string())?;
        let start = Start::default();
        let processes = [
            burner.start(&start, &["burn"])?,
            holder.start(&start, &["hold", &HOLDER_MIB.to_string()])?,
        ];
        Ok(Busy {
            pod,
            burner,
            holder,
            _processes: processes,
        })
    }

    fn check(&self, seen: &Seen) -> anyhow::Result<()> {
        let report = &seen.report;
        let (burner, holder) = (self.burner.node_id(), self.holder.node_id());
        for (topology, id) in [("Container", &burner), ("Pod", &self.pod.node_id())] {
            let millicores = report.metric(topology, id, MILLICORES)?;
            near("CPU", millicores, f64::from(BURNER_LIMIT) * 10.0, 80.0)?;
            let percent = report.metric(topology, id, CPU)?;
            near("CPU in percent", percent, millicores / 10.0 / CPUS, 0.1)?;
        }
        let idle = report.metric("Container", &holder, MILLICORES)?;
        ensure!(idle < 50.0, "a process that rests uses {idle} millicores");

        let memory = report.metric("Container", &holder, MEMORY)?;
        let kernel = self.holder.cgroup.get("memory.current")?.parse::<f64>()?;
        near("memory", memory, kernel, 1_048_576.0)?;
        ensure!(
            memory >= f64::from(HOLDER_MIB << 20),
            "memory of {memory} bytes is less than is held"
        );
        let scale = report.scale("Container", &holder, MEMORY)?;
        near("the scale of memory", scale, HOLDER_LIMIT as f64, 0.0)?;
        let whole = report.metric("Pod", &self.pod.node_id(), MEMORY)?;
        ensure!(whole >= memory, "a pod has less memory than its container");

        for container in [&burner, &holder] {
            let pods = report.parents("Container", container, "pod")?;
            ensure!(
                pods == [self.pod.node_id()],
                "{container} is in {pods:?}, not in {}",
                self.pod.node_id()
            );
            let state = report.latest("Container", container, "docker_container_state")?;
            ensure!(state == "running", "{container} is {state}");
        }
        Ok(())
    }
}

/// A report, and when it was made.
struct Seen {
    report: Report,
}

pub(super) fn play() -> anyhow::Result<()> {
    let controllers = Cgroup::root().get("cgroup.controllers")?;
    for needed in ["cpu", "memory", "io", "pids"] {
        ensure!(
            controllers
                .split(' ')
                .any(|controller| controller == needed),
            "the kernel has only these controllers: {controllers}"
        );
    }
    step("make pods under systemd's names and the kubelet's own");
    let busy = [
        Busy::start(Driver::Systemd, 1)?,
        Busy::start(Driver::Cgroupfs, 2)?,
    ];

    step("report what runs");
    let seen = Seen {
        report: agent::look_around()?,
    };
    busy.iter().try_for_each(|busy| busy.check(&seen))?;

    step("serve from a container with its own namespace of cgroups");
    let pod = Pod::new(Driver::Systemd, 3)?;
    let home = pod.container(0x31)?;
    let start = Start {
        private_cgroups: true,
        ..Start::default()
    };
    let began = Instant::now();
    let agent = Agent::serve(&home, &start)?;
    step(&format!("served after {:?}", began.elapsed()));
    let seen = Seen {
        report: agent.report()?,
    };
    busy.iter().try_for_each(|busy| busy.check(&seen))?;
    Ok(())
}
