//! The finished report, as one immutable buffer, and who asks for it.
//!
//! This is all that the sampler's thread and the sockets share: an atomic pointer and two atomic
//! numbers. Neither side ever waits for the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

/// Nobody asking for this long means that nobody looks: the slow cadence begins. Ten of Scope's
/// default intervals.
pub const ASKED_LATELY: Duration = Duration::from_secs(10);

/// What a request for a report gets.
#[derive(Debug)]
pub struct Publication {
    current: ArcSwap<Published>,
}

/// A report as it goes out.
#[derive(Debug, Clone)]
pub struct Published {
    /// The whole body.
    pub body: Bytes,
    /// How many were published before; 0 is the one that was there before the first sample.
    pub sequence: u64,
}

impl Publication {
    /// Begins with what is to be said before the first sample exists.
    pub fn new(first: impl Into<Bytes>) -> Self {
        Publication {
            current: ArcSwap::from_pointee(Published {
                body: first.into(),
                sequence: 0,
            }),
        }
    }

    /// The newest report.
    pub fn get(&self) -> Published {
        Published::clone(&self.current.load())
    }

    /// Replaces it. Only the sampler's thread does.
    pub(super) fn publish(&self, body: Bytes) {
        let sequence = self.current.load().sequence + 1;
        self.current
            .store(std::sync::Arc::new(Published { body, sequence }));
    }
}

/// Whether reports are asked for, which decides how often the node is looked at.
#[derive(Debug)]
pub struct Demand {
    epoch: Instant,
    /// Milliseconds after `epoch` of the last request.
    last: AtomicU64,
    /// The sampler sleeps at its slow cadence and wants to be woken.
    slow: AtomicBool,
    /// See [`Demand::is_steady`].
    steady: AtomicBool,
    sampler: OnceLock<Thread>,
    askers: Mutex<Askers>,
}

/// Used by requests and metrics only, never by the sampler.
#[derive(Debug, Default)]
struct Askers {
    /// The latest last.
    probes: VecDeque<Probe>,
    /// When somebody asked who is no probe.
    others: Option<Instant>,
}

/// A probe that asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The `probe_id` it gave: a number in hex, chosen anew at each start of a probe.
    pub id: String,
    /// When it last asked.
    pub last: Instant,
    /// The report it got.
    sequence: u64,
    /// How often it asked.
    requests: u64,
    /// Reports it did not ask for, older ones counting less and less.
    missed: f64,
}

impl Probe {
    /// Whether it gets nearly every report: of the last few requests, not two came late. Two clocks
    /// of one second each miss one another now and then.
    fn is_steady(&self) -> bool {
        self.requests >= 5 && self.missed < 1.5
    }
}

/// Probes remembered. A node has one or two; each restart brings a new ID, and older ones are of no
/// interest.
const MAX_PROBES: usize = 8;

impl Demand {
    /// A start counts as a request: the first report is soon asked for.
    pub fn new() -> Self {
        Demand {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            steady: AtomicBool::new(false),
            sampler: OnceLock::new(),
            askers: Mutex::default(),
        }
    }

    /// Somebody asks, as a probe when it says so, and gets the report with this number. Whether that
    /// probe is new.
    pub fn asked(&self, probe_id: Option<&str>, sequence: u64) -> bool {
        let now = Instant::now();
        self.last
            .store((now - self.epoch).as_millis() as u64, Ordering::SeqCst);
        // The sampler sets `slow` before it looks at `last`: either it sees this request, or this
        // request sees that it sleeps.
        if self.slow.load(Ordering::SeqCst)
            && let Some(thread) = self.sampler.get()
        {
            thread.unpark();
        }
        let mut askers = self.askers();
        let new = match probe_id.filter(|id| is_probe_id(id)) {
            Some(id) => askers.remember(id, now, sequence),
            None => {
                askers.others = Some(now);
                false
            }
        };
        self.steady.store(askers.are_steady(now), Ordering::Relaxed);
        new
    }

    fn askers(&self) -> std::sync::MutexGuard<'_, Askers> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago somebody asked, or the agent started.
    pub fn idle_for(&self) -> Duration {
        let last = self.epoch + Duration::from_millis(self.last.load(Ordering::SeqCst));
        last.elapsed()
    }

