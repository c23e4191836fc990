//! A control plane, simulated nodes on it, and the chart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{TryStreamExt, stream};
use hollow_nodes::{Fleet, Profile};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use serde_json::{Value, json};
use throwaway_cluster::{Cluster, Options, Progress};

use crate::Bench;
use crate::operator::Operator;

/// Where the operator would run.
pub(crate) const SYSTEM: &str = "scope-system";
/// Where its DaemonSets are.
pub(crate) const PLUGINS: &str = "scope-plugins";
/// The account of the operator, as the audit log has it.
pub(crate) const USER: &str = "system:serviceaccount:scope-system:scope-operator";

/// 10,000 pods take minutes on two cores.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Everything but the operator's process.
pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    /// What of the rollout's settings this version of the CRD knows.
    knows: Vec<String>,
    /// Goes last: nodes and clients need it.
    pub(crate) cluster: Arc<Cluster>,
}

impl World {
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<World> {
        let mut options = Options::new("scale");
        options.nodes = 0;
        options.progress = Progress::to_stderr();
        options
            .controller_manager_flags
            .push("--node-monitor-grace-period=1h".into());
        let cluster = tokio::task::block_in_place(|| Cluster::up(options))?;
        let client = client(&cluster).await?;
        install(&cluster, bench)?;
        let began = Instant::now();
        let mut profile = Profile::new(bench.nodes);
        profile.start = Duration::from_millis(bench.start);
        let fleet = Fleet::start(client.clone(), profile).await?;
        eprintln!("{} nodes after {:.1?}", bench.nodes, began.elapsed());
        let mut world = World {
            bench: bench.clone(),
            client,
            fleet,
            knows: Vec::new(),
            cluster: Arc::new(cluster),
        };
        world.knows = world.known_settings()?;
        Ok(world)
    }

    /// A new process of the operator.
    pub(crate) fn operator(&self) -> anyhow::Result<Operator> {
        tokio::task::block_in_place(|| Operator::start(&self.bench.program, &self.cluster))
    }

    /// Allows pods to be deleted by a click, with what that brings the operator. Counts from its next start.
    pub(crate) fn allow_clicks(&self) -> anyhow::Result<()> {
        let chart = self
            .bench
            .chart
            .to_str()
            .context("the chart's path is text")?;
        tokio::task::block_in_place(|| {
            self.cluster.helm(&[
                "upgrade",
                "scope-plugins",
                chart,
                "--namespace",
                SYSTEM,
                "--set",
                "actions.allowed={DeletePod}",
            ])?;
            beside_alone(&self.cluster)
        })
    }

