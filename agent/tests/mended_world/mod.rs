//! Two nodes of a cluster with a CRI runtime, an agent on each, and a Scope that looks at them, all
//! in simulated time.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scope_agent::Collectors;
use scope_agent::attribution::{
    ContainerUsage, Cpu, Disk, Figures, HostUsage, Memory, Network, Pressure, ProcessTotals,
    ProcessUsage, Stalled, Usage, Waiting,
};
use scope_agent::catalogue::ORIGINS;
use scope_agent::collect::{
    Contents, ControlNames, Cycle, Mend, Settings, Share, Traffic, metric, render,
};
use scope_agent::container_control::SparedPods;
use scope_agent::control::{active_on_network, controls_report};
use scope_agent::http_rates::{Class, HttpRates, HttpSeen, HttpUsage};
use scope_agent::inventory::{Inventory, VolumeKind};
use scope_agent::sample::{Mode, Problems, ProcessName, Runtime as NodeRuntime};
use scope_agent::serve::{Demand, Turns};
use scope_agent::traffic::{Button, Features, Root, Seen};
use scope_agent::volumes::{Standing, VolumeUse, VolumeUses};
use scope_crds::Control;
use scope_emulator::truth::{Container, ContainerState, Controller, Host, Namespace, Pod, Process};
use scope_emulator::{Ask, Kind, ProbeSetup, Runtime, Script, ScriptedClick, World};
use scope_protocol::{Timestamp, Topology, encode};

use crate::made_node::inventory::{inventory, owner, pod, used, with_volumes};
use crate::made_node::{MIB, id, uid};

pub const PLUGIN: &str = "nm";

/// How it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub runtime: Runtime,
    /// Milliseconds by which the clocks of the two nodes are ahead of the app's.
    pub skew: [i64; 2],
    /// Milliseconds by which the probes begin after one another, and the agents' ticks.
    pub phase: u64,
    pub spy: Duration,
    pub publish: Duration,
    /// What the reports have to go out in, as soon as it is known how often the probes ask: on a large
    /// node. Whole if `None`, as on a small one.
    pub cycle: Option<Cycle>,
    /// What the agents collect.
    pub collectors: Collectors,
}

/// Scope's defaults.
pub fn usual() -> Case {
    Case {
        runtime: Runtime::Cri,
        skew: [0, 0],
        phase: 0,
        spy: Duration::from_secs(1),
        publish: Duration::from_secs(3),
        cycle: None,
        collectors: Collectors::default(),
    }
}

/// What is on a node and may change.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// Containers by ID, with the IDs of their pods and the pids of their processes.
    pub containers: BTreeMap<String, (String, Vec<u32>)>,
    pub frozen: BTreeSet<String>,
    pub docker: bool,
    /// What is set on the networks of pods, where the agent looks at them.
    pub traffic: Option<(Features, BTreeMap<Arc<str>, Root>)>,
    /// The buttons that the agent names; a few if `None`.
    pub offered: Option<ControlNames>,
}

pub type Shared = Arc<Mutex<Running>>;

/// An agent without its threads and sockets: it looks at the node in its own rhythm, and what it
/// then has is what a probe gets.
struct Agent {
    host: &'static str,
    known: Inventory,
    running: Shared,
    cycle: Option<Cycle>,
    traffic: Option<Traffic>,
    collectors: Collectors,
    next: Option<SystemTime>,
    phase: Duration,
    turns: Turns,
    published: u64,
    body: Vec<u8>,
    contents: Contents,
    /// Who had asked when the body was made.
    copies: Vec<Arc<str>>,
    demand: Demand,
    /// One moment on the agent's two clocks.
    clocks: (SystemTime, Instant),
}

/// Requests and ticks until the agent has to know how often it is asked.
const KNOWN: u64 = 20;

const CADENCE: Duration = Duration::from_secs(1);

