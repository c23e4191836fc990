//! Objects of the API server, decoded to what is read of them. There are many.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Pod as FullPod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use kube::core::PartialObjectMeta;
use scope_totals_wire::{Kind, Object, Uid};
use serde::Deserialize;

use super::{
    Maker,
    images::{self, Image},
};

/// A pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Told")]
pub struct SeenPod {
    /// Name, namespace, UID and version; nothing else.
    metadata: ObjectMeta,
    node: Option<Box<str>>,
    maker: Maker,
    ended: bool,
    gone_by: Option<Timestamp>,
    images: Vec<Image>,
}

impl SeenPod {
    /// Its UID.
    pub fn uid(&self) -> Option<Uid> {
        self.metadata.uid.as_deref()?.parse().ok()
    }

    /// The name of its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Its node, its maker and when it is to be gone, if it is on a node and has not ended.
    pub fn counts(&self) -> Option<(&str, Maker, Option<Timestamp>)> {
        let node = self.node.as_deref()?;
        (!self.ended).then_some((node, self.maker, self.gone_by))
    }

    /// The images of its containers that run.
    pub(super) fn images(&self) -> &[Image] {
        &self.images
    }
}

#[derive(Deserialize)]
struct Told {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<Box<str>>,
    containers: Option<Vec<images::Container>>,
    init_containers: Option<Vec<images::Container>>,
    ephemeral_containers: Option<Vec<images::Container>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    container_statuses: Option<Vec<images::Status>>,
    init_container_statuses: Option<Vec<images::Status>>,
    ephemeral_container_statuses: Option<Vec<images::Status>>,
}

impl From<Told> for SeenPod {
    fn from(told: Told) -> Self {
        let (metadata, spec, status) = (told.metadata, told.spec, told.status);
        let named = [
            spec.containers,
            spec.init_containers,
            spec.ephemeral_containers,
        ];
        let statuses = [
            status.container_statuses,
            status.init_container_statuses,
            status.ephemeral_container_statuses,
        ];
        Self {
            maker: controller(&metadata.owner_references)
                .and_then(maker)
                .unwrap_or(Maker::Other),
            node: spec.node_name.filter(|node| !node.is_empty()),
            ended: matches!(&*status.phase, "Succeeded" | "Failed"),
            gone_by: metadata.deletion_timestamp.map(|time| time.0),
            images: images::running(&named, &statuses),
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
        }
    }
}

/// The API server lets no object have two.
fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// The group and kind of an owner, and its UID.
fn named(owner: &OwnerReference) -> Option<(&str, &str, Uid)> {
    let (group, _) = owner.api_version.split_once('/')?;
    Some((group, &owner.kind, owner.uid.parse().ok()?))
}

fn maker(owner: &OwnerReference) -> Option<Maker> {
    let (group, kind, uid) = named(owner)?;
    let kind = match (group, kind) {
        ("apps", "ReplicaSet") => return Some(Maker::ReplicaSet(uid)),
        ("apps", "StatefulSet") => Kind::StatefulSet,
        ("apps", "DaemonSet") => Kind::DaemonSet,
        ("batch", "Job") => Kind::Job,
        _ => return None,
    };
    Some(Maker::Controller(Object { kind, uid }))
}

/// A ReplicaSet or Job, whose own controller is all that is read.
pub trait SeenOwner {
    /// Its UID, and the Deployment or CronJob that made it.
    fn made_by(&self) -> Option<(Uid, Option<Object>)>;
}

impl<K> SeenOwner for PartialObjectMeta<K> {
    fn made_by(&self) -> Option<(Uid, Option<Object>)> {
        let uid = self.metadata.uid.as_deref()?.parse().ok()?;
        let owners = self.metadata.owner_references.as_deref();
        let above = controller(owners.unwrap_or_default()).and_then(|owner| {
            let (group, kind, uid) = named(owner)?;
            let kind = match (group, kind) {
                ("apps", "Deployment") => Kind::Deployment,
                ("batch", "CronJob") => Kind::CronJob,
                _ => return None,
            };
            Some(Object { kind, uid })
        });
        Some((uid, above))
    }
}

scope_process::of_kind!(SeenPod: FullPod);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::{Value, json};

    use super::*;

    const ONE: &str = "00000000-0000-4000-8000-000000000001";
    const TWO: &str = "00000000-0000-4000-8000-000000000002";

    fn owner(version: &str, kind: &str) -> Value {
        json!([{"apiVersion": version, "kind": kind, "name": "x", "uid": TWO, "controller": true}])
    }

    fn pod(owners: &Value, phase: &str) -> SeenPod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": ONE, "ownerReferences": owners,
                "deletionTimestamp": "2030-01-01T00:00:00Z", "labels": {"a": "b"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn pods_and_the_controllers_that_totals_are_of() {
        let two: Uid = TWO.parse().unwrap();
        let itself = |kind| Some(Maker::Controller(Object { kind, uid: two }));
        for (version, kind, wanted) in [
            ("apps/v1", "ReplicaSet", Some(Maker::ReplicaSet(two))),
            ("apps/v1", "StatefulSet", itself(Kind::StatefulSet)),
            ("apps/v1", "DaemonSet", itself(Kind::DaemonSet)),
            ("batch/v1", "Job", itself(Kind::Job)),
            ("batch.volcano.sh/v1alpha1", "Job", Some(Maker::Other)),
            ("v1", "ReplicationController", Some(Maker::Other)),
        ] {
            let pod = pod(&owner(version, kind), "Running");
            let found = pod
                .counts()
                .map(|(node, maker, _)| (node.to_owned(), maker));
            assert_eq!(found, wanted.map(|maker| ("n1".into(), maker)), "{kind}");
        }
        let running = pod(&owner("apps/v1", "DaemonSet"), "Running");
        assert_eq!(running.uid(), ONE.parse().ok());
        let (_, _, gone_by) = running.counts().unwrap();
        assert_eq!(gone_by.unwrap().to_string(), "2030-01-01T00:00:00Z");
    }

    #[test]
    fn ended_and_unscheduled_pods_do_not_count() {
        let owner = owner("batch/v1", "Job");
        assert!(pod(&owner, "Succeeded").counts().is_none());
        assert!(pod(&owner, "Failed").counts().is_none());
        let free = pod(&json!([]), "Running");
        let (_, maker, _) = free.counts().unwrap();
        assert_eq!(maker, Maker::Other, "a Service may have it");
        let waiting: SeenPod =
            serde_json::from_value(json!({"metadata": {"uid": ONE, "ownerReferences": owner}}))
                .unwrap();
        assert!(waiting.counts().is_none());
    }

    #[test]
    fn the_deployment_of_a_replica_set() {
        let of = |owners: Value| {
            let set: PartialObjectMeta<ReplicaSet> = serde_json::from_value(json!({
                "metadata": {"name": "r", "uid": ONE, "ownerReferences": owners},
            }))
            .unwrap();
            set.made_by().unwrap().1.map(|object| object.kind)
        };
        assert_eq!(of(owner("apps/v1", "Deployment")), Some(Kind::Deployment));
        assert_eq!(of(owner("argoproj.io/v1alpha1", "Rollout")), None);
        assert_eq!(of(json!([])), None);
    }
}
