//! A click from the wire to a `ScopeAction` and back, against a scripted API server.

#[path = "../api_server/mod.rs"]
mod api_server;
#[path = "../desk/mod.rs"]
mod desk;

mod nonsense;
mod outcomes;
mod repeats;
mod troubles;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api_server::{ApiServer, Reply, Seen, access_to};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use desk::{PATH, desk, known_node, of_the_operator};
use scope_agent::control::{CLICK_WAIT, Desk};
use scope_agent::inventory::InventoryWatch;
use scope_agent::kubernetes::Access;
use scope_agent::serve::Controls;
use scope_crds::Control;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const POD: &str = "5aeb7ae0-1d5a-4f0e-9df2-6f6a3c0f1a11;<pod>";
/// The probe's limit.
const PROBE: Duration = Duration::from_millis(500);
const PATIENT: Duration = Duration::from_secs(10);

/// The controls socket's routes, without the socket.
#[derive(Clone)]
struct Socket {
    router: axum::Router,
    desk: Arc<Desk>,
    inventory: InventoryWatch,
    /// The IDs of the controls that it reports.
    listed: BTreeSet<String>,
    /// Whether answers have to come in the probe's time.
    timed: bool,
}

impl Socket {
    /// One that waits so long that a busy machine changes no outcome.
    fn new(access: &Access) -> Self {
        Self::waiting(access, PATIENT)
    }

    /// One that waits as long as in the agent, and is held to the probe's time.
    fn timed(access: &Access) -> Self {
        Socket {
            timed: true,
            ..Self::waiting(access, CLICK_WAIT)
        }
    }

    fn waiting(access: &Access, wait: Duration) -> Self {
        let pods = BTreeSet::from([Control::DeletePod]);
        Self::offering(access, wait, pods, InventoryWatch::default())
    }

    /// One that offers all that the operator carries out, on a host whose Node object is known.
    fn of_all(access: &Access) -> Self {
        Self::offering(access, PATIENT, of_the_operator(), known_node("0a1b2c3d"))
    }

    fn offering(
        access: &Access,
        wait: Duration,
        offered: BTreeSet<Control>,
        inventory: InventoryWatch,
    ) -> Self {
        let (desk, report) = desk(access, "node-1", inventory.clone(), offered, wait);
        let mut body = Vec::new();
        scope_protocol::encode(&report, &mut body);
        let desk = Arc::new(desk);
        let router = scope_agent::serve::controls(Controls {
            report: body.into(),
            desk: desk.clone(),
        });
        let controls = report.topologies.values().flat_map(|t| t.controls.keys());
        Socket {
            router,
            desk,
            inventory,
            listed: controls.cloned().collect(),
            timed: false,
        }
    }

    /// Clicks as Scope's probe does. The answer, which has to come in the probe's time.
    async fn click(&self, control: &str, node: &str) -> Value {
        let began = Instant::now();
        let lateness = tokio::spawn(async {
            let began = Instant::now();
            tokio::time::sleep(PROBE).await;
            began.elapsed() - PROBE
        });
        let body = json!({"AppID": "40a7031ee6466403", "Control": control, "ControlArgs": null,
                          "NodeID": node});
        let request = Request::post("/control?api_version=1&probe_id=5bdcc0beddf3c14")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "any other status hides the words");
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        let mut took = began.elapsed();
        if self.timed && took >= PROBE {
            // What a timer on this busy machine is late too, at the same time, does not count.
            took = took.saturating_sub(lateness.await.expect("ends"));
        }
        assert!(took < PROBE || !self.timed, "the answer took {took:?}");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        self.conformant(&body);
        answer
    }

    async fn delete(&self, node: &str) -> Value {
        self.click("deletePod", node).await
    }

    /// What Scope would make of the answer.
    fn conformant(&self, body: &[u8]) {
        use scope_protocol::conformance::{Answer, check_control};
        let verdict = check_control(
            "node-metrics-controls.sock",
            &self.listed,
            &Answer::ok(body, Duration::ZERO),
        );
        assert!(verdict.conformant(), "{verdict}");
    }
}

fn error(answer: &Value) -> &str {
    answer["error"]
        .as_str()
        .unwrap_or_else(|| panic!("no error in {answer}"))
}

/// The object as the API server gives it back.
fn created(seen: &Seen, name: &str) -> Value {
    let mut object = seen.body.clone();
    object["metadata"]["name"] = name.into();
    object["metadata"]["resourceVersion"] = "41".into();
    object
}

fn with_status(mut object: Value, phase: &str, message: &str) -> Value {
    object["metadata"]["resourceVersion"] = "42".into();
    object["status"] = json!({"phase": phase, "message": message,
        "target": {"namespace": "shop", "name": "web-1", "node": "node-2"}});
    object
}

/// An API server and an operator that writes this outcome after a while.
async fn operator(phase: &'static str, message: &'static str, after: Duration) -> ApiServer {
    let object = Arc::new(Mutex::new(Value::Null));
    ApiServer::start(move |seen| {
        if seen.is("POST", PATH) {
            let made = created(seen, "node-metrics-x7k2p");
            *object.lock().expect("unpoisoned") = made.clone();
            return Reply::Json(201, made);
        }
        assert!(seen.is("GET", PATH) && seen.is_watch(), "{seen:?}");
        let (sender, reply) = Reply::watch();
        let done = with_status(object.lock().expect("unpoisoned").clone(), phase, message);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            // Nobody may be listening any more.
            let _ = sender.send(json!({"type": "MODIFIED", "object": done}));
            // The watch goes on for as long as anybody follows it.
            sender.closed().await;
        });
        reply
    })
    .await
}

#[tokio::test]
async fn the_controls_socket_reports_controls_and_no_nodes() {
    let server = ApiServer::start(|_| Reply::Never).await;
    let socket = Socket::new(&server.access());
    let request = Request::get("/report?api_version=1&probe_id=ab")
        .body(Body::empty())
        .expect("a request");
    let answer = socket
        .router
        .clone()
        .oneshot(request)
        .await
        .expect("an answer");
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    let verdict = scope_protocol::conformance::check_report(
        "/x/node-metrics-controls.sock",
        &scope_protocol::conformance::Answer::ok(&body, Duration::ZERO),
    );
    assert!(verdict.conformant(), "{verdict}");
    assert_eq!(
        verdict.controls(),
        &BTreeSet::from(["deletePod".to_owned()])
    );
    let report: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(report["Plugins"][0]["label"], "Node metrics (actions)");
    assert_eq!(report["Pod"].get("nodes"), None, "{report}");
}
