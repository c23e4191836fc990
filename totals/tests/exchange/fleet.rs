//! What the operator hears of the agents.

use hyper::StatusCode;
use scope_totals_wire::{FLEET_PATH, Fate, Fleet, Off, Reason};
use serde_json::json;

use super::{
    asked, ready,
    support::{claims, token},
};

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
    assert!(fleet.warming_ms.is_some_and(|ms| ms <= 18_000));
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
