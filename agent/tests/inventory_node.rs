//! The look at the Node object against a scripted API server.

mod api_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_server::{ApiServer, Reply, eventually};
use scope_agent::inventory::{InventoryWatch, NodeLookSettings, look_at_node};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

const PATH: &str = "/api/v1/nodes/node-1.example.org";

fn look(server: &ApiServer, every: Duration) -> (InventoryWatch, DropGuard) {
    let (shared, stop) = (InventoryWatch::default(), CancellationToken::new());
    let settings = NodeLookSettings {
        every,
        after_failure: Duration::from_millis(10),
        ..NodeLookSettings::new("node-1.example.org", Duration::ZERO)
    };
    let client = server.access().lookup_client().expect("a client");
    tokio::spawn(look_at_node(client, settings, shared.clone(), stop.clone()));
    (shared, stop.drop_guard())
}

fn node() -> serde_json::Value {
    json!({"metadata": {"labels": {"zone": "a"}, "uid": "0a1b2c3d"},
           "status": {"nodeInfo": {"kubeletVersion": "v1.31.2"}}})
}

#[tokio::test]
async fn it_is_asked_for_once_from_the_cache() {
    let server = ApiServer::start(|_| Reply::ok(node())).await;
    let (shared, _stop) = look(&server, Duration::from_secs(300));
    eventually("the object", || shared.inventory.load().node.is_some()).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].is("GET", PATH), "{seen:?}");
    assert_eq!(seen[0].query["resourceVersion"], "0");
    let inventory = shared.inventory.load();
    let object = inventory.node.as_ref().expect("just seen");
    assert_eq!(object.kubelet, "v1.31.2");
    assert_eq!(object.labels["zone"], "a");
    assert_eq!(inventory.node_uid(), Some("0a1b2c3d"));
}

/// Not from a cache, which may not have heard of the change yet.
#[tokio::test]
async fn whoever_changed_it_has_the_newest_asked_for_at_once() {
    let server = ApiServer::start(|seen| {
        let mut node = node();
        let newest = !seen.query.contains_key("resourceVersion");
        node["spec"]["unschedulable"] = newest.into();
        Reply::ok(node)
    })
    .await;
    let (shared, _stop) = look(&server, Duration::from_secs(300));
    let cordoned = || {
        let inventory = shared.inventory.load();
        inventory.node.as_ref().map(|node| node.unschedulable)
    };
    eventually("the object", || cordoned() == Some(false)).await;
    shared.node_changed.notify_one();
    eventually("the change", || cordoned() == Some(true)).await;
    assert_eq!(server.count(|_| true), 2);
}

#[tokio::test]
async fn what_was_seen_last_stays_and_it_is_tried_again() {
    let refuse = Arc::new(AtomicBool::new(true));
    let script = refuse.clone();
    let server = ApiServer::start(move |_| match script.load(Ordering::SeqCst) {
        true => Reply::status(403, "Forbidden", "nodes \"node-1\" is forbidden"),
        false => Reply::ok(node()),
    })
    .await;
    let (shared, _stop) = look(&server, Duration::from_millis(40));
    eventually("three looks", || server.count(|_| true) >= 3).await;
    assert!(shared.inventory.load().node.is_none());
    refuse.store(false, Ordering::SeqCst);
    eventually("the object", || shared.inventory.load().node.is_some()).await;
    refuse.store(true, Ordering::SeqCst);
    let so_far = server.count(|_| true);
    eventually("looks that fail", || server.count(|_| true) > so_far + 3).await;
    assert!(shared.inventory.load().node.is_some());
}
