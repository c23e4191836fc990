//! What Kubernetes says, in the words of Scope's node IDs, for comparison with what the agents say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::Value;

use crate::kubectl::Kubectl;

/// The annotation with the hash of a static pod's file.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The annotation that makes a pod the API server's image of a static one.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod as the API server has it.
#[derive(Debug, Clone)]
pub struct PodTruth {
    /// What it is known by in Scope: the object's UID, or the hash of a static pod's file.
    pub uid: String,
    /// Whether the kubelet runs it from a file.
    pub is_static: bool,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Node.
    pub node: String,
    /// Phase.
    pub phase: String,
    /// Running containers: 64-hex ID to (container name, image).
    pub containers: BTreeMap<String, (String, String)>,
    /// Parents by Scope's topology name: `deployment` → node IDs.
    pub parents: BTreeMap<&'static str, BTreeSet<String>>,
}

impl PodTruth {
    /// Its node ID in Scope.
    pub fn node_id(&self) -> String {
        format!("{};<pod>", self.uid)
    }
}

/// All pods of the cluster with their controllers, read through kubectl.
///
/// # Errors
/// When kubectl fails.
pub fn pods(kubectl: &Kubectl) -> anyhow::Result<Vec<PodTruth>> {
    among(kubectl, &["-A"])
}

/// The pods of one namespace, which costs a large cluster little.
///
/// # Errors
/// When kubectl fails.
pub fn pods_in(kubectl: &Kubectl, namespace: &str) -> anyhow::Result<Vec<PodTruth>> {
    among(kubectl, &["-n", namespace])
}

fn among(kubectl: &Kubectl, place: &[&str]) -> anyhow::Result<Vec<PodTruth>> {
    let owners = owners(kubectl, place)?;
    let list = kubectl.json(&[&["get", "pods"], place].concat())?;
    list["items"]
        .as_array()
        .context("a list of pods")?
        .iter()
        .map(|p| pod(p, &owners))
        .collect()
}

/// The pod of this name, if it exists.
///
/// # Errors
/// When kubectl fails.
pub fn pod_named(
    kubectl: &Kubectl,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<PodTruth>> {
    Ok(pods(kubectl)?
        .into_iter()
        .find(|p| p.namespace == namespace && p.name == name))
}

/// Owner UID to (kind, UID) of the owner's own controller.
fn owners(kubectl: &Kubectl, place: &[&str]) -> anyhow::Result<BTreeMap<String, (String, String)>> {
    let list = kubectl.json(&[&["get", "replicasets,jobs"], place].concat())?;
    let mut owners = BTreeMap::new();
    for object in list["items"].as_array().context("a list")? {
        for owner in object["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
        {
            owners.insert(
                text(&object["metadata"]["uid"]),
                (text(&owner["kind"]), text(&owner["uid"])),
            );
        }
    }
    Ok(owners)
}

fn pod(pod: &Value, owners: &BTreeMap<String, (String, String)>) -> anyhow::Result<PodTruth> {
    let mut containers = BTreeMap::new();
    for status in pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if status["state"]["running"].is_object() {
            let id = text(&status["containerID"]);
            let id = id
                .split("://")
                .nth(1)
                .context("a container ID with a scheme")?
                .to_owned();
            containers.insert(id, (text(&status["name"]), text(&status["image"])));
        }
    }
    let mut parents: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for owner in pod["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let mut next = Some((text(&owner["kind"]), text(&owner["uid"])));
        while let Some((kind, uid)) = next {
            if let Some((name, tag)) = topology(&kind) {
                parents
                    .entry(name)
                    .or_default()
                    .insert(format!("{uid};<{tag}>"));
            }
            next = owners.get(&uid).cloned();
        }
    }
    Ok(PodTruth {
        uid: scope_uid(pod),
        is_static: pod["metadata"]["annotations"][CONFIG_MIRROR].is_string(),
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        phase: text(&pod["status"]["phase"]),
        containers,
        parents,
    })
}

/// What Scope's probe knows a pod by.
pub fn scope_uid(pod: &Value) -> String {
    let metadata = &pod["metadata"];
    let hash = metadata["annotations"][CONFIG_HASH].as_str();
    hash.map_or_else(|| text(&metadata["uid"]), str::to_owned)
}

/// Scope's name of a kind's topology and the tag of its node IDs.
fn topology(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "ReplicaSet" => ("replica_set", "replica_set"),
        "Deployment" => ("deployment", "deployment"),
        "DaemonSet" => ("daemon_set", "daemonset"),
        "StatefulSet" => ("stateful_set", "statefulset"),
        "Job" => ("job", "job"),
        "CronJob" => ("cron_job", "cronjob"),
        _ => return None,
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