fn lock(running: &Shared) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    fn tick(&mut self, at: SystemTime) {
        let number = self.turns.next(self.published, self.demand.seen_by_all());
        let pace = self.demand.pace().filter(|_| self.cycle.is_some());
        let cycle = pace.and_then(|pace| Cycle::at(pace.max(CADENCE)));
        assert!(cycle == self.cycle || self.published < KNOWN, "{cycle:?}");
        let Running {
            traffic: looked,
            offered,
            ..
        } = lock(&self.running).clone();
        let features = looked.as_ref().map(|(features, _)| features);
        let names = offered.unwrap_or_else(|| names(features));
        self.traffic = looked.map(|(features, roots)| {
            let seen = Seen {
                roots,
                ..Seen::default()
            };
            Traffic::new(&features, &seen, &BTreeMap::new(), self.traffic.as_ref())
        });
        let settings = Settings {
            plugin_id: PLUGIN.into(),
            label: "Node metrics".into(),
            description: None,
            host: self.host.into(),
            collectors: self.collectors,
            mend: Mend::Auto,
            cadence: CADENCE,
            controls: names,
            spared: SparedPods::default(),
            traffic: self.traffic.clone(),
            totals: None,
            share: match cycle {
                Some(cycle) => Share::Turn { number, cycle },
                None => Share::Whole,
            },
        };
        let (known, usage) = self.look(at);
        self.contents = render(&usage, Mode::Cluster(&known), &settings, &mut self.body);
        self.published += 1;
        self.copies = self.demand.probes_for_copies_at(self.monotonic(at));
    }

    fn monotonic(&self, at: SystemTime) -> Instant {
        let (wall, monotonic) = self.clocks;
        monotonic + at.duration_since(wall).unwrap_or_default()
    }

    fn look(&self, at: SystemTime) -> (Inventory, Usage) {
        let running = lock(&self.running);
        let mut known = self.known.clone();
        for pod in known.pods.values_mut() {
            pod.containers
                .retain(|id, _| running.containers.contains_key(id));
            for container in pod.containers.values_mut().filter(|_| running.docker) {
                container.runtime = "docker".into();
            }
        }
        let containers = running.containers.iter().map(|(id, (pod, pids))| {
            let usage = ContainerUsage {
                pod: Some(pod.as_str().into()),
                runtime: Some(NodeRuntime::Containerd),
                frozen: Some(running.frozen.contains(id)),
                frozen_changed: false,
                figures: figures(false, pids.len() as u64),
            };
            (Arc::from(id.as_str()), usage)
        });
        let processes = running.containers.iter().flat_map(|(id, (pod, pids))| {
            pids.iter().map(move |&pid| ProcessUsage {
                pid,
                name: ProcessName::default(),
                container: Some(id.as_str().into()),
                pod: Some(pod.as_str().into()),
                cpu: None,
                rss: 1,
                threads: 1,
            })
        });
        let usage = Usage {
            at: Timestamp::from(at),
            interval: Some(CADENCE),
            host: HostUsage {
                cpus: Some(2),
                memory_total: Some(4 << 30),
                waiting: Some(Waiting {
                    io: 12.5,
                    idle: 50.0,
                }),
                ..HostUsage::default()
            },
            pods: running
                .containers
                .values()
                .map(|(pod, pids)| (pod.as_str().into(), figures(true, pids.len() as u64)))
                .collect(),
            containers: containers.collect(),
            processes: processes.collect(),
            volumes: Arc::new(VolumeUses::from([(
                uid('1'),
                [
                    ("cache".to_owned(), used(3)),
                    (
                        "data".to_owned(),
                        VolumeUse {
                            standing: Standing::Silent,
                            ..used(70)
                        },
                    ),
                ]
                .into(),
            )])),
            http: served(&running),
            problems: Problems::default(),
        };
        (known, usage)
    }
}

impl Script for Agent {
    fn report(&mut self, ask: &Ask) -> Result<Vec<u8>, String> {
        let begin = || {
            let second = ask
                .now
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs();
            UNIX_EPOCH + Duration::from_secs(second - 1) + self.phase
        };
        let mut next = match self.next {
            Some(next) => next,
            None => {
                let begin = begin();
                self.clocks.0 = begin;
                begin
            }
        };
        while next <= ask.now {
            self.tick(next);
            next += CADENCE;
        }
        self.next = Some(next);
        let now = self.monotonic(ask.now);
        let (id, published) = (&*ask.probe_id, self.published);
        self.demand.asked_at(Some(id), published, now);
        Ok(match self.copies.iter().any(|copy| **copy == *id) {
            true => self.contents.slots.fill(&self.body, &ask.probe_id),
            false => self.body.clone(),
        })
    }
}

/// The first container of each node serves, by its first process.
fn served(running: &Running) -> HttpUsage {
    let Some((id, (pod, pids))) = running.containers.iter().next() else {
        return HttpUsage::default();
    };
    let rates = HttpRates {
        requests: Some(12.5),
        classes: [Some(9.5), None, Some(0.0), Some(3.0)],
        codes: vec![(200, 9.5), (503, 2.5), (599, 0.5)],
        others: 0.25,
        errors: Some(24.0),
        http2: 0.0,
    };
    HttpUsage {
        processes: [(pids[0], rates.clone())].into(),
        containers: [(id.as_str().into(), rates.clone())].into(),
        pods: [(pod.as_str().into(), rates)].into(),
        seen: HttpSeen {
            requests: true,
            classes: [Class::Success, Class::ClientError, Class::ServerError].into(),
            codes: [200, 404, 503, 599].into(),
            others: true,
            http2: false,
        },
        counted: true,
        said: None,
    }
}

