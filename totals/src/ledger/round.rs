//! Adding up. It is done once in each interval and for all agents, so that all show the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scope_totals_wire::{Metric, Object, Total};

use super::{Ledger, Nodes, reach};
use crate::{
    census::{Holdings, Places},
    time::Moment,
};

/// The totals of every plugin.
#[derive(Debug, Default)]
pub struct Round {
    plugins: BTreeMap<Arc<str>, Totals>,
}

/// The totals of a plugin.
#[derive(Debug, Default)]
pub struct Totals {
    /// In the order of the objects.
    rows: Vec<Row>,
    values: Vec<(Metric, f64)>,
}

#[derive(Debug)]
struct Row {
    object: Object,
    pods: u32,
    counted: u32,
    cpus: u32,
    memory: u64,
    /// The oldest sample in it.
    oldest: Moment,
    begin: usize,
    end: usize,
}

impl Round {
    /// Adds up what is in the ledger.
    pub fn new(ledger: &Ledger, holdings: &Holdings, now: Moment, interval: Duration) -> Self {
        let totals = |nodes: &Nodes| Totals::new(nodes, holdings, now, interval);
        let plugins = ledger.plugins.iter();
        Self {
            plugins: plugins
                .map(|(plugin, nodes)| (Arc::clone(plugin), totals(nodes)))
                .collect(),
        }
    }

    /// The totals of a plugin, if an agent of it has reported.
    pub fn of(&self, plugin: &str) -> Option<&Totals> {
        self.plugins.get(plugin)
    }

    /// How many totals there are, of all plugins.
    pub fn len(&self) -> usize {
        self.plugins.values().map(|totals| totals.rows.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Totals {
    fn new(nodes: &Nodes, holdings: &Holdings, now: Moment, interval: Duration) -> Self {
        let mut totals = Self::default();
        let mut sum = Sum::default();
        for (object, places) in &holdings.objects {
            if sum.over(nodes, *object, places, now, interval) {
                totals.push(*object, &sum);
            }
        }
        totals.rows.sort_unstable_by_key(|row| row.object);
        totals
    }

    fn push(&mut self, object: Object, sum: &Sum) {
        let begin = self.values.len();
        self.values.extend_from_slice(&sum.values);
        self.rows.push(Row {
            object,
            pods: sum.pods,
            counted: sum.counted,
            cpus: sum.cpus,
            memory: sum.memory,
            oldest: sum.oldest,
            begin,
            end: self.values.len(),
        });
    }

    /// The total of an object, if there is one that is not too old by now.
    pub fn get(&self, object: Object, now: Moment, interval: Duration) -> Option<Total> {
        let row = self.rows.binary_search_by_key(&object, |row| row.object);
        let row = &self.rows[row.ok()?];
        let left = reach(interval).checked_sub(row.oldest.age(now))?;
        (!left.is_zero()).then(|| Total {
            kind: object.kind,
            uid: object.uid,
            pods: row.pods,
            counted: row.counted,
            cpus: row.cpus,
            memory: row.memory,
            // What is left of a millisecond is no time.
            valid_ms: left.as_millis() as u64,
            values: self.values[row.begin..row.end].iter().copied().collect(),
        })
    }
}

/// The sum over the nodes of one object; used again for the next.
#[derive(Default)]
struct Sum {
    pods: u32,
    counted: u32,
    cpus: u32,
    memory: u64,
    oldest: Moment,
    values: Vec<(Metric, f64)>,
}

impl Sum {
    /// Adds up. Whether there is a total.
    fn over(
        &mut self,
        nodes: &Nodes,
        object: Object,
        places: &Places,
        now: Moment,
        interval: Duration,
    ) -> bool {
        *self = Self {
            oldest: now,
            values: std::mem::take(&mut self.values),
            ..Self::default()
        };
        self.values.clear();
        // In the order of the nodes' names, since sums of floating-point numbers depend on the order.
        for (node, pods) in places {
            let Some(kept) = nodes.get(node) else {
                return false;
            };
            if !kept.sampled().within(reach(interval), now) {
                return false;
            }
            self.oldest = self.oldest.min(kept.sampled());
            self.cpus = self.cpus.saturating_add(kept.node().cpus);
            self.memory = self.memory.saturating_add(kept.node().memory);
            let part = kept.part(object).filter(|part| part.counted > 0);
            let counted = part.map_or(0, |part| part.counted);
            // A node may still count a pod that the API server has forgotten, for an interval or two.
            self.pods = self.pods.saturating_add(counted.max(*pods));
            if let Some(part) = part {
                let values = part
                    .metrics
                    .iter()
                    .copied()
                    .zip(part.numbers.iter().copied());
                if self.counted == 0 {
                    self.values.extend(values);
                } else {
                    add(&mut self.values, values);
                }
                self.counted = self.counted.saturating_add(counted);
            }
        }
        self.counted > 0
    }
}

/// Adds values, both in the order of their metrics. What one of the two does not know is not known of their
/// sum.
fn add(sum: &mut Vec<(Metric, f64)>, values: impl Iterator<Item = (Metric, f64)>) {
    let mut values = values.peekable();
    sum.retain_mut(|(metric, number)| {
        while values.next_if(|(other, _)| other < metric).is_some() {}
        let same = values.next_if(|(other, _)| other == metric);
        if let Some((_, more)) = same {
            *number += more;
        }
        same.is_some()
    });
}
