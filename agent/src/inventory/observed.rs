//! What the inventory takes over from a pod.
//!
//! Whoever may create pods chooses many of the strings in them, owner references and annotations
//! too, so each is held to its form and its length before it becomes part of a node's ID, of a
//! request's path or of a report.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use scope_protocol::{Timestamp, Topology};

use super::container_status::{Seen, seen};
use super::model::{ContainerKind, Owner, Pod};
use super::node_pod::{CONFIG_HASH, CONFIG_MIRROR, NodePod, SpecContainer};
use super::volume::volumes;

/// A pod, and which object controls it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// The pod: its ID is its UID, and its owners are not filled in.
    pub pod: Pod,
    /// Under which ID the kubelet runs it, where that is not its UID.
    pub static_id: Option<String>,
    /// When the API server made it, by that server's clock.
    pub created: Option<Timestamp>,
    /// Its controller, if that is of a kind that Scope draws.
    pub controller: Option<Owner>,
}

/// Which pod it is, whatever it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    uid: String,
    namespace: String,
    name: String,
}

impl NodePod {
    /// Which pod it is; `None` without a UID of the form that UIDs have.
    pub(super) fn key(&self) -> Option<Key> {
        Some(Key {
            uid: self.metadata.uid.clone().filter(|uid| is_uid(uid))?,
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        })
    }

    /// The ID under which the kubelet runs it, if the kubelet made this object for a static pod.
    ///
    /// Anybody may write the annotations. The kubelet writes both, with the same value, and names
    /// its node as the controller.
    fn static_id(&self) -> Option<String> {
        let annotations = self.metadata.annotations.as_ref()?;
        let hash = annotations.get(CONFIG_HASH)?;
        let node = self.spec.node_name.as_ref()?;
        let of_kubelet = self
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| {
                owner.controller == Some(true)
                    && owner.api_version == "v1"
                    && owner.kind == "Node"
                    && owner.name == *node
            });
        (of_kubelet && annotations.get(CONFIG_MIRROR) == Some(hash) && is_uid(hash))
            .then(|| hash.clone())
    }

    /// The pod for the inventory; `None` once it is over.
    pub(super) fn observe(self) -> Option<Observed> {
        if matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let Key {
            uid,
            namespace,
            name,
        } = self.key()?;
        let static_id = self.static_id();
        let mirror = self
            .metadata
            .annotations
            .is_some_and(|annotations| annotations.contains_key(CONFIG_MIRROR));
        let created = self
            .metadata
            .creation_timestamp
            .map(|time| Timestamp::from_unix_micros(time.0.as_microsecond()));
        let specs: BTreeMap<String, SpecContainer> = [
            self.spec.containers,
            self.spec.init_containers,
            self.spec.ephemeral_containers,
        ]
        .into_iter()
        .flatten()
        .flatten()
        .map(|c| (c.name.clone(), c))
        .collect();
        let restart_policy = self.spec.restart_policy.as_deref();
        let mut containers = BTreeMap::new();
        let mut stopped = BTreeMap::new();
        for (list, kind) in [
            (self.status.container_statuses, ContainerKind::App),
            (self.status.init_container_statuses, ContainerKind::Init),
            (
                self.status.ephemeral_container_statuses,
                ContainerKind::Ephemeral,
            ),
        ] {
            for status in list.into_iter().flatten() {
                let spec = specs.get(&status.name);
                match seen(status, kind, spec, restart_policy) {
                    Seen::Running(id, container) => {
                        containers.insert(id, container);
                    }
                    Seen::Stopped(name, container) => {
                        stopped.insert(name, container);
                    }
                    Seen::Unclear => {}
                }
            }
        }
        let mut ips: Vec<String> = self
            .status
            .pod_ips
            .into_iter()
            .flatten()
            .filter_map(|p| p.ip)
            .collect();
        if ips.is_empty() {
            ips.extend(self.status.pod_ip);
        }
        ips.retain(|ip| ip.parse::<IpAddr>().is_ok());
        let controller = self
            .metadata
            .owner_references
            .into_iter()
            .flatten()
            .find(|o| o.controller == Some(true))
            .and_then(drawn);
        Some(Observed {
            pod: Pod {
                id: uid.clone(),
                uid,
                namespace,
                name,
                mirror,
                grace: self
                    .spec
                    .termination_grace_period_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map(Duration::from_secs),
                host_network: self.spec.host_network.unwrap_or(false),
                ips,
                containers,
                stopped,
                volumes: volumes(self.spec.volumes),
                owners: Vec::new(),
            },
            static_id,
            created,
            controller,
        })
    }
}

/// The owner, if it is of a kind that is a node in Scope.
pub(super) fn drawn(owner: OwnerReference) -> Option<Owner> {
    let (group, _) = owner.api_version.split_once('/')?;
    let topology = match (group, owner.kind.as_str()) {
        ("apps", "ReplicaSet") => Topology::ReplicaSet,
        ("apps", "Deployment") => Topology::Deployment,
        ("apps", "DaemonSet") => Topology::DaemonSet,
        ("apps", "StatefulSet") => Topology::StatefulSet,
        ("batch", "Job") => Topology::Job,
        ("batch", "CronJob") => Topology::CronJob,
        _ => return None,
    };
    // The API server takes any text here, and both go into paths and IDs.
    if !is_uid(&owner.uid) || !is_object_name(&owner.name) {
        return None;
    }
    Some(Owner {
        topology,
        uid: owner.uid,
        name: owner.name,
    })
}

/// Whether it has the form of a UID: a UUID, or the hash that a kubelet gives a static pod. What
/// cgroups are searched for has the same form.
fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether an object of the kinds that are drawn can have that name: a DNS subdomain.
fn is_object_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

#[cfg(test)]
mod tests;
