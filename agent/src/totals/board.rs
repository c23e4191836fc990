//! Where the sampler's thread and the exchange meet: what was measured here, and what came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use scope_protocol::Timestamp;
use scope_totals_wire::{Controller, Found, Members, Metric, Object, Question, Reply, Total};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::ExchangeError;
use super::podless::PodlessList;
use super::services::ServiceList;
use super::standing::Standing;
use super::sums::Sums;
use super::top::Questions;
use crate::http_rates::{Class, HttpSeen};

/// Status codes that have a template on controllers because a total has them, each of which costs 100
/// bytes for each kind of controller: all that IANA has in its registry.
const MAX_CODES: usize = 64;

/// What was measured on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// When the sample was begun, at the earliest.
    pub taken: Instant,
    /// By controller, Service and image.
    pub sums: Sums,
    /// Answers to what people ask.
    pub found: Vec<Found>,
}

/// What is known of controllers and Services in the whole cluster, at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    held: Arc<Held>,
    podless: Option<Arc<PodlessList>>,
    services: Option<Arc<ServiceList>>,
    now: Instant,
    /// What a person is told when there are no totals, as a sentence.
    pub said: Option<String>,
}

/// The totals that came with one reply.
#[derive(Debug, Default, PartialEq)]
struct Held {
    /// When they were added up, by the service's clock; the same on all nodes.
    at: Option<Timestamp>,
    /// By controller, Service or image, and until when each may be shown.
    totals: BTreeMap<Object, (Total, Instant)>,
    /// What of HTTP has been in any total so far.
    seen: HttpSeen,
}

impl Totals {
    /// The date of all of them: it is the service's, and the same on all nodes, so that the samples of
    /// all probes are one. `None` before there were any.
    pub fn at(&self) -> Option<Timestamp> {
        self.held.at
    }

    /// The total of a controller, Service or image, if there is one and it may still be shown.
    pub fn get(&self, object: Object) -> Option<&Total> {
        let (total, until) = self.held.totals.get(&object)?;
        (self.now < *until).then_some(total)
    }

    /// The controllers without pods that this agent is to draw at present.
    pub fn podless(&self) -> &[Controller] {
        self.podless.as_ref().map_or(&[], |list| list.controllers())
    }

    /// The Services of this node's pods, as far as they are known at present.
    pub fn services(&self) -> &[Members] {
        self.services.as_ref().map_or(&[], |list| list.services())
    }

    /// What of HTTP has been in any total since the start. It only grows, as templates should.
    pub fn seen(&self) -> &HttpSeen {
        &self.held.seen
    }
}

/// Where the sampler's thread and the exchange meet. Neither waits for the other.
#[derive(Debug)]
pub struct TotalsBoard {
    measured: watch::Sender<Option<Arc<Measured>>>,
    held: ArcSwap<Held>,
    podless: ArcSwapOption<PodlessList>,
    services: ArcSwapOption<ServiceList>,
    questions: ArcSwap<Questions>,
    standing: Mutex<Standing>,
}

impl TotalsBoard {
    /// With nothing on it.
    pub fn new() -> Self {
        TotalsBoard {
            measured: watch::Sender::new(None),
            held: ArcSwap::default(),
            podless: ArcSwapOption::empty(),
            services: ArcSwapOption::empty(),
            questions: ArcSwap::default(),
            standing: Mutex::new(Standing::new(Instant::now(), wall())),
        }
    }

    /// Tells what was measured. Only the sampler's thread does.
    pub fn tell(&self, measured: Measured) {
        self.lock().left_out = measured.sums.left_out;
        self.measured.send_replace(Some(Arc::new(measured)));
    }

    /// Hears of it.
    pub(super) fn measured(&self) -> watch::Receiver<Option<Arc<Measured>>> {
        self.measured.subscribe()
    }

