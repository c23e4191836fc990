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
    /// In order, and all else of them in the same order.
    objects: Box<[Object]>,
    rows: Box<[Row]>,
    /// The version of the set of a Service's pods that it is of, from the first on that has one; 0 where none was
    /// named.
    members: Box<[u64]>,
    metrics: Box<[Metric]>,
    numbers: Box<[f64]>,
}

/// Where the values of an object are. They end where those of the next one begin.
#[derive(Debug)]
struct Row {
    counted: u32,
    begin: u32,
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
        let row = |partial: &&scope_totals_wire::Partial| {
            let of_this = || partial.values.iter().map(|(metric, _)| metric);
            if !of_this().eq(metrics[before.clone()].iter().copied()) {
                let begin = metrics.len();
                metrics.extend(of_this());
                before = begin..metrics.len();
            }
            // A report has at most MAX_OBJECTS times MAX_VALUES of them, which is less than a u32 holds.
            let begin = numbers.len() as u32;
            numbers.extend(partial.values.iter().map(|(_, number)| number));
            Row {
                counted: partial.counted,
                begin,
                metrics: before.start as u32,
            }
        };
        let rows = sorted.iter().map(row).collect();
        let members = sorted.iter().map(|partial| partial.members);
        let members = members.skip_while(Option::is_none);
        Self {
            boot: report.boot.as_str().into(),
            sequence: report.sequence,
            sampled,
            node: report.node,
            objects: sorted.iter().map(|partial| partial.object()).collect(),
            rows,
            members: members.map(Option::unwrap_or_default).collect(),
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

    /// Whether it is of as many pods of each object.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        let mut counted = self.rows.iter().zip(&other.rows);
        self.objects == other.objects && counted.all(|(one, other)| one.counted == other.counted)
    }

    pub(super) fn sampled(&self) -> Moment {
        self.sampled
    }

    pub(super) fn node(&self) -> Node {
        self.node
    }

    /// The objects that it tells of, in order.
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// What it tells of the object in this place.
    pub(super) fn part(&self, place: usize) -> Part<'_> {
        let row = &self.rows[place];
        let next = self.rows.get(place + 1);
        let end = next.map_or(self.numbers.len(), |next| next.begin as usize);
        let numbers = &self.numbers[row.begin as usize..end];
        // From the back, since the first ones have none.
        let members = (place + self.members.len()).checked_sub(self.rows.len());
        Part {
            counted: row.counted,
            metrics: &self.metrics[row.metrics as usize..][..numbers.len()],
            numbers,
            members: members.map_or(0, |place| self.members[place]),
        }
    }
}
