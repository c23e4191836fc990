//! How soon a click is carried out on a cluster with many pods, and how soon it has its outcome: from the request that
//! makes the ScopeAction to what the operator's own request did, as a watch of the pods tells it, and to the outcome that
//! the agent's watch brings, as an agent would see it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{Stream, TryStreamExt};
use hollow_nodes::Profile;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::json;

use crate::world::{PLUGINS, World};

const PLUGIN: &str = "clicks";
const NAMESPACE: &str = "clicked";
const LIMIT: Duration = Duration::from_secs(10);

/// How long a click took.
#[derive(Clone, Copy)]
pub(crate) struct Clicked {
    /// Until what was asked for was done, and its news was here.
    pub(crate) deed: Duration,
    /// Until the outcome was told.
    pub(crate) outcome: Duration,
}

/// The times of so many clicks, one after the other, and the pods that the cluster has.
pub(crate) async fn measure(world: &World, clicks: usize) -> anyhow::Result<(usize, Vec<Clicked>)> {
    let few = json!({Profile::GROUP: Profile::group(0)});
    let agent = json!({"controls": ["DeletePod"], "maxActionsPerMinute": 1000});
    let generation = world.apply_with(PLUGIN, PLUGIN, few, agent).await?;
    world.await_ready(PLUGIN, generation, 10).await?;
    let targets = pods(world, clicks).await?;
    let all: Api<Pod> = Api::all(world.client.clone());
    let page = ListParams::default().limit(1);
    let page = all.list_metadata(&page).await?;
    let there = 1 + page.metadata.remaining_item_count.unwrap_or_default();

    let node = world.fleet.node(0);
    let client = as_agent(world, &node).await?;
    let of_clicked: Api<Pod> = Api::namespaced(world.client.clone(), NAMESPACE);
    let from = of_clicked.list_metadata(&ListParams::default()).await?;
    let from = from.metadata.resource_version.unwrap_or_default();
    let events = of_clicked.watch(&WatchParams::default(), &from).await?;
    let mut events = std::pin::pin!(events);
    let mut times = Vec::with_capacity(clicks);
    for target in &targets {
        let began = Instant::now();
        let deed = async {
            let done = deleted(events.as_mut(), target);
            let done = tokio::time::timeout(LIMIT, done).await;
            done.with_context(|| format!("pod {target} is there after {LIMIT:?}"))??;
            Ok(began.elapsed())
        };
        let (deed, outcome) = tokio::try_join!(deed, click(&client, &node, target))?;
        times.push(Clicked { deed, outcome });
    }
    Ok((usize::try_from(there)?, times))
}

/// Waits until a pod goes.
async fn deleted(
    mut events: std::pin::Pin<&mut impl Stream<Item = kube::Result<WatchEvent<Pod>>>>,
    uid: &str,
) -> anyhow::Result<()> {
    while let Some(event) = events.try_next().await? {
        let is_gone = match &event {
            WatchEvent::Deleted(pod) => pod.uid().as_deref() == Some(uid),
            WatchEvent::Modified(pod) => {
                pod.uid().as_deref() == Some(uid) && pod.metadata.deletion_timestamp.is_some()
            }
            _ => false,
        };
        if is_gone {
            return Ok(());
        }
    }
    anyhow::bail!("the watch of pods ended")
}

/// The UIDs of pods that nobody starts.
async fn pods(world: &World, count: usize) -> anyhow::Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await?;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), NAMESPACE);
    let mut uids = Vec::with_capacity(count);
    for number in 0..count {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": format!("clicked-{number}")},
            "spec": {
                "schedulerName": "nobody",
                "automountServiceAccountToken": false,
                "containers": [{"name": "none", "image": "none"}],
            },
        }))?;
        let made = pods.create(&PostParams::default(), &pod).await?;
        uids.push(made.uid().context("a pod without a UID")?);
    }
    Ok(uids)
}

/// A client that is taken for the agent of this node: with its account, and the claim that the API server
/// puts into the token of its pod.
async fn as_agent(world: &World, node: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(world.cluster.kubeconfig())?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    for (name, value) in [
        (
            "impersonate-user",
            format!("system:serviceaccount:{PLUGINS}:scope-plugin-{PLUGIN}"),
        ),
        (
            "impersonate-group",
            format!("system:serviceaccounts:{PLUGINS}"),
        ),
        ("impersonate-group", "system:authenticated".to_owned()),
        (
            "impersonate-extra-authentication.kubernetes.io%2fnode-name",
            node.to_owned(),
        ),
    ] {
        config.headers.push((name.parse()?, value.parse()?));
    }
    Ok(Client::try_from(config)?)
}

async fn click(client: &Client, node: &str, uid: &str) -> anyhow::Result<Duration> {
    let resource = ApiResource {
        group: "scopeplugins.dev".into(),
        version: "v1alpha1".into(),
        api_version: "scopeplugins.dev/v1alpha1".into(),
        kind: "ScopeAction".into(),
        plural: "scopeactions".into(),
    };
    let actions: Api<DynamicObject> = Api::namespaced_with(client.clone(), PLUGINS, &resource);
    let not_after = jiff::Timestamp::now() + Duration::from_secs(10);
    let action: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "scopeplugins.dev/v1alpha1",
        "kind": "ScopeAction",
        "metadata": {"generateName": format!("{PLUGIN}-")},
        "spec": {
            "plugin": PLUGIN,
            "control": "DeletePod",
            "target": {"kind": "Pod", "uid": uid},
            "node": node,
            "notAfter": format!("{not_after:.6}"),
        },
    }))?;
    let began = Instant::now();
    let made = actions.create(&PostParams::default(), &action).await?;
    let name = made.name_any();
    let parameters = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(20);
    let version = made.resource_version().unwrap_or_default();
    let outcome = async {
        let events = actions.watch(&parameters, &version).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(action) | WatchEvent::Modified(action) = event
                && let Some(phase) = action.data["status"]["phase"].as_str()
            {
                return Ok((began.elapsed(), phase.to_owned(), action));
            }
        }
        anyhow::bail!("the watch of ScopeAction {name} ended")
    };
    let (took, phase, action) = tokio::time::timeout(LIMIT, outcome)
        .await
        .with_context(|| format!("ScopeAction {name} had no outcome within {LIMIT:?}"))??;
    ensure!(phase == "Succeeded", "{}", action.data["status"]);
    Ok(took)
}
