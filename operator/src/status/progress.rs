//! A rollout in words.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scope_crds::{RolloutPhase, RolloutStatus};

use super::{Verdict, words};
use crate::rollout::{Record, Stage, Standing, Waiting};

/// The longest message of a rollout that the schema takes.
const MAX_MESSAGE: usize = 1024;

/// How a plugin's rollout goes.
#[derive(Clone, Copy)]
pub(crate) struct Progress<'a> {
    pub(crate) record: &'a Record,
    pub(crate) standing: &'a Standing,
    /// The revision that the plugin asks for.
    pub(crate) wanted: &'a str,
}

impl Progress<'_> {
    /// What the rollout does.
    pub(crate) fn phase(&self) -> RolloutPhase {
        let Some(run) = &self.record.run else {
            return RolloutPhase::Idle;
        };
        let held = matches!(
            self.standing.waiting,
            Waiting::Paused | Waiting::Partition { .. } | Waiting::PartitionTooLarge { .. }
        );
        match run.stage {
            Stage::Halted { .. } => RolloutPhase::Halted,
            Stage::RollingBack { .. } | Stage::RolledBack { .. } => RolloutPhase::RolledBack,
            _ if held => RolloutPhase::Paused,
            Stage::Canary => RolloutPhase::Canary,
            Stage::Soaking { .. } => RolloutPhase::Soaking,
            Stage::Rolling => RolloutPhase::Rolling,
            Stage::Done if self.is_under_way() => RolloutPhase::Rolling,
            Stage::Done => RolloutPhase::Idle,
        }
    }

    /// Whether a node is being brought to its revision, be it one that comes back.
    fn is_under_way(&self) -> bool {
        let run = self.record.run.as_ref();
        run.is_some_and(|run| !run.in_flight.is_empty())
    }

    pub(super) fn status(&self, message: &str) -> RolloutStatus {
        let run = self.record.run.as_ref();
        let under_way = run.filter(|run| run.stage.is_under_way() || self.is_under_way());
        let wave = under_way.map(|run| match run.stage {
            Stage::Canary | Stage::Soaking { .. } => "canary",
            _ => "rest",
        });
        RolloutStatus {
            phase: self.phase(),
            wave: wave.map(str::to_owned),
            // In whole seconds, as Kubernetes keeps it: anything finer would differ after each read.
            started_at: run.map(|run| Time(whole_seconds(run.started))),
            message: message.chars().take(MAX_MESSAGE).collect(),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let standing = self.standing;
        let so_far = words::progress(standing.ready, standing.updated, standing.desired);
        let Some(run) = &self.record.run else {
            return Verdict::on_the_way("RollingOut", so_far);
        };
        match &run.stage {
            Stage::Halted { why } => {
                let message = format!(
                    "The rollout stopped: {why}. {so_far}. The other nodes keep what they have. Correct the \
                     ScopePlugin; any change of its spec starts anew"
                );
                Verdict::stalled("RolloutHalted", message)
            }
            Stage::RollingBack { why } => {
                let so_far = match &standing.waiting {
                    Waiting::Paused => format!("{so_far}. Paused by spec"),
                    _ => self.with_waiting(&so_far),
                };
                let message = format!("Going back to the last good revision: {why}. {so_far}");
                Verdict::stalled("RolledBack", message)
            }
            Stage::RolledBack { why } => {
                let message = format!(
                    "Back at the last good revision: {why}. Correct the ScopePlugin; any change of its spec \
                     starts anew"
                );
                Verdict::stalled("RolledBack", message)
            }
            Stage::Done => self.done(so_far),
            Stage::Canary | Stage::Soaking { .. } | Stage::Rolling => self.on_the_way(&so_far),
        }
    }

    /// Nothing new is rolled out: it serves, or it does not, or nodes come back to it.
    fn done(&self, so_far: String) -> Verdict {
        let standing = self.standing;
        if let Waiting::Plugin(other) = &standing.waiting {
            return Verdict::on_the_way(
                "WaitingForPlugin",
                format!(
                    "{so_far}. The operator changes the agents of one plugin after the other, and those of {other} \
                     are not done"
                ),
            );
        }
        if let Some(held) = self.held(&so_far) {
            return held;
        }
        // One that came back with an older revision may have to wait for others.
        let behind = matches!(standing.waiting, Waiting::Budget { .. });
        if self.is_under_way() || behind {
            return Verdict::on_the_way("RollingOut", self.with_waiting(&so_far));
        }
        let up = standing.desired - standing.down.len();
        if standing.serving < up {
            return Verdict::new(false, "NodesNotReady", self.with_failing(so_far));
        }
        if standing.down.is_empty() {
            return Verdict::new(true, "AllNodesReady", so_far);
        }
        let down = words::names(&standing.down);
        let message = format!("{so_far}; waiting for NotReady nodes {down}");
        if up == 0 {
            return Verdict::new(false, "NodesNotReady", message);
        }
        Verdict::new(true, "ReadyNodesDone", message)
    }

    /// What the spec asks to stand still.
    fn held(&self, so_far: &str) -> Option<Verdict> {
        match &self.standing.waiting {
            Waiting::Paused => {
                let message = format!("{so_far}. Paused by spec");
                Some(Verdict::paused("Paused", message))
            }
            Waiting::Partition { stay } => {
                let message =
                    format!("{so_far}. Held by partition: {stay} stay at the old revision");
                Some(Verdict::paused("HeldByPartition", message))
            }
            _ => None,
        }
    }

    fn on_the_way(&self, so_far: &str) -> Verdict {
        let standing = self.standing;
        if let Some(held) = self.held(so_far) {
            return held;
        }
        match &standing.waiting {
            Waiting::PartitionTooLarge { partition } => Verdict::stalled(
                "PartitionTooLarge",
                format!(
                    "spec.rollout.partition is {partition} and the plugin has {} nodes, so none is updated. Make \
                     it smaller",
                    standing.desired
                ),
            ),
            Waiting::NoCanary => Verdict::stalled(
                "CanaryMatchesNoNode",
                "No node of the plugin has the labels of spec.rollout.canary.nodeSelector, so nothing is \
                 updated. Correct it, or label a node"
                    .into(),
            ),
            Waiting::Soak { .. } => {
                Verdict::on_the_way("CanarySoaking", self.with_waiting(so_far))
            }
            _ => Verdict::on_the_way("RollingOut", self.with_waiting(so_far)),
        }
    }

    fn with_waiting(&self, so_far: &str) -> String {
        let names = words::names;
        let standing = self.standing;
        let mut message = so_far.to_owned();
        match &standing.waiting {
            Waiting::Nodes(nodes) => message.push_str(&format!("; under way: {}", names(nodes))),
            Waiting::Soak { until } => {
                let until = whole_seconds(*until);
                message.push_str(&format!("; the canary is watched until {until}"));
            }
            Waiting::Budget { away, budget } => message.push_str(&format!(
                "; waiting, since {budget} may be without a serving agent and {} are: {}",
                away.len(),
                names(away)
            )),
            _ => {}
        }
        if !standing.down.is_empty() {
            let down = names(&standing.down);
            message.push_str(&format!("; waiting for NotReady nodes {down}"));
        }
        self.with_failing(message)
    }

    fn with_failing(&self, mut message: String) -> String {
        if let Some(worst) = self.standing.failing.worst().first() {
            message.push_str(&format!("; {}", worst.in_words()));
        }
        message
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
