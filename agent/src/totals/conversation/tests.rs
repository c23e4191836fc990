use scope_totals_wire::{Kind, Node, Partial, Uid, Values};

use super::*;
use crate::Collectors;
use crate::sample::Problems;
use crate::totals::{Sums, health};

fn measured(taken: Instant, objects: usize, values: u16) -> Measured {
    let partial = |number: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let codes = (0..values).map(|n| (Metric::HttpCode(100 + n), 0.125));
        let cpu = [(Metric::Millicores, 1.0), (Metric::Rss, 1.0)];
        Partial {
            kind: Kind::Deployment,
            uid: Uid::from_bytes(bytes),
            counted: 1,
            members: None,
            values: codes.chain(cpu).collect(),
        }
    };
    Measured {
        taken,
        sums: Sums {
            node: Node {
                cpus: 2,
                memory: 1 << 30,
            },
            objects: (0..objects).map(partial).collect(),
            left_out: 0,
            strangers: false,
        },
        found: Vec::new(),
    }
}

fn reply(fate: Fate, stamp: &str, interval_ms: u64) -> Reply {
    Reply {
        version: VERSION,
        fate,
        stamp: Stamp(stamp.into()),
        interval_ms,
        resting: false,
        warming: None,
        at_ms: 0,
        totals: Vec::new(),
        podless: None,
        services: None,
        top: Vec::new(),
    }
}

fn told(talk: &mut Conversation, measured: &Measured) -> Bytes {
    talk.report(
        measured,
        HeldLists {
            podless: Some(7),
            services: Some(8),
        },
        Present {
            server_away: true,
            watched: false,
            health: health(None, Collectors::ALL, &Problems::default()),
        },
    )
}

fn read(body: &Bytes) -> Report {
    let report: Report = serde_json::from_slice(body).expect("JSON");
    assert_eq!(report.check(), Ok(()));
    report
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_report_says_how_long_after_the_last_reply_its_sample_is_of() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let mut talk = Conversation::new("b".into());
    let first = read(&told(&mut talk, &measured(at(0), 1, 0)));
    assert_eq!((first.sequence, first.sampled), (1, None));
    assert_eq!((first.podless, first.server_away), (Some(7), true));
    let mut with_a_stranger = measured(at(0), 1, 0);
    with_a_stranger.sums.strangers = true;
    let with_a_stranger = read(&told(&mut Conversation::new("b".into()), &with_a_stranger));
    assert!(!with_a_stranger.server_away, "the kubelet hears of it");
    assert!(
        first
            .health
            .is_some_and(|health| !health.version.is_empty())
    );
    let next = talk.replied(&reply(Fate::Unstamped, "7-1", 5000), at(100));
    assert_eq!(
        next.wait,
        Duration::ZERO,
        "the first stamp may be used at once"
    );

    let second = read(&told(&mut talk, &measured(at(350), 1, 0)));
    let sampled = second.sampled.expect("a stamp");
    assert_eq!(
        (second.sequence, &*sampled.stamp.0, sampled.after_ms),
        (2, "7-1", 250)
    );
    let next = talk.replied(&reply(Fate::Taken, "7-2", 8000), at(400));
    assert_eq!((next.wait, next.anew), (ms(7500), false));

    let early = read(&told(&mut talk, &measured(at(399), 1, 0)));
    assert_eq!(early.sampled, None, "older than the reply");
}

#[test]
fn who_has_no_luck_with_stamps_does_not_hurry_for_ever() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    let waits = [
        Fate::Unstamped,
        Fate::Unstamped,
        Fate::Late,
        Fate::Late,
        Fate::Taken,
    ]
    .map(|fate| talk.replied(&reply(fate, "1-1", 5000), now).wait);
    assert_eq!(waits, [ms(0), ms(4500), ms(0), ms(4500), ms(4500)]);
}

#[test]
fn a_report_without_a_reply_is_sent_again_as_it_is_while_it_is_of_now() {
    let start = Instant::now();
    let mut talk = Conversation::new("b".into());
    assert_eq!(talk.open(start), None);
    let report = told(&mut talk, &measured(start, 1, 0));
    talk.failed(&ExchangeError::TooLarge, 0.5);
    assert_eq!(talk.open(start + ms(4999)), Some(report));
    assert_eq!(talk.open(start + ms(5000)), None);
    let newer = read(&told(&mut talk, &measured(start + ms(5000), 1, 0)));
    assert_eq!(newer.sequence, 2);
    talk.replied(&reply(Fate::Taken, "1-1", 5000), start + ms(5000));
    assert_eq!(talk.open(start + ms(5000)), None);
}

