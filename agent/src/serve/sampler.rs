//! The thread that looks at the node: on absolute deadlines, once per interval, however many probes
//! ask. Nothing else in the process reads the node's state for a report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::demand::Demand;
use super::due::{after_in_between, is_in_between, next_deadline};
use super::publication::Publication;
use crate::collect::{Contents, Detail};
use crate::sample::Problems;

/// The cadence while nobody asks, unless the configured one is slower still. Caches stay warm, and
/// the first request after a pause gets a report of at most this age.
pub const SLOW_CADENCE: Duration = Duration::from_secs(15);

/// A look that is wanted out of turn follows the last one after so long at the earliest: of less, rates
/// say little.
const OUT_OF_TURN: Duration = Duration::from_secs(1);

/// One look at the node.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// How many there were before.
    pub number: u64,
    /// When the next look is due, from this one.
    pub cadence: Duration,
    /// The turn of what goes out in turns: the next one begins when every probe has got the last.
    pub turn: u64,
    /// How often the slowest of all who ask does; `None` while that is not known, and then nothing
    /// may take turns.
    pub pace: Option<Duration>,
    /// Whether the exchange of totals waits for this look.
    pub for_totals: bool,
    /// Whether a report is made of it. While nobody asks, what the exchange wants in between is only added up.
    pub reported: bool,
}

/// What comes of a look at the node; nothing if it is not [reported](Tick::reported).
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// The report's body.
    pub body: Vec<u8>,
    /// What is in it.
    pub contents: Contents,
    /// What could not be read since the start, and is missing from reports.
    pub problems: Problems,
}

/// Looks at the node.
pub type Render = Box<dyn FnMut(&Tick) -> Rendered + Send>;

/// Upper bounds of the tick times that are counted, in seconds.
pub const TICK_BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// What the sampler did so far. Replaced as a whole after each tick.
#[derive(Debug, Clone)]
pub struct SamplerState {
    /// Ticks so far.
    pub ticks: u64,
    /// Ticks that were left out because an earlier one took too long.
    pub skipped: u64,
    /// Times of all ticks by [`TICK_BOUNDS`], the last without a bound.
    pub times: [u64; TICK_BOUNDS.len() + 1],
    /// Time spent in ticks.
    pub busy: Duration,
    /// When the last tick ended, or the sampler started.
    pub last: Instant,
    /// The present cadence.
    pub cadence: Duration,
    /// What could not be read so far.
    pub problems: Arc<Problems>,
    /// How much of what is known is in the present report.
    pub detail: Detail,
}

