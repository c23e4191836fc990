//! What the views leave out, and what the page hides unless asked.

use std::collections::BTreeSet;

use super::address::{INCOMING_INTERNET, OUTGOING_INTERNET, SERVICE_PREFIX};
use super::drawn::{Drawn, Nodes};
use super::pod::is_pause_image;

/// Keeps the nodes that pass, and the edges between them.
pub(crate) fn keep(nodes: &mut Nodes, passes: impl Fn(&Drawn) -> bool) {
    nodes.retain(|_, node| passes(node));
    let ids: BTreeSet<String> = nodes.keys().cloned().collect();
    for node in nodes.values_mut() {
        node.adjacency.retain(|end| ids.contains(end));
    }
}

/// Whether a node, if it says that it is a container, runs. Only Docker's words for it count.
pub(crate) fn is_running(node: &Drawn) -> bool {
    matches!(
        node.latest("docker_container_state"),
        None | Some("running" | "restarting" | "paused")
    )
}

const SYSTEM_NAMES: [&str; 6] = [
    "weavescope",
    "weavedns",
    "weave",
    "weaveproxy",
    "weaveexec",
    "ecs-agent",
];

const SYSTEM_IMAGES: [&str; 9] = [
    "swarm",
    "weaveworks/scope",
    "weaveworks/weavedns",
    "weaveworks/weave",
    "weaveworks/weaveproxy",
    "weaveworks/weaveexec",
    "amazon/amazon-ecs-agent",
    "openshift/origin-pod",
    "docker.io/openshift/origin-pod",
];

/// Whether a node is a person's own and not part of the system.
pub(crate) fn is_application(node: &Drawn) -> bool {
    let text = |key: &str| node.latest(key).unwrap_or_default();
    let image = text("docker_image_name");
    let image = image.split_once(':').map_or(image, |(name, _)| name);
    !(SYSTEM_NAMES.contains(&text("docker_container_name"))
        || SYSTEM_IMAGES.contains(&image)
        || is_pause_image(image)
        || text("docker_label_io.kubernetes.docker.type") == "podsandbox"
        || text("docker_label_works.weave.role") == "system"
        || text("docker_image_label_works.weave.role") == "system"
        || text("docker_label_io.kubernetes.pod.namespace") == "kube-system"
        || text("docker_label_io.kubernetes.pod.name").starts_with("kube-system/"))
}

/// Whether a node stands for something that a probe reports, or for the world outside.
pub(crate) fn is_not_pseudo(node: &Drawn) -> bool {
    !node.is_pseudo()
        || node.id == INCOMING_INTERNET
        || node.id == OUTGOING_INTERNET
        || node.id.starts_with(SERVICE_PREFIX)
}

/// The namespace that a node says it is in.
pub(crate) fn namespace(node: &Drawn) -> &str {
    [
        "kubernetes_namespace",
        "docker_label_io.kubernetes.pod.namespace",
        "No stack",
        "docker_label_com.docker.stack.namespace",
    ]
    .iter()
    .find_map(|key| node.latest(key))
    .unwrap_or_default()
}

/// The nodes with an edge to or from another node.
pub(crate) fn connected(nodes: &Nodes) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (id, node) in nodes {
        for end in node.adjacency.iter().filter(|end| *end != id) {
            found.insert(id.clone());
            found.insert(end.clone());
        }
    }
    found
}

/// Drops stand-ins that nothing is connected to, whatever else was asked for. Connections from the
/// internet to the internet are taken for a mistake.
pub(crate) fn drop_unconnected_stand_ins(nodes: &mut Nodes) {
    if let Some(incoming) = nodes.get_mut(INCOMING_INTERNET) {
        incoming.adjacency.remove(OUTGOING_INTERNET);
    }
    let connected = connected(nodes);
    nodes.retain(|id, node| !node.is_pseudo() || connected.contains(id));
}
