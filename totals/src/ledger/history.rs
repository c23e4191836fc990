//! A hundred thousand steps of made histories: reports that are lost, doubled, late and overtaken, agents and
//! the service restarted, nodes that die and come back, pods that move, and a census that lags behind.
//!
//! The value of a node's pods has digits of its own in the sum, so a total can be taken apart again: each
//! node's part has to be one of its samples of the last three intervals, and a node without pods has none.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};
use scope_totals_wire::{Kind, Metric, Node, Object, Partial, Sampled, Stamp, Uid, VERSION};

use super::*;
use crate::{
    census::{Holdings, Place},
    time::Stamps,
};

const HISTORIES: u32 = 1000;
const STEPS: usize = 100;
const NODES: usize = 4;
const OBJECTS: usize = 3;
/// A node's digit.
const BASE: u64 = 1000;
const INTERVAL: Duration = Duration::from_secs(5);
const REACH_MS: u64 = 15_000;

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(u16),
    /// The agent takes a sample and sends it. It may not see one of the objects yet.
    Report {
        node: usize,
        blind: Option<usize>,
    },
    /// What is under way arrives, and stays under way if it comes a second time.
    Arrive {
        which: usize,
        again: bool,
    },
    Lose {
        which: usize,
    },
    RestartAgent(usize),
    RestartService,
    NodeDies(usize),
    NodeReturns(usize),
    /// The pods of an object on a node: how many, and what they use.
    Pods {
        node: usize,
        object: usize,
        pods: u32,
        value: u64,
    },
    /// The census hears what has become of an object, or of the nodes.
    Hear(usize),
    HearNodes,
    AddUp,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let object = 0..OBJECTS;
    prop_oneof![
        4 => (1..4000_u16).prop_map(Step::Wait),
        8 => (node.clone(), proptest::option::weighted(0.2, object.clone()))
            .prop_map(|(node, blind)| Step::Report { node, blind }),
        16 => (0..64_usize, proptest::bool::weighted(0.2))
            .prop_map(|(which, again)| Step::Arrive { which, again }),
        2 => (0..64_usize).prop_map(|which| Step::Lose { which }),
        1 => node.clone().prop_map(Step::RestartAgent),
        1 => Just(Step::RestartService),
        1 => node.clone().prop_map(Step::NodeDies),
        2 => node.clone().prop_map(Step::NodeReturns),
        4 => (node, object.clone(), 0..3_u32, 1..BASE)
            .prop_map(|(node, object, pods, value)| Step::Pods { node, object, pods, value }),
        4 => object.prop_map(Step::Hear),
        2 => Just(Step::HearNodes),
        6 => Just(Step::AddUp),
    ]
}

/// Something that is under way.
#[derive(Clone, Debug)]
enum Message {
    Report(usize, Box<Report>),
    /// To the process of that number on the node.
    Reply(usize, u64, Stamp),
}

struct AgentProcess {
    alive: bool,
    boot: u64,
    sequence: u64,
    /// What its clock shows when the world's is at 0: no two agree.
    clock_ms: u64,
    /// The last stamp, and when it came by that clock.
    stamp: Option<(Stamp, u64)>,
}

/// What a sample held of an object: when, how many pods, what they use.
type Sample = (u64, u32, u64);

struct World {
    now_ms: u64,
    boots: u64,
    terms: u64,
    agents: Vec<AgentProcess>,
    pods: Vec<[(u32, u64); OBJECTS]>,
    samples: BTreeMap<(usize, usize), Vec<Sample>>,
    under_way: Vec<Message>,
    /// What the service knows.
    nodes: BTreeSet<usize>,
    /// By the object, and the node: how many pods.
    holdings: BTreeMap<usize, Vec<(usize, u32)>>,
    ledger: Ledger,
    stamps: Stamps,
    round: Option<Round>,
    /// With which the round was made.
    round_holdings: BTreeMap<usize, Vec<(usize, u32)>>,
    served: u64,
}

fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

fn object(number: usize) -> Object {
    Object {
        kind: Kind::Deployment,
        uid: Uid::from_bytes([number as u8; 16]),
    }
}

fn agent(node: usize) -> Agent {
    Agent {
        plugin: "p".into(),
        node: name(node),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 1_000_000,
            boots: 0,
            terms: 0,
            agents: Vec::new(),
            pods: vec![[(0, 1); OBJECTS]; NODES],
            samples: BTreeMap::new(),
            under_way: Vec::new(),
            nodes: (0..NODES).collect(),
            holdings: BTreeMap::new(),
            ledger: Ledger::default(),
            stamps: Stamps::new(0),
            round: None,
            round_holdings: BTreeMap::new(),
            served: 0,
        };
        for _ in 0..NODES {
            let agent = world.process();
            world.agents.push(agent);
        }
        world
    }

    fn process(&mut self) -> AgentProcess {
        self.boots += 1;
        AgentProcess {
            alive: true,
            boot: self.boots,
            sequence: 0,
            clock_ms: self.boots * 7_777_777 % 1_000_003,
            stamp: None,
        }
    }

    fn now(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.now_ms))
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Report { node, blind } => self.report(node, blind),
            Step::Arrive { which, again } => self.arrive(which, again),
            Step::Lose { which } => {
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
            Step::NodeDies(node) => self.agents[node].alive = false,
            Step::NodeReturns(node) => {
                if !self.agents[node].alive {
                    self.agents[node] = self.process();
                }
            }
            Step::Pods {
                node,
                object,
                pods,
                value,
            } => self.pods[node][object] = (pods, value),
            Step::Hear(number) => self.hear(number),
            Step::HearNodes => self.hear_nodes(),
            Step::AddUp => self.add_up(),
        }
    }

    fn report(&mut self, node: usize, blind: Option<usize>) {
        if !self.agents[node].alive {
            return;
        }
        let mut objects = Vec::new();
        for number in 0..OBJECTS {
            let (mut pods, value) = self.pods[node][number];
            if blind == Some(number) {
                pods = 0;
            }
            let value = if pods == 0 { 0 } else { value };
            let samples = self.samples.entry((node, number)).or_default();
            samples.push((self.now_ms, pods, value));
            if pods > 0 {
                let sum = value * BASE.pow(node as u32);
                objects.push(Partial {
                    kind: Kind::Deployment,
                    uid: object(number).uid,
                    counted: pods,
                    members: None,
                    values: [(Metric::Rss, sum as f64)].into_iter().collect(),
                });
            }
        }
        let agent = &mut self.agents[node];
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
            node: Node { cpus: 1, memory: 1 },
            objects,
            podless: None,
            server_away: false,
            watched: None,
            services: None,
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
                if self.nodes.contains(&node) {
                    let sampled = report.sampled.as_ref();
                    let sampled = sampled.and_then(|sampled| self.stamps.sampled(sampled, now));
                    let agent = agent(node);
                    let fate = self.ledger.take(&agent, &report, sampled, now, INTERVAL);
                    fate.unwrap();
                }
                let boot = report.boot.parse().unwrap();
                let stamp = self.stamps.stamp(now);
                self.under_way.push(Message::Reply(node, boot, stamp));
            }
            Message::Reply(node, boot, stamp) => {
                let agent = &mut self.agents[node];
                if agent.alive && agent.boot == boot {
                    agent.stamp = Some((stamp, agent.clock_ms + self.now_ms));
                }
            }
        }
    }

    fn hear(&mut self, number: usize) {
        let nodes = self.nodes.iter();
        let places = nodes.map(|node| (*node, self.pods[*node][number].0));
        let places = places.filter(|(_, pods)| *pods > 0).collect();
        self.holdings.insert(number, places);
    }

    fn hear_nodes(&mut self) {
        let alive = (0..NODES).filter(|node| self.agents[*node].alive);
        self.nodes = alive.collect();
        for number in 0..OBJECTS {
            self.hear(number);
        }
    }

    fn add_up(&mut self) {
        let nodes: Nodes = self.nodes.iter().map(|node| name(*node)).collect();
        let found = self.holdings.iter().flat_map(|(number, places)| {
            places.iter().map(|(node, pods)| {
                let node = nodes.number(&name(*node)).unwrap();
                (object(*number), Place { node, pods: *pods })
            })
        });
        let holdings = Holdings {
            objects: found.collect(),
            nodes: nodes.into(),
            ..Holdings::default()
        };
        self.ledger.forget(&holdings.nodes);
        let round = Round::new(&self.ledger.copy(), &holdings, self.now(), INTERVAL);
        self.round = Some(round);
        self.round_holdings = self.holdings.clone();
    }

    fn total(&self, number: usize) -> Option<scope_totals_wire::Total> {
        let totals = self.round.as_ref()?.of("p")?;
        let total = totals.get(object(number), self.now(), INTERVAL)?;
        Some(tests::owned(total))
    }

    /// No total that is wrong or too old.
    fn check(&mut self) {
        for number in 0..OBJECTS {
            let Some(total) = self.total(number) else {
                continue;
            };
            self.served += 1;
            let places = &self.round_holdings[&number];
            let sum = total.values.get(Metric::Rss).unwrap() as u64;
            let mut counted = 0;
            for node in 0..NODES {
                let digit = sum / BASE.pow(node as u32) % BASE;
                let holds = places.iter().find(|(place, _)| *place == node);
                let Some((_, pods)) = holds else {
                    assert_eq!(digit, 0, "node {node} has no pods of {number}");
                    continue;
                };
                let samples = &self.samples[&(node, number)];
                let young = |(at, ..): &&Sample| at + REACH_MS > self.now_ms;
                let sample = samples
                    .iter()
                    .rev()
                    .take_while(young)
                    .find(|(.., value)| *value == digit);
                let Some((_, of_sample, _)) = sample else {
                    panic!("{digit} of node {node} is none of its young samples: {samples:?}");
                };
                counted += of_sample;
                assert!(total.pods >= *pods);
            }
            assert!(total.counted <= total.pods);
            // Two samples may hold the same value of other numbers of pods; then only the bound is sure.
            assert!(total.counted > 0 && counted > 0);
            assert_eq!(total.cpus as usize, places.len());
            assert!((1..=REACH_MS).contains(&total.valid_ms));
        }
    }

    /// All is quiet: every node lives, what was under way has come, and each agent reports twice.
    fn calm(&mut self) {
        for node in 0..NODES {
            self.take(&Step::NodeReturns(node));
        }
        while !self.under_way.is_empty() {
            self.arrive(0, false);
        }
        self.hear_nodes();
        for _ in 0..2 {
            self.now_ms += 1000;
            for node in 0..NODES {
                self.report(node, None);
            }
            while !self.under_way.is_empty() {
                self.arrive(0, false);
            }
        }
        self.add_up();
        self.check();
        for number in 0..OBJECTS {
            let now = |node: usize| match self.pods[node][number] {
                (0, _) => 0,
                (_, value) => value * BASE.pow(node as u32),
            };
            let truth: u64 = (0..NODES).map(now).sum();
            let pods: u32 = (0..NODES).map(|node| self.pods[node][number].0).sum();
            match self.total(number) {
                None => assert_eq!(pods, 0, "no total of {number}"),
                Some(total) => {
                    assert_eq!(total.values.get(Metric::Rss), Some(truth as f64));
                    assert_eq!((total.counted, total.pods), (pods, pods));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, ..ProptestConfig::default() })]

    #[test]
    fn a_total_is_right_or_absent(steps in vec(step(), STEPS)) {
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
fn made_histories_lead_to_totals() {
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
