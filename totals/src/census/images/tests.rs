//! Which images pods run: by table, from the API server's objects to the places of their names.

use jiff::Timestamp;
use scope_totals_wire::{Kind, Object};
use serde_json::{Value, json};

use super::*;
use crate::census::{Census, Maker, NamespaceMark, Pod, SeenPod};

fn digest(number: u8) -> String {
    format!("docker.io/library/x@sha256:{number:064x}")
}

fn status(name: &str, image_id: &str) -> Value {
    json!({"name": name, "image": "docker.io/library/status:1", "imageID": image_id,
        "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}}})
}

fn seen(spec: &Value, status: &Value) -> SeenPod {
    let mut spec = spec.clone();
    spec["nodeName"] = "a".into();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": Uid::from_bytes([1; 16])}, "spec": spec, "status": status,
    }))
    .unwrap()
}

#[test]
fn running_containers_of_every_list_have_the_name_of_the_spec() {
    let spec = json!({
        "containers": [
            {"name": "app", "image": "registry.example/shop/app:1", "env": [{"name": "A"}]},
            {"name": "bare"},
        ],
        "initContainers": [{"name": "sidecar", "image": "mesh:2", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
    });
    let of = |name: &str, number: u8| Image {
        name: image_uid(name),
        id: image_id_uid(&digest(number)),
    };
    let running = json!({
        "containerStatuses": [status("app", &digest(1)), status("bare", &digest(2))],
        "initContainerStatuses": [status("sidecar", &digest(3))],
        "ephemeralContainerStatuses": [status("debug", &digest(4))],
    });
    let all = [
        of("shop/app", 1),
        of("docker.io/library/status", 2),
        of("mesh", 3),
        of("busybox", 4),
    ];
    assert_eq!(seen(&spec, &running).images(), all);
    for state in [
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        json!({"terminated": {"exitCode": 0}}),
        json!({}),
        Value::Null,
    ] {
        let mut status = running.clone();
        status["containerStatuses"][0]["state"] = state;
        assert_eq!(seen(&spec, &status).images(), &all[1..]);
    }
    for id in [json!(""), Value::Null] {
        let mut status = running.clone();
        status["containerStatuses"][0]["imageID"] = id;
        assert_eq!(seen(&spec, &status).images(), &all[1..]);
    }
    assert_eq!(seen(&spec, &json!({"phase": "Pending"})).images(), []);
}

fn image(name: &str, id: u8) -> Image {
    Image {
        name: image_uid(name),
        id: image_id_uid(&digest(id)),
    }
}

#[test]
fn pods_of_one_template_share_their_images() {
    let mut pool = Pool::default();
    let (one, two) = (image("a", 1), image("b", 2));
    let first = pool.shared(&[one, two, two]);
    let second = pool.shared(&[two, one]);
    assert_eq!(first, second);
    let (Some(first), Some(second)) = (&first.0, &second.0) else {
        panic!("they have some");
    };
    assert!(Arc::ptr_eq(first, second));
    assert_eq!(pool.shared(&[]).0, None);
    for number in 0..10 * FEW {
        pool.shared(&[image(&number.to_string(), 1)]);
        assert!(pool.known.len() <= FEW, "{}", pool.known.len());
    }
    assert!(
        pool.shared(&[one, two])
            .0
            .is_some_and(|set| Arc::ptr_eq(&set, first))
    );
}

/// Of each name the nodes and how many pods of it they have.
fn places(pods: &[(&str, &[Image])], name: &str) -> Option<Vec<(String, u32)>> {
    let (mut census, mut pool) = (Census::default(), Pool::default());
    for node in ["a", "b"] {
        census.nodes.put(node.into(), ());
    }
    for (number, (node, images)) in (0..).zip(pods) {
        let pod = Pod {
            node: (*node).into(),
            maker: Maker::Other,
            namespace: NamespaceMark::default(),
            gone_by: None,
            images: pool.shared(images),
        };
        census.pods.put(Uid::from_bytes([number; 16]), pod);
    }
    let holdings = census.holdings(Timestamp::UNIX_EPOCH);
    let (kind, uid) = (Kind::Image, image_uid(name));
    let places = holdings.objects.get(&Object { kind, uid })?;
    let names: Vec<_> = holdings.nodes.iter().collect();
    let places = places
        .iter()
        .map(|place| (names[place.node as usize].to_string(), place.pods));
    Some(places.collect())
}

#[test]
fn a_pod_counts_once_for_each_name() {
    let (old, new, mesh) = (image("app", 1), image("app", 2), image("mesh", 3));
    let pods: [(&str, &[Image]); 5] = [
        ("a", &[old, mesh]),
        ("a", &[new, old]),
        ("b", &[mesh]),
        ("b", &[]),
        ("gone", &[new]),
    ];
    let at = |node: &str, pods| (node.to_owned(), pods);
    assert_eq!(places(&pods, "app"), Some(vec![at("a", 2)]));
    assert_eq!(places(&pods, "mesh"), Some(vec![at("a", 1), at("b", 1)]));
    assert_eq!(places(&pods, "other"), None);
}

#[test]
fn an_image_under_two_names_is_under_neither() {
    let (one, other) = (image("nginx", 1), image("library/nginx", 1));
    let (newer, mesh) = (image("nginx", 2), image("mesh", 3));
    let pods: [(&str, &[Image]); 3] = [("a", &[one]), ("b", &[newer, mesh]), ("b", &[other])];
    assert_eq!(places(&pods, "nginx"), None);
    assert_eq!(places(&pods, "library/nginx"), None);
    assert!(places(&pods, "mesh").is_some());
    assert!(places(&pods[..2], "nginx").is_some());
}
