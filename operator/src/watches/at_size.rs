//! What a first list of many nodes costs in memory, as pages and as a stream: the figures of decision 11.
//! Each way is measured in a process of its own:
//!
//! `cargo test --release -p scope-operator nodes_in_pages -- --ignored --nocapture`, and `nodes_in_a_stream`.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    pin::pin,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client, Config,
    runtime::{
        WatchStreamExt, reflector,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;

use crate::seen::SeenNode;

const NODES: usize = 5_000;

/// A node as a kubelet writes it: 50 images with two names each are most of it.
fn node(n: usize) -> String {
    let digest = "0123456789abcdef".repeat(4);
    let images: Vec<_> = (0..50)
        .map(|image| {
            let name = format!("registry.example.org/team-{n}/service-{image}");
            json!({"names": [format!("{name}@sha256:{digest}"), format!("{name}:v1.{image}")], "sizeBytes": 12345678})
        })
        .collect();
    let labels: HashMap<String, String> = (0..15)
        .map(|label| (format!("example.org/label-{label}"), format!("value-{n}")))
        .collect();
    json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": format!("node-{n:05}"), "resourceVersion": "7", "labels": labels},
        "status": {"images": images, "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}]}})
    .to_string()
}

/// Made before the first request.
struct Answers {
    nodes: Vec<String>,
    stream: Vec<Bytes>,
}

impl Answers {
    fn new() -> Self {
        let nodes: Vec<String> = (0..NODES).map(node).collect();
        let end = json!({"type": "BOOKMARK", "object": {"kind": "Node", "apiVersion": "v1", "metadata": {
            "resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}}});
        let events = nodes
            .iter()
            .map(|node| format!("{{\"type\":\"ADDED\",\"object\":{node}}}\n"));
        let stream = events
            .chain([format!("{end}\n")])
            .map(Bytes::from)
            .collect();
        Self { nodes, stream }
    }

    fn page(&self, from: usize, limit: usize) -> String {
        let to = (from + limit).min(NODES);
        let more = if to < NODES {
            to.to_string()
        } else {
            String::new()
        };
        let items = self.nodes[from..to].join(",");
        format!(
            "{{\"kind\":\"NodeList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"9\",\
             \"continue\":\"{more}\"}},\"items\":[{items}]}}"
        )
    }
}

async fn nodes(
    State(answers): State<Arc<Answers>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if query.contains_key("watch") {
        let initial = query.contains_key("sendInitialEvents");
        let events = answers.stream.clone().into_iter().filter(move |_| initial);
        let events = stream::iter(events.map(Ok::<_, std::io::Error>));
        return Body::from_stream(events.chain(stream::pending())).into_response();
    }
    let number = |key: &str, or: usize| query.get(key).map_or(or, |text| text.parse().unwrap());
    answers
        .page(number("continue", 0), number("limit", NODES))
        .into_response()
}

/// From the status of this process, in KiB.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let words = line.unwrap().trim_start_matches(':').trim();
    words.trim_end_matches(" kB").parse().unwrap()
}

/// Set for the process that serves.
const SERVES: &str = "SCOPE_TEST_SERVES_NODES";

/// The API server, in a process of its own: its memory must not be measured.
#[tokio::test]
#[ignore = "the server of the measurements"]
async fn serving() {
    if std::env::var_os(SERVES).is_none() {
        return;
    }
    let answers = Arc::new(Answers::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistens {}", listener.local_addr().unwrap());
    let router = Router::new().route("/api/v1/nodes", get(nodes));
    axum::serve(listener, router.with_state(answers))
        .await
        .unwrap();
}

/// Ends with the guard.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server() -> (Server, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "watches::at_size::serving",
        ])
        .env(SERVES, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let server = Server(child);
    let mut lines = said.lines().map(Result::unwrap);
    let address = lines.find_map(|line| line.strip_prefix("listens ").map(str::to_owned));
    (server, address.unwrap())
}

async fn measure(config: watcher::Config) {
    let (_server, address) = server();
    let client =
        Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();

    let before = memory("VmRSS");
    // The highest so far is forgotten.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let began = std::time::Instant::now();
    let (store, writer) = reflector::store::<SeenNode>();
    let events = watcher(Api::<SeenNode>::all(client), config)
        .modify(SeenNode::prune)
        .reflect(writer);
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        if matches!(event.unwrap(), Event::InitDone) {
            break;
        }
    }
    let took = began.elapsed();
    assert_eq!(store.len(), NODES);
    println!(
        "{NODES} nodes of {} bytes: {:?}; the highest memory was {} KiB above the start, {} KiB stay",
        node(NODES / 2).len(),
        took,
        memory("VmHWM").saturating_sub(before),
        memory("VmRSS").saturating_sub(before),
    );
}

#[tokio::test]
#[ignore = "a measurement"]
async fn nodes_in_pages() {
    measure(watcher::Config::default()).await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn nodes_in_small_pages() {
    measure(watcher::Config::default().page_size(100)).await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn nodes_in_a_stream() {
    measure(watcher::Config::default().streaming_lists()).await;
}
