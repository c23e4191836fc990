//! What a client can do wrong.

use std::net::SocketAddr;

use hyper::StatusCode;
use scope_totals_wire::{Fate, MAX_BODY, MAX_WHY, PATH, Reason};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    asked, ready,
    support::{Connection, NAME, claims, eventually, token},
    total,
};

#[tokio::test]
async fn bad_reports_are_refused_alone() {
    let service = ready(&["a", "b"]).await;
    let (mut good, mut bad) = (service.agent("a").await, service.agent("b").await);
    assert_eq!(good.tell(100.0).await.fate, Fate::Taken);
    assert_eq!(bad.tell(200.0).await.fate, Fate::Taken);
    let report = serde_json::to_value(bad.report(200.0)).unwrap();
    let with = |path: &str, value: serde_json::Value| {
        let mut report = report.clone();
        *report.pointer_mut(path).unwrap() = value;
        report.to_string()
    };
    let values = "/objects/0/values";
    let nan = with(values, json!({"rss": "X"})).replace("\"X\"", "NaN");
    for (what, body, status, reason) in [
        ("not JSON", "\u{0}\u{1}".to_owned(), 400, Reason::Syntax),
        ("deep", "[".repeat(100_000), 400, Reason::Syntax),
        ("NaN", nan, 400, Reason::Syntax),
        (
            "no UID",
            with("/objects/0/uid", "../../etc".into()),
            400,
            Reason::Syntax,
        ),
        (
            "negative",
            with(values, json!({"rss": -1})),
            422,
            Reason::Value,
        ),
        (
            "absurd",
            with(values, json!({"rss": 1e300})),
            422,
            Reason::Value,
        ),
    ] {
        // A share of its own for each, or the rate would be what is refused.
        let plugin = format!("p{}", what.replace(' ', "-"));
        let token = token(&claims(&plugin, "b"), "good");
        let answer = bad.connection.post(&token, body).await;
        let (got, refusal) = answer.refusal();
        assert_eq!(
            (got, refusal.reason),
            (status, reason),
            "{what}: {}",
            refusal.message
        );
    }
    service.a_round_later().await;
    assert_eq!(total(&mut good, 100.0).await, Some(300.0));
}

#[tokio::test]
async fn a_bad_health_costs_an_agent_nothing_but_itself() {
    let service = ready(&["a"]).await;
    let mut agent = service.agent("a").await;
    agent.health = asked();
    agent.tell(1.0).await;
    for health in [
        json!({"version": "0.1.0", "collectors_off": [{"collector": "x", "why": "x".repeat(MAX_WHY + 1)}]}),
        json!({"version": 7}),
    ] {
        let mut report = serde_json::to_value(agent.report(1.0)).unwrap();
        report["health"] = health.clone();
        let answer = agent
            .connection
            .post(&agent.token, report.to_string())
            .await;
        assert_eq!(answer.reply().fate, Fate::Taken, "{health}");
    }
    assert_eq!(service.metric("scope_totals_healths_ignored_total"), 2);
}

#[tokio::test]
async fn a_node_has_its_share_of_reports() {
    let service = ready(&["a", "b"]).await;
    let mut greedy = service.agent("a").await;
    let mut refused = 0;
    for _ in 0..50 {
        let report = greedy.report(1.0);
        let answer = greedy.send(&report).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.refusal().1.reason, Reason::Rate);
            refused += 1;
        }
    }
    assert!((40..=44).contains(&refused), "{refused}");
    assert_eq!(service.agent("b").await.tell(1.0).await.fate, Fate::Taken);
}

#[tokio::test]
async fn large_bodies_are_not_read() {
    let service = ready(&["a"]).await;
    let agent = service.agent("a").await;
    let hundred = 100 << 20;
    for (what, token, head, status) in [
        (
            "with a length",
            &*agent.token,
            format!("Content-Length: {hundred}"),
            413,
        ),
        (
            "in pieces",
            &agent.token,
            "Transfer-Encoding: chunked".into(),
            413,
        ),
        ("of nobody", "x", format!("Content-Length: {hundred}"), 401),
    ] {
        let stream = TcpStream::connect(service.address).await.unwrap();
        let mut stream = Connection::tls(stream, &service.keyring.bundle())
            .await
            .unwrap();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {token}\r\n{head}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let flood = tokio::spawn(async move {
            let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            let mut written = 0;
            while written < hundred && writing.write_all(piece.as_bytes()).await.is_ok() {
                written += piece.len();
            }
            written
        });
        let mut answer = Vec::new();
        // It ends with the answer, whether there is a reset behind it or not.
        let _ = reading.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {answer}"
        );
        drop(reading);
        let written = flood.await.unwrap();
        assert!(written < hundred / 4, "{what}: {written} bytes were taken");
    }
    assert!(MAX_BODY < hundred);
    assert_eq!(service.agent("a").await.tell(1.0).await.fate, Fate::Taken);
}

#[tokio::test]
async fn half_a_body_is_not_waited_for() {
    let service = ready(&["a"]).await;
    let agent = service.agent("a").await;
    let stream = TcpStream::connect(service.address).await.unwrap();
    let mut stream = Connection::tls(stream, &service.keyring.bundle())
        .await
        .unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {}\r\nContent-Length: 9\r\n\r\n{{",
        agent.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(
        service.metric("scope_totals_refusals_total{reason=\"slow\"}"),
        1
    );
}

#[tokio::test]
async fn ten_thousand_connections_keep_no_agent_out() {
    let service = ready(&["a", "b"]).await;
    let mut before = service.agent("a").await;
    assert_eq!(before.tell(1.0).await.fate, Fate::Taken);
    // Client and server are one process here, so what the clients keep is limited by descriptors.
    let kept = 300;
    let mut idle = std::collections::VecDeque::new();
    for number in 0..10_000_u32 {
        let from: SocketAddr = format!("127.0.{}.1:0", 1 + number % 200).parse().unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        idle.push_back(socket.connect(service.address).await.unwrap());
        if idle.len() > kept {
            idle.pop_front();
        }
    }
    assert_eq!(
        before.tell(1.0).await.fate,
        Fate::Taken,
        "the same connection"
    );
    assert_eq!(
        service.agent("b").await.tell(1.0).await.fate,
        Fate::Taken,
        "a new one"
    );
    assert!(service.seats.len() <= 1024 + 8, "{}", service.seats.len());
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let service = ready(&["a"]).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(service.address).await.unwrap());
    }
    let mut agent = service.agent("a").await;
    assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    eventually(async || (service.seats.len() <= 66).then_some(())).await;
    assert!(service.seats.evicted() >= 130);
}

#[tokio::test]
async fn without_tls_there_is_no_word() {
    let service = ready(&["a"]).await;
    let failed = || service.metric("scope_totals_handshakes_failed_total");
    let before = failed();
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream
        .write_all(b"POST /v1/exchange HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    eventually(async || (failed() > before).then_some(())).await;
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let service = ready(&["a"]).await;
    let bundle = service.keyring.bundle();
    let stream = TcpStream::connect(service.address).await.unwrap();
    let older = Connection::tls_of(&rustls::version::TLS12, stream, &bundle).await;
    let error = older.unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    let stream = TcpStream::connect(service.address).await.unwrap();
    assert!(Connection::tls(stream, &bundle).await.is_ok());
}
