//! Actions against a small API server in memory: what is left of the pods, and what is written down,
//! whatever goes wrong on the way.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
};

use axum::http::{Method, Request, Response};
use jiff::ToSpan;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{
    client::Body,
    runtime::{reflector, watcher},
};
use serde_json::{Value, json};

use scope_crds::{Control, TargetKind};

use super::*;
use crate::actions::index::Index;
use crate::{
    leader::{self, ClaimWriter},
    testing,
};

const UID_1: &str = "0f000000-0000-4000-8000-000000000001";
const UID_2: &str = "0f000000-0000-4000-8000-000000000002";
const UID_9: &str = "0f000000-0000-4000-8000-000000000009";

/// What happens to the next write of a kind, before it is carried out.
pub(in crate::actions) enum Fate {
    /// Nothing.
    Done,
    /// Somebody does this first.
    After(Box<dyn FnOnce(&mut World) + Send>),
    /// The server says no: code, reason.
    Refused(u16, &'static str),
    /// It is carried out, and nobody answers.
    AnswerLost,
    /// It does not arrive, and nobody answers.
    Lost,
    /// Our own code has a bug.
    Panic,
}

#[derive(Default)]
pub(in crate::actions) struct World {
    /// By namespace/name.
    pods: BTreeMap<String, Value>,
    /// The version that the action has now, and the statuses written to it.
    pub(in crate::actions) action_version: u64,
    pub(in crate::actions) statuses: Vec<Value>,
    pub(in crate::actions) events: Vec<Value>,
    /// Objects of other kinds, by their path.
    pub(in crate::actions) objects: BTreeMap<String, Value>,
    /// Names of what the autoscalers of the namespace scale, as kind/name.
    scaled: Vec<String>,
    /// The words of a disruption budget that stands against evictions.
    budget: Option<&'static str>,
    pub(in crate::actions) deletes: usize,
    pub(in crate::actions) changes: usize,
    at_delete: VecDeque<Fate>,
    at_change: VecDeque<Fate>,
    pub(in crate::actions) at_status: VecDeque<Fate>,
    claim: Option<ClaimWriter>,
}

pub(in crate::actions) type Shared = Arc<Mutex<World>>;

pub(in crate::actions) fn world(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap()
}

impl World {
    pub(in crate::actions) fn put(&mut self, namespace: &str, name: &str, uid: &str, version: u64) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": version.to_string()},
            "spec": {"nodeName": "n2", "containers": []},
        });
        self.pods.insert(format!("{namespace}/{name}"), pod);
    }

    pub(in crate::actions) fn phase(&self) -> Option<&str> {
        self.statuses.last()?["phase"].as_str()
    }

    pub(in crate::actions) fn message(&self) -> &str {
        self.statuses
            .last()
            .and_then(|status| status["message"].as_str())
            .unwrap_or_default()
    }

    fn delete(&mut self, pod: &str, options: &Value) -> Result<Value, (u16, &'static str)> {
        let live = self.pods.get(pod).ok_or((404, "NotFound"))?;
        let wanted = &options["preconditions"];
        if wanted["uid"] != live["metadata"]["uid"]
            || wanted["resourceVersion"] != live["metadata"]["resourceVersion"]
        {
            return Err((409, "Conflict"));
        }
        self.deletes += 1;
        Ok(self.pods.remove(pod).unwrap())
    }

    fn write_status(&mut self, body: &Value) -> Result<Value, (u16, &'static str)> {
        let seen = &body["metadata"]["resourceVersion"];
        if !seen.is_null() && *seen != json!(self.action_version.to_string()) {
            return Err((409, "Conflict"));
        }
        self.action_version += 1;
        self.statuses.push(body["status"].clone());
        Ok(serde_json::to_value(action(10.seconds())).unwrap())
    }

    /// Puts an object of `demo` with the UID of the click there.
    fn put_object(&mut self, path: &str, spec: Value) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let object = json!({
            "metadata": {"namespace": "demo", "name": name, "uid": UID_1, "resourceVersion": "7"},
            "spec": spec,
        });
        self.objects.insert(path.to_owned(), object);
    }

    fn evict(&mut self, pod: &str, body: &Value) -> Result<Value, Refusal> {
        match self.budget {
            Some(_) => Err((429, "TooManyRequests")),
            None => {
                let live = self.pods.get(pod).ok_or((404, "NotFound"))?;
                // With a version too, a budget would be charged for a delete that may not come.
                let wanted = json!({"uid": live["metadata"]["uid"]});
                if body["deleteOptions"]["preconditions"] != wanted {
                    return Err((409, "Conflict"));
                }
                self.deletes += 1;
                self.pods.remove(pod);
                Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
        }
    }

    fn merge(&mut self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let path = path.trim_end_matches("/scale");
        let live = self.objects.get_mut(path).ok_or((404, "NotFound"))?;
        for field in ["uid", "resourceVersion"] {
            if body["metadata"][field] != live["metadata"][field] {
                return Err((409, "Conflict"));
            }
        }
        merge(&mut live["spec"], &body["spec"]);
        live["metadata"]["resourceVersion"] = json!("8");
        self.changes += 1;
        Ok(live.clone())
    }

    fn make(&mut self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let name = body["metadata"]["name"].as_str().unwrap();
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return Err((409, "AlreadyExists"));
        }
        self.changes += 1;
        self.objects.insert(path, body.clone());
        Ok(body.clone())
    }

    fn scalers(&self) -> Value {
        let items: Vec<Value> = self
            .scaled
            .iter()
            .map(|scaled| {
                let (kind, name) = scaled.split_once('/').unwrap();
                json!({
                    "metadata": {"name": format!("{name}-by-load"), "namespace": "demo"},
                    "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}},
                })
            })
            .collect();
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscalerList", "metadata": {}, "items": items})
    }
}

