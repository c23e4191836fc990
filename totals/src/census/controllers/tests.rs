//! Which controllers have no pods: by table, and in made histories beside a plain model of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::census::{Census, Images, Maker, NamespaceMark, Pod};

const KINDS: [Kind; 4] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
];

fn uid(group: u8, number: u8) -> Uid {
    let mut bytes = [group; 16];
    bytes[15] = number;
    Uid::from_bytes(bytes)
}

fn wall() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn listed(controllers: &mut Controllers, kind: Kind) -> &mut Listed<Uid, Name> {
    match kind {
        Kind::Deployment => &mut controllers.deployments,
        Kind::StatefulSet => &mut controllers.stateful_sets,
        Kind::DaemonSet => &mut controllers.daemon_sets,
        Kind::CronJob => &mut controllers.cron_jobs,
        Kind::Job | Kind::Service | Kind::Image | Kind::Other => {
            panic!("{kind:?} is not followed by name")
        }
    }
}

fn complete(controllers: &mut Controllers) {
    for kind in KINDS {
        listed(controllers, kind).complete();
    }
    controllers.namespaces.complete();
}

fn name(namespace: &str, name: &str) -> Name {
    Name {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Three without pods in two namespaces, and one whose namespace is not known.
fn three() -> Controllers {
    let mut controllers = Controllers::default();
    complete(&mut controllers);
    controllers.namespaces.put("a".into(), uid(9, 1));
    controllers.namespaces.put("b".into(), uid(9, 2));
    for (number, kind, at) in [
        (1, Kind::Deployment, name("b", "one")),
        (2, Kind::CronJob, name("a", "two")),
        (3, Kind::StatefulSet, name("a", "one")),
        (4, Kind::DaemonSet, name("new", "one")),
    ] {
        listed(&mut controllers, kind).put(uid(1, number), at);
    }
    controllers
}

fn told(list: &WithoutPods) -> Vec<(Kind, &str, &str, Uid)> {
    let objects = list.objects().iter();
    objects
        .map(|one| (one.kind, &*one.namespace, &*one.name, one.namespace_uid))
        .collect()
}

#[test]
fn those_without_pods_by_namespace_and_name() {
    let controllers = three();
    let none = |_: &Object| false;
    let list = controllers.without_pods(none, 10).unwrap();
    let (a, b) = (uid(9, 1), uid(9, 2));
    assert_eq!(
        told(&list),
        [
            (Kind::StatefulSet, "a", "one", a),
            (Kind::CronJob, "a", "two", a),
            (Kind::Deployment, "b", "one", b),
        ]
    );
    assert_eq!(list.left_out(), 0);
    let short = controllers.without_pods(none, 2).unwrap();
    assert_eq!((short.objects().len(), short.left_out()), (2, 1));
    assert_eq!(short.objects(), &list.objects()[..2]);
    let has_pods = Object {
        kind: Kind::CronJob,
        uid: uid(1, 2),
    };
    let rest = controllers
        .without_pods(|one| *one == has_pods, 10)
        .unwrap();
    assert!(
        rest.objects()
            .iter()
            .all(|object| object.kind != Kind::CronJob)
    );
    assert_eq!(rest.objects().len(), 2);
}

#[test]
fn nothing_is_said_before_all_is_known() {
    let none = |_: &Object| false;
    for missing in 0..=KINDS.len() {
        let mut controllers = Controllers::default();
        for (number, kind) in KINDS.into_iter().enumerate() {
            if number != missing {
                listed(&mut controllers, kind).complete();
            }
        }
        if missing < KINDS.len() {
            controllers.namespaces.complete();
        }
        assert_eq!(controllers.without_pods(none, 10), None, "{missing}");
    }
    let mut controllers = Controllers::default();
    let before = controllers.edition();
    complete(&mut controllers);
    assert_ne!(controllers.edition(), before);
    let list = controllers.without_pods(none, 10).unwrap();
    assert!(list.objects().is_empty());
}

#[test]
fn the_version_goes_with_the_content() {
    let list = |change: fn(&mut Controllers)| {
        let mut controllers = three();
        change(&mut controllers);
        let list = controllers.without_pods(|_| false, 10);
        list.unwrap().version()
    };
    let changes: [fn(&mut Controllers); 6] = [
        |_| {},
        |c| c.deployments.put(uid(1, 1), name("b", "other")),
        |c| c.deployments.put(uid(1, 1), name("a", "b")),
        |c| c.deployments.remove(&uid(1, 1)),
        |c| c.namespaces.put("b".into(), uid(9, 3)),
        |c| {
            c.deployments.remove(&uid(1, 1));
            c.daemon_sets.put(uid(1, 1), name("b", "one"));
        },
    ];
    let versions: BTreeSet<u64> = changes.into_iter().map(list).collect();
    assert_eq!(versions.len(), 6);
    assert_eq!(list(|_| {}), list(|c| c.namespaces.remove(&"new".into())));
}

#[test]
fn a_list_that_is_held_is_not_sent_again() {
    let list = three().without_pods(|_| false, 2).unwrap();
    let version = list.version();
    for (held, objects) in [
        (None, Some(2)),
        (Some(version ^ 1), Some(2)),
        (Some(version), None),
    ] {
        let told = list.told(held, 15_000);
        assert_eq!(told.objects.map(|objects| objects.len()), objects);
        assert_eq!(
            (told.version, told.valid_ms, told.left_out),
            (version, 15_000, 1)
        );
    }
}

#[test]
fn names_are_read_of_metadata_and_a_namespace_is_kept_once() {
    let mut read = names();
    let mut one = |name: &str| {
        let object: PartialObjectMeta<Deployment> = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "a", "uid": uid(1, 1), "labels": {"x": "y"}},
        }))
        .unwrap();
        read(&object).unwrap()
    };
    let ((read, first), (_, second)) = (one("x"), one("y"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((read, &*first.name, &*second.name), (uid(1, 1), "x", "y"));
    assert!(Arc::ptr_eq(&first.namespace, &second.namespace));
    let object: PartialObjectMeta<Namespace> =
        serde_json::from_value(json!({"metadata": {"name": "a", "uid": uid(9, 1)}})).unwrap();
    assert_eq!(namespace(&object), Some(("a".into(), Some(uid(9, 1)))));
}

/// What happens in a cluster.
#[derive(Clone, Debug)]
enum Step {
    /// A controller of that kind is made, or another one takes its name.
    Make {
        kind: usize,
        number: u8,
    },
    Remove {
        kind: usize,
        number: u8,
    },
    /// A pod of a controller gets on a node, or off it.
    Run {
        pod: u8,
        kind: usize,
        number: u8,
        node: u8,
    },
    End(u8),
    /// A node comes or goes.
    Node {
        number: u8,
        is_there: bool,
    },
    /// A namespace is made anew.
    Namespace {
        number: u8,
        uid: u8,
    },
    /// A kind is listed anew after an interruption.
    ListAnew(usize),
}

const NUMBERS: u8 = 6;
const NODES: u8 = 3;
const NAMESPACES: u8 = 2;
/// Fewer than there may be.
const MOST: usize = 8;

fn step() -> impl Strategy<Value = Step> {
    let (kind, number) = (0..KINDS.len(), 0..NUMBERS);
    prop_oneof![
        4 => (kind.clone(), number.clone()).prop_map(|(kind, number)| Step::Make { kind, number }),
        2 => (kind.clone(), number.clone())
            .prop_map(|(kind, number)| Step::Remove { kind, number }),
        6 => (0..20_u8, kind.clone(), number, 0..NODES)
            .prop_map(|(pod, kind, number, node)| Step::Run { pod, kind, number, node }),
        4 => (0..20_u8).prop_map(Step::End),
        1 => (0..NODES, any::<bool>())
            .prop_map(|(number, is_there)| Step::Node { number, is_there }),
        1 => (0..NAMESPACES, 0..3_u8).prop_map(|(number, uid)| Step::Namespace { number, uid }),
        1 => kind.prop_map(Step::ListAnew),
    ]
}

/// The cluster as it is, and the census of it.
struct World {
    /// By kind and number.
    controllers: BTreeSet<(usize, u8)>,
    /// By number: the controller, and the node.
    pods: BTreeMap<u8, (usize, u8, u8)>,
    nodes: BTreeSet<u8>,
    namespaces: [u8; NAMESPACES as usize],
    census: Census,
}

/// What makes a pod of a controller, with a ReplicaSet or Job between where there is one.
fn maker(kind: usize, number: u8) -> Maker {
    match KINDS[kind] {
        Kind::Deployment => Maker::ReplicaSet(uid(20, number)),
        Kind::CronJob => Maker::Controller(Object {
            kind: Kind::Job,
            uid: uid(21, number),
        }),
        other => Maker::Controller(Object {
            kind: other,
            uid: uid(kind as u8, number),
        }),
    }
}

fn node(number: u8) -> Arc<str> {
    format!("node-{number}").into()
}

fn place(kind: usize, number: u8) -> Name {
    name(
        &format!("n{}", number % NAMESPACES),
        &format!("{kind}-{number}"),
    )
}

impl World {
    fn new() -> Self {
        let mut census = Census::default();
        complete(&mut census.controllers);
        for number in 0..NUMBERS {
            let owner = |kind, group| Object {
                kind,
                uid: uid(group, number),
            };
            census
                .replica_sets
                .put(uid(20, number), owner(Kind::Deployment, 0));
            census.jobs.put(uid(21, number), owner(Kind::CronJob, 3));
        }
        let mut world = Self {
            controllers: BTreeSet::new(),
            pods: BTreeMap::new(),
            nodes: BTreeSet::new(),
            namespaces: [0; NAMESPACES as usize],
            census,
        };
        for number in 0..NODES {
            world.take(&Step::Node {
                number,
                is_there: true,
            });
        }
        for number in 0..NAMESPACES {
            world.take(&Step::Namespace { number, uid: 0 });
        }
        world
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Make { kind, number } => {
                self.controllers.insert((kind, number));
                listed(&mut self.census.controllers, KINDS[kind])
                    .put(uid(kind as u8, number), place(kind, number));
            }
            Step::Remove { kind, number } => {
                self.controllers.remove(&(kind, number));
                listed(&mut self.census.controllers, KINDS[kind]).remove(&uid(kind as u8, number));
            }
            Step::Run {
                pod,
                kind,
                number,
                node: on,
            } => {
                self.pods.insert(pod, (kind, number, on));
                let kept = Pod {
                    node: node(on),
                    maker: maker(kind, number),
                    namespace: NamespaceMark::default(),
                    gone_by: None,
                    images: Images::default(),
                };
                self.census.pods.put(uid(30, pod), kept);
            }
            Step::End(pod) => {
                self.pods.remove(&pod);
                self.census.pods.remove(&uid(30, pod));
            }
            Step::Node { number, is_there } => {
                if is_there {
                    self.nodes.insert(number);
                    self.census.nodes.put(node(number), ());
                } else {
                    self.nodes.remove(&number);
                    self.census.nodes.remove(&node(number));
                }
            }
            Step::Namespace { number, uid: other } => {
                self.namespaces[usize::from(number)] = other;
                let namespaces = &mut self.census.controllers.namespaces;
                namespaces.put(format!("n{number}").into(), uid(40 + other, number));
            }
            Step::ListAnew(kind) => {
                let there = self.controllers.iter().filter(|(of, _)| *of == kind);
                let listed = listed(&mut self.census.controllers, KINDS[kind]);
                listed.begin();
                for (kind, number) in there {
                    listed.listed(uid(*kind as u8, *number), place(*kind, *number));
                }
                listed.complete();
            }
        }
    }

    /// What the list has to be.
    fn wanted(&self) -> Vec<(String, String, Uid, Uid)> {
        let runs = |(kind, number): (usize, u8)| {
            let mut pods = self.pods.values();
            pods.any(|pod| (pod.0, pod.1) == (kind, number) && self.nodes.contains(&pod.2))
        };
        let without = self.controllers.iter().filter(|one| !runs(**one));
        let mut wanted: Vec<_> = without
            .map(|(kind, number)| {
                let namespace = number % NAMESPACES;
                let other = self.namespaces[usize::from(namespace)];
                (
                    format!("n{namespace}"),
                    format!("{kind}-{number}"),
                    uid(*kind as u8, *number),
                    uid(40 + other, namespace),
                )
            })
            .collect();
        wanted.sort();
        wanted
    }
}

proptest! {
    #[test]
    fn the_list_is_of_all_that_have_no_pods_and_of_no_others(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        let mut versions = BTreeMap::new();
        for step in &steps {
            world.take(step);
            let holdings = world.census.holdings(wall());
            let row = |object: &Controller| {
                let (namespace, name) = (object.namespace.clone(), object.name.clone());
                (namespace, name, object.uid, object.namespace_uid)
            };
            let whole = holdings.without_pods.unwrap();
            let rows: Vec<_> = whole.objects().iter().map(row).collect();
            let wanted = world.wanted();
            prop_assert_eq!(&rows, &wanted);
            prop_assert_eq!(whole.left_out(), 0);
            let controllers = &world.census.controllers;
            let short = controllers.without_pods(|one| holdings.objects.get(one).is_some(), MOST).unwrap();
            let rows: Vec<_> = short.objects().iter().map(row).collect();
            prop_assert_eq!(&rows[..], &wanted[..wanted.len().min(MOST)]);
            prop_assert_eq!(short.left_out(), wanted.len().saturating_sub(MOST));
            // One version, one list.
            let known = versions.entry(short.version()).or_insert_with(|| rows.clone());
            prop_assert_eq!(known, &rows);
        }
    }
}
