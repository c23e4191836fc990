//! A container whose processes stand still: by the kernel's file, and by a click.

use anyhow::ensure;

use super::MILLICORES;
use crate::agent::Agent;
use crate::api_server::ApiServer;
use crate::measure::until_it_holds;
use crate::network;
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::Start;

pub(super) struct Frozen {
    container: Container,
    pod: Pod,
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
            pod,
        })
    }

    /// By somebody else: the agent only sees it.
    pub(super) fn check(&self, agent: &Agent) -> anyhow::Result<()> {
        self.container.cgroup.set("cgroup.freeze", "1")?;
        self.check_state(agent, false)?;
        self.container.cgroup.set("cgroup.freeze", "0")?;
        self.check_state(agent, true)
    }

    /// By the agent of a cluster, out of its own namespace of cgroups.
    pub(super) fn check_clicks(&self, home: &Pod) -> anyhow::Result<()> {
        network::start_loopback()?;
        let own = home.container(3)?;
        let pods = vec![self.pod.object(&[&self.container]), home.object(&[&own])];
        let server = ApiServer::start(pods)?;
        let start = Start {
            private_cgroups: true,
            ..Start::default()
        };
        let agent =
            Agent::serve_cluster(&own, &start, "Resources", "FreezeContainer,ThawContainer")?;
        self.check_state(&agent, true)?;
        self.click(&agent, "freezeContainer")?;
        self.check_state(&agent, false)?;
        self.click(&agent, "thawContainer")?;
        self.check_state(&agent, true)?;
        until_it_holds(|| {
            let report = agent.report()?;
            let written = server.written();
            ensure!(
                written.len() >= 2,
                "two clicks left {} records, with {} pods reported",
                written.len(),
                report.nodes("Pod").len()
            );
            Ok(())
        })
    }

    fn click(&self, agent: &Agent, control: &str) -> anyhow::Result<()> {
        until_it_holds(|| {
            let answer = agent.click(&self.container.node_id(), control)?;
            ensure!(
                answer["value"]["phase"] == "Succeeded",
                "{control} was answered with {answer}"
            );
            Ok(())
        })
    }

    fn check_state(&self, agent: &Agent, runs: bool) -> anyhow::Result<()> {
        until_it_holds(|| {
            let report = agent.report()?;
            let frozen = self.container.cgroup.number("cgroup.events", "frozen")?;
            ensure!((frozen == 0) == runs, "the kernel says frozen {frozen}");
            let id = self.container.node_id();
            let state = report.latest("Container", &id, "docker_container_state")?;
            let expected = if runs { "running" } else { "paused" };
            ensure!(state == expected, "{id} is {state}, not {expected}");
            let millicores = report.metric("Container", &id, MILLICORES)?;
            ensure!(
                (millicores > 0.0) == runs,
                "{id} uses {millicores} millicores, with frozen {frozen}"
            );
            Ok(())
        })
    }
}