type Refusal = (u16, &'static str);

fn merge(live: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                merge(&mut live[key], value);
            }
        }
        value => *live = value.clone(),
    }
}

fn answer(answer: Result<Value, (u16, &'static str)>) -> Response<Body> {
    let (code, body) = match answer {
        Ok(body) => (200, body),
        Err((code, reason)) => (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": format!("the server says {reason}")}),
        ),
    };
    Response::builder()
        .status(code)
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}

/// Lets `fate` have its way with `write`.
async fn under(
    fate: Option<Fate>,
    shared: &Shared,
    write: impl FnOnce(&mut World) -> Result<Value, (u16, &'static str)>,
) -> Result<Value, (u16, &'static str)> {
    match fate {
        None | Some(Fate::Done) => write(&mut world(shared)),
        Some(Fate::After(first)) => {
            first(&mut world(shared));
            write(&mut world(shared))
        }
        Some(Fate::Refused(code, reason)) => Err((code, reason)),
        Some(Fate::AnswerLost) => {
            let _ = write(&mut world(shared));
            pending().await
        }
        Some(Fate::Lost) => pending().await,
        Some(Fate::Panic) => panic!("as the test wants it"),
    }
}

async fn serve(shared: Shared, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    answer(match (head.method, path.as_slice()) {
        (Method::GET, ["api", "v1", "namespaces", namespace, "pods", name]) => {
            let pod = world(&shared)
                .pods
                .get(&format!("{namespace}/{name}"))
                .cloned();
            pod.ok_or((404, "NotFound"))
        }
        (Method::DELETE, ["api", "v1", "namespaces", namespace, "pods", name]) => {
            let fate = world(&shared).at_delete.pop_front();
            let pod = format!("{namespace}/{name}");
            under(fate, &shared, |world| world.delete(&pod, &body)).await
        }
        (Method::PATCH, [.., "scopeactions", _, "status"]) => {
            let fate = world(&shared).at_status.pop_front();
            under(fate, &shared, |world| world.write_status(&body)).await
        }
        (
            Method::POST,
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                "demo" | "scope-plugins",
                "events",
            ],
        ) => {
            world(&shared).events.push(body.clone());
            Ok(body)
        }
        // The same once more, of which the recorder makes a series.
        (
            Method::PATCH,
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                "demo" | "scope-plugins",
                "events",
                _,
            ],
        ) => {
            let first = world(&shared).events[0].clone();
            world(&shared).events.push(body);
            Ok(first)
        }
        (
            Method::POST,
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                "pods",
                name,
                "eviction",
            ],
        ) => {
            let fate = world(&shared).at_delete.pop_front();
            let pod = format!("{namespace}/{name}");
            let evicted = under(fate, &shared, |world| world.evict(&pod, &body)).await;
            if let (Err((429, _)), Some(words)) = (&evicted, world(&shared).budget) {
                return by_budget(words);
            }
            evicted
        }
        (Method::POST, [.., "jobs"]) => {
            let fate = world(&shared).at_change.pop_front();
            let path = path.join("/");
            under(fate, &shared, |world| world.make(&path, &body)).await
        }
        (Method::PATCH, [.., "deployments" | "cronjobs", _] | [.., "deployments", _, "scale"]) => {
            let fate = world(&shared).at_change.pop_front();
            let path = path.join("/");
            under(fate, &shared, |world| world.merge(&path, &body)).await
        }
        (Method::GET, [.., "horizontalpodautoscalers"]) => Ok(world(&shared).scalers()),
        (Method::GET, [.., "deployments" | "cronjobs" | "jobs", _]) => {
            let object = world(&shared).objects.get(&path.join("/")).cloned();
            object.ok_or((404, "NotFound"))
        }
        (method, path) => panic!("{method} {path:?} is not for the operator"),
    })
}

