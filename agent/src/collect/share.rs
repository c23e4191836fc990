//! Which parts go into which report, so that each stays small.

use std::time::Duration;

/// Which of the parts that rarely change go into a report. CPU and memory go into each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// Those whose turn it is.
    Turn {
        /// Counts the turns. The next one begins when every probe has got a report of this one.
        number: u64,
        /// How many turns there are.
        cycle: Cycle,
    },
}

/// Turns until each node's parts have gone out.
///
/// What Scope makes of it: the app remembers 15 s, but takes reports that come within 3 s for one, so
/// 12 s are sure. The probe publishes every 3 s (4.5 s in Scope's hosted manifests), and only every
/// third publish is complete: of a node in the others it leaves out the values, the sets or the
/// parents that are all as they were in the last complete one. Metrics it never leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Metrics besides CPU and memory.
    pub metrics: u64,
    /// What a container's state is, and what nodes belong to: small, and to be in each publish.
    pub state: u64,
    /// What nodes are called, and their controls. Told with a value that changes, see
    /// [`Share::mark`], so that the probe leaves none of it out.
    pub names: u64,
    /// Links from processes to containers, likewise.
    pub processes: u64,
}

impl Cycle {
    /// For probes that ask every second, Scope's default. Of publishes every 4.5 s one in two has
    /// what is told every 8 s, and of publishes every 3 s one in three: it comes every 9 s at the
    /// latest, and there is a second to spare for a probe that comes late.
    pub const SECOND: Cycle = Cycle {
        metrics: 8,
        state: 3,
        names: 8,
        processes: 8,
    };

    /// For probes that ask every other second, as Scope's hosted manifests let them. A publish may
    /// have only one of their reports in it.
    pub const TWO_SECONDS: Cycle = Cycle {
        metrics: 4,
        state: 1,
        names: 4,
        processes: 4,
    };

    /// The turns at which Scope's app loses nothing if the slowest probe asks at this pace; `None`
    /// where all has to go into each report.
    pub fn at(pace: Duration) -> Option<Self> {
        match pace.as_millis() {
            ..=1400 => Some(Cycle::SECOND),
            1401..=2600 => Some(Cycle::TWO_SECONDS),
            _ => None,
        }
    }
}

impl Cycle {
    /// The turn of the node among those beside that of the host's names, or the one so many of them later.
    fn beside(self, id: &str, host: &str, later: u64) -> u64 {
        let others = self.names.saturating_sub(1).max(1);
        let behind = 1 + ((hash(id) >> 16) + later) % others;
        let host = (hash(host) >> 16) % self.names;
        (behind + self.names - host) % self.names
    }
}

/// What goes out in each turn of a cycle besides totals, by rough weight.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    cycle: Option<Cycle>,
    turns: Vec<u64>,
}

/// Nodes that tell the totals of a controller in a cycle. That none does happens once in 160,000 cycles
/// (1 in e¹²), so every other week, and then the totals may be absent for some seconds.
const SPEAKERS: u64 = 12;

/// A pod's or container's further metrics have some 2 KB, what it is called and its controls 1 KB.
const METRICS: u64 = 2;
const NAMES: u64 = 1;

impl Load {
    /// With nothing in it.
    pub(super) fn new(share: Share) -> Self {
        match share {
            Share::Whole => Load::default(),
            Share::Turn { cycle, .. } => Load {
                cycle: Some(cycle),
                turns: vec![0; usize::try_from(cycle.names).unwrap_or_default()],
            },
        }
    }

    /// Adds a pod or a container.
    pub(super) fn add(&mut self, id: &str) {
        let Some(cycle) = self.cycle else {
            return;
        };
        let hash = hash(id);
        for (hash, turns, weight) in [
            (hash, cycle.metrics, METRICS),
            (hash >> 16, cycle.names, NAMES),
        ] {
            // See `Share::has`.
            let turn = (turns - hash % turns) % turns;
            let place = usize::try_from(turn)
                .ok()
                .and_then(|turn| self.turns.get_mut(turn));
            if let Some(load) = place {
                *load += weight;
            }
        }
    }

    fn of(&self, turn: u64) -> u64 {
        let turn = usize::try_from(turn)
            .ok()
            .and_then(|turn| self.turns.get(turn));
        turn.copied().unwrap_or_default()
    }
}

impl Share {
    /// Whether the further metrics of the node are in this report.
    pub(super) fn has_metrics(self, id: &str) -> bool {
        self.has(hash(id), |cycle| cycle.metrics)
    }

    /// Whether the node's state and parents are in this report.
    pub(super) fn has_state(self, id: &str) -> bool {
        self.has(hash(id) >> 8, |cycle| cycle.state)
    }

    /// Whether the node's names and controls are in this report. Other bits of the hash make that
    /// another one than the one with its metrics as a rule: large parts that go together make some
    /// reports larger than others.
    pub(super) fn has_names(self, id: &str) -> bool {
        self.has(hash(id) >> 16, |cycle| cycle.names)
    }

