//! HTTP requests and responses of processes, containers and pods, under the IDs and labels of Scope's
//! own HTTP Statistics plugin.

use std::collections::BTreeMap;

use scope_crds::Collector;
use scope_protocol::report::MetricFormat;
use scope_protocol::{MetricTemplate, NodeId, Topology};

use super::composer::Composer;
use super::container::CONTAINER_ID;
use super::metric::{self, METRICS, Meter, Scales};
use crate::http_rates::{Class, HttpRates, HttpSeen};

/// The ID of the metric of a status code.
pub fn code_id(code: u16) -> String {
    format!("http_{code}_responses_per_second")
}

fn class_id(class: Class) -> &'static str {
    match class {
        Class::Success => metric::HTTP_2XX,
        Class::Redirection => metric::HTTP_3XX,
        Class::ClientError => metric::HTTP_4XX,
        Class::ServerError => metric::HTTP_5XX,
    }
}

/// How much is told of which nodes. Each template costs 100 bytes in every report, for each kind of
/// node, and each metric the same for each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everything: containers and pods.
    All,
    /// What Scope's own plugin told, of processes.
    Codes,
    /// What can be compared, of controllers and Services with one pod, to which Scope lifts it.
    Classes,
}

impl Scope {
    fn of(topology: Topology) -> Option<Scope> {
        match topology {
            Topology::Container | Topology::Pod => Some(Scope::All),
            Topology::Process => Some(Scope::Codes),
            Topology::Deployment
            | Topology::DaemonSet
            | Topology::StatefulSet
            | Topology::Service => Some(Scope::Classes),
            // Jobs do not serve.
            _ => None,
        }
    }
}

/// The templates of what was seen on the node so far.
pub(super) fn templates(
    composer: &Composer<'_>,
    topology: Topology,
) -> BTreeMap<String, MetricTemplate> {
    let on = composer.settings.collectors.has(Collector::HTTPStatistics);
    let Some(scope) = Scope::of(topology).filter(|_| on) else {
        return BTreeMap::new();
    };
    let mut templates = templates_of(&composer.usage.http.seen, scope);
    if let Some(totals) = composer
        .settings
        .totals
        .as_ref()
        .filter(|_| scope == Scope::Classes)
    {
        // Of Services there are totals of that alone.
        let told = match topology {
            Topology::Service => scope,
            _ => Scope::All,
        };
        templates.extend(templates_of(totals.seen(), told));
    }
    templates
}

fn templates_of(seen: &HttpSeen, scope: Scope) -> BTreeMap<String, MetricTemplate> {
    if !seen.requests {
        return BTreeMap::new();
    }
    let fixed = METRICS.iter().zip(1u32..);
    let fixed = fixed.filter(|(shown, _)| match shown.id {
        metric::HTTP_REQUESTS => true,
        metric::HTTP_OTHERS => seen.others && scope != Scope::Classes,
        _ if scope == Scope::Codes => false,
        metric::HTTP_ERRORS => !seen.classes.is_empty(),
        metric::HTTP2_CONNECTIONS => seen.http2,
        id => seen.classes.iter().any(|&class| class_id(class) == id),
    });
    let fixed = fixed.map(|(shown, number)| (shown.id.to_owned(), shown.template(number)));
    let codes = seen.codes.iter().filter(|_| scope != Scope::Classes);
    let codes = codes.map(|&code| {
        let template = MetricTemplate {
            label: format!("HTTP Resp {code}/Second"),
            format: MetricFormat::Number,
            group: String::new(),
            priority: f64::from(code) / 1000.0,
        };
        (code_id(code), template)
    });
    fixed.chain(codes).collect()
}

/// Sets what is known of a container or pod.
pub(super) fn set(meter: &mut Meter<'_>, rates: &HttpRates) {
    set_codes(meter, rates);
    for (class, rate) in Class::ALL.into_iter().zip(rates.classes) {
        if let Some(rate) = rate {
            meter.rate(class_id(class), rate);
        }
    }
    if rates.http2 > 0.0 {
        meter.rate(metric::HTTP2_CONNECTIONS, rates.http2);
    }
    meter.share(metric::HTTP_ERRORS, rates.errors);
}

/// Sets what is known of a process.
fn set_codes(meter: &mut Meter<'_>, rates: &HttpRates) {
    if let Some(requests) = rates.requests {
        meter.rate(metric::HTTP_REQUESTS, requests);
    }
    for &(code, rate) in &rates.codes {
        meter.rate(&code_id(code), rate);
    }
    // As a code with rate 0 it is left out.
    if rates.others > 0.0 {
        meter.rate(metric::HTTP_OTHERS, rates.others);
    }
}

/// The highest of the rates.
pub(super) fn highest(rates: &HttpRates) -> f64 {
    let codes = rates.codes.iter().map(|(_, rate)| *rate);
    let classes = rates.classes.into_iter().flatten();
    let all = codes.chain(classes).chain([rates.others, rates.http2]);
    all.chain(rates.requests).fold(0.0, f64::max)
}

/// Adds the figures to the nodes of processes.
pub(super) fn add_processes(composer: &mut Composer<'_>) {
    let usage = composer.usage;
    let of_processes = &usage.http.processes;
    let templates = templates(composer, Topology::Process);
    if templates.is_empty() || composer.detail.processes() == 0 {
        return;
    }
    composer.report.topology(Topology::Process).metric_templates = templates;
    let mut scales = Scales::default();
    of_processes
        .values()
        .for_each(|rates| scales.include_http(rates));
    for (&pid, rates) in of_processes {
        let id = NodeId::process(&composer.settings.host, pid).to_string();
        if !composer.share.has_metrics(&id) {
            continue;
        }
        let mut node = std::mem::take(composer.report.topology(Topology::Process).node(id.clone()));
        // Without its container it would stand for itself, beside the probe's node in it.
        let process = usage.processes.binary_search_by_key(&pid, |p| p.pid).ok();
        let container = process.and_then(|index| usage.processes[index].container.as_ref());
        if let Some(container) = container.filter(|_| composer.mending) {
            node.set(CONTAINER_ID, composer.stamp, &**container);
            let parent = NodeId::container(container).to_string();
            node.add_parent(Topology::Container, parent);
        }
        set_codes(&mut composer.meter(&mut node, scales), rates);
        *composer.report.topology(Topology::Process).node(id) = node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_the_end_of_the_scale() {
        let rates = HttpRates {
            requests: Some(3.0),
            classes: [Some(5.0), None, None, Some(1.0)],
            codes: vec![(200, 4.5), (500, 1.0)],
            others: 0.5,
            errors: Some(20.0),
            http2: 0.1,
        };
        assert_eq!(highest(&rates), 5.0);
        assert_eq!(highest(&HttpRates::default()), 0.0);
    }
}
