use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::bpf::http::{HttpCount, HttpReading, HttpWhat};

const START: Duration = Duration::from_secs(1000);

/// What runs, by pid and by cgroup.
#[derive(Default)]
struct Made {
    processes: BTreeMap<u32, (Duration, Home)>,
    cgroups: BTreeMap<u64, Home>,
    cannot_tell: bool,
}

fn home(container: &str, pod: &str) -> Home {
    Home {
        container: Some(container.into()),
        pod: Some(pod.into()),
    }
}

impl Made {
    fn run(&mut self, pid: u32, home: Home) {
        self.processes
            .insert(pid, (Duration::from_secs(pid.into()), home));
    }

    fn homes(&self) -> impl Iterator<Item = &Home> {
        let processes = self.processes.values().map(|(_, home)| home);
        processes.chain(self.cgroups.values())
    }
}

impl Node for Made {
    fn find(&mut self, pid: u32, started: Duration, _: Option<u64>) -> Found {
        match self.processes.get(&pid) {
            _ if self.cannot_tell => Found::Unknown,
            Some((at, home)) if *at == started => Found::Alive(pid, home.clone()),
            _ => Found::Gone,
        }
    }

    fn home_of_cgroup(&mut self, inode: u64) -> Option<Home> {
        self.cgroups.get(&inode).cloned()
    }

    fn has_container(&self, id: &str) -> bool {
        self.homes()
            .any(|home| home.container.as_deref() == Some(id))
    }

    fn has_pod(&self, id: &str) -> bool {
        self.homes().any(|home| home.pod.as_deref() == Some(id))
    }
}

/// A counter of a process that started as [`Made::run`] says.
fn count(pid: u32, what: HttpWhat, count: u64) -> HttpCount {
    HttpCount {
        pid,
        started: Duration::from_secs(pid.into()),
        what,
        count,
        cgroup: None,
    }
}

fn reading(millis: u64, counts: Vec<HttpCount>) -> HttpReading {
    HttpReading {
        at: START + Duration::from_millis(millis),
        since: START,
        counts,
        lost: 0,
    }
}

fn usage(book: &mut Book, made: &mut Made, millis: u64, counts: Vec<HttpCount>) -> HttpUsage {
    let entry = book.enter(reading(millis, counts), made);
    entry.usage.expect("time has passed")
}

use HttpWhat::{Http2Connection, Request, Response};

#[test]
fn rates_are_over_the_time_that_passed_and_zero_while_it_serves() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    let seen = usage(
        &mut book,
        &mut made,
        500,
        vec![count(7, Request, 50), count(7, Response(200), 50)],
    );
    assert_eq!(
        seen.processes[&7].requests,
        Some(100.0),
        "since counting began"
    );
    assert_eq!(seen.processes[&7].codes, [(200, 100.0)]);
    assert_eq!(seen.pods["p"], seen.containers["c"]);
    assert_eq!(seen.pods["p"], seen.processes[&7]);
    let now = vec![
        count(7, Request, 54),
        count(7, Response(200), 53),
        count(7, Response(503), 1),
    ];
    let seen = usage(&mut book, &mut made, 2500, now.clone());
    let rates = &seen.pods["p"];
    assert_eq!(rates.requests, Some(2.0), "4 in 2 s");
    assert_eq!(
        rates.codes,
        [(200, 1.5), (503, 0.5)],
        "a code that is new counts from 0"
    );
    assert_eq!(rates.classes, [Some(1.5), None, None, Some(0.5)]);
    assert_eq!(rates.errors, Some(25.0));
    let idle = usage(&mut book, &mut made, 3500, now);
    let rates = &idle.pods["p"];
    assert_eq!(
        (rates.requests, rates.errors, rates.others),
        (Some(0.0), None, 0.0)
    );
    assert!(rates.codes.is_empty(), "a code with rate 0 is left out");
    assert_eq!(rates.classes, [Some(0.0), None, None, Some(0.0)]);
    assert_eq!(idle.processes[&7], *rates);
    assert_eq!(idle.seen.codes, [200, 503].into());
}

