//! Pods, and what is above them.

use std::sync::Arc;

use super::Scene;
use super::drawn::{Drawn, Join, Nodes, PSEUDO, unite};
use super::endpoint::{host_of, join_by_address, pod_addresses};
use super::filter::{is_running, keep};
use super::volume;
use crate::kind::Kind;
use crate::merge::merge_nodes;
use crate::report::Node;

/// How the ids of nodes begin that hold a host's processes outside of containers.
pub(crate) const UNCONTAINED: &str = "pseudo:uncontained:";
/// How the ids of nodes begin that hold a host's containers outside of pods.
pub(crate) const UNMANAGED: &str = "pseudo:unmanaged:";

const CONTROLLERS: [Kind; 5] = [
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::CronJob,
    Kind::Job,
];

/// Without any of these there is no Kubernetes to draw.
const KUBERNETES: [Kind; 10] = [
    Kind::Pod,
    Kind::Service,
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::CronJob,
    Kind::PersistentVolume,
    Kind::PersistentVolumeClaim,
    Kind::StorageClass,
    Kind::Job,
];

fn is_kubernetes(scene: &Scene) -> bool {
    KUBERNETES
        .iter()
        .any(|kind| !scene.reported(*kind).is_empty())
}

pub(crate) fn is_pause_image(name: &str) -> bool {
    ["google_containers/pause", "k8s.gcr.io/pause", "eks/pause"]
        .iter()
        .any(|pause| name.contains(pause))
}

/// Pods as they were reported, with their running containers.
pub(super) fn pods(scene: &Scene) -> Nodes {
    if !is_kubernetes(scene) {
        return Nodes::new();
    }
    let mut running = scene.named_containers().clone();
    keep(&mut running, |node| {
        let pause = || node.latest("docker_image_name").is_some_and(is_pause_image);
        node.is_pseudo() || (is_running(node) && !pause())
    });
    let mut of_containers = to_parents(&running, &[Kind::Pod], Some(UNMANAGED));
    for pod in of_containers.values_mut() {
        take_host_from_child(pod);
    }
    let of_containers = with_metrics_of_only_child(of_containers, Kind::Container);
    let by_address = join_by_address(scene, Kind::Pod, pod_addresses);
    let mut all = unite(of_containers, by_address);
    all = unite(all, volume::volumes(scene));
    keep(&mut all, |node| {
        let state = node.latest("kubernetes_state");
        node.is_pseudo() || !matches!(state, Some("deleted" | "Failed"))
    });
    all
}

/// Controllers, with their pods.
pub(super) fn controllers(scene: &Scene) -> Nodes {
    above_pods(scene, &CONTROLLERS, Some(UNMANAGED))
}

/// Services, with their pods. What is in no service is not shown.
pub(super) fn services(scene: &Scene) -> Nodes {
    above_pods(scene, &[Kind::Service], None)
}

fn above_pods(scene: &Scene, kinds: &[Kind], rest: Option<&str>) -> Nodes {
    if !is_kubernetes(scene) {
        return Nodes::new();
    }
    let of_pods = to_parents(scene.pods(), kinds, rest);
    let of_pods = with_metrics_of_only_child(of_pods, Kind::Pod);
    kinds
        .iter()
        .fold(of_pods, |all, kind| unite(all, scene.select(*kind)))
}

/// Joins nodes to their parents of some topologies. Those without any go to a node per host, if
/// `rest` says how its id begins.
fn to_parents(below: &Nodes, kinds: &[Kind], rest: Option<&str>) -> Nodes {
    let mut join = Join::default();
    for node in below.values() {
        if let (Some(rest), Some(host)) = (rest, node.id.strip_prefix(UNCONTAINED)) {
            join.add_family(node, &format!("{rest}{host}"), PSEUDO);
            continue;
        }
        if node.is_pseudo() {
            join.pass(node);
            continue;
        }
        let mut found = false;
        for kind in kinds {
            for id in node.parents(*kind) {
                join.add_family(node, id, kind.name());
                found = true;
            }
        }
        if let (false, Some(rest)) = (found, rest) {
            join.add_family(node, &format!("{rest}{}", host_of(&node.data)), PSEUDO);
        }
    }
    join.finish(below.values())
}

/// Pods are reported centrally, so their host is known only from their containers.
fn take_host_from_child(pod: &mut Drawn) {
    if !pod.is(Kind::Pod) || !pod.parents(Kind::Host).is_empty() {
        return;
    }
    let hosts = pod
        .children
        .values()
        .map(|child| child.parents(Kind::Host))
        .find(|hosts| !hosts.is_empty());
    if let Some(hosts) = hosts.map(<[String]>::to_vec) {
        let parents = &mut Arc::make_mut(&mut pod.data).parents;
        parents.insert(Kind::Host.name().to_owned(), hosts);
    }
}

/// A node with one child of a topology shows that child's metrics as its own. Containers that only
/// hold a pod's namespaces do not count.
fn with_metrics_of_only_child(mut nodes: Nodes, kind: Kind) -> Nodes {
    for node in nodes.values_mut() {
        let mut children = node
            .children_of(kind)
            .filter(|child| child.latest("does_not_make_connections").is_none());
        let metrics = match (children.next(), children.next()) {
            (Some(only), None) => only.data.metrics.clone(),
            _ => continue,
        };
        drop(children);
        let metrics = Node {
            metrics,
            ..Node::default()
        };
        if let Ok(merged) = merge_nodes((*node.data).clone(), metrics) {
            node.data = Arc::new(merged);
        }
    }
    nodes
}
