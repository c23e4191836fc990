//! The controller of ScopeActions: each click is carried out once, at once, and in time; the record
//! of it is removed after an hour.

mod actor;
mod decide;
mod rate;
mod record;
mod resolve;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::{ActionPhase, ScopeAction};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use actor::Actor;

use crate::{
    guarded::{self, BUDGET},
    watches::Guarded,
};

/// Actions under way at a time. More people than that rarely click in the same second; the rest
/// waits in the store.
const UNDER_WAY: usize = 16;
/// Records are kept so long.
const KEEP: SignedDuration = SignedDuration::from_hours(1);
/// How often old records are looked for, and how many are removed at a time, one after another: at most
/// 500 requests in a minute, and 30,000 records an hour.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const TIDY_AT_ONCE: usize = 500;
/// Settled actions that are remembered, so that an older version of one, which the watch brings
/// after its outcome was written, is not taken for one that somebody else began: far more than can
/// be settled while a watch lags.
const SETTLED: usize = 512;
/// An action that was left alone is looked at again after so long.
const AGAIN: Duration = Duration::from_millis(300);
/// At the end, actions under way may take this long: longer than any request of theirs.
const DRAIN: Duration = Duration::from_secs(8);

/// Runs until `stop`. `touched` fills `store`.
pub(crate) async fn run(
    actor: Arc<Actor>,
    store: Store<Guarded<ScopeAction>>,
    touched: impl Stream<Item = Guarded<ScopeAction>> + Send,
    namespace: String,
    stop: CancellationToken,
) {
    let mut touched = std::pin::pin!(touched);
    let mut terms = actor.claim.terms();
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut controller = Controller {
        actor,
        store,
        namespace,
        under_way: HashSet::new(),
        settled: VecDeque::new(),
        tasks: JoinSet::new(),
        deferred: false,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            object = touched.next() => match object {
                Some(object) => controller.consider(&object),
                None => break,
            },
            changed = terms.changed() => {
                if changed.is_err() {
                    break;
                }
                controller.begin_term();
            }
            Some(finished) = controller.tasks.join_next() => controller.finished(finished),
            _ = tidy.tick() => controller.tidy(),
        }
    }
    let drain = async { while controller.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drain).await.is_err() {
        tracing::warn!("actions under way were cut off at the end");
    }
}

struct Controller {
    actor: Arc<Actor>,
    store: Store<Guarded<ScopeAction>>,
    namespace: String,
    /// By UID.
    under_way: HashSet<String>,
    /// By UID, oldest first.
    settled: VecDeque<String>,
    tasks: JoinSet<Ended>,
    /// Something was left in the store since too much was under way.
    deferred: bool,
}

/// What a task did.
enum Ended {
    /// The action with this UID has its outcome.
    Settled(String),
    /// The action of this name and UID is as it was.
    LeftAlone(ObjectRef<Guarded<ScopeAction>>, String),
    /// Old records were removed.
    Tidied,
}

impl Controller {
    /// Takes an action up, if it is there, pending, and ours to carry out.
    fn consider(&mut self, object: &Guarded<ScopeAction>) {
        let action = match &object.0 {
            Ok(action) => action,
            Err(invalid) => {
                self.actor.metrics.undecodable("ScopeAction");
                let action = object.name_any();
                tracing::warn!(action, "a ScopeAction cannot be read: {}", invalid.error);
                return;
            }
        };
        if !decide::is_pending(action) || !self.actor.claim.is_held() {
            return;
        }
        let Some(uid) = action.uid() else {
            return;
        };
        // Touched by its deletion: then nobody wants it any more.
        let there = self.store.get(&ObjectRef::from_obj(object));
        if there.is_none_or(|there| there.meta().uid.as_ref() != Some(&uid)) {
            return;
        }
        if self.under_way.contains(&uid) || self.settled.contains(&uid) {
            return;
        }
        if self.under_way.len() >= UNDER_WAY {
            if !self.deferred {
                self.deferred = true;
                self.actor.metrics.action_deferred();
            }
            return;
        }
        self.under_way.insert(uid.clone());
        let (actor, action) = (Arc::clone(&self.actor), action.clone());
        let reference = ObjectRef::from_obj(object);
        self.tasks.spawn(async move {
            if actor.handle(&action).await {
                return Ended::Settled(uid);
            }
            tokio::time::sleep(AGAIN).await;
            Ended::LeftAlone(reference, uid)
        });
    }

