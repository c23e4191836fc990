//! What every process had counted at the reading before, and what follows from the next one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::codes::Codes;
use super::growth::{Counts, Ever, Growth};
use super::{Found, Home, HttpRates, HttpSeen, HttpUsage, Node};
use crate::bpf::http::{HttpReading, HttpWhat};

/// Processes that a report tells of: those that are asked most. Servers that fork have hundreds, most
/// of them idle; this many are 50 KB of a report, an eighth of that where it goes out in turns.
pub const MAX_PROCESSES: usize = 128;

/// A process that is gone for so many readings in a row is forgotten by the kernel: what it did last
/// has been read by then, also where the list of processes is a little older than the counts.
const GONE: u32 = 2;

/// The same where it cannot be told whether a process lives. One that goes on counts from 0 again, so
/// nothing is lost.
const UNKNOWN: u32 = 60;

/// A process for ever: its pid, and when it started since boot.
pub type Process = (u32, Duration);

/// What came of a reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// The figures; `None` while no time has passed.
    pub usage: Option<HttpUsage>,
    /// Processes that the kernel need not keep counters of any more.
    pub gone: Vec<Process>,
}

/// What was read so far, as far as the next reading needs it. Its size is that of the kernel's map, and
/// of what runs.
#[derive(Debug, Default)]
pub struct Book {
    before: Option<Before>,
    processes: HashMap<Process, Known>,
    containers: BTreeMap<Arc<str>, Ever>,
    pods: BTreeMap<Arc<str>, Ever>,
    codes: Codes,
    seen: HttpSeen,
    /// Requests and responses that belong to nothing that is known.
    pub unplaced: u64,
    /// Responses that have a status code and no figure of their own, for want of room.
    pub folded: u64,
    /// Processes that the last reading left out for want of room.
    pub left_out: usize,
}

#[derive(Debug, Clone, Copy)]
struct Before {
    at: Duration,
    since: Duration,
}

#[derive(Debug, Default)]
struct Known {
    counts: Counts,
    home: Option<Home>,
    ever: Ever,
    /// Readings in a row in which it was not seen to live, and did nothing after the first.
    idle: u32,
}

impl Book {
    /// Enters a reading. All that was counted since the one before is told once, whatever became of
    /// who did it.
    pub fn enter(&mut self, reading: HttpReading, node: &mut dyn Node) -> Entry {
        let HttpReading {
            at, since, counts, ..
        } = reading;
        // A reading has all counters. So one that the reading before had not, stood at 0 then; and
        // where counting began later, all did.
        let same = self.before.is_some_and(|before| before.since == since);
        let from = match self.before {
            Some(before) if same => before.at,
            _ => since,
        };
        if !same {
            self.processes.clear();
        }
        let elapsed = at.checked_sub(from).filter(|elapsed| !elapsed.is_zero());
        let Some(elapsed) = elapsed else {
            return Entry::default();
        };
        self.before = Some(Before { at, since });

        let mut known = std::mem::take(&mut self.processes);
        let mut sums = Sums::default();
        let mut gone = Vec::new();
        for (process, counts, cgroup) in by_process(counts) {
            let mut entry = known.remove(&process).unwrap_or_default();
            let growth = Growth::between(&entry.counts, &counts);
            entry.counts = counts;
            self.note(&growth);
            entry.ever.note(&growth);
            let found = node.find(process.0, process.1, cgroup);
            let most_idle = match found {
                Found::Alive(pid, home) => {
                    sums.alive.push((pid, growth.clone(), entry.ever.clone()));
                    // It may not have been possible to read where it belongs.
                    let told = cgroup.filter(|_| home.is_nowhere());
                    let told = told.and_then(|inode| node.home_of_cgroup(inode));
                    entry.home = told.or(Some(home));
                    entry.idle = 0;
                    None
                }
                Found::Gone => Some(GONE),
                Found::Unknown => Some(UNKNOWN),
            };
            if let Some(most) = most_idle {
                entry.idle = match growth.is_nothing() {
                    true => entry.idle.saturating_add(1),
                    false => 1,
                };
                if entry.idle >= most {
                    gone.push(process);
                }
                if entry.home.as_ref().is_none_or(Home::is_nowhere) {
                    let told = cgroup.and_then(|inode| node.home_of_cgroup(inode));
                    entry.home = told.or(entry.home);
                }
            }
            match &entry.home {
                Some(home) => sums.add(home, &growth),
                None => self.unplaced += growth.events(),
            }
            self.processes.insert(process, entry);
        }
        // What has no counters any more is forgotten with `known`.
        gone.sort_unstable();
        Entry {
            usage: Some(self.usage(sums, elapsed, node)),
            gone,
        }
    }

