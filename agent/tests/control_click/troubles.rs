//! An API server that refuses, is in trouble, or is away.

use super::*;

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
