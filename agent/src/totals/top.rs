//! What people want to know of this node's pods, or of the node: asked by replies, answered in the next report. Nothing
//! is done for it while nobody asks.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scope_totals_wire::{Asked, Found, MAX_QUESTIONS, MAX_ROWS, Metric, Node, PodFigure, Question};
use tokio::time::Instant;

use super::sums::{thousandth, values};
use crate::Collectors;
use crate::attribution::{Figures, Usage};
use crate::inventory::{Inventory, Pod};

/// A reply says all that is asked, so what an older one said is not answered for long.
const VALID_INTERVALS: u32 = 3;

/// What the last reply asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Questions {
    asked: Arc<[Question]>,
    until: Option<Instant>,
}

impl Questions {
    /// Those of a reply that came at this time.
    pub(super) fn heard(mut asked: Vec<Question>, interval: Duration, now: Instant) -> Questions {
        asked.truncate(MAX_QUESTIONS);
        Questions {
            until: (!asked.is_empty()).then(|| now + interval * VALID_INTERVALS),
            asked: asked.into(),
        }
    }

    /// Those that are still to be answered.
    pub(super) fn at(&self, now: Instant) -> Arc<[Question]> {
        match self.until {
            Some(until) if now < until => Arc::clone(&self.asked),
            _ => Arc::default(),
        }
    }
}

/// Answers what is asked, of what was just measured. What is asked in words of a later version is left out, and does not
/// count as answered. A pod has a value if it counts in [sums](super::sums) and the metric is known of it.
pub fn found(
    questions: &[Question],
    usage: &Usage,
    inventory: &Inventory,
    collectors: Collectors,
    node: Node,
) -> Vec<Found> {
    if questions.is_empty() || usage.interval.is_none() {
        return Vec::new();
    }
    let pods = inventory.pods.values();
    let pods: Vec<(&Pod, Values)> = pods
        .filter_map(|pod| Some((pod, of_pod(pod, usage, collectors)?)))
        .collect();
    let answer = |question: &Question| {
        let metric = Metric::from_id(&question.metric)?;
        let (rows, own) = match question.of {
            Asked::Pods => (largest(question, metric, &pods, node), None),
            Asked::Node => (Vec::new(), of_node(metric, usage, &pods)),
            Asked::Other => return None,
        };
        Some(Found {
            id: question.id,
            pods: rows,
            node: own.map(thousandth),
        })
    };
    questions
        .iter()
        .take(MAX_QUESTIONS)
        .filter_map(answer)
        .collect()
}

type Values = BTreeMap<Metric, f64>;

fn of_pod(pod: &Pod, usage: &Usage, collectors: Collectors) -> Option<Values> {
    let used = usage.pods.get(&*pod.id).filter(|used| used.cpu.is_some())?;
    let network = used.network.filter(|_| !pod.host_network);
    let used = Figures { network, ..*used };
    let http = usage.http.counted.then(|| usage.http.pods.get(&*pod.id));
    Some(values(&used, http, collectors))
}

/// Of HTTP all is known where the requests are.
fn value(metric: Metric, values: &Values) -> Option<f64> {
    let none_of_it = || {
        let is_known = metric.is_part_of_http() && values.contains_key(&Metric::HttpRequests);
        is_known.then_some(0.0)
    };
    values.get(&metric).copied().or_else(none_of_it)
}

/// The largest first; of equal ones in the order of namespaces and names, as the service has it.
fn largest(
    question: &Question,
    metric: Metric,
    pods: &[(&Pod, Values)],
    node: Node,
) -> Vec<PodFigure> {
    let is_asked = |pod: &Pod| {
        let namespace = question.namespace.as_ref();
        namespace.is_none_or(|namespace| pod.namespace == *namespace)
    };
    // The service drops what cannot be, and would have a row less then.
    let is_possible = |value: f64| (0.0..=node.most(metric)).contains(&value);
    let asked = pods.iter().filter(|(pod, _)| is_asked(pod));
    let mut rows: Vec<PodFigure> = asked
        .filter_map(|(pod, values)| {
            let value = thousandth(value(metric, values)?);
            is_possible(value).then_some(())?;
            Some(PodFigure {
                uid: pod.uid.parse().ok()?,
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                value,
            })
        })
        .collect();
    rows.sort_unstable_by(order);
    rows.truncate((question.most as usize).min(MAX_ROWS));
    rows
}

fn order(one: &PodFigure, other: &PodFigure) -> Ordering {
    let names =
        (&one.namespace, &one.name, one.uid).cmp(&(&other.namespace, &other.name, other.uid));
    other.value.total_cmp(&one.value).then(names)
}

/// What the whole node uses, where that is known; otherwise the sum over those pods of which it is.
fn of_node(metric: Metric, usage: &Usage, pods: &[(&Pod, Values)]) -> Option<f64> {
    let host = &usage.host;
    match metric {
        Metric::Millicores => host.cpu.map(|cpu| cpu.millicores),
        Metric::Memory => host.memory_used.map(|bytes| bytes as f64),
        Metric::Processes => Some(f64::from(host.processes)),
        Metric::Threads => Some(host.threads as f64),
        _ => {
            let known = pods.iter().filter_map(|(_, values)| value(metric, values));
            known.fold(None, |sum, value| Some(sum.unwrap_or_default() + value))
        }
    }
}

#[cfg(test)]
mod tests;
