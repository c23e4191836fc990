//! The plugins' pods, by the DaemonSet that made them.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
};

use kube::{
    ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use super::SeenPod;

/// Finds the pods of one DaemonSet without a walk through those of all: with many plugins on many nodes
/// each look would else walk through a hundred thousand. It shares the objects of the cache that it
/// follows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods(Arc<RwLock<Shelves>>);

/// Pods by the UID of their controller, then by name.
type Shelves = HashMap<Arc<str>, HashSet<ByName>>;

/// A pod that is known by its name, of which there is no other copy then.
#[derive(Clone, Debug)]
struct ByName(Arc<SeenPod>);

impl ByName {
    fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }
}

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.name()
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}

impl Pods {
    /// Those that the DaemonSet of this UID made.
    pub(crate) fn of(&self, daemon_set: &str) -> Vec<Arc<SeenPod>> {
        let shelves = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pods = shelves.get(daemon_set).into_iter().flatten();
        pods.map(|pod| Arc::clone(&pod.0)).collect()
    }

    /// Takes in an event that `store`, which has all pods of one namespace, has taken in already.
    pub(crate) fn follow(&self, event: &Event<SeenPod>, store: &Store<SeenPod>) {
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::Apply(pod) | Event::Delete(pod) => {
                let now = store.get(&ObjectRef::from_obj(pod));
                let name = pod.name_any();
                let mut shelves = self.0.write().unwrap_or_else(PoisonError::into_inner);
                // A DaemonSet can give up a pod and another take it over.
                shelves.retain(|_, pods| {
                    pods.remove(name.as_str());
                    !pods.is_empty()
                });
                if let Some(pod) = now {
                    put(&mut shelves, pod);
                }
            }
            Event::InitDone => {
                let mut all = Shelves::new();
                for pod in store.state() {
                    put(&mut all, pod);
                }
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
            }
        }
    }
}

fn put(shelves: &mut Shelves, pod: Arc<SeenPod>) {
    let Some(owner) = pod.controller.clone() else {
        return;
    };
    let shelf = shelves.entry(owner).or_default();
    // A set keeps what is in it already, which here is an older one of this name.
    shelf.replace(ByName(pod));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use kube::runtime::reflector::{self, store::Writer};
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: &str) -> SeenPod {
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "scope-plugins", "uid": format!("uid-{name}"),
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "other"},
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": owner, "controller": true},
            ]}}))
        .unwrap()
    }

    struct Cache {
        store: Store<SeenPod>,
        writer: Writer<SeenPod>,
        pods: Pods,
    }

    impl Cache {
        fn new() -> Self {
            let (store, writer) = reflector::store();
            let pods = Pods::default();
            Self {
                store,
                writer,
                pods,
            }
        }

        fn hears(&mut self, event: Event<SeenPod>) {
            self.writer.apply_watcher_event(&event);
            self.pods.follow(&event, &self.store);
        }

        fn of(&self, owner: &str) -> Vec<String> {
            let mut names: Vec<String> = self.pods.of(owner).iter().map(|p| p.name_any()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn each_daemon_set_has_its_own_pods() {
        let mut cache = Cache::new();
        cache.hears(Event::Init);
        for pod in [pod("p1", "a"), pod("p2", "a"), pod("p3", "b")] {
            cache.hears(Event::InitApply(pod));
        }
        assert!(cache.of("a").is_empty(), "the list is not complete");
        cache.hears(Event::InitDone);
        assert_eq!((cache.of("a").len(), cache.of("b").len()), (2, 1));
        assert!(cache.of("other").is_empty(), "who owns but did not make it");
        cache.hears(Event::Apply(pod("p4", "b")));
        cache.hears(Event::Apply(pod("p2", "b")));
        cache.hears(Event::Delete(pod("p3", "b")));
        assert_eq!(cache.of("a"), ["p1"]);
        assert_eq!(cache.of("b"), ["p2", "p4"]);
        // What a later list does not bring is gone.
        cache.hears(Event::Init);
        cache.hears(Event::InitApply(pod("p4", "b")));
        cache.hears(Event::InitDone);
        assert!(cache.of("a").is_empty());
        assert_eq!(cache.of("b"), ["p4"]);
        cache.hears(Event::Delete(pod("p4", "b")));
        assert!(cache.pods.0.read().unwrap().is_empty(), "no empty shelves");
    }

    #[test]
    fn the_objects_are_those_of_the_cache() {
        let mut cache = Cache::new();
        cache.hears(Event::Apply(pod("p1", "a")));
        let kept = cache.store.state();
        assert!(Arc::ptr_eq(&kept[0], &cache.pods.of("a")[0]));
    }

    /// Printed and not judged: machines differ.
    #[test]
    #[ignore = "a measurement: cargo test --release -p scope-operator pods_at_size -- --ignored --nocapture"]
    fn pods_at_size() {
        let mut cache = Cache::new();
        cache.hears(Event::Init);
        for plugin in 0..20 {
            for node in 0..5_000 {
                let pod = pod(&format!("p-{plugin}-{node}"), &format!("uid-{plugin}"));
                cache.hears(Event::InitApply(pod));
            }
        }
        let began = Instant::now();
        cache.hears(Event::InitDone);
        println!("a list of 100,000 pods taken in: {:?}", began.elapsed());
        let began = Instant::now();
        let of_all = cache
            .store
            .state_filter(|pod| pod.controller() == Some("uid-7"));
        println!("5,000 of 100,000 by a walk: {:?}", began.elapsed());
        let began = Instant::now();
        let of_one = cache.pods.of("uid-7");
        println!("5,000 of 100,000 by index: {:?}", began.elapsed());
        assert_eq!(of_all.len(), of_one.len());
        let news: Vec<SeenPod> = (0..1_000)
            .map(|node| pod(&format!("p-7-{node}"), "uid-7"))
            .collect();
        let began = Instant::now();
        for pod in news {
            cache.hears(Event::Apply(pod));
        }
        println!("1,000 events: {:?}", began.elapsed());
    }
}
