//! The pods of this node, as the events of a watch tell them.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

use super::node_pod::NodePod;
use super::observed::{Key, Observed};

/// Kubelets run some hundreds. Whoever may create pods can bind any number to a node, and they stay
/// until its kubelet has refused them.
const MAX_PODS: usize = 4096;

/// Pods by UID, and name in case that two claim one UID. A list replaces them all at once when it is complete, so that a relist never
/// shows half of the node.
#[derive(Debug, Default)]
pub(super) struct Pods {
    current: BTreeMap<Key, Observed>,
    staged: Option<BTreeMap<Key, Observed>>,
    listed: bool,
    refused: u64,
}

impl Pods {
    /// Takes an event in. Whether that changed what is known.
    pub(super) fn apply(&mut self, event: Event<NodePod>) -> bool {
        match event {
            Event::Init => {
                self.staged = Some(BTreeMap::new());
                false
            }
            Event::InitApply(pod) => {
                let staged = self.staged.get_or_insert_default();
                insert(staged, pod, &mut self.refused);
                false
            }
            Event::InitDone => {
                let complete = self.staged.take().unwrap_or_default();
                let changed = !self.listed || complete != self.current;
                self.current = complete;
                self.listed = true;
                changed
            }
            Event::Apply(pod) => insert(&mut self.current, pod, &mut self.refused),
            Event::Delete(pod) => pod
                .key()
                .is_some_and(|key| self.current.remove(&key).is_some()),
        }
    }

    /// Whether there was a complete list.
    pub(super) fn listed(&self) -> bool {
        self.listed
    }

    /// How often a pod was left out since there were too many. It comes in with its next change, or
    /// the next list, if there is room by then.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// The pods that are not over.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Observed> {
        self.current.values()
    }
}

fn insert(into: &mut BTreeMap<Key, Observed>, pod: NodePod, refused: &mut u64) -> bool {
    let Some(key) = pod.key() else {
        return false;
    };
    match pod.observe() {
        Some(observed) => {
            if into.get(&key) == Some(&observed) {
                return false;
            }
            if into.len() >= MAX_PODS && !into.contains_key(&key) {
                *refused += 1;
                return false;
            }
            into.insert(key, observed);
            true
        }
        None => into.remove(&key).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, name: &str, phase: &str) -> NodePod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"uid": uid, "name": name, "namespace": "ns"},
            "status": {"phase": phase}
        }))
        .expect("decodes")
    }

    fn names(pods: &Pods) -> Vec<&str> {
        pods.iter().map(|o| o.pod.name.as_str()).collect()
    }

    #[test]
    fn a_list_counts_when_it_is_complete() {
        let mut pods = Pods::default();
        assert!(!pods.apply(Event::Init));
        assert!(!pods.apply(Event::InitApply(pod("1", "a", "Running"))));
        assert!(!pods.listed());
        assert!(names(&pods).is_empty());
        assert!(pods.apply(Event::InitDone));
        assert_eq!(names(&pods), ["a"]);

        // A relist that never ends, then one that does.
        pods.apply(Event::Init);
        assert_eq!(names(&pods), ["a"]);
        pods.apply(Event::Init);
        pods.apply(Event::InitApply(pod("2", "b", "Running")));
        assert_eq!(names(&pods), ["a"]);
        assert!(pods.apply(Event::InitDone));
        assert_eq!(names(&pods), ["b"]);

        pods.apply(Event::Init);
        pods.apply(Event::InitApply(pod("2", "b", "Running")));
        assert!(!pods.apply(Event::InitDone), "the same again is no change");
    }

    #[test]
    fn an_empty_first_list_is_a_change() {
        let mut pods = Pods::default();
        pods.apply(Event::Init);
        assert!(pods.apply(Event::InitDone));
        assert!(pods.listed());
    }

    #[test]
    fn pods_leave_when_they_are_over_or_gone() {
        let mut pods = Pods::default();
        assert!(pods.apply(Event::Apply(pod("1", "a", "Pending"))));
        assert!(
            !pods.apply(Event::Apply(pod("1", "a", "Running"))),
            "the phase alone is no change"
        );
        assert!(pods.apply(Event::Apply(pod("1", "a", "Succeeded"))));
        assert!(!pods.apply(Event::Delete(pod("1", "a", "Succeeded"))));

        // Of the same name, in the order in which a StatefulSet's pods can arrive.
        pods.apply(Event::Apply(pod("2", "b", "Running")));
        pods.apply(Event::Apply(pod("3", "b", "Pending")));
        assert!(pods.apply(Event::Delete(pod("2", "b", "Running"))));
        assert_eq!(names(&pods), ["b"]);
    }

    #[test]
    fn there_is_a_bound_and_those_that_were_there_first_stay() {
        let mut pods = Pods::default();
        pods.apply(Event::Init);
        for n in 0..MAX_PODS + 3 {
            pods.apply(Event::InitApply(pod(&n.to_string(), "a", "Running")));
        }
        assert!(pods.apply(Event::InitDone));
        assert_eq!((pods.iter().count(), pods.refused()), (MAX_PODS, 3));
        assert!(!pods.apply(Event::Apply(pod("late", "late", "Pending"))));
        assert_eq!(pods.refused(), 4);
        assert!(pods.apply(Event::Apply(pod("7", "a", "Failed"))));
        assert!(pods.apply(Event::Apply(pod("late", "late", "Running"))));
        assert_eq!((pods.iter().count(), pods.refused()), (MAX_PODS, 4));
    }

    #[test]
    fn pods_that_claim_one_uid_are_two() {
        let mut pods = Pods::default();
        pods.apply(Event::Apply(pod("1", "a", "Running")));
        assert!(pods.apply(Event::Apply(pod("1", "b", "Running"))));
        assert!(pods.apply(Event::Delete(pod("1", "b", "Running"))));
        assert_eq!(names(&pods), ["a"]);
    }
}