    /// The kernel has no counters of these any more: what they do next counts from 0.
    pub fn forgot(&mut self, processes: &[Process]) {
        for process in processes {
            if let Some(known) = self.processes.get_mut(process) {
                known.counts.clear();
            }
        }
    }

    fn note(&mut self, growth: &Growth) {
        self.seen.requests = true;
        self.seen.http2 |= growth.http2 > 0;
        self.seen.classes.extend(growth.classes());
        for (&code, &count) in &growth.responses {
            if !self.codes.admit(code) && code != 0 {
                self.folded += count;
            }
        }
    }

    fn usage(&mut self, sums: Sums, elapsed: Duration, node: &dyn Node) -> HttpUsage {
        let codes = &self.codes;
        let mut alive = sums.alive;
        alive.sort_by_key(|(pid, growth, _)| (Reverse(growth.requests), *pid));
        self.left_out = alive.len().saturating_sub(MAX_PROCESSES);
        alive.truncate(MAX_PROCESSES);
        let processes: BTreeMap<u32, HttpRates> = alive
            .into_iter()
            .map(|(pid, growth, ever)| (pid, growth.rates(elapsed, codes, &ever)))
            .collect();
        let containers = level(
            &mut self.containers,
            sums.containers,
            elapsed,
            codes,
            |id| node.has_container(id),
        );
        let pods = level(&mut self.pods, sums.pods, elapsed, codes, |id| {
            node.has_pod(id)
        });
        let all = processes
            .values()
            .chain(containers.values())
            .chain(pods.values());
        self.seen.others |= all.into_iter().any(|rates| rates.others > 0.0);
        self.seen.codes.clone_from(codes.told());
        HttpUsage {
            processes,
            containers,
            pods,
            seen: self.seen.clone(),
            counted: true,
            said: None,
        }
    }
}

/// One level's figures: of what did something now, and, with 0, of what did something before and still
/// runs.
fn level(
    known: &mut BTreeMap<Arc<str>, Ever>,
    sums: BTreeMap<Arc<str>, Growth>,
    elapsed: Duration,
    codes: &Codes,
    runs: impl Fn(&str) -> bool,
) -> BTreeMap<Arc<str>, HttpRates> {
    known.retain(|id, _| runs(id));
    for (id, growth) in &sums {
        if runs(id) {
            known.entry(id.clone()).or_default().note(growth);
        }
    }
    let nothing = Growth::default();
    known
        .iter()
        .map(|(id, ever)| {
            let growth = sums.get(id).unwrap_or(&nothing);
            (id.clone(), growth.rates(elapsed, codes, ever))
        })
        .collect()
}

#[derive(Default)]
struct Sums {
    alive: Vec<(u32, Growth, Ever)>,
    containers: BTreeMap<Arc<str>, Growth>,
    pods: BTreeMap<Arc<str>, Growth>,
}

impl Sums {
    fn add(&mut self, home: &Home, growth: &Growth) {
        if let Some(id) = &home.container {
            self.containers.entry(id.clone()).or_default().add(growth);
        }
        if let Some(id) = &home.pod {
            self.pods.entry(id.clone()).or_default().add(growth);
        }
    }
}

/// The counters of each process, and the cgroup that one of them names.
fn by_process(
    mut counts: Vec<crate::bpf::http::HttpCount>,
) -> impl Iterator<Item = (Process, Counts, Option<u64>)> {
    counts.sort_unstable_by_key(|count| (count.pid, count.started, count.what));
    let mut rest = counts.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = rest.next()?;
        let process = (first.pid, first.started);
        let mut cgroup = first.cgroup;
        let mut counts: Vec<(HttpWhat, u64)> = vec![(first.what, first.count)];
        while let Some(next) = rest.next_if(|next| (next.pid, next.started) == process) {
            cgroup = cgroup.or(next.cgroup);
            counts.push((next.what, next.count));
        }
        Some((process, counts, cgroup))
    })
}