/// What the kernel cannot see of requests, the responses tell, and the other way round.
#[test]
fn requests_are_those_seen_or_those_answered() {
    for (name, counts, requests) in [
        (
            "pipelined",
            vec![(Request, 10), (Response(200), 50)],
            Some(50.0),
        ),
        (
            "sent by sendfile",
            vec![(Request, 50), (Response(200), 10)],
            Some(50.0),
        ),
        ("only seen", vec![(Request, 5)], Some(5.0)),
        (
            "only answered",
            vec![(Response(404), 5), (Response(0), 2)],
            Some(7.0),
        ),
        (
            "interim",
            vec![(Request, 5), (Response(100), 5), (Response(200), 5)],
            Some(5.0),
        ),
        (
            "hints",
            vec![(Response(103), 9), (Response(200), 5)],
            Some(5.0),
        ),
        ("upgraded", vec![(Response(101), 3)], Some(3.0)),
        ("HTTP/2", vec![(Http2Connection, 3)], None),
    ] {
        let (mut book, mut made) = (Book::default(), Made::default());
        made.run(7, home("c", "p"));
        let counts = counts
            .into_iter()
            .map(|(what, n)| count(7, what, n))
            .collect();
        let seen = usage(&mut book, &mut made, 1000, counts);
        assert_eq!(seen.pods["p"].requests, requests, "{name}");
        assert_eq!(seen.pods["p"].http2 > 0.0, name == "HTTP/2");
    }
}

/// The greater of the two since the start, not of each interval: then a request that is answered in
/// the next one would count twice.
#[test]
fn a_request_that_is_answered_later_counts_once() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    let mut all = 0.0;
    for (second, seen, answered) in [(1, 3, 1), (2, 3, 3), (3, 5, 5), (4, 5, 9), (5, 9, 9)] {
        let now = vec![count(7, Request, seen), count(7, Response(200), answered)];
        all += usage(&mut book, &mut made, second * 1000, now).pods["p"]
            .requests
            .unwrap_or_default();
    }
    assert_eq!(all, 9.0);
}

#[test]
fn who_ends_between_two_looks_is_counted_where_it_ran() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(1, home("c", "p"));
    made.cgroups.insert(77, home("c", "p"));
    let short = |pid, cgroup| HttpCount {
        cgroup: Some(cgroup),
        ..count(pid, Response(200), 3)
    };
    // Neither 20 nor 21 is ever seen in the list of processes.
    let now = vec![short(20, 77), short(21, 78)];
    let seen = usage(&mut book, &mut made, 1000, now);
    assert_eq!(seen.pods["p"].requests, Some(3.0));
    assert!(seen.processes.is_empty(), "it is gone");
    assert_eq!(book.unplaced, 6, "requests and responses of 21");
    // Who was seen is counted where it was last.
    let of_one = |n| vec![count(1, Response(200), n)];
    usage(&mut book, &mut made, 2000, of_one(2));
    made.processes.clear();
    let seen = usage(&mut book, &mut made, 3000, of_one(7));
    assert_eq!(seen.containers["c"].requests, Some(5.0));
    assert!(seen.processes.is_empty());
    assert_eq!(book.unplaced, 6);
    // A container stays with 0 as long as it runs, without any process that serves.
    let seen = usage(&mut book, &mut made, 4000, Vec::new());
    assert_eq!(seen.containers["c"].requests, Some(0.0));
    made.cgroups.clear();
    let seen = usage(&mut book, &mut made, 5000, Vec::new());
    assert!(seen.containers.is_empty() && seen.pods.is_empty());
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("old", "p"));
    usage(
        &mut book,
        &mut made,
        1000,
        vec![count(7, Response(200), 90)],
    );
    made.processes.insert(7, (START, home("new", "p")));
    let new = HttpCount {
        started: START,
        ..count(7, Response(200), 4)
    };
    let seen = usage(
        &mut book,
        &mut made,
        2000,
        vec![count(7, Response(200), 90), new],
    );
    assert_eq!(seen.containers["new"].requests, Some(4.0));
    assert_eq!(seen.processes[&7].requests, Some(4.0));
}

#[test]
fn the_kernel_forgets_who_is_gone_and_does_nothing_for_two_readings() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    let gone = |book: &mut Book, made: &mut Made, second: u64, n| {
        book.enter(reading(second * 1000, vec![count(7, Request, n)]), made)
            .gone
    };
    let seven = (7, Duration::from_secs(7));
    assert_eq!(gone(&mut book, &mut made, 1, 5), []);
    made.processes.clear();
    assert_eq!(gone(&mut book, &mut made, 2, 6), [], "it did something");
    assert_eq!(gone(&mut book, &mut made, 3, 6), [seven]);
    // A kernel that did not is asked again, and what it keeps is not counted anew.
    assert_eq!(gone(&mut book, &mut made, 4, 6), [seven]);
    made.run(7, home("c", "p"));
    let entry = book.enter(reading(5000, vec![count(7, Request, 8)]), &mut made);
    assert_eq!(entry.gone, [], "it was only not seen");
    assert_eq!(entry.usage.expect("time").pods["p"].requests, Some(2.0));
}

