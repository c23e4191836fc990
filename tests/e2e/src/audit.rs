//! What the API server's audit log says of our accounts.

use std::collections::BTreeMap;

use anyhow::ensure;

use crate::product::{PLUGINS, SYSTEM};

/// A finished request, or a watch that was opened.
#[derive(Debug, Clone)]
pub struct Request {
    /// `system:serviceaccount:<namespace>:<name>` for ours.
    pub user: String,
    /// The pod whose token the request carried; empty for anybody else's.
    pub pod: String,
    /// `list`, `watch`, `get`, `patch` …
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource with its subresource, such as `scopeplugins/status`.
    pub resource: String,
    /// Namespace of the object; empty for all.
    pub namespace: String,
    /// Object name; empty where none.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status.
    pub code: u16,
    /// Which binding allowed it, in the API server's words.
    pub allowed_by: String,
}

impl Request {
    /// Whether it changes something, or would have.
    pub fn is_write(&self) -> bool {
        throwaway_cluster::WRITES.contains(&self.verb.as_str())
    }
}

/// The operator's account.
pub fn operator() -> String {
    format!("system:serviceaccount:{SYSTEM}:scope-operator")
}

/// The account of a plugin's agents.
pub fn agent(plugin: &str) -> String {
    format!("system:serviceaccount:{PLUGINS}:scope-plugin-{plugin}")
}

/// The account of the clean-up before an uninstall.
pub fn cleanup() -> String {
    format!("system:serviceaccount:{SYSTEM}:scope-plugins-cleanup")
}

/// The account of scope-totals.
pub fn totals() -> String {
    format!("system:serviceaccount:{SYSTEM}:scope-totals")
}

/// Whether a request is by the operator, scope-totals, the clean-up or an agent.
pub fn ours(request: &Request) -> bool {
    request.user == operator()
        || request.user == totals()
        || request.user == cleanup()
        || request
            .user
            .starts_with(&format!("system:serviceaccount:{PLUGINS}:scope-plugin-"))
}

/// In an idle minute operator, scope-totals and agents list nothing and write nothing but the leases. An agent
/// may come with a new token just then.
pub fn must_be_idle(requests: &[Request]) -> anyhow::Result<()> {
    let mut renewals = 0;
    for request in requests.iter().filter(|r| ours(r)) {
        match (request.verb.as_str(), request.resource.as_str()) {
            ("get" | "watch", _) => {}
            ("patch" | "update", "leases") => renewals += 1,
            ("create", "tokenreviews") => {}
            _ => anyhow::bail!("not idle: {request:?}"),
        }
    }
    ensure!(
        (4..=40).contains(&renewals),
        "{renewals} renewals of leases in a minute"
    );
    Ok(())
}

/// None of our accounts was forbidden anything, not at its end either: the clean-up before an uninstall stops
/// what Helm takes the rights of.
pub fn nothing_forbidden(requests: &[Request]) -> anyhow::Result<()> {
    let forbidden: Vec<_> = requests
        .iter()
        .filter(|r| ours(r) && r.code == 403)
        .collect();
    ensure!(forbidden.is_empty(), "forbidden: {forbidden:?}");
    Ok(())
}

/// The start of a plugin's agents on these nodes: one list and one watch of the pods of each node from
/// the watch cache, by each agent at most one GET per owner and namespace and one of its own Node, and
/// nothing else.
pub fn agents_start(requests: &[Request], plugin: &str, nodes: &[String]) -> anyhow::Result<()> {
    let user = agent(plugin);
    for node in nodes {
        let selector = format!("fieldSelector=spec.nodeName%3D{node}");
        let of_node =
            |r: &&Request| r.user == user && r.resource == "pods" && r.uri.contains(&selector);
        let lists: Vec<_> = requests
            .iter()
            .filter(of_node)
            .filter(|r| r.verb == "list")
            .collect();
        let watches: Vec<_> = requests
            .iter()
            .filter(of_node)
            .filter(|r| r.verb == "watch")
            .collect();
        ensure!(lists.len() == 1, "lists of pods of {node}: {lists:?}");
        ensure!(watches.len() == 1, "watches of pods of {node}: {watches:?}");
        let cached = lists[0].uri.contains("resourceVersion=0");
        ensure!(cached, "not from the watch cache: {:?}", lists[0]);
    }
    let mut gets: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut own_nodes = Vec::new();
    for request in requests.iter().filter(|r| r.user == user) {
        match (request.verb.as_str(), request.resource.as_str()) {
            ("list" | "watch", "pods") => {
                let narrow = request.uri.contains("fieldSelector=spec.nodeName%3D");
                ensure!(narrow, "wide: {request:?}");
            }
            ("get", "replicasets" | "jobs" | "namespaces") => {
                *gets
                    .entry((&request.resource, &request.namespace, &request.name))
                    .or_default() += 1;
            }
            ("get", "nodes") if nodes.contains(&request.name) => {
                own_nodes.push(request.name.as_str());
            }
            _ => anyhow::bail!("an agent's start should not cost {request:?}"),
        }
    }
    own_nodes.sort_unstable();
    let asked = own_nodes.len();
    own_nodes.dedup();
    ensure!(
        own_nodes.len() == asked,
        "a Node was read twice within a minute"
    );
    // The agents of a plugin share an account, so the log cannot tell them apart here.
    for (object, count) in gets {
        ensure!(
            count <= nodes.len(),
            "{object:?} was read {count} times by {} agents",
            nodes.len()
        );
    }
    Ok(())
}
