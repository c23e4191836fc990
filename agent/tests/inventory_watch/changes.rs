//! Pods that come, change and go.

use std::time::Duration;

use scope_agent::inventory::ContainerKind;
use serde_json::{Value, json};

use crate::api_server::{Reply, eventually};
use crate::objects::{container_id, list, pod, running};
use crate::watching::{Watches, Watching, namespaces};

#[tokio::test(start_paused = true)]
async fn pods_leave_as_soon_as_they_are_over_or_gone() {
    let watches = Watches::default();
    let (watching, _, lookups) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                let over = |uid: &str, phase: &str| {
                    let mut pod = pod(uid, "ns", None);
                    pod["status"]["phase"] = phase.into();
                    pod
                };
                Reply::ok(list(&[
                    pod("a", "ns", None),
                    pod("b", "ns", None),
                    over("done", "Succeeded"),
                    over("evicted", "Failed"),
                ]))
            }
        },
        namespaces,
    );
    let known = async |names: &[&str]| {
        eventually("pods", || watching.pods() == names && watches.count() == 1).await;
    };
    known(&["a", "b"]).await;
    watches.send("DELETED", pod("a", "ns", None));
    known(&["b"]).await;
    let mut evicted = pod("b", "ns", None);
    evicted["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    watches.send("MODIFIED", evicted.clone());
    known(&[]).await;
    assert!(watching.inventory().namespaces.is_empty());
    assert!(watching.state().listed);
    watches.send("DELETED", evicted);
    watches.send("ADDED", pod("c", "ns", None));
    known(&["c"]).await;
    eventually("the namespace is asked for anew", || {
        lookups.count(|seen| seen.path == "/api/v1/namespaces/ns") == 2
    })
    .await;
}

/// A pod with a container in this state.
fn with(status: Value) -> Value {
    let mut pod = pod("a", "ns", None);
    pod["status"]["containerStatuses"] = json!([status]);
    pod
}

#[tokio::test(start_paused = true)]
async fn a_container_that_starts_again_takes_the_place_of_the_old_one() {
    let watches = Watches::default();
    let (watching, _, _) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&[with(running("c", 'a'))]))
            }
        },
        namespaces,
    );
    let ids = || {
        let inventory = watching.inventory();
        let pod = inventory.pods.get("a");
        let ids = pod.into_iter().flat_map(|pod| pod.containers.keys());
        ids.map(|id| id.chars().next().unwrap_or_default())
            .collect::<String>()
    };
    eventually("it runs", || ids() == "a" && watches.count() == 1).await;

    let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled",
        "finishedAt": "2026-11-23T01:01:00Z", "containerID": container_id('a')}});
    watches.send(
        "MODIFIED",
        with(json!({"name": "c", "restartCount": 1, "lastState": ended,
            "containerID": container_id('a'),
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}})),
    );
    eventually("it waits", || ids().is_empty()).await;
    let stopped = watching.inventory().pods["a"].stopped["c"].clone();
    assert_eq!(
        (&*stopped.waiting, stopped.restarts),
        ("CrashLoopBackOff", 1)
    );
    assert_eq!(stopped.kind, ContainerKind::App);
    let termination = stopped.last_termination.expect("it ended");
    assert_eq!(termination.reason, "OOMKilled");

    let mut again = running("c", 'b');
    again["restartCount"] = 1.into();
    again["lastState"] = ended;
    watches.send("MODIFIED", with(again));
    eventually("it runs again", || ids() == "b").await;
    let pod = watching.inventory().pods["a"].clone();
    assert!(pod.stopped.is_empty());
    let container = pod.containers.values().next().expect("it runs");
    assert_eq!(container.restarts, 1);
    assert_eq!(container.last_termination.as_ref(), Some(&termination));
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_pod() {
    let watches = Watches::default();
    let named = |uid: &str| {
        let mut pod = pod(uid, "ns", None);
        pod["metadata"]["name"] = "db-0".into();
        pod
    };
    let (watching, _, _) = Watching::in_process(
        {
            let watches = watches.clone();
            move |seen| {
                if seen.is_watch() {
                    return watches.open();
                }
                Reply::ok(list(&[named("first")]))
            }
        },
        namespaces,
    );
    eventually("it is known", || {
        watching.pods() == ["first"] && watches.count() == 1
    })
    .await;
    watches.send("ADDED", named("second"));
    watches.send("DELETED", named("first"));
    eventually("the new one is known", || watching.pods() == ["second"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(watching.pods(), ["second"]);
}
