//! What the probe adds to every node once all reports are merged.

use crate::kind::Kind;
use crate::report::{LatestEntry, Node, Report, Topology};
use crate::stamp::Stamp;
use crate::version::Version;

/// Puts nodes back under the id that they *say* they have. A node whose id is not its key thus gets a
/// twin, and stays as it was itself; the twin replaces whatever was there.
fn put_back(topology: &mut Topology, change: impl Fn(&mut Node)) {
    if topology.nodes.iter().all(|(key, node)| *key == node.id) {
        topology.nodes.values_mut().for_each(change);
        return;
    }
    let (sound, odd): (Vec<_>, Vec<_>) = topology
        .nodes
        .clone()
        .into_iter()
        .partition(|(key, node)| *key == node.id);
    for (_, mut node) in sound.into_iter().chain(odd) {
        change(&mut node);
        topology.nodes.insert(node.id.clone(), node);
    }
}

/// Stamps every node with the name of its topology, whatever it said itself.
pub(crate) fn topologies(report: &mut Report) {
    for (kind, topology) in report.topologies_mut() {
        put_back(topology, |node| node.topology = kind.name().to_owned());
    }
}

/// Ties everything that lives on a host to it; not pods, since they are reported centrally.
pub(crate) fn host(report: &mut Report, host: &str, now: Stamp, version: Version) {
    let id = format!("{host};<host>");
    let mut kinds = vec![
        Kind::Process,
        Kind::Container,
        Kind::ContainerImage,
        Kind::Host,
    ];
    if version.ties_pods_to_host() {
        kinds.push(Kind::Pod);
    }
    for kind in kinds {
        put_back(report.topology_mut(kind), |node| {
            newer(node, "host_node_id", now, &id);
            add_parent(node, Kind::Host, &id);
        });
    }
}

/// Ties containers to their pods by the label that the runtime gives them, and marks those that only
/// hold a pod's namespaces.
pub(crate) fn pods(report: &mut Report, now: Stamp) {
    let mut containers = std::mem::take(&mut report.topology_mut(Kind::Container).nodes);
    for node in containers.values_mut() {
        let Some(uid) = node.latest("docker_label_io.kubernetes.pod.uid") else {
            continue;
        };
        let pod = format!("{uid};<pod>");
        if is_pause(node, report) {
            node.set_latest("does_not_make_connections", now, "");
        }
        add_parent(node, Kind::Pod, &pod);
    }
    report.topology_mut(Kind::Container).nodes = containers;
}

/// Whether this container is a sandbox, by its label or by the first of its images that is reported.
fn is_pause(node: &Node, report: &Report) -> bool {
    if node.latest("docker_label_io.kubernetes.docker.type") == Some("podsandbox") {
        return true;
    }
    let mut images = node.parents(Kind::ContainerImage).iter();
    let image = images.find_map(|id| {
        report
            .node(Kind::ContainerImage, id)
            .and_then(|image| image.latest("docker_image_name"))
    });
    image.is_some_and(|image| {
        ["google_containers/pause", "k8s.gcr.io/pause", "eks/pause"]
            .iter()
            .any(|pause| image.contains(pause))
    })
}

fn newer(node: &mut Node, key: &str, now: Stamp, value: &str) {
    let entry = node.latest.entry(key.to_owned()).or_default();
    if entry.stamp < now {
        *entry = LatestEntry {
            stamp: now,
            value: value.to_owned(),
        };
    }
}

fn add_parent(node: &mut Node, kind: Kind, id: &str) {
    let parents = node.parents.entry(kind.name().to_owned()).or_default();
    let at = parents.partition_point(|known| known.as_str() < id);
    if parents.get(at).is_none_or(|known| known != id) {
        parents.insert(at, id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_its_id_gets_a_twin() {
        let mut report = Report::empty();
        let pods = report.topology_mut(Kind::Pod);
        pods.nodes.insert(
            "p;<pod>".to_owned(),
            Node {
                topology: "host".into(),
                ..Node::default()
            },
        );
        pods.nodes
            .insert("q;<pod>".to_owned(), Node::new("q;<pod>"));
        topologies(&mut report);
        let pods = report.topology(Kind::Pod);
        assert_eq!(pods.nodes[""].topology, "pod");
        assert_eq!(
            pods.nodes["p;<pod>"].topology, "host",
            "the twin was stamped, not the node"
        );
        assert_eq!(pods.nodes["q;<pod>"].topology, "pod");
    }

    #[test]
    fn ties_containers_to_host_and_pod() {
        let mut report = Report::empty();
        let node = Node::new("c;<container>").with_latest(
            "docker_label_io.kubernetes.pod.uid",
            Stamp::ZERO,
            "u",
        );
        let pod = Node::new("u;<pod>");
        report
            .topology_mut(Kind::Container)
            .nodes
            .insert(node.id.clone(), node);
        report
            .topology_mut(Kind::Pod)
            .nodes
            .insert(pod.id.clone(), pod);
        host(&mut report, "n1", Stamp::now(), Version::default());
        super::pods(&mut report, Stamp::now());
        let node = report.node(Kind::Container, "c;<container>").unwrap();
        assert_eq!(node.parents(Kind::Host), ["n1;<host>"]);
        assert_eq!(node.parents(Kind::Pod), ["u;<pod>"]);
        assert_eq!(node.latest("host_node_id"), Some("n1;<host>"));
        assert_eq!(
            report
                .node(Kind::Pod, "u;<pod>")
                .unwrap()
                .parents(Kind::Host)
                .len(),
            0
        );
    }
}
