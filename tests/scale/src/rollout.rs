//! A rollout by the operator, and the same one by the DaemonSet controller.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use crate::world::{PLUGINS, World, child};

/// The namespace and name of the DaemonSet that the controller rolls out by itself. The target is
/// about this one.
pub(crate) const PLAIN: &str = "peer";
/// The same in a namespace with the ResourceQuota of the plugins' namespace. The chart has it since
/// some providers refuse system priority classes without, and each pod costs a write to it, whoever
/// rolls the pod out. It tells what is the operator's part of the difference and what is not.
pub(crate) const WITH_QUOTA: &str = "peer-quota";
/// A thousand nodes in tenths take half a minute.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How a rollout went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// The most nodes that its DaemonSet's status ever called unavailable.
    pub(crate) unavailable: i32,
    /// When that status called the last one available again. The rest of the time is spent on
    /// saying so.
    pub(crate) pods: Duration,
}

/// The first ScopePlugin, and two DaemonSets with the same pods, on all nodes.
pub(crate) async fn prepare(world: &World) -> anyhow::Result<()> {
    let nodes = world.fleet.len();
    let generation = world.apply("bench-0", "round 0", json!({})).await?;
    world.await_ready("bench-0", generation, nodes).await?;

    let set = world.children().get(&child("bench-0")).await?;
    for namespace in [PLAIN, WITH_QUOTA] {
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::all(world.client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        if namespace == WITH_QUOTA {
            copy_quotas(world).await?;
        }
        let peers = peers(world, namespace);
        peers
            .create(
                &PostParams::default(),
                &peer(set.clone(), world.min_ready())?,
            )
            .await?;
        until_updated(&peers, PLAIN, 1, nodes).await?;
    }
    Ok(())
}

/// A DaemonSet with the pods of the operator's one, which the controller rolls out.
fn peer(mut set: DaemonSet, min_ready: u32) -> anyhow::Result<DaemonSet> {
    let labels = json!({"app": PLAIN});
    set.metadata = serde_json::from_value(json!({"name": PLAIN, "labels": labels}))?;
    set.status = None;
    let spec = set.spec.as_mut().context("a DaemonSet without spec")?;
    spec.selector = serde_json::from_value(json!({"matchLabels": labels}))?;
    spec.min_ready_seconds = Some(i32::try_from(min_ready)?);
    spec.update_strategy = Some(serde_json::from_value(json!({
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"},
    }))?);
    spec.template.metadata = Some(serde_json::from_value(json!({"labels": labels}))?);
    if let Some(pod) = &mut spec.template.spec {
        // The account is the plugins' namespace's.
        pod.service_account_name = None;
        pod.service_account = None;
    }
    Ok(set)
}

async fn copy_quotas(world: &World) -> anyhow::Result<()> {
    let of = |namespace| Api::<ResourceQuota>::namespaced(world.client.clone(), namespace);
    for quota in of(PLUGINS).list(&ListParams::default()).await? {
        let copy = json!({"metadata": {"name": quota.metadata.name}, "spec": quota.spec});
        of(WITH_QUOTA)
            .create(&PostParams::default(), &serde_json::from_value(copy)?)
            .await?;
    }
    Ok(())
}

/// The operator rolls a changed label out.
pub(crate) async fn ours(world: &World, plugin: &str, round: usize) -> anyhow::Result<Took> {
    let nodes = world.fleet.len();
    let label = format!("round {round}");
    let began = Instant::now();
    let generation = world.apply(plugin, &label, json!({})).await?;
    let name = child(plugin);
    let seen = Seen::default();
    tokio::select! {
        ready = world.await_ready(plugin, generation, nodes) => ready?,
        () = seen.watch(world.children(), &name, began) => anyhow::bail!("the watch of {name} ended"),
    }
    let time = began.elapsed();
    // What the status says is one thing; here is what there is.
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), PLUGINS);
    let argument = format!("--label={label}");
    let of_plugin = ListParams::default().labels(&format!("app.kubernetes.io/instance={plugin}"));
    let updated = pods
        .list(&of_plugin)
        .await?
        .iter()
        .filter(|pod| is_ready(pod) && has_argument(pod, &argument))
        .count();
    ensure!(
        updated == nodes,
        "ScopePlugin {plugin} says that all {nodes} nodes are updated, but {updated} have a ready pod with {argument:?}"
    );
    let took = Took {
        time,
        unavailable: seen.most.get(),
        pods: seen.done.get(),
    };
    print(round, "operator", nodes, took);
    Ok(took)
}

