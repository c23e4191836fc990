//! Pods whose makers want to harm others, and objects that no kubelet would write.

use serde_json::json;

use crate::api_server::{Reply, eventually};
use crate::objects::{list, mirror, pod, running};
use crate::watching::{Watches, Watching, namespaces};

#[tokio::test(start_paused = true)]
async fn a_forged_static_pod_hides_nobody() {
    let watches = Watches::default();
    let mut victim = pod("victim", "shop", None);
    victim["status"]["containerStatuses"] = json!([running("app", 'a')]);
    let mut etcd = mirror("uid-etcd", "hash-of-etcd");
    etcd["metadata"]["creationTimestamp"] = "2026-11-23T00:00:00Z".into();
    let (watching, _, _) = Watching::in_process(
        {
            let (watches, pods) = (watches.clone(), [victim.clone(), etcd.clone()]);
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&pods))
            }
        },
        namespaces,
    );
    eventually("both are known", || {
        watching.pods() == ["hash-of-etcd", "victim"] && watches.count() == 1
    })
    .await;
    let held = watching.always("they are who they are", |inventory| {
        inventory.pods["victim"].namespace == "shop"
            && inventory.pods["victim"].containers.len() == 1
            && inventory.pods["hash-of-etcd"].name == "uid-etcd"
    });

    let mut bare = pod("evil-1", "evil", None);
    bare["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": "victim"});
    watches.send("ADDED", bare);
    let perfect = |uid: &str, hash: &str| {
        let mut forged = mirror(uid, hash);
        forged["metadata"]["creationTimestamp"] = "2026-11-23T00:00:01Z".into();
        forged
    };
    watches.send("ADDED", perfect("evil-2", "victim"));
    watches.send("ADDED", perfect("evil-3", "hash-of-etcd"));
    eventually("all are known, each under its own ID", || {
        watching.pods() == ["evil-1", "evil-2", "evil-3", "hash-of-etcd", "victim"]
    })
    .await;
    assert_eq!(watching.state().contested, 2);

    // A kubelet that starts a static pod anew makes another object for it.
    watches.send("DELETED", perfect("evil-3", "hash-of-etcd"));
    watches.send("DELETED", perfect("evil-2", "victim"));
    eventually("nothing is contested", || watching.state().contested == 0).await;
    held.held().await;
}

#[tokio::test(start_paused = true)]
async fn a_static_pod_that_changes_is_another_pod() {
    let watches = Watches::default();
    let (watching, _, _) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&[mirror("uid-1", "hash-1")]))
            }
        },
        namespaces,
    );
    eventually("it is known", || {
        watching.pods() == ["hash-1"] && watches.count() == 1
    })
    .await;
    // The same file, another object, as after somebody deleted that; then another file.
    watches.send("DELETED", mirror("uid-1", "hash-1"));
    watches.send("ADDED", mirror("uid-2", "hash-1"));
    watches.send("ADDED", mirror("uid-3", "hash-3"));
    watches.send("DELETED", mirror("uid-2", "hash-1"));
    eventually("the new one is known", || watching.pods() == ["hash-3"]).await;
    assert!(watching.inventory().pods["hash-3"].mirror);
}

#[tokio::test(start_paused = true)]
async fn no_owner_leads_a_request_elsewhere() {
    let names = [
        "../../../../api/v1/secrets",
        "web?watch=true",
        "web/scale",
        "",
    ];
    let pods: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let mut pod = pod(&format!("p{n}"), "ns", Some(("ReplicaSet", name)));
            pod["metadata"]["ownerReferences"][0]["uid"] = "u".into();
            pod
        })
        .collect();
    let (watching, _, lookups) = Watching::in_process(
        move |seen| {
            if seen.is_watch() {
                return Reply::Never;
            }
            Reply::ok(list(&pods))
        },
        namespaces,
    );
    eventually("the namespace is known", || {
        watching.inventory().namespaces.len() == 1
    })
    .await;
    let asked: Vec<_> = lookups.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked, ["/api/v1/namespaces/ns"]);
    assert_eq!(watching.pods().len(), names.len());
}

#[tokio::test(start_paused = true)]
async fn no_clock_but_ours_counts() {
    let watches = Watches::default();
    let (watching, _, _) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&[]))
            }
        },
        namespaces,
    );
    eventually("it watches", || watches.count() == 1).await;
    // The clocks of the API server and of the kubelet are set back and forth between the events.
    for (n, time) in [
        "2026-11-23T01:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "0000-00-00T00:00:00Z",
        "-infinity",
    ]
    .into_iter()
    .enumerate()
    {
        let uid = format!("p{n}");
        let mut pod = pod(&uid, "ns", None);
        pod["metadata"]["creationTimestamp"] = time.into();
        let mut status = running("app", char::from(b'a' + n as u8));
        status["state"]["running"]["startedAt"] = time.into();
        status["lastState"] = json!({"terminated": {"finishedAt": time, "exitCode": 1}});
        pod["status"]["containerStatuses"] = json!([status]);
        watches.send("ADDED", pod);
        eventually("it is known", || {
            let inventory = watching.inventory();
            inventory.pods.len() == n + 1 && inventory.pods[&uid].containers.len() == 1
        })
        .await;
    }
    assert_eq!(watching.state().error, None);
}
