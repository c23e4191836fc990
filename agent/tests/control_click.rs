//! A click from the wire to a `ScopeAction` and back, against a scripted API server.

mod api_server;
mod desk;

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
async fn a_click_that_succeeds() {
    let server = operator(
        "Succeeded",
        "pod shop/web-1 is being deleted",
        Duration::from_millis(50),
    )
    .await;
    let before = jiff::Timestamp::now();
    let answer = Socket::new(&server.access()).delete(POD).await;
    assert_eq!(answer.get("error"), None, "{answer}");
    assert_eq!(answer["removedNode"], POD);
    assert_eq!(answer["value"]["action"], "node-metrics-x7k2p");
    assert_eq!(
        answer["value"]["message"],
        "pod shop/web-1 is being deleted"
    );
    assert_eq!(answer["value"]["target"]["name"], "web-1");
    let shortcut = &answer["shortcutReport"];
    assert_eq!(shortcut["Plugins"][0]["id"], "node-metrics-controls");
    assert_eq!(shortcut["Pod"]["controls"]["deletePod"]["id"], "deletePod");
    assert_eq!(
        shortcut["Pod"]["nodes"][POD]["latest"]["kubernetes_state"]["value"],
        "Terminating"
    );

    let seen = server.seen();
    assert_eq!(seen.len(), 2, "one create and one watch: {seen:#?}");
    let action = &seen[0].body;
    assert_eq!(action["apiVersion"], "scopeplugins.dev/v1alpha1");
    assert_eq!(action["kind"], "ScopeAction");
    assert_eq!(action["metadata"]["generateName"], "node-metrics-");
    let spec = &action["spec"];
    assert_eq!(spec["plugin"], "node-metrics");
    assert_eq!(spec["control"], "DeletePod");
    assert_eq!(
        spec["target"],
        json!({"kind": "Pod", "uid": "5aeb7ae0-1d5a-4f0e-9df2-6f6a3c0f1a11"})
    );
    assert_eq!(spec["node"], "node-1");
    assert_eq!(spec["probeID"], "5bdcc0beddf3c14");
    assert_eq!(spec["appID"], "40a7031ee6466403");
    assert_eq!(action.get("status"), None);
    let not_after: jiff::Timestamp = spec["notAfter"]
        .as_str()
        .and_then(|t| t.parse().ok())
        .expect("a time");
    let ahead = not_after.duration_since(before).as_secs_f64();
    assert!((9.9..11.0).contains(&ahead), "{ahead}");

    let watch = &seen[1].query;
    assert_eq!(watch["fieldSelector"], "metadata.name=node-metrics-x7k2p");
    assert_eq!(
        watch["resourceVersion"], "41",
        "from the version that we made: nothing is missed"
    );
}

