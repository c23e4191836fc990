//! Carrying out a plan: server-side apply, one field manager per kind of write, and deletes under a
//! UID. Each write asks the claim first.

use std::{fmt::Debug, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{NamespaceResourceScope, api::apps::v1::DaemonSet};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use scope_crds::{ScopePlugin, ScopePluginStatus};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    drift::{self, Drift},
    guarded::{self, BUDGET, RequestError},
    leader::Claim,
    metrics::Metrics,
    names::{self, manager},
    plan::{Doomed, Kind, Plan, Step, Why},
    status::Trouble,
    watches::Guarded,
};

/// A version that no object has: etcd's first revision is that of the empty store. An apply under it
/// creates the object, and conflicts where there is one (measured with Kubernetes 1.36), so that a new
/// object is ours alone and yet has all its fields from an apply, unlike one that was posted.
const NOT_THERE: &str = "1";

/// Writes to the cluster.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) claim: Claim,
    pub(crate) namespace: String,
    pub(crate) metrics: Arc<Metrics>,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The DaemonSet as the API server returned it, if it was written.
    pub(crate) daemon_set: Option<DaemonSet>,
    /// The API server refused a child.
    pub(crate) trouble: Option<Trouble>,
    /// Who had changed the DaemonSet, if that was taken back.
    pub(crate) repaired: Option<Vec<String>>,
}

impl Writer {
    /// Takes the steps of `plan` in order; the first failure ends it, and the next look at the
    /// plugin starts from what is there then.
    pub(crate) async fn carry_out(
        &self,
        plan: Plan,
        live: Option<&DaemonSet>,
    ) -> Result<Outcome, RequestError> {
        let mut outcome = Outcome::default();
        let account = self
            .take(
                Kind::ServiceAccount,
                manager::SERVICE_ACCOUNT,
                plan.service_account,
            )
            .await;
        if let Some(trouble) = refusal(account)?.1 {
            outcome.trouble = Some(trouble);
            return Ok(outcome);
        }
        if let Step::Update {
            why: Why::Drift(drift),
            ..
        } = &plan.daemon_set
        {
            outcome.repaired = Some(match drift {
                Drift::Added(managers) => managers.clone(),
                _ => Vec::new(),
            });
            if let (Drift::Added(_), Some(live)) = (drift, live) {
                self.take_over(live).await?;
            }
            self.metrics.drift_repaired();
        }
        let daemon_set = self
            .take(Kind::DaemonSet, manager::DAEMON_SET, plan.daemon_set)
            .await;
        (outcome.daemon_set, outcome.trouble) = refusal(daemon_set)?;
        for doomed in &plan.delete {
            self.delete(doomed).await?;
        }
        Ok(outcome)
    }

    async fn take<K>(
        &self,
        kind: Kind,
        manager: &str,
        step: Step<K>,
    ) -> Result<Option<K>, (Kind, String, RequestError)>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let (object, force) = match step {
            Step::Keep | Step::Wait => return Ok(None),
            // Whoever made one of this name in this moment keeps it: the request conflicts, and by
            // the next look the watch has shown whose it is.
            Step::Create(mut object) => {
                object.meta_mut().resource_version = Some(NOT_THERE.to_owned());
                (object, false)
            }
            // To the object that was judged: an apply to another UID, or to none, fails.
            Step::Update {
                mut object, uid, ..
            } => {
                object.meta_mut().uid = Some(uid);
                (object, true)
            }
        };
        let name = object.meta().name.clone().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams {
            force,
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let answer = guarded::write(
            &self.claim,
            || format!("applying the {} {name}", kind.as_str()),
            BUDGET,
            api.patch(&name, &params, &Patch::Apply(&*object)),
        )
        .await;
        self.count(kind.as_str(), &answer);
        if answer.is_ok() {
            tracing::info!(kind = kind.as_str(), name, "applied");
        }
        answer.map(Some).map_err(|error| (kind, name, error))
    }

