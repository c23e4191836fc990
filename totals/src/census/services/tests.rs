//! Which pods are of which Services: by table, from the API server's objects to what agents are told.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use proptest::{collection::vec, prelude::*};
use scope_totals_wire::{Kind, MAX_MEMBERS, MAX_SERVICES, Object};
use serde_json::{Value, json};

use super::*;
use crate::census::{Census, Images, Maker, Memberships, Place, Versions};

fn uid(group: u8, number: u16) -> Uid {
    let mut bytes = [group; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    Uid::from_bytes(bytes)
}

const PODS: u8 = 1;
const SERVICES: u8 = 2;
const SLICES: u8 = 3;

fn wall() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

static NAMESPACES: LazyLock<Namespaces> = LazyLock::new(Namespaces::default);

fn shop() -> NamespaceMark {
    NAMESPACES.mark("shop")
}

fn pod(node: &str) -> Pod {
    Pod {
        node: node.into(),
        maker: Maker::Other,
        namespace: shop(),
        gone_by: None,
        images: Images::default(),
    }
}

fn endpoint(pod: u16) -> Value {
    json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": "p", "uid": uid(PODS, pod)}})
}

/// A slice of the Service `web`, which has the UID 1.
fn slice_of(endpoints: &Value) -> Value {
    json!({
        "metadata": {
            "name": "web-x", "namespace": "shop", "uid": uid(SLICES, 1),
            "labels": {"kubernetes.io/service-name": "web", "a": "b"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "web",
                "uid": uid(SERVICES, 1), "controller": true}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
    })
}

/// In the order of their names, which are their numbers.
const NODES: [&str; 2] = ["a", "b"];

/// What is known with these slices, of a cluster with pods 1 to 3 on the node `a`, 4 and 5 on `b`, and the Services
/// `web` and `api` of the namespace `shop`.
fn census(slices: &[Value]) -> Census {
    let mut census = Census::default();
    for node in NODES {
        census.nodes.put(node.into(), ());
    }
    for number in 1..=5 {
        let node = if number <= 3 { "a" } else { "b" };
        census.pods.put(uid(PODS, number), pod(node));
    }
    let (mut read_service, mut read) = (service(), slice(NAMESPACES.clone()));
    for (name, number) in [("web", 1), ("api", 2)] {
        let object: PartialObjectMeta<Service> = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": uid(SERVICES, number)},
        }))
        .unwrap();
        let (name, uid) = read_service(&object).unwrap();
        census.services.names.put(name, uid.unwrap());
    }
    for (number, slice) in slices.iter().enumerate() {
        let mut slice = slice.clone();
        slice["metadata"]["uid"] = json!(uid(SLICES, number as u16));
        let seen: SeenSlice = serde_json::from_value(slice).unwrap();
        match read(&seen).unwrap() {
            (uid, Some(slice)) => census.services.slices.put(uid, slice),
            (uid, None) => census.services.slices.remove(&uid),
        }
    }
    census.services.slices.complete();
    census.services.names.complete();
    census
}

/// The pods of each Service on a node, by numbers.
fn told(of: &Memberships, node: &str) -> Vec<(u16, Vec<u16>)> {
    let number = |uid: &Uid| u16::from_be_bytes([uid.as_bytes()[14], uid.as_bytes()[15]]);
    let list = of.told(node, 0, 1).services.unwrap();
    list.iter()
        .map(|one| (number(&one.uid), one.pods.iter().map(number).collect()))
        .collect()
}

/// The versions of the sets of pods on a node, as a round reads them.
fn versions<'a>(of: &'a Memberships, node: &str) -> Versions<'a> {
    let number = NODES.iter().position(|name| *name == node).unwrap();
    of.versions(number as u32)
}

fn memberships(census: &Census) -> Memberships {
    census.holdings(wall()).memberships.unwrap()
}

