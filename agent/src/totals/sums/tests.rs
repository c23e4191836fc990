use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use scope_protocol::Timestamp;
use scope_totals_wire::{Report, Uid, VERSION};

use super::*;
use crate::attribution::{Cpu, HostUsage};
use crate::http_rates::HttpUsage;
use crate::inventory::Pod;
use crate::sample::Problems;

const CPUS: u32 = 4;
const MEMORY: u64 = 8 << 30;

fn uid(number: u8) -> String {
    Uid::from_bytes([number; 16]).to_string()
}

fn owner(topology: Topology, number: u8) -> Owner {
    Owner {
        topology,
        uid: uid(number),
        name: "x".into(),
    }
}

pub(super) fn pod(id: &str, owners: &[Owner]) -> Pod {
    Pod {
        id: id.into(),
        uid: id.into(),
        namespace: "ns".into(),
        name: id.into(),
        mirror: false,
        grace: None,
        host_network: false,
        ips: Vec::new(),
        containers: BTreeMap::new(),
        stopped: BTreeMap::new(),
        volumes: Vec::new(),
        owners: owners.to_vec(),
    }
}

pub(super) fn inventory(pods: impl IntoIterator<Item = Pod>) -> Inventory {
    Inventory {
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        ..Inventory::default()
    }
}

pub(super) fn usage(pods: &[(&str, Figures)]) -> Usage {
    Usage {
        at: Timestamp::from_unix_micros(0),
        interval: Some(Duration::from_secs(1)),
        host: HostUsage {
            cpus: Some(CPUS),
            memory_total: Some(MEMORY),
            ..HostUsage::default()
        },
        pods: pods
            .iter()
            .map(|(id, used)| (Arc::from(*id), *used))
            .collect(),
        containers: BTreeMap::new(),
        processes: Vec::new(),
        volumes: Arc::default(),
        http: HttpUsage::default(),
        problems: Problems::default(),
    }
}

fn used(millicores: f64) -> Figures {
    Figures {
        cpu: Some(Cpu {
            millicores,
            percent: None,
        }),
        memory: Some(Memory {
            working_set: 1000,
            limit: Some(2000),
        }),
        ..Figures::default()
    }
}

/// What is reported of one object: how many pods, and the values.
fn reported(sums: &Sums, kind: Kind, number: u8) -> Option<(u32, Vec<(Metric, f64)>)> {
    let uid = Uid::from_bytes([number; 16]);
    let mut all = sums.objects.iter();
    let object = all.find(|partial| partial.kind == kind && partial.uid == uid)?;
    Some((object.counted, object.values.iter().collect()))
}

const CPU: Metric = Metric::Millicores;
const MEM: Metric = Metric::Memory;
const LIMIT: Metric = Metric::MemoryLimit;

#[test]
fn pods_count_for_their_controllers_at_any_distance() {
    let of = |topology, number| owner(topology, number);
    let deployment = [of(Topology::ReplicaSet, 9), of(Topology::Deployment, 1)];
    let older = [of(Topology::ReplicaSet, 8), of(Topology::Deployment, 1)];
    let inventory = inventory([
        pod("a", &deployment),
        pod("b", &older),
        pod("c", &[of(Topology::Job, 2), of(Topology::CronJob, 3)]),
        pod("d", &[of(Topology::StatefulSet, 4)]),
        pod("e", &[of(Topology::DaemonSet, 5)]),
        pod("f", &[of(Topology::ReplicaSet, 6)]),
        pod("g", &[]),
    ]);
    let usage = usage(&["a", "b", "c", "d", "e", "f", "g"].map(|id| (id, used(10.0))));
    let sums = sums(&usage, &inventory, Collectors::default(), &[]).expect("measured");
    let one = |cpu| vec![(CPU, cpu), (MEM, 100.0 * cpu), (LIMIT, 200.0 * cpu)];
    for (kind, number, counted) in [
        (Kind::Deployment, 1, 2),
        (Kind::Job, 2, 1),
        (Kind::CronJob, 3, 1),
        (Kind::StatefulSet, 4, 1),
        (Kind::DaemonSet, 5, 1),
    ] {
        let wanted = Some((counted, one(f64::from(counted) * 10.0)));
        assert_eq!(reported(&sums, kind, number), wanted, "{kind:?}");
    }
    assert_eq!(sums.objects.len(), 5, "a ReplicaSet alone has no totals");
    assert_eq!((sums.node.cpus, sums.node.memory), (CPUS, MEMORY));
}

