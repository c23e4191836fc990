//! As many pods as a node can have.

use std::time::Duration;

use scope_protocol::Topology;
use serde_json::{Value, json};

use crate::api_server::{Reply, Seen, eventually};
use crate::objects::{list, meta, pod};
use crate::watching::{Watches, Watching, namespaces};

/// A pod with all that a real one carries, which is of no use here.
fn big(n: usize, owners: usize) -> Value {
    let mut pod = pod(
        &format!("uid-{n}"),
        &format!("ns-{}", n % 20),
        Some(("ReplicaSet", &format!("rs-{}", n % owners))),
    );
    pod["metadata"]["annotations"] = json!({"last-applied": "x".repeat(4000)});
    pod["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:x": "y".repeat(4000)}}]);
    pod["spec"]["containers"] = json!([
        {"name": "app", "image": "example.org/app:1", "livenessProbe": {"exec": {}},
         "env": [{"name": "A", "value": "z".repeat(4000)}]},
        {"name": "proxy", "image": "example.org/proxy:1"}]);
    let status = |name: &str, c: usize| {
        json!({"name": name, "containerID": format!("containerd://{:064x}", n * 2 + c),
            "imageID": format!("sha256:{:064x}", c), "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-23T01:00:00Z"}}})
    };
    pod["status"]["containerStatuses"] = json!([status("app", 0), status("proxy", 1)]);
    pod
}

fn owners(seen: &Seen) -> Reply {
    match seen.path.rsplit_once("/replicasets/") {
        Some((_, name)) => {
            let found = meta(&format!("uid-{name}"), Some(("Deployment", name)));
            // As slow as a busy API server.
            Reply::Late(Duration::from_millis(20), Box::new(Reply::ok(found)))
        }
        None => namespaces(seen),
    }
}

/// What so many pods cost: requests, inventories, bytes that came, bytes that are kept.
async fn cost(pods: usize, sets: usize) -> (usize, u64, usize, usize) {
    let all: Vec<Value> = (0..pods).map(|n| big(n, sets)).collect();
    let body = list(&all);
    let bytes = body.to_string().len();
    let watches = Watches::default();
    let (watching, requests, lookups) = Watching::in_process(
        move |seen| {
            if seen.is_watch() {
                return watches.open();
            }
            Reply::ok(body.clone())
        },
        owners,
    );
    eventually("all is known", || {
        let inventory = watching.inventory();
        inventory.pods.len() == pods && inventory.pods.values().all(|pod| pod.owners.len() == 2)
    })
    .await;
    let inventory = watching.inventory();
    assert_eq!(inventory.namespaces.len(), pods.min(20));
    for pod in inventory.pods.values() {
        assert_eq!(pod.containers.len(), 2);
        assert_eq!(pod.owners[1].topology, Topology::Deployment);
    }
    let asked = requests.seen().len() + lookups.seen().len();
    let kept = format!("{inventory:?}").len();
    (asked, watching.state().inventories, bytes, kept)
}

#[tokio::test(start_paused = true)]
async fn five_hundred_pods_cost_what_they_must() {
    // Owners are named per namespace, and 100 sets in 20 namespaces make 100 pairs.
    let (asked, inventories, came, kept) = cost(500, 100).await;
    assert_eq!(
        asked,
        2 + 100 + 20,
        "a list, a watch, and a GET per owner and namespace"
    );
    // 120 lookups of 20 ms, four at a time, and ten inventories a second.
    assert!(inventories <= 2 + 6, "{inventories}");
    assert!(came > 5_000_000, "{came}");
    assert!(kept * 10 < came, "{kept} of {came} bytes");
}

#[tokio::test(start_paused = true)]
async fn ten_times_the_pods_cost_ten_times_as_much() {
    let (few_asked, few, _, few_kept) = cost(50, 50).await;
    let (asked, inventories, _, kept) = cost(500, 500).await;
    assert!(asked <= few_asked * 10, "{asked} {few_asked}");
    assert!(inventories <= few * 10, "{inventories} {few}");
    assert!(kept <= few_kept * 11, "{kept} {few_kept}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_live_for_less_than_a_second_leave_nothing_behind() {
    let watches = Watches::default();
    let (watching, _, lookups) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&[pod("stays", "ns", Some(("ReplicaSet", "web")))]))
            }
        },
        owners,
    );
    eventually("it is known", || {
        watching.owners("stays").len() == 2 && watches.count() == 1
    })
    .await;
    let held = watching.always("the pod that stays is known", |inventory| {
        inventory.pods.contains_key("stays") && inventory.namespaces.contains_key("ns")
    });
    let before = watching.inventory();
    let (inventories, began) = (watching.state().inventories, tokio::time::Instant::now());
    let mut shown = 0;
    for n in 0..200 {
        let (uid, namespace) = (format!("short-{n}"), format!("short-ns-{n}"));
        let short = pod(&uid, &namespace, Some(("ReplicaSet", "web")));
        watches.send("ADDED", short.clone());
        tokio::time::sleep(Duration::from_millis(n % 7 * 40)).await;
        shown += usize::from(watching.inventory().pods.contains_key(&uid));
        watches.send("DELETED", short);
    }
    eventually("it is as it was", || watching.inventory() == before).await;
    assert!(
        (40..200).contains(&shown),
        "those are seen that last: {shown}"
    );
    let most = began.elapsed().as_millis() as u64 / 100 + 2;
    assert!(watching.state().inventories - inventories <= most);
    // What nobody needs any more is not asked again.
    let asked = lookups.seen().len();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(lookups.seen().len(), asked);
    held.held().await;
}
