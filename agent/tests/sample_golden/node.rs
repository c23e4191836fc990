//! The node of the golden reports.

use std::sync::Arc;
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::attribution::attribute;
use scope_agent::collect::{self, ControlNames, Mend, Settings, Share};
use scope_agent::container_control::SparedPods;
use scope_agent::http_rates::{Class as HttpClass, HttpRates, HttpSeen, HttpUsage};
use scope_agent::inventory::{Inventory, NodeObject, VolumeKind};
use scope_agent::sample::Mode;
use scope_agent::volumes::{Standing, VolumeUse, VolumeUses};
use scope_protocol::{Topology, encode};

use crate::made_node::inventory::{inventory, owner, pod, used, with_volumes};
use crate::made_node::{Cgroup, Class, Further, Layout, MIB, MadeNode, Process, id, uid};

/// A Deployment's pod with two containers and one of a DaemonSet on the node's network.
pub(crate) struct Golden {
    pub(crate) node: MadeNode,
    /// Paths of the cgroups of the first pod and its containers.
    pub(crate) web: String,
    pub(crate) app: String,
    sidecar: String,
    log: String,
    tail: String,
}

impl Golden {
    pub(crate) fn new(layout: Layout) -> Self {
        let node = MadeNode::new(layout);
        let (web, log) = (uid('1'), uid('2'));
        let container = |class, pod, digit| node.container_path(class, pod, &id(digit));
        Golden {
            web: node.pod_path(Class::Burstable, &web),
            app: container(Class::Burstable, &web, 'b'),
            sidecar: container(Class::Burstable, &web, 'c'),
            log: node.pod_path(Class::Guaranteed, &log),
            tail: container(Class::Guaranteed, &log, 'd'),
            node,
        }
    }

    fn inventory(&self) -> Inventory {
        let mut web = pod(
            &uid('1'),
            "web-5d-x",
            &[(&id('b'), "app"), (&id('c'), "sidecar")],
        );
        web.owners = vec![
            owner(Topology::ReplicaSet, "rs-uid", "web-5d"),
            owner(Topology::Deployment, "deploy-uid", "web"),
        ];
        let volumes = [
            ("cache", VolumeKind::EmptyDirInMemory),
            ("settings", VolumeKind::ConfigMap),
            ("data", VolumeKind::Claim),
        ];
        let mut web = with_volumes(web, &volumes);
        // The sidecar has not all of them.
        if let Some(sidecar) = web.containers.get_mut(&id('c')) {
            sidecar.volumes.truncate(2);
        }
        let mut log = pod(&uid('2'), "log-z", &[(&id('d'), "tail")]);
        log.owners = vec![owner(Topology::DaemonSet, "daemon-uid", "log")];
        log.host_network = true;
        let log = with_volumes(
            log,
            &[("logs", VolumeKind::HostPath), ("disk", VolumeKind::Claim)],
        );
        let mut inventory = inventory([web, log]);
        inventory.node = Some(Arc::new(NodeObject {
            kubelet: "v1.31.2".into(),
            labels: [("zone".into(), "a".into())].into(),
            allocatable: [("pods".into(), "110".into())].into(),
            ..NodeObject::default()
        }));
        inventory
    }

    /// Writes the node as it is after so many seconds. The last container uses most, and so ends
    /// the scales.
    fn write(&self, seconds: u64) {
        let node = &self.node;
        for (path, share, limited) in [
            (&self.web, 3, true),
            (&self.app, 2, true),
            (&self.sidecar, 1, false),
            (&self.log, 8, true),
            (&self.tail, 8, true),
        ] {
            let further = Further {
                read: 1_000_000 + 40_000 * share * seconds,
                written: 2_000_000 + 5_000 * share * seconds,
                periods: 100 + 10 * seconds,
                throttled: 50 + share * seconds,
                quota: limited.then_some(50_000 * share),
                waited: 700_000 + 20_000 * share * seconds,
                oom_kills: share,
                frozen: false,
            };
            node.cgroup(
                path,
                Cgroup {
                    cpu_ns: 7_000_000_000 + 50_000_000 * share * seconds,
                    usage: (10 + share) * MIB,
                    limit: limited.then_some(64 * MIB),
                    further,
                    ..Cgroup::default()
                },
            );
        }
        for (pid, path, share) in [
            (100, &self.app, 2),
            (101, &self.sidecar, 1),
            (102, &self.tail, 8),
        ] {
            node.process(pid, path, &process(share, seconds));
            node.network(pid, u64::from(pid), 10_000 * seconds, 1_000 * seconds);
        }
        node.cpu_times(1000 + 60 * seconds, 5000 + 100 * seconds, 10 + 40 * seconds);
        node.host_waits(100_000 * seconds);
    }

    /// The first process serves, and its container and pod with it.
    fn served() -> HttpUsage {
        let rates = HttpRates {
            requests: Some(12.5),
            classes: [Some(8.0), Some(0.0), Some(1.5), Some(2.5)],
            codes: vec![(200, 8.0), (404, 1.5), (503, 2.5)],
            others: 0.5,
            errors: Some(20.0),
            http2: 0.25,
        };
        HttpUsage {
            processes: [(100, rates.clone())].into(),
            containers: [(id('b').into(), rates.clone())].into(),
            pods: [(uid('1').into(), rates)].into(),
            seen: HttpSeen {
                requests: true,
                classes: HttpClass::ALL.into(),
                codes: [200, 404, 503].into(),
                others: true,
                http2: true,
            },
            counted: true,
            said: None,
        }
    }

    /// The body of the second of two reports; the node is changed before its sample.
    pub(crate) fn report(&self, change: impl Fn(&Golden)) -> Vec<u8> {
        self.report_of(Collectors::ALL, change)
    }

    /// The same by an agent with these collectors.
    pub(crate) fn report_of(&self, collectors: Collectors, change: impl Fn(&Golden)) -> Vec<u8> {
        let known = self.inventory();
        let mode = Mode::Cluster(&known);
        let mut sampler = self.node.sampler();
        self.write(0);
        let first = sampler.take(mode);
        self.node.pass(Duration::from_secs(1));
        self.write(1);
        change(self);
        let second = sampler.take(mode);
        let mut usage = attribute(Some(&first), &second, mode);
        let stale = VolumeUse {
            standing: Standing::Silent,
            ..used(70)
        };
        usage.volumes = Arc::new(VolumeUses::from([
            (
                uid('1'),
                [("cache".to_owned(), used(3)), ("data".to_owned(), stale)].into(),
            ),
            (uid('2'), [("disk".to_owned(), used(42))].into()),
        ]));
        usage.http = Golden::served();
        let settings = Settings {
            plugin_id: "golden".into(),
            label: "Golden".into(),
            description: Some("As checked in.".into()),
            host: "node1".into(),
            collectors,
            mend: Mend::Always,
            cadence: Duration::from_secs(1),
            controls: ControlNames::default(),
            spared: SparedPods::default(),
            traffic: None,
            totals: None,
            share: Share::Whole,
        };
        let mut body = Vec::new();
        encode(&collect::report(&usage, mode, &settings), &mut body);
        body
    }
}

/// A process that uses so much.
pub(crate) fn process(share: u64, seconds: u64) -> Process {
    Process {
        ticks: 500 + 5 * share * seconds,
        rss_pages: 100 * share,
        threads: share,
        delay_ticks: 10 + share * seconds,
        files: 2 * share,
        ..Process::default()
    }
}