    /// Takes a reply that came at this time, and how soon the next one is due. While the service is not warm
    /// it has no totals, and the last ones stay for as long as they may. Whether it is news that one comes.
    pub fn replied(&self, reply: Reply, interval: Duration, now: Instant) -> bool {
        let news = self.lock().replied(reply.fate, interval, now, wall());
        let questions = Questions::heard(reply.top, interval, now);
        // Nearly always nobody asks.
        if **self.questions.load() != questions {
            self.questions.store(Arc::new(questions));
        }
        let podless = self.podless.load();
        let podless = PodlessList::heard(podless.as_deref(), reply.podless, MAX_VALID, now);
        self.podless.store(podless.map(Arc::new));
        let services = self.services.load();
        let services = ServiceList::heard(services.as_deref(), reply.services, MAX_VALID, now);
        self.services.store(services.map(Arc::new));
        if reply.warming.is_some() {
            return news;
        }
        let mut seen = self.held.load().seen.clone();
        let totals = reply.totals.into_iter().filter_map(|total| {
            let valid = Duration::from_millis(total.valid_ms).min(MAX_VALID);
            is_possible(&total).then(|| {
                see(&mut seen, &total);
                (total.object(), (total, now + valid))
            })
        });
        let totals: BTreeMap<_, _> = totals.collect();
        self.held.store(Arc::new(Held {
            at: reply
                .at_ms
                .checked_mul(1000)
                .map(Timestamp::from_unix_micros),
            totals,
            seen,
        }));
        news
    }

    /// What people ask of this node at this time.
    pub fn questions(&self, now: Instant) -> Arc<[Question]> {
        self.questions.load().at(now)
    }

    /// Notes that no reply came. Whether that is news.
    pub(super) fn failed(&self, error: &ExchangeError) -> bool {
        self.lock().failed(error)
    }

    /// Notes whether there is a connection.
    pub(super) fn connected(&self, connected: bool) {
        self.lock().connected = connected;
    }

    /// What is known at this time.
    pub fn totals(&self, now: Instant) -> Totals {
        Totals {
            held: self.held.load_full(),
            podless: self.podless(now),
            services: self.services(now),
            now,
            said: self.lock().said(now),
        }
    }

    /// How it goes.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// How many totals may be shown at this time.
    pub fn shown(&self, now: Instant) -> usize {
        let held = self.held.load();
        held.totals
            .values()
            .filter(|(_, until)| now < *until)
            .count()
    }

    /// The list of controllers without pods, if there is one that may still be shown.
    pub(super) fn podless(&self, now: Instant) -> Option<Arc<PodlessList>> {
        self.podless.load_full().filter(|list| list.is_valid(now))
    }

    /// How many controllers without pods this agent is to draw at this time.
    pub fn drawn(&self, now: Instant) -> usize {
        self.podless(now).map_or(0, |list| list.controllers().len())
    }

    /// The list of the Services of this node's pods, if there is one that may still be used.
    pub(super) fn services(&self, now: Instant) -> Option<Arc<ServiceList>> {
        self.services.load_full().filter(|list| list.is_valid(now))
    }

