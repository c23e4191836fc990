//! Connections: which process, container, pod or host each end of one belongs to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Scene;
use super::address::{self, endpoint_parts};
use super::drawn::{Drawn, Join, Nodes, PSEUDO};
use crate::kind::Kind;
use crate::report::Node;

/// Joins endpoints to the nodes of a topology. An end that no probe knows the host of becomes the
/// internet, if its address is not local.
pub(crate) fn join(scene: &Scene, kind: Kind, owner: impl Fn(&Drawn) -> Option<String>) -> Nodes {
    let endpoints = scene.select(Kind::Endpoint);
    let mut join = Join::over(scene.select(kind));
    for endpoint in endpoints.values() {
        if endpoint.latest("host_node_id").is_none() {
            let begins = !endpoint.adjacency.is_empty();
            let names = endpoint_parts(&endpoint.id)
                .and_then(|(_, address, _)| scene.report.dns.get(address));
            let outside = address::outside(&endpoint.id, begins, &scene.local, names);
            if let Some(id) = outside {
                join.add_child(endpoint, &id, PSEUDO);
                continue;
            }
        }
        if let Some(id) = owner(endpoint) {
            join.add_child(endpoint, &id, kind.name());
        }
    }
    join.finish(endpoints.values())
}

/// The processes, each with its ends of connections.
pub(crate) fn processes(scene: &Scene) -> Nodes {
    if scene.reported(Kind::Process).is_empty() {
        return Nodes::new();
    }
    join(scene, Kind::Process, |endpoint| {
        let pid = endpoint.latest("pid")?;
        if has_several_connections(scene, endpoint) {
            return None;
        }
        let host = host_of(&endpoint.data);
        (!host.is_empty()).then(|| format!("{host};{pid}"))
    })
}

/// An end with connections to several others may have been used by several processes in turn.
/// Several copies of one other end count once.
fn has_several_connections(scene: &Scene, endpoint: &Drawn) -> bool {
    let endpoints = scene.reported(Kind::Endpoint);
    let mut ends = endpoint.adjacency.iter().map(|id| {
        let original = endpoints.get(id).and_then(|end| end.latest("copy_of"));
        original.unwrap_or(id)
    });
    let first = ends.next();
    ends.any(|end| Some(end) != first)
}

/// The host that a node was tied to, by its bare name.
pub(crate) fn host_of(node: &Node) -> &str {
    let id = node.latest("host_node_id").unwrap_or_default();
    id.split_once(';').map_or("", |(name, _)| name)
}

/// Joins endpoints to nodes by the addresses that those say they have. An address that several
/// nodes have belongs to none.
pub(crate) fn join_by_address(
    scene: &Scene,
    kind: Kind,
    addresses: impl Fn(&Node) -> Vec<String>,
) -> Nodes {
    let mut owners: BTreeMap<String, Option<String>> = BTreeMap::new();
    for node in scene.reported(kind).values() {
        for address in addresses(node) {
            owners
                .entry(address)
                .and_modify(|owner| *owner = None)
                .or_insert_with(|| Some(node.id.clone()));
        }
    }
    join(scene, kind, |endpoint| {
        let (scope, address, port) = endpoint_parts(&endpoint.id)?;
        let owner = owners
            .get(&format!("{scope};{address};"))
            .or_else(|| owners.get(&format!("{scope};{address};{port}")))?;
        owner.clone()
    })
}

/// The addresses of a container's network, and the ports of its host that lead to it.
pub(crate) fn container_addresses(node: &Node) -> Vec<String> {
    let shared = ["does_not_make_connections", "docker_is_in_host_network"];
    if shared.iter().any(|key| node.latest(key).is_some()) {
        return Vec::new();
    }
    let set = |key: &str| node.sets.get(key).into_iter().flatten();
    let own = set("docker_container_ips_with_scopes").filter_map(|scoped| {
        let (scope, address) = scoped.split_once(';')?;
        let loopback = address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (!loopback).then(|| format!("{scope};{address};"))
    });
    let mapped = set("docker_container_ports").filter_map(|mapping| {
        let (outer, inner) = mapping.split_once("->")?;
        let (address, port) = outer.rsplit_once(':')?;
        inner
            .ends_with("/tcp")
            .then(|| format!(";{address};{port}"))
    });
    own.chain(mapped).collect()
}

/// The address of a pod, unless it is its host's.
pub(crate) fn pod_addresses(node: &Node) -> Vec<String> {
    let address = match node.latest("kubernetes_is_in_host_network") {
        Some(_) => None,
        None => node.latest("kubernetes_ip").filter(|ip| !ip.is_empty()),
    };
    address.map(|ip| format!(";{ip};")).into_iter().collect()
}
