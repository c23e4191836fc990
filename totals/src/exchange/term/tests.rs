//! A term in which nobody looks for a while.

use std::time::Duration;

use scope_totals_wire::{Kind, Metric, Node, Object, Partial, Sampled, Uid};

use super::*;
use crate::{
    census::{Census, Images, Maker, Name, NamespaceMark, Pod},
    top::{Ask, Person, Wanted},
};

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn object() -> Object {
    Object {
        kind: Kind::StatefulSet,
        uid: Uid::from_bytes([1; 16]),
    }
}

/// One pod of the controller on each of the two nodes.
fn holdings() -> Arc<Holdings> {
    let mut census = Census::default();
    for (number, node) in [(10, "a"), (11, "b")] {
        census.nodes.put(node.into(), ());
        let pod = Pod {
            node: node.into(),
            maker: Maker::Controller(object()),
            namespace: NamespaceMark::default(),
            gone_by: None,
            images: Images::default(),
        };
        census.pods.put(Uid::from_bytes([number; 16]), pod);
    }
    census.pods.complete();
    census.replica_sets.complete();
    census.jobs.complete();
    census.nodes.complete();
    Arc::new(census.holdings(WALL))
}

/// Two agents and their service, in which time passes as the test says.
struct World {
    term: Term,
    holdings: Arc<Holdings>,
    sequence: u64,
    /// On each node, by what the agents say.
    pods: u32,
    stamps: [Option<wire::Stamp>; 2],
}

impl World {
    fn new() -> Self {
        let holdings = holdings();
        Self {
            term: Term::new(1, Arc::clone(&holdings), WALL, at(0)),
            holdings,
            sequence: 0,
            pods: 1,
            stamps: [None, None],
        }
    }

    /// One of the two reports a sample of now.
    fn report(&mut self, agent: usize, watched: Option<bool>, seconds: u64) -> Reply {
        self.sequence += 1;
        let agent_ = Agent {
            plugin: "p".into(),
            node: ["a", "b"][agent].into(),
        };
        let sampled = self.stamps[agent].take().map(|stamp| {
            // The stamp says when its reply was given, so a sample of now is so much later.
            let (_, given) = stamp.0.split_once('-').expect("it is of Stamps");
            let given: u64 = given.parse().expect("milliseconds");
            Sampled {
                stamp,
                after_ms: seconds * 1000 - given,
            }
        });
        let report = Report {
            version: VERSION,
            boot: format!("boot-{agent}"),
            sequence: self.sequence,
            sampled,
            node: Node { cpus: 1, memory: 1 },
            objects: vec![Partial {
                kind: object().kind,
                uid: object().uid,
                counted: self.pods,
                members: None,
                values: [(Metric::Millicores, 100.0)].into_iter().collect(),
            }],
            podless: None,
            server_away: false,
            watched,
            services: None,
            health: None,
            top: Vec::new(),
        };
        let now = at(seconds);
        let fate = self.term.take(&agent_, &report, now).expect("one plugin");
        let write = |reply: &Reply<ValuesOf<'_>>| serde_json::to_vec(reply).unwrap();
        let written = self.term.reply(&agent_, &report, fate, now, write);
        let reply: Reply = serde_json::from_slice(&written).unwrap();
        self.stamps[agent] = Some(reply.stamp.clone());
        reply
    }

    fn add_up(&self, seconds: u64) {
        self.term
            .add_up(Arc::clone(&self.holdings), WALL, at(seconds));
    }

    /// Both report, and it is added up, until this time.
    fn go_on(&mut self, watched: [Option<bool>; 2], from: u64, until: u64) {
        for seconds in from..until {
            self.report(0, watched[0], seconds);
            self.report(1, watched[1], seconds);
            self.add_up(seconds);
        }
    }
}

fn total(reply: &Reply) -> Option<f64> {
    let value = reply.totals.first()?.values.iter().next()?;
    Some(value.1)
}

