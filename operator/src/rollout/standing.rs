//! How a rollout stands, for the status: facts, not yet words.

use std::borrow::Cow;

use jiff::Timestamp;
use scope_crds::FailingNode;

/// How a rollout stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// Nodes that the plugin belongs on.
    pub(crate) desired: usize,
    /// Nodes whose pod is of the wanted revision.
    pub(crate) updated: usize,
    /// Nodes whose pod is ready.
    pub(crate) ready: usize,
    /// Nodes whose pod has been ready for long enough.
    pub(crate) serving: usize,
    /// Nodes that are NotReady, in the order of their names.
    pub(crate) down: Vec<String>,
    /// What the rollout waits for.
    pub(crate) waiting: Waiting,
    /// Nodes that should serve and do not.
    pub(crate) failing: Failures,
}

/// What a rollout waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Waiting {
    /// Nothing: all is done, or it has ended.
    #[default]
    Nothing,
    /// The pods of these nodes, which are being replaced or are starting.
    Nodes(Vec<String>),
    /// The time for which the canary is watched.
    Soak { until: Timestamp },
    /// As many nodes are without a serving agent as may be.
    Budget { away: Vec<String>, budget: usize },
    /// Every node that could be next is NotReady.
    Down,
    /// `spec.rollout.paused`.
    Paused,
    /// `spec.rollout.partition`: so many nodes stay as they are.
    Partition { stay: usize },
    /// `spec.rollout.partition` leaves no node to update.
    PartitionTooLarge { partition: usize },
    /// No node has the canary's labels.
    NoCanary,
    /// Another plugin, whose agents the new operator changes first.
    Plugin(String),
}

/// A node that should serve and does not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failing {
    pub(crate) node: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Timestamp,
    /// Whether it counts against the rollout.
    pub(crate) counts: bool,
}

/// All nodes that should serve and do not: how many, and as many of them as a status names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failures {
    worst: Vec<Failing>,
    total: usize,
    counted: usize,
}

/// One that was found; its texts are kept only if it is among the worst.
pub(crate) struct Found<'a> {
    pub(crate) node: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: Cow<'a, str>,
    pub(crate) since: Timestamp,
    pub(crate) counts: bool,
}

impl Failures {
    /// Those that are named, worst first: what counts against the rollout, then what is so for longest.
    pub(crate) fn worst(&self) -> &[Failing] {
        &self.worst
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// How many count against the rollout.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    pub(crate) fn add(&mut self, found: Found<'_>) {
        self.total += 1;
        self.counted += usize::from(found.counts);
        let rank = (!found.counts, found.since, found.node);
        let worse = |known: &Failing| (!known.counts, known.since, known.node.as_str()) < rank;
        let place = self.worst.partition_point(worse);
        if place < FailingNode::MAX {
            self.worst.truncate(FailingNode::MAX - 1);
            self.worst.insert(place, Failing::from(found));
        }
    }
}

impl From<Found<'_>> for Failing {
    fn from(found: Found<'_>) -> Self {
        Self {
            node: found.node.to_owned(),
            reason: found.reason.to_owned(),
            message: found.message.into_owned(),
            since: found.since,
            counts: found.counts,
        }
    }
}

impl Failing {
    /// As a person would say it.
    pub(crate) fn in_words(&self) -> String {
        let Self {
            node,
            reason,
            message,
            ..
        } = self;
        if message.is_empty() {
            format!("{node}: {reason}")
        } else {
            format!("{node}: {reason}: {message}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_named_and_all_are_counted() {
        let mut failures = Failures::default();
        // In no order, and every third of them is not the rollout's fault.
        let all: Vec<(String, Timestamp, bool)> = (0..1_000_i64)
            .map(|n| (n * 617) % 1_000)
            .map(|n| {
                let since = Timestamp::from_second(1_000 - n / 4).unwrap();
                (format!("n{n:03}"), since, n % 3 != 0)
            })
            .collect();
        for (node, since, counts) in &all {
            failures.add(Found {
                node,
                reason: "NotReady",
                message: Cow::Borrowed("it is not"),
                since: *since,
                counts: *counts,
            });
        }
        let mut sorted = all;
        sorted.sort_by_key(|(node, since, counts)| (!counts, *since, node.clone()));
        let named: Vec<&str> = failures.worst().iter().map(|f| f.node.as_str()).collect();
        let wanted: Vec<&str> = sorted
            .iter()
            .take(10)
            .map(|(node, ..)| node.as_str())
            .collect();
        assert_eq!(named, wanted);
        assert_eq!((failures.total(), failures.counted()), (1_000, 666));
    }
}
