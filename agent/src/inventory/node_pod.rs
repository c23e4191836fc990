//! A pod as the watch decodes it: the few fields that the inventory needs.
//!
//! The rest of a pod, often 20 KB of it, is skipped while it is read and never allocated; neither
//! are `managedFields` and most annotations. Everything is optional, so that a pod of a newer API
//! server cannot stop the watch.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::volume::{SpecMount, SpecVolume};

/// The annotation by which the kubelet names what belongs to a static pod.
pub(super) const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The annotation that makes a pod the API server's image of a static one.
pub(super) const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// What of a pod is decoded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodePod {
    #[serde(deserialize_with = "needed_metadata")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) node_name: Option<String>,
    pub(super) host_network: Option<bool>,
    pub(super) restart_policy: Option<String>,
    pub(super) termination_grace_period_seconds: Option<i64>,
    pub(super) containers: Option<Vec<SpecContainer>>,
    pub(super) init_containers: Option<Vec<SpecContainer>>,
    pub(super) ephemeral_containers: Option<Vec<SpecContainer>>,
    pub(super) volumes: Option<Vec<SpecVolume>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpecContainer {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) restart_policy: Option<String>,
    pub(super) liveness_probe: Option<IgnoredAny>,
    pub(super) startup_probe: Option<IgnoredAny>,
    pub(super) volume_mounts: Option<Vec<SpecMount>>,
    pub(super) volume_devices: Option<Vec<SpecMount>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<PodIp>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodIp {
    pub(super) ip: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) image: Option<String>,
    #[serde(rename = "imageID")]
    pub(super) image_id: Option<String>,
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
    pub(super) restart_count: Option<i64>,
    pub(super) started: Option<bool>,
    pub(super) state: Option<State>,
    pub(super) last_state: Option<State>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) running: Option<Running>,
    pub(super) waiting: Option<Waiting>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) reason: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) finished_at: Option<String>,
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Running {
    pub(super) started_at: Option<String>,
}

/// Only what is needed of the metadata; the rest is skipped.
fn needed_metadata<'de, D: Deserializer<'de>>(d: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Needed {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        creation_timestamp: Option<String>,
        resource_version: Option<String>,
        owner_references: Option<Vec<OwnerReference>>,
        annotations: Option<Annotations>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Annotations {
        #[serde(rename = "kubernetes.io/config.hash")]
        config_hash: Option<String>,
        #[serde(rename = "kubernetes.io/config.mirror")]
        config_mirror: Option<String>,
    }
    let needed = Needed::deserialize(d)?;
    let given = needed.annotations.unwrap_or_default();
    let kept: BTreeMap<String, String> = [
        (CONFIG_HASH, given.config_hash),
        (CONFIG_MIRROR, given.config_mirror),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    Ok(ObjectMeta {
        name: needed.name,
        namespace: needed.namespace,
        uid: needed.uid,
        creation_timestamp: needed
            .creation_timestamp
            .and_then(|text| text.parse().ok())
            .map(Time),
        resource_version: needed.resource_version,
        owner_references: needed.owner_references,
        annotations: (!kept.is_empty()).then_some(kept),
        ..ObjectMeta::default()
    })
}

impl Resource for NodePod {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
