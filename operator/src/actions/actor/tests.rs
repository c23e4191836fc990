//! Actions against a small API server in memory: what is left of the pods, and what is written down,
//! whatever goes wrong on the way.

mod deletes;
mod records;
mod workloads;

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