    /// Makes foreign fields of the DaemonSet ours, so that the apply that follows removes them.
    async fn take_over(&self, live: &DaemonSet) -> Result<(), RequestError> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = live.metadata.name.clone().unwrap_or_default();
        let params = PatchParams {
            field_manager: Some(manager::DAEMON_SET.to_owned()),
            ..PatchParams::default()
        };
        let answer = guarded::write(
            &self.claim,
            || format!("taking over the fields of the DaemonSet {name}"),
            BUDGET,
            api.patch_metadata(&name, &params, &Patch::Merge(drift::take_over(live))),
        )
        .await;
        self.count("ManagedFields", &answer);
        answer.map(|_| ())
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), RequestError> {
        let Doomed { kind, name, uid } = doomed;
        // Foreground: the DaemonSet is gone when its pods are, so that "suspended" is said when it
        // is true.
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let what = || format!("deleting the {} {name}", kind.as_str());
        let answer = match kind {
            Kind::DaemonSet => {
                let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
                let request = api.delete(name, &params);
                guarded::write(&self.claim, what, BUDGET, request)
                    .await
                    .map(|_| ())
            }
            // Accounts and records go with their plugin.
            Kind::ServiceAccount | Kind::ConfigMap => return Ok(()),
        };
        match answer {
            // Gone already, or another one of that name by now.
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_not_found() || status.is_conflict()) =>
            {
                Ok(())
            }
            answer => {
                self.count(kind.as_str(), &answer);
                if answer.is_ok() {
                    tracing::info!(kind = kind.as_str(), name, "deleted");
                }
                answer
            }
        }
    }

    /// Makes the DaemonSet controller look at the DaemonSet at once. After pods could not be created
    /// it waits up to a quarter of an hour before it tries again, however soon the reason is gone.
    pub(crate) async fn wake(&self, live: &DaemonSet) -> Result<(), RequestError> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = live.metadata.name.clone().unwrap_or_default();
        let body = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {
                "name": name, "uid": live.metadata.uid,
                "annotations": {names::RETRIED_AT: Timestamp::now().to_string()},
            },
        });
        let params = PatchParams::apply(manager::RETRY).force();
        let answer = guarded::write(
            &self.claim,
            || format!("annotating the DaemonSet {name}"),
            BUDGET,
            api.patch_metadata(&name, &params, &Patch::Apply(body)),
        )
        .await;
        self.count("Retry", &answer);
        answer.map(|_| ())
    }

    /// Writes the status of the plugin of this name, all of it.
    pub(crate) async fn status(
        &self,
        plugin: &str,
        status: &ScopePluginStatus,
    ) -> Result<(), RequestError> {
        let answer = guarded::write(
            &self.claim,
            || format!("writing the status of the ScopePlugin {plugin}"),
            BUDGET,
            apply_status(&self.client, plugin, status),
        )
        .await;
        self.count("ScopePluginStatus", &answer);
        match answer {
            // Deleted in the meantime.
            Err(error) if error.status().is_some_and(|status| status.is_not_found()) => Ok(()),
            answer => answer,
        }
    }

    fn count<T>(&self, object: &'static str, answer: &Result<T, RequestError>) {
        let outcome = match answer {
            Ok(_) => "done",
            Err(error) => error.category(),
        };
        self.metrics.wrote(object, outcome);
    }
}

/// Applies a whole status to the plugin of this name: what the status lacks is removed from the object,
/// if the operator wrote it. Whoever calls it limits the time and knows that no other replica writes.
pub(crate) async fn apply_status(
    client: &Client,
    plugin: &str,
    status: &ScopePluginStatus,
) -> kube::Result<()> {
    // The answer is decoded with a guard: a status can be written to an object that this version
    // cannot read.
    let api: Api<Guarded<ScopePlugin>> = Api::all(client.clone());
    let body = json!({
        "apiVersion": ScopePlugin::api_version(&()),
        "kind": ScopePlugin::kind(&()),
        "metadata": {"name": plugin},
        "status": status,
    });
    let params = PatchParams::apply(manager::STATUS).force();
    api.patch_status(plugin, &params, &Patch::Apply(body))
        .await
        .map(|_| ())
}

/// Tells the API server's refusals, which are the plugin's trouble, from failures, which are ours.
fn refusal<K>(
    answer: Result<Option<K>, (Kind, String, RequestError)>,
) -> Result<(Option<K>, Option<Trouble>), RequestError> {
    match answer {
        Ok(object) => Ok((object, None)),
        Err((kind, name, error)) => match error.status() {
            Some(status) if is_refusal(status) => {
                let message = status.message.clone();
                Ok((
                    None,
                    Some(Trouble::Refused {
                        kind,
                        name,
                        message,
                    }),
                ))
            }
            _ => Err(error),
        },
    }
}

fn is_refusal(status: &kube::core::Status) -> bool {
    if is_another(status) {
        return false;
    }
    status.is_invalid() || status.is_forbidden() || status.is_not_found() || status.code == 400
}

/// An apply under a UID met another object of that name. The API server calls that an attempt to change
/// the UID.
fn is_another(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_invalid()
        && causes
            .into_iter()
            .any(|cause| cause.field == "metadata.uid")
}

mod rollout;
#[cfg(test)]
mod tests;

pub(crate) use rollout::Deleted;
