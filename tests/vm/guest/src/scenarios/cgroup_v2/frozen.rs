//! A container whose processes stand still.

use anyhow::ensure;

use super::MILLICORES;
use crate::agent::Agent;
use crate::measure::until_it_holds;
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::Start;

pub(super) struct Frozen {
    container: Container,
    _pod: Pod,
    _burning: Process,
}

impl Frozen {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Frozen> {
        let pod = Pod::new(driver, number)?;
        let container = pod.container(1)?;
        container.cgroup.set("cpu.max", "20000 100000")?;
        Ok(Frozen {
            _burning: container.start(&Start::default(), &["burn"])?,
            container,
            _pod: pod,
        })
    }

    pub(super) fn check(&self, agent: &Agent) -> anyhow::Result<()> {
        self.check_state(agent, "1", false)?;
        self.check_state(agent, "0", true)
    }

    fn check_state(&self, agent: &Agent, freeze: &str, runs: bool) -> anyhow::Result<()> {
        let cgroup = &self.container.cgroup;
        cgroup.set("cgroup.freeze", freeze)?;
        until_it_holds(|| {
            let report = agent.report()?;
            let frozen = cgroup.number("cgroup.events", "frozen")?.to_string();
            ensure!(frozen == freeze, "the kernel says frozen {frozen}");
            let id = self.container.node_id();
            let millicores = report.metric("Container", &id, MILLICORES)?;
            ensure!(
                (millicores > 0.0) == runs,
                "{id} uses {millicores} millicores, with frozen {frozen}"
            );
            Ok(())
        })
    }
}