    /// Whether the controls of a controller or of the host itself are in this report: in one of the
    /// turns beside that of the host's names, whose tables are the largest of all that takes turns.
    pub(super) fn has_controls(self, id: &str, host: &str) -> bool {
        match self {
            Share::Whole => true,
            Share::Turn { number, cycle } => number % cycle.names == cycle.beside(id, host, 0),
        }
    }

    /// Whether the totals of this controller are in this report: in one of two turns, neither of which is
    /// that of the host's names. It is the one with less in it besides, so that totals make no report larger
    /// that is among the largest.
    pub(super) fn has_totals(self, id: &str, host: &str, load: &Load) -> bool {
        match self {
            Share::Whole => true,
            Share::Turn { number, cycle } => {
                let turns = [0, cycle.names / 2].map(|later| cycle.beside(id, host, later));
                let lighter = turns.into_iter().min_by_key(|&turn| load.of(turn));
                lighter == Some(number % cycle.names)
            }
        }
    }

    /// Whether this node tells the totals of the controller in this cycle, of whose `all` pods it has `own`.
    /// All nodes with its pods know the same, and there may be thousands: where reports take turns, some
    /// [`SPEAKERS`] of them tell it, or one of them for certain.
    pub(super) fn speaks_for(self, id: &str, host: &str, own: u32, all: u32) -> bool {
        match self {
            Share::Whole => true,
            Share::Turn { number, cycle } => {
                // The chances of all nodes add up to the number of speakers.
                let (wanted, all) = (SPEAKERS * u64::from(own), u64::from(all));
                let turn = number / cycle.names.max(1);
                let lot = mix(hash(id) << 32 ^ hash(host) ^ mix(turn));
                wanted >= all || lot % all < wanted
            }
        }
    }

    /// Whether the process is in this report.
    pub(super) fn has_process(self, id: &str) -> bool {
        self.has(hash(id), |cycle| cycle.processes)
    }

    /// A value that is another one each time that a node's names are told. `None` where they are in
    /// every report: then they are in every complete publish too, and the probe need not send them
    /// in those between.
    pub(super) fn mark(self) -> Option<u64> {
        match self {
            Share::Whole => None,
            Share::Turn { number, .. } => Some(number % 100),
        }
    }

    /// Whether the process is marked this time: every other time that it is told, which is enough,
    /// since it is told at most twice between one complete publish and the next.
    pub(super) fn marks_process(self, id: &str) -> bool {
        match self {
            Share::Whole => false,
            Share::Turn { number, cycle } => {
                (hash(id).wrapping_add(number) / cycle.processes).is_multiple_of(2)
            }
        }
    }

    fn has(self, hash: u64, turns: fn(Cycle) -> u64) -> bool {
        match self {
            Share::Whole => true,
            Share::Turn { number, cycle } => hash.wrapping_add(number).is_multiple_of(turns(cycle)),
        }
    }
}

