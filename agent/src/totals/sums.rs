//! The sums over this node's pods, by controller.

use std::collections::BTreeMap;

use scope_crds::Collector;
use scope_protocol::Topology;
use scope_totals_wire::{Kind, MAX_OBJECTS, Metric, Node, Object, Partial, Values};

use crate::Collectors;
use crate::attribution::{Disk, Figures, Memory, Network, ProcessTotals, Usage};
use crate::http_rates::{Class, HttpRates};
use crate::inventory::{Inventory, Owner};

/// Status codes of an object with a sum of their own; those that it sends least are among the
/// others.
const CODES: usize = 32;

/// What the pods of this node use, by controller.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// The size of the node.
    pub node: Node,
    /// The controllers with pods here, at most [`MAX_OBJECTS`].
    pub objects: Vec<Partial>,
    /// How many more there are.
    pub left_out: usize,
}

/// Adds up. A pod counts that was found and whose CPU was measured. `None` while there is nothing to
/// be said: before the second sample, before the pods of the node are known (the agent is one of
/// them), and where the size of the node cannot be read.
pub fn sums(usage: &Usage, inventory: &Inventory, collectors: Collectors) -> Option<Sums> {
    let node = Node {
        cpus: usage.host.cpus?,
        memory: usage.host.memory_total?,
    };
    usage.interval?;
    if inventory.pods.is_empty() {
        return None;
    }
    let mut objects: BTreeMap<Object, Sum> = BTreeMap::new();
    for pod in inventory.pods.values() {
        let measured = usage.pods.get(&*pod.id).filter(|used| used.cpu.is_some());
        let values = measured.map(|used| {
            let network = used.network.filter(|_| !pod.host_network);
            let used = Figures { network, ..*used };
            let http = usage.http.counted.then(|| usage.http.pods.get(&*pod.id));
            values(&used, http, collectors)
        });
        for object in pod.owners.iter().filter_map(object) {
            let sum = objects.entry(object).or_default();
            if let Some(values) = &values {
                sum.add(values);
            }
        }
    }
    let left_out = objects.len().saturating_sub(MAX_OBJECTS);
    let partials = objects.into_iter().take(MAX_OBJECTS);
    Some(Sums {
        node,
        objects: partials
            .map(|(object, sum)| sum.finish(object, node))
            .collect(),
        left_out,
    })
}

/// What totals are of, if the owner is that: a ReplicaSet is none, nor is what has no UID as the API
/// server gives them.
pub fn object(owner: &Owner) -> Option<Object> {
    let kind = match owner.topology {
        Topology::Deployment => Kind::Deployment,
        Topology::StatefulSet => Kind::StatefulSet,
        Topology::DaemonSet => Kind::DaemonSet,
        Topology::Job => Kind::Job,
        Topology::CronJob => Kind::CronJob,
        _ => return None,
    };
    let uid = owner.uid.parse().ok()?;
    Some(Object { kind, uid })
}

#[derive(Default)]
struct Sum {
    counted: u32,
    values: BTreeMap<Metric, f64>,
}

impl Sum {
    /// What is not known of one of the pods is not known of their sum. Of HTTP all is known where the
    /// requests are.
    fn add(&mut self, pod: &BTreeMap<Metric, f64>) {
        self.counted += 1;
        if self.counted == 1 {
            self.values.clone_from(pod);
            return;
        }
        let requests = Metric::HttpRequests;
        let http = self.values.contains_key(&requests) && pod.contains_key(&requests);
        self.values.retain(|metric, value| {
            let more = pod.get(metric).copied();
            *value += more.unwrap_or_default();
            more.is_some() || http && metric.is_part_of_http()
        });
        if http {
            for (&metric, &value) in pod.iter().filter(|(metric, _)| metric.is_part_of_http()) {
                // What was there is added up already.
                self.values.entry(metric).or_insert(value);
            }
        }
    }

    fn finish(mut self, object: Object, node: Node) -> Partial {
        fold_codes(&mut self.values);
        let values = self.values.into_iter();
        // The service takes no report with a value that cannot be.
        let possible = |(metric, value): &(Metric, f64)| (0.0..=node.most(*metric)).contains(value);
        Partial {
            kind: object.kind,
            uid: object.uid,
            counted: self.counted,
            values: values
                .map(|(metric, value)| (metric, thousandth(value)))
                .filter(possible)
                .collect::<Values>(),
        }
    }
}

/// Puts the codes beyond [`CODES`] among the others.
fn fold_codes(values: &mut BTreeMap<Metric, f64>) {
    let mut codes: Vec<(Metric, f64)> = values
        .iter()
        .filter(|(metric, _)| matches!(metric, Metric::HttpCode(_)))
        .map(|(metric, value)| (*metric, *value))
        .collect();
    // Of equal ones the lower.
    codes.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for (code, value) in codes.into_iter().skip(CODES) {
        values.remove(&code);
        *values.entry(Metric::HttpOthers).or_default() += value;
    }
}

/// What is known of a pod. `http` is `None` where HTTP is not counted, and `Some(None)` of a pod that
/// has nothing to do with it.
fn values(
    used: &Figures,
    http: Option<Option<&HttpRates>>,
    collectors: Collectors,
) -> BTreeMap<Metric, f64> {
    let mut values = BTreeMap::new();
    let mut set = |metric, value: Option<f64>| {
        if let Some(value) = value {
            values.insert(metric, value);
        }
    };
    set(Metric::Millicores, used.cpu.map(|cpu| cpu.millicores));
    if let Some(Memory { working_set, limit }) = used.memory {
        set(Metric::Memory, Some(working_set as f64));
        set(Metric::MemoryLimit, limit.map(|limit| limit as f64));
    }
    if collectors.has(Collector::Resources) {
        if let Some(ProcessTotals {
            count,
            threads,
            rss,
        }) = used.processes
        {
            set(Metric::Rss, Some(rss as f64));
            set(Metric::Threads, Some(threads as f64));
            set(Metric::Processes, Some(count as f64));
        }
        set(Metric::OpenFiles, used.files.map(|files| files as f64));
        if let Some(Network { received, sent }) = used.network {
            set(Metric::NetworkReceived, Some(received));
            set(Metric::NetworkSent, Some(sent));
        }
        if let Some(Disk { read, written }) = used.disk {
            set(Metric::DiskRead, Some(read));
            set(Metric::DiskWritten, Some(written));
        }
        set(Metric::BlockDelay, used.block_delay);
        set(Metric::OomKills, used.oom_kills.map(|kills| kills as f64));
    }
    if let Some(rates) = http.filter(|_| collectors.has(Collector::HTTPStatistics)) {
        let requests = rates.and_then(|rates| rates.requests);
        set(Metric::HttpRequests, Some(requests.unwrap_or_default()));
        let told = |rate: &f64| *rate > 0.0;
        if let Some(rates) = rates {
            for (class, rate) in Class::ALL.into_iter().zip(rates.classes) {
                // With 0 of what it has sent before: that it serves is worth to be shown.
                set(Metric::HttpClass(class.digit()), rate);
            }
            let mut others = rates.others;
            for (code, rate) in &rates.codes {
                match code {
                    100..=599 => set(Metric::HttpCode(*code), Some(*rate).filter(told)),
                    // No code of HTTP, and so none that totals are of.
                    _ => others += rate,
                }
            }
            set(Metric::HttpOthers, Some(others).filter(told));
            set(Metric::Http2Connections, Some(rates.http2).filter(told));
        }
    }
    values
}

/// Finer than this says nothing, and each digit costs a byte.
fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
