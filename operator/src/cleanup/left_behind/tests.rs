//! Against a small API server in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// What was applied, by name, and how often each was tried.
#[derive(Default)]
struct World {
    statuses: BTreeMap<String, Value>,
    tries: BTreeMap<String, usize>,
}

/// Answers a status write of the plugin of this name, the first or a later one.
type Answer = fn(&str, usize) -> u16;

fn plugin(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopePlugin",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 3},
        "spec": spec,
        "status": {
            "observedGeneration": 3,
            "nodes": {"desired": 2, "updated": 2, "ready": 2, "unavailable": 0},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "AllNodesReady",
                "message": "2 of 2 nodes ready", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    })
}

/// Tells these plugins; `listing` is how their list is answered.
async fn told(plugins: Vec<Value>, listing: u16, answer: Answer) -> World {
    let world = Arc::new(Mutex::new(World::default()));
    let serving = Arc::clone(&world);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (world, plugins) = (Arc::clone(&serving), plugins.clone());
        async move {
            let (head, body) = request.into_parts();
            let (code, body) = if head.method == Method::GET {
                assert_eq!(
                    head.uri.path(),
                    "/apis/scopeplugins.dev/v1alpha1/scopeplugins"
                );
                (
                    listing,
                    json!({
                        "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopePluginList",
                        "metadata": {}, "items": plugins,
                    }),
                )
            } else {
                assert_eq!(head.method, Method::PATCH);
                let query = head.uri.query().unwrap_or_default();
                assert!(
                    query.contains("force=true")
                        && query.contains("fieldManager=scopeplugins.dev%2Fstatus"),
                    "{query}"
                );
                let path: Vec<&str> = head.uri.path().rsplit('/').take(2).collect();
                assert_eq!(path[0], "status");
                let name = path[1].to_owned();
                let body = body.collect_bytes().await.unwrap();
                let mut object: Value = serde_json::from_slice(&body).unwrap();
                let mut world = world.lock().unwrap();
                let tries = world.tries.entry(name.clone()).or_default();
                *tries += 1;
                let code = answer(&name, *tries);
                if code == 200 {
                    world.statuses.insert(name, object["status"].clone());
                    // It may be one that this version cannot read.
                    object["spec"] = json!({"agent": 7});
                }
                (code, object)
            };
            let body = match code {
                200 => body,
                code => json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                    "message": "no", "reason": match code {
                        403 => "Forbidden",
                        404 => "NotFound",
                        _ => "InternalError",
                    },
                }),
            };
            let response = Response::builder().status(code);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
        }
    });
    tell(&Client::new(service, "default")).await;
    std::mem::take(&mut world.lock().unwrap())
}

fn two() -> Vec<Value> {
    vec![
        plugin("a", json!({"agent": {}})),
        plugin("b", json!({"agent": {}})),
    ]
}

#[tokio::test]
async fn what_stays_says_that_nothing_runs() {
    let world = told(two(), 200, |_, _| 200).await;
    assert_eq!(world.statuses.keys().collect::<Vec<_>>(), ["a", "b"]);
    for status in world.statuses.values() {
        assert_eq!(
            status["nodes"],
            json!({"desired": 0, "updated": 0, "ready": 0, "unavailable": 0, "notReadyNodes": 0})
        );
        assert_eq!(status["observedGeneration"], 3);
        let conditions: Vec<_> = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                (
                    c["type"].as_str(),
                    c["status"].as_str(),
                    c["reason"].as_str(),
                )
            })
            .collect();
        let uninstalled = |kind| (Some(kind), Some("Unknown"), Some("OperatorUninstalled"));
        assert_eq!(conditions, [uninstalled("Ready"), uninstalled("Available")]);
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_is_told_too() {
    let mut plugins = two();
    plugins[0] = plugin("a", json!({"agent": "gone mad"}));
    let world = told(plugins, 200, |_, _| 200).await;
    assert_eq!(world.statuses.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_vanished_or_is_refused_does_not_stop_the_others() {
    let answers: [Answer; 3] = [
        |name, _| if name == "a" { 404 } else { 200 },
        |name, _| if name == "a" { 403 } else { 200 },
        |name, _| if name == "a" { 500 } else { 200 },
    ];
    for answer in answers {
        let started = Instant::now();
        let world = told(two(), 200, answer).await;
        assert_eq!(world.statuses.keys().collect::<Vec<_>>(), ["b"]);
        assert!(started.elapsed() <= EACH + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_tried_again_and_a_lasting_one_ends() {
    let world = told(two(), 200, |_, tries| if tries == 1 { 503 } else { 200 }).await;
    assert_eq!(world.statuses.len(), 2);
    let started = Instant::now();
    let many = (0..50)
        .map(|n| plugin(&format!("p{n}"), json!({"agent": {}})))
        .collect();
    let world = told(many, 200, |_, _| 500).await;
    assert!(world.statuses.is_empty());
    assert!(started.elapsed() <= WITHIN + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_list_nothing_is_written() {
    for code in [403, 404, 500] {
        let started = Instant::now();
        let world = told(two(), code, |_, _| 200).await;
        assert!(world.tries.is_empty(), "{code}");
        assert!(started.elapsed() <= WITHIN + Duration::from_secs(1));
    }
}
