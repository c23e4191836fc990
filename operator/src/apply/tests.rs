//! Writes against a small API server in memory, which answers as Kubernetes 1.36 was measured to.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::{Method, Request, Response};
use kube::client::Body;
use scope_crds::ScopePlugin;
use serde_json::Value;

use k8s_openapi::api::core::v1::ServiceAccount;

use super::*;
use crate::{desired, leader, testing};

/// Objects by resource and name.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// A writer that leads, and what its API server has.
fn given() -> (Writer, Objects) {
    let objects = Objects::default();
    let serving = Arc::clone(&objects);
    let service = tower::service_fn(move |request: Request<Body>| {
        let objects = Arc::clone(&serving);
        async move {
            let (head, body) = request.into_parts();
            assert_eq!(head.method, Method::PATCH);
            let path: Vec<&str> = head.uri.path().rsplit('/').take(2).collect();
            let body = body.collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let key = format!("{}/{}", path[1], path[0]);
            let (code, body) = match applied(&mut objects.lock().unwrap(), key, body) {
                Ok(object) => (200, object),
                Err(code) => (code, refused(code)),
            };
            let response = Response::builder().status(code);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
        }
    });
    let (claim_writer, claim) = leader::claim();
    let now = Instant::now();
    claim_writer.set(Some(now + Duration::from_secs(60)), now);
    let writer = Writer {
        client: Client::new(service, "default"),
        claim,
        namespace: "scope-plugins".into(),
        metrics: Arc::new(Metrics::new()),
    };
    (writer, objects)
}

/// Server-side apply, as far as identity goes.
fn applied(objects: &mut BTreeMap<String, Value>, key: String, body: Value) -> Result<Value, u16> {
    let wanted = |field: &str| body["metadata"][field].as_str().map(str::to_owned);
    let there = objects.get(&key);
    let is = |field: &str| there.and_then(|there| there["metadata"][field].as_str());
    match (there, wanted("uid"), wanted("resourceVersion")) {
        (None, Some(_), _) => return Err(409),
        (Some(_), Some(uid), _) if is("uid") != Some(&uid) => return Err(422),
        (Some(_), _, Some(version)) if is("resourceVersion") != Some(&version) => return Err(409),
        _ => {}
    }
    let uid = is("uid").unwrap_or("uid-new").to_owned();
    let mut object = body;
    object["metadata"]["uid"] = json!(uid);
    object["metadata"]["resourceVersion"] = json!("80");
    objects.insert(key, object.clone());
    Ok(object)
}

fn refused(code: u16) -> Value {
    let (reason, causes) = match code {
        409 => ("Conflict", json!([])),
        _ => (
            "Invalid",
            json!([{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]),
        ),
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the words", "details": {"causes": causes},
    })
}

fn foreign() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "scope-plugin-a", "uid": "uid-foreign", "resourceVersion": "70"},
    })
}

fn children(plugin: &ScopePlugin) -> (Box<ServiceAccount>, Box<DaemonSet>) {
    let children = desired::children(plugin, &testing::settings());
    (
        Box::new(children.service_account),
        Box::new(children.daemon_set.unwrap()),
    )
}

fn plan(account: Step<ServiceAccount>, daemon_set: Step<DaemonSet>) -> Plan {
    Plan {
        service_account: account,
        daemon_set,
        delete: Vec::new(),
        obstacle: None,
    }
}

const ACCOUNT: &str = "serviceaccounts/scope-plugin-a";
const DAEMON_SET: &str = "daemonsets/scope-plugin-a";

#[tokio::test]
async fn children_that_are_not_there_are_made() {
    let (writer, objects) = given();
    let (account, daemon_set) = children(&testing::plugin("a", json!({"agent": {}})));
    let plan = plan(Step::Create(account), Step::Create(daemon_set));
    let outcome = writer.carry_out(plan, None).await.unwrap();
    assert!(outcome.trouble.is_none());
    let made: Vec<String> = objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(made, [DAEMON_SET, ACCOUNT]);
}