/// All there is on a container or a pod, always the same.
fn figures(of_pod: bool, processes: u64) -> Figures {
    let stalled = Some(Stalled {
        some: 1.5,
        full: Some(0.5),
    });
    Figures {
        cpu: Some(Cpu {
            millicores: 100.0,
            percent: Some(5.0),
        }),
        memory: Some(Memory {
            working_set: 5 * MIB,
            limit: Some(64 * MIB),
        }),
        processes: Some(ProcessTotals {
            count: processes,
            threads: processes,
            rss: MIB,
        }),
        files: Some(7),
        disk: Some(Disk {
            read: 1.0,
            written: 2.0,
        }),
        network: of_pod.then_some(Network {
            received: 3.0,
            sent: 4.0,
        }),
        throttled: Some(1.0),
        cpu_limit_use: Some(10.0),
        memory_limit_use: Some(8.0),
        pressure: Pressure {
            cpu: stalled,
            memory: stalled,
            io: stalled,
        },
        block_delay: Some(1.0),
        oom_kills: of_pod.then_some(1),
    }
}

/// How many metrics a container and a pod have.
pub fn metrics_of(kind: Kind) -> usize {
    let topology = match kind {
        Kind::Container => Topology::Container,
        _ => Topology::Pod,
    };
    ORIGINS
        .iter()
        .filter(|origin| {
            let collectors = metric::collectors_of(origin.metric);
            origin.nodes.contains(&topology)
                && collectors.is_none_or(|of| Collectors::default().has_any(of))
        })
        .count()
}

fn names(features: Option<&Features>) -> ControlNames {
    let names = |controls: &[&str]| {
        let names = controls.iter();
        names
            .map(|control| format!("{PLUGIN}-controls~{control}"))
            .collect()
    };
    ControlNames {
        pod: names(&["deletePod"]),
        container: names(&["freezeContainer", "restartContainer"]),
        frozen_container: names(&["thawContainer"]),
        network: features.map_or(Vec::new(), |features| {
            let buttons = active_on_network(&BTreeSet::from(Control::ALL), features);
            let ids: Vec<&str> = buttons.into_iter().map(Button::id).collect();
            names(&ids)
        }),
        ..ControlNames::default()
    }
}

pub const NODES: [&str; 2] = ["node1", "node2"];

/// The controls socket of a node's agent; it only notes what is clicked.
struct Controls {
    host: &'static str,
    clicks: Clicks,
}

