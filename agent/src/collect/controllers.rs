//! What controllers use in the whole cluster. The totals are the same on all nodes, and so are their
//! date and their scales: Scope shows the samples of several probes on one node in turn, and they have
//! to be one.

use std::collections::BTreeMap;

use scope_protocol::report::{DataType, From, MetadataTemplate};
use scope_protocol::{Node, NodeId, Timestamp, Topology};
use scope_totals_wire::{Metric, Object, Total};

use super::composer::{Composer, DATE_MICROS, Detail, STAMP_MICROS, down_to};
use super::http;
use super::images;
use super::kubernetes::owner_id;
use super::metric::{self, Meter, Scales};
use super::services;
use super::share::{Load, Share};
use crate::http_rates::{Class, MAX_CODES_OF_NODE};
use crate::inventory::{Inventory, Owner};
use crate::totals::object;

/// Of how many pods the figures are.
pub(super) const COUNTED: &str = "totals_pods_counted";

/// The row that says of how many pods the figures are.
pub(super) fn row() -> MetadataTemplate {
    MetadataTemplate {
        label: "Pods counted".to_owned(),
        truncate: 0,
        data_type: DataType::Text,
        // Behind all that Scope's probe tells of a controller, and where it is shown at once.
        priority: 9.9,
        from: From::Latest,
    }
}

/// Adds the totals of the controllers, Services and images with pods here. The row is known where there is such a controller:
/// Scope puts together what all nodes tell.
pub(super) fn add(composer: &mut Composer<'_>, inventory: &Inventory) {
    let settings = composer.settings;
    let Some(totals) = &settings.totals else {
        return;
    };
    let Some(at) = totals.at() else {
        return;
    };
    let mut owners: BTreeMap<Object, (&Owner, u32)> = BTreeMap::new();
    for owner in inventory.pods.values().flat_map(|pod| &pod.owners) {
        if let Some(object) = object(owner).filter(|_| is_drawn(composer, owner)) {
            owners.entry(object).or_insert((owner, 0)).1 += 1;
        }
    }
    let load = load(composer);
    services::add(composer, &load);
    images::add(composer, inventory, &load);
    for (object, (owner, own)) in owners {
        let rows = &mut composer.report.topology(owner.topology).metadata_templates;
        if !rows.contains_key(COUNTED) {
            rows.insert(COUNTED.to_owned(), row());
        }
        if let Some(total) = totals.get(object)
            && let Some(id) = owner_id(owner)
            && composer.has_totals(&id, &load, own, total.pods)
        {
            add_total(composer, owner.topology, id, total, at);
        }
    }
}

/// Without mending nobody draws CronJobs and Jobs, unless a CronJob is drawn for its controls.
fn is_drawn(composer: &Composer<'_>, owner: &Owner) -> bool {
    composer.mending
        || match owner.topology {
            Topology::CronJob => !composer.settings.controls.cron_job.is_empty(),
            Topology::Job => false,
            _ => true,
        }
}

/// What goes out in turns besides.
fn load(composer: &Composer<'_>) -> Load {
    let mut load = Load::new(composer.share);
    if composer.share == Share::Whole {
        return load;
    }
    for pod in composer.usage.pods.keys() {
        load.add(NodeId::pod(pod).as_str());
    }
    for container in composer.usage.containers.keys() {
        load.add(NodeId::container(container).as_str());
    }
    load
}

pub(super) fn add_total(
    composer: &mut Composer<'_>,
    topology: Topology,
    id: String,
    total: &Total,
    at: Timestamp,
) {
    let mut node = Node::default();
    let mut meter = Meter {
        node: &mut node,
        at: down_to(at, DATE_MICROS),
        collectors: composer.settings.collectors,
        scales: Scales::default(),
    };
    essential(&mut meter, total);
    if composer.detail < Detail::Essential && !is_lifted(topology, total) {
        if !matches!(topology, Topology::Service | Topology::ContainerImage) {
            further(&mut meter, total);
        }
        // Jobs have no templates for it.
        if !matches!(topology, Topology::Job | Topology::CronJob) {
            served(&mut meter, total);
        }
    }
    let counted = format!("{} of {}", total.counted, total.pods);
    node.set(COUNTED, down_to(at, STAMP_MICROS), counted);
    composer.mark(&mut node);
    // It may be there with its name and controls.
    let there = composer.report.topology(topology).node(id);
    there.latest.extend(node.latest);
    there.metrics.extend(node.metrics);
}

