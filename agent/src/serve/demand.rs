//! Who asks for reports, and how often: what decides how often the node is looked at, and which parts
//! of a large report may take turns.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

/// Nobody asking for this long means that nobody looks: the slow cadence begins. Ten of Scope's
/// default intervals.
pub const ASKED_LATELY: Duration = Duration::from_secs(10);

/// A probe that has not asked for this long gets no copy of its own any more: it was restarted, with
/// a new ID. Longer than the slow cadence, so that a pause costs nobody its buttons.
const COPIES_FOR: Duration = Duration::from_secs(60);

/// Whether reports are asked for, which decides how often the node is looked at.
#[derive(Debug)]
pub struct Demand {
    epoch: Instant,
    /// Milliseconds after `epoch` of the last request.
    last: AtomicU64,
    /// The sampler sleeps at its slow cadence and wants to be woken.
    slow: AtomicBool,
    /// Somebody besides the probes waits for a look at the node.
    look: AtomicBool,
    /// See [`Demand::pace`]; in milliseconds, [`NO_PACE`] for none.
    pace: AtomicU64,
    /// See [`Demand::seen_by_all`].
    seen: AtomicU64,
    /// See [`Demand::odd_ids`].
    odd_ids: AtomicU64,
    /// The probes in `askers`, for the sampler. Replaced when one comes that was not there.
    known: ArcSwap<Vec<Known>>,
    sampler: OnceLock<Thread>,
    /// Somebody asks after a time in which nobody did, or who has not asked before.
    again: Arc<Notify>,
    askers: Mutex<Askers>,
}

const NO_PACE: u64 = u64::MAX;

/// New probes that get a line in the log within [`LINES_PER`]: whoever can reach the socket can give any
/// number of IDs.
const LINES: usize = 10;
const LINES_PER: Duration = Duration::from_secs(60);

/// What the sampler sees of a probe.
#[derive(Debug, Clone)]
struct Known {
    id: Arc<str>,
    /// Milliseconds after [`Demand`]'s epoch of its last request.
    last: Arc<AtomicU64>,
}

/// Used by requests and metrics only, never by the sampler.
#[derive(Debug, Default)]
struct Askers {
    /// The latest last.
    probes: VecDeque<Probe>,
    /// When somebody asked who is no probe.
    others: Option<Instant>,
    /// When new probes got their lines in the log, at most [`LINES`].
    lines: VecDeque<Instant>,
}

/// A probe that asked.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The `probe_id` it gave: a number in hex, chosen anew at each start of a probe.
    pub id: Arc<str>,
    /// When it last asked.
    pub last: Instant,
    /// As milliseconds, for the sampler.
    shared: Arc<AtomicU64>,
    /// The report it got.
    sequence: u64,
    /// How often it asked.
    requests: u64,
    /// Seconds between its requests, older ones counting less and less.
    pace: f64,
}

/// Requests after which a probe's pace is known.
const PACE_KNOWN: u64 = 5;

/// A probe that has not asked for this long keeps nobody waiting: more than one and a half of the
/// longest interval at which Scope's manifests let it ask.
const KEEPS_WAITING: Duration = Duration::from_secs(3);

/// Probes remembered, and copies of the body. A node has one or two; each restart brings a new ID,
/// and the one that has not asked for longest makes room.
pub const MAX_PROBES: usize = 4;

impl Demand {
    /// A start counts as a request: the first report is soon asked for.
    pub fn new() -> Self {
        Demand {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            look: AtomicBool::new(false),
            pace: AtomicU64::new(NO_PACE),
            seen: AtomicU64::new(0),
            odd_ids: AtomicU64::new(0),
            known: ArcSwap::default(),
            sampler: OnceLock::new(),
            again: Arc::default(),
            askers: Mutex::default(),
        }
    }

    /// Somebody asks, as a probe when it says so, and gets the report with this number. Whether that
    /// probe is new.
    pub fn asked(&self, probe_id: Option<&str>, sequence: u64) -> bool {
        self.asked_at(probe_id, sequence, Instant::now())
    }