#[test]
fn what_was_forgotten_and_goes_on_counts_from_its_beginning() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    usage(&mut book, &mut made, 1000, vec![count(7, Request, 3)]);
    book.forgot(&[(7, Duration::from_secs(7))]);
    // As many as before, and more.
    for (second, requests) in [(2, 3), (3, 10)] {
        let entry = book.enter(
            reading(second * 1000, vec![count(7, Request, requests)]),
            &mut made,
        );
        let told = entry.usage.expect("time").pods["p"].requests;
        assert_eq!(told, Some(if second == 2 { 3.0 } else { 7.0 }));
    }
}

#[test]
fn where_the_agent_cannot_read_it_the_kernel_says_where_a_process_belongs() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, Home::default());
    made.cgroups.insert(70, home("c", "p"));
    let mut served = count(7, Request, 3);
    served.cgroup = Some(70);
    let seen = usage(&mut book, &mut made, 1000, vec![served]);
    assert_eq!(seen.pods["p"].requests, Some(3.0));
    assert_eq!(book.unplaced, 0);
}

#[test]
fn what_counts_anew_counts_from_its_beginning() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    usage(&mut book, &mut made, 1000, vec![count(7, Request, 100)]);
    let anew = HttpReading {
        since: START + Duration::from_secs(6),
        ..reading(8000, vec![count(7, Request, 120)])
    };
    let entry = book.enter(anew.clone(), &mut made);
    assert_eq!(
        entry.usage.expect("time").pods["p"].requests,
        Some(60.0),
        "120 in 2 s"
    );
    assert_eq!(
        book.enter(anew, &mut made),
        Entry::default(),
        "no time has passed"
    );
    // A counter that stepped back was forgotten and began anew.
    let back = HttpReading {
        since: START + Duration::from_secs(6),
        ..reading(9000, vec![count(7, Request, 3)])
    };
    let entry = book.enter(back, &mut made);
    assert_eq!(entry.usage.expect("time").pods["p"].requests, Some(3.0));
}

#[test]
fn codes_without_room_are_others() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, home("c", "p"));
    let odd = (600..700).map(|code| count(7, Response(code), 1));
    let known = [(200, 50), (404, 40), (0, 5)].map(|(code, n)| count(7, Response(code), n));
    let seen = usage(&mut book, &mut made, 1000, odd.chain(known).collect());
    let rates = &seen.pods["p"];
    assert_eq!(rates.codes.len(), MAX_CODES_OF_NODE);
    assert_eq!(rates.codes[..2], [(200, 50.0), (404, 40.0)]);
    let in_codes: f64 = rates.codes.iter().map(|(_, rate)| rate).sum();
    assert_eq!(in_codes + rates.others, 195.0, "nothing is lost");
    assert_eq!(
        book.folded,
        100 - MAX_ODD_CODES as u64,
        "what has no code is no want of room"
    );
    assert_eq!(seen.seen.codes.len(), 2 + MAX_ODD_CODES);
    assert!(seen.seen.others);
}

#[test]
fn of_many_processes_those_that_are_asked_most_are_told() {
    let (mut book, mut made) = (Book::default(), Made::default());
    let all = MAX_PROCESSES as u32 + 10;
    for pid in 1..=all {
        made.run(pid, home("c", "p"));
    }
    let counts = (1..=all)
        .map(|pid| count(pid, Request, pid.into()))
        .collect();
    let seen = usage(&mut book, &mut made, 1000, counts);
    assert_eq!(seen.processes.len(), MAX_PROCESSES);
    assert_eq!(seen.processes.keys().next(), Some(&11));
    assert_eq!(book.left_out, 10);
    let sum = f64::from(all * (all + 1) / 2);
    assert_eq!(
        seen.containers["c"].requests,
        Some(sum),
        "they count all the same"
    );
}

#[test]
fn one_of_the_hosts_own_has_figures_and_belongs_to_nothing() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.run(7, Home::default());
    let seen = usage(&mut book, &mut made, 1000, vec![count(7, Request, 2)]);
    assert_eq!(seen.processes[&7].requests, Some(2.0));
    assert!(seen.containers.is_empty() && seen.pods.is_empty());
    assert_eq!(book.unplaced, 0);
}

/// In a pid namespace of its own the agent knows processes by other pids than the kernel.
#[test]
fn where_processes_cannot_be_told_apart_their_cgroups_can() {
    let (mut book, mut made) = (Book::default(), Made::default());
    made.cannot_tell = true;
    made.cgroups.insert(77, home("c", "p"));
    let of = |n| {
        vec![HttpCount {
            cgroup: Some(77),
            ..count(7, Response(200), n)
        }]
    };
    for second in 1..=60 {
        let entry = book.enter(reading(second * 1000, of(5)), &mut made);
        let usage = entry.usage.expect("time has passed");
        let rate = if second == 1 { 5.0 } else { 0.0 };
        assert_eq!(usage.pods["p"].requests, Some(rate), "{second}");
        assert!(usage.processes.is_empty());
        let forgotten = second == 60;
        assert_eq!(!entry.gone.is_empty(), forgotten, "{second}");
    }
    assert_eq!(book.unplaced, 0);
}

