//! Made histories of Services: pods that join and leave, watches that fail, a census and lists that lag behind, reports
//! and replies that are lost, doubled, late and overtaken, agents and the service restarted.
//!
//! Each pod's value has digits of its own in the sum, so a total can be taken apart again: it is of just the pods
//! that the Service had when it was added up, each with a value of one of its node's samples of the last three
//! intervals.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use scope_totals_wire::{
    Kind, Members, Metric, Node, Object, Partial, Sampled, Stamp, Uid, VERSION,
};

use super::*;
use crate::{
    census::{Census, Holdings, Images, Maker, Name, NamespaceMark, Pod, Slice},
    time::Stamps,
};

const HISTORIES: u32 = 500;
const STEPS: usize = 120;
const NODES: usize = 3;
/// A pod is on the node of its number, counted round and round.
const PODS: usize = 5;
const SERVICES: usize = 2;
/// A pod's digit: five of them are less than an f64 holds exactly.
const BASE: u64 = 1000;
/// By which a Service's pods are known.
const WATCHES: [&str; 4] = ["Pod", "EndpointSlice", "Node", "Service"];
const INTERVAL: Duration = Duration::from_secs(5);
const REACH_MS: u64 = 15_000;

#[derive(Clone, Debug)]
enum Step {
    Wait(u16),
    /// The agent takes a sample, adds it up by the list that it has, and sends it.
    Report(usize),
    /// It does, and nothing goes wrong on the way there and back.
    Exchange(usize),
    Arrive {
        which: usize,
        again: bool,
    },
    Lose(usize),
    RestartAgent(usize),
    RestartService,
    /// A pod uses so much from now on.
    Use {
        pod: usize,
        value: u64,
    },
    Join {
        service: usize,
        pod: usize,
    },
    Leave {
        service: usize,
        pod: usize,
    },
    /// A pod ends, and another one with its number begins, which belongs to nothing yet.
    Replace(usize),
    /// The service hears of the pods, or of a Service's slice.
    HearPods,
    HearSlice(usize),
    /// A watch fails, and what happens is not heard of by it until it has listed everything anew.
    Fall(usize),
    CatchUp(usize),
    AddUp,
}

fn step() -> impl Strategy<Value = Step> {
    let (node, pod, service) = (0..NODES, 0..PODS, 0..SERVICES);
    prop_oneof![
        4 => (1..3000_u16).prop_map(Step::Wait),
        6 => node.clone().prop_map(Step::Report),
        16 => node.clone().prop_map(Step::Exchange),
        12 => (0..64_usize, proptest::bool::weighted(0.2))
            .prop_map(|(which, again)| Step::Arrive { which, again }),
        2 => (0..64_usize).prop_map(Step::Lose),
        1 => node.prop_map(Step::RestartAgent),
        1 => Just(Step::RestartService),
        3 => (pod.clone(), 1..BASE).prop_map(|(pod, value)| Step::Use { pod, value }),
        3 => (service.clone(), pod.clone()).prop_map(|(service, pod)| Step::Join { service, pod }),
        2 => (service.clone(), pod.clone()).prop_map(|(service, pod)| Step::Leave { service, pod }),
        1 => pod.prop_map(Step::Replace),
        3 => Just(Step::HearPods),
        5 => service.prop_map(Step::HearSlice),
        1 => (0..WATCHES.len()).prop_map(Step::Fall),
        3 => (0..WATCHES.len()).prop_map(Step::CatchUp),
        7 => Just(Step::AddUp),
    ]
}

#[derive(Clone, Debug)]
enum Message {
    Report(usize, Box<Report>),
    /// To the process of that number on the node.
    Reply(usize, u64, Stamp, Option<scope_totals_wire::Services>),
}

struct AgentProcess {
    boot: u64,
    sequence: u64,
    clock_ms: u64,
    stamp: Option<(Stamp, u64)>,
    /// The list that it was told, and its version.
    list: Option<(u64, Vec<Members>)>,
}

