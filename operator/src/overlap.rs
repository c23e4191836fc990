//! Agents of two plugins on one node.
//!
//! Scope keeps one value per node and key, the newest. Two agents that both mend or both offer controls
//! write the same keys of the same nodes, so one of them has its say at random. On each node the plugin
//! that was made first is in its rights; each later one that claims the same nodes is marked.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use kube::Resource;
use scope_crds::{Control, MendScope, ScopePlugin, ScopePluginSpec};

use crate::{node_match, watches::Guarded};

/// Nodes that are named; the others are counted.
const NAMED: usize = 3;

/// A plugin, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plugin<'a> {
    pub(crate) name: &'a str,
    /// Who was first, between two that overlap. The name decides where that is equal.
    pub(crate) created: Option<Timestamp>,
    pub(crate) spec: &'a ScopePluginSpec,
}

/// A node, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Empty where they are not known: then more overlaps are found than there are.
    pub(crate) taints: &'a [Taint],
}

/// What a later plugin is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The plugin that was there first: of several the oldest.
    pub(crate) with: String,
    /// Names of nodes that both claim, at most three, in alphabetical order.
    pub(crate) nodes: Vec<String>,
    /// How many further nodes both claim.
    pub(crate) more_nodes: usize,
    /// How many further plugins were there first on some node.
    pub(crate) more_plugins: usize,
}

impl Overlap {
    /// For the condition of the later plugin.
    pub(crate) fn in_words(&self) -> String {
        let more = |count: usize| match count {
            0 => String::new(),
            count => format!(" (+{count})"),
        };
        format!(
            "Agents of {with}{more_plugins}, which was there first, run on the same nodes: {nodes}{more_nodes}. Both \
             mend Scope or have controls, so each overwrites what the other tells Scope. Set \
             spec.agent.mendScope to Never and spec.agent.controls to [] in one of them, or give them \
             different nodes by spec.placement",
            with = self.with,
            more_plugins = more(self.more_plugins),
            nodes = self.nodes.join(", "),
            more_nodes = more(self.more_nodes),
        )
    }
}

/// Whether agents of this plugin write what only one on a node can write. A plugin that mends
/// automatically does so on nodes without Docker, which are nearly all there are.
fn claims(spec: &ScopePluginSpec, allowed: &BTreeSet<Control>) -> bool {
    let offers = spec.agent.controls.iter().any(|c| allowed.contains(c));
    !spec.suspended && (offers || spec.agent.mend_scope != MendScope::Never)
}

/// With whom the plugin of this name overlaps, and where, if an older one claims nodes of it. `allowed`
/// are the installation's actions: a control that is not among them is not offered. The nodes are not
/// even asked for where no older plugin claims any.
pub(crate) fn overlap<'n>(
    of: &str,
    plugins: &[Plugin<'_>],
    nodes: impl IntoIterator<Item = Node<'n>>,
    allowed: &BTreeSet<Control>,
) -> Option<Overlap> {
    let mut claiming: Vec<&Plugin<'_>> = plugins
        .iter()
        .filter(|plugin| claims(plugin.spec, allowed))
        .collect();
    // One without a time is not in the cluster yet, so it is the last.
    claiming.sort_by_key(|p| (p.created.is_none(), p.created, p.name));
    let rank = claiming.iter().position(|plugin| plugin.name == of)?;
    let (older, later) = (&claiming[..rank], claiming[rank]);
    if older.is_empty() {
        return None;
    }

    // By the rank of the one that was first on a node.
    let mut shared: BTreeMap<usize, Shared<'n>> = BTreeMap::new();
    for node in nodes {
        let runs = |plugin: &Plugin<'_>| node_match::runs_on(plugin.spec, node.labels, node.taints);
        if runs(later)
            && let Some(first) = older.iter().position(|plugin| runs(plugin))
        {
            shared.entry(first).or_default().add(node.name);
        }
    }
    let more_plugins = shared.len().saturating_sub(1);
    let (first, Shared { names, count }) = shared.into_iter().next()?;
    Some(Overlap {
        with: older[first].name.to_owned(),
        more_nodes: count - names.len(),
        nodes: names.into_iter().map(str::to_owned).collect(),
        more_plugins,
    })
}

/// The nodes of two plugins: how many, and the first names in alphabetical order.
#[derive(Default)]
struct Shared<'a> {
    names: Vec<&'a str>,
    count: usize,
}

impl<'a> Shared<'a> {
    fn add(&mut self, name: &'a str) {
        self.count += 1;
        let place = self.names.partition_point(|before| *before < name);
        if place < NAMED {
            self.names.insert(place, name);
            self.names.truncate(NAMED);
        }
    }
}

