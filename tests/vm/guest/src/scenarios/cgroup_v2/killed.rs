//! A container that the kernel kills for its memory. Its group goes with it, as a runtime would
//! have it; the count stays in the pod's.

use anyhow::{Context, ensure};

use super::OOM_KILLS;
use crate::agent::Agent;
use crate::measure::{near, until_it_holds};
use crate::pod::{Driver, Pod, Process};
use crate::workload::Start;

const LIMIT: u64 = 16 << 20;
const SIGKILL: i32 = 9;

pub(super) struct Killed {
    pod: Pod,
    _resting: Process,
}

impl Killed {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Killed> {
        let pod = Pod::new(driver, number)?;
        let pause = pod.container(0)?;
        Ok(Killed {
            _resting: pause.start(&Start::default(), &["rest"])?,
            pod,
        })
    }

    pub(super) fn check(&self, agent: &Agent) -> anyhow::Result<()> {
        self.check_count(agent, 0)?;
        for count in 1..=2 {
            self.have_one_killed(count)?;
            self.check_count(agent, count)?;
        }
        Ok(())
    }

    fn have_one_killed(&self, number: u8) -> anyhow::Result<()> {
        let container = self.pod.container(number)?;
        container.cgroup.set("memory.max", &LIMIT.to_string())?;
        let mut process = container.start(&Start::default(), &["outgrow"])?;
        let signal = process
            .wait()?
            .context("outgrowing its limit ended a process by itself")?;
        ensure!(signal == SIGKILL, "it was ended by signal {signal}");
        container.cgroup.remove()
    }

    fn check_count(&self, agent: &Agent, count: u8) -> anyhow::Result<()> {
        let kernel = self.pod.cgroup.number("memory.events", "oom_kill")?;
        ensure!(
            kernel == u64::from(count),
            "the kernel counts {kernel} kills in the pod, not {count}"
        );
        until_it_holds(|| {
            let report = agent.report()?;
            let containers: Vec<&str> = report
                .nodes("Container")
                .into_iter()
                .filter(|id| id.starts_with("0601") || id.starts_with("0602"))
                .collect();
            ensure!(
                containers.is_empty(),
                "{containers:?} are gone but reported"
            );
            let kills = report.metric("Pod", &self.pod.node_id(), OOM_KILLS)?;
            near("the number of kills", kills, f64::from(count), 0.0)
        })
    }
}