struct World {
    now_ms: u64,
    boots: u64,
    terms: u64,
    agents: Vec<AgentProcess>,
    /// Which pod has the number now, and what it uses.
    pods: Vec<(u32, u64)>,
    /// What each Service has, by what the API server says.
    services: Vec<BTreeSet<Uid>>,
    /// What was measured of each pod, and when.
    samples: BTreeMap<Uid, Vec<(u64, u64)>>,
    under_way: Vec<Message>,
    census: Census,
    /// Watches that fail.
    behind: BTreeSet<&'static str>,
    ledger: Ledger,
    stamps: Stamps,
    /// The last round, and of what it was made.
    round: Option<(Round, Holdings)>,
    /// How many watches failed then.
    round_behind: usize,
    served: u64,
}

fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

fn pod_uid(number: usize, which: u32) -> Uid {
    let mut bytes = [number as u8; 16];
    bytes[12..].copy_from_slice(&which.to_be_bytes());
    Uid::from_bytes(bytes)
}

fn number(pod: Uid) -> usize {
    usize::from(pod.as_bytes()[0])
}

fn service(number: usize) -> Object {
    Object {
        kind: Kind::Service,
        uid: Uid::from_bytes([100 + number as u8; 16]),
    }
}

fn service_name(number: usize) -> Name {
    Name {
        namespace: "shop".into(),
        name: format!("s-{number}").into(),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 1_000_000,
            boots: 0,
            terms: 0,
            agents: Vec::new(),
            pods: vec![(0, 1); PODS],
            services: vec![BTreeSet::new(); SERVICES],
            samples: BTreeMap::new(),
            under_way: Vec::new(),
            census: Census::default(),
            behind: BTreeSet::new(),
            ledger: Ledger::default(),
            stamps: Stamps::new(0),
            round: None,
            round_behind: 0,
            served: 0,
        };
        for node in 0..NODES {
            let agent = world.process();
            world.agents.push(agent);
            world.census.nodes.put(name(node), ());
        }
        for number in 0..SERVICES {
            let names = &mut world.census.services.names;
            names.put(service_name(number), service(number).uid);
        }
        world.census.services.names.complete();
        world.census.services.slices.complete();
        world.hear_pods();
        world
    }

    fn process(&mut self) -> AgentProcess {
        self.boots += 1;
        AgentProcess {
            boot: self.boots,
            sequence: 0,
            clock_ms: self.boots * 7_777_777 % 1_000_003,
            stamp: None,
            list: None,
        }
    }

    fn now(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.now_ms))
    }

    fn pod(&self, number: usize) -> Uid {
        pod_uid(number, self.pods[number].0)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Report(node) => self.report(node),
            Step::Exchange(node) => {
                self.report(node);
                self.arrive(self.under_way.len() - 1, false);
                self.arrive(self.under_way.len() - 1, false);
            }
            Step::Arrive { which, again } => self.arrive(which, again),
            Step::Lose(which) => {
                if !self.under_way.is_empty() {
                    self.under_way.remove(which % self.under_way.len());
                }
            }
            Step::RestartAgent(node) => self.agents[node] = self.process(),
            Step::RestartService => {
                self.terms += 1;
                self.stamps = Stamps::new(self.terms);
                self.ledger = Ledger::default();
                self.round = None;
            }
            Step::Use { pod, value } => self.pods[pod].1 = value,
            Step::Join { service, pod } => {
                let pod = self.pod(pod);
                self.services[service].insert(pod);
            }
            Step::Leave { service, pod } => {
                let pod = self.pod(pod);
                self.services[service].remove(&pod);
            }
            Step::Replace(number) => {
                let old = self.pod(number);
                self.pods[number].0 += 1;
                for of in &mut self.services {
                    of.remove(&old);
                }
            }
            Step::HearPods => self.hear_pods(),
            Step::HearSlice(number) => self.hear_slice(number),
            Step::Fall(watch) => {
                self.behind.insert(WATCHES[watch]);
                self.census.behind.fell(WATCHES[watch]);
            }
            Step::CatchUp(watch) => self.catch_up(watch),
            Step::AddUp => self.add_up(),
        }
    }

    fn report(&mut self, node: usize) {
        let here: BTreeMap<Uid, u64> = (0..PODS)
            .filter(|number| number % NODES == node)
            .map(|number| (self.pod(number), self.pods[number].1))
            .collect();
        for (pod, value) in &here {
            let samples = self.samples.entry(*pod).or_default();
            samples.push((self.now_ms, *value));
        }
        let agent = &mut self.agents[node];
        let list = agent.list.iter().flat_map(|(_, list)| list);
        let objects = list.map(|of| {
            let found = of.pods.iter().filter_map(|pod| Some((pod, here.get(pod)?)));
            let digits = found.map(|(pod, value)| value * BASE.pow(number(*pod) as u32));
            let digits: Vec<u64> = digits.collect();
            let sum = (!digits.is_empty()).then(|| digits.iter().sum::<u64>() as f64);
            Partial {
                kind: Kind::Service,
                uid: of.uid,
                counted: digits.len() as u32,
                members: Some(of.version),
                values: sum.map(|sum| (Metric::Memory, sum)).into_iter().collect(),
            }
        });
        let objects = objects.collect();
        agent.sequence += 1;
        let clock = agent.clock_ms + self.now_ms;
        let sampled = agent.stamp.as_ref().map(|(stamp, came)| Sampled {
            stamp: stamp.clone(),
            after_ms: clock - came,
        });
        let report = Report {
            version: VERSION,
            boot: agent.boot.to_string(),
            sequence: agent.sequence,
            sampled,
            node: Node {
                cpus: 1,
                memory: 1 << 50,
            },
            objects,
            podless: None,
            server_away: false,
            watched: None,
            services: Some(agent.list.as_ref().map_or(0, |(version, _)| *version)),
            health: None,
            top: Vec::new(),
        };
        assert_eq!(report.check(), Ok(()));
        self.under_way.push(Message::Report(node, report.into()));
    }

    fn arrive(&mut self, which: usize, again: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let message = match again {
            true => self.under_way[which].clone(),
            false => self.under_way.remove(which),
        };
        match message {
            Message::Report(node, report) => {
                let now = self.now();
                let sampled = report.sampled.as_ref();
                let sampled = sampled.and_then(|sampled| self.stamps.sampled(sampled, now));
                let agent = Agent {
                    plugin: "p".into(),
                    node: name(node),
                };
                let fate = self.ledger.take(&agent, &report, sampled, now, INTERVAL);
                fate.unwrap();
                let held = report.services.unwrap();
                let of = self
                    .round
                    .as_ref()
                    .and_then(|(_, of)| of.memberships.as_ref());
                let told = of.map(|of| of.told(&name(node), held, REACH_MS));
                let boot = report.boot.parse().unwrap();
                let stamp = self.stamps.stamp(now);
                self.under_way.push(Message::Reply(node, boot, stamp, told));
            }
            Message::Reply(node, boot, stamp, told) => {
                let agent = &mut self.agents[node];
                if agent.boot != boot {
                    return;
                }
                agent.stamp = Some((stamp, agent.clock_ms + self.now_ms));
                if let Some(told) = told
                    && let Some(list) = told.services
                {
                    agent.list = Some((told.version, list));
                }
            }
        }
    }

    fn catch_up(&mut self, watch: usize) {
        self.behind.remove(WATCHES[watch]);
        self.census.behind.caught_up(WATCHES[watch]);
        match WATCHES[watch] {
            "Pod" => self.hear_pods(),
            "EndpointSlice" => (0..SERVICES).for_each(|number| self.hear_slice(number)),
            _ => {}
        }
    }

    fn hear_pods(&mut self) {
        if self.behind.contains("Pod") {
            return;
        }
        self.census.pods.begin();
        for number in 0..PODS {
            let pod = Pod {
                node: name(number % NODES),
                maker: Maker::Other,
                namespace: NamespaceMark::default(),
                gone_by: None,
                images: Images::default(),
            };
            self.census.pods.listed(self.pod(number), pod);
        }
        self.census.pods.complete();
    }

    fn hear_slice(&mut self, number: usize) {
        if self.behind.contains("EndpointSlice") {
            return;
        }
        let slice = Slice {
            service: service_name(number),
            namespace: NamespaceMark::default(),
            owner: Some(service(number).uid),
            pods: Some(self.services[number].iter().copied().collect()),
        };
        let key = service(number).uid;
        self.census.services.slices.put(key, slice);
    }

    fn add_up(&mut self) {
        let holdings = self.census.holdings(Timestamp::UNIX_EPOCH);
        let round = Round::new(&self.ledger.copy(), &holdings, self.now(), INTERVAL);
        self.round = Some((round, holdings));
        self.round_behind = self.behind.len();
    }

    fn total(&self, number: usize) -> Option<scope_totals_wire::Total> {
        let totals = self.round.as_ref()?.0.of("p")?;
        let total = totals.get(service(number), self.now(), INTERVAL)?;
        Some(tests::owned(total))
    }

    /// The pods of a Service by what the round was made of.
    fn members(&self, number: usize) -> BTreeSet<Uid> {
        let of = self
            .round
            .as_ref()
            .and_then(|(_, of)| of.memberships.as_ref());
        let lists =
            (0..NODES).flat_map(|node| of.unwrap().told(&name(node), 0, 1).services.unwrap());
        let members = lists.filter(|one| one.uid == service(number).uid);
        members.flat_map(|one| one.pods).collect()
    }

    fn check(&mut self) {
        for service in 0..SERVICES {
            let Some(total) = self.total(service) else {
                continue;
            };
            self.served += 1;
            let same_time = [0, WATCHES.len()].contains(&self.round_behind);
            assert!(same_time, "pods and slices of different times");
            let members = self.members(service);
            let sum = total.values.get(Metric::Memory).unwrap() as u64;
            let mut counted = 0;
            for digit in 0..PODS {
                let value = sum / BASE.pow(digit as u32) % BASE;
                // While a pod is replaced both may be known to be of the Service.
                let of_number: Vec<Uid> = members
                    .iter()
                    .copied()
                    .filter(|pod| number(*pod) == digit)
                    .collect();
                if of_number.is_empty() {
                    assert_eq!(value, 0, "{digit} is not of {service}: {members:?}");
                    continue;
                }
                if value == 0 {
                    continue;
                }
                counted += 1;
                let young = of_number.iter().any(|pod| {
                    let samples = self.samples[pod].iter();
                    samples
                        .rev()
                        .any(|(at, was)| at + REACH_MS > self.now_ms && *was == value)
                });
                assert!(young, "{value} is of no young sample of {digit}");
            }
            assert_eq!(total.counted, counted);
            assert_eq!(total.pods as usize, members.len());
            assert!((1..=REACH_MS).contains(&total.valid_ms));
        }
    }

    /// All is quiet: what was under way has come, and each agent reports until it has heard its list.
    fn calm(&mut self) {
        let drain = |world: &mut Self| {
            while !world.under_way.is_empty() {
                world.arrive(0, false);
            }
        };
        drain(self);
        (0..WATCHES.len()).for_each(|watch| self.catch_up(watch));
        for _ in 0..3 {
            self.add_up();
            self.now_ms += 1000;
            for node in 0..NODES {
                self.report(node);
            }
            drain(self);
        }
        self.add_up();
        self.check();
        for service in 0..SERVICES {
            let members = &self.services[service];
            let digits = members.iter().map(|pod| {
                let number = number(*pod);
                self.pods[number].1 * BASE.pow(number as u32)
            });
            let truth: u64 = digits.sum();
            match self.total(service) {
                None => assert!(members.is_empty(), "no total of {service}"),
                Some(total) => {
                    assert_eq!(total.values.get(Metric::Memory), Some(truth as f64));
                    let all = members.len() as u32;
                    assert_eq!((total.counted, total.pods), (all, all));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, ..ProptestConfig::default() })]

    #[test]
    fn a_total_of_a_service_is_right_or_absent(steps in vec(step(), STEPS)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.calm();
    }
}

/// The histories above would prove nothing if they hardly ever led to a total.
#[test]
fn made_histories_lead_to_totals_of_services() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let mut with_totals = 0;
    for _ in 0..100 {
        let steps = vec(step(), STEPS).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
        with_totals += u32::from(world.served > 0);
    }
    assert!(with_totals > 30, "{with_totals} of 100");
}
