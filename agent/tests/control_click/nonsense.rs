//! Requests that are no clicks.

use super::*;

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
