//! The controller of ScopeActions: each click is carried out once, at once, and in time; the record
//! of it is removed after an hour.

mod act;
mod actor;
mod decide;
mod deed;
mod done;
mod index;
mod rate;
mod recent;
mod record;
mod target;
mod unreadable;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::error_boundary::InvalidObject,
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::ScopeAction;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use actor::{Actor, Known};
pub(crate) use index::{Index, Indexes, kinds};
pub(crate) use target::resource;

use unreadable::{Noticed, Unreadable};

use crate::{
    guarded::{self, BUDGET},
    readiness::Readiness,
    watches::{Guarded, kind},
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

/// Runs until `stop`. `touched` fills `store`, and `readiness` knows when it is complete.
pub(crate) async fn run(
    actor: Arc<Actor>,
    store: Store<Guarded<ScopeAction>>,
    touched: impl Stream<Item = Guarded<ScopeAction>> + Send,
    namespace: String,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) {
    let mut touched = std::pin::pin!(touched);
    let mut terms = actor.claim.terms();
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut controller = Controller::new(actor, store, namespace, readiness);
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
                controller.consider_all();
            }
            Some(finished) = controller.tasks.join_next_with_id() => controller.finished(finished),
            _ = tidy.tick() => {
                controller.tidy();
                // Whatever a panic has left pending gets its outcome here, if only that it is too late.
                controller.consider_all();
            }
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
    readiness: Arc<Readiness>,
    /// The term for which the actions of the minute before it were counted.
    counted: Option<u64>,
    /// The UIDs of actions, by the task that carries them out.
    under_way: HashMap<task::Id, String>,
    /// By UID, oldest first.
    settled: VecDeque<String>,
    unreadable: Unreadable,
    /// The task that writes Events about unreadable actions.
    telling: Option<task::Id>,
    tasks: JoinSet<Ended>,
    /// Something was left in the store since too much was under way.
    deferred: bool,
}

/// What a task did.
enum Ended {
    /// Its action has its outcome.
    Settled,
    /// Its action, which has this name, is as it was.
    LeftAlone(ObjectRef<Guarded<ScopeAction>>),
    /// It carried no action out: old records were removed, or Events written.
    Aside,
}

impl Controller {
    fn new(
        actor: Arc<Actor>,
        store: Store<Guarded<ScopeAction>>,
        namespace: String,
        readiness: Arc<Readiness>,
    ) -> Self {
        Self {
            actor,
            store,
            namespace,
            readiness,
            counted: None,
            under_way: HashMap::new(),
            settled: VecDeque::new(),
            unreadable: Unreadable::default(),
            telling: None,
            tasks: JoinSet::new(),
            deferred: false,
        }
    }

    /// Whether this replica leads, and knows what was done in the minute before: a term begins with
    /// counting that, which takes a store that is complete.
    fn may_act(&mut self) -> bool {
        if !self.actor.claim.is_held() {
            return false;
        }
        let term = self.actor.claim.term();
        if self.counted != Some(term) {
            if !self.readiness.is_filled(kind::ACTIONS) {
                return false;
            }
            let records = self.store.state();
            let readable = records.iter().filter_map(|object| object.0.as_ref().ok());
            self.actor.take_over(readable);
            self.counted = Some(term);
        }
        true
    }

    /// Takes an action up, if it is there, pending, and ours to carry out.
    fn consider(&mut self, object: &Guarded<ScopeAction>) {
        if !self.may_act() {
            return;
        }
        let Some(uid) = object.uid() else {
            return;
        };
        // Touched by its deletion: then nobody wants it any more.
        let there = self.store.get(&ObjectRef::from_obj(object));
        if there.is_none_or(|there| there.meta().uid.as_ref() != Some(&uid)) {
            return;
        }
        let action = match &object.0 {
            Ok(action) => action,
            Err(invalid) => return self.notice(object, invalid),
        };
        if !decide::is_pending(action)
            || self.settled.contains(&uid)
            || self.under_way.values().any(|under_way| *under_way == uid)
        {
            return;
        }
        if self.under_way.len() >= UNDER_WAY {
            if !self.deferred {
                self.deferred = true;
                self.actor.metrics.action_deferred();
            }
            return;
        }
        let (actor, action) = (Arc::clone(&self.actor), action.clone());
        let reference = ObjectRef::from_obj(object);
        let task = self.tasks.spawn(async move {
            if actor.handle(&action).await {
                return Ended::Settled;
            }
            tokio::time::sleep(AGAIN).await;
            Ended::LeftAlone(reference)
        });
        self.under_way.insert(task.id(), uid);
    }

    /// Says that an action cannot be read, unless that was said of this version of it.
    fn notice(&mut self, object: &Guarded<ScopeAction>, invalid: &InvalidObject) {
        match self.unreadable.notice(object, invalid) {
            Noticed::Known => return,
            Noticed::New => {}
            Noticed::NewAndLost => self.actor.metrics.event_lost(),
        }
        self.actor.metrics.undecodable("ScopeAction");
        let action = object.name_any();
        tracing::warn!(action, "a ScopeAction cannot be read: {}", invalid.error);
        self.tell();
    }

    /// Has the Events written that wait, by one task at a time.
    fn tell(&mut self) {
        if self.telling.is_some() {
            return;
        }
        let untold = self.unreadable.take();
        if untold.is_empty() {
            return;
        }
        let events = self.actor.events.clone();
        let task = self.tasks.spawn(async move {
            unreadable::tell(&events, untold).await;
            Ended::Aside
        });
        self.telling = Some(task.id());
    }

    fn consider_all(&mut self) {
        for object in self.store.state() {
            self.consider(&object);
        }
    }

    fn finished(&mut self, finished: Result<(task::Id, Ended), JoinError>) {
        let (task, ended) = match finished {
            Ok((task, ended)) => (task, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let uid = self.under_way.remove(&task);
        if self.telling == Some(task) {
            self.telling = None;
            self.tell();
        }
        match ended {
            Ok(Ended::Settled) => {
                if self.settled.len() >= SETTLED {
                    self.settled.pop_front();
                }
                self.settled.extend(uid);
            }
            Ok(Ended::LeftAlone(reference)) => {
                if let Some(object) = self.store.get(&reference) {
                    self.consider(&object);
                }
            }
            Ok(Ended::Aside) => {}
            Err(error) => {
                self.actor.metrics.action_panicked();
                let uid = uid.as_deref().unwrap_or("none");
                tracing::error!(uid, "a task of the action controller was cut off: {error}");
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
            Ended::Aside
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
mod tests;