#[test]
fn slices_say_which_pods_belong_to_a_service() {
    let all = slice_of(&json!([endpoint(1), endpoint(2), endpoint(4)]));
    let with = |path: &str, value: Value| {
        let mut slice = all.clone();
        *slice.pointer_mut(path).unwrap() = value;
        slice
    };
    let named = |name: &str| {
        let mut slice = with("/metadata/ownerReferences", json!([]));
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": name});
        slice
    };
    let (one, two) = (
        slice_of(&json!([endpoint(1)])),
        slice_of(&json!([endpoint(2)])),
    );
    let conditions = json!({"ready": false, "serving": true, "terminating": true});
    type Told<'a> = &'a [(u16, &'a [u16])];
    type Row<'a> = (&'a str, Vec<Value>, Told<'a>, Told<'a>);
    let web: (Told<'_>, Told<'_>) = (&[(1, &[1, 2])], &[(1, &[4])]);
    let rows: [Row<'_>; 17] = [
        ("one slice", vec![all.clone()], web.0, web.1),
        (
            "two addresses of each pod",
            vec![all.clone(), with("/addressType", json!("IPv6"))],
            web.0,
            web.1,
        ),
        (
            "several slices",
            vec![one.clone(), two.clone()],
            &[(1, &[1, 2])],
            &[],
        ),
        (
            "a pod that is on its way out",
            vec![with("/endpoints/0/conditions", conditions)],
            web.0,
            web.1,
        ),
        (
            "a pod that the census does not know",
            vec![slice_of(&json!([endpoint(1), endpoint(99)]))],
            &[(1, &[1])],
            &[],
        ),
        (
            "no pod at all",
            vec![slice_of(&json!([{"addresses": ["192.0.2.1"]}]))],
            &[],
            &[],
        ),
        (
            "something else beside pods",
            vec![slice_of(&json!([endpoint(1), {"addresses": ["192.0.2.1"]},
                {"addresses": ["10.0.0.9"], "targetRef": {"kind": "Node", "name": "a", "uid": uid(PODS, 2)}}]))],
            &[(1, &[1])],
            &[],
        ),
        ("no endpoints", vec![slice_of(&json!([]))], &[], &[]),
        ("none, as null", vec![slice_of(&Value::Null)], &[], &[]),
        (
            "a slice that somebody else made",
            vec![named("web")],
            web.0,
            web.1,
        ),
        (
            "one pod in two Services",
            vec![all.clone(), named("api")],
            &[(1, &[1, 2]), (2, &[1, 2])],
            &[(1, &[4]), (2, &[4])],
        ),
        (
            "a Service that is not known",
            vec![named("other")],
            &[],
            &[],
        ),
        ("no name", vec![named("")], &[], &[]),
        (
            "no label",
            vec![with("/metadata/labels", json!({}))],
            &[],
            &[],
        ),
        (
            "of a Service of that name before",
            vec![
                with("/metadata/ownerReferences/0/uid", json!(uid(SERVICES, 9))),
                one.clone(),
            ],
            &[(1, &[1])],
            &[],
        ),
        (
            "of a mirrored Endpoints object",
            vec![with("/metadata/ownerReferences/0/kind", json!("Endpoints"))],
            web.0,
            web.1,
        ),
        (
            "another namespace",
            vec![with("/metadata/namespace", json!("bank"))],
            &[],
            &[],
        ),
    ];
    for (what, slices, a, b) in rows {
        let census = census(&slices);
        let holdings = census.holdings(wall());
        let of = holdings.memberships.as_ref().unwrap();
        let wanted = |told: Told<'_>| -> Vec<(u16, Vec<u16>)> {
            told.iter().map(|(of, pods)| (*of, pods.to_vec())).collect()
        };
        assert_eq!(told(of, "a"), wanted(a), "{what}");
        assert_eq!(told(of, "b"), wanted(b), "{what}");
        assert_eq!(told(of, "c"), [], "{what}");
        assert_eq!(of.left_out(), 0, "{what}");
        // A total is of just these.
        for number in [1, 2] {
            let count = |node: &str, told: Told<'_>| {
                let of = told.iter().find(|(of, _)| *of == number);
                of.map(|(_, pods)| Place {
                    node: holdings.nodes.number(node).unwrap(),
                    pods: pods.len() as u32,
                })
            };
            let wanted: Vec<_> = count("a", a).into_iter().chain(count("b", b)).collect();
            let object = Object {
                kind: Kind::Service,
                uid: uid(SERVICES, number),
            };
            let places = holdings.objects.get(&object);
            assert_eq!(places.unwrap_or_default(), wanted, "{what} {number}");
        }
    }
}

#[test]
fn a_service_of_whose_pods_not_all_can_be_told_has_no_total() {
    let mut slice = slice_of(&json!([endpoint(1), endpoint(4)]));
    slice["endpoints"][0]["targetRef"]["uid"] = Value::Null;
    let other = slice_of(&json!([endpoint(2)]));
    let of = memberships(&census(&[slice, other]));
    assert_eq!((told(&of, "a"), told(&of, "b")), (vec![], vec![]));
    assert_eq!((of.services(), of.left_out()), (0, 1));
}

/// Slices come in any order, and Services in that of their UIDs.
#[test]
fn a_service_that_cannot_be_told_takes_no_other_with_it() {
    let mut census = census(&[]);
    for (number, service) in [(1, 7), (2, 3), (3, 9), (4, 5)] {
        let name = Name {
            namespace: "some".into(),
            name: format!("s-{service}").into(),
        };
        census
            .services
            .names
            .put(name.clone(), uid(SERVICES, service));
        let slice = Slice {
            service: name,
            namespace: shop(),
            owner: None,
            pods: (service != 3).then(|| [uid(PODS, 1)].into()),
        };
        census.services.slices.put(uid(SLICES, number), slice);
    }
    let of = memberships(&census);
    assert_eq!(told(&of, "a"), [(5, vec![1]), (7, vec![1]), (9, vec![1])]);
    assert_eq!((of.services(), of.left_out()), (3, 1));
}

