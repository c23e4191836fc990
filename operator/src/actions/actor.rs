//! Carrying out one action, from the click to the written outcome.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::{ActionPhase, ActionStatus, AgentSpec, ScopeAction, ScopePlugin};
use serde_json::json;

use super::{
    decide::{self, Outcome, Plugin, PodFacts},
    rate::Rates,
    resolve::{PodName, Resolver},
};
use crate::{
    events::{Events, Note},
    guarded::{self, RequestError},
    leader::{Claim, NotLeading},
    metrics::Metrics,
    names::manager,
    settings::Settings,
    watches::Guarded,
};

/// Longest wait for a single request of an action: the person who clicked waits.
const REQUEST: Duration = Duration::from_secs(3);
/// The pod may change between the look at it and its deletion, as its status does; so often it is
/// looked at again.
const LOOKS: usize = 4;
/// The schema's bound of a message.
const MAX_MESSAGE: usize = 1024;
/// An outcome that cannot be written is tried again for so long. Later readers see an action that
/// was begun and not finished.
const WRITE_FOR: Duration = Duration::from_secs(30);
/// Lookups of UIDs per minute and plugin, each of which may list all pods: several times what the
/// actions themselves may be, since a click on a pod that is gone is no abuse.
const LOOKUPS_PER_MINUTE: usize = 60;

/// Carries out actions.
pub(crate) struct Actor {
    pub(super) client: Client,
    pub(super) claim: Claim,
    settings: Settings,
    plugins: Store<Guarded<ScopePlugin>>,
    resolver: Resolver,
    rates: Mutex<Rates>,
    lookups: Mutex<Rates>,
    events: Events,
    pub(super) metrics: Arc<Metrics>,
}

/// What came of an action.
struct Done {
    outcome: Outcome,
    pod: Option<PodFacts>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, pod: None }
    }
}

/// Why an action is left as it is.
enum Left {
    /// Another replica leads, or has begun with it.
    ToOthers,
    Ended(Done),
}

impl From<NotLeading> for Left {
    fn from(_: NotLeading) -> Self {
        Self::ToOthers
    }
}

impl From<Outcome> for Left {
    fn from(outcome: Outcome) -> Self {
        Self::Ended(outcome.into())
    }
}

impl From<RequestError> for Left {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotLeading(error) => error.into(),
            error => Outcome::failed(words(&error)).into(),
        }
    }
}

/// An error for the person who clicked: the API server's own message where there is one.
fn words(error: &RequestError) -> String {
    match error.status() {
        Some(status) => format!("The API server refused: {}", status.message),
        None => format!("The API server did not answer: {error}"),
    }
}

