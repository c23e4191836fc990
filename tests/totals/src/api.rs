//! As much of an API server as the service needs.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Query, State},
    http::{Method, Request, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::cluster::Cluster;

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    world: World,
}

#[derive(Clone)]
struct World {
    cluster: Arc<Cluster>,
    /// What the service itself reads and writes, by path.
    own: Arc<Mutex<BTreeMap<String, Value>>>,
    changed: watch::Sender<u64>,
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/scope-system/leases/scope-totals";
const SECRET: &str = "/api/v1/namespaces/scope-system/secrets/scope-totals-authorities";
const SERVICE: &str = "/api/v1/namespaces/scope-system/services/scope-totals";
const MAP: &str = "/api/v1/namespaces/scope-plugins/configmaps/scope-totals-ca";

/// Serves the cluster on a port of its own, without TLS.
pub(crate) fn serve(cluster: Arc<Cluster>) -> anyhow::Result<Server> {
    let object = |path: &str| {
        let name = path.rsplit('/').next();
        (
            path.to_owned(),
            json!({"metadata": {"name": name, "resourceVersion": "1"}}),
        )
    };
    let mut own: BTreeMap<_, _> = [LEASE, SECRET, SERVICE, MAP].map(object).into();
    if let Some(service) = own.get_mut(SERVICE) {
        service["spec"] =
            json!({"clusterIP": "10.96.0.7", "ports": [{"name": "exchange", "port": 8443}]});
    }
    let world = World {
        cluster,
        own: Arc::new(Mutex::new(own)),
        changed: watch::Sender::new(1),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(answer).with_state(world.clone());
    // A thread of its own: an API server does not stand still because agents are busy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener, router)));
    Ok(Server { address, world })
}

async fn accept(listener: std::net::TcpListener, router: Router) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            // A client that leaves is no news.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Server {
    /// What agents trust, once the service has said so.
    pub(crate) async fn bundle(&self) -> anyhow::Result<String> {
        let mut changed = self.world.changed.subscribe();
        let published = async {
            loop {
                if let Some(bundle) = self
                    .world
                    .get(MAP)
                    .and_then(|map| map["data"]["ca.crt"].as_str().map(str::to_owned))
                {
                    return Ok(bundle);
                }
                changed.changed().await?;
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, published)
            .await
            .context("no authority is published")?
    }
}

impl World {
    fn get(&self, path: &str) -> Option<Value> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(path).cloned()
    }

    fn patch(&self, path: &str, patch: &Value) -> Value {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let object = own.entry(path.to_owned()).or_insert_with(|| json!({}));
        merge(object, patch);
        let mut version = 0;
        self.changed.send_modify(|changed| {
            *changed += 1;
            version = *changed;
        });
        object["metadata"]["resourceVersion"] = version.to_string().into();
        object.clone()
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *object, patch) else {
        *object = patch.clone();
        return;
    };
    for (name, change) in changes {
        match change {
            Value::Null => {
                fields.remove(name);
            }
            change => merge(fields.entry(name).or_insert(Value::Null), change),
        }
    }
}

async fn answer(
    State(world): State<World>,
    Query(query): Query<HashMap<String, String>>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    match (head.method, head.uri.path()) {
        (Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews") => review(&body),
        (Method::PATCH, path) => match serde_json::from_slice(&body) {
            Ok(patch) => world.patch(path, &patch).to_string().into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        },
        (Method::GET, path) if query.contains_key("watch") => world.watch(path, &query),
        (Method::GET, path) => match world.get(path) {
            Some(object) => object.to_string().into_response(),
            None => world.list(&head.uri, &query),
        },
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl World {
    fn list(&self, uri: &Uri, query: &HashMap<String, String>) -> Response {
        let number = |key: &str| query.get(key).and_then(|text| text.parse::<usize>().ok());
        let version = self.changed.borrow().to_string();
        let mut metadata = json!({"resourceVersion": version});
        let items: Vec<Value> = match named(uri.path(), query) {
            Some(path) => self.get(&path).into_iter().collect(),
            None => {
                let kind = uri.path().rsplit('/').next().unwrap_or_default();
                let (from, count) = (number("continue").unwrap_or(0), self.cluster.count(kind));
                let to = count.min(from + number("limit").unwrap_or(count));
                if to < count {
                    metadata["continue"] = to.to_string().into();
                }
                (from..to)
                    .map(|number| self.cluster.object(kind, number))
                    .collect()
            }
        };
        json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
            .to_string()
            .into_response()
    }

    /// One of the service's own objects each time something is written, also between its list and this watch.
    /// Of the rest nothing changes.
    fn watch(&self, path: &str, query: &HashMap<String, String>) -> Response {
        let Some(path) = named(path, query) else {
            return Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
                .into_response();
        };
        let version = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let since = version(query.get("resourceVersion").map(String::as_str)).unwrap_or(0);
        let start = (self.clone(), self.changed.subscribe(), since);
        let events = stream::unfold(start, move |(world, mut changed, since)| {
            let path = path.clone();
            async move {
                loop {
                    let now = world.get(&path).unwrap_or_default();
                    let of_now = version(now["metadata"]["resourceVersion"].as_str());
                    if let Some(of_now) = of_now.filter(|of_now| *of_now > since) {
                        let event = json!({"type": "MODIFIED", "object": now});
                        return Some((Ok(format!("{event}\n")), (world, changed, of_now)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Body::from_stream(events.map(|line: Result<String, std::io::Error>| line)).into_response()
    }
}

/// The path of the object that a list or watch is of, if it is of one.
fn named(path: &str, query: &HashMap<String, String>) -> Option<String> {
    let name = query.get("fieldSelector")?.strip_prefix("metadata.name=")?;
    Some(format!("{path}/{name}"))
}

/// Every token is good, and says itself whose it is.
fn review(body: &[u8]) -> Response {
    let reviewed = || {
        let mut review: Value = serde_json::from_slice(body).ok()?;
        let token = review["spec"]["token"].as_str()?.to_owned();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        review["status"] = json!({
            "authenticated": true,
            "audiences": claims["aud"],
            "user": {
                "username": claims["sub"],
                "extra": {"authentication.kubernetes.io/node-name": [claims["node"]]},
            },
        });
        Some(review.to_string())
    };
    match reviewed() {
        Some(review) => review.into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}
