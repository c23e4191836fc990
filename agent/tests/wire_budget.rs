//! How large reports become with everything in them: a metric costs about 100 bytes, and Scope's
//! probe pays some 19 ms for each MB that it decodes, every second.

mod made_node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use made_node::inventory::{inventory, owner, pod, used, with_volumes};
use scope_agent::Collectors;
use scope_agent::attribution::{
    ContainerUsage, Cpu, Disk, Figures, HostUsage, Memory, Network, Pressure, ProcessTotals,
    ProcessUsage, Stalled, Usage, Waiting,
};
use scope_agent::collect::{ControlNames, Cycle, Detail, Mend, Settings, Share, render};
use scope_agent::container_control::SparedPods;
use scope_agent::http_rates::{Class, HttpRates, HttpSeen, HttpUsage, MAX_PROCESSES};
use scope_agent::inventory::{Inventory, NodeObject, VolumeKind};
use scope_agent::sample::{Mode, Problems, ProcessName, Runtime};
use scope_agent::totals::{Totals, TotalsBoard, object};
use scope_agent::volumes::VolumeUses;
use scope_crds::Collector;
use scope_protocol::conformance::{Answer, check_report};
use scope_protocol::{Timestamp, Topology};
use scope_totals_wire::{
    Controller, Fate, Kind, MAX_PODLESS, Members, Metric, Object, Podless, Reply, Services, Stamp,
    Total, Uid, VERSION, image_uid,
};

/// Numbers as they come on a busy node: all different, none of them round. The same in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: f64) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64 * end
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits)
            .map(|_| char::from_digit(self.below(16.0) as u32, 16).expect("a digit"))
            .collect()
    }

    fn uid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|digits| self.hex(digits)).join("-")
    }

    fn stalled(&mut self) -> Option<Stalled> {
        let some = self.below(30.0);
        Some(Stalled {
            some,
            full: Some(self.below(some)),
        })
    }

    /// All that there is to be told.
    fn figures(&mut self, of_pod: bool, processes: u64) -> Figures {
        const MIB: f64 = 1_048_576.0;
        let millicores = self.below(400.0);
        Figures {
            cpu: Some(Cpu {
                millicores,
                percent: Some(millicores / 320.0),
            }),
            memory: Some(Memory {
                working_set: self.below(300.0 * MIB) as u64,
                limit: Some((512.0 * MIB) as u64),
            }),
            processes: Some(ProcessTotals {
                count: processes,
                threads: processes * 3,
                rss: self.below(300.0 * MIB) as u64,
            }),
            files: Some(self.below(800.0) as u64),
            disk: Some(Disk {
                read: self.below(1e6),
                written: self.below(1e6),
            }),
            network: of_pod.then(|| Network {
                received: self.below(1e7),
                sent: self.below(1e7),
            }),
            throttled: Some(self.below(20.0)),
            cpu_limit_use: Some(self.below(100.0)),
            memory_limit_use: Some(self.below(100.0)),
            pressure: Pressure {
                cpu: self.stalled(),
                memory: self.stalled(),
                io: self.stalled(),
            },
            block_delay: Some(self.below(50.0)),
            oom_kills: of_pod.then_some(2),
        }
    }
}

/// As pods of a cloud have them: settings, a token, a claim and room for temporary files, which are all
/// but one in both containers.
const VOLUMES: [(&str, VolumeKind); 5] = [
    ("checkout-settings", VolumeKind::ConfigMap),
    ("envoy-certificates", VolumeKind::Secret),
    ("kube-api-access-x7k2p", VolumeKind::Projected),
    ("checkout-data", VolumeKind::Claim),
    ("tmp", VolumeKind::EmptyDirInMemory),
];

/// What the figures of a node are about, as on a large node of a cloud.
struct Node {
    known: Inventory,
    /// Container ID, pod UID.
    containers: Vec<(Arc<str>, Arc<str>)>,
    processes: usize,
}

const HOST: &str = "worker-17.example";

