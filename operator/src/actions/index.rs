//! From a UID to a name. Scope knows objects by their UID alone and no request selects by UID, so the
//! metadata of all objects that can be clicked is watched, and of each is kept where it is found. A kind is
//! watched only where an allowed action is for it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    core::{DynamicObject, PartialObjectMeta},
    runtime::watcher::Event,
};
use scope_crds::{Control, TargetKind};
use tokio::sync::watch;

use super::target::{Place, mirror_of};

/// The kinds whose objects can be clicked where these actions are allowed. Nodes are watched anyway.
pub(crate) fn kinds(allowed: &BTreeSet<Control>) -> BTreeSet<TargetKind> {
    let by_operator = allowed.iter().filter(|control| !control.is_node_local());
    by_operator
        .flat_map(|control| control.kinds())
        .copied()
        .filter(|kind| *kind != TargetKind::Node)
        .collect()
}

/// Where all objects of one kind are.
pub(crate) struct Index {
    places: RwLock<Places>,
    filled: watch::Sender<bool>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            places: RwLock::default(),
            filled: watch::Sender::new(false),
        }
    }
}

/// The indexes by kind.
pub(crate) type Indexes = HashMap<TargetKind, Arc<Index>>;

/// An object's UID or a static pod's hash: both are 32 hexadecimal digits, which are 16 bytes and no
/// allocation of their own.
type Id = u128;

#[derive(Default)]
struct Places {
    by_uid: HashMap<Id, Compact>,
    /// Mirrors of static pods. An annotation is anybody's to write: it counts only where no object has
    /// the UID.
    mirrors: HashMap<Id, Compact>,
    /// What a list under way has brought so far.
    coming: Option<Box<Places>>,
    /// Each namespace once.
    namespaces: HashMap<Box<str>, Arc<str>>,
}

#[derive(Clone)]
struct Compact {
    namespace: Arc<str>,
    name: Box<str>,
}

impl Index {
    /// Takes in what the watch brings.
    pub(crate) fn follow(&self, event: Event<PartialObjectMeta<DynamicObject>>) {
        let mut places = self.write();
        match event {
            Event::Init => places.coming = Some(Box::default()),
            Event::InitApply(object) => {
                let coming = places.coming.get_or_insert_default();
                coming.put(&object.metadata);
            }
            Event::InitDone => {
                if let Some(coming) = places.coming.take() {
                    *places = *coming;
                }
                drop(places);
                self.filled.send_replace(true);
            }
            Event::Apply(object) => places.put(&object.metadata),
            Event::Delete(object) => places.remove(&object.metadata),
        }
    }

    /// Where the object with this UID is; failing that, the mirror of the static pod with this hash.
    pub(super) fn find(&self, uid: &str) -> Option<Place> {
        let (id, places) = (id(uid)?, self.read());
        let found = places.by_uid.get(&id).or_else(|| places.mirrors.get(&id))?;
        Some(Place {
            namespace: found.namespace.to_string(),
            name: found.name.to_string(),
        })
    }

    /// Returns when everything has been listed once.
    pub(super) async fn filled(&self) {
        // The sender lives as long as this.
        let _ = self.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// How many objects are known.
    pub(crate) fn len(&self) -> usize {
        self.read().by_uid.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Places> {
        self.places
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Places> {
        self.places
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Places {
    fn put(&mut self, metadata: &ObjectMeta) {
        let Some(uid) = metadata.uid.as_deref().and_then(id) else {
            return;
        };
        let place = Compact {
            namespace: self.namespace(metadata.namespace.as_deref().unwrap_or_default()),
            name: metadata.name.as_deref().unwrap_or_default().into(),
        };
        for hash in mirror_of(metadata).into_iter().flatten().filter_map(id) {
            self.mirrors.insert(hash, place.clone());
        }
        self.by_uid.insert(uid, place);
    }

    fn remove(&mut self, metadata: &ObjectMeta) {
        if let Some(uid) = metadata.uid.as_deref().and_then(id) {
            self.by_uid.remove(&uid);
        }
        let name = metadata.name.as_deref().unwrap_or_default();
        for hash in mirror_of(metadata).into_iter().flatten().filter_map(id) {
            // Another mirror of that file may be there already.
            if self.mirrors.get(&hash).is_some_and(|at| *at.name == *name) {
                self.mirrors.remove(&hash);
            }
        }
    }

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.namespaces.insert(name.into(), Arc::clone(&new));
        new
    }
}

/// The number that 32 hexadecimal digits stand for, dashes aside.
fn id(text: &str) -> Option<Id> {
    let mut digits = 0;
    let mut id: Id = 0;
    for digit in text.chars().filter(|c| *c != '-') {
        id = id << 4 | Id::from(digit.to_digit(16)?);
        digits += 1;
        if digits > 32 {
            return None;
        }
    }
    (digits == 32).then_some(id)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const A: &str = "0f000000-0000-4000-8000-00000000000a";
    const B: &str = "0f000000-0000-4000-8000-00000000000b";
    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn object(name: &str, uid: &str, annotations: Value) -> PartialObjectMeta<DynamicObject> {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"namespace": "demo", "name": name, "uid": uid, "annotations": annotations},
        }))
        .unwrap()
    }

