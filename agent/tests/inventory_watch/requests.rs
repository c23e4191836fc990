//! Which requests go out, over a real connection.

use scope_protocol::Topology;
use serde_json::json;

use crate::api_server::{ApiServer, Reply, Seen, eventually};
use crate::objects::{NODE, list, meta, pod};
use crate::watching::{Watches, Watching};

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
async fn a_watch_that_ends_goes_on_without_a_list() {
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