    /// The same at this time.
    pub fn asked_at(&self, probe_id: Option<&str>, sequence: u64, now: Instant) -> bool {
        // At 0 nobody has.
        let before = self.last.swap(self.millis(now).max(1), Ordering::SeqCst);
        // The sampler sets `slow` before it looks at `last`: either it sees this request, or this
        // request sees that it sleeps.
        if self.slow.load(Ordering::SeqCst)
            && let Some(thread) = self.sampler.get()
        {
            thread.unpark();
        }
        let mut askers = self.askers();
        let new = match probe_id.filter(|id| is_probe_id(id)) {
            Some(id) => askers.remember(id, now, self.millis(now), sequence),
            None => {
                if probe_id.is_some() {
                    self.odd_ids.fetch_add(1, Ordering::Relaxed);
                }
                askers.others = Some(now);
                false
            }
        };
        self.pace.store(askers.pace(now), Ordering::Relaxed);
        self.seen.store(askers.seen(now), Ordering::Relaxed);
        let idle = Duration::from_millis(self.millis(now).saturating_sub(before));
        if new || idle > ASKED_LATELY {
            self.again.notify_one();
        }
        if new {
            let known = askers.probes.iter().map(|probe| Known {
                id: probe.id.clone(),
                last: probe.shared.clone(),
            });
            self.known.store(Arc::new(known.collect()));
        }
        new
    }

    /// Is notified when somebody asks after a time in which nobody did.
    pub(super) fn again(&self) -> Arc<Notify> {
        Arc::clone(&self.again)
    }

    /// Whether somebody asked lately. A start counts, too.
    pub(super) fn is_asked(&self) -> bool {
        self.idle_for() <= ASKED_LATELY
    }

    /// Whether somebody asked lately. A start does not count.
    pub(super) fn is_watched(&self) -> bool {
        self.last.load(Ordering::SeqCst) > 0 && self.is_asked()
    }

    /// Wants one look at the node, soon, whoever else asks or not.
    pub fn want_look(&self) {
        self.look.store(true, Ordering::SeqCst);
        if let Some(thread) = self.sampler.get() {
            thread.unpark();
        }
    }

    /// Whether one is wanted.
    pub(super) fn is_look_wanted(&self) -> bool {
        self.look.load(Ordering::SeqCst)
    }

    /// Takes that on.
    pub(super) fn take_look(&self) -> bool {
        self.look.swap(false, Ordering::SeqCst)
    }

    /// Whether a new probe gets a line in the log. If so, it counts as written.
    pub(super) fn takes_line(&self) -> bool {
        self.takes_line_at(Instant::now())
    }

    fn takes_line_at(&self, now: Instant) -> bool {
        let lines = &mut self.askers().lines;
        if lines.len() >= LINES {
            let oldest = lines.front().copied().unwrap_or(now);
            if now.saturating_duration_since(oldest) < LINES_PER {
                return false;
            }
            lines.pop_front();
        }
        lines.push_back(now);
        true
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }

    fn askers(&self) -> std::sync::MutexGuard<'_, Askers> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago somebody asked, or the agent started.
    pub fn idle_for(&self) -> Duration {
        let last = self.epoch + Duration::from_millis(self.last.load(Ordering::SeqCst));
        last.elapsed()
    }

