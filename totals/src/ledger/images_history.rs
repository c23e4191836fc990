//! Made histories of images: containers that start and end, agents and a census that hear of it late, agents that know
//! nothing of images yet, and all that may happen to reports.
//!
//! Each pod's value has digits of its own in the sum, so a total can be taken apart again: every digit is what a
//! container of just this image used in a sample of the last three intervals, and no node with a pod of it was silent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};
use scope_totals_wire::{
    Kind, Metric, Node, Object, Partial, Sampled, Uid, VERSION, image_id_uid, image_uid,
};

use super::*;
use crate::{
    census::{Census, Holdings, Image, Images, Maker, NamespaceMark, Pod},
    time::Stamps,
};

const HISTORIES: u32 = 500;
const STEPS: usize = 120;
const NODES: usize = 3;
/// A pod is on the node of its number, counted round and round.
const PODS: usize = 5;
/// The last one is another version of the first, and so goes by its name.
const IMAGES: [&str; 3] = [
    "registry.example/shop/app:1",
    "mesh:1",
    "mirror.example/shop/app:2",
];
const NAMES: usize = 2;
/// A pod's digit: five of them are less than an f64 holds exactly.
const BASE: u64 = 1000;
const INTERVAL: Duration = Duration::from_secs(5);
const REACH_MS: u64 = 15_000;

#[derive(Clone, Debug)]
enum Step {
    Wait(u16),
    /// The agent takes a sample and sends it.
    Report(usize),
    Arrive {
        which: usize,
        again: bool,
    },
    Lose(usize),
    /// An agent begins anew, perhaps of the release before images.
    Restart {
        node: usize,
        old: bool,
    },
    /// The pod with this number is another one from now on, and runs this.
    Start {
        pod: usize,
        image: usize,
        value: u64,
    },
    End(usize),
    /// The agent hears which containers run.
    HearHere(usize),
    /// The census does.
    HearAll,
    AddUp,
}

fn step() -> impl Strategy<Value = Step> {
    let (node, pod) = (0..NODES, 0..PODS);
    prop_oneof![
        8 => (0_u16..4000).prop_map(Step::Wait),
        16 => node.clone().prop_map(Step::Report),
        16 => (0..64_usize, proptest::bool::weighted(0.2))
            .prop_map(|(which, again)| Step::Arrive { which, again }),
        2 => (0..64_usize).prop_map(Step::Lose),
        1 => (node.clone(), proptest::bool::weighted(0.3))
            .prop_map(|(node, old)| Step::Restart { node, old }),
        4 => (pod.clone(), 0..IMAGES.len(), 1..BASE)
            .prop_map(|(pod, image, value)| Step::Start { pod, image, value }),
        1 => pod.prop_map(Step::End),
        8 => node.prop_map(Step::HearHere),
        6 => Just(Step::HearAll),
        8 => Just(Step::AddUp),
    ]
}

/// A pod that runs: which one, its image, and what it uses.
type Runs = (u32, usize, u64);

#[derive(Default)]
struct AgentProcess {
    boot: u64,
    sequence: u64,
    old: bool,
    /// By what it has heard.
    known: BTreeMap<usize, (u32, usize)>,
}

struct World {
    now_ms: u64,
    boots: u64,
    agents: Vec<AgentProcess>,
    pods: Vec<Option<Runs>>,
    /// What was told: when, of which pod's number, by which name, and the value; 0 where an agent only said that
    /// it knows of the name.
    samples: Vec<(u64, usize, usize, u64)>,
    under_way: Vec<(usize, Report)>,
    census: Census,
    ledger: Ledger,
    stamps: Stamps,
    round: Option<(Round, Holdings)>,
    started: u32,
    served: u64,
}

fn node_name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