#[test]
fn a_pod_that_was_not_measured_does_not_count_and_spoils_nothing() {
    let set = [owner(Topology::StatefulSet, 1)];
    let other = [owner(Topology::StatefulSet, 2)];
    let inventory = inventory([
        pod("a", &set),
        pod("not found", &set),
        pod("found just now", &set),
        pod("alone", &other),
    ]);
    let fresh = Figures {
        cpu: None,
        ..used(0.0)
    };
    let usage = usage(&[("a", used(10.0)), ("found just now", fresh)]);
    let sums = sums(&usage, &inventory, Collectors::default(), &[]).expect("measured");
    let (counted, values) = reported(&sums, Kind::StatefulSet, 1).expect("there");
    assert_eq!((counted, values[0]), (1, (CPU, 10.0)));
    assert_eq!(reported(&sums, Kind::StatefulSet, 2), Some((0, Vec::new())));
}

#[test]
fn a_pod_that_only_the_kubelet_knows_is_a_stranger() {
    let set = [owner(Topology::StatefulSet, 1)];
    let inventory = inventory([pod("a", &set), pod("not found", &set)]);
    for (running, strangers) in [(&["a"][..], false), (&["a", "new"], true)] {
        let pods: Vec<_> = running.iter().map(|id| (*id, used(1.0))).collect();
        let sums = sums(&usage(&pods), &inventory, Collectors::default(), &[]).expect("measured");
        assert_eq!(sums.strangers, strangers, "{running:?}");
    }
}

#[test]
fn what_is_not_known_of_each_pod_is_left_out() {
    let set = [owner(Topology::DaemonSet, 1)];
    let mut on_host = pod("c", &set);
    on_host.host_network = true;
    let network = Some(Network {
        received: 1.0,
        sent: 2.0,
    });
    let with = |network, limit| Figures {
        network,
        memory: Some(Memory {
            working_set: 1000,
            limit,
        }),
        ..used(10.0)
    };
    let told = |figures: &[(&str, Figures)], pods: &[Pod], collectors| {
        let inventory = inventory(pods.iter().cloned());
        let sums = sums(&usage(figures), &inventory, collectors, &[]).expect("measured");
        let (_, values) = reported(&sums, Kind::DaemonSet, 1).expect("there");
        values
            .into_iter()
            .map(|(metric, _)| metric)
            .collect::<Vec<_>>()
    };
    let all = Collectors::default();
    let (rx, tx) = (Metric::NetworkReceived, Metric::NetworkSent);
    let (a, b) = (pod("a", &set), pod("b", &set));
    let full = with(network, Some(2000));
    let both = [("a", full), ("b", full)];
    let pods = [a.clone(), b.clone()];
    assert_eq!(told(&both, &pods, all), [CPU, MEM, LIMIT, rx, tx]);
    let nothing = [].into_iter().collect();
    assert_eq!(told(&both, &pods, nothing), [CPU, MEM, LIMIT]);
    let unlimited = [("a", full), ("b", with(network, None))];
    assert_eq!(told(&unlimited, &pods, all), [CPU, MEM, rx, tx]);
    let node = [("a", full), ("c", full)];
    assert_eq!(told(&node, &[a, on_host], all), [CPU, MEM, LIMIT]);
}

