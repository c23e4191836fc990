//! Against a small API server in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;

use super::*;

/// How often the pods of a Deployment are still there after it was scaled to 0.
type World = BTreeMap<&'static str, usize>;

const SCALES: &str = "/apis/apps/v1/namespaces/scope-system/deployments/";

/// Stops in this world. What is left of it, and the error.
async fn stopped(world: World, totals: Option<&str>) -> (World, Result<(), String>) {
    let world = Arc::new(Mutex::new((world, Vec::<String>::new())));
    let serving = Arc::clone(&world);
    let service = tower::service_fn(move |request: Request<Body>| {
        let world = Arc::clone(&serving);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let (world, scaled) = &mut *world.lock().unwrap();
            let (code, answer) = match head.uri.path().strip_prefix(SCALES) {
                Some(rest) => {
                    assert_eq!(head.method, Method::PATCH);
                    let name = rest.strip_suffix("/scale").unwrap();
                    let patch: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(patch, json!({"spec": {"replicas": 0}}));
                    scaled.push(name.to_owned());
                    let scale = json!({
                        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name},
                        "spec": {"replicas": 0}, "status": {"replicas": 2, "selector": format!("of={name}")},
                    });
                    match world.contains_key(name) {
                        true => (200, scale),
                        false => (404, failure()),
                    }
                }
                None => {
                    assert_eq!(head.uri.path(), "/api/v1/namespaces/scope-system/pods");
                    let query = head.uri.query().unwrap();
                    let whose =
                        |(name, _): &(&&str, &mut usize)| query.contains(&format!("of%3D{name}"));
                    let (name, left) = world.iter_mut().find(whose).unwrap();
                    assert!(scaled.iter().any(|scaled| scaled == name), "{name} goes on");
                    let pod = json!({"metadata": {"name": format!("{name}-x")}});
                    let items = if *left > 0 { vec![pod] } else { Vec::new() };
                    *left = left.saturating_sub(1);
                    let list = json!({
                        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                        "metadata": {}, "items": items,
                    });
                    (200, list)
                }
            };
            let response = Response::builder().status(code);
            let body = Body::from(answer.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
        }
    });
    let cleanup = Cleanup {
        deployment: "scope-operator".into(),
        totals_deployment: totals.map(str::to_owned),
        namespace: "scope-system".into(),
        plugins_namespace: "scope-plugins".into(),
        timeout: Duration::from_secs(120),
    };
    let ended = stop(&Client::new(service, "default"), &cleanup).await;
    let left = world.lock().unwrap().0.clone();
    (left, ended.map_err(|failure| failure.to_string()))
}

fn failure() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "message": "no",
        "reason": "NotFound",
    })
}

const TOTALS: Option<&str> = Some("scope-totals");

#[tokio::test(start_paused = true)]
async fn both_are_gone_before_anything_is_removed() {
    let world = World::from([("scope-operator", 2), ("scope-totals", 5)]);
    let (left, ended) = stopped(world, TOTALS).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(
        left,
        World::from([("scope-operator", 0), ("scope-totals", 0)])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_installed_is_not_touched() {
    let world = World::from([("scope-operator", 1), ("scope-totals", 5)]);
    let (left, ended) = stopped(world, None).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(left["scope-totals"], 5, "nobody asked for its pods");
}

/// As when the uninstall is tried again, or somebody removed one by hand.
#[tokio::test(start_paused = true)]
async fn what_is_not_there_holds_nothing_up() {
    let (_, ended) = stopped(World::new(), TOTALS).await;
    assert_eq!(ended, Ok(()));
    let (left, ended) = stopped(World::from([("scope-totals", 3)]), TOTALS).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(left["scope-totals"], 0);
}