fn object(name: usize) -> Object {
    Object {
        kind: Kind::Image,
        uid: image_uid(IMAGES[name]),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 1_000_000,
            boots: 0,
            agents: Vec::new(),
            pods: vec![None; PODS],
            samples: Vec::new(),
            under_way: Vec::new(),
            census: Census::default(),
            ledger: Ledger::default(),
            stamps: Stamps::new(0),
            round: None,
            started: 0,
            served: 0,
        };
        for node in 0..NODES {
            world.agents.push(AgentProcess::default());
            world.take(&Step::Restart { node, old: false });
            world.census.nodes.put(node_name(node), ());
        }
        for pod in 0..PODS {
            let (image, value) = (pod % IMAGES.len(), 1);
            world.take(&Step::Start { pod, image, value });
        }
        (0..NODES).for_each(|node| world.hear_here(node));
        world.hear_all();
        world
    }

    fn now(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.now_ms))
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Report(node) => self.report(node),
            Step::Arrive { which, again } => self.arrive(which, again),
            Step::Lose(which) => {
                if !self.under_way.is_empty() {
                    self.under_way.remove(which % self.under_way.len());
                }
            }
            Step::Restart { node, old } => {
                self.boots += 1;
                self.agents[node] = AgentProcess {
                    boot: self.boots,
                    old,
                    ..AgentProcess::default()
                };
            }
            Step::Start { pod, image, value } => {
                self.started += 1;
                self.pods[pod] = Some((self.started, image, value));
            }
            Step::End(pod) => self.pods[pod] = None,
            Step::HearHere(node) => self.hear_here(node),
            Step::HearAll => self.hear_all(),
            Step::AddUp => self.add_up(),
        }
    }

    fn hear_here(&mut self, node: usize) {
        let here = (0..PODS).filter(|pod| pod % NODES == node);
        let known =
            here.filter_map(|pod| self.pods[pod].map(|(which, image, _)| (pod, (which, image))));
        self.agents[node].known = known.collect();
    }

    fn hear_all(&mut self) {
        self.census.pods.begin();
        for (number, runs) in self.pods.iter().enumerate() {
            let Some((which, image, _)) = runs else {
                continue;
            };
            let image = Image {
                name: image_uid(IMAGES[*image]),
                id: image_id_uid(IMAGES[*image]),
            };
            let pod = Pod {
                node: node_name(number % NODES),
                maker: Maker::Other,
                namespace: NamespaceMark::default(),
                gone_by: None,
                images: Images::of(&[image]),
            };
            let mut uid = [number as u8; 16];
            uid[12..].copy_from_slice(&which.to_be_bytes());
            self.census.pods.listed(Uid::from_bytes(uid), pod);
        }
        self.census.pods.complete();
    }

    /// A container is known by an ID of its own, which a sample has only while it runs.
    fn report(&mut self, node: usize) {
        let agent = &mut self.agents[node];
        let mut sums: BTreeMap<usize, (u32, u64)> = BTreeMap::new();
        for (&pod, &(which, image)) in &agent.known {
            let sum = sums.entry(image % NAMES).or_default();
            let runs = self.pods[pod].filter(|(now, ..)| *now == which);
            if let Some((_, _, value)) = runs {
                *sum = (sum.0 + 1, sum.1 + value * BASE.pow(pod as u32));
            }
            if !agent.old {
                let value = runs.map_or(0, |(_, _, value)| value);
                self.samples.push((self.now_ms, pod, image % NAMES, value));
            }
        }
        let objects = sums.into_iter().map(|(name, (counted, sum))| {
            let value = (counted > 0).then_some((Metric::Memory, sum as f64));
            Partial {
                kind: Kind::Image,
                uid: object(name).uid,
                counted,
                members: None,
                values: value.into_iter().collect(),
            }
        });
        let objects = objects.filter(|_| !agent.old).collect();
        agent.sequence += 1;
        let report = Report {
            version: VERSION,
            boot: agent.boot.to_string(),
            sequence: agent.sequence,
            sampled: Some(Sampled {
                stamp: self
                    .stamps
                    .stamp(Moment::after_start(Duration::from_millis(self.now_ms))),
                after_ms: 0,
            }),
            node: Node {
                cpus: 1,
                memory: 1 << 50,
            },
            objects,
            podless: None,
            top: Vec::new(),
            server_away: false,
            services: None,
            watched: None,
            health: None,
        };
        assert_eq!(report.check(), Ok(()));
        self.under_way.push((node, report));
    }

    fn arrive(&mut self, which: usize, again: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let (node, report) = match again {
            true => self.under_way[which].clone(),
            false => self.under_way.remove(which),
        };
        let now = self.now();
        let sampled = report.sampled.as_ref();
        let sampled = sampled.and_then(|sampled| self.stamps.sampled(sampled, now));
        let agent = Agent {
            plugin: "p".into(),
            node: node_name(node),
        };
        let fate = self.ledger.take(&agent, &report, sampled, now, INTERVAL);
        fate.unwrap();
    }

    fn add_up(&mut self) {
        let holdings = self.census.holdings(Timestamp::UNIX_EPOCH);
        let round = Round::new(&self.ledger.copy(), &holdings, self.now(), INTERVAL);
        self.round = Some((round, holdings));
    }

    fn total(&self, name: usize) -> Option<scope_totals_wire::Total> {
        let totals = self.round.as_ref()?.0.of("p")?;
        let total = totals.get(object(name), self.now(), INTERVAL)?;
        Some(super::tests::owned(total))
    }

    fn check(&mut self) {
        for name in 0..NAMES {
            let (Some(total), Some((_, holdings))) = (self.total(name), &self.round) else {
                continue;
            };
            let names: Vec<_> = holdings.nodes.iter().collect();
            let places = holdings.objects.get(&object(name)).expect("it has a total");
            let places: Vec<_> = places
                .iter()
                .map(|place| (names[place.node as usize], place.pods))
                .collect();
            let young = |&&(at, ..): &&(u64, usize, usize, u64)| at + REACH_MS > self.now_ms;
            let mut young = self
                .samples
                .iter()
                .filter(young)
                .copied()
                .collect::<Vec<_>>();
            young.retain(|(_, _, of, _)| *of == name);
            let sum = total.values.get(Metric::Memory).unwrap() as u64;
            let mut counted = 0;
            for pod in 0..PODS {
                let digit = sum / BASE.pow(pod as u32) % BASE;
                let is_there = places
                    .iter()
                    .any(|(node, _)| **node == node_name(pod % NODES));
                assert!(digit == 0 || is_there, "{pod} is on no node with one");
                let said = young
                    .iter()
                    .any(|(_, of, _, value)| *of == pod && *value == digit);
                assert!(digit == 0 || said, "{digit} is of no young sample of {pod}");
                counted += u32::from(digit > 0);
            }
            for (node, _) in &places {
                let told = young
                    .iter()
                    .any(|(_, pod, ..)| node_name(pod % NODES) == **node);
                assert!(told, "{node} has told nothing of {name}");
            }
            let all: u32 = places.iter().map(|(_, pods)| pods).sum();
            assert_eq!(total.counted, counted);
            assert!(total.pods >= all && counted <= total.pods);
            assert!((1..=REACH_MS).contains(&total.valid_ms));
            self.served += 1;
        }
    }

    /// All is quiet: every agent is of this release, and all have heard of all.
    fn calm(&mut self) {
        while !self.under_way.is_empty() {
            self.arrive(0, false);
        }
        self.now_ms += 1000;
        for node in 0..NODES {
            self.agents[node].old = false;
            self.hear_here(node);
            self.report(node);
            self.arrive(0, false);
        }
        self.hear_all();
        self.add_up();
        self.check();
        for name in 0..NAMES {
            let running = self.pods.iter().enumerate();
            let mine = running.filter_map(|(pod, runs)| {
                let (_, image, value) = (*runs)?;
                (image % NAMES == name).then(|| value * BASE.pow(pod as u32))
            });
            let mine: Vec<u64> = mine.collect();
            match self.total(name) {
                None => assert!(mine.is_empty(), "no total of {name}"),
                Some(total) => {
                    let truth: u64 = mine.iter().sum();
                    assert_eq!(total.values.get(Metric::Memory), Some(truth as f64));
                    let all = mine.len() as u32;
                    assert_eq!((total.counted, total.pods), (all, all));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, ..ProptestConfig::default() })]

    #[test]
    fn a_total_of_an_image_is_right_or_absent(steps in vec(step(), STEPS)) {
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
fn made_histories_lead_to_totals_of_images() {
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
