//! The reporter of Kubernetes' objects.

use super::{By, add, describe, offer, templates, with_values};
use crate::kind::Kind;
use crate::report::{Control, Node, Report, Topology};
use crate::stamp::Stamp;
use crate::truth::{Controller, Labels, Pod, Truth};
use crate::version::Version;

const KINDS: [Kind; 6] = [
    Kind::Service,
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::CronJob,
    Kind::Job,
];

/// All objects as the probe of 1.13.2 finds them on a current Kubernetes; with a node, only the pods
/// of that one. A job does not find its pods, as long as no cron job is found: it is looked for only
/// through those, and their API is gone.
pub(crate) fn kubernetes(report: &mut Report, truth: &Truth, node: Option<&str>, by: By<'_>) {
    let kinds = KINDS.into_iter();
    for kind in kinds.filter(|kind| by.version.has_jobs() || *kind != Kind::Job) {
        let topology = report.topology_mut(kind);
        templates::kubernetes(topology, kind);
        if kind == Kind::Deployment {
            let (more, less) = ("kubernetes_scale_up", "kubernetes_scale_down");
            describe(topology, less, "Scale down", "fa fa-minus", 0);
            describe(topology, more, "Scale up", "fa fa-plus", 1);
        }
        describe_kind(topology, by.version);
        // Cron jobs are asked for by an API that is gone.
        let listed = |controller: &&Controller| controller.kind == kind && kind != Kind::CronJob;
        for controller in truth.controllers.iter().filter(listed) {
            add(topology, controller_node(controller, truth, by));
        }
    }
    let namespaces = report.topology_mut(Kind::Namespace);
    for namespace in &truth.namespaces {
        let values = [
            ("kubernetes_name", namespace.name.as_str()),
            ("kubernetes_created", "2026-01-01T00:00:00Z"),
        ];
        let node = Node::new(&format!("{};<namespace>", namespace.uid));
        let node = with_values(node, by.now, &values);
        add(namespaces, labelled(node, &namespace.labels, by.now));
    }

    let pods_of_kind = report.topology_mut(Kind::Pod);
    templates::kubernetes(pods_of_kind, Kind::Pod);
    describe(
        pods_of_kind,
        "kubernetes_get_logs",
        "Get logs",
        "fa fa-desktop",
        0,
    );
    let delete = Control {
        id: "kubernetes_delete_pod".to_owned(),
        human: "Delete".to_owned(),
        icon: "far fa-trash-alt".to_owned(),
        confirmation: "Are you sure you want to delete this pod?".to_owned(),
        rank: 3,
    };
    pods_of_kind.controls.insert(delete.id.clone(), delete);
    describe_kind(pods_of_kind, by.version);
    let local = |pod: &&Pod| node.is_none_or(|node| pod.node == node);
    pods(report, truth.pods.iter().filter(local), by);
    for node in report.topology_mut(Kind::Pod).nodes.values_mut() {
        let pod = truth.pods.iter().find(|pod| pod_id(pod) == node.id);
        for controller in &truth.controllers {
            if pod.is_some_and(|pod| selects(controller, pod)) {
                let kind = controller.kind.name().to_owned();
                let parents = node.parents.entry(kind).or_default();
                parents.push(id(controller));
                parents.sort();
            }
        }
    }
}

/// The key of a pod in reports.
pub(crate) fn pod_id(pod: &Pod) -> String {
    format!("{};<pod>", pod.uid)
}

/// Pods alone, without what they belong to: what is published at once when a pod appears.
pub(crate) fn pods<'a>(report: &mut Report, pods: impl Iterator<Item = &'a Pod>, by: By<'_>) {
    let now = by.now;
    for pod in pods {
        let node = Node::new(&pod_id(pod));
        let values = [
            ("kubernetes_name", pod.name.as_str()),
            ("kubernetes_namespace", &pod.namespace),
            ("kubernetes_created", &pod.created),
            ("kubernetes_state", &pod.state),
            ("kubernetes_ip", &pod.ip),
            ("kubernetes_restart_count", &pod.restarts.to_string()),
            ("control_probe_id", by.probe_id),
        ];
        let mut node = labelled(with_values(node, now, &values), &pod.labels, now);
        if pod.host_network {
            node.set_latest("kubernetes_is_in_host_network", now, "true");
        }
        let controls = [
            "kubernetes_get_logs",
            "kubernetes_delete_pod",
            "kubernetes_describe",
        ];
        let described = usize::from(by.version.describes());
        offer(&mut node, now, &controls[..2 + described]);
        add(report.topology_mut(Kind::Pod), node);
    }
}

