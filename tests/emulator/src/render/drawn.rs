//! A node on its way to the page, and the joining of nodes to those above them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kind::Kind;
use crate::merge::merge_nodes;
use crate::report::Node;

/// The topology of nodes that stand for what no probe reports: the internet, uncontained processes,
/// unmanaged containers.
pub(crate) const PSEUDO: &str = "pseudo";

/// Nodes of a view by their id.
pub(crate) type Nodes = BTreeMap<String, Drawn>;

/// A node of a view. The reported part is shared, since most nodes only pass through.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) id: String,
    /// The name of a topology, or [`PSEUDO`].
    pub(crate) topology: String,
    /// Values, metrics, sets and parents; the rest of it does not count.
    pub(crate) data: Arc<Node>,
    /// How many children of each topology were joined to it.
    counters: BTreeMap<String, i64>,
    pub(crate) adjacency: BTreeSet<String>,
    pub(crate) children: BTreeMap<String, Arc<Drawn>>,
}

impl Drawn {
    /// A node that nothing is known of yet.
    pub(crate) fn new(id: &str, topology: &str) -> Self {
        Self {
            id: id.to_owned(),
            topology: topology.to_owned(),
            data: Arc::default(),
            counters: BTreeMap::new(),
            adjacency: BTreeSet::new(),
            children: BTreeMap::new(),
        }
    }

    /// A node as it was reported.
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        let children = node.children.values();
        Self {
            id: node.id.clone(),
            topology: node.topology.clone(),
            data: Arc::clone(node),
            counters: BTreeMap::new(),
            adjacency: node.adjacency.iter().cloned().collect(),
            children: children
                .map(|child| {
                    (
                        child.id.clone(),
                        Arc::new(Self::of(&Arc::new(child.clone()))),
                    )
                })
                .collect(),
        }
    }

    /// A node above another one: that one and its children are its own.
    pub(crate) fn above(id: &str, topology: &str, child: &Self) -> Self {
        let mut node = Self::new(id, topology);
        node.children.clone_from(&child.children);
        node.children
            .insert(child.id.clone(), Arc::new(child.clone()));
        node
    }

    pub(crate) fn latest(&self, key: &str) -> Option<&str> {
        self.data.latest(key)
    }

    pub(crate) fn parents(&self, kind: Kind) -> &[String] {
        self.data.parents(kind)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.topology == kind.name()
    }

    pub(crate) fn is_pseudo(&self) -> bool {
        self.topology == PSEUDO
    }

    /// How many of a topology the node says, or was found, to have. A plugin can send counters too.
    pub(crate) fn counter(&self, name: &str) -> Option<i64> {
        let reported = || {
            let text = self.latest(&format!("count_{name}"))?;
            Some(text.parse().unwrap_or(0))
        };
        self.counters.get(name).copied().or_else(reported)
    }

    fn count(&mut self, name: &str) {
        let sum = self.counter(name).unwrap_or(0) + 1;
        self.counters.insert(name.to_owned(), sum);
    }

    pub(crate) fn children_of(&self, kind: Kind) -> impl Iterator<Item = &Arc<Drawn>> {
        self.children.values().filter(move |child| child.is(kind))
    }

    /// Merges a node that comes to this one of the same id. Scope's app panics where the topologies
    /// of the two differ, which the endings of ids prevent.
    pub(crate) fn merge(&mut self, newcomer: Self) {
        if self.topology.is_empty() {
            self.topology = newcomer.topology;
        }
        let blank = Node::default();
        if *self.data == blank {
            self.data = newcomer.data;
        } else if *newcomer.data != blank && !Arc::ptr_eq(&self.data, &newcomer.data) {
            let merged = merge_nodes((*newcomer.data).clone(), (*self.data).clone());
            if let Ok(merged) = merged {
                self.data = Arc::new(merged);
            }
        }
        for (name, count) in newcomer.counters {
            self.counters.entry(name).or_insert(count);
        }
        self.adjacency.extend(newcomer.adjacency);
        self.children.extend(newcomer.children);
    }
}

/// Merges two views, node by node.
pub(crate) fn unite(mut left: Nodes, right: Nodes) -> Nodes {
    for (key, node) in right {
        match left.get_mut(&key) {
            Some(known) => known.merge(node),
            None => {
                left.insert(key, node);
            }
        }
    }
    left
}

/// Collects the nodes of a view while those of the view below are joined to them, and translates
/// edges between those into edges between these.
#[derive(Default)]
pub(crate) struct Join {
    nodes: Nodes,
    /// Where each node below has gone.
    mapped: BTreeMap<String, Vec<String>>,
}

impl Join {
    /// Starts from nodes that are there in any case.
    pub(crate) fn over(mut nodes: Nodes) -> Self {
        for node in nodes.values_mut() {
            node.adjacency.clear();
        }
        Self {
            nodes,
            mapped: BTreeMap::new(),
        }
    }

    fn map(&mut self, from: &str, to: &str) {
        let places = self.mapped.entry(from.to_owned()).or_default();
        places.push(to.to_owned());
    }

    /// Adds what a node below was turned into.
    pub(crate) fn add(&mut self, from: &str, node: Drawn) {
        let id = node.id.clone();
        match self.nodes.get_mut(&id) {
            Some(known) => known.merge(node),
            None => {
                self.nodes.insert(id.clone(), node);
            }
        }
        self.map(from, &id);
    }

    /// Adds a child without its edges.
    pub(crate) fn add_child_without_edges(&mut self, child: &Drawn, to: &str, topology: &str) {
        let node = self
            .nodes
            .entry(to.to_owned())
            .or_insert_with(|| Drawn::new(to, topology));
        node.children
            .insert(child.id.clone(), Arc::new(child.clone()));
        if !child.is(Kind::Endpoint) {
            node.count(&child.topology);
        }
    }

    /// Adds a child to the node of this id, which is made if it is not there.
    pub(crate) fn add_child(&mut self, child: &Drawn, to: &str, topology: &str) {
        self.add_child_without_edges(child, to, topology);
        self.map(&child.id, to);
    }

    /// Adds a child and its children. Only the child itself is counted.
    pub(crate) fn add_family(&mut self, child: &Drawn, to: &str, topology: &str) {
        self.add_child(child, to, topology);
        if let Some(node) = self.nodes.get_mut(to) {
            let children = child.children.iter();
            node.children
                .extend(children.map(|(id, child)| (id.clone(), Arc::clone(child))));
        }
    }

    /// Takes a node as it is.
    pub(crate) fn pass(&mut self, node: &Drawn) {
        let mut copy = node.clone();
        copy.adjacency.clear();
        self.nodes.insert(node.id.clone(), copy);
        self.map(&node.id, &node.id);
    }

    /// The view, with the edges of the nodes below.
    pub(crate) fn finish<'a>(mut self, below: impl Iterator<Item = &'a Drawn>) -> Nodes {
        for node in below {
            let Some(places) = self.mapped.get(&node.id) else {
                continue;
            };
            let ends: BTreeSet<&String> = node
                .adjacency
                .iter()
                .filter_map(|end| self.mapped.get(end))
                .flatten()
                .collect();
            if ends.is_empty() {
                continue;
            }
            for place in places {
                if let Some(node) = self.nodes.get_mut(place) {
                    node.adjacency.extend(ends.iter().map(|end| (*end).clone()));
                }
            }
        }
        self.nodes
    }
}
