//! As much of an API server as the service and agents need.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
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
use jiff::Timestamp;
use scope_totals_wire::AUDIENCE;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

/// What is in a cluster, of which nothing comes and goes.
pub trait Objects: Send + Sync {
    /// How many there are of a kind, by its name in paths, such as `replicasets`; 0 of a kind that is not
    /// in this cluster.
    fn count(&self, kind: &str) -> usize;
    /// The object with this number, below [`count`](Objects::count), in the list of the kind.
    fn object(&self, kind: &str, number: usize) -> Value;
    /// An object of the kind as it is after so many changes, of which there is one every second; nothing of a kind
    /// whose objects stay as they are.
    fn changed(&self, _kind: &str, _changes: u64) -> Option<Value> {
        None
    }
}

/// A running server.
pub struct Server {
    /// Where it serves, without TLS.
    pub address: SocketAddr,
    world: World,
}

#[derive(Clone)]
struct World {
    cluster: Arc<dyn Objects>,
    /// What the service itself reads and writes, by path.
    own: Arc<Mutex<BTreeMap<String, Value>>>,
    changed: watch::Sender<u64>,
    began: Instant,
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/scope-system/leases/scope-totals";
const SECRET: &str = "/api/v1/namespaces/scope-system/secrets/scope-totals-authorities";
const SERVICE: &str = "/api/v1/namespaces/scope-system/services/scope-totals";
const MAP: &str = "/api/v1/namespaces/scope-plugins/configmaps/scope-totals-ca";

/// From one change of a kind to the next.
const CHANGE: Duration = Duration::from_secs(1);

/// Kinds whose objects are asked for by name.
const BY_NAME: [&str; 3] = ["nodes", "namespaces", "replicasets"];

/// Serves the cluster on a port of its own until the process ends. Fails if there is no port, or no thread.
pub fn serve(cluster: Arc<dyn Objects>) -> anyhow::Result<Server> {
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
        began: Instant::now(),
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
    /// What agents trust, as PEM, once the service has said so. Fails if it does not within a minute.
    pub async fn bundle(&self) -> anyhow::Result<String> {
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
            None => match by_name(path) {
                Some((kind, name)) => world.find(kind, name),
                None => world.list(&head.uri, &query),
            },
        },
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl World {
    fn find(&self, kind: &str, name: &str) -> Response {
        let mut all = (0..self.cluster.count(kind)).map(|number| self.cluster.object(kind, number));
        match all.find(|object| object["metadata"]["name"] == name) {
            Some(object) => object.to_string().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

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
                let of_node = query
                    .get("fieldSelector")
                    .and_then(|selector| selector.strip_prefix("spec.nodeName="));
                (from..to)
                    .map(|number| self.cluster.object(kind, number))
                    .filter(|object| of_node.is_none_or(|node| object["spec"]["nodeName"] == node))
                    .collect()
            }
        };
        json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
            .to_string()
            .into_response()
    }

    /// One of the service's own objects each time something is written, also between its list and this watch.
    fn watch(&self, path: &str, query: &HashMap<String, String>) -> Response {
        let Some(path) = named(path, query) else {
            let kind = path.rsplit('/').next().unwrap_or_default();
            return self.watch_all(kind);
        };
        let changed = self.changed.subscribe();
        // What was written between the list and this is an event too.
        let since = query.get("resourceVersion").cloned().unwrap_or_default();
        let known = self.get(&path).filter(|object| !is_newer(object, &since));
        let events = stream::unfold((self.clone(), changed, known), move |start| {
            let (world, mut changed, known) = start;
            let path = path.clone();
            async move {
                loop {
                    let now = world.get(&path);
                    if now != known {
                        let event = json!({"type": "MODIFIED", "object": now});
                        return Some((Ok(format!("{event}\n")), (world, changed, now)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Body::from_stream(events.map(|line: Result<String, std::io::Error>| line)).into_response()
    }

    /// The changes of a kind.
    fn watch_all(&self, kind: &str) -> Response {
        let start = (self.clone(), kind.to_owned());
        let changes = stream::unfold(start, |(world, kind)| async move {
            tokio::time::sleep(CHANGE).await;
            let changes = 1 + world.began.elapsed().as_secs() / CHANGE.as_secs();
            let Some(object) = world.cluster.changed(&kind, changes) else {
                return std::future::pending().await;
            };
            let event = json!({"type": "MODIFIED", "object": object});
            let line = Ok::<_, std::io::Error>(Bytes::from(format!("{event}\n")));
            Some((line, (world, kind)))
        });
        Body::from_stream(changes).into_response()
    }
}

/// Whether an object was written after this version.
fn is_newer(object: &Value, version: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let own = object["metadata"]["resourceVersion"].as_str();
    number(own.unwrap_or_default()) > number(version)
}

/// The path of the object that a list or watch is of, if it is of one.
fn named(path: &str, query: &HashMap<String, String>) -> Option<String> {
    let name = query.get("fieldSelector")?.strip_prefix("metadata.name=")?;
    Some(format!("{path}/{name}"))
}

/// The kind and the name of the object that a path is of, if it is of one that is found so.
fn by_name(path: &str) -> Option<(&str, &str)> {
    let (rest, name) = path.rsplit_once('/')?;
    let (_, kind) = rest.rsplit_once('/')?;
    BY_NAME.contains(&kind).then_some((kind, name))
}

/// A configuration for clients of the API server at this address.
pub fn kubeconfig(api: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: \
         'http://{api}'}}}}]\nusers: [{{name: x, user: {{}}}}]\ncontexts: [{{name: x, context: \
         {{cluster: x, user: x}}}}]\n"
    )
}

/// The token of an agent on this node, which the server finds good for an hour. As long as a real one, whose
/// claims and signature take some 1,200 characters.
pub fn token(node: &str) -> String {
    let claims = json!({
        "aud": [AUDIENCE],
        "exp": Timestamp::now().as_second() + 3600,
        "sub": "system:serviceaccount:scope-plugins:scope-plugin-node-metrics",
        "node": node,
        "rest": "x".repeat(500),
    });
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("e30.{payload}.{}", "s".repeat(342))
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