#[test]
fn there_is_nothing_to_say_before_the_node_is_known() {
    let pods = [pod("a", &[owner(Topology::DaemonSet, 1)])];
    let (known, usage) = (inventory(pods), usage(&[("a", used(1.0))]));
    let all = Collectors::default();
    assert!(sums(&usage, &known, all, &[]).is_some());
    assert!(sums(&usage, &Inventory::default(), all, &[]).is_none());
    type Change = fn(&mut Usage);
    let changes: [Change; 3] = [
        |usage| usage.interval = None,
        |usage| usage.host.cpus = None,
        |usage| usage.host.memory_total = None,
    ];
    for change in changes {
        let mut usage = usage.clone();
        change(&mut usage);
        assert!(sums(&usage, &known, all, &[]).is_none());
    }
}

fn rates(requests: f64, codes: &[(u16, f64)]) -> HttpRates {
    HttpRates {
        requests: Some(requests),
        classes: [Some(requests), None, None, Some(0.0)],
        codes: codes.to_vec(),
        ..HttpRates::default()
    }
}

#[test]
fn of_http_a_pod_that_serves_nothing_has_0_where_it_is_counted() {
    let set = [owner(Topology::Deployment, 1)];
    let inventory = inventory([pod("a", &set), pod("b", &set), pod("c", &set)]);
    let mut usage = usage(&["a", "b", "c"].map(|id| (id, used(1.0))));
    let http = &mut usage.http.pods;
    http.insert("a".into(), rates(2.0, &[(200, 1.5), (777, 0.5)]));
    http.insert("b".into(), rates(1.0, &[(404, 1.0)]));
    let told = |usage: &Usage, collectors| {
        let sums = sums(usage, &inventory, collectors, &[]).expect("measured");
        let (_, values) = reported(&sums, Kind::Deployment, 1).expect("there");
        values
            .into_iter()
            .filter(|(m, _)| ![CPU, MEM, LIMIT].contains(m))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&usage, Collectors::ALL), [], "not counted");
    usage.http.counted = true;
    let code = Metric::HttpCode;
    let wanted = [
        (Metric::HttpRequests, 3.0),
        (Metric::HttpClass(2), 3.0),
        (Metric::HttpClass(5), 0.0),
        (code(200), 1.5),
        (code(404), 1.0),
        (Metric::HttpOthers, 0.5),
    ];
    assert_eq!(told(&usage, Collectors::ALL), wanted);
    assert_eq!(told(&usage, Collectors::default()), [], "not asked for");
}

fn members(number: u8, version: u64, pods: &[u8]) -> Members {
    Members {
        uid: Uid::from_bytes([number; 16]),
        version,
        pods: pods.iter().map(|pod| Uid::from_bytes([*pod; 16])).collect(),
    }
}

#[test]
fn of_services_the_pods_count_that_are_told_to_belong_to_them() {
    let set = [owner(Topology::StatefulSet, 1)];
    let names = [10, 11, 12, 13].map(uid);
    let [a, b, c, static_pod] = &names;
    let mut known = inventory([pod(a, &set), pod(b, &[]), pod(c, &set)]);
    let hash = "0123456789abcdef0123456789abcdef";
    known.pods.insert(hash.into(), pod(hash, &[]));
    let fresh = Figures {
        cpu: None,
        ..used(0.0)
    };
    let files = |cpu| Figures {
        files: Some(7),
        ..used(cpu)
    };
    let mut usage = usage(&[
        (a, files(10.0)),
        (b, files(5.0)),
        (c, fresh),
        (hash, used(1.0)),
    ]);
    usage.http.counted = true;
    usage
        .http
        .pods
        .insert((&**a).into(), rates(2.0, &[(200, 2.0)]));
    let services = [
        members(1, 71, &[10, 11]),
        members(2, 72, &[11]),
        members(3, 73, &[10, 12, 99]),
        members(4, 74, &[12]),
        members(5, 75, &[13]),
    ];
    let told = sums(&usage, &known, Collectors::ALL, &services).expect("measured");
    let without = sums(&usage, &known, Collectors::ALL, &[]).expect("measured");
    let of: Vec<_> = told
        .objects
        .iter()
        .filter(|one| one.kind == Kind::Service)
        .collect();
    assert_eq!(told.objects.len(), without.objects.len() + of.len());
    let counted: Vec<_> = of.iter().map(|one| (one.members, one.counted)).collect();
    let wanted = [(71, 2), (72, 1), (73, 1), (74, 0), (75, 0)];
    assert_eq!(
        counted,
        wanted.map(|(version, counted)| (Some(version), counted))
    );
    let http = |requests| {
        [
            (Metric::HttpRequests, requests),
            (Metric::HttpClass(2), requests),
            (Metric::HttpClass(5), 0.0),
        ]
    };
    let both = [(CPU, 15.0), (MEM, 2000.0), (LIMIT, 4000.0)];
    let values = |one: &Partial| one.values.iter().collect::<Vec<_>>();
    assert_eq!(
        values(of[0]),
        [&both[..], &http(2.0)].concat(),
        "no files, no codes"
    );
    let alone = [
        (CPU, 5.0),
        (MEM, 1000.0),
        (LIMIT, 2000.0),
        (Metric::HttpRequests, 0.0),
    ];
    assert_eq!(values(of[1]), alone);
    assert_eq!(values(of[3]), []);
    assert!(known.pods.contains_key(hash) && !known.pods.contains_key(static_pod));
    assert!(without.objects.iter().all(|one| one.members.is_none()));
}

