//! People ask what uses most: whom the service answers, and what, over a real socket.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod support;

use hyper::StatusCode;
use scope_totals_wire::{
    AUDIENCE, Answered, Asked, Fate, Found, Kind, PodFigure, Question, Reason, Reply, Top, TopOf,
    Uid,
};
use serde_json::json;
use support::{Agent, OF_SERVER, Service, deployment, eventually, persons, token};

/// A service that is warm: an agent of every node has reported once.
async fn warm(nodes: &[&str]) -> (Service, Vec<Agent>) {
    let service = Service::start(nodes).await;
    let mut agents = Vec::new();
    for node in nodes {
        let mut agent = service.agent(node).await;
        eventually(async || {
            let report = agent.report(1.0);
            (agent.send(&report).await.status == StatusCode::OK).then_some(())
        })
        .await;
        assert_eq!(agent.tell(100.0).await.fate, Fate::Taken);
        agents.push(agent);
    }
    service.a_round_later().await;
    (service, agents)
}

fn admin() -> String {
    persons("admin", AUDIENCE)
}

#[tokio::test]
async fn controllers_are_told_by_their_totals() {
    let (service, _agents) = warm(&["a", "b"]).await;
    let top = service
        .connect()
        .await
        .ask("of=controllers", Some(&admin()))
        .await
        .top();
    assert_eq!((top.of, &*top.plugin), (TopOf::Controllers, "node-metrics"));
    assert_eq!((&*top.metric, &*top.unit), ("cpu_millicores", "millicores"));
    assert_eq!((top.limit, top.left_out), (10, 0));
    assert_eq!(top.nodes, Answered { answered: 2, of: 2 });
    assert!(top.at_ms > 1_700_000_000_000);
    let [row] = &top.rows[..] else {
        panic!("the other Deployment has no pods: {top:?}");
    };
    assert_eq!(
        (row.kind, row.uid),
        (Some(Kind::Deployment), Some(deployment(1).uid))
    );
    assert_eq!(
        (row.namespace.as_deref(), &*row.name),
        (Some("apps"), "app-1")
    );
    assert_eq!(
        (row.pods, row.counted, row.value),
        (Some(2), Some(2), 200.0)
    );

    let mut connection = service.connect().await;
    let of_memory = connection
        .ask("of=deployments&metric=docker_memory_usage", Some(&admin()))
        .await
        .top();
    assert_eq!((of_memory.rows.len(), of_memory.left_out), (0, 1));
    let elsewhere = connection
        .ask("of=controllers&namespace=other", Some(&admin()))
        .await
        .top();
    assert_eq!((elsewhere.rows.len(), elsewhere.left_out), (0, 0));
    assert_eq!(service.metric("scope_totals_top_answers_total"), 3);
}

fn figure(number: u8, value: f64) -> PodFigure {
    PodFigure {
        uid: Uid::from_bytes([number; 16]),
        namespace: "apps".into(),
        name: format!("app-1-{number}"),
        value,
    }
}

/// Has an agent report, as soon as it may again.
async fn report(agent: &mut Agent) -> Reply {
    eventually(async || {
        let report = agent.report(100.0);
        let answer = agent.send(&report).await;
        (answer.status == StatusCode::OK).then(|| answer.reply())
    })
    .await
}

/// Has an agent report until it is asked.
async fn asked(agent: &mut Agent) -> Question {
    for _ in 0..100 {
        if let Some(question) = report(agent).await.top.first() {
            return question.clone();
        }
    }
    panic!("nobody asks");
}

