//! Questions for owners and namespaces that are not answered as they should be.

use std::sync::atomic::{AtomicBool, Ordering};

use scope_protocol::Topology;

use crate::api_server::{Reply, eventually};
use crate::objects::{list, meta, pod};
use crate::watching::{Watching, namespaces};

const WEB: &str = "/apis/apps/v1/namespaces/ns/replicasets/web";

fn one_pod(seen: &crate::api_server::Seen) -> Reply {
    if seen.is_watch() {
        return Reply::Never;
    }
    Reply::ok(list(&[pod("a", "ns", Some(("ReplicaSet", "web")))]))
}

fn count(watching: &Watching, outcome: &str) -> u64 {
    let state = watching.state();
    state.lookups.get(outcome).copied().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_told_and_not_fatal() {
    let (watching, _, lookups) = Watching::in_process(one_pod, |_| {
        Reply::status(403, "Forbidden", "may not get it")
    });
    eventually("the pod is known all the same", || {
        watching.owners("a").len() == 1
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    assert_eq!(count(&watching, "failed"), lookups.seen().len() as u64);
    // Two questions, each asked again after 1, 2, 4 … 256, 300, 300 … s, a quarter more or less.
    let asked = lookups.seen().len();
    assert!((2 * 15..=2 * 25).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_has_not_heard_of_is_asked_of_the_store() {
    let (watching, _, _) = Watching::in_process(one_pod, |seen| match seen.path.as_str() {
        WEB if seen.query.contains_key("resourceVersion") => {
            Reply::status(404, "NotFound", "not in the cache")
        }
        WEB => Reply::ok(meta("uid-web", Some(("Deployment", "web")))),
        _ => namespaces(seen),
    });
    eventually("the Deployment is known", || {
        watching.owners("a").len() == 2
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_freed_counted_and_asked_again() {
    let first = AtomicBool::new(true);
    let (watching, _, lookups) = Watching::in_process(one_pod, move |seen| match &*seen.path {
        WEB if first.swap(false, Ordering::Relaxed) => Reply::Panic,
        WEB => Reply::ok(meta("uid-web", Some(("Deployment", "web")))),
        _ => namespaces(seen),
    });
    eventually("it is counted, and the other one is answered", || {
        count(&watching, "panicked") == 1 && watching.inventory().namespaces.len() == 1
    })
    .await;
    assert_eq!(watching.owners("a").len(), 1);
    eventually("the Deployment is known", || {
        watching.owners("a").len() == 2
    })
    .await;
    assert_eq!(
        (count(&watching, "panicked"), count(&watching, "found")),
        (1, 2)
    );
    assert_eq!(
        lookups.count(|seen| seen.path == "/api/v1/namespaces/ns"),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_an_answer_holds_up_no_other_one() {
    let pods: Vec<_> = (0..9)
        .map(|n| pod(&format!("p{n}"), &format!("ns{n}"), None))
        .collect();
    let (watching, _, _) = Watching::in_process(
        move |seen| {
            if seen.is_watch() {
                return Reply::Never;
            }
            Reply::ok(list(&pods))
        },
        |seen| match &*seen.path {
            "/api/v1/namespaces/ns0" => Reply::Never,
            _ => namespaces(seen),
        },
    );
    eventually("the others are known", || {
        watching.inventory().namespaces.len() == 8
    })
    .await;
    assert_eq!(count(&watching, "failed"), 0);
    eventually("it is given up", || count(&watching, "failed") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_nearest_owner_that_scope_knows_is_told() {
    let owned_by = |uid: &str, api: &str, kind: &str| {
        let mut pod = pod(uid, "ns", Some((kind, uid)));
        pod["metadata"]["ownerReferences"][0]["apiVersion"] = api.into();
        pod
    };
    let pods = [
        owned_by("rollout", "argoproj.io/v1alpha1", "Rollout"),
        owned_by("clone", "apps.kruise.io/v1alpha1", "CloneSet"),
        owned_by("oddset", "example.org/v1", "ReplicaSet"),
        owned_by("set", "apps/v1", "ReplicaSet"),
        owned_by("job", "batch/v1", "Job"),
        owned_by("stateful", "apps/v1", "StatefulSet"),
        pod("none", "ns", None),
    ];
    let (watching, _, lookups) = Watching::in_process(
        move |seen| {
            if seen.is_watch() {
                return Reply::Never;
            }
            Reply::ok(list(&pods))
        },
        |seen| {
            let custom = |uid: &str, kind: &str| {
                let mut meta = meta(uid, Some((kind, "custom")));
                meta["metadata"]["ownerReferences"][0]["apiVersion"] =
                    "argoproj.io/v1alpha1".into();
                Reply::ok(meta)
            };
            match &*seen.path {
                "/apis/apps/v1/namespaces/ns/replicasets/set" => custom("uid-set", "Rollout"),
                "/apis/batch/v1/namespaces/ns/jobs/job" => custom("uid-job", "CronWorkflow"),
                _ => namespaces(seen),
            }
        },
    );
    eventually("all is answered", || count(&watching, "found") == 3).await;
    for (pod, owners) in [
        ("rollout", vec![]),
        ("clone", vec![]),
        ("oddset", vec![]),
        ("none", vec![]),
        ("set", vec![(Topology::ReplicaSet, "set".to_owned())]),
        ("job", vec![(Topology::Job, "job".to_owned())]),
        (
            "stateful",
            vec![(Topology::StatefulSet, "stateful".to_owned())],
        ),
    ] {
        assert_eq!(watching.owners(pod), owners, "{pod}");
    }
    assert_eq!(lookups.seen().len(), 3, "{:#?}", lookups.seen());
}
