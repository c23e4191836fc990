//! What is counted of the cases, beside what they are.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use scope_agent::bpf::http::{HttpCount, HttpCounter, HttpReading, HttpSetup, HttpWhat};

use crate::cases::{CASES, Case, TURNS};
use crate::play::Server;
use crate::side;

type Sums = BTreeMap<HttpWhat, u64>;

/// Plays every case and compares.
pub(crate) fn table(mut counter: HttpCounter) -> anyhow::Result<()> {
    println!("counting in mode {}", counter.mode());
    for skipped in counter.skipped() {
        println!("not at work: {skipped}");
    }
    let mut wrong = Vec::new();
    for case in &CASES {
        let counted = counts_of(&mut counter, case).with_context(|| case.name)?;
        let expected = case.expected();
        let verdict = if counted == expected { "ok" } else { "WRONG" };
        println!("{verdict:>6}  {}: {}", case.name, words(&counted));
        if counted != expected {
            wrong.push(format!(
                "{}: counted {}, not {}",
                case.name,
                words(&counted),
                words(&expected)
            ));
        }
    }
    nothing_else(&mut counter).context(side::NAME)?;
    println!("    ok  {}: nothing", side::NAME);
    let stats = counter.stats();
    println!("{stats:?}");
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    // Two cases with a body that looks like a request, and one after 100 Continue.
    ensure!(
        stats.suppressed >= 3 * TURNS as u64,
        "too few were taken for bodies"
    );
    ensure!(stats.looked_at > 0 && stats.lost == 0, "{stats:?}");
    ensure!(
        stats.missed.is_some(),
        "the kernel does not tell what it left out"
    );
    Ok(())
}

/// What is counted of a server by the time that its client has all answers.
fn counts_of(counter: &mut HttpCounter, case: &Case) -> anyhow::Result<Sums> {
    let server = Server::start(case.name)?;
    server.ask(case)?;
    let reading = settled(counter, server.pid(), &case.expected())?;
    let found = of(&reading, server.pid());
    for count in &found {
        is_of_this_process(count)?;
    }
    let client = std::process::id();
    ensure!(of(&reading, client).is_empty(), "the client was counted");
    let (pid, process) = (
        server.pid(),
        found.first().map(|count| (count.pid, count.started)),
    );
    server.end()?;
    let sums: Sums = found
        .iter()
        .map(|count| (count.what, count.count))
        .collect();
    ensure!(
        sums.len() == found.len(),
        "something is counted twice: {found:?}"
    );
    // Its last words stay until they are not wanted any more.
    ensure!(
        of(&counter.read()?, pid).len() == found.len(),
        "gone too soon"
    );
    counter.forget(&process.into_iter().collect::<Vec<_>>());
    ensure!(of(&counter.read()?, pid).is_empty(), "not forgotten");
    Ok(sums)
}