/// Differs where a plugin may overlap otherwise than before: who it is, and what it asks for.
pub(crate) fn gist(plugin: &Guarded<ScopePlugin>) -> u64 {
    let meta = plugin.meta();
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, plugin.0.is_ok()).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;

    /// Name, second of creation, spec.
    type Made = (&'static str, i64, Value);

    fn found(made: &[Made], nodes: &[(&str, &[(&str, &str)])]) -> BTreeMap<String, Overlap> {
        let specs: Vec<ScopePluginSpec> = made
            .iter()
            .map(|(_, _, spec)| serde_json::from_value(spec.clone()).unwrap())
            .collect();
        let plugins: Vec<Plugin<'_>> = made
            .iter()
            .zip(&specs)
            .map(|((name, second, _), spec)| Plugin {
                name,
                created: Timestamp::from_second(*second).ok(),
                spec,
            })
            .collect();
        let labels: Vec<BTreeMap<String, String>> = nodes
            .iter()
            .map(|(_, labels)| {
                [("kubernetes.io/os", "linux")]
                    .iter()
                    .chain(*labels)
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect()
            })
            .collect();
        let nodes: Vec<Node<'_>> = nodes
            .iter()
            .zip(&labels)
            .map(|((name, _), labels)| Node {
                name,
                labels,
                taints: &[],
            })
            .collect();
        let allowed = BTreeSet::from([Control::DeletePod]);
        let found: BTreeMap<String, Overlap> = plugins
            .iter()
            .filter_map(|plugin| {
                let overlap = overlap(plugin.name, &plugins, nodes.iter().copied(), &allowed)?;
                Some((plugin.name.to_owned(), overlap))
            })
            .collect();
        assert_eq!(found, of_all(&plugins, &nodes, &allowed));
        found
    }

    /// The same of all plugins by walking through all nodes with all plugins, as it is defined.
    fn of_all(
        plugins: &[Plugin<'_>],
        nodes: &[Node<'_>],
        allowed: &BTreeSet<Control>,
    ) -> BTreeMap<String, Overlap> {
        let mut claiming: Vec<&Plugin<'_>> = plugins
            .iter()
            .filter(|plugin| claims(plugin.spec, allowed))
            .collect();
        claiming.sort_by_key(|p| (p.created.is_none(), p.created, p.name));
        let mut shared: BTreeMap<usize, BTreeMap<usize, BTreeSet<&str>>> = BTreeMap::new();
        for node in nodes {
            let mut here = claiming
                .iter()
                .enumerate()
                .filter(|(_, plugin)| node_match::runs_on(plugin.spec, node.labels, node.taints))
                .map(|(rank, _)| rank);
            let Some(first) = here.next() else {
                continue;
            };
            for later in here {
                let with = shared.entry(later).or_default();
                with.entry(first).or_default().insert(node.name);
            }
        }
        shared
            .into_iter()
            .map(|(later, with)| {
                let more_plugins = with.len() - 1;
                let (first, names) = with.into_iter().next().unwrap();
                let overlap = Overlap {
                    with: claiming[first].name.to_owned(),
                    more_nodes: names.len().saturating_sub(NAMED),
                    nodes: names.into_iter().take(NAMED).map(str::to_owned).collect(),
                    more_plugins,
                };
                (claiming[later].name.to_owned(), overlap)
            })
            .collect()
    }

    /// What a look costs at the largest size that is meant to work, printed and not judged: machines
    /// differ. `cargo test --release -p scope-operator overlaps_at_size -- --nocapture`.
    #[test]
    fn overlaps_at_size() {
        const PLUGINS: usize = 20;
        const NODES: usize = 5_000;
        let names: Vec<String> = (0..PLUGINS).map(|n| format!("plugin-{n:02}")).collect();
        let everywhere: ScopePluginSpec = serde_json::from_value(json!({"agent": {}})).unwrap();
        let nodes: Vec<(String, BTreeMap<String, String>)> = (0..NODES)
            .map(|n| {
                let labels = (0..10).map(|l| (format!("example.org/label-{l}"), format!("{n}")));
                let os = ("kubernetes.io/os".to_owned(), "linux".to_owned());
                let pool = ("pool".to_owned(), format!("{}", n % PLUGINS));
                (format!("node-{n:05}"), labels.chain([os, pool]).collect())
            })
            .collect();
        let nodes: Vec<Node<'_>> = nodes
            .iter()
            .map(|(name, labels)| Node {
                name,
                labels,
                taints: &[],
            })
            .collect();
        let allowed = BTreeSet::new();
        // Of older plugins on all nodes the first is found at once. With a pool for each of them all are
        // asked about many nodes, which is the most work.
        let pools: Vec<ScopePluginSpec> = (0..PLUGINS)
            .map(|n| serde_json::from_value(in_pool(&n.to_string())).unwrap())
            .collect();
        let all: Vec<&ScopePluginSpec> = vec![&everywhere; PLUGINS];
        let newest_on_all = pools.iter().take(PLUGINS - 1).chain([&everywhere]);
        for (what, specs) in [
            ("all of them on all nodes", all),
            ("each older one in a pool", newest_on_all.collect()),
        ] {
            let plugins: Vec<Plugin<'_>> = (0..PLUGINS)
                .map(|n| Plugin {
                    name: &names[n],
                    created: Timestamp::from_second(n as i64).ok(),
                    spec: specs[n],
                })
                .collect();
            let began = Instant::now();
            let all = of_all(&plugins, &nodes, &allowed);
            let of_all = began.elapsed();
            let last = &names[PLUGINS - 1];
            let began = Instant::now();
            let one = overlap(last, &plugins, nodes.iter().copied(), &allowed);
            let of_one = began.elapsed();
            assert_eq!(one.as_ref(), all.get(last));
            println!(
                "{PLUGINS} plugins, {NODES} nodes, {what}: {of_one:?} for the newest plugin, {of_all:?} for all"
            );
        }
    }

    const PAIR: &[(&str, &[(&str, &str)])] = &[("n1", &[("pool", "a")]), ("n2", &[("pool", "b")])];

    fn in_pool(pool: &str) -> Value {
        json!({"agent": {}, "placement": {"nodeSelector": {"pool": pool}}})
    }

    #[test]
    fn the_later_one_is_told() {
        let both = [
            ("b", 1, json!({"agent": {}})),
            ("a", 2, json!({"agent": {}})),
        ];
        let found = found(&both, PAIR);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            found["a"],
            Overlap {
                with: "b".into(),
                nodes: vec!["n1".into(), "n2".into()],
                more_nodes: 0,
                more_plugins: 0,
            }
        );
        let words = found["a"].in_words();
        assert!(
            words.starts_with(
                "Agents of b, which was there first, run on the same nodes: n1, n2. Both"
            ),
            "{words}"
        );
    }

    #[test]
    fn made_in_one_second_the_name_decides() {
        let both = [
            ("b", 1, json!({"agent": {}})),
            ("a", 1, json!({"agent": {}})),
        ];
        assert_eq!(found(&both, PAIR)["b"].with, "a");
    }

    #[test]
    fn only_where_both_run() {
        let apart = [("a", 1, in_pool("a")), ("b", 2, in_pool("b"))];
        assert!(found(&apart, PAIR).is_empty());
        let partly = [("a", 1, in_pool("a")), ("b", 2, json!({"agent": {}}))];
        assert_eq!(found(&partly, PAIR)["b"].nodes, ["n1"]);
        assert!(found(&partly, &[]).is_empty(), "no nodes, no overlap");
    }

    #[test]
    fn only_who_mends_or_has_controls() {
        for (what, spec, wanted) in [
            ("mends by default", json!({"agent": {}}), true),
            (
                "mends always",
                json!({"agent": {"mendScope": "Always"}}),
                true,
            ),
            (
                "adds figures only",
                json!({"agent": {"mendScope": "Never"}}),
                false,
            ),
            (
                "has controls only",
                json!({"agent": {"mendScope": "Never", "controls": ["DeletePod"]}}),
                true,
            ),
            (
                "asks for one that is not allowed",
                json!({"agent": {"mendScope": "Never", "controls": ["FreezeContainer"]}}),
                false,
            ),
            (
                "is suspended",
                json!({"agent": {}, "suspended": true}),
                false,
            ),
        ] {
            let both = [("first", 1, json!({"agent": {}})), ("later", 2, spec)];
            assert_eq!(found(&both, PAIR).contains_key("later"), wanted, "{what}");
        }
    }

    #[test]
    fn many_nodes_and_plugins_are_counted() {
        let nodes: Vec<(String, &[(&str, &str)])> = (0..9)
            .map(|i| {
                let pool: &[(&str, &str)] = if i < 5 {
                    &[("pool", "a")]
                } else {
                    &[("pool", "b")]
                };
                (format!("n{i}"), pool)
            })
            .collect();
        let nodes: Vec<(&str, &[(&str, &str)])> =
            nodes.iter().map(|(n, l)| (n.as_str(), *l)).collect();
        let three = [
            ("a", 1, in_pool("a")),
            ("b", 2, in_pool("b")),
            ("all", 3, json!({"agent": {}})),
        ];
        let found = found(&three, &nodes);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found["all"],
            Overlap {
                with: "a".into(),
                nodes: vec!["n0".into(), "n1".into(), "n2".into()],
                more_nodes: 2,
                more_plugins: 1,
            }
        );
        assert!(found["all"].in_words().contains(
            "Agents of a (+1), which was there first, run on the same nodes: n0, n1, n2 (+2)"
        ));
    }
}