    /// How long ago a probe asked; `None` where none has since the start.
    pub fn probe_asked_ago(&self) -> Option<Duration> {
        let askers = self.askers();
        askers.probes.back().map(|probe| probe.last.elapsed())
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

    /// Time between two requests of the slowest of all who asked lately. `None` while one of them
    /// is no probe, or too new to tell.
    pub fn pace(&self) -> Option<Duration> {
        let pace = self.pace.load(Ordering::Relaxed);
        (pace != NO_PACE).then(|| Duration::from_millis(pace))
    }

    /// The newest report that every probe which is asking has got, or one after it.
    pub fn seen_by_all(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Requests whose `probe_id` was none that a probe gives. It would be written into the body.
    pub fn odd_ids(&self) -> u64 {
        self.odd_ids.load(Ordering::Relaxed)
    }

    /// IDs of the probes that want a copy with their own ID.
    pub(super) fn probes_for_copies(&self) -> Vec<Arc<str>> {
        self.probes_for_copies_at(Instant::now())
    }

    /// The same at this time.
    pub fn probes_for_copies_at(&self, now: Instant) -> Vec<Arc<str>> {
        let since = self
            .millis(now)
            .saturating_sub(COPIES_FOR.as_millis() as u64);
        let known = self.known.load();
        let lately = known
            .iter()
            .filter(|k| k.last.load(Ordering::Relaxed) >= since);
        lately.map(|known| known.id.clone()).collect()
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
    fn remember(&mut self, id: &str, now: Instant, millis: u64, sequence: u64) -> bool {
        let known = self.probes.iter().position(|p| *p.id == *id);
        let new = known.is_none();
        let mut probe = known
            .and_then(|at| self.probes.remove(at))
            .unwrap_or_else(|| Probe {
                id: id.into(),
                last: now,
                shared: Arc::default(),
                sequence,
                requests: 0,
                pace: 0.0,
            });
        let passed = now.saturating_duration_since(probe.last).as_secs_f64();
        probe.pace = match probe.requests {
            0 | 1 => passed,
            _ => 0.7 * probe.pace + 0.3 * passed,
        };
        probe.requests += 1;
        probe.sequence = sequence;
        probe.last = now;
        probe.shared.store(millis, Ordering::Relaxed);
        if self.probes.len() == MAX_PROBES {
            self.probes.pop_front();
        }
        self.probes.push_back(probe);
        new
    }

    /// See [`Demand::pace`].
    fn pace(&self, now: Instant) -> u64 {
        let lately = |at: Instant| now.saturating_duration_since(at) <= ASKED_LATELY;
        if self.others.is_some_and(lately) {
            return NO_PACE;
        }
        let asking = self.probes.iter().filter(|p| lately(p.last));
        asking.fold(0, |slowest, probe| match probe.requests < PACE_KNOWN {
            true => NO_PACE,
            false => slowest.max((probe.pace * 1000.0) as u64),
        })
    }

    /// See [`Demand::seen_by_all`].
    fn seen(&self, now: Instant) -> u64 {
        self.probes
            .iter()
            .filter(|p| now.saturating_duration_since(p.last) <= KEEPS_WAITING)
            .map(|p| p.sequence)
            .min()
            .unwrap_or_default()
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
    fn a_start_is_asked_for_and_not_watched() {
        let demand = Demand::new();
        assert!(demand.is_asked() && !demand.is_watched());
        demand.asked(None, 0);
        assert!(demand.is_watched());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_after_a_pause_or_anew_is_told_of() {
        let demand = Demand::new();
        let start = demand.epoch;
        let told = async |seconds, probe: Option<&str>| {
            demand.asked_at(probe, 0, start + Duration::from_secs(seconds));
            let again = demand.again();
            let told = tokio::time::timeout(Duration::from_secs(1), again.notified());
            told.await.is_ok()
        };
        assert!(told(1, Some("1a")).await, "it is new");
        assert!(!told(2, Some("1a")).await);
        assert!(!told(12, Some("1a")).await);
        assert!(told(23, None).await, "nobody did for more than ten seconds");
        assert!(!told(30, None).await);
        assert!(told(31, Some("2b")).await);
    }

    #[test]
    fn remembers_the_latest_probes_only() {
        let demand = Demand::new();
        demand.asked(None, 0);
        assert_eq!(demand.probe_asked_ago(), None, "a start is no request");
        for i in 0..20 {
            assert!(demand.asked(Some(&format!("{i:x}")), 0));
        }
        assert!(!demand.asked(Some("10"), 0));
        let odd = ["", "5bdcc0beddf3c1400", "xyz", "a b", "../x", "a\"b"];
        for bad in odd {
            assert!(!demand.asked(Some(bad), 0));
        }
        assert!(!demand.asked(None, 0));
        assert_eq!(demand.odd_ids(), odd.len() as u64);
        let minute = Duration::from_secs(60);
        assert!(demand.probe_asked_ago().is_some_and(|ago| ago < minute));
        let ids: Vec<_> = demand
            .probes_within(minute)
            .into_iter()
            .map(|p| p.id.to_string())
            .collect();
        assert_eq!(ids, ["10", "13", "12", "11"]);
        let mut copies = demand.probes_for_copies();
        copies.sort();
        assert_eq!(
            copies.iter().map(|id| &**id).collect::<Vec<_>>(),
            ["10", "11", "12", "13"]
        );
    }

    #[test]
    fn the_log_gets_few_lines_however_many_probes_are_new() {
        let demand = Demand::new();
        let lines = |from: u64, to: u64| {
            let at = |second| demand.epoch + Duration::from_secs(second);
            let seconds = (from..to).flat_map(|second| [second; 50]);
            seconds.filter(|&s| demand.takes_line_at(at(s))).count()
        };
        assert_eq!(lines(0, 60), LINES);
        assert_eq!(lines(60, 600), LINES * 9);
        assert!(demand.askers().lines.len() <= LINES);
    }

    /// The pace in milliseconds after these requests: who, when in milliseconds.
    fn pace(requests: impl IntoIterator<Item = (Option<&'static str>, u64)>) -> Option<u64> {
        let demand = Demand::new();
        let mut requests: Vec<_> = requests.into_iter().collect();
        requests.sort_by_key(|(_, at)| *at);
        for (probe, at) in requests {
            demand.asked_at(probe, 0, demand.epoch + Duration::from_millis(at));
        }
        demand.pace().map(|pace| pace.as_millis() as u64)
    }

    #[test]
    fn the_slowest_probe_sets_the_pace() {
        let every = |id, step: usize| (0..60_000).step_by(step).map(move |n| (Some(id), n));
        assert_eq!(pace(every("a", 1000)), Some(1000));
        assert_eq!(pace(every("a", 1000).chain(every("b", 2000))), Some(2000));
        assert!(
            pace(every("a", 1000).chain(every("a", 1001))) < Some(1000),
            "twice each"
        );
        assert_eq!(
            pace((0..4).map(|n| (Some("a"), n))),
            None,
            "too new to tell"
        );
        assert_eq!(
            pace(every("a", 1000).chain([(None, 59_500)])),
            None,
            "somebody else looks"
        );
        assert_eq!(
            pace(every("a", 1000).chain([(Some("no probe"), 59_500)])),
            None
        );
        let gone = (0..40_000).step_by(5000).map(|n| (Some("b"), n));
        assert_eq!(
            pace(every("a", 1000).chain(gone)),
            Some(1000),
            "it has gone"
        );
        let paused = every("a", 1000).chain([(Some("a"), 200_000)]);
        assert!(pace(paused.clone()) > Some(30_000), "after a pause");
        let again = (201..230).map(|n| (Some("a"), n * 1000));
        let again = pace(paused.chain(again)).expect("known");
        assert!((1000..1100).contains(&again), "and in step again: {again}");
    }

    #[test]
    fn what_all_have_seen_does_not_wait_for_who_has_gone() {
        let demand = Demand::new();
        let at = |seconds| demand.epoch + Duration::from_secs(seconds);
        assert_eq!(demand.seen_by_all(), 0);
        demand.asked_at(Some("a"), 5, at(0));
        assert_eq!(demand.seen_by_all(), 5);
        demand.asked_at(Some("b"), 3, at(1));
        assert_eq!(demand.seen_by_all(), 3);
        demand.asked_at(Some("a"), 7, at(3));
        assert_eq!(demand.seen_by_all(), 3, "b may still come");
        demand.asked_at(Some("a"), 8, at(5));
        assert_eq!(demand.seen_by_all(), 8);
    }
}