/// The DaemonSet controller rolls a changed annotation out.
pub(crate) async fn native(world: &World, namespace: &str, round: usize) -> anyhow::Result<Took> {
    let (peers, nodes) = (peers(world, namespace), world.fleet.len());
    let annotations = json!({"bench/round": round.to_string()});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let began = Instant::now();
    let changed = peers
        .patch(PLAIN, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let generation = changed.metadata.generation.unwrap_or_default();
    let unavailable = until_updated(&peers, PLAIN, generation, nodes).await?;
    let time = began.elapsed();
    let took = Took {
        time,
        unavailable,
        pods: time,
    };
    print(round, namespace, nodes, took);
    Ok(took)
}

fn print(round: usize, who: &str, nodes: usize, took: Took) {
    println!(
        "round {round}: {who:<10} {:>6.1} s for {nodes} nodes, pods after {:.1} s, at most {} unavailable",
        took.time.as_secs_f64(),
        took.pods.as_secs_f64(),
        took.unavailable
    );
}

fn peers(world: &World, namespace: &str) -> Api<DaemonSet> {
    Api::namespaced(world.client.clone(), namespace)
}

/// Waits until all pods of a DaemonSet are of this generation and available, and says how many
/// were not at the worst moment.
pub(crate) async fn until_updated(
    sets: &Api<DaemonSet>,
    name: &str,
    generation: i64,
    nodes: usize,
) -> anyhow::Result<i32> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(sets.clone(), config)
        .default_backoff()
        .applied_objects();
    pin_mut!(events);
    let all = i32::try_from(nodes)?;
    let seen = async {
        let mut most = 0;
        while let Some(set) = events.try_next().await? {
            let Some(status) = set.status else { continue };
            if status.observed_generation < Some(generation) {
                continue;
            }
            let (updated, available) = (status.updated_number_scheduled, status.number_available);
            if updated == Some(all) && available == Some(all) {
                return Ok(most);
            }
            most = most.max(status.number_unavailable.unwrap_or_default());
        }
        anyhow::bail!("the watch of DaemonSet {name} ended")
    };
    tokio::time::timeout(LIMIT, seen)
        .await
        .with_context(|| format!("DaemonSet {name} was not updated within {LIMIT:?}"))?
}

/// What the status of a DaemonSet has said while it was watched.
#[derive(Default)]
struct Seen {
    most: Cell<i32>,
    now: Cell<i32>,
    done: Cell<Duration>,
}

impl Seen {
    /// Watches until the watch ends, which it does not by itself.
    async fn watch(&self, sets: Api<DaemonSet>, name: &str, began: Instant) {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(sets, config).default_backoff().applied_objects();
        events
            .for_each(|set| {
                let status = set.ok().and_then(|set| set.status);
                if let Some(status) = status {
                    self.note(
                        status.number_unavailable.unwrap_or_default(),
                        began.elapsed(),
                    );
                }
                std::future::ready(())
            })
            .await;
    }

    fn note(&self, unavailable: i32, at: Duration) {
        self.most.set(self.most.get().max(unavailable));
        if unavailable == 0 && self.now.get() > 0 {
            self.done.set(at);
        }
        self.now.set(unavailable);
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn has_argument(pod: &Pod, argument: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.args.iter().flatten())
        .any(|given| given == argument)
}