/// Each control on each kind of node that it is for: what it is called in an action, and of which
/// object. Only a pod is gone afterwards.
#[tokio::test]
async fn every_control_becomes_an_action_on_the_object_of_its_node() {
    const UID: &str = "5aeb7ae0-1d5a-4f0e-9df2-6f6a3c0f1a11";
    let on = |kind: &str| format!("{UID};<{kind}>");
    let cases = [
        ("deletePod", on("pod"), "DeletePod", "Pod"),
        ("evictPod", on("pod"), "EvictPod", "Pod"),
        (
            "restartRollout",
            on("deployment"),
            "RestartRollout",
            "Deployment",
        ),
        (
            "restartRollout",
            on("statefulset"),
            "RestartRollout",
            "StatefulSet",
        ),
        (
            "restartRollout",
            on("daemonset"),
            "RestartRollout",
            "DaemonSet",
        ),
        ("scaleUp", on("deployment"), "ScaleUp", "Deployment"),
        ("scaleUp", on("statefulset"), "ScaleUp", "StatefulSet"),
        ("scaleDown", on("deployment"), "ScaleDown", "Deployment"),
        ("scaleDown", on("statefulset"), "ScaleDown", "StatefulSet"),
        (
            "pauseRollout",
            on("deployment"),
            "PauseRollout",
            "Deployment",
        ),
        (
            "resumeRollout",
            on("deployment"),
            "ResumeRollout",
            "Deployment",
        ),
        ("suspendCronJob", on("cronjob"), "SuspendCronJob", "CronJob"),
        ("resumeCronJob", on("cronjob"), "ResumeCronJob", "CronJob"),
        ("triggerCronJob", on("cronjob"), "TriggerCronJob", "CronJob"),
        ("cordonNode", "node-1;<host>".into(), "CordonNode", "Node"),
        (
            "uncordonNode",
            "node-1;<host>".into(),
            "UncordonNode",
            "Node",
        ),
    ];
    let server = operator("Succeeded", "it is done", Duration::ZERO).await;
    let socket = Socket::of_all(&server.access());
    let mut clicked = BTreeSet::new();
    for (n, (control, node, called, kind)) in cases.iter().enumerate() {
        let answer = socket.click(control, node).await;
        assert_eq!(answer.get("error"), None, "{control} {node}: {answer}");
        assert_eq!(answer["value"]["message"], "it is done");
        let ends = *kind == "Pod";
        assert_eq!(answer.get("removedNode").is_some(), ends, "{control}");
        assert_eq!(answer.get("shortcutReport").is_some(), ends, "{control}");
        let seen = server.seen();
        let mut made = seen.iter().filter(|seen| seen.method == "POST");
        let spec = &made.nth(n).expect("an action").body["spec"];
        assert_eq!(spec["control"], *called);
        let uid = if *kind == "Node" { "0a1b2c3d" } else { UID };
        assert_eq!(spec["target"], json!({"kind": kind, "uid": uid}));
        assert_eq!(spec.get("done"), None);
        clicked.insert((*control).to_owned());
    }
    assert_eq!(clicked, socket.listed, "every one that is offered");
}

