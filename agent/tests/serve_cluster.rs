//! The real binary in a cluster, of which only the API server is played: two sockets, readiness that
//! waits for the pods of the node, and a click from one end to the other.

mod agent_process;
mod api_server;
mod health_page;
mod raw_http;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_process::{Agent, ID, Place};
use api_server::{ApiServer, Reply, Seen};
use health_page::http;
use raw_http::{eventually, get, post};
use rustix::process::Signal;
use scope_agent::collect::ControlNames;
use scope_agent::serve::OfferedControls;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ACTIONS: &str = "/apis/scopeplugins.dev/v1alpha1/namespaces/scope-plugins/scopeactions";

/// Where Scope's probe sends clicks.
const CONTROL: &str = "/control?api_version=1&probe_id=5bdcc0beddf3c14";

/// An API server on a thread of its own.
struct Cluster {
    server: Arc<ApiServer>,
    stop: CancellationToken,
}

fn script(list_allowed: Arc<AtomicBool>) -> impl Fn(&Seen) -> Reply {
    move |seen| match seen.path.as_str() {
        "/api/v1/pods" if seen.is_watch() => Reply::Never,
        "/api/v1/pods" if !list_allowed.load(Ordering::Relaxed) => {
            Reply::status(403, "Forbidden", "pods is forbidden")
        }
        "/api/v1/pods" => Reply::ok(json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "web-1", "namespace": "shop", "uid": "abc-1"},
                       "status": {"phase": "Running"}}]})),
        "/api/v1/namespaces/shop" => Reply::ok(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "shop", "uid": "def-1"}})),
        ACTIONS if seen.method == "POST" => {
            let mut action = seen.body.clone();
            action["metadata"]["name"] = "node-metrics-1".into();
            action["metadata"]["resourceVersion"] = "7".into();
            action["status"] = json!({"phase": "Succeeded", "message": "done"});
            Reply::Json(201, action)
        }
        other => Reply::status(404, "NotFound", other),
    }
}

impl Cluster {
    fn start(list_allowed: Arc<AtomicBool>) -> Self {
        Self::playing(script(list_allowed))
    }