/// Replicas of two releases tell an agent of one cluster, and each has to know the list of the other.
#[test]
fn versions_are_those_of_every_release() {
    let of = memberships(&census(&[slice_of(&json!([endpoint(1), endpoint(2)]))]));
    let told = of.told("a", 0, 1);
    let set = told.services.unwrap()[0].version;
    let versions = (7_304_034_247_958_426_636, 15_996_726_261_461_431_794);
    assert_eq!((told.version, set), versions);
}

#[test]
fn pods_that_do_not_count_do_not_count_here() {
    let slice = slice_of(&json!([endpoint(1), endpoint(2), endpoint(4)]));
    let mut census = census(&[slice]);
    let overdue = Pod {
        gone_by: Some((wall() - SignedDuration::from_secs(31)).into()),
        ..pod("a")
    };
    census.pods.put(uid(PODS, 2), overdue);
    census.nodes.remove(&Arc::from("b"));
    let of = memberships(&census);
    assert_eq!(told(&of, "a"), [(1, vec![1])]);
    assert_eq!(told(&of, "b"), []);
    assert_eq!(of.services(), 1);
}

#[test]
fn totals_of_controllers_do_not_wait_for_services() {
    let mut known = census(&[]);
    for kind in ["slices", "names"] {
        let mut census = census(&[slice_of(&json!([endpoint(1)]))]);
        match kind {
            "slices" => census.services.slices = Listed::default(),
            _ => census.services.names = Listed::default(),
        }
        assert!(
            census.holdings(wall()).memberships.is_none(),
            "without {kind}"
        );
    }
    known.pods.complete();
    known.replica_sets.complete();
    known.jobs.complete();
    known.nodes.complete();
    known.services = Services::default();
    known.behind.fell("EndpointSlice");
    assert!(known.is_filled() && known.is_current());
    known.behind.fell("Pod");
    assert!(known.is_filled() && !known.is_current());
}

#[test]
fn with_only_some_watches_behind_no_service_has_a_total() {
    let mut census = census(&[slice_of(&json!([endpoint(1)]))]);
    let has = |census: &Census| census.holdings(wall()).memberships.is_some();
    let kinds = ["Pod", "Node", "EndpointSlice", "Service"];
    for (n, kind) in kinds.into_iter().enumerate() {
        let before = census.edition();
        census.behind.fell(kind);
        assert_ne!(census.edition(), before, "it has to be looked at anew");
        assert_eq!(has(&census), n == 3, "all are of the time before: {kind}");
    }
    let edition = census.edition();
    census.behind.fell("Pod");
    census.behind.caught_up("CronJob");
    assert_eq!(census.edition(), edition);
    for (n, kind) in kinds.into_iter().enumerate() {
        census.behind.caught_up(kind);
        assert_eq!(has(&census), n == 3, "all are of now: {kind}");
    }
    census.behind.fell("Deployment");
    assert!(has(&census), "Services do not go by its name");
}

#[test]
fn a_list_that_is_held_is_not_sent_again() {
    let of = memberships(&census(&[slice_of(&json!([endpoint(1), endpoint(4)]))]));
    let all = of.told("a", 0, 15_000);
    assert_eq!((all.valid_ms, all.services.unwrap().len()), (15_000, 1));
    assert_eq!(of.told("a", all.version, 1).services, None);
    let other = of.told("b", all.version, 1);
    assert!(other.version != all.version && other.services.is_some());
    let none = of.told("c", all.version, 1);
    assert_eq!(none.services, Some(Vec::new()));
    assert_eq!(of.told("c", none.version, 1).services, None);
    assert!(none.version > 0, "0 is for agents that have none");
}

#[test]
fn a_service_has_no_pods_of_another_namespace() {
    let slice = slice_of(&json!([endpoint(1), endpoint(2), endpoint(4)]));
    let mut census = census(&[slice]);
    for (number, node) in [(2, "a"), (4, "b")] {
        let other = Pod {
            namespace: NAMESPACES.mark("secret"),
            ..pod(node)
        };
        census.pods.put(uid(PODS, number), other);
    }
    let of = memberships(&census);
    assert_eq!(told(&of, "a"), [(1, vec![1])]);
    assert_eq!(told(&of, "b"), []);
}