/// The Node object of a large node of a cloud: twenty labels, six conditions.
fn node_object(pods: usize) -> NodeObject {
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut labels = pairs(&[
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", HOST),
        ("kubernetes.io/os", "linux"),
        ("node-role.kubernetes.io/worker", ""),
        ("node.kubernetes.io/instance-type", "m7i.8xlarge"),
        ("topology.kubernetes.io/region", "eu-central-1"),
        ("topology.kubernetes.io/zone", "eu-central-1b"),
    ]);
    for number in 0..13 {
        let key = format!("node.cloud.example.com/capability-{number:02}");
        labels.insert(key, format!("value-of-{number}"));
    }
    NodeObject {
        uid: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".into(),
        kubelet: "v1.31.2-cloud.1502".into(),
        kernel: "6.8.0-1021-cloud".into(),
        system: "Ubuntu 24.04.1 LTS".into(),
        runtime: "containerd://1.7.24".into(),
        architecture: "amd64".into(),
        roles: vec!["worker".into()],
        labels,
        taints: vec!["dedicated=shop:NoSchedule".into()],
        unschedulable: false,
        conditions: pairs(&[
            ("DiskPressure", "False"),
            ("MemoryPressure", "False"),
            ("NetworkUnavailable", "False"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
            ("KernelDeadlock", "True (DockerHung)"),
        ]),
        allocatable: {
            let mut most = pairs(&[
                ("cpu", "31850m"),
                ("ephemeral-storage", "95491281146"),
                ("hugepages-1Gi", "0"),
                ("hugepages-2Mi", "0"),
                ("memory", "125872508Ki"),
            ]);
            most.insert("pods".into(), pods.to_string());
            most
        },
    }
}

impl Node {
    /// With so many pods of each Deployment.
    fn new(pods: usize, processes: usize, each: usize) -> Self {
        let mut noise = Noise(1);
        let mut containers = Vec::new();
        let mut owners = Vec::new();
        let known = (0..pods).map(|n| {
            let uid = noise.uid();
            let ids = [noise.hex(64), noise.hex(64)];
            let name = format!("checkout-{}-{}", noise.hex(10), noise.hex(5));
            let mut pod = pod(
                &uid,
                &name,
                &[(&ids[0], "checkout"), (&ids[1], "envoy-sidecar")],
            );
            if n % each == 0 {
                owners = vec![
                    owner(Topology::ReplicaSet, &noise.uid(), &name[..19]),
                    owner(Topology::Deployment, &noise.uid(), "checkout"),
                ];
            }
            pod.owners = owners.clone();
            let mut pod = with_volumes(pod, &VOLUMES);
            pod.namespace = format!("shop-{}", n % 20);
            for container in pod.containers.values_mut() {
                // Each Deployment has an image of its own, and all have one for the second container.
                let (image, name) = match container.name.as_str() {
                    "checkout" => (n / each, format!("{:07}", n / each)),
                    _ => (usize::MAX, "service".to_owned()),
                };
                container.image = format!("registry.example.com/shop/checkout-{name}:1.24.3");
                container.image_id = format!("{image:064x}");
                container.started = Some(Timestamp::from_unix_micros(1_790_000_000_000_000));
            }
            containers.extend(ids.map(|id| (id.into(), uid.as_str().into())));
            pod
        });
        let mut known = inventory(known.collect::<Vec<_>>());
        known.node = Some(Arc::new(node_object(pods)));
        Node {
            known,
            containers,
            processes,
        }
    }

    /// The first container of every other pod serves, by four processes; most of what it says is one code
    /// of each of three classes.
    fn served(&self, noise: &mut Noise) -> HttpUsage {
        let mut usage = HttpUsage {
            seen: HttpSeen {
                requests: true,
                classes: Class::ALL.into(),
                codes: [200, 204, 302, 304, 400, 404, 500, 503].into(),
                others: true,
                http2: false,
            },
            ..HttpUsage::default()
        };
        let mut rates = || {
            let (good, bad) = (noise.below(800.0), noise.below(2.0));
            HttpRates {
                requests: Some(good + bad),
                classes: [Some(good), None, Some(bad), Some(0.0)],
                codes: vec![(200, good - 1.0), (204, 1.0), (404, bad)],
                others: 0.0,
                errors: Some(0.0),
                http2: 0.0,
            }
        };
        let each = (self.processes / self.containers.len()).max(1);
        for (n, (container, pod)) in self.containers.iter().enumerate().step_by(4) {
            usage.containers.insert(container.clone(), rates());
            usage.pods.insert(pod.clone(), rates());
            for process in (n * each..(n + 1) * each).take(4) {
                let pid = 1_000_000 + process as u32 * 7;
                if usage.processes.len() < MAX_PROCESSES {
                    usage.processes.insert(pid, rates());
                }
            }
        }
        usage
    }

    fn usage(&self, second: u64) -> Usage {
        let mut noise = Noise(second);
        let micros = 1_795_397_680_764_052 + second as i64 * 1_000_003;
        let each = (self.processes / self.containers.len()).max(1);
        let containers = self.containers.iter().map(|(id, pod)| {
            let usage = ContainerUsage {
                pod: Some(pod.clone()),
                runtime: Some(Runtime::Containerd),
                frozen: Some(false),
                frozen_changed: false,
                figures: noise.figures(false, each as u64),
            };
            (id.clone(), usage)
        });
        let containers: BTreeMap<_, _> = containers.collect();
        let pods = self
            .containers
            .iter()
            .map(|(_, pod)| (pod.clone(), noise.figures(true, 20)));
        let pods = pods.collect();
        let pressure = Pressure {
            // Something always runs while something waits for a CPU.
            cpu: noise.stalled().map(|stalled| Stalled {
                full: None,
                ..stalled
            }),
            memory: noise.stalled(),
            io: noise.stalled(),
        };
        let mut volumes = VolumeUses::new();
        for pod in self.known.pods.keys() {
            let mut used = || used(noise.below(100.0) as u64);
            let uses = [("checkout-data", used()), ("tmp", used())];
            let uses = uses.map(|(name, used)| (name.to_owned(), used));
            volumes.insert(pod.clone(), uses.into());
        }
        let processes = (0..self.processes).map(|n| {
            let (container, pod) = &self.containers[n / each % self.containers.len()];
            ProcessUsage {
                pid: 1_000_000 + n as u32 * 7,
                name: ProcessName::default(),
                container: Some(container.clone()),
                pod: Some(pod.clone()),
                cpu: None,
                rss: 1,
                threads: 1,
            }
        });
        Usage {
            at: Timestamp::from_unix_micros(micros),
            interval: Some(Duration::from_secs(1)),
            host: HostUsage {
                cpus: Some(32),
                memory_total: Some(128 << 30),
                pressure,
                waiting: Some(Waiting {
                    io: noise.below(40.0),
                    idle: noise.below(60.0),
                }),
                ..HostUsage::default()
            },
            pods,
            containers,
            processes: processes.collect(),
            volumes: Arc::new(volumes),
            http: self.served(&mut noise),
            problems: Problems::default(),
        }
    }
}

fn names(controls: &[&str]) -> Vec<String> {
    let names = controls.iter();
    names
        .map(|control| format!("node-metrics-controls~{control}"))
        .collect()
}

/// Buttons on pods, to delete them, and on containers.
fn a_few_buttons() -> ControlNames {
    ControlNames {
        pod: names(&["deletePod"]),
        container: names(&["freezeContainer", "restartContainer"]),
        frozen_container: names(&["thawContainer"]),
        ..ControlNames::default()
    }
}

/// These and all others that the operator carries out.
fn all_buttons() -> ControlNames {
    let rollout = [
        "restartRollout",
        "scaleUp",
        "scaleDown",
        "pauseRollout",
        "resumeRollout",
    ];
    ControlNames {
        pod: names(&["deletePod", "evictPod"]),
        deployment: names(&rollout),
        stateful_set: names(&rollout[..3]),
        daemon_set: names(&rollout[..1]),
        cron_job: names(&["suspendCronJob", "resumeCronJob", "triggerCronJob"]),
        host: names(&["cordonNode", "uncordonNode"]),
        ..a_few_buttons()
    }
}

fn settings(share: Share, collectors: Collectors, controls: ControlNames) -> Settings {
    Settings {
        plugin_id: "node-metrics".into(),
        label: "Node metrics".into(),
        description: None,
        host: HOST.into(),
        collectors,
        mend: Mend::Auto,
        cadence: Duration::from_secs(1),
        controls,
        spared: SparedPods::default(),
        traffic: None,
        totals: None,
        share,
    }
}

/// Each Deployment has a Service, as is the rule, and all together have another one.
fn services(node: &Node) -> Vec<Members> {
    let mut services: BTreeMap<Uid, Vec<Uid>> = BTreeMap::new();
    for pod in node.known.pods.values() {
        let uid: Uid = pod.id.parse().expect("a UID");
        let deployments = pod.owners.iter().filter_map(object);
        for one in deployments
            .map(|one| one.uid)
            .chain([Uid::from_bytes([7; 16])])
        {
            let mut of = *one.as_bytes();
            of[0] ^= 0x5a;
            services.entry(Uid::from_bytes(of)).or_default().push(uid);
        }
    }
    let members = |(uid, pods)| Members {
        uid,
        version: 1,
        pods,
    };
    services.into_iter().map(members).collect()
}

/// The totals of all controllers, Services and images with pods on the node, which have ten times as many in the cluster.
fn totals(node: &Node, second: u64, collectors: Collectors, podless: Option<Podless>) -> Totals {
    let board = TotalsBoard::new();
    let (mut noise, now) = (Noise(second / 5), tokio::time::Instant::now());
    let owners = node.known.pods.values().flat_map(|pod| &pod.owners);
    let mut objects: BTreeSet<Object> = owners.filter_map(object).collect();
    let services = services(node);
    objects.extend(services.iter().map(|service| Object {
        kind: Kind::Service,
        uid: service.uid,
    }));
    let containers = node.known.pods.values();
    let containers = containers.flat_map(|pod| pod.containers.values());
    objects.extend(containers.map(|container| Object {
        kind: Kind::Image,
        uid: image_uid(&container.image),
    }));
    let mut value = |metric: Metric| {
        let end = match metric {
            Metric::Millicores => 4000.0,
            Metric::HttpClass(_) | Metric::HttpCode(_) | Metric::HttpRequests => 800.0,
            _ => 3e9,
        };
        (metric, (noise.below(end) * 1000.0).round() / 1000.0)
    };
    let resources = [
        Metric::Millicores,
        Metric::Memory,
        Metric::MemoryLimit,
        Metric::Rss,
        Metric::Threads,
        Metric::Processes,
        Metric::OpenFiles,
        Metric::NetworkReceived,
        Metric::NetworkSent,
        Metric::DiskRead,
        Metric::DiskWritten,
        Metric::BlockDelay,
        Metric::OomKills,
    ];
    let http = [
        Metric::HttpRequests,
        Metric::HttpClass(2),
        Metric::HttpClass(4),
        Metric::HttpClass(5),
        Metric::HttpCode(200),
        Metric::HttpCode(204),
        Metric::HttpCode(404),
    ];
    let http = http
        .into_iter()
        .filter(|_| collectors.has(Collector::HTTPStatistics));
    let metrics: Vec<Metric> = resources.into_iter().chain(http).collect();
    let of_services = [
        Metric::Millicores,
        Metric::Memory,
        Metric::MemoryLimit,
        Metric::HttpRequests,
        Metric::HttpClass(2),
        Metric::HttpClass(4),
        Metric::HttpClass(5),
    ];
    let totals = objects.into_iter().map(|Object { kind, uid }| Total {
        kind,
        uid,
        pods: 40,
        counted: 39,
        cpus: 640,
        memory: 20 * (128 << 30),
        valid_ms: 10_000,
        values: metrics
            .iter()
            .filter(|metric| match kind {
                Kind::Service => of_services.contains(metric),
                Kind::Image => of_services[..2].contains(metric),
                _ => true,
            })
            .map(|&metric| value(metric))
            .collect(),
    });
    let reply = Reply {
        version: VERSION,
        fate: Fate::Taken,
        stamp: Stamp("1-1".into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: 1_795_397_680_764 + (second as i64 / 5) * 5003,
        totals: totals.collect(),
        podless,
        services: Some(Services {
            version: 1,
            valid_ms: 15_000,
            services: Some(services),
        }),
        top: Vec::new(),
    };
    board.replied(reply, Duration::from_secs(5), now);
    board.totals(now)
}

/// Bytes of the body that a probe gets in a tick, and how much of what is known it holds.
fn bytes(
    node: &Node,
    second: u64,
    share: Share,
    collectors: Collectors,
    totals: Option<Totals>,
) -> (usize, Detail) {
    let mut body = Vec::new();
    let mode = Mode::Cluster(&node.known);
    let has_totals = totals.is_some();
    let settings = Settings {
        totals,
        ..settings(share, collectors, all_buttons())
    };
    let contents = render(&node.usage(second), mode, &settings, &mut body);
    let filled = contents.slots.fill(&body, "5bdcc0beddf3c14");
    if second == 0 {
        let answer = Answer::ok(&filled, Duration::ZERO);
        let verdict = check_report("/run/node-metrics/node-metrics.sock", &answer);
        assert!(verdict.conformant(), "{verdict}");
        if share == Share::Whole && contents.detail == Detail::Full {
            let text = String::from_utf8(filled.clone()).expect("JSON");
            for (told, by) in [
                ("kubernetes_node_Kubelet", Collector::Resources),
                ("kubernetes_nodelabel_", Collector::Resources),
                ("psi_io_full", Collector::Resources),
                ("iowait", Collector::IOWait),
                ("volume_count", Collector::VolumeCount),
                ("volumes_checkout-data", Collector::VolumeCount),
                ("volume_use", Collector::VolumeCount),
                ("http_requests_per_second", Collector::HTTPStatistics),
                ("http_404_responses_per_second", Collector::HTTPStatistics),
            ] {
                assert_eq!(text.contains(told), collectors.has(by), "{told}");
            }
            assert_eq!(text.contains("39 of 40"), has_totals);
            let last = ["evictPod", "resumeRollout", "uncordonNode"];
            assert!(last.iter().all(|button| text.contains(button)));
        }
    }
    (filled.len(), contents.detail)
}

/// What Scope's app remembers, at one report a second.
const TICKS: u64 = 15;

/// As of old, and with what may be asked for besides: names and kinds of volumes, whose price is a
/// twentieth, since they take turns as all names do; and HTTP in every second pod, which is another
/// twentieth where nodes are small, half of it templates.
#[test]
fn with_everything_in_it_a_report_keeps_its_budget() {
    let resources = Collectors::default();
    for (pods, processes, collectors, most_mean, most) in [
        (110, 2_000, resources, 375_000, 400_000),
        (110, 2_000, Collectors::ALL, 415_000, 450_000),
        (500, 10_000, resources, 1_700_000, 1_800_000),
        (500, 10_000, Collectors::ALL, 1_805_000, 1_850_000),
    ] {
        let node = Node::new(pods, processes, 4);
        let on: Vec<&str> = collectors.iter().map(Collector::as_str).collect();
        let on = on.join(",");
        for (cycle, pace) in [(Cycle::SECOND, 1), (Cycle::TWO_SECONDS, 2)] {
            let ticks: Vec<usize> = (0..TICKS)
                .map(|number| {
                    let share = Share::Turn { number, cycle };
                    let (bytes, detail) = bytes(&node, number, share, collectors, None);
                    assert_eq!(detail, Detail::Full);
                    bytes
                })
                .collect();
            let mean = ticks.iter().sum::<usize>() / ticks.len();
            let worst = ticks.into_iter().max().unwrap_or_default();
            println!(
                "{pods} pods, {processes} processes, {on}, asked every {pace} s: mean {mean}, worst {worst} bytes"
            );
            // A probe that asks half as often may get twice as much.
            assert!(worst <= most * pace, "{worst} bytes");
            assert!(mean <= most_mean * pace, "{mean} bytes");
        }
        let (whole, detail) = bytes(&node, 0, Share::Whole, collectors, None);
        println!(
            "{pods} pods, {processes} processes, {on}, to everybody else: {whole} bytes, {detail:?}"
        );
        assert!(whole <= 4_000_000);
    }
}

/// Totals take turns as names do, in reports that are not among the largest, so the largest one stays as it is,
/// but for templates: those of Services have half a KB, and 1 KB with HTTP; those of images less than half a KB.
/// Where each pod has a Deployment of its own there is four times as much to be told, and a report is larger
/// without totals already; but of a controller with pods on many nodes only some of them tell.
#[test]
fn totals_of_controllers_keep_the_budget() {
    let resources = Collectors::default();
    for (pods, processes, each, collectors, most_mean, most) in [
        (110, 2_000, 4, resources, 385_000, 400_000),
        (110, 2_000, 4, Collectors::ALL, 430_000, 451_000),
        (110, 2_000, 1, resources, 410_000, 425_000),
        (500, 10_000, 4, resources, 1_730_000, 1_800_000),
    ] {
        let node = Node::new(pods, processes, each);
        for (cycle, pace) in [(Cycle::SECOND, 1), (Cycle::TWO_SECONDS, 2)] {
            let [without, with] = [false, true].map(|with| {
                let ticks: Vec<usize> = (0..TICKS)
                    .map(|number| {
                        let share = Share::Turn { number, cycle };
                        let totals = with.then(|| totals(&node, number, collectors, None));
                        let (bytes, detail) = bytes(&node, number, share, collectors, totals);
                        assert_eq!(detail, Detail::Full);
                        bytes
                    })
                    .collect();
                let mean = ticks.iter().sum::<usize>() / ticks.len();
                (mean, ticks.into_iter().max().unwrap_or_default())
            });
            println!(
                "{pods} pods, {each} of each Deployment, asked every {pace} s: mean {}, worst {} bytes \
                 with totals; mean {}, worst {} without",
                with.0, with.1, without.0, without.1
            );
            assert!(with.1 <= most * pace, "{} bytes", with.1);
            assert!(with.0 <= most_mean * pace, "{} bytes", with.0);
        }
        let totals = totals(&node, 0, collectors, None);
        let (whole, _) = bytes(&node, 0, Share::Whole, collectors, Some(totals));
        assert!(whole <= 4_000_000);
    }
}

/// The buttons go out in turns, as names do. Only of a controller is there a string that would not be there
/// without them, and its name goes out with them instead of more often.
#[test]
fn the_buttons_of_controllers_and_hosts_cost_little() {
    let turns: Vec<Share> = (0..8)
        .map(|number| Share::Turn {
            number,
            cycle: Cycle::SECOND,
        })
        .collect();
    for (pods, processes) in [(110, 2_000), (500, 10_000)] {
        let node = Node::new(pods, processes, 4);
        let mean = |shares: &[Share], controls: ControlNames| -> usize {
            let bytes = shares.iter().zip(0..).map(|(&share, second)| {
                let settings = settings(share, Collectors::default(), controls.clone());
                let mut body = Vec::new();
                let mode = Mode::Cluster(&node.known);
                let contents = render(&node.usage(second), mode, &settings, &mut body);
                contents.slots.fill(&body, "5bdcc0beddf3c14").len()
            });
            bytes.sum::<usize>() / shares.len()
        };
        for (of, shares) in [("a turn", &turns[..]), ("all", &[Share::Whole])] {
            let [none, few, all] = [ControlNames::default(), a_few_buttons(), all_buttons()]
                .map(|controls| mean(shares, controls));
            println!(
                "{of} of {pods} pods: {none} bytes without buttons, {} more for those of pods and \
                 containers, {} more for all others",
                few - none,
                all - few
            );
            assert!((all - few) * 50 < none, "{} of {none} bytes", all - few);
        }
    }
}

/// As many as there may be, with names as charts make them.
fn podless(namespaces: usize) -> Podless {
    let mut noise = Noise(7);
    let mut uid = || noise.uid().parse().expect("a UID");
    let spaces: Vec<_> = (0..namespaces).map(|_| uid()).collect();
    let kinds = [
        Kind::Deployment,
        Kind::CronJob,
        Kind::Deployment,
        Kind::StatefulSet,
    ];
    let controller = |n: usize| Controller {
        kind: kinds[n % kinds.len()],
        uid: uid(),
        name: format!("checkout-service-worker-{n:03}"),
        namespace: format!("preview-of-branch-{:03}", n % namespaces),
        namespace_uid: spaces[n % namespaces],
    };
    Podless {
        version: 1,
        valid_ms: 15_000,
        objects: Some((0..MAX_PODLESS).map(controller).collect()),
        left_out: 0,
    }
}

/// Of a plugin two agents draw what has no pods, in the turns of controls. For as many controllers as there
/// may be, with every button, they spend so much more in the largest turn, the more the more namespaces.
#[test]
fn controllers_without_pods_keep_the_budget() {
    let resources = Collectors::default();
    for (pods, processes, most) in [(110, 2_000, 400_000), (500, 10_000, 1_800_000)] {
        let node = Node::new(pods, processes, 4);
        for (cycle, pace) in [(Cycle::SECOND, 1), (Cycle::TWO_SECONDS, 2)] {
            let ticks = |list: Option<Podless>| -> Vec<usize> {
                let ticks = (1..=TICKS).map(|number| {
                    let share = Share::Turn { number, cycle };
                    let totals = totals(&node, number, resources, list.clone());
                    let (bytes, detail) = bytes(&node, number, share, resources, Some(totals));
                    assert_eq!(detail, Detail::Full);
                    bytes
                });
                ticks.collect()
            };
            let mean = |ticks: &[usize]| ticks.iter().sum::<usize>() / ticks.len();
            let without = ticks(None);
            for (namespaces, more) in [(20, 50_000), (MAX_PODLESS, 70_000)] {
                let with = ticks(Some(podless(namespaces)));
                let worst = with.iter().copied().max().unwrap_or_default();
                println!(
                    "{pods} pods, asked every {pace} s: {MAX_PODLESS} controllers without pods in \
                     {namespaces} namespaces: mean {} more than {}, worst {worst} bytes",
                    mean(&with) - mean(&without),
                    mean(&without),
                );
                assert!(worst <= (most + more) * pace, "{worst} bytes");
            }
        }
    }
}
