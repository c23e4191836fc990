//! The exchange over real sockets: trust, totals, and everything that a client can do wrong.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod support;

use std::{net::SocketAddr, time::Duration};

use hyper::StatusCode;
use jiff::Timestamp;
use scope_totals::census::{Name, NamespaceMark, Slice, watch};
use scope_totals_wire::{
    Controller, FLEET_PATH, Fate, Fleet, Health, Kind, MAX_BODY, MAX_WHY, Members, Metric, Off,
    PATH, Partial, Reason, Uid,
};
use serde_json::json;
use support::{Agent, Connection, NAME, Service, apps, claims, deployment, eventually, token};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The total of the first Deployment by what this agent is told, in millicores.
async fn total(agent: &mut Agent, millicores: f64) -> Option<f64> {
    let reply = agent.tell(millicores).await;
    let total = reply
        .totals
        .iter()
        .find(|total| total.object() == deployment(1))?;
    assert_eq!((total.counted, total.pods), (2, 2));
    assert_eq!(total.cpus, 8);
    total.values.get(Metric::Millicores)
}

#[tokio::test]
async fn two_nodes_hear_the_same_total() {
    let service = Service::start(&["a", "b"]).await;
    let (mut a, mut b) = (service.agent("a").await, service.agent("b").await);
    let first = a.report(100.0);
    let reply = eventually(async || {
        // Until the first round has been made the service says that it stands by.
        let answer = a.send(&first).await;
        if answer.closes {
            a.connection = service.connect().await;
        }
        (answer.status == StatusCode::OK).then(|| answer.reply())
    })
    .await;
    assert_eq!(reply.fate, Fate::Unstamped);
    let warming = reply.warming.unwrap();
    assert_eq!((warming.heard, warming.nodes), (0, 2));
    let reply = a.tell(100.0).await;
    assert_eq!(reply.fate, Fate::Taken);
    assert_eq!(reply.interval_ms, 4000);
    assert!(
        reply.totals.is_empty() && reply.warming.is_some(),
        "b is missing"
    );
    assert_eq!(b.tell(200.0).await.fate, Fate::Taken);
    // A node reports at its pace, so a few reports are all there is until the next round.
    service.a_round_later().await;
    assert_eq!(total(&mut a, 100.0).await, Some(300.0));
    assert_eq!(total(&mut b, 200.0).await, Some(300.0));
    assert_eq!(service.reviews(), 2, "each token is reviewed once");
}

#[tokio::test]
async fn only_agents_are_heard_and_each_for_its_own_node() {
    let service = ready(&["a"]).await;
    let now = Timestamp::now().as_second();
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = claims("node-metrics", "a");
        claims[key] = value;
        token(&claims, "good")
    };
    let refusals = |reason: &str| {
        service.metric(&format!(
            "scope_totals_refusals_total{{reason=\"{reason}\"}}"
        ))
    };
    let before = (refusals("token"), refusals("account"));
    let (mut tokens, mut accounts) = before;
    for (what, token, status, reason) in [
        ("none", String::new(), 401, Reason::Token),
        ("nonsense", "a b c".into(), 401, Reason::Token),
        ("expired", with("exp", (now - 1).into()), 401, Reason::Token),
        (
            "another audience",
            with("aud", json!(["https://kubernetes.default.svc"])),
            401,
            Reason::Token,
        ),
        (
            "forged",
            token(&claims("node-metrics", "a"), "forged"),
            401,
            Reason::Token,
        ),
        (
            "another account",
            with("sub", "system:serviceaccount:scope-plugins:default".into()),
            403,
            Reason::Account,
        ),
        (
            "another namespace",
            with(
                "sub",
                "system:serviceaccount:x:scope-plugin-node-metrics".into(),
            ),
            403,
            Reason::Account,
        ),
        ("no node", with("node", "".into()), 403, Reason::Account),
        (
            "a node that is not there",
            with("node", "z".into()),
            403,
            Reason::Account,
        ),
    ] {
        let answer = service.connect().await.post(&token, "{}").await;
        let (got, refusal) = answer.refusal();
        assert_eq!(
            (got, refusal.reason),
            (status, reason),
            "{what}: {}",
            refusal.message
        );
        match reason {
            Reason::Token => tokens += 1,
            _ => accounts += 1,
        }
    }
    assert_eq!((refusals("token"), refusals("account")), (tokens, accounts));
    assert_eq!(service.agent("a").await.tell(1.0).await.fate, Fate::Taken);
}

