//! An API server in memory, as far as looks ask it: lists by name, applies, deletes of pods.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// What there is, and what was asked for.
#[derive(Default)]
pub(super) struct World {
    /// By resource and name.
    pub(super) objects: BTreeMap<String, Value>,
    /// Method and key of each request, in order; lists have the selector for a key.
    pub(super) requests: Vec<String>,
    version: u64,
}

impl World {
    /// The writes so far, without those of statuses and Events, which are forgotten with this.
    pub(super) fn writes(&mut self) -> Vec<String> {
        let told = |request: &String| {
            !request.starts_with("GET")
                && !request.contains("/status")
                && !request.contains("events")
        };
        self.requests.drain(..).filter(told).collect()
    }

    fn apply(&mut self, key: &str, mut object: Value) -> Result<Value, u16> {
        let wanted = object["metadata"]["resourceVersion"].as_str();
        let there = self.objects.get(key);
        let version = there.and_then(|there| there["metadata"]["resourceVersion"].as_str());
        let as_was = match version {
            Some(_) => wanted.is_none_or(|wanted| Some(wanted) == version),
            // A version alone lets an object be made, a UID does not.
            None => object["metadata"]["uid"].is_null(),
        };
        if !as_was {
            return Err(409);
        }
        let uid = there.map_or_else(
            || json!(format!("uid-of-{key}")),
            |there| there["metadata"]["uid"].clone(),
        );
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid;
        metadata["resourceVersion"] = json!((1_000 + self.version).to_string());
        metadata["creationTimestamp"] = json!("2030-01-01T00:00:00Z");
        metadata["generation"] = json!(self.version);
        self.objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        body: Value,
    ) -> Result<Value, u16> {
        let parts: Vec<&str> = path
            .split('/')
            .skip_while(|part| *part != "namespaces")
            .collect();
        // Of the namespace, or of the cluster.
        let rest = match parts.get(2..) {
            Some(rest) => rest.join("/"),
            None => path
                .rsplit('/')
                .take(3)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("/"),
        };
        let name = query
            .split('&')
            .find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"));
        let key = match name {
            Some(name) => format!("{rest}/{name}"),
            None => rest,
        };
        self.requests.push(format!("{method} {key}"));
        match *method {
            Method::GET => {
                let items: Vec<_> = self.objects.get(&key).into_iter().collect();
                Ok(json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
            }
            Method::PATCH if key.ends_with("/status") => {
                self.objects.insert(key, body.clone());
                Ok(body)
            }
            Method::PATCH => self.apply(&key, body),
            Method::DELETE => self.objects.remove(&key).ok_or(404),
            _ => Ok(body),
        }
    }
}

/// A client of it.
pub(super) fn client(world: &Arc<Mutex<World>>) -> Client {
    let world = Arc::clone(world);
    let service = tower::service_fn(move |request: Request<Body>| {
        let world = Arc::clone(&world);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let query = head.uri.query().unwrap_or_default();
            let answer = world
                .lock()
                .unwrap()
                .answer(&head.method, head.uri.path(), query, body);
            let (code, body) = match answer {
                Ok(body) => (200, body),
                Err(code) => {
                    let reason = if code == 409 { "Conflict" } else { "NotFound" };
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                        "code": code, "reason": reason, "message": "the words"});
                    (code, status)
                }
            };
            let body = Body::from(body.to_string().into_bytes());
            let response = Response::builder().status(code).body(body).unwrap();
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    Client::new(service, "default")
}
