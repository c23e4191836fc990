//! The sums over this node's pods, by controller, Service and image.

mod images;

use std::collections::{BTreeMap, HashMap};

use scope_crds::Collector;
use scope_protocol::Topology;
use scope_totals_wire::{
    Kind, MAX_OBJECTS, MAX_SERVICES, Members, Metric, Node, Object, Partial, Uid, Values,
};

use crate::Collectors;
use crate::attribution::{Disk, Figures, Memory, Network, ProcessTotals, Usage};
use crate::http_rates::{Class, HttpRates};
use crate::inventory::{Inventory, Owner};

/// Status codes of an object with a sum of their own; those that it sends least are among the
/// others.
const CODES: usize = 32;

/// The rest has room for Services, and images have what both leave.
const MAX_CONTROLLERS: usize = MAX_OBJECTS - MAX_SERVICES;

/// What the pods of this node use, by controller, Service and image.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// The size of the node.
    pub node: Node,
    /// The controllers, Services and images with pods here, at most [`MAX_OBJECTS`].
    pub objects: Vec<Partial>,
    /// How many controllers and images more there are.
    pub left_out: usize,
    /// Whether a pod runs here that the inventory does not know: then the kubelet has heard of the API server what
    /// this agent has not.
    pub strangers: bool,
}

/// Adds up, of Services by which pods are told to belong to them. A pod counts that was found and whose CPU was
/// measured; for an image, whose containers of it were. `None` while there is nothing to
/// be said: before the second sample, before the pods of the node are known (the agent is one of
/// them), and where the size of the node cannot be read.
pub fn sums(
    usage: &Usage,
    inventory: &Inventory,
    collectors: Collectors,
    services: &[Members],
) -> Option<Sums> {
    let node = Node {
        cpus: usage.host.cpus?,
        memory: usage.host.memory_total?,
    };
    usage.interval?;
    if inventory.pods.is_empty() {
        return None;
    }
    let mut objects: BTreeMap<Object, Sum> = BTreeMap::new();
    let mut pods: HashMap<Uid, BTreeMap<Metric, f64>> = HashMap::new();
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
        // A static pod goes by another name here than in a Service, and so does not count there.
        if !services.is_empty()
            && let Some(values) = values
            && let Ok(uid) = pod.id.parse()
        {
            pods.insert(uid, values);
        }
    }
    let left_out = objects.len().saturating_sub(MAX_CONTROLLERS);
    let controllers = objects.into_iter().take(MAX_CONTROLLERS);
    let controllers = controllers.map(|(object, sum)| sum.finish(object, node));
    let services = services.iter().take(MAX_SERVICES);
    let services = services.map(|service| of_service(service, &pods, node));
    let mut objects: Vec<Partial> = controllers.chain(services).collect();
    let left_out = left_out + images::add(&mut objects, usage, inventory, node);
    Some(Sums {
        node,
        objects,
        left_out,
        strangers: usage
            .pods
            .keys()
            .any(|id| !inventory.pods.contains_key(&**id)),
    })
}

/// What the pods of a Service use. One of which none was measured is told as well: that says that this agent knows
/// of just these pods.
fn of_service(
    service: &Members,
    pods: &HashMap<Uid, BTreeMap<Metric, f64>>,
    node: Node,
) -> Partial {
    let mut sum = Sum::default();
    for values in service.pods.iter().filter_map(|pod| pods.get(pod)) {
        let told = values.iter().filter(|(metric, _)| is_of_services(**metric));
        sum.add(&told.map(|(metric, value)| (*metric, *value)).collect());
    }
    let object = Object {
        kind: Kind::Service,
        uid: service.uid,
    };
    Partial {
        members: Some(service.version),
        ..sum.finish(object, node)
    }
}

/// Services have CPU, memory, requests and classes of responses: all else is in the totals of their controllers.
fn is_of_services(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Millicores
            | Metric::Memory
            | Metric::MemoryLimit
            | Metric::HttpRequests
            | Metric::HttpClass(_)
    )
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
            members: None,
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
pub(super) fn values(
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
pub(super) fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