/// What happens between two readings.
#[derive(Debug, Clone)]
enum Event {
    Requests(u32, u64),
    Responses(u32, u16, u64),
    Dies(u32),
    NothingRead,
}

fn event() -> impl Strategy<Value = Event> {
    let pid = 0..6u32;
    prop_oneof![
        4 => (pid.clone(), 1..100u64).prop_map(|(pid, n)| Event::Requests(pid, n)),
        4 => (pid.clone(), prop_oneof![Just(200), Just(404), Just(100), Just(0), 600..999u16], 1..100u64)
            .prop_map(|(pid, code, n)| Event::Responses(pid, code, n)),
        1 => pid.prop_map(Event::Dies),
        1 => Just(Event::NothingRead),
    ]
}

proptest! {
    /// Whatever happens, each response is told exactly once, on each level.
    #[test]
    fn all_that_was_counted_is_told_once(
        ticks in prop::collection::vec((prop::collection::vec(event(), 0..6), 1..5000u64), 1..30),
    ) {
        let (mut book, mut made) = (Book::default(), Made::default());
        let homes = ["a", "b", "c"].map(|c| home(c, if c == "c" { "q" } else { "p" }));
        for pid in 0..6 {
            made.run(pid, homes[pid as usize % 3].clone());
        }
        for (inode, home) in (0..3).zip(&homes) {
            made.cgroups.insert(inode, home.clone());
        }
        let mut kernel: BTreeMap<(u32, HttpWhat), u64> = BTreeMap::new();
        let mut truth: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut told: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        let (mut millis, mut last) = (0, 0);
        for (events, passes) in ticks {
            millis += passes;
            let mut read = true;
            for event in events {
                match event {
                    // The dead do not serve.
                    Event::Requests(pid, _) | Event::Responses(pid, ..)
                        if !made.processes.contains_key(&pid) => {}
                    Event::Requests(pid, n) => *kernel.entry((pid, Request)).or_default() += n,
                    Event::Responses(pid, code, n) => {
                        *kernel.entry((pid, Response(code))).or_default() += n;
                        let home = &homes[pid as usize % 3];
                        for id in [&home.container, &home.pod].into_iter().flatten() {
                            *truth.entry(id.clone()).or_default() += n;
                        }
                    }
                    Event::Dies(pid) => drop(made.processes.remove(&pid)),
                    Event::NothingRead => read = false,
                }
            }
            let counts = kernel.iter().map(|(&(pid, what), &n)| HttpCount {
                cgroup: Some(u64::from(pid % 3)),
                ..count(pid, what, n)
            });
            if !read {
                continue;
            }
            let elapsed = (millis - last) as f64 / 1000.0;
            last = millis;
            let entry = book.enter(reading(millis, counts.collect()), &mut made);
            for gone in entry.gone {
                kernel.retain(|(pid, _), _| *pid != gone.0);
                book.forgot(&[gone]);
            }
            let usage = entry.usage.expect("time has passed");
            for (id, rates) in usage.containers.iter().chain(&usage.pods) {
                let codes: f64 = rates.codes.iter().map(|(_, rate)| rate).sum();
                *told.entry(id.clone()).or_default() += (codes + rates.others) * elapsed;
                for rate in [rates.requests.unwrap_or_default(), rates.others, codes] {
                    prop_assert!(rate.is_finite() && rate >= 0.0);
                }
            }
        }
        let counts = kernel.iter().map(|(&(pid, what), &n)| HttpCount {
            cgroup: Some(u64::from(pid % 3)),
            ..count(pid, what, n)
        });
        let usage = usage(&mut book, &mut made, millis + 1000, counts.collect());
        let elapsed = (millis + 1000 - last) as f64 / 1000.0;
        for (id, rates) in usage.containers.iter().chain(&usage.pods) {
            let codes: f64 = rates.codes.iter().map(|(_, rate)| rate).sum();
            *told.entry(id.clone()).or_default() += (codes + rates.others) * elapsed;
        }
        for (id, n) in truth {
            let told = told.get(&id).copied().unwrap_or_default();
            prop_assert!((told - n as f64).abs() < 1e-3, "{id}: {told} of {n}");
        }
        prop_assert_eq!(book.unplaced, 0);
    }
}