#[test]
fn a_list_has_bounds_and_what_is_beyond_them_is_told_nowhere() {
    let mut census = census(&[]);
    let many = MAX_SERVICES as u16 + 2;
    let mut put = |number: u16, pods: Vec<Uid>| {
        let name = Name {
            namespace: "many".into(),
            name: format!("s-{number}").into(),
        };
        census
            .services
            .names
            .put(name.clone(), uid(SERVICES, number));
        let slice = Slice {
            service: name,
            namespace: shop(),
            owner: None,
            pods: Some(pods.into()),
        };
        census.services.slices.put(uid(SLICES, number), slice);
    };
    for number in 10..10 + many {
        put(number, vec![uid(PODS, 1), uid(PODS, 4)]);
    }
    // The last two have no room on either node. One that is on `b` alone has what they leave.
    put(1000, vec![uid(PODS, 5)]);
    let of = memberships(&census);
    assert_eq!(told(&of, "a").len(), MAX_SERVICES);
    assert_eq!(of.left_out(), 3);
    assert_eq!(of.services(), MAX_SERVICES);
    let mut versions = versions(&of, "a");
    for number in 10..10 + many {
        let is_told = number < 10 + MAX_SERVICES as u16;
        let version = versions.of(uid(SERVICES, number));
        assert_eq!(version.is_some(), is_told, "{number}");
    }

    let mut census = self::census(&[]);
    for number in 0..MAX_MEMBERS as u16 {
        census.pods.put(uid(9, number), pod("a"));
    }
    let full = (0..MAX_MEMBERS as u16).map(|number| uid(9, number));
    let full = Slice {
        service: Name {
            namespace: "shop".into(),
            name: "web".into(),
        },
        namespace: shop(),
        owner: None,
        pods: Some(full.collect()),
    };
    census.services.slices.put(uid(SLICES, 1), full);
    assert_eq!(memberships(&census).left_out(), 0);
    let one_more = Slice {
        service: Name {
            namespace: "shop".into(),
            name: "api".into(),
        },
        namespace: shop(),
        owner: None,
        pods: Some([uid(PODS, 4), uid(PODS, 1)].into()),
    };
    census.services.slices.put(uid(SLICES, 2), one_more);
    let of = memberships(&census);
    assert_eq!((of.services(), of.left_out()), (1, 1));
    let members: usize = told(&of, "a").iter().map(|(_, pods)| pods.len()).sum();
    assert!(members <= MAX_MEMBERS);
    assert_eq!(
        told(&of, "b").len(),
        0,
        "a total would be of these pods alone"
    );
}

proptest! {
    /// Whatever belongs to what, by slices in any pieces and twice: a list is of just that, and each set of
    /// pods and each list has a version of its own.
    #[test]
    fn lists_are_of_the_pods_that_belong(
        changes in vec((0..4_u16, vec(1..=5_u16, 0..4), 0..6_u16), 1..30),
    ) {
        let mut census = census(&[]);
        let mut slices: HashMap<u16, (u16, Vec<u16>)> = HashMap::new();
        let (mut sets, mut lists) = (HashMap::new(), HashMap::new());
        let name = |service: u16| Name {
            namespace: "x".into(),
            name: format!("s-{service}").into(),
        };
        for service in 0..4 {
            census.services.names.put(name(service), uid(SERVICES, service));
        }
        for (service, pods, number) in changes {
            let slice = Slice {
                service: name(service),
                namespace: shop(),
                owner: None,
                pods: Some(pods.iter().map(|pod| uid(PODS, *pod)).collect()),
            };
            census.services.slices.put(uid(SLICES, number), slice);
            slices.insert(number, (service, pods));
            let of = memberships(&census);
            for (node, on) in [("a", 1..=3), ("b", 4..=5)] {
                let mut wanted: Vec<(u16, Vec<u16>)> = Vec::new();
                for service in 0..4 {
                    let pods: BTreeSet<u16> = slices
                        .values()
                        .filter(|(of, _)| *of == service)
                        .flat_map(|(_, pods)| pods.iter().copied())
                        .filter(|pod| on.contains(pod))
                        .collect();
                    if !pods.is_empty() {
                        wanted.push((service, pods.into_iter().collect()));
                    }
                }
                prop_assert_eq!(&told(&of, node), &wanted);
                let list = of.told(node, 0, 1);
                let (mut every, mut some) = (versions(&of, node), versions(&of, node));
                for service in (0..4).map(|service| uid(SERVICES, service)) {
                    let mut told = list.services.iter().flatten();
                    let told = told.find(|one| one.uid == service);
                    prop_assert_eq!(every.of(service), told.map(|one| one.version));
                }
                for one in list.services.unwrap() {
                    prop_assert_eq!(some.of(one.uid), Some(one.version));
                    prop_assert!(one.version > 0);
                    let known = sets.entry(one.version).or_insert_with(|| one.pods.clone());
                    prop_assert_eq!(known, &one.pods);
                }
                let known = lists.entry(list.version).or_insert_with(|| wanted.clone());
                prop_assert_eq!(known, &wanted);
            }
        }
    }
}
