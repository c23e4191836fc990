//! Who draws the controllers without pods, in made histories: agents that are asked and fall silent, die, come
//! back and are of nodes that are removed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::{
    tests::{agent, health, report},
    *,
};

const NODES: usize = 5;
const INTERVAL: Duration = Duration::from_secs(5);
const PLUGINS: [&str; 2] = ["p", "q"];

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// An agent reports: when a probe asked it, if it tells.
    Report {
        plugin: usize,
        node: usize,
        asked: Option<u64>,
        tells: bool,
    },
    /// A node is removed, with its agents.
    Remove(usize),
    Round,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        3 => (100..4000_u64).prop_map(Step::Wait),
        8 => (
            0..PLUGINS.len(),
            node.clone(),
            proptest::option::weighted(0.8, 0..90_000_u64),
            proptest::bool::weighted(0.9),
        )
            .prop_map(|(plugin, node, asked, tells)| Step::Report { plugin, node, asked, tells }),
        1 => node.prop_map(Step::Remove),
        5 => Just(Step::Round),
    ]
}

fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

/// When each agent reported last, and whether it was asked by then.
type Model = BTreeMap<(usize, usize), (u64, bool)>;

/// The nodes whose agents may be chosen.
fn eligible(model: &Model, plugin: usize, now_ms: u64) -> BTreeSet<Arc<str>> {
    let agents = model.iter().filter(|((of, _), _)| *of == plugin);
    agents
        .filter(|(_, (heard, asked))| *asked && now_ms < heard + 15_000)
        .map(|((_, node), _)| name(*node))
        .collect()
}

proptest! {
    #[test]
    fn two_of_those_that_are_asked_and_they_stay(steps in vec(step(), 1..150)) {
        let (mut fleet, mut designated) = (Fleet::default(), Designated::default());
        let (mut model, mut now_ms) = (Model::new(), 100_000);
        for step in steps {
            let now = Moment::after_start(Duration::from_millis(now_ms));
            match step {
                Step::Wait(ms) => now_ms += ms,
                Step::Report { plugin, node, asked, tells } => {
                    let health = tells.then(|| health(asked)).flatten();
                    let is_asked = tells && asked.is_some_and(|ms| ms < 60_000);
                    fleet.take(&agent(PLUGINS[plugin], &name(node)), &report("x", health), now);
                    model.insert((plugin, node), (now_ms, is_asked));
                }
                Step::Remove(node) => {
                    let left = (0..NODES).filter(|other| *other != node).map(name);
                    fleet.forget(&left.collect());
                    model.retain(|(_, other), _| *other != node);
                }
                Step::Round => {
                    let before = designated.clone();
                    designated = before.next(&fleet, now, INTERVAL);
                    for (number, plugin) in PLUGINS.iter().enumerate() {
                        let can = eligible(&model, number, now_ms);
                        let chosen = designated.nodes(plugin);
                        let distinct: BTreeSet<Arc<str>> = chosen.iter().cloned().collect();
                        prop_assert_eq!(distinct.len(), chosen.len());
                        prop_assert_eq!(chosen.len(), can.len().min(2));
                        prop_assert!(distinct.is_subset(&can), "{:?} of {:?}", chosen, can);
                        let stay = before.nodes(plugin).iter().filter(|node| can.contains(*node));
                        for node in stay {
                            prop_assert!(chosen.contains(node), "{} may go on", node);
                        }
                        // Another replica, which knows nothing of before, agrees with itself.
                        let fresh = Designated::default();
                        let fresh = fresh.next(&fleet, now, INTERVAL);
                        prop_assert_eq!(&fresh, &fresh.next(&fleet, now, INTERVAL));
                    }
                    prop_assert_eq!(designated.clone(), designated.next(&fleet, now, INTERVAL));
                }
            }
        }
    }
}

#[test]
fn replicas_choose_the_same_and_plugins_other_nodes() {
    let choose = |order: &[usize]| {
        let mut fleet = Fleet::default();
        for node in order {
            for plugin in ["a", "b", "c", "d"] {
                let told = report("x", health(Some(1)));
                fleet.take(&agent(plugin, &name(*node)), &told, Moment::default());
            }
        }
        Designated::default().next(&fleet, Moment::default(), INTERVAL)
    };
    let forward: Vec<usize> = (0..50).collect();
    let backward: Vec<usize> = (0..50).rev().collect();
    let chosen = choose(&forward);
    assert_eq!(chosen, choose(&backward));
    assert_eq!(chosen.len(), 8);
    let nodes: BTreeSet<_> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|plugin| chosen.nodes(plugin))
        .collect();
    assert!(nodes.len() > 2, "{nodes:?}");
    let first = agent("a", &chosen.nodes("a")[0]);
    assert!(chosen.is(&first));
    assert!(!chosen.is(&agent("e", &first.node)));
}