#[tokio::test]
async fn pods_are_asked_of_agents_while_somebody_wants_to_know() {
    let (service, mut agents) = warm(&["a", "b"]).await;
    assert_eq!(agents[0].tell(100.0).await.top, [], "nobody asks");
    let mut connection = service.connect().await;
    let asking = tokio::spawn(async move {
        connection
            .ask("of=pods&namespace=apps&limit=2", Some(&admin()))
            .await
            .top()
    });
    for (number, agent) in (0u8..).zip(&mut agents) {
        let question = asked(agent).await;
        assert_eq!(
            (
                question.of,
                &*question.metric,
                question.namespace.as_deref()
            ),
            (Asked::Pods, "cpu_millicores", Some("apps"))
        );
        let mine = figure(number, 100.0 * f64::from(number + 1));
        // A pod of the other node, and one that there is not.
        let others = [figure(1 - number, 999.0), figure(77, 999.0)];
        agent.top = vec![Found {
            id: question.id,
            pods: [mine].into_iter().chain(others).collect(),
            node: None,
        }];
        report(agent).await;
    }
    let top: Top = asking.await.unwrap();
    assert_eq!(top.nodes, Answered { answered: 2, of: 2 });
    let rows = top.rows.iter();
    let rows: Vec<_> = rows
        .map(|row| (&*row.name, row.node.as_deref().unwrap(), row.value))
        .collect();
    assert_eq!(rows, [("app-1-1", "b", 200.0), ("app-1-0", "a", 100.0)]);
    assert_eq!(service.metric("scope_totals_top_rows_dropped_total"), 4);
    // It is there already, and so is the answer for somebody else.
    let again = service
        .connect()
        .await
        .ask("namespace=apps&limit=1", Some(&persons("apps", OF_SERVER)))
        .await
        .top();
    assert_eq!((again.rows.len(), again.limit), (1, 1));
    assert_eq!(again.rows[0], top.rows[0]);
}

#[tokio::test]
async fn answers_out_of_bounds_cost_the_sums_nothing() {
    let (service, mut agents) = warm(&["a"]).await;
    let mut connection = service.connect().await;
    let asking =
        tokio::spawn(async move { connection.ask("of=nodes", Some(&admin())).await.top() });
    let agent = &mut agents[0];
    let question = asked(agent).await;
    assert_eq!(question.of, Asked::Node);
    let answer = |node| Found {
        id: question.id,
        pods: Vec::new(),
        node: Some(node),
    };
    agent.top = vec![answer(1.0); 9];
    assert_eq!(report(agent).await.fate, Fate::Taken);
    agent.top = vec![answer(1500.0)];
    report(agent).await;
    let top: Top = asking.await.unwrap();
    let [row] = &top.rows[..] else {
        panic!("{top:?}");
    };
    assert_eq!((&*row.name, row.value, row.uid), ("a", 1500.0, None));
}

#[tokio::test]
async fn who_has_not_the_right_is_told_which() {
    let (service, agents) = warm(&["a"]).await;
    let of = "of=controllers";
    let in_apps = "of=controllers&namespace=apps";
    let (apps, jane) = (persons("apps", OF_SERVER), persons("jane", AUDIENCE));
    let forged = format!("{}x", persons("admin", AUDIENCE));
    let all = "may not list pods of metrics.k8s.io in all namespaces";
    for (what, query, token, status, reason, words) in [
        (
            "nobody",
            of,
            None,
            401,
            Reason::Token,
            "no token in the header x-scope-token",
        ),
        (
            "odd",
            of,
            Some("a b"),
            401,
            Reason::Token,
            "no token in the header",
        ),
        (
            "opaque",
            of,
            Some("abc"),
            401,
            Reason::Token,
            "does not accept the token",
        ),
        (
            "forged",
            of,
            Some(&*forged),
            401,
            Reason::Token,
            "does not accept the token",
        ),
        ("all", of, Some(&*apps), 403, Reason::Account, all),
        (
            "jane",
            in_apps,
            Some(&*jane),
            403,
            Reason::Account,
            "in the namespace apps",
        ),
        (
            "nodes",
            "of=nodes",
            Some(&*apps),
            403,
            Reason::Account,
            "list nodes of metrics.k8s.io",
        ),
        (
            "an agent",
            of,
            Some(&*agents[0].token),
            403,
            Reason::Account,
            all,
        ),
    ] {
        let answer = service.connect().await.ask(query, token).await;
        let (got, refusal) = answer.refusal();
        let text = &refusal.message;
        assert_eq!((got, refusal.reason), (status, reason), "{what}: {text}");
        assert!(text.contains(words), "{what}: {text}");
        assert!(!text.contains("eyJ"), "no token is said again: {text}");
    }
    let answer = service.connect().await.ask(in_apps, Some(&apps)).await;
    assert_eq!(answer.top().rows.len(), 1);
    assert!(service.metric("scope_totals_access_reviews_total{outcome=\"denied\"}") >= 4);
}

