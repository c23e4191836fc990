//! The exchange over real sockets: trust, totals, and everything that a client can do wrong.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod clients;
mod fleet;
mod lists;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use scope_totals_wire::{Fate, Health, Metric, Reason};
use serde_json::json;
use support::{Agent, Service, claims, deployment, eventually, token};

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

/// What an agent says that Scope asks.
fn asked() -> Option<Health> {
    Some(Health {
        asked_ms_ago: Some(100),
        version: "0.1.0".into(),
        ..Health::default()
    })
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