#[tokio::test]
async fn what_appears_in_the_last_moment_keeps_its_name() {
    let (writer, objects) = given();
    let (account, daemon_set) = children(&testing::plugin("a", json!({"agent": {}})));
    // Not a field of it stands against ours, so an apply alone would make it ours.
    objects.lock().unwrap().insert(ACCOUNT.into(), foreign());
    let first = plan(Step::Create(account), Step::Create(daemon_set.clone()));
    let error = writer.carry_out(first, None).await.unwrap_err();
    assert_eq!(error.category(), "Conflict", "tried again: {error}");
    assert_eq!(objects.lock().unwrap()[ACCOUNT], foreign());
    assert!(!objects.lock().unwrap().contains_key(DAEMON_SET));

    let mut other = foreign();
    other["kind"] = json!("DaemonSet");
    objects
        .lock()
        .unwrap()
        .insert(DAEMON_SET.into(), other.clone());
    let second = plan(Step::Keep, Step::Create(daemon_set));
    let error = writer.carry_out(second, None).await.unwrap_err();
    assert_eq!(error.category(), "Conflict");
    assert_eq!(objects.lock().unwrap()[DAEMON_SET], other);
}

#[tokio::test]
async fn a_forced_apply_meets_the_object_that_was_judged_or_none() {
    let (writer, objects) = given();
    let (account, _) = children(&testing::plugin("a", json!({"agent": {}})));
    let update = || {
        let step = Step::Update {
            object: account.clone(),
            uid: "uid-judged".into(),
            why: Why::Wanted,
        };
        plan(step, Step::Wait)
    };
    // Deleted in the meantime.
    let error = writer.carry_out(update(), None).await.unwrap_err();
    assert_eq!(error.category(), "Conflict");
    assert!(objects.lock().unwrap().is_empty());
    // Deleted, and somebody has made another. That is not for the person who reads the conditions.
    objects.lock().unwrap().insert(ACCOUNT.into(), foreign());
    let error = writer.carry_out(update(), None).await.unwrap_err();
    assert_eq!(error.category(), "Invalid", "tried again: {error}");
    assert_eq!(objects.lock().unwrap()[ACCOUNT], foreign());
    // The very one.
    objects.lock().unwrap().get_mut(ACCOUNT).unwrap()["metadata"]["uid"] = json!("uid-judged");
    let outcome = writer.carry_out(update(), None).await.unwrap();
    assert!(outcome.trouble.is_none());
    assert_ne!(objects.lock().unwrap()[ACCOUNT], foreign());
}

fn answer(code: u16, reason: &str) -> Result<Option<()>, (Kind, String, RequestError)> {
    let status = kube::core::Status {
        code,
        reason: reason.into(),
        message: "the words".into(),
        ..Default::default()
    };
    let error = RequestError::Api {
        what: "applying".into(),
        source: kube::Error::Api(Box::new(status)),
    };
    Err((Kind::DaemonSet, "scope-plugin-a".into(), error))
}

#[test]
fn refusals_are_the_plugins_trouble_and_the_rest_is_tried_again() {
    for (code, reason) in [
        (422, "Invalid"),
        (403, "Forbidden"),
        (400, "BadRequest"),
        (404, "NotFound"),
    ] {
        let (_, trouble) = refusal(answer(code, reason)).unwrap();
        assert_eq!(
            trouble,
            Some(Trouble::Refused {
                kind: Kind::DaemonSet,
                name: "scope-plugin-a".into(),
                message: "the words".into(),
            })
        );
    }
    for (code, reason) in [
        (409, "Conflict"),
        (500, "InternalError"),
        (429, "TooManyRequests"),
    ] {
        assert!(refusal(answer(code, reason)).is_err(), "{code}");
    }
    assert_eq!(refusal(Ok(Some(1))).unwrap(), (Some(1), None));
}