/// Clicks that came, with the node whose agent got them.
pub type Clicks = Arc<Mutex<Vec<(&'static str, ScriptedClick)>>>;

impl Script for Controls {
    fn report(&mut self, _: &Ask) -> Result<Vec<u8>, String> {
        let report = controls_report(PLUGIN, "Node metrics", &BTreeSet::from(Control::ALL));
        let mut body = Vec::new();
        encode(&report, &mut body);
        Ok(body)
    }

    fn control(&mut self, _: &Ask, click: &ScriptedClick) -> Result<Vec<u8>, String> {
        let mut clicks = self.clicks.lock().unwrap();
        clicks.push((self.host, click.clone()));
        Ok(b"{}".to_vec())
    }
}

/// A cluster with Scope.
pub struct Cluster {
    pub world: World,
    pub clicks: Clicks,
    /// What runs on each node.
    pub running: [Shared; 2],
}

/// Pods by what they are of: web a Deployment's on node1 with two containers, backup a CronJob's on
/// node1 with one, log a DaemonSet's on node2 with one, on the node's network.
pub fn cluster(case: Case) -> Cluster {
    let mut web = pod(
        &uid('1'),
        "web-5d-x",
        &[(&id('b'), "app"), (&id('c'), "sidecar")],
    );
    web.owners = vec![
        owner(Topology::ReplicaSet, "rs-uid", "web-5d"),
        owner(Topology::Deployment, "deploy-uid", "web"),
    ];
    let web = with_volumes(
        web,
        &[
            ("cache", VolumeKind::EmptyDirInMemory),
            ("scratch", VolumeKind::EmptyDir),
            ("data", VolumeKind::Claim),
        ],
    );
    let mut backup = pod(&uid('2'), "backup-1-y", &[(&id('d'), "dump")]);
    backup.owners = vec![
        owner(Topology::Job, "job-uid", "backup-1"),
        owner(Topology::CronJob, "cron-uid", "backup"),
    ];
    let mut log = pod(&uid('3'), "log-z", &[(&id('e'), "tail")]);
    log.owners = vec![owner(Topology::DaemonSet, "daemon-uid", "log")];
    log.host_network = true;
    cluster_of(case, [inventory([web, backup]), inventory([log])])
}

/// A cluster in which this runs.
pub fn cluster_of(case: Case, known: [Inventory; 2]) -> Cluster {
    let running = known.each_ref().map(|known| {
        let mut pid = 100;
        let mut containers = BTreeMap::new();
        for pod in known.pods.values() {
            for id in pod.containers.keys() {
                pid += 10;
                containers.insert(id.clone(), (pod.id.clone(), vec![pid, pid + 1]));
            }
        }
        Arc::new(Mutex::new(Running {
            containers,
            docker: case.runtime == Runtime::Docker,
            ..Running::default()
        }))
    });

    let clicks = Clicks::default();
    let mut world = World::default();
    tell_truth(&world, &known, &running);
    for (n, (node, known)) in NODES.into_iter().zip(known).enumerate() {
        let phase = Duration::from_millis(case.phase * n as u64);
        let agent = Agent {
            host: node,
            known,
            running: running[n].clone(),
            cycle: case.cycle,
            traffic: None,
            collectors: case.collectors,
            next: None,
            phase: Duration::from_millis(case.phase * 7 % 1000),
            turns: Turns::default(),
            published: 0,
            body: Vec::new(),
            contents: Contents::default(),
            copies: Vec::new(),
            demand: Demand::new(),
            clocks: (UNIX_EPOCH, Instant::now()),
        };
        world.add_plugin(node, &format!("{PLUGIN}/{PLUGIN}.sock"), agent);
        let controls = Controls {
            host: node,
            clicks: clicks.clone(),
        };
        world.add_plugin(node, &format!("{PLUGIN}/{PLUGIN}-controls.sock"), controls);
        let setup = |setup: ProbeSetup| {
            setup
                .skew_millis(case.skew[n])
                .runtime(case.runtime)
                .spy_every(case.spy)
                .publish_every(case.publish)
        };
        world.add_probe(setup(ProbeSetup::host(node)).phase(phase));
        if n == 0 {
            // As Scope's manifests place it: some node has both.
            let phase = Duration::from_millis(case.phase * 2);
            world.add_probe(setup(ProbeSetup::cluster(node)).phase(phase));
        }
    }
    Cluster {
        world,
        clicks,
        running,
    }
}

impl Cluster {
    /// A container of a node ends.
    pub fn stop(&mut self, node: usize, id: &str) {
        let (_, pids) = lock(&self.running[node]).containers.remove(id).unwrap();
        let mut truth = self.world.truth();
        let host = truth.hosts.get_mut(NODES[node]).unwrap();
        host.processes
            .retain(|process| !pids.contains(&process.pid));
        let container = host.containers.iter_mut().find(|c| c.id == id).unwrap();
        container.state = ContainerState::Exited;
    }

    /// A container of a node is frozen, or thaws.
    pub fn freeze(&mut self, node: usize, id: &str, frozen: bool) {
        let mut running = lock(&self.running[node]);
        match frozen {
            true => running.frozen.insert(id.to_owned()),
            false => running.frozen.remove(id),
        };
    }
}

fn tell_truth(world: &World, known: &[Inventory; 2], running: &[Shared; 2]) {
    let mut truth = world.truth();
    for (n, node) in NODES.into_iter().enumerate() {
        let mut host = Host::default();
        for pod in known[n].pods.values() {
            let app = pod.owners.last().map_or(&pod.name, |owner| &owner.name);
            let mut of_truth =
                Pod::new(&pod.id, &pod.namespace, &pod.name, node).labelled("app", app);
            of_truth.host_network = pod.host_network;
            for owner in &pod.owners {
                let kind = match owner.topology {
                    Topology::Deployment => Kind::Deployment,
                    Topology::DaemonSet => Kind::DaemonSet,
                    Topology::StatefulSet => Kind::StatefulSet,
                    // Others are not listed, or their pods are not found.
                    _ => continue,
                };
                let controller = Controller::new(kind, &owner.uid, &pod.namespace, &owner.name);
                let controller = controller.selecting("app", app);
                if !truth.controllers.contains(&controller) {
                    truth.controllers.push(controller);
                }
            }
            for (id, container) in &pod.containers {
                let mut of_truth = Container::of_pod(id, &container.name, &of_truth);
                of_truth.image_id = format!("sha256:{}", container.image_id);
                of_truth.image_name = container.image.clone();
                host.containers.push(of_truth);
                for &pid in &lock(&running[n]).containers[id].1 {
                    host.processes.push(Process {
                        pid,
                        name: container.name.clone(),
                        ..Process::default()
                    });
                }
            }
            truth.pods.push(of_truth);
        }
        host.processes.push(Process {
            pid: 7,
            name: "kubelet".into(),
            ..Process::default()
        });
        truth.hosts.insert(node.to_owned(), host);
    }
    truth.namespaces.push(Namespace {
        uid: "demo-uid".into(),
        name: "demo".into(),
        ..Namespace::default()
    });
}
