//! What is written down, and when the API server takes it.

use super::*;

#[tokio::test]
async fn done_without_the_api_server_and_recorded_once_it_is_back() {
    let node = Node::with(1);
    let away = Arc::new(AtomicBool::new(true));
    let script = away.clone();
    let server = ApiServer::start(move |seen: &Seen| {
        if script.load(Ordering::SeqCst) {
            return Reply::status(503, "ServiceUnavailable", "away");
        }
        Reply::Json(201, seen.body.clone())
    })
    .await;
    let agent = node.agent(&server, 10);
    let answer = agent.click("freezeContainer", 0).await;
    assert_eq!((said(&answer), node.state(0).as_str()), ("", "FROZEN"));
    await_that("a try", || !server.seen().is_empty()).await;
    let counts = agent.containers.records();
    let written = move || {
        counts
            .each()
            .iter()
            .any(|(what, n)| *what == "written" && *n == 1)
    };
    assert!(!written());
    away.store(false, Ordering::SeqCst);
    await_that("the record", written).await;
    let names = record_names(&server);
    assert_eq!(
        names.len(),
        1,
        "one record however often it was tried: {names:?}"
    );
}

/// A token that was rotated, and a role that is being replaced by an upgrade.
#[tokio::test]
async fn a_record_that_may_not_be_written_yet_is_tried_again() {
    for (code, reason) in [(401, "Unauthorized"), (403, "Forbidden")] {
        let node = Node::with(1);
        let first = AtomicBool::new(true);
        let server = ApiServer::start(move |seen: &Seen| {
            if first.swap(false, Ordering::SeqCst) {
                return Reply::status(code, reason, "as the test wants");
            }
            Reply::Json(201, seen.body.clone())
        })
        .await;
        let agent = node.agent(&server, 10);
        agent.click("freezeContainer", 0).await;
        let counts = agent.containers.records();
        let written = move || counts.each().contains(&("written", 1));
        await_that("the record", written).await;
        assert_eq!((server.seen().len(), record_names(&server).len()), (2, 1));
    }
}

#[tokio::test]
async fn a_record_that_is_there_already_or_refused_is_not_tried_again() {
    for (code, reason, outcome) in [
        (409, "AlreadyExists", "written"),
        (422, "Invalid", "refused"),
    ] {
        let node = Node::with(1);
        let server =
            ApiServer::start(move |_: &Seen| Reply::status(code, reason, "as the test wants"))
                .await;
        let agent = node.agent(&server, 10);
        agent.click("freezeContainer", 0).await;
        let counts = agent.containers.records();
        let counted = move || {
            counts
                .each()
                .iter()
                .any(|(what, n)| *what == outcome && *n == 1)
        };
        await_that(outcome, counted).await;
        assert_eq!(server.seen().len(), 1);
    }
}
