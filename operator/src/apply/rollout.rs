//! Writes of a rollout: its record, the templates that are kept for it, and the deletes of pods.

use axum::http::{HeaderValue, header::ACCEPT};
use k8s_openapi::{
    api::{
        apps::v1::ControllerRevision,
        core::v1::{ConfigMap, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::Request,
};

use super::{NOT_THERE, Writer};
use crate::{
    guarded::{self, BUDGET, RequestError},
    names::manager,
    rollout::Deletion,
};

/// An object's metadata alone, as JSON.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What came of a request to delete a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deleted {
    /// It is going, or was gone already.
    Gone,
    /// It is not as it was seen; it may have become ready.
    Changed,
}

impl Writer {
    /// Writes a rollout record: over the one with this resource version, or where there is none. Whoever
    /// has written in between makes it fail.
    pub(crate) async fn record(
        &self,
        mut record: ConfigMap,
        over: Option<&ObjectMeta>,
    ) -> Result<ConfigMap, RequestError> {
        match over {
            Some(over) => {
                record.metadata.uid.clone_from(&over.uid);
                record
                    .metadata
                    .resource_version
                    .clone_from(&over.resource_version);
            }
            None => record.metadata.resource_version = Some(NOT_THERE.to_owned()),
        }
        let name = record.name_any();
        let params = PatchParams {
            force: over.is_some(),
            field_manager: Some(manager::RECORD.to_owned()),
            ..PatchParams::default()
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let answer = guarded::write(
            &self.claim,
            || format!("writing the rollout record {name}"),
            BUDGET,
            api.patch(&name, &params, &Patch::Apply(&record)),
        )
        .await;
        self.count("RolloutRecord", &answer);
        answer
    }

    /// Keeps a template, unless it is kept already.
    pub(crate) async fn keep(
        &self,
        mut kept: ControllerRevision,
    ) -> Result<Option<ControllerRevision>, RequestError> {
        kept.metadata.resource_version = Some(NOT_THERE.to_owned());
        let name = kept.name_any();
        let params = PatchParams {
            field_manager: Some(manager::REVISION.to_owned()),
            ..PatchParams::default()
        };
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &self.namespace);
        let answer = guarded::write(
            &self.claim,
            || format!("keeping the template {name}"),
            BUDGET,
            api.patch(&name, &params, &Patch::Apply(&kept)),
        )
        .await;
        match answer {
            Err(error) if error.status().is_some_and(|status| status.is_conflict()) => Ok(None),
            answer => {
                self.count("ControllerRevision", &answer);
                answer.map(Some)
            }
        }
    }

    /// Forgets a template.
    pub(crate) async fn forget(&self, kept: &ControllerRevision) -> Result<(), RequestError> {
        let name = kept.name_any();
        let params = under(kept.metadata.uid.clone(), None);
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &self.namespace);
        let answer = guarded::write(
            &self.claim,
            || format!("forgetting the template {name}"),
            BUDGET,
            api.delete(&name, &params),
        )
        .await;
        match answer {
            Err(error) if error.status().is_some_and(|status| status.is_not_found()) => Ok(()),
            answer => {
                self.count("ControllerRevision", &answer);
                answer.map(|_| ())
            }
        }
    }

    /// Deletes a pod if it is still as it was seen.
    pub(crate) async fn delete_pod(&self, deletion: &Deletion) -> Result<Deleted, RequestError> {
        let Deletion {
            node,
            pod,
            uid,
            resource_version,
        } = deletion;
        let params = under(Some(uid.clone()), Some(resource_version.clone()));
        let answer = guarded::write(
            &self.claim,
            || format!("deleting the pod {pod} on {node}"),
            BUDGET,
            self.request_deletion(pod, &params),
        )
        .await;
        let outcome = match answer {
            Ok(_) => "Deleted",
            Err(error) => match error.status() {
                Some(status) if status.is_not_found() => return Ok(Deleted::Gone),
                Some(status) if status.is_conflict() => {
                    self.metrics.pod_deleted("Changed");
                    return Ok(Deleted::Changed);
                }
                _ => {
                    self.metrics.pod_deleted(error.category());
                    return Err(error);
                }
            },
        };
        self.metrics.pod_deleted(outcome);
        tracing::info!(pod, node, "deleted, to be replaced");
        Ok(Deleted::Gone)
    }

    /// Asks for a pod's deletion. The answer is the whole pod, twice decoded by [`Api::delete`] and read by
    /// nobody: with 64 in a look, much of what a look costs. So only its metadata is asked for, and not decoded.
    async fn request_deletion(&self, pod: &str, params: &DeleteParams) -> kube::Result<()> {
        let pods = Request::new(Pod::url_path(&(), Some(&self.namespace)));
        let mut request = pods
            .delete(pod, params)
            .map_err(kube::Error::BuildRequest)?;
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(METADATA));
        self.client.request_text(request).await.map(drop)
    }
}

fn under(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version,
        }),
        ..DeleteParams::default()
    }
}
