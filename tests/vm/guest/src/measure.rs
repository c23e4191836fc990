//! Readings of the kernel's own counters, to compare reports with.

use std::time::Instant;

use anyhow::{Context, ensure};

use crate::agent::Report;

/// How often a report may fail a comparison before it counts. The machine around the guest takes
/// the CPU away when it likes, and then a second of the agent's is not a second of the kernel's.
const TRIES: u32 = 8;

/// The rate of a counter in units per second, from a reading before and one after the report that
/// is made meanwhile. The loads are steady, so it does not matter that this takes longer than the
/// interval that the report is about.
pub(crate) fn rates<const N: usize>(
    counters: impl Fn() -> anyhow::Result<[u64; N]>,
    report: &mut impl FnMut() -> anyhow::Result<Report>,
) -> anyhow::Result<([f64; N], Report)> {
    let (began, first) = (Instant::now(), counters()?);
    let report = report()?;
    let (took, last) = (began.elapsed().as_secs_f64(), counters()?);
    let mut rates = [0.0; N];
    for (rate, (first, last)) in rates.iter_mut().zip(first.into_iter().zip(last)) {
        *rate = last.saturating_sub(first) as f64 / took;
    }
    Ok((rates, report))
}

/// Tries a comparison until it holds, each time with a report of its own.
pub(crate) fn until_it_holds(
    mut attempt: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for _ in 1..TRIES {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => println!("not yet: {error:#}"),
        }
    }
    attempt()
}

/// Refuses a value that is too far from what was expected.
pub(crate) fn near(what: &str, value: f64, expected: f64, tolerance: f64) -> anyhow::Result<()> {
    ensure!(
        (value - expected).abs() <= tolerance,
        "{what} is {value}, not {expected} ± {tolerance}"
    );
    Ok(())
}

/// Microseconds for which some and all processes have waited, from a `*.pressure` file.
pub(crate) fn stalled(pressure: &str) -> anyhow::Result<[u64; 2]> {
    let total = |line: &str| {
        let line = pressure.lines().find(|found| found.starts_with(line))?;
        line.split_once("total=")?.1.trim().parse().ok()
    };
    total("some ")
        .zip(total("full "))
        .map(|(some, full)| [some, full])
        .with_context(|| format!("no pressure: {pressure}"))
}

/// Microseconds in a second as percent.
pub(crate) fn percent(microseconds: f64) -> f64 {
    microseconds / 10_000.0
}

/// Bytes received and sent by an interface, in the network namespace of a process.
pub(crate) fn network_bytes(pid: u32, interface: &str) -> anyhow::Result<[u64; 2]> {
    let path = format!("/proc/{pid}/net/dev");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let columns = text.lines().find_map(|line| {
        let (name, columns) = line.split_once(':')?;
        (name.trim() == interface).then_some(columns)
    });
    let columns: Vec<u64> = columns
        .with_context(|| format!("{path} has no {interface}"))?
        .split_whitespace()
        .filter_map(|column| column.parse().ok())
        .collect();
    let (received, sent) = columns
        .first()
        .zip(columns.get(8))
        .context("too few columns")?;
    Ok([*received, *sent])
}