    /// The probes that asked within this time, the latest first.
    pub fn probes_within(&self, time: Duration) -> Vec<Probe> {
        let askers = self.askers();
        askers
            .probes
            .iter()
            .rev()
            .filter(|p| p.last.elapsed() <= time)
            .cloned()
            .collect()
    }

    /// Whether all who asked lately are probes that ask for nearly every report.
    pub fn is_steady(&self) -> bool {
        self.steady.load(Ordering::Relaxed)
    }

    /// To be called by the sampler's thread once, before anything else.
    pub(super) fn attach_sampler(&self) {
        let _ = self.sampler.set(std::thread::current());
    }

    /// Says whether requests have to wake the sampler from now on.
    pub(super) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::SeqCst);
    }
}

impl Askers {
    /// Whether the probe is new.
    fn remember(&mut self, id: &str, now: Instant, sequence: u64) -> bool {
        let known = self.probes.iter().position(|p| p.id == id);
        let new = known.is_none();
        let mut probe = known
            .and_then(|at| self.probes.remove(at))
            .unwrap_or_else(|| Probe {
                id: id.to_owned(),
                last: now,
                sequence,
                requests: 0,
                missed: 0.0,
            });
        let missed = sequence.saturating_sub(probe.sequence).saturating_sub(1);
        probe.missed = probe.missed * 0.8 + missed as f64;
        probe.requests += 1;
        probe.sequence = sequence;
        probe.last = now;
        if self.probes.len() == MAX_PROBES {
            self.probes.pop_front();
        }
        self.probes.push_back(probe);
        new
    }

    fn are_steady(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) <= ASKED_LATELY;
        !self.others.is_some_and(lately)
            && self
                .probes
                .iter()
                .filter(|p| lately(p.last))
                .all(Probe::is_steady)
    }
}

impl Default for Demand {
    fn default() -> Self {
        Demand::new()
    }
}

/// Whether it looks like what Scope's probe sends: a 63-bit number in hex. Others are not
/// remembered, so that nobody fills a list with invented names.
pub fn is_probe_id(id: &str) -> bool {
    (1..=16).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_probes_only() {
        let demand = Demand::new();
        for i in 0..20 {
            assert!(demand.asked(Some(&format!("{i:x}")), 0));
        }
        assert!(!demand.asked(Some("f"), 0));
        for bad in ["", "5bdcc0beddf3c1400", "xyz", "a b", "../x"] {
            assert!(!demand.asked(Some(bad), 0));
        }
        let ids: Vec<_> = demand
            .probes_within(Duration::from_secs(60))
            .into_iter()
            .map(|p| p.id)
            .collect();
        assert_eq!(ids, ["f", "13", "12", "11", "10", "e", "d", "c"]);
    }

    /// Whether demand is steady after these reports went to these probes.
    fn steady(requests: impl IntoIterator<Item = (Option<&'static str>, u64)>) -> bool {
        let demand = Demand::new();
        for (probe, sequence) in requests {
            demand.asked(probe, sequence);
        }
        demand.is_steady()
    }

    #[test]
    fn demand_is_steady_when_every_probe_gets_nearly_every_report() {
        let every = |id, step: usize| (0..60).step_by(step).map(move |n| (Some(id), n));
        assert!(steady(every("a", 1)));
        assert!(steady(every("a", 1).chain(every("b", 1))));
        assert!(
            steady((0..60).flat_map(|n| [(Some("a"), n), (Some("a"), n)])),
            "twice each"
        );
        assert!(
            steady((0..60).filter(|n| n % 20 != 7).map(|n| (Some("a"), n))),
            "one in 20 missed"
        );
        assert!(!steady(every("a", 2)), "a probe that asks at half the pace");
        assert!(!steady(every("a", 1).chain(every("b", 5))));
        assert!(!steady((0..4).map(|n| (Some("a"), n))), "too new to tell");
        assert!(
            !steady(every("a", 1).chain([(None, 60)])),
            "somebody else looks"
        );
        assert!(!steady(every("a", 1).chain([(Some("no probe"), 60)])));
        let paused = every("a", 1).chain([(Some("a"), 200)]);
        assert!(!steady(paused.clone()), "after a pause");
        assert!(
            steady(paused.chain((201..230).map(|n| (Some("a"), n)))),
            "and in step again"
        );
    }
}