/// The running sampler.
#[derive(Debug)]
pub struct SamplerThread {
    state: Arc<ArcSwap<SamplerState>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SamplerThread {
    /// Starts the thread. The receiver gets a value, or is closed, when the thread ends.
    pub fn start(
        render: Render,
        interval: Duration,
        publication: Arc<Publication>,
        demand: Arc<Demand>,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let state = Arc::new(ArcSwap::from_pointee(SamplerState {
            ticks: 0,
            skipped: 0,
            times: [0; TICK_BOUNDS.len() + 1],
            busy: Duration::ZERO,
            last: Instant::now(),
            cadence: interval,
            problems: Arc::new(Problems::default()),
            detail: Detail::Full,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, ends) = oneshot::channel();
        let worker = Worker {
            render,
            interval,
            publication,
            demand,
            state: state.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("sampler".into())
            .spawn(move || {
                worker.run();
                // After a panic the sender is dropped instead, and the receiver sees that.
                let _ = ended.send(());
            })?;
        Ok((
            SamplerThread {
                state,
                stop,
                thread,
            },
            ends,
        ))
    }

    /// What it did so far.
    pub fn state(&self) -> Arc<SamplerState> {
        self.state.load_full()
    }

    /// A view of what it does, for metrics.
    pub fn watch(&self) -> Arc<ArcSwap<SamplerState>> {
        self.state.clone()
    }

    /// Asks the thread to end after the tick under way. It is not waited for: what it reads may
    /// hang, and the process must end all the same.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

struct Worker {
    render: Render,
    interval: Duration,
    publication: Arc<Publication>,
    demand: Arc<Demand>,
    state: Arc<ArcSwap<SamplerState>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        self.demand.attach_sampler();
        // Under load the node's own work and our answers go first. Lowering needs no rights.
        if let Err(e) = rustix::process::setpriority_process(None, 5) {
            tracing::debug!(error = %e, "the sampler keeps its priority");
        }
        let slow = self.interval.max(SLOW_CADENCE);
        let mut due = Instant::now();
        let mut number = 0;
        let mut turns = Turns::default();
        let mut turn = 0;
        let mut reported = true;
        let mut wanted_before = None;
        while !self.stopped() {
            let asked = self.demand.is_asked();
            let cadence = if asked { self.interval } else { slow };
            let began = Instant::now();
            let pace = self.demand.pace().filter(|_| asked);
            if reported {
                turn = turns.next(self.publication.get().sequence, self.demand.seen_by_all());
            }
            self.tick(Tick {
                number,
                cadence,
                turn,
                pace,
                for_totals: self.demand.take_look(),
                reported,
            });
            number += 1;
            let (next, skipped) = match reported {
                true => next_deadline(due, cadence, Instant::now()),
                false => (after_in_between(due, cadence, Instant::now()), 0),
            };
            if skipped > 0 {
                self.note(|state| state.skipped += skipped);
            }
            let is_slow = cadence != self.interval;
            let earliest = began + self.interval;
            let woken = self.sleep(next, is_slow.then_some(earliest), began + OUT_OF_TURN);
            let now = Instant::now();
            let is_wanted = matches!(woken, Woken::Wanted);
            let in_between = is_slow && is_in_between(now, next, slow, wanted_before);
            reported = !(is_wanted && in_between);
            if is_wanted {
                wanted_before = Some(now);
            }
            due = match woken {
                Woken::Due => next,
                Woken::Asked => now,
                // The grid of who asks every so often stays as it is, and so does that of reports while nobody
                // does. What is not in between takes the place of the next one.
                Woken::Wanted if !is_slow || in_between => due,
                Woken::Wanted => now,
            };
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Looks at the node once and publishes what it saw.
    fn tick(&mut self, tick: Tick) {
        let began = Instant::now();
        let Rendered {
            body,
            contents,
            problems,
        } = (self.render)(&tick);
        if tick.reported {
            let probes = self.demand.probes_for_copies();
            self.publication.publish(body, &contents.slots, &probes);
        }
        let ended = Instant::now();
        self.note(|state| {
            let took = ended - began;
            let bucket = TICK_BOUNDS.iter().position(|b| took.as_secs_f64() <= *b);
            state.times[bucket.unwrap_or(TICK_BOUNDS.len())] += 1;
            state.busy += took;
            state.last = ended;
            state.cadence = tick.cadence;
            state.ticks += 1;
            if !tick.reported {
                return;
            }
            state.detail = contents.detail;
            if *state.problems != problems {
                state.problems = Arc::new(problems);
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut SamplerState)) {
        let mut state = SamplerState::clone(&self.state.load());
        change(&mut state);
        self.state.store(Arc::new(state));
    }

    /// Sleeps until `due`. At the slow cadence a request ends that, but not before `asked`; and so does
    /// whoever wants a look out of turn, but not before `wanted`.
    fn sleep(&self, due: Instant, asked: Option<Instant>, wanted: Instant) -> Woken {
        let woken = loop {
            // In this order: see `Demand::asked`.
            self.demand.set_slow(asked.is_some());
            let asked = asked.filter(|_| self.demand.is_asked());
            let wanted = Some(wanted).filter(|_| self.demand.is_look_wanted());
            let soonest = [
                Some((due, Woken::Due)),
                asked.map(|at| (at, Woken::Asked)),
                wanted.map(|at| (at, Woken::Wanted)),
            ];
            let soonest = soonest.into_iter().flatten().min_by_key(|(at, _)| *at);
            let (until, woken) = soonest.unwrap_or((due, Woken::Due));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopped() {
                break woken;
            }
            std::thread::park_timeout(left);
        };
        self.demand.set_slow(false);
        woken
    }
}

/// What ended the sampler's sleep.
enum Woken {
    /// The time.
    Due,
    /// A request after a time without any.
    Asked,
    /// Somebody who wants a look out of turn.
    Wanted,
}

/// Whose turn it is. A probe that asks every other second gets every other report; so a turn lasts
/// until all have had it.
#[derive(Debug, Default)]
pub struct Turns {
    turn: u64,
    /// The number of the report that it began with.
    began: u64,
    ticks: u64,
}

/// A turn ends after so many ticks even if a probe has not come for it: the others wait.
const LONGEST_TURN: u64 = 3;

impl Turns {
    /// The turn of the report after the one with this number, when each probe that asks has got the
    /// one with `seen_by_all` or a later one.
    pub fn next(&mut self, published: u64, seen_by_all: u64) -> u64 {
        self.ticks += 1;
        if seen_by_all >= self.began || self.ticks >= LONGEST_TURN {
            self.turn += 1;
            self.began = published + 1;
            self.ticks = 0;
        }
        self.turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_lasts_until_all_have_had_it() {
        let mut turns = Turns::default();
        let turn: Vec<u64> = [
            // Published so far, seen by all: a probe each tick, then one every other, then none.
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 4),
            (5, 4),
            (6, 6),
            (7, 6),
            (8, 6),
            (9, 6),
            (10, 6),
        ]
        .into_iter()
        .map(|(published, seen)| turns.next(published, seen))
        .collect();
        assert_eq!(turn, [1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6]);
    }
}
