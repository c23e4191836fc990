//! A pod as the watch decodes it: the few fields that the inventory needs.
//!
//! The rest of a pod, often 20 KB of it, is skipped while it is read and never allocated; neither
//! are `managedFields` and annotations. Everything is optional, so that a pod of a newer API server
//! cannot stop the watch.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use scope_protocol::{Timestamp, Topology};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::model::{Container, ContainerKind, Owner, Pod, StoppedContainer, Termination};

/// The annotation by which the kubelet names what belongs to a static pod.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The annotation that makes a pod the API server's image of a static one.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Reasons are short words; whoever may write a status could make them long.
const MAX_REASON: usize = 64;

/// What of a pod is decoded.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodePod {
    #[serde(deserialize_with = "needed_metadata")]
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    host_network: Option<bool>,
    termination_grace_period_seconds: Option<i64>,
    containers: Option<Vec<SpecContainer>>,
    init_containers: Option<Vec<SpecContainer>>,
    ephemeral_containers: Option<Vec<SpecContainer>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecContainer {
    name: String,
    image: Option<String>,
    restart_policy: Option<String>,
    liveness_probe: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    image: Option<String>,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    restart_count: Option<i64>,
    state: Option<State>,
    last_state: Option<State>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<Running>,
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    reason: Option<String>,
    exit_code: Option<i32>,
    finished_at: Option<String>,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Running {
    started_at: Option<String>,
}

/// Only what is needed of the metadata; the rest is skipped.
fn needed_metadata<'de, D: Deserializer<'de>>(d: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Needed {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
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

/// A pod, and which object controls it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// The pod; its owners are not filled in.
    pub pod: Pod,
    /// Its controller, if that is of a kind that Scope draws.
    pub controller: Option<Owner>,
}

impl NodePod {
    /// The object's UID, which for a static pod is not the ID of its node in Scope.
    pub(super) fn uid(&self) -> Option<&str> {
        self.metadata.uid.as_deref()
    }

    /// The pod for the inventory; `None` once it is over.
    pub(super) fn observe(self) -> Option<Observed> {
        if matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let uid = self.metadata.uid?;
        let mut annotations = self.metadata.annotations.unwrap_or_default();
        let id = annotations.remove(CONFIG_HASH).unwrap_or(uid);
        let mirror = annotations.contains_key(CONFIG_MIRROR);
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
                match seen(status, kind, spec) {
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
        let controller = self
            .metadata
            .owner_references
            .into_iter()
            .flatten()
            .find(|o| o.controller == Some(true))
            .and_then(drawn);
        Some(Observed {
            pod: Pod {
                id,
                namespace: self.metadata.namespace.unwrap_or_default(),
                name: self.metadata.name.unwrap_or_default(),
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
                owners: Vec::new(),
            },
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
    Some(Owner {
        topology,
        uid: owner.uid,
        name: owner.name,
    })
}

/// What a container's status tells.
enum Seen {
    /// It runs: its bare ID.
    Running(String, Container),
    /// It does not: its name.
    Stopped(String, StoppedContainer),
    /// It is said to run, but not under which ID.
    Unclear,
}

fn seen(status: ContainerStatus, kind: ContainerKind, spec: Option<&SpecContainer>) -> Seen {
    let restarts_always = spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Always"));
    let kind = match kind {
        ContainerKind::Init if restarts_always => ContainerKind::Sidecar,
        kind => kind,
    };
    let restarts = status
        .restart_count
        .map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX));
    let state = status.state.unwrap_or_default();
    let last_termination = state
        .terminated
        .or_else(|| status.last_state.and_then(|last| last.terminated))
        .map(termination);
    let Some(running) = state.running else {
        return Seen::Stopped(
            status.name,
            StoppedContainer {
                kind,
                waiting: reason(state.waiting.and_then(|waiting| waiting.reason)),
                restarts,
                last_termination,
            },
        );
    };
    let Some((runtime, id)) = status.container_id.as_deref().and_then(split_container_id) else {
        return Seen::Unclear;
    };
    let image = spec
        .and_then(|spec| spec.image.clone())
        .filter(|image| !image.is_empty())
        .or(status.image)
        .unwrap_or_default();
    let container = Container {
        image,
        image_id: bare_image_id(status.image_id.as_deref().unwrap_or_default()).to_owned(),
        runtime: runtime.to_owned(),
        started: running.started_at.as_deref().and_then(parse_time),
        kind,
        liveness: spec.is_some_and(|spec| spec.liveness_probe.is_some()),
        restarts,
        last_termination,
        name: status.name,
    };
    Seen::Running(id.to_owned(), container)
}

fn termination(ended: Terminated) -> Termination {
    Termination {
        container: ended
            .container_id
            .as_deref()
            .and_then(split_container_id)
            .map(|(_, id)| id.to_owned()),
        reason: reason(ended.reason),
        exit_code: ended.exit_code.unwrap_or_default(),
        finished: ended.finished_at.as_deref().and_then(parse_time),
    }
}

fn reason(given: Option<String>) -> String {
    let mut reason = given.unwrap_or_default();
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

/// `containerd://<64 hex>` in its two parts.
fn split_container_id(id: &str) -> Option<(&str, &str)> {
    let (runtime, id) = id.split_once("://")?;
    (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some((runtime, id))
}

/// The bare ID in what runtimes report: `sha256:<hex>`, `docker.io/library/nginx@sha256:<hex>`,
/// `docker-pullable://…@sha256:<hex>`, or already bare.
fn bare_image_id(id: &str) -> &str {
    let id = id.split_once("://").map_or(id, |(_, rest)| rest);
    let id = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
    id.strip_prefix("sha256:").unwrap_or(id)
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_unix_micros(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pod(json: serde_json::Value) -> NodePod {
        serde_json::from_value(json).expect("decodes")
    }

    fn full() -> serde_json::Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
                "annotations": {"big": "x".repeat(1000)},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u-c"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-rs",
                     "controller": true, "blockOwnerDeletion": true}]},
            "spec": {
                "nodeName": "n1",
                "containers": [{"name": "app", "image": "shop/web:1", "ports": []}],
                "initContainers": [{"name": "proxy", "image": "mesh:2", "restartPolicy": "Always"}],
                "ephemeralContainers": [{"name": "debug", "image": "busybox"}]},
            "status": {
                "phase": "Running", "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "containerStatuses": [{
                    "name": "app", "image": "docker.io/shop/web:1",
                    "imageID": "docker.io/shop/web@sha256:abc", "ready": true,
                    "containerID": format!("containerd://{CONTAINER}"),
                    "state": {"running": {"startedAt": "2026-11-23T01:34:40Z"}}}],
                "initContainerStatuses": [{
                    "name": "proxy", "imageID": "sha256:def",
                    "containerID": format!("containerd://{}", CONTAINER.replace('0', "1")),
                    "state": {"running": {}}}],
                "ephemeralContainerStatuses": [{
                    "name": "debug", "containerID": format!("containerd://{}", CONTAINER.replace('0', "2")),
                    "state": {"terminated": {"exitCode": 0}}}]}
        })
    }

    #[test]
    fn keeps_what_the_inventory_needs() {
        let observed = pod(full()).observe().expect("runs");
        assert_eq!(
            observed.controller,
            Some(Owner {
                topology: Topology::ReplicaSet,
                uid: "u-rs".into(),
                name: "web".into()
            })
        );
        let pod = observed.pod;
        assert_eq!(
            (pod.id.as_str(), pod.namespace.as_str(), pod.name.as_str()),
            ("u-1", "shop", "web-1")
        );
        assert_eq!(pod.ips, ["10.0.0.1", "fd00::1"]);
        assert!(!pod.host_network);
        assert_eq!(pod.containers.len(), 2, "the ended one is left out");
        let app = &pod.containers[CONTAINER];
        assert_eq!(app.name, "app");
        assert_eq!(app.image, "shop/web:1");
        assert_eq!(app.image_id, "abc");
        assert_eq!(app.runtime, "containerd");
        assert_eq!(
            app.started.map(|t| t.to_string()).as_deref(),
            Some("2026-11-23T01:34:40.000000Z")
        );
        let proxy = &pod.containers[&CONTAINER.replace('0', "1")];
        assert_eq!(
            (proxy.name.as_str(), proxy.image_id.as_str()),
            ("proxy", "def")
        );
        assert_eq!(proxy.started, None);
    }

    #[test]
    fn nothing_but_the_needed_metadata_is_kept() {
        let pod = pod(full());
        assert_eq!(pod.metadata.managed_fields, None);
        assert_eq!(pod.metadata.annotations, None);
        assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn a_static_pod_goes_by_its_hash() {
        let mut json = full();
        json["metadata"]["annotations"] = serde_json::json!({CONFIG_HASH: "hash"});
        json["metadata"]["ownerReferences"] = serde_json::json!([
            {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-n", "controller": true}]);
        json["spec"]["hostNetwork"] = true.into();
        let node_pod = pod(json);
        assert_eq!(node_pod.uid(), Some("u-1"));
        let observed = node_pod.observe().expect("runs");
        assert_eq!(observed.pod.id, "hash");
        assert!(observed.pod.host_network);
        assert_eq!(
            observed.controller, None,
            "a node is no controller in Scope"
        );
    }

    #[test]
    fn pods_that_are_over_are_none() {
        for phase in ["Succeeded", "Failed"] {
            let mut json = full();
            json["status"]["phase"] = phase.into();
            assert_eq!(pod(json).observe(), None);
        }
    }

    #[test]
    fn sparse_and_odd_pods_decode() {
        for json in [
            serde_json::json!({"metadata": {"uid": "u"}}),
            serde_json::json!({"metadata": {"uid": "u", "annotations": null}, "spec": {"containers": null}, "status": {}}),
            serde_json::json!({"metadata": {"uid": "u"}, "status": {"containerStatuses": [
                {"name": "a", "state": {"running": {}}, "containerID": ""},
                {"name": "b", "state": {"running": {}}, "containerID": "containerd://short"},
                {"name": "c", "state": {"running": {}}},
                {"name": "d", "state": {"waiting": {"reason": "X"}}, "containerID": null}]}}),
        ] {
            let observed = pod(json).observe().expect("not over");
            assert_eq!(observed.pod.id, "u");
            assert!(observed.pod.containers.is_empty());
        }
        assert_eq!(
            pod(serde_json::json!({"metadata": {}})).observe(),
            None,
            "no UID, no node"
        );
    }

    #[test]
    fn image_ids_are_bare() {
        for (id, bare) in [
            ("", ""),
            ("sha256:abc", "abc"),
            ("abc", "abc"),
            ("docker.io/library/nginx@sha256:abc", "abc"),
            ("docker-pullable://nginx@sha256:abc", "abc"),
            ("docker://sha256:abc", "abc"),
            ("registry:5000/a/b@sha256:abc", "abc"),
        ] {
            assert_eq!(bare_image_id(id), bare, "{id}");
        }
    }

    #[test]
    fn owners_of_other_groups_are_not_drawn() {
        for (api, kind, drawn_as) in [
            ("apps/v1", "StatefulSet", Some(Topology::StatefulSet)),
            ("batch/v1", "Job", Some(Topology::Job)),
            ("argoproj.io/v1alpha1", "ReplicaSet", None),
            ("apps/v1", "ControllerRevision", None),
            ("v1", "ReplicationController", None),
        ] {
            let owner = drawn(OwnerReference {
                api_version: api.into(),
                kind: kind.into(),
                ..OwnerReference::default()
            });
            assert_eq!(owner.map(|o| o.topology), drawn_as, "{api} {kind}");
        }
    }
}
