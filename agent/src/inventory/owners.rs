//! What the pods themselves do not say: the Deployment behind a ReplicaSet, the CronJob behind a
//! Job, the UID of a namespace.
//!
//! Each is asked for once, by one metadata GET, and then remembered. This is the memory and the
//! decision what to ask next; the asking is done elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use scope_protocol::Topology;

use super::identity::identify;
use super::model::{Inventory, Owner};
use super::pods::Pods;

/// Owners remembered. An owner's owner never changes, so an answer stays right for ever; the bound
/// keeps years of CronJob runs out of memory. Four generations of a node with 500 pods.
const MAX_REMEMBERED: usize = 2048;
/// Until a failed question is asked again: doubled from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A question to the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lookup {
    /// The controller of a ReplicaSet or Job.
    Owner {
        /// Its kind.
        topology: Topology,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID: an object of that name with another UID is not meant.
        uid: String,
    },
    /// The UID of a namespace.
    Namespace {
        /// Its name.
        name: String,
    },
}

/// What the API server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The object exists: its UID, and its controller where that is drawn in Scope.
    Object {
        /// UID.
        uid: String,
        /// Controller.
        controller: Option<Owner>,
    },
    /// It does not exist.
    Missing,
    /// The question was not answered.
    Failed,
}

/// Answers, and questions that failed.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Of a ReplicaSet or Job: its controller, and when it was last of use.
    controllers: HashMap<Asked, (Option<Owner>, u64)>,
    /// UID by namespace name, of the namespaces that pods of this node are in.
    namespaces: BTreeMap<String, String>,
    failed: HashMap<Lookup, Retry>,
    under_way: BTreeSet<Lookup>,
    clock: u64,
}

/// A ReplicaSet or Job. A pod can name any UID as its owner's: what was found in one namespace is
/// no answer for a pod of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    namespace: String,
    uid: String,
}

impl Asked {
    fn of(namespace: &str, uid: &str) -> Asked {
        Asked {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    attempts: u32,
    at: Instant,
}

/// What is to be asked, and when to look again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Agenda {
    /// To be asked now.
    pub now: Vec<Lookup>,
    /// When the next failed question may be asked again.
    pub later: Option<Instant>,
}

impl Owners {
    /// What these pods leave open, in a stable order. Forgets what they have no use for.
    pub(super) fn agenda(&mut self, pods: &Pods, now: Instant) -> Agenda {
        let wanted = wanted(pods);
        // A namespace may come back under the same name as another object. While no pod of it is
        // here, there is no reason to believe in its UID.
        self.namespaces
            .retain(|name, _| wanted.contains(&Lookup::Namespace { name: name.clone() }));
        self.failed.retain(|lookup, _| wanted.contains(lookup));
        self.clock += 1;
        let mut agenda = Agenda::default();
        for lookup in wanted {
            let known = match &lookup {
                Lookup::Owner { namespace, uid, .. } => self
                    .controllers
                    .get_mut(&Asked::of(namespace, uid))
                    .map(|(_, used)| *used = self.clock)
                    .is_some(),
                Lookup::Namespace { name } => self.namespaces.contains_key(name),
            };
            if known || self.under_way.contains(&lookup) {
                continue;
            }
            match self.failed.get(&lookup) {
                Some(retry) if retry.at > now => {
                    agenda.later = Some(agenda.later.map_or(retry.at, |at| at.min(retry.at)));
                }
                _ => agenda.now.push(lookup),
            }
        }
        agenda
    }

    /// Says that the question is being asked. How often it was asked in vain before.
    pub(super) fn begin(&mut self, lookup: &Lookup) -> u32 {
        self.under_way.insert(lookup.clone());
        self.failed.get(lookup).map_or(0, |retry| retry.attempts)
    }

    /// Takes an answer in, and with that frees the question. When it may be asked again, if that
    /// was no answer. `spread` from 0 to 1 spreads retries over time.
    pub(super) fn answer(
        &mut self,
        lookup: Lookup,
        found: Found,
        now: Instant,
        spread: f64,
    ) -> Option<Instant> {
        self.under_way.remove(&lookup);
        match (&lookup, found) {
            (
                Lookup::Owner { namespace, uid, .. },
                Found::Object {
                    uid: found,
                    controller,
                },
            ) if *uid == found => {
                let asked = Asked::of(namespace, uid);
                self.controllers.insert(asked, (controller, self.clock));
                self.failed.remove(&lookup);
                self.forget_least_used();
                None
            }
            (Lookup::Namespace { name }, Found::Object { uid, .. }) => {
                self.namespaces.insert(name.clone(), uid);
                self.failed.remove(&lookup);
                None
            }
            // Gone, or another object by now, or no answer. A pod may outlive its ReplicaSet for a
            // while, and a cache of the API server may not have heard of a new one yet.
            (_, Found::Object { .. } | Found::Missing | Found::Failed) => {
                let attempts = self.failed.get(&lookup).map_or(0, |r| r.attempts);
                let pause = RETRY.0.saturating_mul(1 << attempts.min(16)).min(RETRY.1);
                let at = now + pause.mul_f64(0.75 + 0.5 * spread.clamp(0.0, 1.0));
                self.failed.insert(
                    lookup,
                    Retry {
                        attempts: attempts.saturating_add(1),
                        at,
                    },
                );
                Some(at)
            }
        }
    }

    /// The inventory of these pods, as far as it is known, and how many of them do not have the
    /// ID that they claim.
    pub(super) fn complete(&self, pods: &Pods) -> (Inventory, usize) {
        let identified = identify(pods.iter());
        let mut inventory = Inventory::default();
        for (id, observed) in identified.pods {
            let mut pod = observed.pod.clone();
            if let Some(controller) = &observed.controller {
                pod.owners.push(controller.clone());
                pod.owners.extend(self.beyond(&pod.namespace, controller));
            }
            pod.id = id.to_owned();
            inventory.pods.insert(pod.id.clone(), pod);
        }
        inventory.namespaces = self.namespaces.clone();
        (inventory, identified.contested)
    }

    /// The controller of a pod's controller. A CronJob has Jobs, a Deployment ReplicaSets; whatever
    /// else an object claims is of no kind that Scope could draw there.
    fn beyond(&self, namespace: &str, controller: &Owner) -> Option<Owner> {
        let asked = Asked::of(namespace, &controller.uid);
        let (next, _) = self.controllers.get(&asked)?;
        let fits = |next: &&Owner| {
            matches!(
                (controller.topology, next.topology),
                (Topology::ReplicaSet, Topology::Deployment) | (Topology::Job, Topology::CronJob)
            )
        };
        next.as_ref().filter(fits).cloned()
    }

    fn forget_least_used(&mut self) {
        while self.controllers.len() > MAX_REMEMBERED {
            let least = self.controllers.iter().min_by_key(|(_, (_, used))| *used);
            let Some(asked) = least.map(|(asked, _)| asked.clone()) else {
                return;
            };
            self.controllers.remove(&asked);
        }
    }
}

fn wanted(pods: &Pods) -> BTreeSet<Lookup> {
    let mut wanted = BTreeSet::new();
    for observed in pods.iter() {
        let namespace = &observed.pod.namespace;
        wanted.insert(Lookup::Namespace {
            name: namespace.clone(),
        });
        if let Some(owner) = &observed.controller
            && matches!(owner.topology, Topology::ReplicaSet | Topology::Job)
        {
            wanted.insert(Lookup::Owner {
                topology: owner.topology,
                namespace: namespace.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            });
        }
    }
    wanted
}

#[cfg(test)]
mod tests;
