//! Which parts go into which report, so that each stays small.

/// Which of the parts that rarely change go into a report. CPU and memory go into each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// Those whose turn it is: a fifth of the processes and of the other metrics, a third of the
    /// names, parents and the like. The number counts the reports. Scope's app puts together what
    /// came in 15 s, so this is right while every probe asks for nearly every report, once a second
    /// or so; one that sees every fifth report would see the same fifth of the nodes.
    Turn(u64),
}

/// Reports until each node's metrics besides CPU and memory, and its processes, went out.
const METRICS_EVERY: u64 = 5;

/// Reports until each node's names and parents went out: within one publish of the probe (3 s).
const NAMES_EVERY: u64 = 3;

impl Share {
    /// Whether the further metrics of the node are in this report.
    pub(super) fn has_metrics(self, id: &str) -> bool {
        self.has(id, METRICS_EVERY)
    }

    /// Whether the names and parents of the node are in this report.
    pub(super) fn has_names(self, id: &str) -> bool {
        self.has(id, NAMES_EVERY)
    }

    fn has(self, id: &str, every: u64) -> bool {
        match self {
            Share::Whole => true,
            Share::Turn(turn) => hash(id).wrapping_add(turn).is_multiple_of(every),
        }
    }
}

/// FNV-1a: any hash does that spreads IDs evenly and is the same after a restart.
fn hash(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits of FNV alone are weak modulo small numbers; u64::MAX must not be near for
    // `wrapping_add` to keep its turns.
    hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_its_turn_and_turns_are_even() {
        let ids: Vec<String> = (0..3000).map(|n| format!("{n};<container>")).collect();
        for first in [0, 7, 1 << 40] {
            for (every, has) in [
                (5, Share::has_metrics as fn(Share, &str) -> bool),
                (3, Share::has_names),
            ] {
                let mut seen = vec![0; ids.len()];
                for turn in first..first + every {
                    let due: Vec<usize> = (0..ids.len())
                        .filter(|&n| has(Share::Turn(turn), &ids[n]))
                        .collect();
                    let even = ids.len() / every as usize;
                    assert!(
                        due.len().abs_diff(even) < even / 5,
                        "{} of {even}",
                        due.len()
                    );
                    due.into_iter().for_each(|n| seen[n] += 1);
                }
                assert!(seen.iter().all(|&n| n == 1));
            }
        }
        assert!(Share::Whole.has_metrics("x") && Share::Whole.has_names("x"));
    }
}