/// Whether Scope shows the metrics of its only pod on it: they are the same. It does not of a Job
/// whose earlier pods are still listed.
fn is_lifted(topology: Topology, total: &Total) -> bool {
    let is_served = matches!(
        topology,
        Topology::Deployment | Topology::StatefulSet | Topology::DaemonSet | Topology::Service
    );
    is_served && total.pods == 1 && total.counted == 1
}

/// CPU of all CPUs of the nodes that the pods are on, and memory up to the limits of all of them, or
/// else up to what these nodes have.
fn essential(meter: &mut Meter<'_>, total: &Total) {
    if let Some(millicores) = total.values.get(Metric::Millicores) {
        let percent = millicores / 10.0 / f64::from(total.cpus);
        meter.set(metric::CPU, percent, 100.0);
    }
    if let Some(memory) = total.values.get(Metric::Memory) {
        let limit = total.values.get(Metric::MemoryLimit);
        meter.set(metric::MEMORY, memory, limit.unwrap_or(total.memory as f64));
    }
}

/// All else but HTTP. A scale may depend on nothing but the total; where nothing in that is an end, it
/// ends at the value.
fn further(meter: &mut Meter<'_>, total: &Total) {
    for (metric, value) in total.values.iter() {
        let end = match metric {
            Metric::Millicores => 1000.0 * f64::from(total.cpus),
            Metric::Rss => total.memory as f64,
            // One is essential, and the other the end of its scale.
            Metric::Memory | Metric::MemoryLimit => continue,
            Metric::HttpRequests => continue,
            metric if metric.is_part_of_http() => continue,
            _ => value,
        };
        meter.set(&metric.id(), value, end);
    }
    let limit = total.values.get(Metric::MemoryLimit);
    let memory = total.values.get(Metric::Memory).zip(limit);
    let memory = memory.filter(|(_, limit)| *limit > 0.0);
    meter.share(
        metric::MEMORY_LIMIT_USE,
        memory.map(|(used, limit)| used / limit * 100.0),
    );
}

/// HTTP, of what has ever served. The codes that are sent most have a metric of their own, as on a pod;
/// which they are must be the same on all nodes, so that of equal ones it is the lower.
fn served(meter: &mut Meter<'_>, total: &Total) {
    let requests = total.values.get(Metric::HttpRequests);
    let has_parts = total
        .values
        .iter()
        .any(|(metric, _)| metric.is_part_of_http());
    let Some(requests) = requests.filter(|requests| *requests > 0.0 || has_parts) else {
        return;
    };
    meter.set(metric::HTTP_REQUESTS, requests, requests);
    let (mut codes, mut others) = (Vec::new(), 0.0);
    let (mut all, mut errors) = (0.0, 0.0);
    for (metric, rate) in total.values.iter() {
        match metric {
            Metric::HttpClass(digit) => {
                all += rate;
                if Class::of(u16::from(digit) * 100) == Some(Class::ServerError) {
                    errors += rate;
                }
                meter.set(&metric.id(), rate, rate);
            }
            Metric::HttpCode(code) => codes.push((code, rate)),
            Metric::HttpOthers => others += rate,
            Metric::Http2Connections => meter.set(&metric.id(), rate, rate),
            _ => {}
        }
    }
    meter.share(
        metric::HTTP_ERRORS,
        (all > 0.0).then(|| errors / all * 100.0),
    );
    codes.sort_by(|(one, rate), (other, more)| more.total_cmp(rate).then(one.cmp(other)));
    for (code, rate) in codes.drain(..codes.len().min(MAX_CODES_OF_NODE)) {
        meter.set(&http::code_id(code), rate, rate);
    }
    others += codes.into_iter().map(|(_, rate)| rate).sum::<f64>();
    if others > 0.0 {
        meter.set(metric::HTTP_OTHERS, others, others);
    }
}
