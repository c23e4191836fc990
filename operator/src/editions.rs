//! Tells whether what was worked out from a cache still holds, without looking at its objects again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use kube::{
    Resource, ResourceExt,
    runtime::{reflector::Store, watcher::Event},
};

/// How often what matters about a kind's objects has changed. Who reads it before the objects keeps what
/// comes of them at most too short: the objects may be newer than the edition, and then the next edition
/// is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edition(Arc<AtomicU64>);

impl Edition {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Follows the events of a cache of objects without a namespace; `gist` differs where something
    /// differs that matters. An object that a list does not bring any more is a change as well.
    pub(crate) fn follow<K>(
        &self,
        gist: fn(&K) -> u64,
    ) -> impl FnMut(&Event<K>, &Store<K>) + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let count = Arc::clone(&self.0);
        let mut known: HashMap<String, u64> = HashMap::new();
        move |event, store| {
            let differs = match event {
                Event::Init | Event::InitApply(_) => false,
                Event::Apply(object) => {
                    let gist = gist(object);
                    known.insert(object.name_any(), gist) != Some(gist)
                }
                Event::Delete(object) => known.remove(&object.name_any()).is_some(),
                Event::InitDone => {
                    let all = store.state();
                    let all = all.iter().map(|object| (object.name_any(), gist(object)));
                    let before = std::mem::replace(&mut known, all.collect());
                    before != known
                }
            };
            if differs {
                count.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;
    use crate::seen::SeenNode;

    fn node(name: &str, pool: &str, ready: &str) -> SeenNode {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pool": pool}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_matters_makes_a_new_edition_and_nothing_else_does() {
        let (store, mut writer) = reflector::store::<SeenNode>();
        let edition = Edition::default();
        let mut follow = edition.follow(SeenNode::placement_gist);
        let mut after = |event: Event<SeenNode>| {
            writer.apply_watcher_event(&event);
            follow(&event, &store);
            edition.now()
        };
        assert_eq!(after(Event::Init), 0);
        assert_eq!(after(Event::InitApply(node("a", "x", "True"))), 0);
        assert_eq!(after(Event::InitApply(node("b", "x", "True"))), 0);
        assert_eq!(after(Event::InitDone), 1);
        assert_eq!(after(Event::Apply(node("a", "x", "False"))), 1, "not Ready");
        assert_eq!(after(Event::Apply(node("a", "y", "False"))), 2);
        assert_eq!(after(Event::Delete(node("b", "x", "True"))), 3);
        for (listed, edition) in [
            (vec![node("a", "y", "True")], 3),
            // It went while nothing was heard.
            (vec![], 4),
            (vec![node("a", "y", "True")], 5),
        ] {
            after(Event::Init);
            for node in listed {
                after(Event::InitApply(node));
            }
            assert_eq!(after(Event::InitDone), edition);
        }
    }
}
