//! An API server over a real connection that answers by script and remembers what it was asked.

#![allow(dead_code, reason = "each test crate uses a part")]

pub(crate) mod in_process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use scope_agent::kubernetes::Access;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) accept: String,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains_key("watch")
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What is answered.
pub(crate) enum Reply {
    /// At once.
    Json(u16, Value),
    /// A watch: events until the sender is dropped.
    Events(mpsc::UnboundedReceiver<Value>),
    /// Nothing, ever.
    Never,
    /// After so long.
    Late(Duration, Box<Reply>),
    /// The connection breaks off.
    Broken,
    /// A mistake in the client: its task panics.
    Panic,
}

impl Reply {
    pub(crate) fn ok(value: Value) -> Self {
        Reply::Json(200, value)
    }

    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        Reply::Json(
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                   "reason": reason, "message": message}),
        )
    }

    /// A watch without an event, which stays open while the sender is kept.
    pub(crate) fn watch() -> (mpsc::UnboundedSender<Value>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Reply::Events(receiver))
    }
}

pub(crate) struct ApiServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _stop: DropGuard,
}

impl ApiServer {
    /// Serves on this test's runtime.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("listens");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::default();
        let stop = CancellationToken::new();
        let router = router(Arc::clone(&seen), script);
        tokio::spawn({
            let stop = stop.clone();
            async move {
                // Connections are cut at the end, as when a server dies.
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let accepted = tokio::select! {
                        () = stop.cancelled() => break,
                        accepted = listener.accept() => accepted,
                    };
                    let (stream, _) = accepted.expect("accepts");
                    let service = hyper_util::service::TowerToHyperService::new(router.clone());
                    connections.spawn(async move {
                        let stream = hyper_util::rt::TokioIo::new(stream);
                        let http = hyper::server::conn::http1::Builder::new();
                        let _ = http.serve_connection(stream, service).await;
                    });
                }
            }
        });
        ApiServer {
            address,
            seen,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn access(&self) -> Access {
        access_to(self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("unpoisoned").clone()
    }

    /// The requests of this kind so far.
    pub(crate) fn count(&self, of: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| of(seen)).count()
    }
}

fn router(
    seen: Arc<Mutex<Vec<Seen>>>,
    script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> axum::Router {
    let script = Arc::new(script);
    axum::Router::new().fallback(move |request: Request| {
        let (seen, script) = (seen.clone(), script.clone());
        async move {
            let request = read(request).await;
            let reply = script(&request);
            seen.lock().expect("unpoisoned").push(request);
            write(reply).await
        }
    })
}

pub(crate) fn access_to(address: SocketAddr) -> Access {
    let uri = format!("http://{address}").parse().expect("a URI");
    Access::new(kube::Config::new(uri))
}

async fn read(request: Request) -> Seen {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let query = head.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    Seen {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect(),
        accept: head
            .headers
            .get("accept")
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = String::from_utf8(hex).expect("hex");
                u8::from_str_radix(&hex, 16).expect("hex")
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).expect("text")
}

async fn write(reply: Reply) -> Response {
    let json_type = [("content-type", "application/json")];
    match reply {
        Reply::Json(code, value) => {
            let code = StatusCode::from_u16(code).expect("a code");
            (code, json_type, value.to_string()).into_response()
        }
        Reply::Events(receiver) => {
            let lines = futures::stream::unfold(receiver, |mut receiver| async {
                let event = receiver.recv().await?;
                Some((
                    Ok::<_, std::convert::Infallible>(Bytes::from(format!("{event}\n"))),
                    receiver,
                ))
            });
            (json_type, Body::from_stream(lines.boxed())).into_response()
        }
        Reply::Never => std::future::pending().await,
        Reply::Late(after, reply) => {
            tokio::time::sleep(after).await;
            Box::pin(write(*reply)).await
        }
        Reply::Broken => {
            let cut = futures::stream::once(async { Err::<Bytes, _>(broken()) });
            (json_type, Body::from_stream(cut)).into_response()
        }
        Reply::Panic => panic!("as the script says"),
    }
}

fn broken() -> std::io::Error {
    std::io::ErrorKind::ConnectionReset.into()
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let patience = Duration::from_secs(30);
    let deadline = tokio::time::Instant::now() + patience;
    while !so() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not within {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
