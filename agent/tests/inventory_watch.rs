//! The inventory against a scripted API server: which requests go out, and what comes of answers,
//! events and failures.

mod api_server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api_server::{ApiServer, Reply, Seen, eventually};
use scope_agent::inventory::{Inventory, InventoryWatch, WatchSettings, watch};
use scope_protocol::Topology;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

const NODE: &str = "node-1.example.org";

fn pod(uid: &str, namespace: &str, owner: Option<(&str, &str)>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": uid, "namespace": namespace, "uid": uid, "resourceVersion": "10"},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running"}});
    if let Some((kind, name)) = owner {
        let api = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind,
            "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    }
    pod
}

fn list(pods: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "100"},
           "items": pods})
}

fn meta(uid: &str, owner: Option<(&str, &str)>) -> Value {
    let mut object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "x", "uid": uid}});
    if let Some((kind, name)) = owner {
        let api = if kind == "CronJob" {
            "batch/v1"
        } else {
            "apps/v1"
        };
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind,
            "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    }
    object
}

/// The watches that are open, so that tests can send events.
#[derive(Clone, Default)]
struct Watches(Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>>);

impl Watches {
    fn open(&self) -> Reply {
        let (sender, reply) = Reply::watch();
        self.0.lock().expect("unpoisoned").push(sender);
        reply
    }

    fn count(&self) -> usize {
        self.0.lock().expect("unpoisoned").len()
    }

    fn send(&self, kind: &str, object: Value) {
        let watches = self.0.lock().expect("unpoisoned");
        let event = json!({"type": kind, "object": object});
        watches
            .last()
            .expect("a watch")
            .send(event)
            .expect("it is open");
    }

    /// Ends the watch, as the API server does after its time.
    fn end(&self) {
        self.0.lock().expect("unpoisoned").pop();
    }
}

struct Watching {
    shared: InventoryWatch,
    _stop: DropGuard,
}

impl Watching {
    fn start(access: &scope_agent::kubernetes::Access) -> Self {
        let shared = InventoryWatch::default();
        let client = access
            .watch_client(shared.contact.clone())
            .expect("a client");
        let stop = CancellationToken::new();
        let settings = WatchSettings {
            node: NODE.into(),
            start_jitter: Duration::ZERO,
        };
        let lookups = access.lookup_client().expect("a client");
        tokio::spawn(watch(
            client,
            lookups,
            settings,
            shared.clone(),
            stop.clone(),
        ));
        Watching {
            shared,
            _stop: stop.drop_guard(),
        }
    }

    fn inventory(&self) -> Arc<Inventory> {
        self.shared.inventory.load_full()
    }

    fn owners(&self, pod: &str) -> Vec<(Topology, String)> {
        let inventory = self.inventory();
        let pod = inventory.pods.get(pod);
        pod.into_iter()
            .flat_map(|p| &p.owners)
            .map(|o| (o.topology, o.name.clone()))
            .collect()
    }
}

fn pods_path(seen: &Seen) -> bool {
    seen.is("GET", "/api/v1/pods")
}

