//! What an emulated Scope probe heard from the plugins of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use scope_emulator::{Exchange, Kind, Merged, Node, Stamp};
use scope_protocol::conformance::{Answer, check_report};

/// What a probe heard in one look: all plugins' reports, merged.
pub struct Heard {
    pub(crate) merged: Merged,
    /// Each plugin's socket and its answer as it came over the wire.
    pub(crate) answers: Vec<(PathBuf, Exchange)>,
}

impl Heard {
    /// What a probe would hear of one plugin that answers with this report.
    ///
    /// # Errors
    /// When Scope would not take it.
    pub fn of_report(body: &[u8]) -> anyhow::Result<Heard> {
        let report = scope_emulator::decode_report(body, Stamp::now())
            .map_err(|why| anyhow::anyhow!("Scope would refuse the report: {why}"))?;
        Ok(Heard {
            merged: report.into(),
            answers: Vec::new(),
        })
    }

    /// A node by topology key (`Pod`) and ID.
    pub fn node(&self, topology: &str, id: &str) -> Option<Seen<'_>> {
        self.merged
            .node(topology.parse::<Kind>().ok()?, id)
            .map(Seen)
    }

    /// All nodes of a topology by ID.
    pub fn nodes(&self, topology: &str) -> impl Iterator<Item = (&str, Seen<'_>)> {
        let kind = topology.parse::<Kind>().ok();
        kind.into_iter()
            .flat_map(|k| self.merged.nodes(k))
            .map(|(id, node)| (id, Seen(node)))
    }

    /// The description of a plugin in Scope's list.
    pub fn plugin_description(&self, id: &str) -> Option<String> {
        self.merged
            .plugins()
            .find(|p| p.id == id)
            .map(|p| p.description.clone())
    }

    /// The label of a plugin in Scope's list.
    pub fn plugin_label(&self, id: &str) -> Option<String> {
        self.merged
            .plugins()
            .find(|p| p.id == id)
            .map(|p| p.label.clone())
    }

    /// Exactly these plugins are listed, each with status `ok`.
    ///
    /// # Errors
    /// When one is missing, refused, or there are others.
    pub fn must_be_accepted(&self, ids: &[&str]) -> anyhow::Result<()> {
        let listed: BTreeMap<_, _> = self
            .merged
            .plugins()
            .map(|p| (p.id.as_str(), p.status.as_str()))
            .collect();
        let want: BTreeMap<_, _> = ids.iter().map(|id| (*id, "ok")).collect();
        ensure!(listed == want, "Scope lists {listed:?}, want {want:?}");
        Ok(())
    }

    /// No answer breaks a conformance rule.
    ///
    /// # Errors
    /// When one does, with all violations.
    pub fn must_conform(&self) -> anyhow::Result<()> {
        for (socket, exchange) in &self.answers {
            let status = exchange.status.as_deref().unwrap_or_default();
            let answer = Answer {
                status: status
                    .split(' ')
                    .next()
                    .and_then(|s| s.parse().ok())
                    .unwrap_or(0),
                ..Answer::ok(&exchange.body, exchange.took)
            };
            let socket = socket.display().to_string();
            let verdict = check_report(&socket, &answer);
            ensure!(verdict.conformant(), "{socket}: {:?}", verdict.violations());
        }
        Ok(())
    }

    /// The last sample of every metric, and as what Scope is to show it.
    pub fn figures(&self) -> impl Iterator<Item = Figure<'_>> {
        self.merged
            .report()
            .topologies()
            .flat_map(|(topology, all)| {
                all.nodes.iter().flat_map(move |(node, said)| {
                    said.metrics.iter().filter_map(move |(metric, samples)| {
                        let template = all.metric_templates.get(metric);
                        Some(Figure {
                            topology,
                            node,
                            metric,
                            format: template.map(|template| template.format.as_str()),
                            value: samples.samples.last()?.value,
                        })
                    })
                })
            })
    }

    /// How old the newest sample is now.
    pub fn age(&self) -> Option<Duration> {
        self.newest().map(|stamp| Stamp::now().since(stamp))
    }

    fn newest(&self) -> Option<Stamp> {
        let pods = self.nodes("Pod");
        let samples = pods.flat_map(|(_, pod)| pod.0.metrics.values());
        samples.filter_map(|m| Some(m.samples.last()?.date)).max()
    }
}

/// The last sample of a metric of a node.
#[derive(Debug, Clone, Copy)]
pub struct Figure<'a> {
    /// Where the node is.
    pub topology: Kind,
    /// Its ID.
    pub node: &'a str,
    /// The metric's ID.
    pub metric: &'a str,
    /// How its template wants it to be shown; `None` without one.
    pub format: Option<&'a str>,
    /// The value.
    pub value: f64,
}

/// A node as the merged report has it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a>(&'a Node);

impl<'a> Seen<'a> {
    /// The last sample of a metric.
    pub fn metric(&self, id: &str) -> Option<f64> {
        self.0.last_sample(id)
    }

    /// The last sample of a metric with its stamp.
    pub fn sample(&self, id: &str) -> Option<(String, f64)> {
        let sample = self.0.metrics.get(id)?.samples.last()?;
        Some((sample.date.to_string(), sample.value))
    }

    /// The last sample of a metric with its stamp in seconds since 1970.
    pub fn timed(&self, id: &str) -> Option<(f64, f64)> {
        let sample = self.0.metrics.get(id)?.samples.last()?;
        let at = SystemTime::from(sample.date).duration_since(UNIX_EPOCH);
        Some((at.ok()?.as_secs_f64(), sample.value))
    }

    /// A `latest` value.
    pub fn latest(&self, key: &str) -> Option<&'a str> {
        self.0.latest(key)
    }

    /// Parents of a topology, by its name (`replica_set`).
    pub fn parents(&self, topology: &str) -> BTreeSet<String> {
        self.0
            .parents
            .get(topology)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Whether this is among the parents.
    pub fn has_parent(&self, topology: &str, id: &str) -> bool {
        self.parents(topology).contains(id)
    }
}