#[tokio::test]
async fn a_review_is_not_lost_with_its_connection() {
    let service = ready(&["a"]).await;
    let before = service.reviews();
    service.answers.send_replace(false);
    let token = token(&claims("node-metrics", "a"), "good");
    for _ in 0..3 {
        let mut agent = service.agent("a").await;
        agent.token.clone_from(&token);
        let report = agent.report(1.0);
        let gone = tokio::time::timeout(Duration::from_millis(200), agent.send(&report)).await;
        assert!(gone.is_err(), "there is no answer yet");
    }
    service.answers.send_replace(true);
    let mut agent = service.agent("a").await;
    agent.token = token;
    assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    assert_eq!(service.reviews() - before, 1);
}

/// A service that is open.
async fn ready(nodes: &[&str]) -> Service {
    let service = Service::start(nodes).await;
    let bad = token(&claims("node-metrics", "nowhere"), "good");
    eventually(async || {
        let answer = service.connect().await.post(&bad, "{}").await;
        (answer.status == StatusCode::FORBIDDEN).then_some(())
    })
    .await;
    service
}

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
async fn agents_of_other_versions_are_passed_over_or_refused() {
    let service = ready(&["a"]).await;
    let mut agent = service.agent("a").await;
    agent.tell(1.0).await;
    let mut newer = serde_json::to_value(agent.report(1.0)).unwrap();
    newer["of_next_year"] = json!({"a": [1]});
    newer["objects"][0]["values"]["metric_of_next_year"] = json!(5);
    let unknown = json!({"kind": "PodGroup", "uid": deployment(7).uid, "counted": 1, "values": {}});
    newer["objects"].as_array_mut().unwrap().push(unknown);
    let answer = agent.connection.post(&agent.token, newer.to_string()).await;
    assert_eq!(answer.reply().fate, Fate::Taken);
    let other = json!({"version": 2, "all": "is different"});
    let answer = agent.connection.post(&agent.token, other.to_string()).await;
    let (status, refusal) = answer.refusal();
    assert_eq!(
        (status, refusal.reason),
        (400, Reason::Version),
        "{}",
        refusal.message
    );
}