/// Any hash does that spreads IDs evenly and is the same after a restart: FNV-1a, and then a mix
/// (that of SplitMix64), since of FNV alone the last characters of an ID change only some of the bits.
fn hash(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // u64::MAX must not be near for `wrapping_add` to keep its turns.
    mix(hash) >> 32
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_its_turn_and_turns_are_even() {
        let containers = (0..3000)
            .map(|n| format!("{n};<container>"))
            .collect::<Vec<_>>();
        let processes = (0..3000)
            .map(|n| format!("worker-17;{}", 100_000 + 7 * n))
            .collect();
        for (ids, first) in [(&containers, 0), (&containers, 1 << 40), (&processes, 7)] {
            for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
                for (every, has) in [
                    (cycle.metrics, Share::has_metrics as fn(Share, &str) -> bool),
                    (cycle.state, Share::has_state),
                    (cycle.names, Share::has_names),
                    (cycle.processes, Share::has_process),
                ] {
                    let mut seen = vec![0; ids.len()];
                    for number in first..first + every {
                        let due: Vec<usize> = (0..ids.len())
                            .filter(|&n| has(Share::Turn { number, cycle }, &ids[n]))
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
        }
        assert!(Share::Whole.has_metrics("x") && Share::Whole.has_names("x"));
        assert_eq!(Share::Whole.mark(), None);
    }

    #[test]
    fn controls_go_out_in_a_turn_of_their_own_but_not_with_the_hosts_names() {
        const HOST: &str = "worker-17;<host>";
        let controllers = (0..3000).map(|n| format!("{n};<deployment>"));
        let mut ids: Vec<_> = controllers.collect();
        ids.push(HOST.to_owned());
        for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
            let mut seen = vec![0; ids.len()];
            for number in 5..5 + cycle.names {
                let share = Share::Turn { number, cycle };
                let due: Vec<usize> = (0..ids.len())
                    .filter(|&n| share.has_controls(&ids[n], HOST))
                    .collect();
                let even = match share.has_names(HOST) {
                    true => 0,
                    false => ids.len() / (cycle.names as usize - 1),
                };
                assert!(due.len().abs_diff(even) <= even / 5, "{}", due.len());
                due.into_iter().for_each(|n| seen[n] += 1);
            }
            assert!(seen.iter().all(|&n| n == 1));
        }
        assert!(Share::Whole.has_controls("x", HOST));
    }

    #[test]
    fn totals_go_out_once_a_cycle_and_leave_the_fullest_turn_alone() {
        const HOST: &str = "worker-17;<host>";
        for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
            assert_eq!(
                cycle.metrics, cycle.names,
                "turns of a load are of one cycle"
            );
            let turn = |number| Share::Turn { number, cycle };
            // Pods whose metrics have all one turn, which is not the host's.
            let full = (0..cycle.names).find(|&number| !turn(number).has_names(HOST));
            let full = full.expect("one of several");
            let mut load = Load::new(turn(0));
            let pods = (0..1000).map(|n| format!("{n};<pod>"));
            for pod in pods.filter(|pod| turn(full).has_metrics(pod)) {
                load.add(&pod);
            }
            for id in (0..100).map(|n| format!("{n};<deployment>")) {
                let told: Vec<u64> = (0..10 * cycle.names)
                    .filter(|&number| turn(number).has_totals(&id, HOST, &load))
                    .collect();
                assert_eq!(told.len(), 10);
                assert!(told.windows(2).all(|pair| pair[1] - pair[0] == cycle.names));
                assert_ne!(told[0], full);
                assert!(!told.iter().any(|&number| turn(number).has_names(HOST)));
            }
        }
        assert!(Share::Whole.has_totals("x", HOST, &Load::new(Share::Whole)));
    }

    #[test]
    fn enough_nodes_speak_for_a_controller_and_not_all() {
        let cycle = Cycle::SECOND;
        let speakers = |pods: &[u32], turn: u64| {
            let share = Share::Turn {
                number: turn * cycle.names,
                cycle,
            };
            let all = pods.iter().sum();
            let nodes = pods.iter().enumerate();
            nodes
                .filter(|(n, own)| {
                    let host = format!("worker-{n};<host>");
                    share.speaks_for("d;<daemonset>", &host, **own, all)
                })
                .count()
        };
        let of_all = |pods: &[u32]| {
            let counts: Vec<usize> = (0..500).map(|turn| speakers(pods, turn)).collect();
            let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
            (counts.into_iter().min().unwrap_or_default(), mean)
        };
        let (fewest, mean) = of_all(&[1; 1000]);
        assert!(
            fewest > 0 && (11.0..13.0).contains(&mean),
            "{fewest} {mean}"
        );
        assert_eq!(of_all(&[1; 12]), (12, 12.0), "of few all do");
        let mut uneven = [1; 100];
        uneven[7] = 50;
        let (fewest, mean) = of_all(&uneven);
        assert!(fewest > 0 && (8.0..10.0).contains(&mean), "{fewest} {mean}");
        assert_eq!(of_all(&[3]), (1, 1.0));
        assert!(Share::Whole.speaks_for("x", "y", 1, 1000));
    }

    #[test]
    fn a_load_knows_the_turn_of_what_it_has() {
        for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
            for id in (0..100).map(|n| format!("{n};<container>")) {
                let mut load = Load::new(Share::Turn { number: 0, cycle });
                load.add(&id);
                for number in 0..cycle.names {
                    let share = Share::Turn { number, cycle };
                    let metrics = METRICS * u64::from(share.has_metrics(&id));
                    let names = NAMES * u64::from(share.has_names(&id));
                    assert_eq!(load.of(number), metrics + names);
                }
            }
        }
    }

    #[test]
    fn what_is_told_again_is_marked_otherwise() {
        for cycle in [Cycle::SECOND, Cycle::TWO_SECONDS] {
            for id in ["a", "b", "node1;17"] {
                let told: Vec<_> = (0..200)
                    .map(|number| Share::Turn { number, cycle })
                    .filter(|share| share.has_process(id))
                    .map(|share| (share.mark(), share.marks_process(id)))
                    .collect();
                assert!(told.len() > 20);
                for pair in told.windows(2) {
                    assert_ne!(pair[0].0, pair[1].0);
                    assert_ne!(pair[0].1, pair[1].1);
                }
            }
        }
    }

    #[test]
    fn slower_probes_get_more_at_a_time() {
        for (pace, cycle) in [
            (900, Some(Cycle::SECOND)),
            (1000, Some(Cycle::SECOND)),
            (2000, Some(Cycle::TWO_SECONDS)),
            (3000, None),
        ] {
            assert_eq!(Cycle::at(Duration::from_millis(pace)), cycle, "{pace}");
        }
    }
}
