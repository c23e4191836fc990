//! The record of an action: that it is begun, how it ended, and the Event on its object.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use scope_crds::{ActionPhase, ActionStatus, ScopeAction, ScopeActionSpec};
use serde_json::json;

use super::{
    actor::{Actor, Done, Left, REQUEST},
    target::Seen,
};
use crate::{
    events::Note,
    guarded::{self, RequestError},
    names::manager,
    watches::Guarded,
};

/// The schema's bound of a message.
const MAX_MESSAGE: usize = 1024;
/// An outcome that cannot be written is tried again for so long. Later readers see an action that
/// was begun and not finished.
const WRITE_FOR: Duration = Duration::from_secs(30);

impl Actor {
    /// Writes that this replica is about to act, under the version of the action that it saw. A
    /// second leader fails here, and one after us sees that it was begun.
    pub(super) async fn note_begin(&self, action: &ScopeAction, seen: &Seen) -> Result<(), Left> {
        let status = ActionStatus {
            message: Some("Being carried out".into()),
            target: Some(seen.target()),
            ..ActionStatus::default()
        };
        match self.write_status(action, &status, true).await {
            Ok(()) => Ok(()),
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_conflict() || status.is_not_found()) =>
            {
                tracing::warn!(
                    action = action.name_any(),
                    "left alone: it changed or is gone"
                );
                Err(Left::ToOthers)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn write_outcome(&self, action: &ScopeAction, done: &Done) -> bool {
        let message = &done.outcome.message;
        let status = ActionStatus {
            phase: Some(done.outcome.phase),
            message: Some(message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned()),
            target: done.seen.as_ref().map(Seen::target).or_else(|| {
                action
                    .status
                    .as_ref()
                    .and_then(|status| status.target.clone())
            }),
            completed_at: Some(MicroTime(done.at.unwrap_or_else(Timestamp::now))),
        };
        let started = Instant::now();
        let mut delay = Duration::from_millis(100);
        loop {
            let error = match self.write_status(action, &status, false).await {
                Ok(()) => return true,
                Err(error) if error.status().is_some_and(|status| status.is_not_found()) => {
                    return true;
                }
                Err(error) => error,
            };
            let give_up =
                matches!(error, RequestError::NotLeading(_)) || started.elapsed() > WRITE_FOR;
            if give_up {
                let action = action.name_any();
                tracing::warn!(
                    action,
                    "its outcome was not written: {error}; it was: {message}"
                );
                return false;
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(Duration::from_secs(5));
        }
    }

    async fn write_status(
        &self,
        action: &ScopeAction,
        status: &ActionStatus,
        as_seen: bool,
    ) -> Result<(), RequestError> {
        let name = action.name_any();
        let actions: Api<Guarded<ScopeAction>> =
            Api::namespaced(self.client.clone(), &self.settings.plugins_namespace);
        let mut metadata = json!({"name": name, "uid": action.uid()});
        if as_seen {
            metadata["resourceVersion"] = json!(action.resource_version());
        }
        let body = json!({
            "apiVersion": ScopeAction::api_version(&()),
            "kind": ScopeAction::kind(&()),
            "metadata": metadata,
            "status": status,
        });
        let params = PatchParams::apply(manager::ACTION).force();
        let answer = guarded::write(
            &self.claim,
            || format!("writing the status of the ScopeAction {name}"),
            REQUEST,
            actions.patch_status(&name, &params, &Patch::Apply(body)),
        )
        .await;
        let outcome = answer.as_ref().err().map_or("done", RequestError::category);
        self.metrics.wrote("ScopeActionStatus", outcome);
        answer.map(|_| ())
    }

    /// The Event on the object: what was done to it, and who asked, if somebody did.
    pub(super) async fn tell(&self, action: &ScopeAction, done: &Done) {
        let Some(seen) = &done.seen else {
            return;
        };
        let spec = &action.spec;
        let text = format!(
            "{}. {}; ScopePlugin {}, ScopeAction {}",
            done.outcome.message,
            by_whom(spec),
            spec.plugin,
            action.name_any()
        );
        let reason = format!("ScopeAction{}", done.outcome.phase);
        let control = spec.control.to_string();
        let note = Note {
            warning: done.outcome.phase != ActionPhase::Succeeded,
            reason: &reason,
            action: &control,
            text: &text,
            // Each deed has its own Event, with its own words.
            related: Some(action.object_ref(&())),
        };
        self.events.publish(note, &seen.reference()).await;
    }
}

/// Who asked, and who did it. An agent thaws a container by itself when its time is over or the agent
/// ends: no app and no probe had a part in that.
fn by_whom(spec: &ScopeActionSpec) -> String {
    let ScopeActionSpec {
        app_id,
        probe_id,
        node,
        ..
    } = spec;
    let asked = format!("Asked for in Scope (app {app_id}, probe {probe_id})");
    match &spec.done {
        None => format!("{asked} through node {node}"),
        Some(_) if app_id.is_empty() && probe_id.is_empty() => {
            format!("Done by the agent of node {node}")
        }
        Some(_) => format!("{asked}, done by the agent of node {node}"),
    }
}
