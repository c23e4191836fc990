//! Adding up. It is done once in each interval and for all agents, so that all show the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scope_totals_wire::{Kind, MAX_VALUES, Metric, Object, Total, ValuesOf};

use super::{
    Ledger, Reports,
    kept::{Kept, Part},
    reach,
};
use crate::{
    census::{Holdings, Place, Versions},
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
    /// In order, and all else of them in the same order. They are apart, since each agent looks for all of its own.
    objects: Vec<Object>,
    rows: Vec<Row>,
    values: Vec<(Metric, f64)>,
}

#[derive(Debug)]
struct Row {
    pods: u32,
    counted: u32,
    cpus: u32,
    memory: u64,
    /// The oldest sample in it.
    oldest: Moment,
    /// Where its values begin. They end where those of the next one begin.
    begin: usize,
}

impl Round {
    /// Adds up what is in the ledger.
    pub fn new(ledger: &Ledger, holdings: &Holdings, now: Moment, interval: Duration) -> Self {
        let totals = |reports: &Reports| Totals::new(reports, holdings, now, interval);
        let plugins = ledger.plugins.iter();
        Self {
            plugins: plugins
                .map(|(plugin, reports)| (Arc::clone(plugin), totals(reports)))
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
    fn new(reports: &Reports, holdings: &Holdings, now: Moment, interval: Duration) -> Self {
        let memberships = holdings.memberships.as_ref();
        let young = |kept: &&Arc<Kept>| kept.sampled().within(reach(interval), now);
        let told = |(node, name): (u32, &Arc<str>)| {
            let kept = reports.get(name).filter(young)?;
            let services = memberships.map(|of| of.versions(node));
            Some(Told::new(kept, services.unwrap_or_default()))
        };
        let mut nodes: Vec<_> = (0..).zip(holdings.nodes.iter()).map(told).collect();
        let most = holdings.objects.len();
        let mut totals = Self {
            objects: Vec::with_capacity(most),
            rows: Vec::with_capacity(most),
            values: Vec::new(),
        };
        let mut sum = Sum::default();
        for (object, places) in holdings.objects.iter() {
            if sum.over(&mut nodes, object, places, now) {
                totals.push(object, &sum);
            }
        }
        totals
    }

    fn push(&mut self, object: Object, sum: &Sum) {
        self.objects.push(object);
        self.rows.push(Row {
            pods: sum.pods,
            counted: sum.counted,
            cpus: sum.cpus,
            memory: sum.memory,
            oldest: sum.oldest,
            begin: self.values.len(),
        });
        self.values.extend_from_slice(&sum.values);
    }

    /// The total of an object, if there is one that is not too old by now.
    pub fn get(
        &self,
        object: Object,
        now: Moment,
        interval: Duration,
    ) -> Option<Total<ValuesOf<'_>>> {
        let place = self.objects.binary_search(&object).ok()?;
        let row = &self.rows[place];
        let next = self.rows.get(place + 1);
        let end = next.map_or(self.values.len(), |next| next.begin);
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
            values: ValuesOf(&self.values[row.begin..end]),
        })
    }
}

/// What a node has told, and how far it was read. Objects are asked for in order.
struct Told<'a> {
    kept: &'a Kept,
    read: usize,
    /// The Services with pods there.
    services: Versions<'a>,
}

impl<'a> Told<'a> {
    fn new(kept: &'a Kept, services: Versions<'a>) -> Self {
        Self {
            kept,
            read: 0,
            services,
        }
    }