#[tokio::test]
async fn a_click_after_another_one_on_the_node_is_not_the_first_again() {
    const WEB: &str = "5aeb7ae0-1d5a-4f0e;<deployment>";
    let server = operator("Succeeded", "done", Duration::ZERO).await;
    let socket = Socket::of_all(&server.access());
    // One more, one less, and one more: three clicks.
    for control in ["scaleUp", "scaleDown", "scaleUp"] {
        let answer = socket.click(control, WEB).await;
        assert_eq!(answer.get("error"), None, "{answer}");
    }
    let made = || {
        let seen = server.seen();
        let made = seen.iter().filter(|seen| seen.method == "POST");
        made.map(|seen| seen.body["spec"]["control"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(made(), ["ScaleUp", "ScaleDown", "ScaleUp"]);
    // What is done to another node in between changes nothing: this is the third again.
    socket.click("scaleDown", "abc;<statefulset>").await;
    socket.click("scaleUp", WEB).await;
    assert_eq!(made().len(), 4);
    assert_eq!(socket.desk.counts().get("repeated"), Some(&1));
}

#[tokio::test]
async fn a_click_on_a_host_is_about_the_agents_own_node_once_it_is_known() {
    let server = operator("Succeeded", "done", Duration::ZERO).await;
    let access = server.access();
    let socket = Socket::of_all(&access);
    let other = socket.click("cordonNode", "node-2;<host>").await;
    assert!(
        error(&other).contains("is not the host of this agent, which is \"node-1\""),
        "{other}"
    );
    let unread = InventoryWatch::default();
    let unread = Socket::offering(&access, PATIENT, of_the_operator(), unread);
    let early = unread.click("cordonNode", "node-1;<host>").await;
    assert!(
        error(&early).contains("the Node object of \"node-1\" has not been read yet"),
        "{early}"
    );
    assert_eq!(server.seen().len(), 0, "nothing was asked for");
    let pod = unread.click("evictPod", POD).await;
    assert_eq!(pod["removedNode"], POD, "pods are known by their nodes");
}

/// What it says of the node would be wrong for minutes otherwise.
#[tokio::test]
async fn a_node_that_was_cordoned_is_looked_at_again() {
    for (phase, looked) in [("Succeeded", true), ("Refused", false)] {
        let server = operator(phase, "said", Duration::ZERO).await;
        let socket = Socket::of_all(&server.access());
        let told = || {
            let told = socket.inventory.node_changed.notified();
            futures::FutureExt::now_or_never(told)
        };
        socket.click("evictPod", POD).await;
        assert_eq!(told(), None, "a pod is not the node");
        socket.click("cordonNode", "node-1;<host>").await;
        assert_eq!(told().is_some(), looked, "{phase}");
    }
}

#[tokio::test]
async fn what_is_not_done_is_told_in_the_operators_words() {
    for (phase, message) in [
        ("Refused", "namespace kube-system is protected."),
        (
            "Failed",
            "the API server refused the deletion: a finalizer is stuck",
        ),
        ("Expired", "the action came too late"),
    ] {
        let server = operator(phase, message, Duration::ZERO).await;
        let answer = Socket::new(&server.access()).delete(POD).await;
        let words = message.trim_end_matches('.');
        let said = error(&answer);
        assert!(said.starts_with(words), "{said}");
        assert!(said.contains("ScopeAction node-metrics-x7k2p"), "{said}");
        assert_eq!(answer.get("removedNode"), None);
        assert_eq!(answer.get("shortcutReport"), None);
        assert_eq!(answer["value"]["phase"], phase);
    }
}

#[tokio::test]
async fn without_an_outcome_in_time_it_is_pending() {
    let server = operator("Succeeded", "", Duration::from_secs(60)).await;
    let socket = Socket::timed(&server.access());
    let began = Instant::now();
    let answer = socket.delete(POD).await;
    assert!(
        began.elapsed() >= CLICK_WAIT - Duration::from_millis(10),
        "it waits as long as it may"
    );
    let said = error(&answer);
    assert!(said.starts_with("pending: "), "{said}");
    assert!(
        said.contains("ScopeAction node-metrics-x7k2p in namespace scope-plugins"),
        "{said}"
    );
    assert!(said.contains("expires at "), "{said}");
    assert_eq!(answer["value"]["phase"], "Pending");
    assert_eq!(socket.desk.counts().get("pending"), Some(&1));
}

#[tokio::test]
async fn an_outcome_that_was_there_at_once_needs_no_watch() {
    let server = ApiServer::start(|seen| {
        assert!(seen.is("POST", PATH));
        Reply::Json(201, with_status(created(seen, "a"), "Succeeded", "done"))
    })
    .await;
    let answer = Socket::new(&server.access()).delete(POD).await;
    assert_eq!(answer["removedNode"], POD);
}

#[tokio::test]
async fn a_watch_that_does_not_work_leaves_it_pending() {
    for reply in [
        || Reply::status(403, "Forbidden", "no"),
        || Reply::Never,
        || Reply::watch().1, // ends at once
    ] {
        let server = ApiServer::start(move |seen| {
            if seen.is("POST", PATH) {
                Reply::Json(201, created(seen, "a"))
            } else {
                reply()
            }
        })
        .await;
        let answer = Socket::new(&server.access()).delete(POD).await;
        assert!(error(&answer).starts_with("pending: "), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_api_server_is_told() {
    let server = ApiServer::start(|_| {
        Reply::status(
            403,
            "Forbidden",
            "scopeactions is forbidden: the node of the token\nis another one",
        )
    })
    .await;
    let socket = Socket::new(&server.access());
    let answer = socket.delete(POD).await;
    assert_eq!(
        error(&answer),
        "nothing was done: the API server refused the ScopeAction: scopeactions is forbidden: the \
         node of the token is another one"
    );
    // Nothing exists, so that the next click is a new one.
    socket.delete(POD).await;
    assert_eq!(server.count(|s| s.method == "POST"), 2);
    assert_eq!(socket.desk.counts().get("denied"), Some(&2));
}

#[tokio::test]
async fn an_api_server_in_trouble_is_told_and_not_pressed() {
    for code in [429, 500, 503] {
        let server =
            ApiServer::start(move |_| Reply::status(code, "Trouble", "too much to do")).await;
        let answer = Socket::new(&server.access()).delete(POD).await;
        assert!(error(&answer).contains("too much to do"), "{answer}");
        assert_eq!(server.seen().len(), 1, "a click is tried once");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_told() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address");
    let answer = Socket::new(&access_to(address)).delete(POD).await;
    assert!(
        error(&answer).starts_with("nothing was done: the API server cannot be reached"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_leaves_it_unknown() {
    let server = ApiServer::start(|_| Reply::Never).await;
    let socket = Socket::timed(&server.access());
    let answer = socket.delete(POD).await;
    assert!(
        error(&answer).starts_with("unknown: the API server did not answer in time"),
        "{answer}"
    );
    // It may exist: the next click must not be a second one.
    socket.delete(POD).await;
    assert_eq!(server.seen().len(), 1);
    assert_eq!(
        socket.desk.counts(),
        [("repeated", 1), ("unknown", 1)].into()
    );
}

#[tokio::test]
async fn a_double_click_is_one_action() {
    let server = operator("Succeeded", "done", Duration::from_millis(100)).await;
    let socket = Socket::new(&server.access());
    let (first, second) = tokio::join!(socket.delete(POD), socket.delete(POD));
    let third = socket.delete(POD).await;
    for answer in [&first, &second, &third] {
        assert_eq!(answer["removedNode"], POD, "{answer}");
        assert_eq!(answer["value"], first["value"]);
    }
    assert_eq!(server.count(|s| s.method == "POST"), 1);
    let other = socket.delete("5aeb7ae0;<pod>").await;
    assert_eq!(other["removedNode"], "5aeb7ae0;<pod>");
    assert_eq!(
        server.count(|s| s.method == "POST"),
        2,
        "another pod is another click"
    );
}

#[tokio::test]
async fn a_second_click_on_a_pending_one_looks_again() {
    let made = Arc::new(Mutex::new(Value::Null));
    let server = ApiServer::start({
        let made = made.clone();
        move |seen| {
            let mut made = made.lock().expect("unpoisoned");
            if seen.is("POST", PATH) {
                *made = created(seen, "a");
                return Reply::Json(201, made.clone());
            }
            if seen.is_watch() {
                return Reply::Never;
            }
            assert!(seen.is("GET", &format!("{PATH}/a")), "{seen:?}");
            Reply::ok(with_status(made.clone(), "Refused", "protected"))
        }
    })
    .await;
    let socket = Socket::new(&server.access());
    assert!(error(&socket.delete(POD).await).starts_with("pending: "));
    assert!(error(&socket.delete(POD).await).starts_with("protected"));
    assert_eq!(server.count(|s| s.method == "POST"), 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_rejected_without_a_request() {
    let server = ApiServer::start(|_| Reply::Never).await;
    let socket = Socket::new(&server.access());
    for (control, node, words) in [
        ("explode", POD, "there is no control \"explode\" here"),
        (
            "deletePod",
            "abc;<container>",
            "is not a node that deletePod works on",
        ),
        (
            "deletePod",
            "host;1",
            "is not a node that deletePod works on",
        ),
        ("deletePod", "$(reboot);<pod>", "names no object"),
    ] {
        let answer = socket.click(control, node).await;
        assert!(error(&answer).contains(words), "{answer}");
    }
    assert_eq!(server.seen().len(), 0);
    assert_eq!(socket.desk.counts().get("rejected"), Some(&4));
}

#[tokio::test]
async fn too_many_clicks_at_once_are_refused_in_words() {
    let server = operator("Succeeded", "done", Duration::from_millis(200)).await;
    let socket = Socket::new(&server.access());
    let nodes: Vec<String> = (0..20).map(|n| format!("{n:x};<pod>")).collect();
    let answers = futures::future::join_all(nodes.iter().map(|node| socket.delete(node))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.get("error").is_none());
    assert_eq!((done.len(), refused.len()), (8, 12));
    for answer in refused {
        assert!(
            error(answer).contains("8 clicks are being carried out already"),
            "{answer}"
        );
    }
    assert_eq!(server.count(|s| s.method == "POST"), 8);
    // And afterwards there is room again.
    assert_eq!(
        socket.delete(&nodes[19]).await["removedNode"],
        nodes[19].as_str()
    );
}

#[tokio::test]
async fn what_is_no_control_request_is_a_client_error() {
    let server = ApiServer::start(|_| Reply::Never).await;
    let socket = Socket::new(&server.access());
    for body in [
        "",
        "nothing",
        "[]",
        "{}",
        "{\"NodeID\": \"\", \"Control\": \"x\"}",
    ] {
        let request = Request::post("/control")
            .body(Body::from(body))
            .expect("a request");
        let answer = socket
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 400, "{body}");
    }
    let huge = Request::post("/control")
        .body(Body::from("x".repeat(70_000)))
        .expect("a request");
    let answer = socket
        .router
        .clone()
        .oneshot(huge)
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 413);
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