    /// How many Services have pods on this node, as far as that is known at this time.
    pub fn known_services(&self, now: Instant) -> usize {
        self.services(now).map_or(0, |list| list.services().len())
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TotalsBoard {
    fn default() -> Self {
        TotalsBoard::new()
    }
}

/// Three of the longest intervals: whatever a reply says, what is older says nothing of now.
const MAX_VALID: Duration = Duration::from_secs(180);

fn wall() -> Timestamp {
    SystemTime::now().into()
}

/// Whether it can be shown at all: of some node, and numbers.
fn is_possible(total: &Total) -> bool {
    let is_number = |(_, value): (Metric, f64)| value.is_finite() && value >= 0.0;
    total.cpus > 0 && total.counted > 0 && total.values.iter().all(is_number)
}

fn see(seen: &mut HttpSeen, total: &Total) {
    for (metric, _) in total.values.iter() {
        match metric {
            Metric::HttpRequests => seen.requests = true,
            Metric::HttpOthers => seen.others = true,
            Metric::Http2Connections => seen.http2 = true,
            Metric::HttpClass(digit) => {
                seen.classes.extend(Class::of(u16::from(digit) * 100));
            }
            Metric::HttpCode(code) => admit(&mut seen.codes, code),
            _ => {}
        }
    }
}

fn admit(codes: &mut BTreeSet<u16>, code: u16) {
    if codes.len() < MAX_CODES {
        codes.insert(code);
    }
}

#[cfg(test)]
mod tests {
    use scope_totals_wire::{Fate, Kind, Stamp, Uid, VERSION, Values, Warming};

    use super::*;

    fn total(number: u8, valid_ms: u64) -> Total {
        Total {
            kind: Kind::Deployment,
            uid: Uid::from_bytes([number; 16]),
            pods: 2,
            counted: 2,
            cpus: 8,
            memory: 1 << 34,
            valid_ms,
            values: [(Metric::Millicores, 100.0)].into_iter().collect(),
        }
    }

    fn reply(totals: Vec<Total>) -> Reply {
        Reply {
            version: VERSION,
            fate: Fate::Taken,
            stamp: Stamp("1-1".into()),
            interval_ms: 5000,
            resting: false,
            warming: None,
            at_ms: 1_795_397_680_764,
            totals,
            podless: None,
            services: None,
            top: Vec::new(),
        }
    }

    fn put(board: &TotalsBoard, reply: Reply, now: Instant) {
        board.replied(reply, Duration::from_secs(5), now);
    }

    #[test]
    fn a_total_is_shown_for_as_long_as_it_may() {
        let board = TotalsBoard::new();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(board.totals(start).at(), None);
        put(
            &board,
            reply(vec![total(1, 9000), total(2, 500), total(3, u64::MAX)]),
            start,
        );
        let shown = |ms| {
            let totals = board.totals(after(ms));
            let has = [1, 2, 3].map(|number| totals.get(total(number, 0).object()).is_some());
            assert_eq!(
                board.shown(after(ms)),
                has.iter().filter(|has| **has).count()
            );
            has
        };
        assert_eq!(shown(499), [true, true, true]);
        assert_eq!(shown(500), [true, false, true]);
        assert_eq!(shown(9000), [false, false, true]);
        assert_eq!(shown(180_000), [false, false, false]);
        let at = board.totals(start).at().map(Timestamp::unix_micros);
        assert_eq!(at, Some(1_795_397_680_764_000));

        put(&board, reply(vec![total(2, 9000)]), start);
        assert_eq!(shown(0), [false, true, false], "what is left out is absent");
        let warming = Reply {
            warming: Some(Warming {
                heard: 1,
                nodes: 2,
                left_ms: 1000,
            }),
            ..reply(Vec::new())
        };
        put(&board, warming, start);
        assert_eq!(
            shown(0),
            [false, true, false],
            "another replica begins to lead"
        );
    }

    #[test]
    fn what_is_asked_is_what_the_last_reply_says() {
        let board = TotalsBoard::new();
        let now = Instant::now();
        let question = Question {
            id: 1,
            of: scope_totals_wire::Asked::Node,
            metric: "rss".into(),
            namespace: None,
            most: 10,
        };
        let asking = Reply {
            top: vec![question.clone()],
            ..reply(Vec::new())
        };
        assert!(board.questions(now).is_empty());
        put(&board, asking, now);
        assert_eq!(*board.questions(now), [question]);
        put(&board, reply(Vec::new()), now);
        assert!(board.questions(now).is_empty());
    }

    #[test]
    fn what_cannot_be_is_not_shown() {
        let board = TotalsBoard::new();
        let now = Instant::now();
        let with = |value| Total {
            values: [(Metric::Rss, value)].into_iter().collect(),
            ..total(1, 9000)
        };
        let none = Total {
            cpus: 0,
            ..with(1.0)
        };
        let uncounted = Total {
            counted: 0,
            ..with(1.0)
        };
        for total in [
            with(-1.0),
            with(f64::INFINITY),
            with(f64::NAN),
            none,
            uncounted,
        ] {
            put(&board, reply(vec![total]), now);
            assert_eq!(board.shown(now), 0);
        }
        put(&board, reply(vec![with(0.0)]), now);
        assert_eq!(board.shown(now), 1);
        let odd = Reply {
            at_ms: i64::MAX,
            ..reply(vec![with(0.0)])
        };
        put(&board, odd, now);
        assert_eq!(board.totals(now).at(), None);
    }

    #[test]
    fn what_was_seen_of_http_stays_and_has_a_bound() {
        let board = TotalsBoard::new();
        let now = Instant::now();
        for from in [100, 150, 200] {
            let codes = (from..from + 50).map(|code| (Metric::HttpCode(code), 1.0));
            let values: Values = codes.chain([(Metric::HttpClass(5), 1.0)]).collect();
            let total = Total {
                values,
                ..total(1, 1)
            };
            put(&board, reply(vec![total]), now);
        }
        put(&board, reply(Vec::new()), now);
        let totals = board.totals(now);
        assert_eq!(totals.seen().codes.len(), MAX_CODES);
        assert!(totals.seen().classes.contains(&Class::ServerError));
        assert!(!totals.seen().requests);
    }
}
