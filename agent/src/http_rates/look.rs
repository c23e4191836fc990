//! The look at the kernel's counts in each tick of the sampler, and what is known of it elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Book, HttpUsage, Node};
use crate::bpf::http::{HttpReading, HttpStats};
use crate::sample::Cause;

/// Figures that are older are of no use, and then there are none.
const STALE: Duration = Duration::from_secs(15);

/// What a person is told in one sentence; the kernel's own words may be long.
const MAX_SAID: usize = 400;

/// Who counts.
pub trait Counters: Send {
    /// A word for how: part of metrics.
    fn mode(&self) -> &'static str;
    /// What a person should know of it, as sentences; empty for nothing.
    fn said(&self) -> String;
    /// All that was counted so far, or why that cannot be read, as a sentence.
    fn read(&mut self) -> Result<HttpReading, String>;
    /// How the counting went, as of the last reading.
    fn stats(&self) -> HttpStats;
    /// Forgets what these processes did, and says of which that is done.
    fn forget(&mut self, gone: &[(u32, Duration)]) -> Vec<(u32, Duration)>;
}

/// Why nothing is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// By kind.
    pub cause: Cause,
    /// As a sentence.
    pub why: String,
}

/// How the counting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How it is counted; `off` where it is not.
    pub mode: &'static str,
    /// Why it is not.
    pub off: Option<Off>,
    /// What a person is told: how it is counted or why not, in a sentence.
    pub said: String,
    /// Readings so far.
    pub reads: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// What they took, what is made of them included.
    pub busy: Duration,
    /// How the counting itself went.
    pub stats: HttpStats,
    /// Requests and responses that belong to nothing that is known.
    pub unplaced: u64,
    /// Responses without a figure for their code, for want of room.
    pub folded: u64,
    /// Processes without figures of their own, for want of room.
    pub left_out: usize,
}

/// How the counting goes, for metrics and readiness.
#[derive(Debug)]
pub struct HttpBoard(Mutex<Standing>);

impl HttpBoard {
    /// How it goes.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sampler's part: reads, and keeps what the next reading needs.
pub struct HttpLook {
    counters: Option<Box<dyn Counters>>,
    book: Book,
    board: Arc<HttpBoard>,
    off: Option<Off>,
    /// The last figures, and when they were made.
    last: Option<(Duration, HttpUsage)>,
}

impl HttpLook {
    /// Looks at these counters; or at none, and says why.
    pub fn new(counters: Result<Box<dyn Counters>, Off>) -> Self {
        let (mode, said, off) = match &counters {
            Ok(counters) => (counters.mode(), counters.said(), None),
            Err(off) => (
                "off",
                format!("HTTPStatistics is off: {}", off.why),
                Some(off.clone()),
            ),
        };
        HttpLook {
            counters: counters.ok(),
            book: Book::default(),
            board: Arc::new(HttpBoard(Mutex::new(Standing {
                mode,
                off: off.clone(),
                said: one_line(&said),
                reads: 0,
                failures: 0,
                busy: Duration::ZERO,
                stats: HttpStats::default(),
                unplaced: 0,
                folded: 0,
                left_out: 0,
            }))),
            off,
            last: None,
        }
    }

    /// Where others see how it goes.
    pub fn board(&self) -> Arc<HttpBoard> {
        self.board.clone()
    }

    /// Why nothing is counted, if so.
    pub fn off(&self) -> Option<&Off> {
        self.off.as_ref()
    }

    /// Reads what was counted. `now` is on the clock of samples. The figures, and what went wrong, if
    /// something did.
    pub fn look(&mut self, now: Duration, node: &mut dyn Node) -> (HttpUsage, Option<String>) {
        let mut problem = None;
        let mut full = false;
        if let Some(counters) = &mut self.counters {
            let began = Instant::now();
            match counters.read() {
                Ok(reading) => {
                    let entry = self.book.enter(reading, node);
                    if !entry.gone.is_empty() {
                        let forgotten = counters.forget(&entry.gone);
                        self.book.forgot(&forgotten);
                    }
                    if let Some(usage) = entry.usage {
                        self.last = Some((now, usage));
                    }
                }
                Err(why) => problem = Some(one_line(&why)),
            }
            let mut standing = self.board.lock();
            standing.reads += 1;
            standing.failures += u64::from(problem.is_some());
            standing.busy += began.elapsed();
            let stats = counters.stats();
            full = stats.lost > standing.stats.lost;
            standing.stats = stats;
            standing.unplaced = self.book.unplaced;
            standing.folded = self.book.folded;
            standing.left_out = self.book.left_out;
        }
        self.last
            .take_if(|(at, _)| now.saturating_sub(*at) >= STALE);
        let mut usage = match &self.last {
            Some((_, usage)) => usage.clone(),
            None => HttpUsage::default(),
        };
        usage.counted &= !full;
        let mut said = self.board.lock().said.clone();
        if full {
            usage.leave_out_what_needs_all();
            said.push_str(
                " HTTP figures are too low: more is served than the kernel has room to count.",
            );
        }
        usage.said = Some(said).filter(|said| !said.is_empty());
        (usage, problem)
    }
}

/// What others wrote, as one line that Scope can show.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_SAID) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::http::{HttpCount, HttpWhat};
    use crate::http_rates::{Found, Home};