/// The API server's answer to an eviction that a budget stands against.
fn by_budget(words: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "details": {"causes": [{"reason": "DisruptionBudget", "message": words}]},
    });
    Response::builder()
        .status(429)
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}

pub(in crate::actions) fn action(until: jiff::Span) -> ScopeAction {
    let not_after = Timestamp::now().checked_add(until).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
        "metadata": {"name": "a-xyz", "namespace": "scope-plugins", "uid": "uid-of-the-action",
            "resourceVersion": "1"},
        "spec": {
            "plugin": "a", "control": "DeletePod", "target": {"kind": "Pod", "uid": UID_1},
            "node": "n1", "probeID": "probe-1", "appID": "app-1", "notAfter": MicroTime(not_after),
        },
    }))
    .unwrap()
}

/// An operator that leads, and a world with the clicked pod and another one.
pub(in crate::actions) fn given(change: impl FnOnce(&mut World)) -> (Actor, Shared) {
    let (writer, claim) = leader::claim();
    let now = Instant::now();
    writer.set(Some(now + Duration::from_secs(60)), now);
    let mut start = World {
        action_version: 1,
        claim: Some(writer),
        ..World::default()
    };
    start.put("demo", "web-1", UID_1, 7);
    start.put("demo", "web-2", UID_2, 8);
    change(&mut start);
    let shared: Shared = Arc::new(Mutex::new(start));
    let serving = Arc::clone(&shared);
    let service = tower::service_fn(move |request| {
        let shared = Arc::clone(&serving);
        async move { Ok::<_, std::convert::Infallible>(serve(shared, request).await) }
    });
    let client = Client::new(service, "default");

    let (plugins, mut filling) = reflector::store();
    let plugin = testing::plugin(
        "a",
        json!({"agent": {"controls": Control::ALL, "maxActionsPerMinute": 1}}),
    );
    filling.apply_watcher_event(&watcher::Event::Apply(kube::core::DeserializeGuard(Ok(
        plugin,
    ))));
    let mut settings = testing::settings();
    settings.allowed_actions = Control::ALL.into();
    let mut indexes = Indexes::new();
    for kind in TargetKind::ALL {
        let index = Index::default();
        index.follow(watcher::Event::Init);
        for (name, uid) in [("web-1", UID_1), ("web-2", UID_2)] {
            let metadata = json!({"metadata": {"namespace": "demo", "name": name, "uid": uid}});
            index.follow(watcher::Event::InitApply(
                serde_json::from_value(metadata).unwrap(),
            ));
        }
        index.follow(watcher::Event::InitDone);
        indexes.insert(kind, Arc::new(index));
    }
    let known = Known {
        indexes,
        nodes: reflector::store().0,
    };
    let metrics = Arc::new(Metrics::new());
    let events = Events::new(client.clone(), "op-1", Arc::clone(&metrics));
    (
        Actor::new(client, claim, settings, plugins, known, events, metrics),
        shared,
    )
}

