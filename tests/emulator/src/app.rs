//! What Scope's *app* does to every report that it gets, and the one thing of it that a plugin can
//! break for everybody.

use crate::kind::Kind;
use crate::merge::union;
use crate::report::{Node, Report, Topology};
use crate::stamp::Stamp;

/// Adapts a report as the app does with those of old probes: pods go to the deployment of their
/// replica set as soon as *any* replica set is reported, and namespaces are invented, by name, for
/// pods and controllers whose report has none.
pub fn upgrade(report: &mut Report, now: Stamp) {
    adopt_pods(report);
    invent_namespaces(report, now);
}

fn adopt_pods(report: &mut Report) {
    let sets = &report.topology(Kind::ReplicaSet).nodes;
    if sets.is_empty() {
        return;
    }
    let mut pods = report.topology(Kind::Pod).nodes.clone();
    for pod in pods.values_mut() {
        let Some(set_ids) = pod.parents.remove(Kind::ReplicaSet.name()) else {
            continue;
        };
        for set in set_ids.iter().filter_map(|id| sets.get(id)) {
            if let Some(found) = set.parents.get(Kind::Deployment.name()) {
                let known = pod
                    .parents
                    .entry(Kind::Deployment.name().to_owned())
                    .or_default();
                *known = union(known, found);
            }
        }
    }
    report.topology_mut(Kind::Pod).nodes = pods;
}

fn invent_namespaces(report: &mut Report, now: Stamp) {
    if !report.topology(Kind::Namespace).nodes.is_empty() {
        return;
    }
    let kinds = [
        Kind::Pod,
        Kind::Service,
        Kind::Deployment,
        Kind::DaemonSet,
        Kind::StatefulSet,
        Kind::CronJob,
    ];
    let names: Vec<String> = kinds
        .iter()
        .flat_map(|kind| report.topology(*kind).nodes.values())
        .filter(|node| node.latest("kubernetes_state") != Some("deleted"))
        .filter_map(|node| node.latest("kubernetes_namespace").map(str::to_owned))
        .collect();
    for name in names {
        let id = format!("{name};<namespace>");
        let node = Node::new(&id).with_latest("kubernetes_name", now, &name);
        report.topology_mut(Kind::Namespace).nodes.insert(id, node);
    }
}

/// Why the app cannot summarise a node: every view with the node in it fails, for all users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the app panics on {kind} {node}: its table {table} has several columns, so the key {key} must \
     be the prefix, a row, three underscores and a column"
)]
pub struct SummaryPanic {
    /// The topology of the node.
    pub kind: Kind,
    /// The key of the node.
    pub node: String,
    /// The id of the table template.
    pub table: String,
    /// The key in `latest` that cannot be taken apart.
    pub key: String,
}

/// The first node that makes the app panic when it summarises the topology, if there is one.
pub fn summary_panic(report: &Report, kind: Kind) -> Option<SummaryPanic> {
    let topology = report.topology(kind);
    let mut nodes = topology.nodes.iter();
    nodes.find_map(|(id, node)| node_panic(topology, kind, id, node))
}

/// As [`summary_panic`], for one node, which need not be among those of the topology.
pub(crate) fn node_panic(
    topology: &Topology,
    kind: Kind,
    id: &str,
    node: &Node,
) -> Option<SummaryPanic> {
    let mut tables = topology
        .table_templates
        .values()
        .filter(|table| table.kind == "multicolumn-table" && !table.prefix.is_empty());
    tables.find_map(|table| {
        let cell = |key: &&String| {
            key.strip_prefix(&table.prefix)
                .is_some_and(|rest| !rest.contains("___"))
        };
        let key = node.latest.keys().find(cell)?;
        Some(SummaryPanic {
            kind,
            node: id.to_owned(),
            table: table.id.clone(),
            key: key.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TableTemplate;

    #[test]
    fn pods_are_adopted_and_namespaces_invented() {
        let mut report = Report::empty();
        let parent = |kind: Kind, id: &str| (kind.name().to_owned(), vec![id.to_owned()]);
        let mut pod = Node::new("p").with_latest("kubernetes_namespace", Stamp::ZERO, "demo");
        pod.parents
            .extend([parent(Kind::ReplicaSet, "r"), parent(Kind::Host, "h")]);
        report
            .topology_mut(Kind::Pod)
            .nodes
            .insert("p".to_owned(), pod);
        let mut set = Node::new("r");
        set.parents.extend([parent(Kind::Deployment, "d")]);
        report
            .topology_mut(Kind::ReplicaSet)
            .nodes
            .insert("r".to_owned(), set);

        upgrade(&mut report, Stamp::now());
        let pod = report.node(Kind::Pod, "p").unwrap();
        assert_eq!(pod.parents(Kind::Deployment), ["d"]);
        assert_eq!(pod.parents(Kind::ReplicaSet).len(), 0);
        assert_eq!(pod.parents(Kind::Host), ["h"]);
        let invented = report.node(Kind::Namespace, "demo;<namespace>").unwrap();
        assert_eq!(invented.latest("kubernetes_name"), Some("demo"));
    }

    #[test]
    fn only_tables_of_columns_break() {
        let mut report = Report::empty();
        let hosts = report.topology_mut(Kind::Host);
        let node = Node::new("h")
            .with_latest("tab-a___x", Stamp::ZERO, "1")
            .with_latest("list-a", Stamp::ZERO, "1");
        hosts.nodes.insert("h".to_owned(), node);
        for (id, kind) in [("tab", "multicolumn-table"), ("list", "property-list")] {
            let template = TableTemplate {
                id: id.to_owned(),
                prefix: format!("{id}-"),
                kind: kind.to_owned(),
                ..TableTemplate::default()
            };
            hosts.table_templates.insert(id.to_owned(), template);
        }
        assert_eq!(summary_panic(&report, Kind::Host), None);
        let node = report.topology_mut(Kind::Host).nodes.get_mut("h").unwrap();
        node.set_latest("tab-b", Stamp::ZERO, "1");
        let panic = summary_panic(&report, Kind::Host).unwrap();
        assert!(panic.to_string().contains("key tab-b must"), "{panic}");
    }
}