    fn playing(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let server = Arc::new(ApiServer::start(script).await);
                send.send(server).expect("awaited");
                stopped.cancelled().await;
            });
        });
        let server = receive.recv().expect("starts");
        Cluster { server, stop }
    }

    fn kubeconfig(&self, path: &Path) {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.server.address())}}],
            "users": [{"name": "u", "user": {}}]});
        std::fs::write(path, config.to_string()).expect("writes");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn two_sockets_readiness_and_a_click() {
    let allowed = Arc::new(AtomicBool::new(false));
    let cluster = Cluster::start(allowed.clone());
    let place = Place::new();
    std::fs::create_dir_all(&place.plugins).expect("a directory");
    let kubeconfig = place.plugins.join("kubeconfig");
    cluster.kubeconfig(&kubeconfig);
    // A port that was free a moment ago.
    let health = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address");
    let mut command = place.command("serve");
    command
        .args([
            "--plugin-id",
            ID,
            "--controls",
            "DeletePod",
            "--http-listen",
            &health.to_string(),
        ])
        .env("NODE_NAME", "node-1")
        .env("POD_NAMESPACE", "scope-plugins")
        .env("KUBECONFIG", &kubeconfig);
    let agent = Agent::spawn(&mut command);

    eventually("it says why it is not ready", || {
        http(health, "/readyz")
            .is_some_and(|(status, text)| status == 503 && text.contains("pods is forbidden"))
    });
    assert_eq!(
        http(health, "/healthz").map(|(status, _)| status),
        Some(200)
    );
    assert_eq!(
        get(&place.socket(), "/report").status,
        200,
        "reports flow meanwhile"
    );
    allowed.store(true, Ordering::Relaxed);
    eventually("ready", || {
        http(health, "/readyz").is_some_and(|(status, _)| status == 200)
    });

    let controls = place.dir().join(format!("{ID}-controls.sock"));
    for socket in [&place.socket(), &controls] {
        let mode = std::fs::symlink_metadata(socket)
            .expect("exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    eventually("the pod is reported with its buttons", || {
        let report: Value =
            serde_json::from_slice(&get(&place.socket(), "/report").body).expect("JSON");
        let pod = &report["Pod"]["nodes"]["abc-1;<pod>"];
        pod["latest"]["active_controls"]["value"]
            == "kubernetes_get_logs;kubernetes_delete_pod;kubernetes_describe;\
                node-metrics-controls~deletePod"
            && report["Namespace"]["nodes"]["def-1;<namespace>"].is_object()
    });

    let offered = place.dir().join(format!("{ID}.controls"));
    let text = std::fs::read_to_string(&offered).expect("what it offers, for other plugins");
    assert!(text.contains("node-metrics-controls~deletePod"), "{text}");
    let mode = offered.metadata().expect("exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = place.plugins.join("another");
    std::fs::create_dir(&other).expect("a directory");
    let names = ControlNames {
        pod: vec!["another-controls~x".into()],
        ..ControlNames::default()
    };
    let other = OfferedControls::write(&other, "another", &names).expect("writes");
    eventually("another plugin's buttons are named too", || {
        let body = get(&place.socket(), "/report").body;
        let report: Value = serde_json::from_slice(&body).expect("JSON");
        report["Pod"]["nodes"]["abc-1;<pod>"]["latest"]["active_controls"]["value"]
            == "kubernetes_get_logs;kubernetes_delete_pod;kubernetes_describe;\
                another-controls~x;node-metrics-controls~deletePod"
    });
    drop(other);

    let click = json!({"AppID": "a1", "NodeID": "abc-1;<pod>", "Control": "deletePod",
                       "ControlArgs": null});
    let reply = post(&controls, CONTROL, &click.to_string());
    assert_eq!(reply.status, 200);
    let answer: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(answer["removedNode"], "abc-1;<pod>", "{answer}");
    assert_eq!(
        post(&place.socket(), "/control", &click.to_string()).status,
        404,
        "not there"
    );
    let (_, metrics) = http(health, "/metrics").expect("metrics");
    for line in [
        "scope_agent_clicks_total{outcome=\"succeeded\"} 1",
        "scope_agent_inventory_pods 1",
        "scope_agent_report_detail{detail=\"full\"} 1",
        "scope_agent_report_detail{detail=\"turns\"} 0",
        "scope_agent_odd_probe_ids_total 0",
        "scope_agent_inventory_failures_total{operation=\"list\"}",
        "scope_agent_inventory_age_seconds ",
        "scope_agent_connections_open{socket=\"controls\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }

    let kinds: std::collections::BTreeSet<(String, String)> = cluster
        .server
        .seen()
        .into_iter()
        .map(|s| (s.method, s.path))
        .collect();
    let kinds: Vec<(&str, &str)> = kinds
        .iter()
        .map(|(m, p)| (m.as_str(), p.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("GET", "/api/v1/namespaces/shop"),
            ("GET", "/api/v1/nodes/node-1"),
            ("GET", "/api/v1/pods"),
            ("POST", ACTIONS)
        ],
        "nothing else is asked of the API server"
    );

    agent.signal(Signal::TERM);
    assert!(agent.end().status.success());
    assert!(!place.dir().exists());
}

#[test]
fn without_controls_there_is_one_socket() {
    let cluster = Cluster::start(Arc::new(AtomicBool::new(true)));
    let place = Place::new();
    std::fs::create_dir_all(&place.plugins).expect("a directory");
    let kubeconfig = place.plugins.join("kubeconfig");
    cluster.kubeconfig(&kubeconfig);
    let mut command = place.command("serve");
    command
        .args([
            "--plugin-id",
            ID,
            "--node-name",
            "node-1",
            "--http-listen",
            "off",
            // No container of the made node runs, so that the runtime is not known.
            "--mend-scope",
            "Always",
        ])
        .env("KUBECONFIG", &kubeconfig);
    let agent = Agent::spawn(&mut command);
    eventually("the pod is reported", || {
        // Its name is there a moment before it takes connections.
        std::os::unix::net::UnixStream::connect(place.socket()).is_ok() && {
            let body = get(&place.socket(), "/report").body;
            String::from_utf8_lossy(&body).contains("abc-1;<pod>")
        }
    });
    let names: Vec<_> = std::fs::read_dir(place.dir())
        .expect("reads")
        .map(|entry| {
            entry
                .expect("reads")
                .file_name()
                .into_string()
                .expect("text")
        })
        .filter(|name| name.ends_with(".sock"))
        .collect();
    assert_eq!(names, [format!("{ID}.sock")]);
    let body = get(&place.socket(), "/report").body;
    assert!(!String::from_utf8_lossy(&body).contains("active_controls"));
    agent.signal(Signal::TERM);
    assert!(agent.end().status.success());
}

#[test]
fn a_hundred_clicks_at_once_are_all_answered_in_time() {
    // The API server takes what it is sent, and says nothing.
    let allowed = script(Arc::new(AtomicBool::new(true)));
    let cluster = Cluster::playing(move |seen| match seen.path.as_str() {
        ACTIONS => Reply::Never,
        _ => allowed(seen),
    });
    let place = Place::new();
    std::fs::create_dir_all(&place.plugins).expect("a directory");
    let kubeconfig = place.plugins.join("kubeconfig");
    cluster.kubeconfig(&kubeconfig);
    let mut command = place.command("serve");
    command
        .args(["--plugin-id", ID, "--controls", "DeletePod"])
        .args(["--http-listen", "off"])
        .env("NODE_NAME", "node-1")
        .env("POD_NAMESPACE", "scope-plugins")
        .env("KUBECONFIG", &kubeconfig);
    let agent = Agent::spawn(&mut command);
    let controls = place.dir().join(format!("{ID}-controls.sock"));
    eventually("it serves", || {
        std::os::unix::net::UnixStream::connect(&controls).is_ok()
    });

    let start = std::sync::Barrier::new(100);
    let (start, controls) = (&start, &controls);
    let answers: Vec<(u16, String, Duration)> = std::thread::scope(|scope| {
        let click = |number: u32| {
            move || {
                let click = json!({"AppID": "a1", "NodeID": format!("abc-{number};<pod>"),
                                   "Control": "deletePod", "ControlArgs": null});
                start.wait();
                let began = Instant::now();
                let reply = post(controls, CONTROL, &click.to_string());
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                (reply.status, text, began.elapsed())
            }
        };
        let threads: Vec<_> = (0..100).map(|number| scope.spawn(click(number))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|answer| answer.expect("answers")).collect()
    });
    for (status, text, took) in &answers {
        assert_eq!(*status, 200, "{text}");
        // What Scope's probe waits for.
        assert!(*took < Duration::from_millis(500), "{took:?}: {text}");
    }
    let refused = |text: &str| text.contains("clicks are being carried out already");
    let refused = answers.iter().filter(|(_, text, _)| refused(text)).count();
    let sent = cluster.server.seen();
    let sent = sent.iter().filter(|seen| seen.path == ACTIONS).count();
    assert!(
        sent >= 1 && sent + refused == 100,
        "{sent} sent, {refused} refused, such as {:?}",
        answers[0]
    );
    agent.signal(Signal::TERM);
    assert!(agent.end().status.success());
}
