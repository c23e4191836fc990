//! An API server that is away, refuses, or forgets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scope_agent::inventory::WatchState;
use serde_json::{Value, json};

use crate::api_server::in_process::InProcess;
use crate::api_server::{ApiServer, Reply, Seen, eventually};
use crate::objects::{list, meta, pod};
use crate::watching::{Watches, Watching, namespaces};

fn bookmark() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "250"}})
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
    let before = std::time::Instant::now();
    watches.send("BOOKMARK", bookmark());
    eventually("it was heard", || {
        watching.shared.contact.heard_after(before)
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
    let state = watching.state();
    assert!(!state.listed && !state.server_away, "it answered");
    assert!(
        watching.shared.contact.age().is_none(),
        "a refusal is no news"
    );
    refuse.store(false, std::sync::atomic::Ordering::Relaxed);
    eventually("it is listed", || watching.shared.state.load().listed).await;
}

/// What the API server has, which a test can change.
#[derive(Clone, Default)]
struct Cluster {
    pods: Arc<Mutex<Vec<Value>>>,
    watches: Watches,
    /// What a watch and a list get instead of an answer, each once.
    watch_answers: Arc<Mutex<VecDeque<Reply>>>,
    list_answers: Arc<Mutex<VecDeque<Reply>>>,
}

impl Cluster {
    fn with(pods: &[&str]) -> Self {
        let cluster = Cluster::default();
        cluster.now_has(pods);
        cluster
    }

    fn now_has(&self, pods: &[&str]) {
        let pods = pods.iter().map(|uid| pod(uid, "ns", None)).collect();
        *self.pods.lock().expect("unpoisoned") = pods;
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let answers = if seen.is_watch() {
            &self.watch_answers
        } else {
            &self.list_answers
        };
        if let Some(reply) = answers.lock().expect("unpoisoned").pop_front() {
            return reply;
        }
        if seen.is_watch() {
            return self.watches.open();
        }
        Reply::ok(list(&self.pods.lock().expect("unpoisoned")))
    }

    fn watched(&self) -> (Watching, InProcess) {
        let cluster = self.clone();
        let (watching, server, _) =
            Watching::in_process(move |seen| cluster.answer(seen), namespaces);
        (watching, server)
    }
}

fn gone() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
           "reason": "Expired", "message": "too old resource version"})
}

const STAYS: &str = "the pod that stays is known";

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_the_api_server_change_nothing_but_the_age() {
    let cluster = Cluster::with(&["goes", "stays"]);
    let (watching, server) = cluster.watched();
    eventually("all is known", || {
        watching.inventory().namespaces.len() == 1 && cluster.watches.count() == 1
    })
    .await;
    let asked = server.seen().len();
    let before = watching.inventory();
    let began = tokio::time::Instant::now();
    server.go_away(true);
    cluster.watches.end();
    eventually("the failure is told", || watching.state().error.is_some()).await;
    let mut failures = 0;
    let attempts = |state: &WatchState| state.failures.values().sum::<u64>();
    while began.elapsed() < Duration::from_secs(600) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(Arc::ptr_eq(&before, &watching.inventory()), "nothing new");
        let state = watching.state();
        assert!(state.error.is_some() && state.listed && state.server_away);
        failures = attempts(&state);
    }
    // The first waits are short; then every 15 to 30 s.
    assert!((20..=50).contains(&failures), "{failures}");
    assert!(watching.shared.contact.age() > Some(Duration::from_secs(590)));
    assert_eq!(server.seen().len(), asked);

    // It comes back and has forgotten the version, which it says in an event.
    let held = watching.always(STAYS, |inventory| inventory.pods.contains_key("stays"));
    cluster.now_has(&["comes", "stays"]);
    server.go_away(false);
    let back = tokio::time::Instant::now();
    eventually("it watches", || cluster.watches.count() == 1).await;
    cluster.watches.send("ERROR", gone());
    eventually("all is known", || watching.pods() == ["comes", "stays"]).await;
    assert!(
        back.elapsed() < Duration::from_secs(33),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(watching.state().error, None);
    assert!(!watching.state().server_away);
    held.held().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_and_says_nothing_is_believed() {
    let cluster = Cluster::with(&["stays"]);
    let (watching, server) = cluster.watched();
    eventually("it watches", || cluster.watches.count() == 1).await;
    server.go_away(true);
    cluster.watches.end();
    eventually("the failure is told", || watching.state().error.is_some()).await;
    server.go_away(false);
    eventually("it watches", || cluster.watches.count() == 1).await;
    cluster.watches.send("BOOKMARK", bookmark());
    eventually("it works again", || watching.state().error.is_none()).await;
    assert_eq!(watching.pods(), ["stays"]);
}

/// However the API server says that the version is gone, and however long the list takes then.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_means_a_new_list_without_a_hole() {
    for in_answer_to_the_request in [false, true] {
        let cluster = Cluster::with(&["goes", "stays"]);
        let (watching, server) = cluster.watched();
        eventually("it watches", || cluster.watches.count() == 1).await;
        let held = watching.always(STAYS, |inventory| {
            inventory.pods.contains_key("stays") || inventory.pods.is_empty() // before the first
        });
        eventually("all is known", || watching.pods() == ["goes", "stays"]).await;
        held.held().await;
        let held = watching.always(STAYS, |inventory| inventory.pods.contains_key("stays"));

        cluster.now_has(&["comes", "stays"]);
        let late = Reply::ok(list(&cluster.pods.lock().expect("unpoisoned")));
        cluster.list_answers.lock().expect("unpoisoned").extend([
            Reply::status(500, "InternalError", "not now"),
            Reply::Broken,
            Reply::Late(Duration::from_secs(20), Box::new(late)),
        ]);
        if in_answer_to_the_request {
            let answer = Reply::status(410, "Expired", "too old resource version");
            let mut answers = cluster.watch_answers.lock().expect("unpoisoned");
            answers.push_back(answer);
            drop(answers);
            cluster.watches.end();
        } else {
            cluster.watches.send("ERROR", gone());
        }
        eventually("a list that fails is told", || {
            watching.state().error.is_some()
        })
        .await;
        assert_eq!(watching.pods(), ["goes", "stays"]);
        eventually("the new list is in", || {
            watching.pods() == ["comes", "stays"] && watching.state().error.is_none()
        })
        .await;
        let state = watching.state();
        assert_eq!(state.failures["expired"], 1);
        assert_eq!(state.failures["list"], 2);
        assert_eq!(server.count(|seen| !seen.is_watch()), 1 + 3);
        held.held().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_says_gone_is_not_hammered() {
    let cluster = Cluster::with(&["stays"]);
    let always = cluster.clone();
    let (watching, server, _) = Watching::in_process(
        move |seen| {
            if seen.is_watch() {
                return Reply::status(410, "Expired", "too old resource version");
            }
            always.answer(seen)
        },
        namespaces,
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    let lists = server.count(|seen| !seen.is_watch());
    assert!((20..=80).contains(&lists), "{lists}");
    assert_eq!(watching.pods(), ["stays"]);
}