fn in_ten_seconds() -> ScopeAction {
    action(10.seconds())
}

#[tokio::test]
async fn a_click_deletes_that_pod_and_says_who_asked() {
    let (actor, shared) = given(|_| {});
    assert!(actor.handle(&in_ten_seconds()).await);
    let world = world(&shared);
    assert_eq!(world.pods.keys().collect::<Vec<_>>(), ["demo/web-2"]);
    assert_eq!(world.statuses.len(), 2);
    assert_eq!(
        world.statuses[0]["phase"],
        Value::Null,
        "written before it acts"
    );
    assert_eq!(world.statuses[0]["target"]["name"], "web-1");
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!(
        world.statuses[1]["target"],
        json!({"namespace": "demo", "name": "web-1", "node": "n2"})
    );
    let event = &world.events[0];
    assert_eq!(event["regarding"]["uid"], UID_1);
    let note = event["note"].as_str().unwrap();
    for part in ["app app-1", "probe probe-1", "node n1", "ScopeAction a-xyz"] {
        assert!(note.contains(part), "{note}");
    }
}

#[tokio::test]
async fn a_pod_whose_status_moves_meanwhile_is_looked_at_again() {
    let (actor, shared) = given(|world| {
        let moved: Fate = Fate::After(Box::new(|world| world.put("demo", "web-1", UID_1, 70)));
        world.at_delete.push_back(moved);
    });
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!((world.deletes, world.pods.len()), (1, 1));
}

