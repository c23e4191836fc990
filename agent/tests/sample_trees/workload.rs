//! What runs on the made nodes.

use std::time::Duration;

use scope_agent::attribution::{Cpu, Usage, attribute};
use scope_agent::inventory::Inventory;
use scope_agent::sample::{Cause, Datum, Mode, Sample, Sampler};

use crate::made_node::inventory::{inventory, pod};
use crate::made_node::{Cgroup, Class, Layout, MIB, MadeNode, Process, id, uid};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One pod of two containers and its pause container, one guaranteed pod, one process of the host.
pub(crate) struct Workload {
    pub(crate) web: String,
    pub(crate) app: String,
    pub(crate) sidecar: String,
    pub(crate) pause: String,
    pub(crate) solo: String,
    pub(crate) solo_app: String,
}

impl Workload {
    pub(crate) fn new() -> Self {
        Workload {
            web: uid('1'),
            app: id('b'),
            sidecar: id('c'),
            pause: id('d'),
            solo: uid('2'),
            solo_app: id('e'),
        }
    }

    pub(crate) fn inventory(&self) -> Inventory {
        inventory([
            pod(
                &self.web,
                "web-0",
                &[(&self.app, "app"), (&self.sidecar, "sidecar")],
            ),
            pod(&self.solo, "solo", &[(&self.solo_app, "main")]),
        ])
    }

    /// Writes the node as it is after so many seconds of steady work: `app` uses 250 millicores,
    /// the pod 400 of which 100 by what has ended, `solo` 50.
    pub(crate) fn write(&self, node: &MadeNode, seconds: u64) {
        let web = node.pod_path(Class::Burstable, &self.web);
        let solo = node.pod_path(Class::Guaranteed, &self.solo);
        let at = |id: &str| node.container_path(Class::Burstable, &self.web, id);
        let millicores = |n: u64| 7_000_000_000 + n * seconds * 1_000_000;

        let cgroup = Cgroup {
            cpu_ns: millicores(400),
            usage: 20 * MIB,
            ..Cgroup::default()
        };
        node.cgroup(&web, cgroup);
        let limit = Some(64 * MIB);
        node.cgroup(
            &at(&self.app),
            Cgroup {
                cpu_ns: millicores(250),
                limit,
                ..Cgroup::default()
            },
        );
        node.cgroup(
            &at(&self.sidecar),
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );
        node.cgroup(&at(&self.pause), Cgroup::default());
        node.cgroup(
            &solo,
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );
        let solo_app = node.container_path(Class::Guaranteed, &self.solo, &self.solo_app);
        node.cgroup(
            &solo_app,
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );

        let process = |threads, ticks_per_second| Process {
            threads,
            ticks: 500 + ticks_per_second * seconds,
            ..Process::default()
        };
        node.process(100, &at(&self.pause), &process(1, 0));
        node.network(100, 7, 1_000_000 + 2_000 * seconds, 50_000 + 300 * seconds);
        node.process(110, &at(&self.app), &process(4, 20));
        node.process(
            111,
            &format!("{}/nested/child", at(&self.app)),
            &process(2, 4),
        );
        node.process(120, &at(&self.sidecar), &process(1, 5));
        node.process(130, &solo_app, &process(3, 5));
        node.network(130, 1, 9_000_000 + 100_000 * seconds, 9_000_000);
        node.process_at(4242, own_lines(node), &process(1, 1));
        node.network(4242, 1, 9_000_000, 9_000_000);
        let kernel = Process {
            flags: 0x20_8040,
            ..Process::default()
        };
        node.process_at(2, own_lines(node), &kernel);
        node.host_ticks(1000 + 60 * seconds);
    }
}

/// A process in no container.
pub(crate) fn own_lines(node: &MadeNode) -> &'static str {
    match node.layout {
        Layout::V2Namespaced => "0::/../../../system.slice/agent.service\n",
        Layout::V2Systemd | Layout::V2Cgroupfs => "0::/system.slice/agent.service\n",
        _ => "4:memory:/system.slice/agent.service\n2:cpu,cpuacct:/\n0::/\n",
    }
}

/// Two samples, a second apart.
pub(crate) fn twice(
    node: &MadeNode,
    sampler: &mut Sampler,
    mode: Mode<'_>,
    mut write: impl FnMut(u64),
) -> (Sample, Usage) {
    write(0);
    let first = sampler.take(mode);
    node.pass(SECOND);
    write(1);
    let second = sampler.take(mode);
    let usage = attribute(Some(&first), &second, mode);
    (second, usage)
}

/// Whether nothing is missing but what the layout has not got.
pub(crate) fn only_gaps(node: &MadeNode, sample: &Sample) -> bool {
    let kinds: Vec<_> = sample.problems.iter().map(|(d, c, _)| (d, c)).collect();
    match node.layout.v2() {
        true => kinds.is_empty(),
        false => kinds == [(Datum::CgroupPressure, Cause::Absent)],
    }
}

pub(crate) fn millicores(cpu: Option<Cpu>) -> Option<f64> {
    // Rounded to what the counters of all layouts can show.
    cpu.map(|cpu| (cpu.millicores * 100.0).round() / 100.0)
}
