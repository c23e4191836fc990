//! What the operator's outcome becomes in the answer.

use super::*;

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
