//! Which pod has which ID, where several claim one.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::Observed;

/// The pods by the ID that each goes by.
#[derive(Debug, Default)]
pub(super) struct Identified<'a> {
    /// Pods by ID.
    pub pods: BTreeMap<&'a str, &'a Observed>,
    /// Pods that do not have the ID that they claim, since another one has it.
    pub contested: usize,
}

/// Gives each pod its ID: the UID, and for a static pod the ID under which the kubelet runs it.
///
/// A UID is given out by the API server, all else is said by the object itself. So a pod keeps its
/// UID whatever another one claims; of two that claim the same, the one that was there first has it.
/// A static pod that loses goes by its UID, which hides nothing.
pub(super) fn identify<'a>(pods: impl Iterator<Item = &'a Observed>) -> Identified<'a> {
    let mut first_come: Vec<&Observed> = pods.collect();
    // Those of unknown age last; the name decides between equals, to be the same each time.
    first_come.sort_by_key(|observed| {
        let Observed { pod, created, .. } = observed;
        (
            created.is_none(),
            *created,
            &pod.id,
            &pod.namespace,
            &pod.name,
        )
    });
    let uids: BTreeSet<&str> = first_come.iter().map(|o| o.pod.id.as_str()).collect();
    let mut identified = Identified::default();
    let mut place = |id: &'a str, observed: &'a Observed| {
        let free = !identified.pods.contains_key(id);
        if free {
            identified.pods.insert(id, observed);
        }
        free
    };
    let mut contested = 0;
    for observed in first_come {
        let uid = observed.pod.id.as_str();
        if let Some(id) = observed.static_id.as_deref() {
            if (id == uid || !uids.contains(id)) && place(id, observed) {
                continue;
            }
            contested += 1;
            place(uid, observed);
        } else if !place(uid, observed) {
            contested += 1;
        }
    }
    identified.contested = contested;
    identified
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inventory::node_pod::NodePod;

    fn observed(json: Value) -> Observed {
        let pod: NodePod = serde_json::from_value(json).expect("decodes");
        pod.observe().expect("not over")
    }

    fn ordinary(uid: &str, name: &str, created: u8) -> Value {
        json!({"metadata": {"uid": uid, "name": name, "namespace": "ns",
                "creationTimestamp": format!("2026-11-23T00:00:{created:02}Z")},
            "spec": {"nodeName": "n1"}})
    }

    fn mirror(uid: &str, name: &str, hash: &str, created: u8) -> Value {
        let mut pod = ordinary(uid, name, created);
        pod["metadata"]["annotations"] = json!({
            "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash});
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node",
            "name": "n1", "uid": "u-n", "controller": true}]);
        pod
    }

    fn names(pods: &[Value]) -> (Vec<(String, String)>, usize) {
        let pods: Vec<_> = pods.iter().cloned().map(observed).collect();
        let orders = [pods.iter().collect::<Vec<_>>(), pods.iter().rev().collect()];
        let [ahead, back] = orders.map(|order| {
            let identified = identify(order.into_iter());
            let names = identified
                .pods
                .iter()
                .map(|(id, observed)| ((*id).to_owned(), observed.pod.name.clone()))
                .collect::<Vec<_>>();
            (names, identified.contested)
        });
        assert_eq!(ahead, back, "the order says nothing");
        ahead
    }

    fn ids(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(id, name): &(&str, &str)| ((*id).to_owned(), (*name).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_static_pod_goes_by_its_hash_and_others_by_their_uid() {
        let pods = [mirror("u-1", "etcd", "hash", 1), ordinary("u-2", "web", 2)];
        assert_eq!(names(&pods), (ids(&[("hash", "etcd"), ("u-2", "web")]), 0));
        let same = [mirror("u-1", "etcd", "u-1", 1)];
        assert_eq!(names(&same), (ids(&[("u-1", "etcd")]), 0));
    }

    #[test]
    fn nobody_takes_the_uid_of_another_pod() {
        let victim = ordinary("u-victim", "victim", 9);
        let mut bare = ordinary("u-evil", "evil", 1);
        bare["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": "u-victim"});
        assert_eq!(
            names(&[victim.clone(), bare]),
            (ids(&[("u-evil", "evil"), ("u-victim", "victim")]), 0),
            "an annotation alone is no claim"
        );
        let perfect = mirror("u-evil", "evil", "u-victim", 1);
        assert_eq!(
            names(&[victim, perfect]),
            (ids(&[("u-evil", "evil"), ("u-victim", "victim")]), 1)
        );
    }

    #[test]
    fn of_two_that_claim_a_hash_the_older_one_has_it() {
        let pods = [
            mirror("u-1", "forged", "hash", 9),
            mirror("u-2", "etcd", "hash", 1),
        ];
        assert_eq!(
            names(&pods),
            (ids(&[("hash", "etcd"), ("u-1", "forged")]), 1)
        );
        let mut ageless = mirror("u-0", "ageless", "hash", 0);
        ageless["metadata"]["creationTimestamp"] = "yesterday".into();
        assert_eq!(
            names(&[ageless, mirror("u-2", "etcd", "hash", 1)]),
            (ids(&[("hash", "etcd"), ("u-0", "ageless")]), 1)
        );
    }

    #[test]
    fn of_two_with_one_uid_the_older_one_is_shown() {
        let pods = [ordinary("u-1", "new", 2), ordinary("u-1", "old", 1)];
        assert_eq!(names(&pods), (ids(&[("u-1", "old")]), 1));
    }

    #[test]
    fn only_what_the_kubelet_made_is_believed() {
        let right = mirror("u-1", "etcd", "hash", 1);
        let annotations = |pod: &mut Value, name: &str, value: Value| {
            pod["metadata"]["annotations"][format!("kubernetes.io/config.{name}")] = value;
        };
        let owner = |pod: &mut Value, name: &str, value: Value| {
            pod["metadata"]["ownerReferences"][0][name] = value;
        };
        type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
        let changes: [(&str, bool, Change<'_>); 9] = [
            (
                "no mirror",
                false,
                Box::new(|p| annotations(p, "mirror", Value::Null)),
            ),
            (
                "another mirror",
                true,
                Box::new(|p| annotations(p, "mirror", "other".into())),
            ),
            (
                "no hash",
                true,
                Box::new(|p| annotations(p, "hash", Value::Null)),
            ),
            (
                "another node",
                true,
                Box::new(|p| owner(p, "name", "n2".into())),
            ),
            (
                "another kind",
                true,
                Box::new(|p| owner(p, "kind", "ConfigMap".into())),
            ),
            (
                "another group",
                true,
                Box::new(|p| owner(p, "apiVersion", "x.io/v1".into())),
            ),
            (
                "no controller",
                true,
                Box::new(|p| owner(p, "controller", false.into())),
            ),
            (
                "no owner",
                true,
                Box::new(|p| p["metadata"]["ownerReferences"] = json!([])),
            ),
            (
                "no ID",
                true,
                Box::new(|p| {
                    annotations(p, "hash", "a;<pod>".into());
                    annotations(p, "mirror", "a;<pod>".into());
                }),
            ),
        ];
        assert_eq!(observed(right.clone()).static_id.as_deref(), Some("hash"));
        for (what, mirror, change) in changes {
            let mut pod = right.clone();
            change(&mut pod);
            let observed = observed(pod);
            assert_eq!(observed.static_id, None, "{what}");
            // The kubelet runs nothing that has this annotation, whoever wrote it.
            assert_eq!(observed.pod.mirror, mirror, "{what}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_claim_hides_a_pod(
            pods in proptest::collection::btree_map(
                "[a-d]{1,2}",
                (proptest::option::of("[a-f]{1,2}"), 0_u8..4),
                0..12,
            ),
        ) {
            let all: Vec<_> = pods
                .iter()
                .map(|(uid, (claim, created))| match claim {
                    Some(hash) => observed(mirror(uid, uid, hash, *created)),
                    None => observed(ordinary(uid, uid, *created)),
                })
                .collect();
            let identified = identify(all.iter());
            proptest::prop_assert_eq!(identified.pods.len(), all.len());
            for (id, found) in &identified.pods {
                let own = found.pod.id == **id || found.static_id.as_deref() == Some(*id);
                proptest::prop_assert!(own, "{id}");
            }
            for pod in all.iter().filter(|pod| pod.static_id.is_none()) {
                proptest::prop_assert_eq!(identified.pods[pod.pod.id.as_str()], pod);
            }
        }
    }
}