#[tokio::test]
async fn one_list_and_one_watch_from_the_cache_and_one_get_per_owner() {
    let watches = Watches::default();
    let server = ApiServer::start({
        let watches = watches.clone();
        move |seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => watches.open(),
            "/api/v1/pods" => Reply::ok(list(&[
                pod("a1", "shop", Some(("ReplicaSet", "web-1"))),
                pod("a2", "shop", Some(("ReplicaSet", "web-1"))),
                pod("b", "batch", Some(("Job", "run-1"))),
                pod("c", "shop", Some(("DaemonSet", "log"))),
                pod("d", "shop", None),
            ])),
            "/apis/apps/v1/namespaces/shop/replicasets/web-1" => {
                Reply::ok(meta("uid-web-1", Some(("Deployment", "web"))))
            }
            "/apis/batch/v1/namespaces/batch/jobs/run-1" => {
                Reply::ok(meta("uid-run-1", Some(("CronJob", "run"))))
            }
            "/api/v1/namespaces/shop" => Reply::ok(meta("uid-ns-shop", None)),
            "/api/v1/namespaces/batch" => Reply::ok(meta("uid-ns-batch", None)),
            other => Reply::status(404, "NotFound", &format!("no {other}")),
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("everything is known", || {
        let inventory = watching.inventory();
        inventory.namespaces.len() == 2
            && watching.owners("a1").len() == 2
            && watching.owners("b").len() == 2
            && watches.count() == 1
    })
    .await;

    let web = [
        (Topology::ReplicaSet, "web-1".to_owned()),
        (Topology::Deployment, "web".to_owned()),
    ];
    assert_eq!(watching.owners("a1"), web);
    assert_eq!(watching.owners("a2"), web);
    assert_eq!(
        watching.owners("b"),
        [
            (Topology::Job, "run-1".to_owned()),
            (Topology::CronJob, "run".to_owned())
        ]
    );
    assert_eq!(
        watching.owners("c"),
        [(Topology::DaemonSet, "log".to_owned())]
    );
    assert_eq!(watching.owners("d"), []);
    let inventory = watching.inventory();
    assert_eq!(inventory.namespaces["shop"], "uid-ns-shop");
    assert!(watching.shared.contact.age().is_some());

    // A pod more of the same owner asks for nothing.
    watches.send("ADDED", pod("a3", "shop", Some(("ReplicaSet", "web-1"))));
    eventually("the new pod is known", || watching.owners("a3").len() == 2).await;

    let seen = server.seen();
    let (watch_requests, lists): (Vec<_>, Vec<_>) = seen
        .iter()
        .filter(|s| pods_path(s))
        .partition(|s| s.is_watch());
    assert_eq!((lists.len(), watch_requests.len()), (1, 1), "{seen:#?}");
    assert_eq!(
        seen.len(),
        2 + 4,
        "one GET per owner and namespace: {seen:#?}"
    );

    let selector = format!("spec.nodeName={NODE}");
    let query = &lists[0].query;
    assert_eq!(query.get("fieldSelector"), Some(&selector));
    assert_eq!(query.get("resourceVersion").map(String::as_str), Some("0"));
    assert_eq!(
        query.get("resourceVersionMatch").map(String::as_str),
        Some("NotOlderThan")
    );
    assert_eq!(
        query.get("limit"),
        None,
        "a limit would switch the cache off"
    );

    let query = &watch_requests[0].query;
    assert_eq!(query.get("fieldSelector"), Some(&selector));
    assert_eq!(
        query.get("resourceVersion").map(String::as_str),
        Some("100")
    );
    assert_eq!(
        query.get("allowWatchBookmarks").map(String::as_str),
        Some("true")
    );
    let seconds: u32 = query["timeoutSeconds"].parse().expect("a number");
    assert!((240..=290).contains(&seconds), "{seconds}");

    for get in seen.iter().filter(|s| !pods_path(s)) {
        assert_eq!(get.method, "GET");
        assert!(get.accept.contains("as=PartialObjectMetadata"), "{get:?}");
        assert_eq!(
            get.query.get("resourceVersion").map(String::as_str),
            Some("0"),
            "{get:?}"
        );
    }
}

#[tokio::test]
async fn watch_timeouts_differ_from_node_to_node() {
    let mut seconds = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let watches = Watches::default();
        let server = ApiServer::start({
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    watches.open()
                } else {
                    Reply::ok(list(&[]))
                }
            }
        })
        .await;
        let _watching = Watching::start(&server.access());
        eventually("it watches", || watches.count() == 1).await;
        let seen = server.seen();
        let watch = seen.iter().find(|s| s.is_watch()).expect("a watch");
        seconds.insert(watch.query["timeoutSeconds"].clone());
    }
    assert!(seconds.len() > 1, "{seconds:?}");
}

