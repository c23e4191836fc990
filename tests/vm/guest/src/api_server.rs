//! As much of an API server as one agent needs: a list of pods that never changes, and a log of
//! what was written.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use serde_json::{Value, json};

const ADDRESS: &str = "127.0.0.1:8001";
const KUBECONFIG: &str = "/run/kubeconfig";
/// More than any request of an agent's has.
const LONGEST_BODY: usize = 1 << 20;

/// A server that answers until the guest ends.
pub(crate) struct ApiServer {
    written: Arc<Mutex<Vec<Value>>>,
}

impl ApiServer {
    /// Serves these pods.
    pub(crate) fn start(pods: Vec<Value>) -> anyhow::Result<ApiServer> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "guest",
            "contexts": [{"name": "guest", "context": {"cluster": "guest", "user": "guest"}}],
            "clusters": [{"name": "guest", "cluster": {"server": format!("http://{ADDRESS}")}}],
            "users": [{"name": "guest", "user": {}}],
        });
        std::fs::write(KUBECONFIG, config.to_string()).context("cannot write a kubeconfig")?;
        let listener = TcpListener::bind(ADDRESS).context("cannot listen")?;
        let list = json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"},
            "items": pods,
        });
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&written);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (list, log) = (list.clone(), Arc::clone(&log));
                // A client that goes away has its answer, or wants none.
                std::thread::spawn(move || serve(stream, &list, &log).ok());
            }
        });
        Ok(ApiServer { written })
    }

    /// The file that tells a client how to reach it.
    pub(crate) fn kubeconfig() -> (&'static str, &'static str) {
        ("KUBECONFIG", KUBECONFIG)
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> Vec<Value> {
        let written = self.written.lock();
        written.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request.
fn serve(stream: TcpStream, list: &Value, log: &Mutex<Vec<Value>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; LONGEST_BODY.min(length)];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (status, answer) = match (method.as_str(), path) {
        ("GET", "/api/v1/pods") if query.contains("watch=") => {
            // Nothing changes: the client waits until it goes.
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        ("GET", "/api/v1/pods") => ("200 OK", list.clone()),
        ("POST" | "PATCH" | "PUT", _) => {
            let mut object = body.clone();
            object["metadata"]["name"] = "written".into();
            object["metadata"]["resourceVersion"] = "2".into();
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(body);
            ("200 OK", object)
        }
        _ => (
            "404 Not Found",
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                   "reason": "NotFound", "message": format!("{path} is not served here")}),
        ),
    };
    let answer = answer.to_string();
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{answer}",
        answer.len()
    )
}