#[tokio::test]
async fn a_report_that_comes_twice_counts_once() {
    let service = ready(&["a"]).await;
    let mut agent = service.agent("a").await;
    agent.tell(1.0).await;
    let report = agent.report(2.0);
    assert_eq!(agent.send(&report).await.reply().fate, Fate::Taken);
    assert_eq!(agent.send(&report).await.reply().fate, Fate::Old);
    assert_eq!(
        service.metric("scope_totals_reports_total{fate=\"old\"}"),
        1
    );
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

#[tokio::test]
async fn a_standby_says_so_and_closes() {
    let service = ready(&["a"]).await;
    let mut agent = service.agent("a").await;
    agent.tell(1.0).await;
    service.claim.set(None, std::time::Instant::now());
    let report = agent.report(1.0);
    let answer = agent.send(&report).await;
    assert!(answer.closes);
    let (status, refusal) = answer.refusal();
    assert_eq!((status, refusal.reason), (503, Reason::Standby));
    // In the next term nothing of the last one counts, and stamps of it say nothing.
    service.lead();
    let report = agent.report(1.0);
    let fate = eventually(async || {
        agent.connection = service.connect().await;
        let answer = agent.send(&report).await;
        (answer.status == StatusCode::OK).then(|| answer.reply().fate)
    })
    .await;
    assert_eq!(fate, Fate::Unstamped);
}

#[tokio::test]
async fn a_new_certificate_disturbs_no_connection() {
    let service = ready(&["a"]).await;
    let mut agent = service.agent("a").await;
    agent.tell(1.0).await;
    service.new_certificate();
    assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    let mut other = service.connect().await;
    let report = serde_json::to_vec(&agent.report(1.0)).unwrap();
    assert_eq!(
        other.post(&agent.token, report).await.reply().fate,
        Fate::Taken
    );
}

/// What an agent says that Scope asks.
fn asked() -> Option<Health> {
    Some(Health {
        asked_ms_ago: Some(100),
        version: "0.1.0".into(),
        ..Health::default()
    })
}

#[tokio::test]
async fn an_agent_that_scope_asks_draws_what_has_no_pods() {
    let service = ready(&["a", "b", "c", "d"]).await;
    let mut agents = Vec::new();
    for node in ["a", "b", "c", "d"] {
        let mut agent = service.agent(node).await;
        // Nobody asks the last one.
        agent.health = (node != "d").then(asked).flatten();
        let reply = agent.tell(1.0).await;
        assert_eq!((reply.fate, reply.podless), (Fate::Taken, None));
        agents.push(agent);
    }
    service.a_round_later().await;
    let mut told = Vec::new();
    for (number, agent) in agents.iter_mut().enumerate() {
        if let Some(podless) = agent.tell(1.0).await.podless {
            told.push((number, podless));
        }
    }
    assert_eq!(told.len(), 2, "one and a spare: {told:?}");
    let (number, list) = told[0].clone();
    assert_ne!(number, 3);
    assert_eq!(told[1].1.version, list.version);
    let wanted = Controller {
        kind: Kind::Deployment,
        uid: deployment(2).uid,
        name: "app-2".into(),
        namespace: "apps".into(),
        namespace_uid: apps(),
    };
    assert_eq!(list.objects, Some(vec![wanted]));
    assert_eq!((list.valid_ms, list.left_out), (15_000, 0));
    for (line, count) in [("podless", 1), ("podless_agents", 2)] {
        assert_eq!(service.metric(&format!("scope_totals_{line} ")), count);
    }
    // What it has is not sent again, until it is another list.
    let agent = &mut agents[number];
    agent.podless = Some(list.version);
    let same = agent.tell(1.0).await.podless.unwrap();
    assert_eq!((same.version, same.objects), (list.version, None));
    {
        let mut census = watch::lock(&service.census);
        census.controllers.deployments.remove(&deployment(2).uid);
    }
    service.a_round_later().await;
    let other = agent.tell(1.0).await.podless.unwrap();
    assert_ne!(other.version, list.version);
    assert_eq!(other.objects, Some(Vec::new()));
    // Nobody asks it any more: another one takes its place.
    agent.health.as_mut().unwrap().asked_ms_ago = Some(60_000);
    agent.tell(1.0).await;
    service.a_round_later().await;
    assert_eq!(agents[number].tell(1.0).await.podless, None);
    assert_eq!(service.metric("scope_totals_podless_agents "), 2);
}

/// The pods of these nodes, by number, are those of a Service.
fn serve(service: &Service, pods: &[u8]) {
    let name = Name {
        namespace: "apps".into(),
        name: "web".into(),
    };
    let mut census = watch::lock(&service.census);
    let services = &mut census.services;
    services.names.put(name.clone(), Uid::from_bytes([50; 16]));
    let slice = Slice {
        service: name,
        namespace: NamespaceMark::default(),
        owner: None,
        pods: Some(pods.iter().map(|pod| Uid::from_bytes([*pod; 16])).collect()),
    };
    services.slices.put(Uid::from_bytes([51; 16]), slice);
    services.names.complete();
    services.slices.complete();
}

/// Reports that this pod of the Service uses so many millicores, by that list; the total, if it is told.
async fn service_total(agent: &mut Agent, list: &[Members], millicores: f64) -> Option<f64> {
    let mut report = agent.report(1.0);
    let partial = |one: &Members| Partial {
        kind: Kind::Service,
        uid: one.uid,
        counted: one.pods.len() as u32,
        members: Some(one.version),
        values: [(Metric::Millicores, millicores)].into_iter().collect(),
    };
    report.objects.extend(list.iter().map(partial));
    let reply = agent.send(&report).await.reply();
    let total = reply
        .totals
        .iter()
        .find(|total| total.kind == Kind::Service)?;
    assert_eq!((total.counted, total.pods), (2, 2));
    total.values.get(Metric::Millicores)
}

#[tokio::test]
async fn a_service_has_a_total_of_the_pods_that_it_has_now() {
    let service = ready(&["a", "b", "c"]).await;
    serve(&service, &[0, 1]);
    let mut old = service.agent("c").await;
    let (mut a, mut b) = (service.agent("a").await, service.agent("b").await);
    (a.services, b.services) = (Some(0), Some(0));
    for agent in [&mut a, &mut b, &mut old] {
        assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    }
    service.a_round_later().await;
    assert_eq!(old.tell(1.0).await.services, None, "it could not read it");
    let [of_a, of_b] = [a.tell(1.0).await, b.tell(1.0).await].map(|reply| reply.services.unwrap());
    let lists = [of_a.services.unwrap(), of_b.services.unwrap()];
    for (list, pod) in lists.iter().zip([0, 1]) {
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].pods, [Uid::from_bytes([pod; 16])]);
    }
    a.services = Some(of_a.version);
    let again = a.tell(1.0).await.services.unwrap();
    assert_eq!((again.version, again.services), (of_a.version, None));
    assert_eq!(service.metric("scope_totals_services "), 1);
    service.a_round_later().await;
    service_total(&mut a, &lists[0], 100.0).await;
    service_total(&mut b, &lists[1], 200.0).await;
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, Some(300.0));
    // Another pod of the same node takes the place of one: whoever sums up the old set is not counted.
    {
        let mut census = watch::lock(&service.census);
        let pod = census.pods.get(&Uid::from_bytes([1; 16])).cloned().unwrap();
        census.pods.put(Uid::from_bytes([9; 16]), pod);
    }
    serve(&service, &[0, 9]);
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, None);
    let reply = b.tell(1.0).await.services.unwrap();
    let now = reply.services.unwrap();
    assert_eq!(now[0].pods, [Uid::from_bytes([9; 16])]);
    service.a_round_later().await;
    service_total(&mut b, &now, 50.0).await;
    service.a_round_later().await;
    assert_eq!(service_total(&mut a, &lists[0], 100.0).await, Some(150.0));
}