    struct Nobody;

    impl Node for Nobody {
        fn find(&mut self, pid: u32, _: Duration, _: Option<u64>) -> Found {
            Found::Alive(pid, Home::default())
        }

        fn home_of_cgroup(&mut self, _: u64) -> Option<Home> {
            None
        }

        fn has_container(&self, _: &str) -> bool {
            false
        }

        fn has_pod(&self, _: &str) -> bool {
            false
        }
    }

    /// Answers in turn.
    struct Scripted(Vec<Result<HttpReading, String>>, u64);

    impl Counters for Scripted {
        fn mode(&self) -> &'static str {
            "scripted"
        }

        fn said(&self) -> String {
            "By a\nscript.".into()
        }

        fn read(&mut self) -> Result<HttpReading, String> {
            let reading = self.0.remove(0);
            if let Ok(reading) = &reading {
                self.1 = reading.lost;
            }
            reading
        }

        fn stats(&self) -> HttpStats {
            HttpStats {
                lost: self.1,
                ..HttpStats::default()
            }
        }

        fn forget(&mut self, gone: &[(u32, Duration)]) -> Vec<(u32, Duration)> {
            panic!("{gone:?} live");
        }
    }

    fn reading(second: u64, requests: u64, lost: u64) -> Result<HttpReading, String> {
        Ok(HttpReading {
            at: Duration::from_secs(second),
            since: Duration::ZERO,
            counts: vec![HttpCount {
                pid: 7,
                started: Duration::ZERO,
                what: HttpWhat::Request,
                count: requests,
                cgroup: None,
            }],
            lost,
        })
    }

    #[test]
    fn what_cannot_be_read_is_old_at_first_and_then_absent() {
        let failed = || Err("the map is\u{1b}gone".to_owned());
        let mut script = vec![reading(1, 10, 0)];
        script.extend((0..3).map(|_| failed()));
        script.push(reading(40, 400, 0));
        let mut look = HttpLook::new(Ok(Box::new(Scripted(script, 0))));
        let mut rate = |second| {
            let (usage, problem) = look.look(Duration::from_secs(second), &mut Nobody);
            assert_eq!(usage.said.as_deref(), Some("By a script."));
            (
                usage.processes.get(&7).and_then(|rates| rates.requests),
                problem,
            )
        };
        let gone = || Some("the map is gone".to_owned());
        assert_eq!(rate(1), (Some(10.0), None));
        assert_eq!(rate(2), (Some(10.0), gone()));
        assert_eq!(rate(15), (Some(10.0), gone()), "14 s old");
        assert_eq!(rate(16), (None, gone()), "never 0 for what is not known");
        assert_eq!(rate(40), (Some(10.0), None), "390 in 39 s");
        let standing = look.board().standing();
        assert_eq!((standing.reads, standing.failures), (5, 3));
        assert_eq!((standing.mode, standing.off), ("scripted", None));
    }

    #[test]
    fn while_the_kernel_has_no_room_the_figures_are_said_to_be_too_low() {
        let script = [0, 5, 5].into_iter().zip(1..);
        let script = script.map(|(lost, second)| reading(second, second, lost));
        let mut look = HttpLook::new(Ok(Box::new(Scripted(script.collect(), 0))));
        let told = [1, 2, 3].map(|second| {
            let (usage, _) = look.look(Duration::from_secs(second), &mut Nobody);
            let too_low = usage.said.unwrap_or_default().contains("too low");
            assert_eq!(usage.counted, !too_low);
            too_low
        });
        assert_eq!(told, [false, true, false]);
        assert_eq!(look.board().standing().stats.lost, 5);
    }

    #[test]
    fn where_nothing_is_counted_it_is_said_why_and_nothing_is_0() {
        let off = Off {
            cause: Cause::Denied,
            why: format!("the kernel said no{}", " and no".repeat(100)),
        };
        let mut look = HttpLook::new(Err(off.clone()));
        let (usage, problem) = look.look(Duration::ZERO, &mut Nobody);
        assert_eq!(problem, None);
        let said = usage.said.clone().unwrap_or_default();
        assert!(said.starts_with("HTTPStatistics is off: the kernel said no and no"));
        assert!(said.ends_with('…') && said.chars().count() == MAX_SAID + 1);
        assert_eq!(
            usage,
            HttpUsage {
                said: usage.said.clone(),
                ..HttpUsage::default()
            }
        );
        assert_eq!(look.board().standing().off, Some(off));
    }
}
