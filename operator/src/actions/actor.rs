//! Carrying out one action, from the click to the written outcome.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Preconditions},
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::{ActionPhase, AgentSpec, ScopeAction, ScopePlugin};

use super::{
    decide::{self, Outcome, Plugin, PodFacts},
    rate::Rates,
    resolve::{PodName, Resolver},
};
use crate::{
    events::Events,
    guarded::{self, RequestError},
    leader::{Claim, NotLeading},
    metrics::Metrics,
    settings::Settings,
    watches::Guarded,
};

/// Longest wait for a single request of an action: the person who clicked waits.
pub(super) const REQUEST: Duration = Duration::from_secs(3);
/// The pod may change between the look at it and its deletion, as its status does; so often it is
/// looked at again.
const LOOKS: usize = 4;
/// Lookups of UIDs per minute and plugin, each of which may list all pods: several times what the
/// actions themselves may be, since a click on a pod that is gone is no abuse.
const LOOKUPS_PER_MINUTE: usize = 60;

/// Carries out actions.
pub(crate) struct Actor {
    pub(super) client: Client,
    pub(super) claim: Claim,
    pub(super) settings: Settings,
    plugins: Store<Guarded<ScopePlugin>>,
    resolver: Resolver,
    rates: Mutex<Rates>,
    lookups: Mutex<Rates>,
    /// Records of agents, by plugin and node.
    pub(super) records: Mutex<Rates>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

/// What came of an action.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) pod: Option<PodFacts>,
    /// When that was known, where it was not now.
    pub(super) at: Option<Timestamp>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            pod: None,
            at: None,
        }
    }
}

/// Why an action is left as it is.
pub(super) enum Left {
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
            records: Mutex::default(),
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
        // How long an agent took is not known here.
        let took = action.spec.done.is_none().then(|| started.elapsed());
        let control = action.spec.control.as_str();
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
            took_ms = took.map(|took| took.as_millis() as u64),
            "{}{}",
            if took.is_none() {
                "recorded by the agent: "
            } else {
                ""
            },
            done.outcome.message
        );
        self.tell(action, &done).await;
        written
    }

    async fn carry_out(&self, action: &ScopeAction) -> Result<Done, Left> {
        self.claim.left()?;
        let spec = &action.spec;
        if let Some(done) = &spec.done {
            return Ok(self.look_at_done(action, done).await);
        }
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
                    at: None,
                })
            };
            decide::judge(&pod, agent, &self.settings).map_err(about)?;
            if !noted {
                self.note_begin(action, &pod).await?;
                noted = true;
            }
            // The last look at the clock; the claim is looked at by the write itself.
            let Some(left) = decide::left(action, Timestamp::now()) else {
                return Err(about(Outcome::expired(spec)));
            };
            let name = format!("{}/{}", pod.namespace, pod.name);
            let Err(error) = self.delete(&pod, left).await else {
                return Ok(Done {
                    outcome: Outcome::succeeded(format!("Pod {name} is being deleted")),
                    pod: Some(pod),
                    at: None,
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
                            at: None,
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
            at: None,
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
        let Some(left) = decide::left(action, Timestamp::now()) else {
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

    pub(super) async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Pod>, RequestError> {
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
}

fn phase_name(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::Succeeded => "Succeeded",
        ActionPhase::Refused => "Refused",
        ActionPhase::Failed => "Failed",
        ActionPhase::Expired => "Expired",
    }
}

pub(super) fn locked(rates: &Mutex<Rates>) -> MutexGuard<'_, Rates> {
    rates
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
pub(super) mod tests;
