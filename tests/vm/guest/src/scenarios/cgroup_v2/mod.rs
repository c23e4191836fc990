//! The agent on a machine that has cgroup version 2 only, as all newer ones do.

mod busy;
mod frozen;
mod killed;
mod network;
mod private;
mod waiting;

use anyhow::ensure;

use super::step;
use crate::agent;
use crate::cgroup::Cgroup;
use crate::pod::Driver;
use busy::Busy;
use frozen::Frozen;
use killed::Killed;
use network::Linked;
use private::Private;
use waiting::Waiting;

const CPU: &str = "docker_cpu_total_usage";
const MEMORY: &str = "docker_memory_usage";
const MILLICORES: &str = "cpu_millicores";
const CPU_LIMIT_USE: &str = "cpu_limit_use";
const MEMORY_LIMIT_USE: &str = "memory_limit_use";
const THROTTLED: &str = "cpu_throttled";
const CPU_PRESSURE: [&str; 2] = ["psi_cpu_some", "psi_cpu_full"];
const MEMORY_PRESSURE: [&str; 2] = ["psi_memory_some", "psi_memory_full"];
const IO_PRESSURE: [&str; 2] = ["psi_io_some", "psi_io_full"];
const RECEIVED: &str = "network_rx";
const SENT: &str = "network_tx";
const DISK_READ: &str = "disk_read";
const DISK_WRITTEN: &str = "disk_write";
const BLOCK_DELAY: &str = "block_io_delay";
const OOM_KILLS: &str = "oom_kills";
/// As many as the host gives this scenario.
const CPUS: f64 = 2.0;

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
    let linked = Linked::start(Driver::Systemd, 3)?;

    step("CPU, memory, limits, parents, network: a report without an agent");
    for busy in &busy {
        busy.check(&mut agent::look_around)?;
    }
    linked.check(&mut agent::look_around)?;

    step("the same from an agent with its own namespace of cgroups");
    let private = Private::start(Driver::Systemd, 4)?;
    for busy in &busy {
        busy.check(&mut || private.agent.report())?;
    }
    linked.check(&mut || private.agent.report())?;
    step("its own container and its neighbour there");
    private.check()?;

    step("containers that wait for a disk");
    Waiting::start(Driver::Systemd, 7)?.check(&private.agent)?;

    step("a container that is frozen and thawed");
    let frozen = Frozen::start(Driver::Systemd, 5)?;
    frozen.check(&private.agent)?;

    step("the same by clicks, in a cluster");
    frozen.check_clicks(&private.pod)?;

    step("a container that outgrows its memory and is killed");
    Killed::start(Driver::Systemd, 6)?.check(&private.agent)
}