    fn consider_all(&mut self) {
        for object in self.store.state() {
            self.consider(&object);
        }
    }

    /// This replica leads from now on: counts what was done before it, and takes up what is pending.
    fn begin_term(&mut self) {
        let done = self.store.state();
        self.actor.restart_rates(done.iter().filter_map(|object| {
            let action = object.0.as_ref().ok()?;
            let status = action.status.as_ref()?;
            let counts = status.phase == Some(ActionPhase::Succeeded);
            counts.then_some((action.spec.plugin.clone(), status.completed_at.as_ref()?.0))
        }));
        self.consider_all();
    }

    fn finished(&mut self, finished: Result<Ended, tokio::task::JoinError>) {
        match finished {
            Ok(Ended::Settled(uid)) => {
                self.under_way.remove(&uid);
                if self.settled.len() >= SETTLED {
                    self.settled.pop_front();
                }
                self.settled.push_back(uid);
            }
            Ok(Ended::LeftAlone(reference, uid)) => {
                self.under_way.remove(&uid);
                if let Some(object) = self.store.get(&reference) {
                    self.consider(&object);
                }
            }
            Ok(Ended::Tidied) => {}
            Err(error) => {
                // Which one is not said; the store still has those that are pending.
                tracing::error!("an action ended in a panic: {error}");
                if self.tasks.is_empty() {
                    self.under_way.clear();
                }
            }
        }
        if self.deferred && self.under_way.len() < UNDER_WAY {
            self.deferred = false;
            self.consider_all();
        }
    }

    /// Removes old records.
    fn tidy(&mut self) {
        if !self.actor.claim.is_held() {
            return;
        }
        let now = Timestamp::now();
        let old: Vec<(String, String)> = self
            .store
            .state_filter(|object| is_old(object.meta(), now))
            .iter()
            .take(TIDY_AT_ONCE)
            .filter_map(|object| Some((object.meta().name.clone()?, object.meta().uid.clone()?)))
            .collect();
        if old.is_empty() {
            return;
        }
        let (actor, namespace) = (Arc::clone(&self.actor), self.namespace.clone());
        self.tasks.spawn(async move {
            remove(&actor, &namespace, old).await;
            Ended::Tidied
        });
    }
}

fn is_old(metadata: &ObjectMeta, now: Timestamp) -> bool {
    metadata
        .creation_timestamp
        .as_ref()
        .is_some_and(|created| now.duration_since(created.0) >= KEEP)
}

async fn remove(actor: &Actor, namespace: &str, old: Vec<(String, String)>) {
    let actions: Api<Guarded<ScopeAction>> = Api::namespaced(actor.client.clone(), namespace);
    for (name, uid) in old {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let what = || format!("removing the ScopeAction {name}");
        match guarded::write(&actor.claim, what, BUDGET, actions.delete(&name, &params)).await {
            Ok(_) => actor.metrics.wrote("ScopeAction", "done"),
            Err(error) if error.status().is_some_and(|status| status.is_not_found()) => {}
            Err(error) => {
                actor.metrics.wrote("ScopeAction", error.category());
                tracing::warn!("{error}");
                // The rest is for the next time.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn records_are_kept_for_an_hour() {
        let created = |text: &str| ObjectMeta {
            creation_timestamp: Some(Time(text.parse().unwrap())),
            ..ObjectMeta::default()
        };
        let now: Timestamp = "2030-01-01T01:00:00Z".parse().unwrap();
        assert!(is_old(&created("2030-01-01T00:00:00Z"), now));
        assert!(!is_old(&created("2030-01-01T00:00:01Z"), now));
        assert!(!is_old(&ObjectMeta::default(), now));
    }
}
