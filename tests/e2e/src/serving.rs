//! On which nodes an agent serves, looked at all the time while something else goes on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use scope_emulator::{Options, Probe};

use crate::world::World;

/// How often each node is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// A machine with few cores may be late now and then; a gap beyond this could hide a whole outage.
const LONGEST_GAP: Duration = Duration::from_secs(2);

/// A look asks two sockets within half a second each, and perhaps once more; what is beyond that is a gap, too.
const LONGEST_LOOK: Duration = Duration::from_secs(4);

/// What a probe says of a plugin whose answer takes too long.
const LATE: &str = "deadline exceeded";

/// A look at one node.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// When there was an answer, or none came.
    ended: Instant,
    serving: bool,
}

/// What was seen on every node, in the order of time.
pub struct Seen {
    nodes: Vec<(String, Vec<Sample>)>,
}

/// Does `work`, and has each node's plugin socket asked for a report every 200 ms meanwhile, as Scope's
/// probe would ask it.
///
/// # Errors
/// Those of `work`, and when a node could not be looked at.
pub fn while_watched(
    world: &mut World,
    plugin: &str,
    work: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<Seen> {
    let over = AtomicBool::new(false);
    let nodes: Vec<(String, PathBuf)> = world
        .nodes()
        .into_iter()
        .map(|name| (name.clone(), world.plugin_dir(&name)))
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|(name, directory)| {
                let over = &over;
                (name, scope.spawn(move || watch(directory, plugin, over)))
            })
            .collect();
        let worked = work(world);
        over.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for (name, thread) in threads {
            let samples = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            seen.push((name.clone(), samples.with_context(|| name.clone())));
        }
        worked?;
        let nodes = seen
            .into_iter()
            .map(|(name, samples)| Ok((name, samples?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Seen { nodes })
    })
}

fn watch(directory: &Path, plugin: &str, over: &AtomicBool) -> anyhow::Result<Vec<Sample>> {
    let mut probe = Probe::new(directory, Options::default())?;
    let mut samples = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let at = Instant::now();
        probe.scan()?;
        let serving = match status(&mut probe, plugin)? {
            // The machine may have had something else to do just then; who hangs does so again.
            Some(late) if late.contains(LATE) => status(&mut probe, plugin)?,
            status => status,
        };
        samples.push(Sample {
            at,
            ended: Instant::now(),
            serving: serving.is_some_and(|status| status == "ok"),
        });
        std::thread::sleep(PERIOD.saturating_sub(at.elapsed()));
    }
    Ok(samples)
}

/// How the plugin answers now, if its socket is there.
fn status(probe: &mut Probe, plugin: &str) -> anyhow::Result<Option<String>> {
    let mut heard = probe.spy()?.plugins();
    let found = heard.find(|heard| heard.id == plugin);
    Ok(found.map(|heard| heard.status.clone()))
}

impl Seen {
    /// The most nodes without a serving agent at any one time.
    ///
    /// # Errors
    /// When a node was not looked at for so long that something may have been missed.
    pub fn most_away(&self) -> anyhow::Result<usize> {
        let mut changes: Vec<(Instant, isize)> = Vec::new();
        for (name, samples) in &self.nodes {
            ensure!(!samples.is_empty(), "{name} was never looked at");
            let mut away = false;
            let seen_within = |from: Instant, to: Instant, limit: Duration| {
                let took = to.saturating_duration_since(from);
                ensure!(
                    took < limit || took.saturating_sub(self.stood_still(from, to)) < limit,
                    "{name} was not looked at for {:.1} s",
                    took.as_secs_f64()
                );
                Ok(())
            };
            for pair in samples.windows(2) {
                seen_within(pair[0].ended, pair[1].at, LONGEST_GAP)?;
            }
            for sample in samples {
                seen_within(sample.at, sample.ended, LONGEST_LOOK)?;
                // Away from the begin of a look on, and back when there was an answer.
                if away == sample.serving {
                    away = !away;
                    changes.push(match away {
                        true => (sample.at, 1),
                        false => (sample.ended, -1),
                    });
                }
            }
        }
        // Who is back is back first, where both were seen at the same instant.
        changes.sort();
        let (mut now, mut most) = (0, 0);
        for (_, change) in changes {
            now += change;
            most = most.max(now);
        }
        Ok(most.unsigned_abs())
    }

    /// For how long at a stretch no look at any node began or ended within this time, as on a machine that stands still,
    /// and what is looked at with it.
    fn stood_still(&self, from: Instant, to: Instant) -> Duration {
        let all = self.nodes.iter().flat_map(|(_, samples)| samples);
        let moments = all.flat_map(|sample| [sample.at, sample.ended]);
        let mut within: Vec<Instant> = moments.filter(|at| (from..=to).contains(at)).collect();
        within.sort_unstable();
        let pairs = within.windows(2).map(|pair| pair[1] - pair[0]);
        pairs.max().unwrap_or_default()
    }

    /// Looks at all nodes together.
    pub fn looks(&self) -> usize {
        self.nodes.iter().map(|(_, samples)| samples.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(nodes: &[&str]) -> Seen {
        let start = Instant::now();
        let samples = |marks: &str| {
            let sample = |(n, mark)| {
                let at = start + PERIOD * u32::try_from(n).unwrap();
                Sample {
                    at,
                    ended: at,
                    serving: mark == '+',
                }
            };
            marks.chars().enumerate().map(sample).collect()
        };
        let named = nodes
            .iter()
            .map(|marks| ((*marks).to_owned(), samples(marks)));
        Seen {
            nodes: named.collect(),
        }
    }

    #[test]
    fn who_is_away_at_the_same_time_is_counted() {
        for (nodes, most) in [
            (&["++++", "++++"][..], 0),
            (&["+--+", "++++"], 1),
            (&["--++", "++--"], 1),
            (&["+--+", "++--"], 2),
            (&["----", "----", "+-++"], 3),
        ] {
            let seen = seen(nodes);
            assert_eq!(seen.most_away().unwrap(), most, "{nodes:?}");
            assert_eq!(seen.looks(), nodes.len() * 4);
        }
    }

    #[test]
    fn a_gap_is_no_proof() {
        let mut seen = seen(&["++++", &"+".repeat(60)]);
        seen.nodes[0].1[3].at += LONGEST_GAP + PERIOD;
        assert!(seen.most_away().is_err());
        // That of a look is its answer's, but for no longer than answers take.
        seen.nodes[0].1[2].ended += LONGEST_GAP;
        assert_eq!(seen.most_away().unwrap(), 0);
        seen.nodes[0].1[3].ended = seen.nodes[0].1[3].at + LONGEST_LOOK + PERIOD;
        assert!(seen.most_away().is_err());
        seen.nodes[0].1.clear();
        assert!(seen.most_away().is_err());
    }

    #[test]
    fn who_is_back_is_so_from_the_answer_on() {
        let mut seen = seen(&["+-++++", "++++--"]);
        assert_eq!(seen.most_away().unwrap(), 1);
        seen.nodes[0].1[2].ended = seen.nodes[0].1[5].at;
        assert_eq!(seen.most_away().unwrap(), 2);
    }

    #[test]
    fn that_of_all_nodes_is_the_machines() {
        let mut seen = seen(&["++++", "++++"]);
        for (_, samples) in &mut seen.nodes {
            samples[3].at += LONGEST_GAP;
            samples[3].ended += LONGEST_GAP;
        }
        assert_eq!(seen.most_away().unwrap(), 0);
    }
}
