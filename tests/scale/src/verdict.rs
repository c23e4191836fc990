//! The figures and what was asked of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clicks::Clicked;
use crate::operator::{Memory, Operator};
use crate::quiet::Asked;
use crate::rollout::Took;
use crate::world::World;

/// A rollout may take so many times as long as the DaemonSet controller's own.
const RATIO: f64 = 1.2;
const RESIDENT: f64 = 50.0;
const RECONCILE: Duration = Duration::from_millis(50);
const DRIFT: Duration = Duration::from_secs(1);
/// From the click to the request that carries it out; measured is when its deed was told.
const CLICK: Duration = Duration::from_millis(100);

const RECONCILES: &str = "scope_operator_reconcile_duration_seconds";
const RECONCILE_CPU: &str = "scope_operator_reconcile_cpu_seconds";

/// All figures, in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Vec<Verdict>);

#[derive(Debug)]
struct Verdict {
    figure: String,
    /// Whether the target was met; nothing when there is none.
    met: Option<bool>,
}

impl Verdicts {
    fn add(&mut self, met: Option<bool>, figure: String) {
        println!("{figure}");
        self.0.push(Verdict { figure, met });
    }

    pub(crate) fn rollout(&mut self, ours: &[Took], plain: &[Took], with_quota: &[Took]) {
        let seconds = |all: &[Took]| {
            let times: Vec<Duration> = all.iter().map(|took| took.time).collect();
            median(&times).as_secs_f64()
        };
        let most = |all: &[Took]| all.iter().map(|t| t.unavailable).max().unwrap_or_default();
        let (time, native, slowed) = (seconds(ours), seconds(plain), seconds(with_quota));
        let ratio = time / native;
        self.add(
            Some(ratio <= RATIO),
            format!(
                "rollout: {time:.1} s, DaemonSet controller {native:.1} s, medians of {}: {ratio:.2} times (target {RATIO}); at most {} and {} unavailable",
                ours.len(),
                most(ours),
                most(plain),
            ),
        );
        self.add(
            None,
            format!(
                "rollout: {:.2} times the DaemonSet controller under the quota of the plugins' namespace, which needs {slowed:.1} s, {:.2} times as long as without",
                time / slowed,
                slowed / native,
            ),
        );
    }

    pub(crate) fn memory_after_rollouts(
        &mut self,
        operator: &Operator,
        world: &World,
    ) -> anyhow::Result<()> {
        let memory = operator.memory()?;
        self.add(
            None,
            format!(
                "memory with 1 plugin on {} nodes, after the rollouts: {:.1} MiB resident, {:.1} at most",
                world.fleet.len(),
                mebibytes(memory.resident),
                mebibytes(memory.highest),
            ),
        );
        Ok(())
    }

    pub(crate) fn drift(&mut self, what: &str, times: &[Duration]) {
        let worst = times.iter().max().copied().unwrap_or_default();
        self.add(
            Some(worst < DRIFT),
            format!(
                "drift, {what}: repaired after {} ms, {} at most (target {})",
                median(times).as_millis(),
                worst.as_millis(),
                DRIFT.as_millis()
            ),
        );
    }

    pub(crate) fn clicks(&mut self, pods: usize, times: &[Clicked], memory: Memory) {
        let in_words = |times: &[Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort();
            // The nearest rank.
            let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
            let p99 = sorted.get(at).copied().unwrap_or_default();
            let [middle, late] = [median(times), p99].map(|time| time.as_secs_f64() * 1e3);
            let words = format!("{middle:.0} ms, p99 {late:.0} ms of {}", times.len());
            (p99, words)
        };
        let deeds: Vec<_> = times.iter().map(|took| took.deed).collect();
        let outcomes: Vec<_> = times.iter().map(|took| took.outcome).collect();
        let ((p99, deed), (_, outcome)) = (in_words(&deeds), in_words(&outcomes));
        self.add(
            Some(p99 <= CLICK),
            format!(
                "click to deed with {pods} pods: {deed} (target {})",
                CLICK.as_millis()
            ),
        );
        self.add(
            None,
            format!(
                "click to outcome with {pods} pods: {outcome}; {:.1} MiB resident with the index of all pods",
                mebibytes(memory.resident)
            ),
        );
    }

    pub(crate) fn reconciles(&mut self, metrics: &str) {
        // With all cores busy, a clock on the wall measures the neighbours.
        for (what, histogram, target) in [
            (
                "without API time, on its core",
                RECONCILE_CPU,
                Some(RECONCILE),
            ),
            ("without API time, by the clock", RECONCILES, None),
        ] {
            let Some((p99, count)) = quantile(metrics, histogram, 0.99) else {
                let figure = format!("reconcile {what}: not measured, there is no {histogram}");
                self.add(None, figure);
                continue;
            };
            let wanted = target.map(|target| format!(" (target {})", target.as_millis()));
            self.add(
                target.map(|target| p99 < target.as_secs_f64()),
                format!(
                    "reconcile {what}: p99 {:.2} ms of {count}{}",
                    p99 * 1e3,
                    wanted.unwrap_or_default()
                ),
            );
        }
    }

    pub(crate) fn memory(
        &mut self,
        world: &World,
        plugins: usize,
        at_first: Memory,
        after: Memory,
    ) {
        self.add(
            Some(mebibytes(after.highest) <= RESIDENT),
            format!(
                "memory with {plugins} plugins on {} nodes: {:.1} MiB resident after the start, {:.1} after a rollout, {:.1} at most (target {RESIDENT})",
                world.fleet.len(),
                mebibytes(at_first.resident),
                mebibytes(after.resident),
                mebibytes(after.highest),
            ),
        );
    }