#[tokio::test]
async fn a_pod_that_becomes_protected_meanwhile_is_spared() {
    let (actor, shared) = given(|world| {
        world.at_delete.push_back(Fate::After(Box::new(|world| {
            world.put("demo", "web-1", UID_1, 70);
            let pod = world.pods.get_mut("demo/web-1").unwrap();
            pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": UID_1});
        })));
    });
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Refused"));
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn another_pod_of_the_same_name_is_left_alone() {
    let (actor, shared) = given(|world| {
        let replaced = Fate::After(Box::new(|world: &mut World| {
            world.put("demo", "web-1", UID_9, 9)
        }));
        world.at_delete.push_back(replaced);
    });
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!((world.deletes, world.pods.len()), (0, 2));
    assert_eq!(world.phase(), Some("Failed"));
    assert!(
        world.message().contains("demo/web-1 was gone already"),
        "{}",
        world.message()
    );
}

#[tokio::test]
async fn a_pod_that_is_gone_is_said_to_be_gone_and_costs_no_place() {
    let (actor, shared) = given(|world| {
        world.pods.remove("demo/web-1");
    });
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Failed"));
    assert!(
        world(&shared)
            .message()
            .contains("There is no Pod with the UID")
    );
    // The plugin has one place a minute.
    world(&shared).put("demo", "web-1", UID_1, 7);
    world(&shared).action_version = 1;
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Succeeded"));
    world(&shared).action_version = 1;
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Refused"));
    assert!(world(&shared).message().contains("maxActionsPerMinute"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_read_from_the_pod() {
    for (fate, phase, deletes) in [
        (Fate::AnswerLost, "Succeeded", 1),
        (Fate::Lost, "Failed", 0),
    ] {
        let (actor, shared) = given(|world| world.at_delete.push_back(fate));
        actor.handle(&in_ten_seconds()).await;
        assert_eq!(world(&shared).phase(), Some(phase));
        assert_eq!(world(&shared).deletes, deletes);
    }
}

#[tokio::test]
async fn a_refusal_of_the_server_is_passed_on_in_its_words() {
    let (actor, shared) = given(|world| world.at_delete.push_back(Fate::Refused(403, "Forbidden")));
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Failed"));
    assert!(
        world(&shared)
            .message()
            .contains("the server says Forbidden")
    );
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn a_claim_that_ends_before_the_delete_leaves_the_pod_and_the_action() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::After(Box::new(|world| {
            world.claim.as_ref().unwrap().set(None, Instant::now());
        })));
    });
    assert!(!actor.handle(&in_ten_seconds()).await, "left to others");
    let world = world(&shared);
    assert_eq!(world.deletes, 0);
    assert_eq!(world.statuses.len(), 1, "the note that it was begun");
}

#[tokio::test]
async fn what_another_replica_began_is_left_to_it() {
    let (actor, shared) = given(|world| world.action_version = 2);
    assert!(!actor.handle(&in_ten_seconds()).await);
    assert_eq!(world(&shared).deletes, 0);
    assert!(world(&shared).statuses.is_empty());
}

#[tokio::test]
async fn what_a_dead_replica_began_is_not_done_again() {
    let (actor, shared) = given(|_| {});
    let mut begun = in_ten_seconds();
    begun.status = Some(
        serde_json::from_value(json!({
            "message": "Being carried out", "target": {"namespace": "demo", "name": "web-1"},
        }))
        .unwrap(),
    );
    assert!(actor.handle(&begun).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Failed"), 0));
    assert_eq!(
        world.statuses[0]["target"]["name"], "web-1",
        "its target stays on record"
    );
}

#[tokio::test]
async fn time_that_runs_out_on_the_way_means_nothing_is_done() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::After(Box::new(|_| {
            std::thread::sleep(Duration::from_millis(120));
        })));
    });
    assert!(actor.handle(&action(100.milliseconds())).await);
    assert_eq!(world(&shared).phase(), Some("Expired"));
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn what_is_found_late_is_not_even_looked_up() {
    let (actor, shared) = given(|_| {});
    assert!(actor.handle(&action((-1).seconds())).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Expired"), 0));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_written_once_it_can_be_and_the_pod_deleted_once() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::Done);
        world
            .at_status
            .push_back(Fate::Refused(500, "InternalError"));
        world.at_status.push_back(Fate::Lost);
    });
    assert!(actor.handle(&in_ten_seconds()).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Succeeded"), 1));
}

/// A pod of that name that is another one is not taken for the clicked one, whatever the index says.
#[tokio::test]
async fn a_name_that_is_another_object_s_by_now_is_left_alone() {
    let (actor, shared) = given(|world| world.put("demo", "web-1", UID_9, 9));
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Failed"), 0));
    assert!(
        world.statuses[0]["target"].is_null(),
        "{:?}",
        world.statuses
    );
}

/// A click on an object at this path, the only one with that UID, which has this spec.
fn on(
    control: Control,
    path: &str,
    spec: Value,
    change: impl FnOnce(&mut World),
) -> (Actor, Shared, ScopeAction) {
    let (actor, shared) = given(|world| {
        world.put_object(path, spec);
        change(world);
    });
    let mut action = in_ten_seconds();
    action.spec.control = control;
    action.spec.target.kind = control.kinds()[0];
    (actor, shared, action)
}

const WEB: &str = "apis/apps/v1/namespaces/demo/deployments/web-1";
const NIGHTLY: &str = "apis/batch/v1/namespaces/demo/cronjobs/web-1";

#[tokio::test]
async fn a_click_changes_that_deployment_and_says_so_on_it() {
    let spec = json!({"replicas": 2});
    let (actor, shared, action) = on(Control::ScaleUp, WEB, spec, |_| {});
    assert!(actor.handle(&action).await);
    let world = world(&shared);
    assert_eq!(world.objects[WEB]["spec"], json!({"replicas": 3}));
    assert_eq!(
        world.message(),
        "Deployment demo/web-1 is scaled from 2 to 3 replicas"
    );
    let event = &world.events[0];
    assert_eq!(event["regarding"]["kind"], "Deployment");
    assert_eq!(event["regarding"]["apiVersion"], "apps/v1");
    assert_eq!(event["action"], "ScaleUp");
}