#[tokio::test]
async fn reviews_hold_for_a_while() {
    let (service, _agents) = warm(&["a"]).await;
    let reviews = service.reviews();
    let mut connection = service.connect().await;
    let token = admin();
    for _ in 0..3 {
        connection.ask("of=controllers", Some(&token)).await.top();
    }
    assert_eq!(service.reviews() - reviews, 1);
    assert_eq!(service.accesses(), 1);
    connection
        .ask("of=controllers&namespace=apps", Some(&token))
        .await
        .top();
    assert_eq!((service.reviews() - reviews, service.accesses()), (1, 2));
}

#[tokio::test]
async fn a_person_has_a_share_and_bad_tokens_an_end() {
    let (service, _agents) = warm(&["a"]).await;
    let mut connection = service.connect().await;
    let token = admin();
    let mut refused = 0;
    for _ in 0..20 {
        let answer = connection.ask("of=controllers", Some(&token)).await;
        refused += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((12..=14).contains(&refused), "{refused}");
    let mut last = StatusCode::OK;
    for number in 0..25 {
        let bad = format!("bad-{number}");
        last = connection.ask("of=controllers", Some(&bad)).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let agent = service.agent("a").await;
    let answer = service.connect().await.get("/v1/fleet", &agent.token).await;
    assert_eq!(
        answer.status,
        StatusCode::FORBIDDEN,
        "agents do not suffer for it"
    );
}

#[tokio::test]
async fn what_cannot_be_answered_is_said() {
    let (service, _agents) = warm(&["a"]).await;
    let mut connection = service.connect().await;
    for (query, words) in [
        ("of=images", "ask of pods"),
        ("%ff=", "part of a question"),
        (
            "of=controllers&plugin=http-statistics",
            "those of node-metrics do",
        ),
    ] {
        let (status, refusal) = connection.ask(query, Some(&admin())).await.refusal();
        let text = &refusal.message;
        assert_eq!(
            (status, refusal.reason),
            (400, Reason::Syntax),
            "{query}: {text}"
        );
        assert!(text.contains(words), "{query}: {text}");
    }
    service.claim.set(None, std::time::Instant::now());
    let (status, refusal) = connection.ask("", Some(&admin())).await.refusal();
    assert_eq!((status, refusal.reason), (503, Reason::Standby));

    let off = Service::start_with(&["a"], false).await;
    let (status, refusal) = off.connect().await.ask("", Some(&admin())).await.refusal();
    assert_eq!((status, refusal.reason), (404, Reason::Off));
    assert!(
        refusal.message.contains("totals.top.enabled"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn without_the_api_server_nobody_is_let_in() {
    let (service, _agents) = warm(&["a"]).await;
    service.answers.send_replace(false);
    let (status, refusal) = service
        .connect()
        .await
        .ask("of=controllers", Some(&admin()))
        .await
        .refusal();
    assert_eq!((status, refusal.reason), (503, Reason::Busy), "{refusal:?}");
}

#[tokio::test]
async fn tokens_that_are_over_count_against_nobody() {
    let (service, _agents) = warm(&["a"]).await;
    let reviews = service.reviews();
    let mut connection = service.connect().await;
    for number in 0..25 {
        let claims = json!({"aud": [AUDIENCE], "exp": 1_700_000_000 + number, "sub": "admin"});
        let over = token(&claims, "good");
        let answer = connection.ask("of=controllers", Some(&over)).await;
        let (status, refusal) = answer.refusal();
        assert_eq!((status, refusal.reason), (401, Reason::Token));
    }
    assert_eq!(
        service.reviews(),
        reviews,
        "the API server is not asked about them"
    );
    connection.ask("of=controllers", Some(&admin())).await.top();
}