fn no_btf() -> Off {
    Off {
        collector: "HTTPStatistics".into(),
        why: "no BTF".into(),
    }
}

/// A token of the operator.
fn operators() -> String {
    let mut claims = claims("x", "a");
    claims["sub"] = json!("system:serviceaccount:scope-system:scope-operator");
    token(&claims, "good")
}

#[tokio::test]
async fn the_operator_hears_how_the_agents_are() {
    let service = ready(&["a", "b", "c"]).await;
    let mut operator = service.connect().await;
    let token = operators();
    let mut ask = async || {
        let answer = operator.get(FLEET_PATH, &token).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        serde_json::from_slice::<Fleet>(&answer.body).unwrap()
    };
    let before = service.reviews();
    let fleet = ask().await;
    assert!(fleet.warming_ms.is_some_and(|ms| ms <= 15_000));
    assert!(fleet.plugins.is_empty());
    for (node, health) in [("a", asked()), ("b", None), ("c", asked())] {
        let mut agent = service.agent(node).await;
        agent.health = health;
        if node == "c" {
            let health = agent.health.as_mut().unwrap();
            health.asked_ms_ago = Some(3_600_000);
            health.collectors_off.push(no_btf());
        }
        assert_eq!(agent.tell(1.0).await.fate, Fate::Taken);
    }
    let fleet = ask().await;
    let [plugin] = &fleet.plugins[..] else {
        panic!("{fleet:?}");
    };
    assert_eq!(plugin.plugin, "node-metrics");
    assert_eq!(
        (plugin.nodes, plugin.asked, plugin.silent, plugin.unknown),
        (3, 1, 1, 1)
    );
    assert_eq!(plugin.silent_nodes, ["c"]);
    assert_eq!((plugin.off[0].nodes, &*plugin.off[0].example), (1, "c"));
    assert_eq!(plugin.versions[0].nodes, 2);
    assert_eq!(service.reviews() - before, 4, "its token is reviewed once");
    assert_eq!(service.metric("scope_totals_fleet_answers_total"), 2);
}

#[tokio::test]
async fn only_the_operator_may_ask_and_only_so_often() {
    let service = ready(&["a"]).await;
    let agent = service.agent("a").await;
    let mut other = claims("x", "a");
    other["sub"] = json!("system:serviceaccount:scope-system:default");
    for (what, token, status, reason) in [
        ("an agent", agent.token.clone(), 403, Reason::Account),
        ("another", token(&other, "good"), 403, Reason::Account),
        ("nobody", String::new(), 401, Reason::Token),
        ("forged", token(&other, "forged"), 401, Reason::Token),
    ] {
        let answer = service.connect().await.get(FLEET_PATH, &token).await;
        let (got, refusal) = answer.refusal();
        let text = &refusal.message;
        assert_eq!((got, refusal.reason), (status, reason), "{what}: {text}");
    }
    let mut operator = service.connect().await;
    let report = serde_json::to_vec(&service.agent("a").await.report(1.0)).unwrap();
    let (status, refusal) = operator.post(&operators(), report).await.refusal();
    assert_eq!((status, refusal.reason), (403, Reason::Account));
    let token = operators();
    let mut refused = 0;
    for _ in 0..20 {
        let answer = operator.get(FLEET_PATH, &token).await;
        refused += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((12..=14).contains(&refused), "{refused}");
    service.claim.set(None, std::time::Instant::now());
    let (status, refusal) = operator.get(FLEET_PATH, &token).await.refusal();
    assert_eq!((status, refusal.reason), (503, Reason::Standby));
}
