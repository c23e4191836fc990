//! What was counted in an interval.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::HttpRates;
use super::codes::{Class, Codes, MAX_CODES_OF_NODE, is_final};
use crate::bpf::http::HttpWhat;

/// The counters of one process, ascending by what they count.
pub(super) type Counts = Vec<(HttpWhat, u64)>;

/// What was counted in an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) requests: u64,
    pub(super) http2: u64,
    /// By status code; none with 0.
    pub(super) responses: BTreeMap<u16, u64>,
}

/// What a process, container or pod was ever seen to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Ever {
    /// Whether it spoke HTTP/1.
    http1: bool,
    /// The classes of its responses.
    classes: BTreeSet<Class>,
}

impl Ever {
    /// It did this too.
    pub(super) fn note(&mut self, growth: &Growth) {
        self.http1 |= growth.events() > 0;
        self.classes.extend(growth.classes());
    }
}

impl Growth {
    /// Between two readings of a process. A counter that is new counts from 0, and one that stepped
    /// back began anew.
    pub(super) fn between(before: &[(HttpWhat, u64)], now: &[(HttpWhat, u64)]) -> Growth {
        let mut growth = Growth {
            requests: since(requests(before), requests(now)),
            ..Growth::default()
        };
        for &(what, count) in now {
            let known = before.binary_search_by_key(&what, |&(what, _)| what);
            let known = known.map_or(0, |index| before[index].1);
            let grown = since(known, count);
            match what {
                HttpWhat::Request => {}
                HttpWhat::Response(_) if grown == 0 => {}
                HttpWhat::Response(code) => {
                    growth.responses.insert(code, grown);
                }
                HttpWhat::Http2Connection => growth.http2 = grown,
            }
        }
        growth
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Growth::default()
    }

    /// How much is in it.
    pub(super) fn events(&self) -> u64 {
        let responses = self.responses.values().copied();
        responses.fold(self.requests, u64::saturating_add)
    }

    pub(super) fn add(&mut self, other: &Growth) {
        self.requests = self.requests.saturating_add(other.requests);
        self.http2 = self.http2.saturating_add(other.http2);
        for (&code, &count) in &other.responses {
            let sum = self.responses.entry(code).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Its classes.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.responses.keys().copied().filter_map(Class::of)
    }

    /// Per second, of what it ever had.
    pub(super) fn rates(&self, elapsed: Duration, codes: &Codes, ever: &Ever) -> HttpRates {
        let per_second = |count: u64| count as f64 / elapsed.as_secs_f64();
        let sum = |wanted: &dyn Fn(u16) -> bool| -> u64 {
            let of = self.responses.iter().filter(|(code, _)| wanted(**code));
            of.fold(0, |sum, (_, count)| sum.saturating_add(*count))
        };
        let of_class = |class: Class| sum(&|code| Class::of(code) == Some(class));
        let mut told: Vec<(u16, u64)> = self
            .responses
            .iter()
            .map(|(&code, &count)| (code, count))
            .filter(|(code, _)| codes.told().contains(code))
            .collect();
        told.sort_by_key(|&(code, count)| (Reverse(count), code));
        told.truncate(MAX_CODES_OF_NODE);
        told.sort_unstable();
        let in_codes: u64 = told.iter().map(|&(_, count)| count).sum();
        let finals = sum(&is_final);
        HttpRates {
            requests: ever.http1.then(|| per_second(self.requests)),
            classes: Class::ALL.map(|class| {
                ever.classes
                    .contains(&class)
                    .then(|| per_second(of_class(class)))
            }),
            codes: told
                .into_iter()
                .map(|(code, count)| (code, per_second(count)))
                .collect(),
            others: per_second(sum(&|_| true).saturating_sub(in_codes)),
            errors: (finals > 0)
                .then(|| of_class(Class::ServerError) as f64 / finals as f64 * 100.0),
            http2: per_second(self.http2),
        }
    }
}

/// Requests so far: those seen, or the final responses if these are more. That makes up for what is
/// not seen of requests: several in one read, a method that is cut, reads of a few bytes.
fn requests(counts: &[(HttpWhat, u64)]) -> u64 {
    let (mut seen, mut finals) = (0, 0u64);
    for &(what, count) in counts {
        match what {
            HttpWhat::Request => seen = count,
            HttpWhat::Response(code) if is_final(code) => finals = finals.saturating_add(count),
            HttpWhat::Response(_) | HttpWhat::Http2Connection => {}
        }
    }
    finals.max(seen)
}

fn since(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}