    fn found(index: &Index, uid: &str) -> Option<String> {
        let place = index.find(uid)?;
        Some(format!("{}/{}", place.namespace, place.name))
    }

    #[test]
    fn objects_are_found_while_they_are_there() {
        let index = Index::default();
        let web = |uid| object("web", uid, json!({}));
        index.follow(Event::Apply(web(A)));
        assert_eq!(found(&index, A).as_deref(), Some("demo/web"));
        // Deleted and made again, in the order of the watch.
        index.follow(Event::Delete(web(A)));
        index.follow(Event::Apply(web(B)));
        assert_eq!(found(&index, A), None);
        assert_eq!(found(&index, B).as_deref(), Some("demo/web"));
    }

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_complete() {
        let index = Index::default();
        index.follow(Event::Apply(object("old", A, json!({}))));
        index.follow(Event::Init);
        index.follow(Event::InitApply(object("new", B, json!({}))));
        assert_eq!(
            (found(&index, A).as_deref(), found(&index, B)),
            (Some("demo/old"), None)
        );
        index.follow(Event::InitDone);
        assert_eq!(
            (found(&index, A), found(&index, B).as_deref()),
            (None, Some("demo/new"))
        );
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn a_static_pod_is_found_by_its_hash_unless_a_pod_has_that_uid() {
        let index = Index::default();
        let mirror = object("etcd-n1", A, json!({"kubernetes.io/config.mirror": HASH}));
        index.follow(Event::Apply(mirror.clone()));
        assert_eq!(found(&index, HASH).as_deref(), Some("demo/etcd-n1"));
        index.follow(Event::Apply(object("real", HASH, json!({}))));
        assert_eq!(found(&index, HASH).as_deref(), Some("demo/real"));
        index.follow(Event::Delete(object("real", HASH, json!({}))));
        index.follow(Event::Delete(mirror));
        assert_eq!(found(&index, HASH), None);
    }

    #[tokio::test]
    async fn whoever_waits_for_the_first_list_is_woken_by_its_end() {
        let index = Arc::new(Index::default());
        index.follow(Event::Init);
        let waiting = Arc::clone(&index);
        let task = tokio::spawn(async move { waiting.filled().await });
        index.follow(Event::InitDone);
        task.await.unwrap();
        index.filled().await;
    }

    #[test]
    fn ids_are_32_digits() {
        assert_eq!(id(A), id(&A.replace('-', "")));
        assert_eq!(id("00000000-0000-0000-0000-00000000000f"), Some(15));
        for other in [
            "",
            "0f-1",
            "x",
            &"0".repeat(33),
            "0f000000-0000-4000-8000-00000000000g",
        ] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_can_be_clicked_is_watched() {
        use Control::*;
        for (allowed, wanted) in [
            (vec![], vec![]),
            (vec![FreezeContainer, CordonNode], vec![]),
            (vec![EvictPod, DeletePod], vec![TargetKind::Pod]),
            (
                vec![ScaleUp, TriggerCronJob],
                vec![
                    TargetKind::Deployment,
                    TargetKind::StatefulSet,
                    TargetKind::CronJob,
                ],
            ),
        ] {
            let allowed: BTreeSet<_> = allowed.into_iter().collect();
            let wanted: BTreeSet<_> = wanted.into_iter().collect();
            assert_eq!(kinds(&allowed), wanted, "{allowed:?}");
        }
    }
}