    pub(crate) fn growth(&mut self, more: usize, before: Memory, after: Memory) {
        let grown = after.resident as f64 - before.resident as f64;
        self.add(
            None,
            format!(
                "memory per further node with all plugins on it: {:.1} KiB ({:.1} MiB after the start with {more} more)",
                grown / more as f64 / 1024.0,
                mebibytes(after.resident),
            ),
        );
    }

    pub(crate) fn idle(&mut self, time: Duration, requests: &BTreeMap<Asked, usize>) {
        let of =
            |asked: &Asked, count: &usize| format!("{count} {} {}", asked.verb, asked.resource);
        let list = |writes: bool| {
            let some = requests.iter().filter(|(asked, _)| asked.write == writes);
            some.map(|(asked, count)| of(asked, count))
                .collect::<Vec<_>>()
        };
        let writes: usize = requests
            .iter()
            .filter(|(asked, _)| asked.write)
            .map(|(_, count)| count)
            .sum();
        let named = match &list(true)[..] {
            [] => String::new(),
            some => format!(" ({})", some.join(", ")),
        };
        self.add(
            Some(writes == 0),
            format!(
                "writes in {} idle seconds: {writes}{named} (target 0); all else: {}",
                time.as_secs(),
                list(false).join(", ")
            ),
        );
    }

    pub(crate) fn all_met(&self) -> bool {
        self.0.iter().all(|verdict| verdict.met != Some(false))
    }

    pub(crate) fn print(&self) {
        println!("== figures");
        for verdict in &self.0 {
            let word = match verdict.met {
                Some(true) => "met   ",
                Some(false) => "MISSED",
                None => "      ",
            };
            println!("{word}  {}", verdict.figure);
        }
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The sum over all series of a metric; nothing when there are none.
pub(crate) fn total(metrics: &str, name: &str) -> Option<f64> {
    series(metrics, name)
        .map(|(_, value)| value)
        .reduce(|a, b| a + b)
}

/// A quantile of a histogram over all its series, linear within a bucket, and the number of
/// values. Nothing when there is no such histogram or nothing is in it.
fn quantile(metrics: &str, name: &str, share: f64) -> Option<(f64, u64)> {
    let mut buckets: BTreeMap<u64, f64> = BTreeMap::new();
    for (labels, count) in series(metrics, &format!("{name}_bucket")) {
        let mut labels = labels.split(',');
        let bound = labels.find_map(|label| label.strip_prefix("le=\""))?;
        let bound: f64 = bound.trim_end_matches('"').parse().ok()?;
        // Positive floats are in the order of their bits.
        *buckets.entry(bound.to_bits()).or_default() += count;
    }
    let all = buckets.values().last().copied().filter(|&all| all > 0.0)?;
    let wanted = all * share;
    let (mut below, mut from) = (0.0, 0.0);
    for (bound, count) in buckets {
        let bound = f64::from_bits(bound);
        if count >= wanted {
            // Beyond the last bound nothing is known but that it is beyond.
            let value = match bound.is_finite() && count > below {
                true => from + (bound - from) * (wanted - below) / (count - below),
                false => bound,
            };
            return Some((value, all as u64));
        }
        (below, from) = (count, bound);
    }
    None
}

/// Labels and value of each series of exactly this name.
fn series<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let value = value.split(' ').next()?.parse().ok()?;
        Some((labels, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# TYPE a_seconds histogram
a_seconds_bucket{le=\"0.01\",of=\"x\"} 90
a_seconds_bucket{le=\"0.1\",of=\"x\"} 100
a_seconds_bucket{le=\"+Inf\",of=\"x\"} 100
a_seconds_bucket{le=\"0.01\",of=\"y\"} 90
a_seconds_bucket{le=\"0.1\",of=\"y\"} 99
a_seconds_bucket{le=\"+Inf\",of=\"y\"} 100
b_total{x=\"1\"} 2
b_total{x=\"2\"} 3
b_totally 9
c 1
";

    #[test]
    fn sums_are_over_series_of_exactly_that_name() {
        assert_eq!(total(METRICS, "b_total"), Some(5.0));
        assert_eq!(total(METRICS, "c"), Some(1.0));
        assert_eq!(total(METRICS, "d"), None);
    }

    #[test]
    fn quantiles_are_over_all_series_and_linear_within_a_bucket() {
        let (p45, count) = quantile(METRICS, "a_seconds", 0.45).unwrap_or_default();
        assert!((p45 - 0.005).abs() < 1e-9, "{p45}");
        assert_eq!(count, 200);
        let (p99, _) = quantile(METRICS, "a_seconds", 0.99).unwrap_or_default();
        assert!(p99 > 0.09 && p99 < 0.1, "{p99}");
        let last = quantile(METRICS, "a_seconds", 0.999).map(|(value, _)| value);
        assert_eq!(last, Some(f64::INFINITY));
        assert_eq!(quantile(METRICS, "b", 0.99), None);
    }

    #[test]
    fn the_median_of_three() {
        let seconds = [3, 1, 2].map(Duration::from_secs);
        assert_eq!(median(&seconds), Duration::from_secs(2));
    }
}