#[test]
fn agents_rest_while_nobody_looks_and_totals_are_of_now_when_somebody_does() {
    let mut world = World::new();
    world.go_on([Some(false); 2], 1, 59);
    let reply = world.report(0, Some(false), 59);
    assert_eq!((reply.resting, reply.interval_ms), (false, 4000));
    assert_eq!(total(&reply), Some(200.0));

    world.go_on([Some(false); 2], 60, 70);
    let reply = world.report(0, Some(false), 70);
    assert_eq!((reply.resting, reply.interval_ms), (true, 14_000));
    assert_eq!(reply.totals, [], "nobody sees them");
    world.report(1, Some(false), 75);
    world.add_up(75);

    // b said its last word 19 s ago, which was good enough as long as all rested.
    let reply = world.report(0, Some(true), 94);
    assert_eq!((reply.resting, reply.interval_ms), (false, 4000));
    assert_eq!(total(&reply), None);
    world.add_up(94);
    assert_eq!(total(&world.report(0, Some(true), 95)), None);
    let fleet = world.term.fleet_told(at(95));
    assert_eq!(fleet.plugins[0].nodes, 2, "both are well");

    assert!(!world.report(1, Some(false), 96).resting);
    world.add_up(96);
    assert_eq!(total(&world.report(0, Some(true), 97)), Some(200.0));
}

#[test]
fn nobody_rests_while_an_agent_does_not_tell_or_somebody_looks_elsewhere() {
    for watched in [[None, Some(false)], [Some(true), Some(false)]] {
        let mut world = World::new();
        world.go_on(watched, 1, 200);
        let reply = world.report(1, Some(false), 200);
        assert!(
            !reply.resting && total(&reply) == Some(200.0),
            "{watched:?}"
        );
    }
}

#[tokio::test]
async fn a_round_is_due_soon_when_pods_came_or_went() {
    let mut world = World::new();
    let is_due = async |world: &World| {
        let changed = tokio::time::timeout(Duration::from_millis(1), world.term.changed());
        changed.await.is_ok()
    };
    world.go_on([Some(true); 2], 1, 5);
    assert!(is_due(&world).await, "they are new");
    world.go_on([Some(true); 2], 5, 10);
    assert!(!is_due(&world).await);
    world.pods = 2;
    world.report(0, Some(true), 10);
    assert!(is_due(&world).await);
    world.report(0, Some(true), 11);
    assert!(!is_due(&world).await);
    world.go_on([Some(false); 2], 11, 80);
    assert!(is_due(&world).await, "b has more now, too");
    world.pods = 3;
    world.report(0, Some(false), 80);
    assert!(!is_due(&world).await, "nobody looks");
}

#[tokio::test]
async fn a_round_is_due_when_somebody_looks_again() {
    let mut world = World::new();
    world.go_on([Some(false); 2], 1, 70);
    assert!(world.term.pace().is_resting());
    world.report(0, Some(true), 70);
    world.term.woken().await;
}

#[tokio::test]
async fn who_asks_about_pods_wakes_the_agents_and_about_controllers_nobody() {
    let mut world = World::new();
    world.go_on([Some(false); 2], 1, 70);
    let plugin: Arc<str> = "p".into();
    let ask = |of| Ask {
        of,
        metric: Metric::Millicores,
        namespace: None,
        plugin: None,
        limit: 10,
    };
    let mut census = Census::default();
    let name = Name {
        namespace: "x".into(),
        name: "set".into(),
    };
    census.controllers.stateful_sets.put(object().uid, name);
    let of_sets = ask(wire::TopOf::StatefulSets);
    let told = world.term.totalled(&plugin, &of_sets, &census, at(100));
    assert_eq!((told.rows.len(), told.left_out), (1, 0), "{told:?}");
    assert_eq!(told.nodes, wire::Answered { answered: 2, of: 2 });
    assert!(world.term.pace().is_resting(), "what is known is enough");

    let wanted = Wanted {
        plugin: Arc::clone(&plugin),
        of: wire::Asked::Pods,
        metric: Metric::Millicores,
        namespace: None,
    };
    let name = Arc::from("jane");
    let person = Person {
        name: &name,
        limit: 10,
    };
    let open = world.term.ask(&wanted, person, at(100)).expect("room");
    world.term.woken().await;
    assert_eq!(open.until, at(120), "an agent at rest hears it late");
    let reply = world.report(0, Some(false), 101);
    assert_eq!((reply.resting, reply.top.len()), (false, 1));
    let pods = ask(wire::TopOf::Pods);
    let told = world
        .term
        .found(&wanted, &pods, &open, WALL, at(101))
        .expect("it is asked");
    assert_eq!(told.nodes, wire::Answered { answered: 0, of: 2 });
    // Nobody asks any more.
    world.go_on([Some(false); 2], 102, 300);
    let reply = world.report(0, Some(false), 300);
    assert_eq!((reply.resting, reply.top), (true, Vec::new()));
}