/// What is published at once when pods go.
pub(crate) fn deleted_pods<'a>(ids: impl Iterator<Item = &'a str>, now: Stamp) -> Report {
    let mut report = Report::empty();
    for id in ids {
        let node = Node::new(id).with_latest("kubernetes_state", now, "deleted");
        add(report.topology_mut(Kind::Pod), node);
    }
    report
}

fn describe_kind(topology: &mut Topology, version: Version) {
    if !version.describes() {
        return;
    }
    let id = "kubernetes_describe";
    describe(topology, id, "Describe", "fa fa-file-text", 2);
}

fn labelled(mut node: Node, labels: &Labels, now: Stamp) -> Node {
    for (label, value) in labels {
        node.set_latest(&format!("kubernetes_labels_{label}"), now, value);
    }
    node
}

/// By labels, in the same namespace; owners are not looked at.
fn selects(controller: &Controller, pod: &Pod) -> bool {
    let found = !matches!(controller.kind, Kind::Job | Kind::CronJob);
    found
        && controller.namespace == pod.namespace
        && !controller.selector.is_empty()
        && controller
            .selector
            .iter()
            .all(|(key, value)| pod.labels.get(key) == Some(value))
}

fn id(controller: &Controller) -> String {
    let tag = match controller.kind {
        Kind::DaemonSet => "daemonset",
        Kind::StatefulSet => "statefulset",
        Kind::CronJob => "cronjob",
        kind => kind.name(),
    };
    format!("{};<{tag}>", controller.uid)
}

fn controller_node(controller: &Controller, truth: &Truth, by: By<'_>) -> Node {
    let now = by.now;
    let wanted = controller.replicas.to_string();
    let pods = truth.pods.iter().filter(|pod| selects(controller, pod));
    let pods = pods.count().to_string();
    let common = [
        ("kubernetes_name", controller.name.as_str()),
        ("kubernetes_namespace", &controller.namespace),
        ("kubernetes_created", &controller.created),
        ("control_probe_id", by.probe_id),
    ];
    let own: &[(&str, &str)] = match controller.kind {
        Kind::Service => &[
            ("kubernetes_ip", &controller.ip),
            ("kubernetes_type", "ClusterIP"),
            ("kubernetes_ports", &controller.ports),
        ],
        Kind::Deployment => &[
            ("kubernetes_node_type", "Deployment"),
            ("kubernetes_observed_generation", "1"),
            ("kubernetes_desired_replicas", &wanted),
            ("kubernetes_replicas", &pods),
            ("kubernetes_updated_replicas", &pods),
            ("kubernetes_available_replicas", &pods),
            ("kubernetes_unavailable_replicas", "0"),
            ("kubernetes_strategy", "RollingUpdate"),
        ],
        Kind::DaemonSet => &[
            ("kubernetes_node_type", "DaemonSet"),
            ("kubernetes_desired_replicas", &wanted),
            ("kubernetes_replicas", &pods),
            ("kubernetes_misscheduled_replicas", "0"),
        ],
        Kind::StatefulSet => &[
            ("kubernetes_node_type", "StatefulSet"),
            ("kubernetes_desired_replicas", &wanted),
            ("kubernetes_replicas", &pods),
            ("kubernetes_observed_generation", "1"),
        ],
        _ => &[("kubernetes_node_type", "Job")],
    };
    let node = with_values(Node::new(&id(controller)), now, &common);
    let node = with_values(node, now, own);
    let mut node = labelled(node, &controller.labels, now);
    let controls: &[&str] = match controller.kind {
        Kind::Deployment => &[
            "kubernetes_scale_up",
            "kubernetes_scale_down",
            "kubernetes_describe",
        ],
        _ => &["kubernetes_describe"],
    };
    let described = usize::from(by.version.describes());
    offer(&mut node, now, &controls[..controls.len() - 1 + described]);
    node
}