#[test]
fn no_service_makes_an_agent_busy_or_silent() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    for (asked, kept) in [
        (0, 1000),
        (5000, 5000),
        (60_000, 60_000),
        (u64::MAX, 120_000),
    ] {
        let next = talk.replied(&reply(Fate::Taken, "1-1", asked), now);
        assert_eq!(next.wait, ms(kept - 500), "a look takes up to a second");
        assert_eq!(talk.interval(), ms(kept));
    }
}

#[test]
fn failures_are_followed_by_longer_and_longer_pauses() {
    let mut talk = Conversation::new("b".into());
    let pauses: Vec<u64> = (0..7)
        .map(|_| {
            let next = talk.failed(&ExchangeError::TooLarge, 1.0);
            assert!(next.anew);
            next.wait.as_secs()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    let shortest = talk.failed(&ExchangeError::TooLarge, 0.0).wait;
    assert_eq!(shortest, ms(22_500), "not all at once");
    talk.replied(&reply(Fate::Taken, "1-1", 5000), Instant::now());
    assert_eq!(talk.failed(&ExchangeError::TooLarge, 1.0).wait, ms(1000));
    assert!(
        !talk.failed(&ExchangeError::NoSample, 1.0).anew,
        "it is not the service's fault"
    );
}

#[test]
fn every_reason_has_its_consequence() {
    let after = |reason, retry_after: Option<u64>| {
        let mut talk = Conversation::new("b".into());
        told(&mut talk, &measured(Instant::now(), 1, 0));
        let error = ExchangeError::Refused {
            reason,
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        let next = talk.failed(&error, 0.0);
        assert_eq!(
            talk.open(Instant::now()),
            None,
            "it is not worth sending again"
        );
        (next.wait.as_millis(), next.anew)
    };
    for (reason, retry_after, wait, anew) in [
        (Reason::Token, None, 750, false),
        (Reason::Account, None, 60_000, false),
        (Reason::Version, None, 300_000, false),
        (Reason::Syntax, None, 60_000, false),
        (Reason::Value, None, 60_000, false),
        (Reason::Size, None, 750, false),
        (Reason::Slow, None, 750, true),
        (Reason::Rate, Some(7), 7000, false),
        (Reason::Rate, None, 750, false),
        (Reason::Busy, Some(0), 1000, false),
        (Reason::Busy, Some(u64::MAX), 300_000, false),
        (Reason::Standby, None, 750, true),
        (Reason::Other, None, 750, false),
    ] {
        assert_eq!(after(reason, retry_after), (wait, anew), "{reason:?}");
    }
}

#[test]
fn reports_come_soon_for_a_while_where_pods_have_come() {
    let start = Instant::now();
    let mut talk = Conversation::new("b".into());
    let total = |counted| Total {
        kind: Kind::Deployment,
        uid: Uid::from_bytes([1; 16]),
        pods: 3,
        counted,
        cpus: 1,
        memory: 1,
        valid_ms: 15_000,
        values: Values::default(),
    };
    let wait = |talk: &mut Conversation, seconds: u64, totals: Vec<Total>| {
        let reply = Reply {
            totals,
            ..reply(Fate::Taken, "1-1", 5000)
        };
        talk.replied(&reply, start + ms(1000 * seconds)).wait
    };
    told(&mut talk, &measured(start, 1, 0));
    assert_eq!(wait(&mut talk, 0, Vec::new()), ms(4500));
    assert_eq!(wait(&mut talk, 5, vec![total(2)]), ms(4500), "as it was");
    told(&mut talk, &measured(start, 2, 0));
    assert_eq!(
        wait(&mut talk, 10, vec![total(3)]),
        ms(2500),
        "one is missing"
    );
    assert_eq!(wait(&mut talk, 12, vec![total(3), total(2)]), ms(2500));
    assert_eq!(wait(&mut talk, 15, vec![total(3), total(3)]), ms(4500));
    assert_eq!(
        wait(&mut talk, 20, vec![total(3), total(2)]),
        ms(4500),
        "not here"
    );
    // Others come, and it is not over yet when the next do.
    told(&mut talk, &measured(start, 3, 0));
    assert_eq!(wait(&mut talk, 24, vec![total(2); 3]), ms(2500));
    assert_eq!(
        wait(&mut talk, 25, vec![total(2); 3]),
        ms(4500),
        "for too long"
    );
    told(&mut talk, &measured(start, 2, 0));
    assert_eq!(
        wait(&mut talk, 84, vec![total(2); 2]),
        ms(4500),
        "too soon again"
    );
    told(&mut talk, &measured(start, 3, 0));
    assert_eq!(wait(&mut talk, 85, vec![total(2); 3]), ms(2500));
}

#[test]
fn what_is_too_large_has_only_what_matters_most() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    let few = read(&told(&mut talk, &measured(now, 10, 30)));
    assert_eq!(few.objects[0].values.len(), 32);
    let body = told(&mut talk, &measured(now, 1024, 30));
    assert!(body.len() <= MAX_BODY);
    let many = read(&body);
    assert_eq!(many.objects.len(), 1024);
    assert!(many.objects.iter().all(|object| object.values.len() == 1));

    let refused = ExchangeError::Refused {
        reason: Reason::Size,
        message: String::new(),
        retry_after: None,
    };
    assert!(talk.failed(&refused, 0.0).wait < ms(1000));
    let few = read(&told(&mut talk, &measured(now, 10, 30)));
    assert_eq!(few.objects[0].values.len(), 1, "the service said so");
    assert!(
        talk.failed(&refused, 0.0).wait >= ms(60_000),
        "nothing is left to leave out"
    );
}

#[test]
fn who_is_told_that_nobody_looks_waits_until_somebody_does() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    assert_eq!(
        read(&told(&mut talk, &measured(now, 1, 0))).watched,
        Some(false)
    );
    let next = talk.replied(&reply(Fate::Taken, "1-1", 4000), now);
    assert_eq!((next.wait, next.until_asked), (ms(3500), false));
    let rest = Reply {
        resting: true,
        ..reply(Fate::Taken, "1-2", 15_000)
    };
    // A pod has gone since, which nobody sees: there is no hurry.
    told(&mut talk, &measured(now, 0, 0));
    let next = talk.replied(&rest, now);
    assert_eq!((next.wait, next.until_asked), (ms(14_500), true));
    let next = talk.failed(&ExchangeError::TooLarge, 1.0);
    assert!(!next.until_asked, "whoever asks does not mend the service");
    told(&mut talk, &measured(now, 0, 0));
    let next = talk.replied(&reply(Fate::Taken, "1-3", 4000), now);
    assert_eq!(next.wait, ms(3500), "what went meanwhile is no haste now");
}

#[test]
fn what_people_begin_to_ask_is_answered_soon() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    let mut wait = |ids: &[u64]| {
        let mut reply = reply(Fate::Taken, "1-1", 10_000);
        let question = |id: &u64| scope_totals_wire::Question {
            id: *id,
            of: scope_totals_wire::Asked::Node,
            metric: "cpu_millicores".into(),
            namespace: None,
            most: 10,
        };
        reply.top = ids.iter().map(question).collect();
        talk.replied(&reply, now).wait
    };
    let waits = [&[][..], &[7], &[7], &[7, 8], &[8], &[], &[7]].map(&mut wait);
    let (soon, later) = (ms(5000), ms(9500));
    assert_eq!(waits, [later, soon, later, soon, later, later, soon]);
}

#[test]
fn answers_go_with_their_sample_and_are_the_first_to_go_without_room() {
    let now = Instant::now();
    let mut talk = Conversation::new("b".into());
    let found = vec![scope_totals_wire::Found {
        id: 3,
        pods: Vec::new(),
        node: Some(1.5),
    }];
    let mut measured = measured(now, 1, 0);
    assert!(!String::from_utf8_lossy(&told(&mut talk, &measured)).contains("top"));
    measured.found.clone_from(&found);
    assert_eq!(read(&told(&mut talk, &measured)).top, found);
    let large = ExchangeError::Refused {
        reason: Reason::Size,
        message: String::new(),
        retry_after: None,
    };
    talk.failed(&large, 0.5);
    let lean = read(&told(&mut talk, &measured));
    assert_eq!((lean.top, lean.objects.len()), (Vec::new(), 1));
}
