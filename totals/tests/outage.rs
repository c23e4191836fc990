//! The exchange when the Lease has run out, since the API server is away or since this replica cannot reach it.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod support;

use std::time::Instant;

use scope_totals_wire::{Fate, Metric, Reason, Reply};
use support::{Agent, Service, deployment, eventually};

/// An agent's report and its answer; a refusal's reason. A connection that the service gave up is made anew.
async fn told(service: &Service, agent: &mut Agent, millicores: f64) -> Result<Reply, Reason> {
    let report = agent.report(millicores);
    let answer = agent.send(&report).await;
    if answer.closes {
        agent.connection = service.connect().await;
    }
    match answer.status.is_success() {
        true => Ok(answer.reply()),
        false => Err(answer.refusal().1.reason),
    }
}

fn total(reply: &Reply) -> Option<f64> {
    let mut totals = reply.totals.iter();
    let total = totals.find(|total| total.object() == deployment(1))?;
    total.values.get(Metric::Millicores)
}

/// Two agents that have totals.
async fn with_totals(service: &Service) -> [Agent; 2] {
    let mut agents = [service.agent("a").await, service.agent("b").await];
    for agent in &mut agents {
        eventually(async || told(service, agent, 100.0).await.ok()).await;
        assert_eq!(told(service, agent, 100.0).await.unwrap().fate, Fate::Taken);
    }
    eventually(async || (service.metric("scope_totals_totals ") > 0).then_some(())).await;
    let reply = told(service, &mut agents[0], 100.0).await.unwrap();
    assert_eq!(total(&reply), Some(200.0));
    agents
}

fn runs_out(service: &Service) {
    let now = Instant::now();
    service.claim.set(Some(now), now);
}

#[tokio::test]
async fn totals_go_on_while_the_api_server_is_away_for_all() {
    let service = Service::start(&["a", "b"]).await;
    let [mut a, mut b] = with_totals(&service).await;
    a.server_away = true;
    told(&service, &mut a, 100.0).await.unwrap();
    runs_out(&service);
    // It answers the other one: so it is this replica that is cut off, and another may lead.
    assert_eq!(told(&service, &mut a, 100.0).await, Err(Reason::Standby));
    b.server_away = true;
    let reply = told(&service, &mut b, 300.0).await;
    assert_eq!(
        reply.unwrap().fate,
        Fate::Taken,
        "it was heard all the time"
    );
    service.a_round_later().await;
    assert_eq!(service.metric("scope_totals_serves_without_lease "), 1);
    let reply = told(&service, &mut a, 100.0).await.unwrap();
    assert_eq!(total(&reply), Some(400.0));

    // Another replica has the Lease.
    service.claim.set(None, Instant::now());
    for agent in [&mut a, &mut b] {
        assert_eq!(told(&service, agent, 100.0).await, Err(Reason::Standby));
    }
    eventually(async || (service.metric("scope_totals_serves_without_lease ") == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_replica_whose_lease_has_run_out_says_nothing_by_itself() {
    let service = Service::start(&["a", "b"]).await;
    let [mut a, mut b] = with_totals(&service).await;
    runs_out(&service);
    for agent in [&mut a, &mut b] {
        assert_eq!(told(&service, agent, 100.0).await, Err(Reason::Standby));
    }
    service.lead();
    eventually(async || told(&service, &mut a, 100.0).await.ok()).await;
}