/// Somebody else scaled it between the look and the request: what they did is not lost.
#[tokio::test]
async fn a_change_of_others_meanwhile_is_counted_from() {
    let spec = json!({"replicas": 2});
    let (actor, shared, action) = on(Control::ScaleUp, WEB, spec, |world| {
        world.at_change.push_back(Fate::After(Box::new(|world| {
            let live = world.objects.get_mut(WEB).unwrap();
            live["spec"]["replicas"] = json!(5);
            live["metadata"]["resourceVersion"] = json!("70");
        })));
    });
    actor.handle(&action).await;
    let world = world(&shared);
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!(
        (world.objects[WEB]["spec"].clone(), world.changes),
        (json!({"replicas": 6}), 1)
    );
}

#[tokio::test]
async fn an_autoscaler_s_object_is_not_scaled_and_others_are() {
    for (scaled, phase, changes) in [
        ("Deployment/web-1", "Refused", 0),
        ("StatefulSet/web-1", "Succeeded", 1),
        ("Deployment/web-2", "Succeeded", 1),
    ] {
        let spec = json!({"replicas": 2});
        let (actor, shared, action) = on(Control::ScaleDown, WEB, spec, |world| {
            world.scaled.push(scaled.into())
        });
        actor.handle(&action).await;
        let world = world(&shared);
        assert_eq!(
            (world.phase(), world.changes),
            (Some(phase), changes),
            "{scaled}"
        );
        let named = world.message().contains("web-1-by-load");
        assert_eq!(named, changes == 0, "{}", world.message());
    }
}

