//! What Kubernetes says, in the words of Scope's node IDs, for comparison with what the agents say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::Value;

use crate::kubectl::Kubectl;

/// A pod as the API server has it.
#[derive(Debug, Clone)]
pub struct PodTruth {
    /// Object UID.
    pub uid: String,
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
    let owners = owners(kubectl)?;
    let list = kubectl.json(&["get", "pods", "-A"])?;
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
fn owners(kubectl: &Kubectl) -> anyhow::Result<BTreeMap<String, (String, String)>> {
    let list = kubectl.json(&["get", "replicasets,jobs", "-A"])?;
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
        uid: text(&pod["metadata"]["uid"]),
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        phase: text(&pod["status"]["phase"]),
        containers,
        parents,
    })
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