/// A client may have its last answer before the server's call has ended, at which it is counted.
fn settled(counter: &mut HttpCounter, pid: u32, expected: &Sums) -> anyhow::Result<HttpReading> {
    let enough: u64 = expected.values().sum();
    let mut reading = counter.read()?;
    for _ in 0..100 {
        let counted: u64 = of(&reading, pid).iter().map(|count| count.count).sum();
        if counted >= enough {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        reading = counter.read()?;
    }
    Ok(reading)
}

fn nothing_else(counter: &mut HttpCounter) -> anyhow::Result<()> {
    let server = Server::start(side::NAME)?;
    let found = of(&counter.read()?, server.pid());
    ensure!(found.is_empty(), "counted {found:?}");
    server.end()
}

/// With room for four counters, what has none is counted as lost.
pub(crate) fn without_room(setup: HttpSetup) -> anyhow::Result<()> {
    let room = 4;
    let mut counter = HttpCounter::with(HttpSetup {
        room: Some(room),
        ..setup
    })?;
    // Three servers want three counters and more each.
    let mut truth = 0;
    let mut servers = Vec::new();
    for case in &CASES[..3] {
        let server = Server::start(case.name)?;
        server.ask(case)?;
        truth += case.expected().values().sum::<u64>();
        servers.push(server);
    }
    let mut reading = counter.read()?;
    let counted = |reading: &HttpReading| reading.counts.iter().map(|c| c.count).sum::<u64>();
    for _ in 0..100 {
        if counted(&reading) + reading.lost >= truth {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        reading = counter.read()?;
    }
    ensure!(
        reading.counts.len() == room as usize,
        "{:?}",
        reading.counts
    );
    ensure!(
        reading.lost > 0 && reading.lost == counter.stats().lost,
        "nothing is lost"
    );
    ensure!(
        counted(&reading) + reading.lost >= truth,
        "less than {truth}: {reading:?}"
    );
    println!("    ok  room for {room}: {} of {truth} lost", reading.lost);
    servers.into_iter().try_for_each(Server::end)
}

/// Prints what loading takes of memory.
pub(crate) fn memory() -> anyhow::Result<()> {
    println!("before: {}", memory_now()?);
    let counter = HttpCounter::load(true)?;
    println!("with programs ({}): {}", counter.mode(), memory_now()?);
    Ok(())
}

fn memory_now() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
    Ok(lines
        .map(|line| line.replace('\t', " "))
        .collect::<Vec<_>>()
        .join(", "))
}

fn of(reading: &HttpReading, pid: u32) -> Vec<HttpCount> {
    let counts = reading.counts.iter().filter(|count| count.pid == pid);
    counts.copied().collect()
}

/// Start and cgroup are what `/proc` says of the process.
fn is_of_this_process(count: &HttpCount) -> anyhow::Result<()> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", count.pid))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    // The 22nd, of which two are the pid and the name.
    let ticks: u128 = fields
        .split_whitespace()
        .nth(19)
        .context("no start")?
        .parse()?;
    let tick = 1_000_000_000 / u128::from(rustix::param::clock_ticks_per_second());
    ensure!(
        count.started.as_nanos() / tick == ticks,
        "{:?} is not {ticks} ticks",
        count.started
    );
    let Some(inode) = inode_of_cgroup(count.pid)? else {
        return Ok(());
    };
    ensure!(
        count.cgroup == Some(inode),
        "{:?} is not cgroup {inode}",
        count.cgroup
    );
    Ok(())
}

/// The inode of a process's cgroup; nothing where that is mounted at an unusual place.
fn inode_of_cgroup(pid: u32) -> anyhow::Result<Option<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path_in = |wanted: &str| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            controllers
                .split(',')
                .any(|name| name == wanted)
                .then(|| parts.next())?
        })
    };
    let places = match (path_in("memory"), path_in("")) {
        (Some(path), _) => vec![format!("/sys/fs/cgroup/memory{path}")],
        (None, Some(path)) => vec![
            format!("/sys/fs/cgroup{path}"),
            format!("/sys/fs/cgroup/unified{path}"),
        ],
        (None, None) => vec![],
    };
    let found = places.iter().find_map(|place| {
        let procs = std::fs::read_to_string(format!("{place}/cgroup.procs")).ok()?;
        // Another hierarchy may have a directory of the same name.
        procs
            .lines()
            .any(|line| line == pid.to_string())
            .then_some(place)
    });
    let stat = found.map(std::fs::metadata).transpose()?;
    Ok(stat.map(|stat| std::os::unix::fs::MetadataExt::ino(&stat)))
}

fn words(sums: &Sums) -> String {
    let one = |(what, count): (&HttpWhat, &u64)| match what {
        HttpWhat::Request => format!("{count} requests"),
        HttpWhat::Response(code) => format!("{count} × {code}"),
        HttpWhat::Http2Connection => format!("{count} HTTP/2 connections"),
    };
    let words: Vec<String> = sums.iter().map(one).collect();
    if words.is_empty() {
        "nothing".into()
    } else {
        words.join(", ")
    }
}