#[tokio::test]
async fn an_eviction_is_a_delete_that_a_budget_can_refuse() {
    let words = "The disruption budget web needs 3 healthy pods and has 3 currently";
    for (budget, phase, deletes) in [(None, "Succeeded", 1), (Some(words), "Refused", 0)] {
        let (actor, shared) = given(|world| world.budget = budget);
        let mut action = in_ten_seconds();
        action.spec.control = Control::EvictPod;
        actor.handle(&action).await;
        let world = world(&shared);
        assert_eq!((world.phase(), world.deletes), (Some(phase), deletes));
        if let Some(words) = budget {
            assert!(world.message().ends_with(words), "{}", world.message());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_read_from_what_is_there() {
    let template = json!({"jobTemplate": {"spec": {"template": {}}}});
    for (control, path, spec) in [
        (Control::ScaleUp, WEB, json!({"replicas": 2})),
        (Control::RestartRollout, WEB, json!({})),
        (Control::SuspendCronJob, NIGHTLY, json!({})),
        (Control::TriggerCronJob, NIGHTLY, template),
    ] {
        for (fate, phase, changes) in [
            (Fate::AnswerLost, "Succeeded", 1),
            (Fate::Lost, "Failed", 0),
        ] {
            let (actor, shared, action) = on(control, path, spec.clone(), |world| {
                world.at_change.push_back(fate)
            });
            actor.handle(&action).await;
            let world = world(&shared);
            assert_eq!(
                (world.phase(), world.changes),
                (Some(phase), changes),
                "{control}: {}",
                world.message()
            );
        }
    }
}

#[tokio::test]
async fn a_double_click_is_one_wish_and_costs_no_second_place() {
    let spec = json!({"replicas": 2});
    let (actor, shared, first) = on(Control::ScaleUp, WEB, spec, |_| {});
    actor.handle(&first).await;
    let mut second = first;
    second.metadata.name = Some("a-second".into());
    world(&shared).action_version = 1;
    actor.handle(&second).await;
    let world = world(&shared);
    // The plugin has one place a minute: a click of its own would be refused for that.
    assert_eq!(world.phase(), Some("Succeeded"));
    let said = world.message();
    assert!(
        said.contains("as ScopeAction a-xyz: nothing more"),
        "{said}"
    );
    assert_eq!(world.changes, 1);
}

/// The record of something that the agent of this node did to a container of pod demo/web-1.
fn record(node: &str, phase: &str) -> ScopeAction {
    let mut record = serde_json::to_value(action(0.seconds())).unwrap();
    let spec = &mut record["spec"];
    spec["control"] = json!("FreezeContainer");
    spec["node"] = json!(node);
    spec["target"]["container"] = json!({
        "id": "c".repeat(64), "name": "web", "namespace": "demo", "pod": "web-1",
    });
    spec["done"] = json!({
        "phase": phase, "message": "container web of pod demo/web-1 is frozen",
        "at": "2030-01-01T00:00:00.000000Z",
    });
    serde_json::from_value(record).unwrap()
}

#[tokio::test]
async fn a_record_of_an_agent_becomes_a_status_and_an_event_and_nothing_is_done() {
    for (phase, kind) in [("Succeeded", "Normal"), ("Failed", "Warning")] {
        let (actor, shared) = given(|_| {});
        assert!(actor.handle(&record("n2", phase)).await);
        let world = world(&shared);
        assert_eq!((world.deletes, world.pods.len()), (0, 2));
        assert_eq!(world.statuses.len(), 1, "nothing is begun");
        assert_eq!(world.phase(), Some(phase));
        assert_eq!(world.message(), "container web of pod demo/web-1 is frozen");
        assert_eq!(world.statuses[0]["target"]["name"], "web-1");
        assert_eq!(
            world.statuses[0]["completedAt"],
            "2030-01-01T00:00:00.000000Z"
        );
        let event = &world.events[0];
        assert_eq!(event["regarding"]["uid"], UID_1);
        assert_eq!(event["action"], "FreezeContainer");
        assert_eq!(event["reason"], format!("ScopeAction{phase}"));
        assert_eq!(event["type"], kind);
        let note = event["note"].as_str().unwrap();
        let who = "Asked for in Scope (app app-1, probe probe-1), done by the agent of node n2; ";
        assert!(note.contains(who), "{note}");
    }
}

#[tokio::test]
async fn what_nobody_clicked_is_not_said_to_be_asked_for() {
    let (actor, shared) = given(|_| {});
    let mut thawed = record("n2", "Succeeded");
    thawed.spec.control = scope_crds::Control::ThawContainer;
    thawed.spec.app_id.clear();
    thawed.spec.probe_id.clear();
    assert!(actor.handle(&thawed).await);
    let world = world(&shared);
    let note = world.events[0]["note"].as_str().unwrap();
    assert!(
        note.contains(". Done by the agent of node n2; ScopePlugin a"),
        "{note}"
    );
    assert!(!note.contains("Asked for"), "{note}");
}

#[tokio::test]
async fn a_record_about_what_is_not_there_becomes_a_status_only() {
    type Change = fn(&mut World);
    let cases: [(&str, &str, &str, Change); 3] = [
        // Another node's pod: pods do not move, so this agent is not to be believed.
        ("n1", "Refused", "does not run on n1", |_| {}),
        ("n2", "Succeeded", "the pod is gone", |world| {
            world.pods.remove("demo/web-1");
        }),
        // Another pod of that name.
        ("n2", "Succeeded", "another one by now", |world| {
            world.put("demo", "web-1", UID_9, 9);
        }),
    ];
    for (node, phase, words, change) in cases {
        let (actor, shared) = given(change);
        assert!(actor.handle(&record(node, "Succeeded")).await);
        let world = world(&shared);
        assert_eq!(world.phase(), Some(phase));
        assert!(world.message().contains(words), "{}", world.message());
        assert_eq!(world.statuses[0]["target"], Value::Null);
        assert!(world.events.is_empty(), "{:?}", world.events);
    }
}

#[tokio::test]
async fn a_node_that_floods_records_gets_few_events() {
    let (actor, shared) = given(|_| {});
    for _ in 0..130 {
        assert!(actor.handle(&record("n2", "Succeeded")).await);
    }
    let world = world(&shared);
    assert_eq!(world.statuses.len(), 130);
    let named = world
        .statuses
        .iter()
        .filter(|s| !s["target"].is_null())
        .count();
    assert_eq!(named, 120);
}
