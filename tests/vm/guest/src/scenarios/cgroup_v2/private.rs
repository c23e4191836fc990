//! An agent in a container, which on version 2 sees its own control group as the root of all: the
//! paths of others lead out of it, and those of its neighbours do not name their pod.

use anyhow::{Context, ensure};
use throwaway_vm_guest::HOST_NAME;

use crate::agent::Agent;
use crate::measure::until_it_holds;
use crate::pod::{Container, Driver, Pod, Process};
use crate::workload::Start;

pub(super) struct Private {
    pub(super) agent: Agent,
    pub(super) pod: Pod,
    home: Container,
    neighbour: Container,
    neighbouring: Process,
}

impl Private {
    pub(super) fn start(driver: Driver, number: u8) -> anyhow::Result<Private> {
        let pod = Pod::new(driver, number)?;
        let home = pod.container(1)?;
        let neighbour = pod.container(2)?;
        let neighbouring = neighbour.start(&Start::default(), &["rest"])?;
        let start = Start {
            private_cgroups: true,
            ..Start::default()
        };
        let agent = Agent::serve(&home, &start)?;
        let namespace = |pid: &str| {
            let path = format!("/proc/{pid}/ns/cgroup");
            std::fs::read_link(&path).with_context(|| format!("cannot read {path}"))
        };
        ensure!(
            namespace(&agent.pid().to_string())? != namespace("self")?,
            "the agent is in the machine's namespace of cgroups"
        );
        Ok(Private {
            agent,
            pod,
            home,
            neighbour,
            neighbouring,
        })
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        until_it_holds(|| {
            let report = self.agent.report()?;
            for (container, pid) in [
                (&self.home, self.agent.pid()),
                (&self.neighbour, self.neighbouring.pid()),
            ] {
                let id = container.node_id();
                let pods = report.parents("Container", &id, "pod")?;
                ensure!(pods == [self.pod.node_id()], "{id} is in {pods:?}");
                let process = format!("{HOST_NAME};{pid}");
                let of = report.latest("Process", &process, "docker_container_id")?;
                ensure!(of == container.id, "process {process} is in {of}");
            }
            Ok(())
        })
    }
}
