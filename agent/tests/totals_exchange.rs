//! The exchange of totals with a service that behaves as it should, and as it should not: over real TLS
//! and HTTP, but through memory, so that time can be paused.

mod totals_service;

use std::time::Duration;

use hyper::StatusCode;
use scope_agent::totals::Totals;
use scope_totals_wire::{
    Controller, Fate, Kind, Members, Object, Podless, Reason, Refusal, Reply, Services, Uid,
};
use tokio::time::Instant;

use totals_service::{Agent, Authority, Step, object, reply, total};

fn refusal(status: StatusCode, reason: Reason, retry_after: Option<u64>) -> Step {
    let refusal = Refusal {
        reason,
        message: "no, since it is a test".into(),
    };
    Step::Refuse(status, refusal, retry_after)
}

fn outcome(agent: &Agent, label: &str) -> u64 {
    let outcomes = agent.board.standing().outcomes;
    outcomes.get(label).copied().unwrap_or_default()
}

fn shown(agent: &Agent, object: Object) -> bool {
    let totals: Totals = agent.board.totals(Instant::now());
    totals.get(object).is_some()
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn the_first_stamp_is_used_at_once_and_totals_come_back() {
    let mut agent = Agent::start();
    let first = agent
        .asked(Step::Reply(reply(Fate::Unstamped, "7-1", [])))
        .await;
    assert_eq!(first.report.sampled, None);
    assert_eq!(first.token, "Bearer token-1");
    assert_eq!(first.report.check(), Ok(()));
    let second = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-2", [total(1, 9000)])))
        .await;
    let sampled = second.report.sampled.expect("a stamp");
    assert_eq!(&*sampled.stamp.0, "7-1");
    assert!(seconds(first.at, second.at) < 0.1);
    assert!(second.report.sequence > first.report.sequence);
    assert_eq!(second.report.boot, first.report.boot);
    assert_eq!(second.connection, first.connection, "it is kept");

    let third = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-3", [])))
        .await;
    assert_eq!(seconds(second.at, third.at).round(), 5.0);
    assert_eq!(third.connection, second.connection);
    let standing = agent.board.standing();
    assert!(standing.connected && standing.interval == Some(Duration::from_secs(5)));
    let fourth = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-4", [total(1, 9000)])))
        .await;
    assert!(!shown(&agent, object(2)));
    agent.asked(Step::Silence).await;
    assert!(shown(&agent, object(1)), "what came with the fourth");
    let report = fourth.report;
    assert_eq!(report.objects[0].object(), object(1));
    assert_eq!(
        (outcome(&agent, "unstamped"), outcome(&agent, "taken")),
        (1, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_newest_reply_leaves_out_is_not_shown() {
    let mut agent = Agent::start();
    agent
        .asked(Step::Reply(reply(
            Fate::Taken,
            "7-1",
            [total(1, 60_000), total(2, 60_000)],
        )))
        .await;
    agent
        .asked(Step::Reply(reply(Fate::Taken, "7-2", [total(2, 60_000)])))
        .await;
    agent.asked(Step::Silence).await;
    assert_eq!([1, 2].map(|n| shown(&agent, object(n))), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_pods_is_drawn_for_as_long_as_it_may_and_is_sent_once() {
    let mut agent = Agent::start();
    let objects = vec![Controller {
        kind: Kind::CronJob,
        uid: Uid::from_bytes([1; 16]),
        name: "night".into(),
        namespace: "shop".into(),
        namespace_uid: Uid::from_bytes([2; 16]),
    }];
    let podless = |objects| {
        Step::Reply(Reply {
            podless: Some(Podless {
                version: 7,
                valid_ms: 12_000,
                objects,
                left_out: 0,
            }),
            ..reply(Fate::Taken, "7-1", [])
        })
    };
    let none = || Step::Reply(reply(Fate::Taken, "7-1", []));
    let first = agent.asked(podless(Some(objects.clone()))).await;
    assert_eq!(first.report.podless, None);
    let health = first.report.health.expect("told");
    assert_eq!(health.asked_ms_ago, None);
    assert!(!health.version.is_empty());
    let second = agent.asked(podless(None)).await;
    assert_eq!(second.report.podless, Some(7));
    let drawn = |agent: &Agent| agent.board.totals(Instant::now()).podless().to_vec();
    assert_eq!(drawn(&agent), objects);
    // Another agent is asked to: until the time is up, both draw it.
    for _ in 0..2 {
        let next = agent.asked(none()).await;
        assert_eq!(next.report.podless, Some(7));
        assert_eq!(drawn(&agent), objects);
    }
    let last = agent.asked(none()).await;
    assert_eq!(last.report.podless, None, "{:?}", last.at - second.at);
    assert_eq!(
        (drawn(&agent), agent.board.drawn(Instant::now())),
        (Vec::new(), 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_list_of_services_is_named_until_it_is_over_and_sent_once() {
    let mut agent = Agent::start();
    let list = vec![Members {
        uid: Uid::from_bytes([1; 16]),
        version: 5,
        pods: vec![Uid::from_bytes([2; 16])],
    }];
    let told = |version, services| {
        Step::Reply(Reply {
            services: Some(Services {
                version,
                valid_ms: 12_000,
                services,
            }),
            ..reply(Fate::Taken, "7-1", [])
        })
    };
    let none = || Step::Reply(reply(Fate::Taken, "7-1", []));
    let known = |agent: &Agent| agent.board.totals(Instant::now()).services().to_vec();
    let first = agent.asked(told(7, Some(list.clone()))).await;
    assert_eq!(first.report.services, Some(0), "it can read one");
    let second = agent.asked(told(7, None)).await;
    assert_eq!(second.report.services, Some(7));
    assert_eq!(known(&agent), list);
    // The service does not know yet, as after a hand-over.
    for _ in 0..2 {
        let next = agent.asked(none()).await;
        assert_eq!(next.report.services, Some(7));
        assert_eq!(known(&agent), list);
    }
    let over = agent.asked(told(8, Some(Vec::new()))).await;
    assert_eq!(over.report.services, Some(0));
    assert_eq!(agent.board.known_services(Instant::now()), 0);
    let last = agent.asked(none()).await;
    assert_eq!(last.report.services, Some(8), "an empty list is one");
}

#[tokio::test(start_paused = true)]
async fn totals_are_shown_no_longer_than_they_may_although_the_service_is_away() {
    let mut agent = Agent::start();
    agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [total(1, 9000)])))
        .await;
    let cut = agent.asked(Step::Cut).await;
    assert!(shown(&agent, object(1)));
    for _ in 0..3 {
        agent.asked(Step::Cut).await;
    }
    tokio::time::sleep_until(cut.at + Duration::from_secs(5)).await;
    assert!(!shown(&agent, object(1)));
}

#[tokio::test(start_paused = true)]
async fn a_standby_is_left_for_another_connection() {
    let mut agent = Agent::start();
    let standby = || refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::Standby, None);
    let first = agent.asked(standby()).await;
    let second = agent.asked(standby()).await;
    let third = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    assert!(second.connection > first.connection && third.connection > second.connection);
    assert!((0.5..1.5).contains(&seconds(first.at, second.at)));
    assert!(
        (1.4..2.5).contains(&seconds(second.at, third.at)),
        "longer and longer"
    );
    assert_eq!(outcome(&agent, "refused_standby"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_valid_any_more_is_read_anew() {
    let mut agent = Agent::start();
    agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    let refused = agent
        .asked(refusal(StatusCode::UNAUTHORIZED, Reason::Token, None))
        .await;
    assert_eq!(refused.token, "Bearer token-1");
    agent.volume.write("token", "token-2\n");
    let next = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-2", [])))
        .await;
    assert_eq!(next.token, "Bearer token-2");
    assert!(seconds(refused.at, next.at) < 1.5);
    assert_eq!(
        next.connection, refused.connection,
        "nothing is wrong with that"
    );
    agent.volume.write("token", "token-3");
    let later = agent.asked(Step::Silence).await;
    assert_eq!(later.token, "Bearer token-3", "it is read for each report");
}

#[tokio::test(start_paused = true)]
async fn who_is_busy_says_when_to_come_again() {
    let mut agent = Agent::start();
    let busy = refusal(StatusCode::SERVICE_UNAVAILABLE, Reason::Busy, Some(20));
    let first = agent.asked(busy).await;
    let rate = refusal(StatusCode::TOO_MANY_REQUESTS, Reason::Rate, Some(60));
    let second = agent.asked(rate).await;
    let third = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    assert!((20.0..25.5).contains(&seconds(first.at, second.at)));
    assert!((60.0..75.5).contains(&seconds(second.at, third.at)));
    assert!(
        second.report.sequence > first.report.sequence,
        "of now, not of then"
    );
}

#[tokio::test(start_paused = true)]
async fn another_version_is_said_and_not_tried_every_second() {
    let mut agent = Agent::start();
    let first = agent
        .asked(refusal(StatusCode::BAD_REQUEST, Reason::Version, None))
        .await;
    let second = agent.asked(Step::Silence).await;
    assert!(seconds(first.at, second.at) >= 300.0);
    let said = agent.board.totals(second.at).said.expect("long enough");
    assert!(said.contains("no, since it is a test"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_report_without_an_answer_is_sent_again_under_its_number() {
    let mut agent = Agent::start();
    agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    let cut = agent.asked(Step::Cut).await;
    let again = agent.asked(Step::Cut).await;
    assert_eq!(again.report, cut.report);
    assert!(again.connection > cut.connection);
    assert!(
        seconds(cut.at, again.at) < 0.1,
        "a kept connection may have been closed just before"
    );
    let third = agent.asked(Step::Reply(reply(Fate::Old, "7-2", []))).await;
    assert_eq!(third.report, cut.report);
    assert!(seconds(again.at, third.at) > 0.5);
    assert_eq!((outcome(&agent, "cut"), outcome(&agent, "old")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_in_time_is_left() {
    let mut agent = Agent::start();
    let silent = agent.asked(Step::Silence).await;
    let next = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    assert!((10.0..12.0).contains(&seconds(silent.at, next.at)));
    assert!(next.connection > silent.connection);
    assert!(
        next.report.sequence > silent.report.sequence,
        "its sample is not of now any more"
    );
    assert_eq!(outcome(&agent, "late_answer"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_huge_or_strange_answer_is_not_taken() {
    let mut agent = Agent::start();
    agent.asked(Step::Huge).await;
    agent.asked(Step::Text(StatusCode::OK, "{}")).await;
    agent
        .asked(Step::Text(StatusCode::BAD_GATEWAY, "<html>"))
        .await;
    let mut other = reply(Fate::Taken, "7-1", []);
    other.version = 2;
    agent.asked(Step::Reply(other)).await;
    agent.asked(Step::Silence).await;
    assert_eq!(outcome(&agent, "too_large"), 1);
    assert_eq!(outcome(&agent, "not_a_reply"), 3);
    assert_eq!(agent.board.standing().replied, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_published_yet_is_waited_for() {
    let mut agent = Agent::without(&["address", "ca.crt"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let standing = agent.board.standing();
    assert!(standing.unpublished && !standing.connected);
    assert!(
        (8..20).contains(&outcome(&agent, "not_published")),
        "{standing:?}"
    );
    let restored = Instant::now();
    agent.publish();
    let first = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    assert!(seconds(restored, first.at) < 8.0);
    agent.asked(Step::Silence).await;
    assert!(!agent.board.standing().unpublished);
}

#[tokio::test(start_paused = true)]
async fn authorities_and_addresses_that_change_mean_a_new_connection() {
    let mut agent = Agent::start();
    let first = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    let next = Authority::new();
    agent
        .volume
        .write("ca.crt", &format!("{}{}", agent.authority.pem, next.pem));
    let second = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-2", [])))
        .await;
    assert!(second.connection > first.connection, "both are trusted now");
    agent.serve_by(&next);
    agent.volume.write("ca.crt", &next.pem);
    let third = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-3", [])))
        .await;
    assert!(third.connection > second.connection);
    agent.volume.write("address", "10.0.0.2:8443");
    let fourth = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-4", [])))
        .await;
    assert_eq!(
        (&*third.address, &*fourth.address),
        ("10.0.0.1:8443", "10.0.0.2:8443")
    );
    agent.asked(Step::Silence).await;
    assert_eq!(outcome(&agent, "taken"), 4);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_gets_the_token() {
    let agent = Agent::start();
    agent.serve_by(&Authority::new());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(outcome(&agent, "handshake") >= 3);
    assert_eq!(agent.requests(), 0);
    agent.serve_under(&agent.authority, "another-name.svc");
    let before = outcome(&agent, "handshake");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(outcome(&agent, "handshake") > before);
    assert_eq!(agent.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_tell_asks_for_a_sample_and_says_so() {
    let mut agent = Agent::start();
    agent
        .asked(Step::Reply(reply(Fate::Taken, "7-1", [])))
        .await;
    agent.measure(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(outcome(&agent, "no_sample") >= 1);
    agent.measure(true);
    let next = agent.asked(Step::Silence).await;
    assert!(next.report.sampled.is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_connected_to_before_the_first_sample() {
    let mut agent = Agent::start();
    agent.measure(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(outcome(&agent, "no_sample") >= 1);
    assert_eq!(agent.connections(), 0);
    assert!(!agent.board.standing().connected);
    agent.measure(true);
    let first = agent
        .asked(Step::Reply(reply(Fate::Unstamped, "7-1", [])))
        .await;
    assert_eq!((first.connection, first.report.sequence), (0, 1));
    let second = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-2", [])))
        .await;
    assert_eq!((second.connection, second.report.sequence), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn who_rests_reports_as_soon_as_somebody_asks() {
    let mut agent = Agent::start();
    // Somebody did long ago.
    agent.ask_again(false);
    let rest = |stamp: &str| {
        Step::Reply(Reply {
            interval_ms: 15_000,
            resting: true,
            ..reply(Fate::Taken, stamp, [])
        })
    };
    let first = agent.asked(rest("7-1")).await;
    let second = agent.asked(rest("7-2")).await;
    assert_eq!(seconds(first.at, second.at).round(), 15.0);
    assert_eq!(first.report.watched, Some(false));
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.ask_again(true);
    let third = agent
        .asked(Step::Reply(reply(Fate::Taken, "7-3", [total(1, 9000)])))
        .await;
    assert_eq!(seconds(second.at, third.at).round(), 3.0);
    assert_eq!(third.report.watched, Some(true));
    agent.ask_again(true);
    let fourth = agent.asked(rest("7-4")).await;
    assert_eq!(seconds(third.at, fourth.at).round(), 5.0, "at its pace");
    let fifth = agent.asked(rest("7-5")).await;
    assert_eq!(
        seconds(fourth.at, fifth.at).round(),
        15.0,
        "a service that says so in spite of that is not told again and again"
    );
}