    pub(crate) fn plugins(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "scopeplugins.dev".into(),
            version: "v1alpha1".into(),
            api_version: "scopeplugins.dev/v1alpha1".into(),
            kind: "ScopePlugin".into(),
            plural: "scopeplugins".into(),
        };
        Api::all_with(self.client.clone(), &resource)
    }

    /// The DaemonSets of the operator.
    pub(crate) fn children(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), PLUGINS)
    }

    /// How long a pod must have been ready: 0 as long as a ScopePlugin cannot say it.
    pub(crate) fn min_ready(&self) -> u32 {
        match self.knows("minReady") {
            true => self.bench.min_ready,
            false => 0,
        }
    }

    fn knows(&self, setting: &str) -> bool {
        self.knows.iter().any(|known| known == setting)
    }

    fn known_settings(&self) -> anyhow::Result<Vec<String>> {
        const ROLLOUT: &str =
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/rollout/properties";
        let name = "scopeplugins.scopeplugins.dev";
        let crd = self.cluster.kubectl(&["get", "crd", name, "-o", "json"])?;
        let crd: Value = serde_json::from_str(&crd)?;
        let known = crd.pointer(ROLLOUT).and_then(Value::as_object);
        Ok(known
            .context("the CRD has no spec.rollout")?
            .keys()
            .cloned()
            .collect())
    }

    /// Makes or changes a ScopePlugin and returns its generation.
    pub(crate) async fn apply(
        &self,
        name: &str,
        label: &str,
        node_selector: Value,
    ) -> anyhow::Result<i64> {
        let agent = json!({"collectors": ["Resources"]});
        self.apply_with(name, label, node_selector, agent).await
    }

    /// The same with these settings of the agent.
    pub(crate) async fn apply_with(
        &self,
        name: &str,
        label: &str,
        node_selector: Value,
        agent: Value,
    ) -> anyhow::Result<i64> {
        let mut rollout = json!({"maxUnavailable": "10%"});
        if self.knows("canary") {
            rollout["canary"] = json!({"nodes": 0});
        }
        if self.knows("minReady") {
            rollout["minReady"] = format!("{}s", self.bench.min_ready).into();
        }
        let plugin = json!({
            "apiVersion": "scopeplugins.dev/v1alpha1",
            "kind": "ScopePlugin",
            "metadata": {"name": name},
            "spec": {
                "label": label,
                "agent": agent,
                "placement": {"nodeSelector": node_selector},
                "rollout": rollout,
            },
        });
        let parameters = PatchParams::apply("scope-scale").force();
        let applied = self
            .plugins()
            .patch(name, &parameters, &Patch::Apply(plugin))
            .await?;
        applied
            .metadata
            .generation
            .context("a ScopePlugin without a generation")
    }

    /// Waits until a ScopePlugin says of this generation that it is ready on so many nodes.
    pub(crate) async fn await_ready(
        &self,
        name: &str,
        generation: i64,
        nodes: usize,
    ) -> anyhow::Result<()> {
        let done = move |plugin: Option<&DynamicObject>| {
            plugin.is_some_and(|plugin| is_ready(&plugin.data["status"], generation, nodes))
        };
        let waited = tokio::time::timeout(LIMIT, await_condition(self.plugins(), name, done)).await;
        if let Ok(done) = waited {
            done?;
            return Ok(());
        }
        let plugin = self.plugins().get(name).await?;
        anyhow::bail!(
            "ScopePlugin {name} did not get ready on {nodes} nodes within {LIMIT:?}; its status is {}",
            plugin.data["status"]
        )
    }

    /// Makes as many ScopePlugins on all nodes as there shall be, and waits for all their pods.
    pub(crate) async fn add_plugins(&self, plugins: usize) -> anyhow::Result<()> {
        let operator = self.operator()?;
        let began = Instant::now();
        // A few at a time: thousands of pods that all start at once would only be slower.
        stream::iter((1..plugins).map(Ok))
            .try_for_each_concurrent(4, |number| async move {
                let name = format!("bench-{number}");
                let generation = self.apply(&name, &name, json!({})).await?;
                self.await_ready(&name, generation, self.fleet.len()).await
            })
            .await?;
        eprintln!(
            "{plugins} plugins on {} nodes after {:.0?}",
            self.fleet.len(),
            began.elapsed()
        );
        drop(operator);
        Ok(())
    }

    /// More nodes, with all plugins on them.
    pub(crate) async fn grow(&mut self, more: usize, plugins: usize) -> anyhow::Result<()> {
        self.fleet.grow(more).await?;
        let (all, children) = (self.fleet.len(), self.children());
        let began = Instant::now();
        for number in 0..plugins {
            let everywhere = move |set: Option<&DaemonSet>| {
                set.and_then(|set| set.status.as_ref())
                    .and_then(|status| status.number_available)
                    .is_some_and(|available| usize::try_from(available) == Ok(all))
            };
            let name = child(&format!("bench-{number}"));
            tokio::time::timeout(LIMIT, await_condition(children.clone(), &name, everywhere))
                .await
                .with_context(|| format!("{name} did not get to all {all} nodes"))??;
        }
        eprintln!("{more} more nodes after {:.0?}", began.elapsed());
        Ok(())
    }
}

/// The DaemonSet of a plugin.
pub(crate) fn child(plugin: &str) -> String {
    format!("scope-plugin-{plugin}")
}

fn is_ready(status: &Value, generation: i64, nodes: usize) -> bool {
    let ready = status["conditions"].as_array().is_some_and(|all| {
        all.iter().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == "True"
                && condition["observedGeneration"] == generation
        })
    });
    ready
        && status["observedGeneration"] == generation
        && status["nodes"]["desired"] == nodes
        && status["nodes"]["updated"] == nodes
}

async fn client(cluster: &Cluster) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // The cluster is on this machine, whatever proxy there is to the outside.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// The operator runs beside the cluster and not in it.
fn beside_alone(cluster: &Cluster) -> anyhow::Result<()> {
    let none = ["scale", "deployment/scope-operator", "--replicas=0"];
    cluster.kubectl(&[none.as_slice(), &["--namespace", SYSTEM]].concat())?;
    Ok(())
}

/// CRDs, rights and policies as a person gets them; the operator itself runs beside the cluster.
fn install(cluster: &Cluster, bench: &Bench) -> anyhow::Result<()> {
    let chart = bench.chart.to_str().context("the chart's path is text")?;
    tokio::task::block_in_place(|| {
        cluster.helm(&[
            "install",
            "scope-plugins",
            chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
        ])?;
        beside_alone(cluster)
    })?;
    ensure!(bench.nodes > 10, "there have to be more than 10 nodes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_this_generation_counts() {
        let status = |observed: i64, updated: i64| {
            json!({
                "observedGeneration": observed,
                "nodes": {"desired": 12, "updated": updated},
                "conditions": [{"type": "Ready", "status": "True", "observedGeneration": observed}],
            })
        };
        assert!(is_ready(&status(2, 12), 2, 12));
        assert!(!is_ready(&status(1, 12), 2, 12));
        assert!(!is_ready(&status(2, 11), 2, 12));
        assert!(!is_ready(&status(2, 12), 2, 13));
        assert!(!is_ready(&Value::Null, 2, 12));
    }
}