#[test]
fn services_have_room_beside_controllers() {
    let pods = (0..1100u32).map(|n| {
        let set = Owner {
            uid: format!("{n:08x}-0000-4000-8000-000000000000"),
            ..owner(Topology::StatefulSet, 0)
        };
        pod(&format!("p{n}"), &[set])
    });
    let services: Vec<Members> = (0..600u16)
        .map(|n| {
            let mut uid = [7; 16];
            uid[..2].copy_from_slice(&n.to_be_bytes());
            Members {
                uid: Uid::from_bytes(uid),
                ..members(0, 1, &[1])
            }
        })
        .collect();
    let known = inventory(pods);
    let sums = sums(&usage(&[]), &known, Collectors::ALL, &services).expect("measured");
    let of = |kind| sums.objects.iter().filter(|one| one.kind == kind).count();
    assert_eq!(of(Kind::Service), MAX_SERVICES);
    assert_eq!(of(Kind::StatefulSet), MAX_CONTROLLERS);
    assert_eq!(sums.objects.len(), MAX_OBJECTS);
    assert_eq!(sums.left_out, 1100 - MAX_CONTROLLERS);
}

#[test]
fn there_are_bounds() {
    let pods = (0..600u32).map(|n| {
        let uid = |kind: u32| format!("{n:08x}-{kind:04}-4000-8000-000000000000");
        let owner = |topology, kind| Owner {
            uid: uid(kind),
            ..owner(topology, 0)
        };
        let owners = [owner(Topology::Job, 1), owner(Topology::CronJob, 2)];
        pod(&format!("p{n}"), &owners)
    });
    let inventory = inventory(pods);
    let sums = sums(&usage(&[]), &inventory, Collectors::ALL, &[]).expect("measured");
    assert_eq!(
        (sums.objects.len(), sums.left_out),
        (MAX_CONTROLLERS, 1200 - MAX_CONTROLLERS)
    );

    let codes: Vec<(u16, f64)> = (200..300).map(|code| (code, f64::from(code))).collect();
    let mut sum = Sum::default();
    sum.add(&values(
        &used(1.0),
        Some(Some(&rates(1.0, &codes))),
        Collectors::ALL,
    ));
    let object = Object {
        kind: Kind::Job,
        uid: Uid::from_bytes([1; 16]),
    };
    let node = Node {
        cpus: CPUS,
        memory: MEMORY,
    };
    let partial = sum.finish(object, node);
    let codes: Vec<u16> = partial
        .values
        .iter()
        .filter_map(|(metric, _)| match metric {
            Metric::HttpCode(code) => Some(code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, (300 - CODES as u16..300).collect::<Vec<_>>());
    let others: u32 = (200..300 - CODES as u32).sum();
    assert_eq!(
        partial.values.get(Metric::HttpOthers),
        Some(f64::from(others))
    );
}

#[test]
fn what_only_looks_like_a_uid_has_no_totals() {
    for (topology, uid) in [
        (Topology::Deployment, "0a1b2c3d"),
        (Topology::ReplicaSet, &*uid(1)),
        (Topology::Pod, &uid(1)),
    ] {
        let owner = Owner {
            topology,
            uid: uid.to_owned(),
            name: "x".into(),
        };
        assert_eq!(object(&owner), None);
    }
}

fn any_figures() -> impl Strategy<Value = Figures> {
    let number = || prop_oneof![0.0..1e4, Just(f64::NAN), Just(f64::INFINITY), Just(-1.0)];
    (
        proptest::option::of(number()),
        proptest::option::of((0..=u64::MAX, proptest::option::of(0..=u64::MAX))),
        proptest::option::of(number()),
        proptest::option::of(0..=u64::MAX),
    )
        .prop_map(|(cpu, memory, delay, files)| Figures {
            cpu: cpu.map(|millicores| Cpu {
                millicores,
                percent: None,
            }),
            memory: memory.map(|(working_set, limit)| Memory { working_set, limit }),
            block_delay: delay,
            files,
            ..Figures::default()
        })
}

proptest! {
    /// Whatever was measured, the service takes it, and of what is told each value is the sum over
    /// just the pods that count.
    #[test]
    fn reports_are_within_their_bounds_and_right(
        pods in proptest::collection::vec((0u8..4, any_figures(), proptest::option::of(0.0..100.0f64)), 0..12),
        counted: bool,
    ) {
        let names: Vec<String> = (0..pods.len()).map(|n| n.to_string()).collect();
        let known = pods.iter().zip(&names).map(|((set, _, _), name)| {
            pod(name, &[owner(Topology::StatefulSet, *set)])
        });
        let known = inventory(known.chain([pod("agent", &[])]));
        let figures: Vec<_> = pods.iter().zip(&names).map(|((_, used, _), name)| (&**name, *used)).collect();
        let mut usage = usage(&figures);
        usage.http.counted = counted;
        for ((_, _, rate), name) in pods.iter().zip(&names) {
            if let Some(rate) = rate {
                usage.http.pods.insert((&**name).into(), rates(*rate, &[(200, *rate)]));
            }
        }
        let services = [members(1, 9, &[1, 2]), members(2, 8, &[])];
        let sums = sums(&usage, &known, Collectors::ALL, &services).expect("measured");
        let report = Report {
            version: VERSION,
            boot: "b".into(),
            sequence: 1,
            sampled: None,
            node: sums.node,
            objects: sums.objects.clone(),
            podless: None,
            server_away: false,
            watched: None,
            services: None,
            health: None,
            top: Vec::new(),
        };
        prop_assert_eq!(report.check(), Ok(()));
        for set in 0..4u8 {
            let of: Vec<_> = pods.iter().filter(|(of, _, _)| *of == set).collect();
            let measured: Vec<_> = of.iter().filter(|(_, used, _)| used.cpu.is_some()).collect();
            let Some((count, values)) = reported(&sums, Kind::StatefulSet, set) else {
                prop_assert!(of.is_empty());
                continue;
            };
            prop_assert_eq!(count as usize, measured.len());
            for (metric, value) in values {
                let each = measured.iter().map(|(_, used, rate)| match metric {
                    Metric::Millicores => used.cpu.map(|cpu| cpu.millicores),
                    Metric::Memory => used.memory.map(|memory| memory.working_set as f64),
                    Metric::MemoryLimit => used.memory.and_then(|m| m.limit).map(|limit| limit as f64),
                    Metric::BlockDelay => used.block_delay,
                    Metric::OpenFiles => used.files.map(|files| files as f64),
                    Metric::HttpClass(5) => Some(0.0),
                    // Requests, those of class 2 and those with code 200 are the same ones here.
                    _ => counted.then(|| rate.unwrap_or_default()),
                });
                let sum: Option<f64> = each.sum();
                let sum = sum.expect("known of each");
                prop_assert!((sum - value).abs() <= sum * 1e-9 + 0.001, "{:?}: {} {}", metric, sum, value);
            }
        }
    }
}
