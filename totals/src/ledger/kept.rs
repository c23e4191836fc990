//! A report as it is kept: there is one of each agent, so it is small.

use scope_totals_wire::{Metric, Node, Object, Report};

use crate::time::Moment;

/// The newest report of an agent.
#[derive(Debug)]
pub(super) struct Kept {
    boot: Box<str>,
    sequence: u64,
    sampled: Moment,
    node: Node,
    /// In the order of the objects.
    partials: Box<[Place]>,
    metrics: Box<[Metric]>,
    numbers: Box<[f64]>,
}

/// Where the values of an object are.
#[derive(Debug)]
struct Place {
    object: Object,
    counted: u32,
    /// The version of the set of a Service's pods that it is of; 0 where none was named.
    members: u64,
    begin: u32,
    end: u32,
    /// Where its metrics begin. Most objects of a node have the same ones, which are kept once.
    metrics: u32,
}

/// What the pods of one object on the node use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) counted: u32,
    pub(super) members: u64,
    pub(super) metrics: &'a [Metric],
    pub(super) numbers: &'a [f64],
}

impl Kept {
    pub(super) fn new(report: &Report, sampled: Moment) -> Self {
        let mut sorted: Vec<_> = report.objects.iter().collect();
        sorted.sort_unstable_by_key(|partial| partial.object());
        let values = sorted.iter().map(|partial| partial.values.len()).sum();
        let (mut metrics, mut numbers) = (Vec::<Metric>::new(), Vec::with_capacity(values));
        let mut before = 0..0;
        let place = |partial: &&scope_totals_wire::Partial| {
            let of_this = || partial.values.iter().map(|(metric, _)| metric);
            if !of_this().eq(metrics[before.clone()].iter().copied()) {
                let begin = metrics.len();
                metrics.extend(of_this());
                before = begin..metrics.len();
            }
            // A report has at most MAX_OBJECTS times MAX_VALUES of them, which is less than a u32 holds.
            let begin = numbers.len() as u32;
            numbers.extend(partial.values.iter().map(|(_, number)| number));
            Place {
                object: partial.object(),
                counted: partial.counted,
                members: partial.members.unwrap_or_default(),
                begin,
                end: numbers.len() as u32,
                metrics: before.start as u32,
            }
        };
        let partials = sorted.iter().map(place).collect();
        Self {
            boot: report.boot.as_str().into(),
            sequence: report.sequence,
            sampled,
            node: report.node,
            partials,
            metrics: metrics.into(),
            numbers: numbers.into(),
        }
    }

    /// Whether `report`, with a sample of that moment, tells something newer. One process counts its
    /// reports; of two, as before and after a restart, the one whose sample is younger.
    pub(super) fn is_older_than(&self, report: &Report, sampled: Moment) -> bool {
        if *self.boot == *report.boot {
            self.sequence < report.sequence
        } else {
            self.sampled < sampled
        }
    }

    pub(super) fn sampled(&self) -> Moment {
        self.sampled
    }

    pub(super) fn node(&self) -> Node {
        self.node
    }

    pub(super) fn part(&self, object: Object) -> Option<Part<'_>> {
        let place = self
            .partials
            .binary_search_by_key(&object, |place| place.object)
            .ok()?;
        let place = &self.partials[place];
        let numbers = &self.numbers[place.begin as usize..place.end as usize];
        Some(Part {
            counted: place.counted,
            metrics: &self.metrics[place.metrics as usize..][..numbers.len()],
            numbers,
            members: place.members,
        })
    }
}
