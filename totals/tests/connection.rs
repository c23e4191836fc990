//! What a connection goes through between its requests, over real sockets.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod support;

use std::time::Duration;

use hyper::StatusCode;
use scope_totals_wire::Fate;
use support::{Agent, Connection, NAME, Service, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A request that anybody may make, and its answer.
fn ask(more: &str) -> String {
    format!("GET /nothing HTTP/1.1\r\nHost: {NAME}\r\n{more}\r\n")
}
const ANSWER: &str = "HTTP/1.1 404 ";

async fn open(service: &Service) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(service.address).await.unwrap();
    let bundle = service.keyring.bundle();
    Connection::tls(stream, &bundle).await.unwrap()
}

/// Reads one answer, which has no body.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

/// An agent that the service hears.
async fn heard(service: &Service, node: &str) -> Agent {
    let mut agent = service.agent(node).await;
    eventually(async || {
        let report = agent.report(1.0);
        if agent.send(&report).await.status == StatusCode::OK {
            return Some(());
        }
        agent.connection = service.connect().await;
        None
    })
    .await;
    agent
}

#[tokio::test]
async fn a_connection_lasts() {
    let service = Service::start(&["a"]).await;
    let mut stream = open(&service).await;
    for number in 0..50 {
        // Now and then a request comes in pieces, or the answer is long awaited.
        let request = ask("");
        let (begin, end) = request.split_at(number);
        stream.write_all(begin.as_bytes()).await.unwrap();
        if number % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.write_all(end.as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(ANSWER), "{number}: {answer}");
        assert!(!answer.contains("close"), "{number}: {answer}");
    }
    assert_eq!(service.seats.len(), 1);
}

/// Who does not wait for an answer has it nevertheless, with what came of a further request.
#[tokio::test]
async fn requests_that_come_at_once_are_all_answered() {
    let service = Service::start(&["a"]).await;
    let mut stream = open(&service).await;
    let last = ask("Connection: close\r\n");
    let (begin, end) = last.split_at(30);
    let all = [ask(""), ask(""), ask(""), begin.to_owned()].concat();
    stream.write_all(all.as_bytes()).await.unwrap();
    for _ in 0..3 {
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(ANSWER), "{answer}");
    }
    stream.write_all(end.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with(ANSWER), "{rest}");
    assert!(rest.contains("connection: close"), "{rest}");
}

/// Bodies that are larger than what is read at once, and than a record of TLS.
#[tokio::test]
async fn bodies_of_all_sizes_leave_the_connection_as_it_was() {
    // Each of another node, as a node has its share of reports.
    let service = Service::start(&["a", "b", "c", "d"]).await;
    for (node, size) in [("a", 0), ("b", 5_000), ("c", 20_000), ("d", 300_000)] {
        let mut agent = heard(&service, node).await;
        let report = agent.report(1.0);
        let mut body = serde_json::to_vec(&report).unwrap();
        body.resize(body.len() + size, b' ');
        let large = agent.connection.post(&agent.token, body).await;
        assert_eq!(large.reply().fate, Fate::Taken, "{size}");
        assert!(!large.closes, "{size}");
        let after = agent.connection.get("/nothing", &agent.token).await;
        assert_eq!(after.status, StatusCode::NOT_FOUND, "{size}");
    }
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let service = Service::start(&["a"]).await;
    // One that was in time before, and that would have the time to prove itself.
    let mut stream = open(&service).await;
    stream.write_all(ask("").as_bytes()).await.unwrap();
    answer(&mut stream).await;
    stream.write_all(b"GET /").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(9), stream.read_to_end(&mut rest));
    // With a word of TLS or without.
    let _ = ended.await.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    eventually(async || service.seats.is_empty().then_some(())).await;
}

#[tokio::test]
async fn at_the_end_who_waits_is_told_and_who_was_heard_is_answered() {
    let service = Service::start(&["a"]).await;
    heard(&service, "a").await;
    let mut waits = open(&service).await;
    waits.write_all(ask("").as_bytes()).await.unwrap();
    answer(&mut waits).await;
    // Its token is new, and nobody says yet whose it is.
    let reviews = service.reviews();
    service.answers.send(false).unwrap();
    let mut asks = service.agent("a").await;
    let mut claims = support::claims("node-metrics", "a");
    claims["new"] = true.into();
    asks.token = support::token(&claims, "good");
    let report = asks.report(1.0);
    let answered = tokio::spawn(async move { asks.send(&report).await });
    eventually(async || (service.reviews() > reviews).then_some(())).await;
    service.stop.cancel();
    let mut rest = Vec::new();
    // An end that is announced, and not one by a broken line.
    assert_eq!(waits.read_to_end(&mut rest).await.unwrap(), 0);
    service.answers.send(true).unwrap();
    let answered = answered.await.unwrap();
    assert_eq!(answered.status, StatusCode::OK, "{answered:?}");
    assert!(answered.closes);
}
