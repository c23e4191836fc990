//! EndpointSlices, decoded to what they say of pods.

use k8s_openapi::{
    api::discovery::v1::EndpointSlice,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use scope_totals_wire::Uid;
use serde::Deserialize;

/// An EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Told")]
pub struct SeenSlice {
    /// Name, namespace, UID and version; nothing else.
    metadata: ObjectMeta,
    service: Option<Box<str>>,
    owner: Option<Uid>,
    pods: Option<Box<[Uid]>>,
}

/// What a slice says of a Service's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedPods<'a> {
    /// The namespace of both.
    pub namespace: &'a str,
    /// The Service.
    pub service: &'a str,
    /// The UID of the Service that owns the slice, if one does.
    pub owner: Option<Uid>,
    /// The pods. Nothing if one of them has no UID.
    pub pods: Option<&'a [Uid]>,
}

impl SeenSlice {
    /// Its UID.
    pub fn uid(&self) -> Option<Uid> {
        self.metadata.uid.as_deref()?.parse().ok()
    }

    /// What it says, if it names a Service and at least one pod.
    pub fn names_pods(&self) -> Option<NamedPods<'_>> {
        let named = NamedPods {
            namespace: self.metadata.namespace.as_deref()?,
            service: self.service.as_deref()?,
            owner: self.owner,
            pods: self.pods.as_deref(),
        };
        let is_empty = named.pods.is_some_and(<[Uid]>::is_empty);
        (!is_empty).then_some(named)
    }
}

#[derive(Deserialize)]
struct Told {
    metadata: Metadata,
    /// Null where there is none: it is written so of an empty slice.
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
struct Labels {
    /// Of which Service it is, whoever made the slice.
    #[serde(rename = "kubernetes.io/service-name")]
    service: Option<Box<str>>,
}

/// Its conditions are not read: a pod that is not ready, or on its way out, is one of the Service's until the API
/// server takes it out, and uses what it uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    target_ref: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Option<Box<str>>,
    uid: Option<Box<str>>,
}

impl From<Told> for SeenSlice {
    fn from(told: Told) -> Self {
        let metadata = told.metadata;
        let endpoints = told.endpoints.unwrap_or_default();
        let targets = endpoints
            .into_iter()
            .filter_map(|endpoint| endpoint.target_ref);
        let pods = targets.filter(|target| target.kind.as_deref() == Some("Pod"));
        Self {
            service: metadata.labels.service.filter(|name| !name.is_empty()),
            owner: metadata.owner_references.iter().find_map(service),
            pods: pods
                .map(|pod| pod.uid.as_deref().and_then(|uid| uid.parse().ok()))
                .collect(),
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

fn service(owner: &OwnerReference) -> Option<Uid> {
    let is_service = owner.api_version == "v1" && owner.kind == "Service";
    is_service.then(|| owner.uid.parse().ok()).flatten()
}

scope_process::of_kind!(SeenSlice: EndpointSlice);