    /// What it has told of an object, if anything.
    fn part(&mut self, object: Object) -> Option<Part<'a>> {
        let left = &self.kept.objects()[self.read..];
        self.read += left.iter().take_while(|other| **other < object).count();
        let is_there = self.kept.objects().get(self.read) == Some(&object);
        is_there.then(|| self.kept.part(self.read))
    }

    /// Whether that is of the pods that there are. Those of a Service an agent knows by the list that it was told,
    /// and that may be an older one.
    fn is_of(&mut self, object: Object, part: Option<&Part<'_>>) -> bool {
        match object.kind {
            Kind::Service => {}
            // An agent that does not know of images would be one with fewer pods.
            Kind::Image => return part.is_some(),
            _ => return true,
        }
        let version = self.services.of(object.uid);
        version.is_some() && version == part.map(|part| part.members)
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
        nodes: &mut [Option<Told<'_>>],
        object: Object,
        places: &[Place],
        now: Moment,
    ) -> bool {
        *self = Self {
            oldest: now,
            values: std::mem::take(&mut self.values),
            ..Self::default()
        };
        self.values.clear();
        // In the order of the nodes' names, since sums of floating-point numbers depend on the order.
        for Place { node, pods } in places {
            let Some(Some(told)) = nodes.get_mut(*node as usize) else {
                return false;
            };
            let part = told.part(object);
            if !told.is_of(object, part.as_ref()) {
                return false;
            }
            let kept = told.kept;
            self.oldest = self.oldest.min(kept.sampled());
            self.cpus = self.cpus.saturating_add(kept.node().cpus);
            self.memory = self.memory.saturating_add(kept.node().memory);
            let part = part.filter(|part| part.counted > 0);
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

/// Status codes with a figure of their own in a total.
const CODES: usize = 32;

/// Adds values, both in the order of their metrics. What one of the two does not know is not known of their
/// sum; but of HTTP it knows all, if it knows how many requests there were.
fn add(sum: &mut Vec<(Metric, f64)>, values: impl Iterator<Item = (Metric, f64)> + Clone) {
    let has_requests = |(metric, _): &(Metric, f64)| *metric == Metric::HttpRequests;
    let http = sum.iter().any(has_requests) && values.clone().any(|value| has_requests(&value));
    let mut others = values.clone().peekable();
    sum.retain_mut(|(metric, number)| {
        while others.next_if(|(other, _)| other < metric).is_some() {}
        let same = others.next_if(|(other, _)| other == metric);
        if let Some((_, more)) = same {
            *number += more;
        }
        same.is_some() || http && metric.is_part_of_http()
    });
    let is_code = |metric: Metric| matches!(metric, Metric::HttpCode(_));
    let mut codes = sum.iter().filter(|(metric, _)| is_code(*metric)).count();
    let mut folded = 0.0;
    for (metric, number) in values.filter(|(metric, _)| http && metric.is_part_of_http()) {
        let Err(place) = place(sum, metric) else {
            // Added above.
            continue;
        };
        if is_code(metric) && codes >= CODES {
            folded += number;
            continue;
        }
        codes += usize::from(is_code(metric));
        insert(sum, place, (metric, number));
    }
    if folded > 0.0 {
        match place(sum, Metric::HttpOthers) {
            Ok(others) => sum[others].1 += folded,
            Err(others) => insert(sum, others, (Metric::HttpOthers, folded)),
        }
    }
}

fn place(sum: &[(Metric, f64)], metric: Metric) -> Result<usize, usize> {
    sum.binary_search_by_key(&metric, |(known, _)| *known)
}

/// Agents read no more than so many values; none that is honest sends enough for this to be reached.
fn insert(sum: &mut Vec<(Metric, f64)>, place: usize, value: (Metric, f64)) {
    if sum.len() < MAX_VALUES {
        sum.insert(place, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: Metric = Metric::HttpRequests;

    fn added(one: &[(Metric, f64)], other: &[(Metric, f64)]) -> Vec<(Metric, f64)> {
        let mut sum = one.to_vec();
        add(&mut sum, other.iter().copied());
        let mut back = other.to_vec();
        add(&mut back, one.iter().copied());
        assert_eq!(sum, back, "the order says nothing");
        sum
    }

    #[test]
    fn what_one_does_not_know_is_not_known() {
        let (cpu, rss) = (Metric::Millicores, Metric::Rss);
        assert_eq!(
            added(&[(cpu, 1.0), (rss, 1.0)], &[(cpu, 2.0)]),
            [(cpu, 3.0)]
        );
    }

    #[test]
    fn who_counts_http_knows_of_every_code() {
        let code = Metric::HttpCode;
        let one = [(REQUESTS, 3.0), (code(200), 2.0), (code(404), 1.0)];
        let other = [(REQUESTS, 1.0), (code(200), 0.5), (code(500), 0.5)];
        let sum = [
            (REQUESTS, 4.0),
            (code(200), 2.5),
            (code(404), 1.0),
            (code(500), 0.5),
        ];
        assert_eq!(added(&one, &other), sum);
        assert_eq!(added(&one, &[(REQUESTS, 0.0)])[1..], one[1..]);
        assert_eq!(added(&one, &[]), []);
    }

    #[test]
    fn codes_without_room_are_others() {
        let codes = |from: u16, count: u16| {
            let codes = (from..from + count).map(|code| (Metric::HttpCode(code), 1.0));
            let requests = [(REQUESTS, f64::from(count))];
            requests.into_iter().chain(codes).collect::<Vec<_>>()
        };
        let mut sum = codes(200, 20);
        add(&mut sum, codes(300, 20).into_iter());
        assert_eq!(sum.len(), 1 + CODES + 1);
        assert_eq!(sum.last(), Some(&(Metric::HttpOthers, 8.0)));
        let all: f64 = sum.iter().map(|(_, number)| number).sum();
        assert_eq!(all, 80.0);

        let mut full = codes(100, 63);
        add(&mut full, codes(300, 20).into_iter());
        assert_eq!(full.len(), MAX_VALUES, "agents could not read it otherwise");
    }
}
