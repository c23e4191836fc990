//! What the pods themselves do not say: the Deployment behind a ReplicaSet, the CronJob behind a
//! Job, the UID of a namespace.
//!
//! Each is asked for once, by one metadata GET, and then remembered. This is the memory and the
//! decision what to ask next; the asking is done elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use scope_protocol::Topology;

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
    /// Of a ReplicaSet or Job, by its UID: its controller, and when it was last of use.
    controllers: HashMap<String, (Option<Owner>, u64)>,
    /// UID by namespace name, of the namespaces that pods of this node are in.
    namespaces: BTreeMap<String, String>,
    failed: HashMap<Lookup, Retry>,
    under_way: BTreeSet<Lookup>,
    clock: u64,
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
                Lookup::Owner { uid, .. } => self
                    .controllers
                    .get_mut(uid)
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

    /// Takes an answer in. `spread` from 0 to 1 spreads retries over time.
    pub(super) fn answer(&mut self, lookup: Lookup, found: Found, now: Instant, spread: f64) {
        self.under_way.remove(&lookup);
        match (&lookup, found) {
            (
                Lookup::Owner { uid, .. },
                Found::Object {
                    uid: found,
                    controller,
                },
            ) if *uid == found => {
                self.controllers
                    .insert(uid.clone(), (controller, self.clock));
                self.failed.remove(&lookup);
                self.forget_least_used();
            }
            (Lookup::Namespace { name }, Found::Object { uid, .. }) => {
                self.namespaces.insert(name.clone(), uid);
                self.failed.remove(&lookup);
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
            }
        }
    }

    /// The inventory of these pods, as far as it is known.
    pub(super) fn complete(&self, pods: &Pods) -> Inventory {
        let mut inventory = Inventory::default();
        for observed in pods.iter() {
            let mut pod = observed.pod.clone();
            if let Some(controller) = &observed.controller {
                pod.owners.push(controller.clone());
                if let Some((Some(next), _)) = self.controllers.get(&controller.uid) {
                    pod.owners.push(next.clone());
                }
            }
            inventory.pods.insert(pod.id.clone(), pod);
        }
        inventory.namespaces = self.namespaces.clone();
        inventory
    }

    fn forget_least_used(&mut self) {
        while self.controllers.len() > MAX_REMEMBERED {
            let least = self.controllers.iter().min_by_key(|(_, (_, used))| *used);
            let Some(uid) = least.map(|(uid, _)| uid.clone()) else {
                return;
            };
            self.controllers.remove(&uid);
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
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;

    fn pods(specs: &[(&str, &str, &str, &str)]) -> Pods {
        let mut pods = Pods::default();
        pods.apply(Event::Init);
        for (uid, namespace, kind, owner) in specs {
            let api = if *kind == "Job" {
                "batch/v1"
            } else {
                "apps/v1"
            };
            let pod = serde_json::json!({"metadata": {
                "uid": uid, "name": uid, "namespace": namespace,
                "ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner,
                    "uid": format!("u-{owner}"), "controller": true}]}});
            pods.apply(Event::InitApply(
                serde_json::from_value(pod).expect("decodes"),
            ));
        }
        pods.apply(Event::InitDone);
        pods
    }

    fn owner(topology: Topology, name: &str) -> Owner {
        Owner {
            topology,
            uid: format!("u-{name}"),
            name: name.into(),
        }
    }

    fn rs(name: &str) -> Lookup {
        Lookup::Owner {
            topology: Topology::ReplicaSet,
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("u-{name}"),
        }
    }

    fn ns() -> Lookup {
        Lookup::Namespace { name: "ns".into() }
    }

    fn object(uid: &str, controller: Option<Owner>) -> Found {
        Found::Object {
            uid: uid.into(),
            controller,
        }
    }

    #[test]
    fn each_owner_and_namespace_is_asked_for_once() {
        let now = Instant::now();
        let pods = pods(&[
            ("a", "ns", "ReplicaSet", "web"),
            ("b", "ns", "ReplicaSet", "web"),
            ("c", "ns", "DaemonSet", "log"),
        ]);
        let mut owners = Owners::default();
        let agenda = owners.agenda(&pods, now);
        assert_eq!(
            agenda,
            Agenda {
                now: vec![rs("web"), ns()],
                later: None
            }
        );
        for lookup in &agenda.now {
            assert_eq!(owners.begin(lookup), 0);
        }
        assert_eq!(owners.agenda(&pods, now), Agenda::default(), "under way");

        let deployment = owner(Topology::Deployment, "web-deployment");
        owners.answer(
            rs("web"),
            object("u-web", Some(deployment.clone())),
            now,
            0.5,
        );
        owners.answer(ns(), object("u-ns", None), now, 0.5);
        assert_eq!(owners.agenda(&pods, now), Agenda::default(), "known");

        let inventory = owners.complete(&pods);
        assert_eq!(
            inventory.pods["a"].owners,
            [owner(Topology::ReplicaSet, "web"), deployment]
        );
        assert_eq!(
            inventory.pods["c"].owners,
            [owner(Topology::DaemonSet, "log")]
        );
        assert_eq!(inventory.namespaces["ns"], "u-ns");
    }

    #[test]
    fn a_missing_or_other_object_is_asked_for_again_later_and_later() {
        let start = Instant::now();
        let pods = pods(&[("a", "ns", "Job", "run")]);
        let mut owners = Owners::default();
        owners.answer(ns(), object("u-ns", None), start, 0.5);
        let lookup = owners.agenda(&pods, start).now.remove(0);
        let mut now = start;
        let mut pauses = Vec::new();
        for found in [
            Found::Missing,
            object("another", None),
            Found::Failed,
            Found::Failed,
        ] {
            owners.begin(&lookup);
            owners.answer(lookup.clone(), found, now, 0.5);
            let agenda = owners.agenda(&pods, now);
            assert_eq!(agenda.now, []);
            let later = agenda.later.expect("asked again later");
            pauses.push((later - now).as_secs());
            now = later;
            assert_eq!(owners.agenda(&pods, now).now, std::slice::from_ref(&lookup));
        }
        assert_eq!(pauses, [1, 2, 4, 8]);
        assert_eq!(owners.begin(&lookup), 4);
        assert_eq!(
            owners.complete(&pods).pods["a"].owners,
            [owner(Topology::Job, "run")],
            "what is known is told"
        );
        for _ in 0..20 {
            owners.answer(lookup.clone(), Found::Failed, now, 1.0);
        }
        let later = owners.agenda(&pods, now).later.expect("asked again later");
        assert_eq!(later - now, RETRY.1.mul_f64(1.25));
    }

    #[test]
    fn a_namespace_is_forgotten_with_its_last_pod_and_an_owner_is_not() {
        let now = Instant::now();
        let some = pods(&[("a", "ns", "ReplicaSet", "web")]);
        let none = pods(&[]);
        let mut owners = Owners::default();
        owners.answer(rs("web"), object("u-web", None), now, 0.5);
        owners.answer(ns(), object("u-ns", None), now, 0.5);
        assert_eq!(owners.agenda(&none, now), Agenda::default());
        assert_eq!(owners.complete(&none).namespaces.len(), 0);
        assert_eq!(
            owners.agenda(&some, now).now,
            [ns()],
            "it may be another one by now"
        );
    }

    #[test]
    fn memory_is_bounded_and_what_is_in_use_stays() {
        let now = Instant::now();
        let some = pods(&[("a", "ns", "ReplicaSet", "web")]);
        let mut owners = Owners::default();
        owners.answer(rs("web"), object("u-web", None), now, 0.5);
        owners.agenda(&some, now);
        for i in 0..MAX_REMEMBERED + 10 {
            let name = format!("old-{i}");
            let uid = format!("u-{name}");
            owners.clock = 0;
            owners.answer(rs(&name), object(&uid, None), now, 0.5);
        }
        assert_eq!(owners.controllers.len(), MAX_REMEMBERED);
        assert!(owners.controllers.contains_key("u-web"));
    }
}