impl Actor {
    pub(crate) fn new(
        client: Client,
        claim: Claim,
        settings: Settings,
        plugins: Store<Guarded<ScopePlugin>>,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            resolver: Resolver::new(client.clone()),
            client,
            claim,
            settings,
            plugins,
            rates: Mutex::default(),
            lookups: Mutex::default(),
            events,
            metrics,
        }
    }

    /// Counts what was done in the last minute before this replica led.
    pub(super) fn restart_rates(&self, done: impl IntoIterator<Item = (String, Timestamp)>) {
        locked(&self.rates).restart(done, Timestamp::now());
    }

    /// Carries out `action` and writes its outcome. Returns whether that is settled; if not, the
    /// action is as pending as before.
    pub(super) async fn handle(&self, action: &ScopeAction) -> bool {
        let started = Instant::now();
        let done = match self.carry_out(action).await {
            Ok(done) | Err(Left::Ended(done)) => done,
            Err(Left::ToOthers) => return false,
        };
        let written = self.write_outcome(action, &done).await;
        let took = started.elapsed();
        let control = match action.spec.control {
            scope_crds::Control::DeletePod => "DeletePod",
        };
        self.metrics
            .action(control, phase_name(done.outcome.phase), took);
        let spec = &action.spec;
        tracing::info!(
            action = action.name_any(),
            plugin = spec.plugin,
            control,
            phase = phase_name(done.outcome.phase),
            uid = spec.target.uid,
            app = spec.app_id,
            probe = spec.probe_id,
            through = spec.node,
            took_ms = took.as_millis() as u64,
            "{}",
            done.outcome.message
        );
        self.tell(action, &done).await;
        written
    }

    async fn carry_out(&self, action: &ScopeAction) -> Result<Done, Left> {
        self.claim.left()?;
        let spec = &action.spec;
        let plugin = self.plugins.get(&ObjectRef::new(&spec.plugin));
        let plugin = match plugin.as_deref() {
            None => Plugin::Missing,
            Some(guarded) => guarded.0.as_ref().map_or(Plugin::Unreadable, Plugin::Known),
        };
        let agent = decide::admit(action, &plugin, &self.settings, Timestamp::now())?;

        let taken = Timestamp::now();
        let limit = usize::try_from(agent.max_actions_per_minute).unwrap_or(1);
        let place = locked(&self.rates).take(&spec.plugin, limit, taken);
        place.map_err(|seconds| {
            Outcome::refused(format!(
                "The ScopePlugin {} has had its {limit} actions of this minute \
                 (spec.agent.maxActionsPerMinute). Click again in {seconds} s",
                spec.plugin
            ))
        })?;
        let ended = self.delete_pod(action, agent).await;
        let counts = match &ended {
            Ok(_) => true,
            Err(Left::Ended(done)) => {
                done.outcome.phase == ActionPhase::Failed && done.pod.is_some()
            }
            Err(Left::ToOthers) => false,
        };
        if !counts {
            locked(&self.rates).give_back(&spec.plugin, taken);
        }
        ended
    }

    /// Finds the pod, judges it, notes that it is about to act, and deletes exactly what it judged.
    async fn delete_pod(&self, action: &ScopeAction, agent: &AgentSpec) -> Result<Done, Left> {
        let spec = &action.spec;
        let mut pod = self.look_up(action).await?;
        let mut noted = false;
        for _ in 0..LOOKS {
            let about = |outcome| {
                Left::Ended(Done {
                    outcome,
                    pod: Some(pod.clone()),
                })
            };
            decide::judge(&pod, agent, &self.settings).map_err(about)?;
            if !noted {
                self.note_begin(action, &pod).await?;
                noted = true;
            }
            // The last look at the clock; the claim is looked at by the write itself.
            let Some(left) = decide::left(spec, Timestamp::now()) else {
                return Err(about(Outcome::expired(spec)));
            };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let Err(error) = self.delete(&pod, left).await else {
                return Ok(Done {
                    outcome: Outcome::succeeded(format!("Pod {name} is being deleted")),
                    pod: Some(pod),
                });
            };
            if matches!(error, RequestError::NotLeading(_)) {
                return Err(Left::ToOthers);
            }
            let gone = || Outcome::failed(format!("Pod {name} was gone already"));
            let now_there = match error.status() {
                Some(status) if status.is_not_found() => return Err(about(gone())),
                // It changed since it was judged: judge it again.
                Some(status) if status.is_conflict() => {
                    self.read_pod(&pod.namespace, &pod.name).await?
                }
                Some(_) => return Err(about(Outcome::failed(words(&error)))),
                // Whether the request arrived is not known: the pod tells.
                None => match self.read_pod(&pod.namespace, &pod.name).await {
                    Ok(there)
                        if there
                            .as_ref()
                            .is_none_or(|there| there.uid != pod.uid || there.is_going()) =>
                    {
                        return Ok(Done {
                            outcome: Outcome::succeeded(format!("Pod {name} is being deleted")),
                            pod: Some(pod),
                        });
                    }
                    _ => return Err(about(Outcome::failed(words(&error)))),
                },
            };
            match now_there {
                Some(there) if there.uid == pod.uid => pod = there,
                // Another pod of that name is another pod.
                _ => return Err(about(gone())),
            }
        }
        let message = format!(
            "Pod {}/{} changes too fast to be deleted safely",
            pod.namespace, pod.name
        );
        Err(Left::Ended(Done {
            outcome: Outcome::failed(message),
            pod: Some(pod),
        }))
    }

    /// The pod with the UID of the action, as it is now.
    async fn look_up(&self, action: &ScopeAction) -> Result<PodFacts, Left> {
        let spec = &action.spec;
        let uid = &spec.target.uid;
        if let Some(known) = self.resolver.remembered(uid) {
            if let Some(pod) = self.target_at(&known, uid).await? {
                return Ok(pod);
            }
            self.resolver.forget(uid);
        }
        locked(&self.lookups)
            .take(&spec.plugin, LOOKUPS_PER_MINUTE, Timestamp::now())
            .map_err(|seconds| {
                Outcome::refused(format!(
                    "Too many clicks on unknown pods. Click again in {seconds} s"
                ))
            })?;
        let Some(left) = decide::left(spec, Timestamp::now()) else {
            return Err(Outcome::expired(spec).into());
        };
        let found = match tokio::time::timeout(left, self.resolver.find(uid)).await {
            Ok(found) => found?,
            Err(_) => return Err(Outcome::expired(spec).into()),
        };
        let pod = match found {
            Some(found) => self.target_at(&found, uid).await?,
            None => None,
        };
        pod.ok_or_else(|| {
            Outcome::failed(format!("There is no pod with the UID {uid} any more")).into()
        })
    }

    /// The pod of this name, if it is the one that was clicked.
    async fn target_at(&self, name: &PodName, uid: &str) -> Result<Option<PodFacts>, RequestError> {
        let pod = self.get(&name.namespace, &name.name).await?;
        Ok(pod
            .filter(|pod| decide::is_target(&pod.metadata, uid))
            .map(|pod| PodFacts::of(&pod)))
    }

    async fn read_pod(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<PodFacts>, RequestError> {
        Ok(self
            .get(namespace, name)
            .await?
            .map(|pod| PodFacts::of(&pod)))
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Pod>, RequestError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        guarded::read(
            || format!("reading pod {namespace}/{name}"),
            REQUEST,
            pods.get_opt(name),
        )
        .await
    }

    async fn delete(&self, pod: &PodFacts, left: Duration) -> Result<(), RequestError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: pod.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let what = || format!("deleting pod {}/{}", pod.namespace, pod.name);
        let request = pods.delete(&pod.name, &params);
        guarded::write(&self.claim, what, REQUEST.min(left), request)
            .await
            .map(|_| ())
    }

    /// Writes that this replica is about to act, under the version of the action that it saw. A
    /// second leader fails here, and one after us sees that it was begun.
    async fn note_begin(&self, action: &ScopeAction, pod: &PodFacts) -> Result<(), Left> {
        let status = ActionStatus {
            message: Some("Being carried out".into()),
            target: Some(pod.target()),
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

    async fn write_outcome(&self, action: &ScopeAction, done: &Done) -> bool {
        let message = &done.outcome.message;
        let status = ActionStatus {
            phase: Some(done.outcome.phase),
            message: Some(message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned()),
            target: done.pod.as_ref().map(PodFacts::target).or_else(|| {
                action
                    .status
                    .as_ref()
                    .and_then(|status| status.target.clone())
            }),
            completed_at: Some(MicroTime(Timestamp::now())),
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

    /// The Event on the pod: what was done to it, and who asked.
    async fn tell(&self, action: &ScopeAction, done: &Done) {
        let Some(pod) = &done.pod else {
            return;
        };
        let spec = &action.spec;
        let text = format!(
            "{}. Asked for in Scope (app {}, probe {}) through node {}; ScopePlugin {}, ScopeAction {}",
            done.outcome.message,
            spec.app_id,
            spec.probe_id,
            spec.node,
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
        };
        let object = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.publish(note, &object).await;
    }
}

fn phase_name(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::Succeeded => "Succeeded",
        ActionPhase::Refused => "Refused",
        ActionPhase::Failed => "Failed",
        ActionPhase::Expired => "Expired",
    }
}

fn locked(rates: &Mutex<Rates>) -> MutexGuard<'_, Rates> {
    rates
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