#[tokio::test]
async fn pods_leave_as_soon_as_they_are_over_or_gone() {
    let watches = Watches::default();
    let server = ApiServer::start({
        let watches = watches.clone();
        move |seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => watches.open(),
            "/api/v1/pods" => Reply::ok(list(&[pod("a", "ns", None), pod("b", "ns", None)])),
            _ => Reply::ok(meta("uid-ns", None)),
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    let known = |n: usize| {
        let (watching, watches) = (&watching, &watches);
        eventually("pods", move || {
            watching.inventory().pods.len() == n && watches.count() == 1
        })
    };
    known(2).await;
    watches.send("DELETED", pod("a", "ns", None));
    known(1).await;
    let mut over = pod("b", "ns", None);
    over["status"]["phase"] = "Succeeded".into();
    watches.send("MODIFIED", over);
    known(0).await;
    assert!(watching.inventory().namespaces.is_empty());
    assert!(watching.shared.state.load().listed);
    watches.send("ADDED", pod("c", "ns", None));
    known(1).await;
    eventually("the namespace is asked for anew", || {
        server.count(|s| s.path == "/api/v1/namespaces/ns") == 2
    })
    .await;
}

#[tokio::test]
async fn an_expired_watch_goes_on_without_a_list() {
    let watches = Watches::default();
    let server = ApiServer::start({
        let watches = watches.clone();
        move |seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => watches.open(),
            "/api/v1/pods" => Reply::ok(list(&[pod("a", "ns", None)])),
            _ => Reply::ok(meta("uid-ns", None)),
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("it watches", || watches.count() == 1).await;
    watches.send(
        "BOOKMARK",
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "250"}}),
    );
    watches.end();
    eventually("it watches again", || watches.count() == 1).await;
    let watches_seen: Vec<_> = server.seen().into_iter().filter(Seen::is_watch).collect();
    assert_eq!(watches_seen[1].query["resourceVersion"], "250");
    assert_eq!(server.count(|s| pods_path(s) && !s.is_watch()), 1);
    assert_eq!(watching.inventory().pods.len(), 1);
    assert_eq!(watching.shared.state.load().error, None);
}

#[tokio::test]
async fn a_bookmark_is_a_sign_of_life() {
    let watches = Watches::default();
    let server = ApiServer::start({
        let watches = watches.clone();
        move |seen| {
            if seen.is_watch() {
                watches.open()
            } else {
                Reply::ok(list(&[]))
            }
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("it watches", || watches.count() == 1).await;
    let old = Duration::from_millis(300);
    eventually("nothing is heard for a while", || {
        watching.shared.contact.age().is_some_and(|age| age > old)
    })
    .await;
    watches.send(
        "BOOKMARK",
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}}),
    );
    eventually("it was heard", || {
        watching.shared.contact.age().is_some_and(|age| age < old)
    })
    .await;
}

#[tokio::test]
async fn while_the_server_is_away_the_inventory_stays_and_then_recovers() {
    let watches = Watches::default();
    let script = |pods: Vec<Value>, watches: Watches| {
        move |seen: &Seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => watches.open(),
            "/api/v1/pods" => Reply::ok(list(&pods)),
            _ => Reply::ok(meta("uid-ns", None)),
        }
    };
    let server = ApiServer::start(script(vec![pod("a", "ns", None)], watches.clone())).await;
    let address = server.address();
    let watching = Watching::start(&server.access());
    eventually("the pod is known", || {
        watching.inventory().namespaces.len() == 1
    })
    .await;

    drop(server);
    watches.end();
    eventually("the failure is told", || {
        watching.shared.state.load().error.is_some()
    })
    .await;
    assert_eq!(watching.inventory().pods.len(), 1);
    let state = watching.shared.state.load_full();
    assert!(state.listed, "an inventory that was there stays good");
    assert!(state.failures.values().sum::<u64>() > 0);

    let _server = ApiServer::start_at(
        address,
        script(
            vec![pod("a", "ns", None), pod("b", "ns", None)],
            Watches::default(),
        ),
    )
    .await;
    // It goes on from where it was, so that what happened meanwhile comes by the watch or, where
    // the server has forgotten, by a new list.
    eventually("it works again", || {
        watching.shared.state.load().error.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_version_means_a_new_list() {
    let watches = Watches::default();
    let lists = Arc::new(Mutex::new(0));
    let server = ApiServer::start({
        let (watches, lists) = (watches.clone(), lists.clone());
        move |seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => watches.open(),
            "/api/v1/pods" => {
                let mut lists = lists.lock().expect("unpoisoned");
                *lists += 1;
                let name = if *lists == 1 { "old" } else { "new" };
                Reply::ok(list(&[pod(name, "ns", None)]))
            }
            _ => Reply::ok(meta("uid-ns", None)),
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("it watches", || watches.count() == 1).await;
    watches.send(
        "ERROR",
        json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
               "message": "too old resource version"}),
    );
    eventually("the new list is in", || {
        watching.inventory().pods.contains_key("new")
    })
    .await;
    assert_eq!(watching.inventory().pods.len(), 1);
}

#[tokio::test]
async fn missing_rights_are_told_and_not_fatal() {
    let server = ApiServer::start(|seen| match seen.path.as_str() {
        "/api/v1/pods" if seen.is_watch() => Reply::Never,
        "/api/v1/pods" => Reply::ok(list(&[pod("a", "ns", Some(("ReplicaSet", "web")))])),
        _ => Reply::status(403, "Forbidden", "may not get it"),
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("the pod is known all the same", || {
        watching.owners("a").len() == 1
    })
    .await;
    eventually("the failures are counted", || {
        watching
            .shared
            .state
            .load()
            .lookups
            .get("failed")
            .is_some_and(|n| *n >= 2)
    })
    .await;
}

#[tokio::test]
async fn what_the_cache_has_not_heard_of_is_asked_of_the_store() {
    let server = ApiServer::start(|seen| match seen.path.as_str() {
        "/api/v1/pods" if seen.is_watch() => Reply::Never,
        "/api/v1/pods" => Reply::ok(list(&[pod("a", "ns", Some(("ReplicaSet", "web")))])),
        "/api/v1/namespaces/ns" => Reply::ok(meta("uid-ns", None)),
        _ if seen.query.contains_key("resourceVersion") => {
            Reply::status(404, "NotFound", "not in the cache")
        }
        _ => Reply::ok(meta("uid-web", Some(("Deployment", "web")))),
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("the Deployment is known", || {
        watching.owners("a").len() == 2
    })
    .await;
}

#[tokio::test]
async fn a_refused_list_is_told_and_tried_again() {
    let refuse = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let server = ApiServer::start({
        let refuse = refuse.clone();
        move |seen| match seen.path.as_str() {
            "/api/v1/pods" if seen.is_watch() => Reply::Never,
            "/api/v1/pods" if refuse.load(std::sync::atomic::Ordering::Relaxed) => {
                Reply::status(403, "Forbidden", "pods is forbidden")
            }
            "/api/v1/pods" => Reply::ok(list(&[])),
            _ => Reply::Never,
        }
    })
    .await;
    let watching = Watching::start(&server.access());
    eventually("the failure is told", || {
        let state = watching.shared.state.load();
        state
            .error
            .as_ref()
            .is_some_and(|e| e.contains("pods is forbidden"))
    })
    .await;
    assert!(!watching.shared.state.load().listed);
    assert!(
        watching.shared.contact.age().is_none(),
        "a refusal is no news"
    );
    refuse.store(false, std::sync::atomic::Ordering::Relaxed);
    eventually("it is listed", || watching.shared.state.load().listed).await;
}
