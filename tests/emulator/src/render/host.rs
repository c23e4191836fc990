//! Hosts.

use super::Scene;
use super::drawn::{Join, Nodes, unite};
use super::endpoint::join;
use crate::kind::Kind;

/// Hosts as they were reported, with everything that says it is on them.
pub(super) fn hosts(scene: &Scene) -> Nodes {
    let below = [
        scene.processes(),
        scene.containers(),
        scene.images(),
        scene.pods(),
    ];
    let ends = join(scene, Kind::Host, |endpoint| {
        endpoint.latest("host_node_id").map(str::to_owned)
    });
    below.into_iter().map(on_hosts).fold(ends, unite)
}

fn on_hosts(nodes: &Nodes) -> Nodes {
    let mut join = Join::default();
    for node in nodes.values().filter(|node| !node.is_pseudo()) {
        for host in node.parents(Kind::Host) {
            if node.is(Kind::ContainerImage) {
                // An image is on many hosts, and its edges are not between all of them.
                join.add_child_without_edges(node, host, Kind::Host.name());
            } else {
                join.add_child(node, host, Kind::Host.name());
            }
        }
    }
    join.finish(nodes.values())
}
