//! Which pods there are, on which nodes, and whose: what the API server says. A total is of these pods and
//! of no others, so an agent can neither leave its node out of a total nor put it into one.

mod behind;
mod controllers;
mod images;
mod listed;
mod memberships;
mod namespaces;
mod places;
mod seen;
mod seen_slice;
mod services;
pub mod watch;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use scope_totals_wire::{Kind, MAX_PODLESS, Object, Uid};

pub use behind::Behind;
pub use controllers::{Controllers, Name, WithoutPods};
pub use images::{Image, Images};
pub use listed::Listed;
pub use memberships::{Memberships, Versions};
pub use namespaces::{NamespaceMark, Namespaces};
use places::Placed;
pub use places::{Nodes, Objects, Place};
pub use seen::{SeenOwner, SeenPod};
pub use seen_slice::SeenSlice;
use services::Found;
pub use services::{Services, Slice};

/// After the time at which a deleted pod was to be gone, it counts for so long: the kubelet may be late. One
/// on a dead node stays for ever, and its controller has replaced it long ago.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// The kinds that totals are of.
const TOTALLED: [&str; 4] = ["Pod", "ReplicaSet", "Job", "Node"];
/// The kinds by which pods belong to Services.
const OF_MEMBERS: [&str; 4] = ["Pod", "Node", "EndpointSlice", "Service"];

/// What made a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A ReplicaSet, for a Deployment as a rule.
    ReplicaSet(Uid),
    /// A controller that totals are of.
    Controller(Object),
    /// Anything else, or nobody. It can still belong to a Service.
    Other,
}

/// A pod on a node that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Where it is, as no Service has a pod of another one.
    pub namespace: NamespaceMark,
    /// The name of its node.
    pub node: Arc<str>,
    /// What made it.
    pub maker: Maker,
    /// When it is to be gone, if it was deleted. Elsewhere, since few are and the rest need no room for it.
    pub gone_by: Option<Box<Timestamp>>,
    /// The images of those of its containers that run.
    pub images: Images,
}

/// What the API server says. Each kind is listed and then kept up to date.
#[derive(Debug, Default)]
pub struct Census {
    /// By UID. Only those that count.
    pub pods: Listed<Uid, Pod>,
    /// The Deployment of each ReplicaSet that has one.
    pub replica_sets: Listed<Uid, Object>,
    /// The CronJob of each Job that has one.
    pub jobs: Listed<Uid, Object>,
    /// The nodes by name.
    pub nodes: Listed<Arc<str>, ()>,
    /// The controllers by name.
    pub controllers: Controllers,
    /// The Services, and what belongs to them.
    pub services: Services,
    /// What is not up to date.
    pub behind: Behind,
}

/// Where the pods of every object are.
#[derive(Debug, Default)]
pub struct Holdings {
    /// All nodes.
    pub nodes: Arc<Nodes>,
    /// The objects with pods, and where these are.
    pub objects: Objects,
    /// The controllers that have no pod anywhere, once all are known.
    pub without_pods: Option<WithoutPods>,
    /// Which pods belong to which Services, once that is known.
    pub memberships: Option<Memberships>,
    /// How many names of images have no total, since one image goes by several.
    pub ambiguous_images: usize,
    /// When the next pod stops counting by time alone.
    pub until: Option<Timestamp>,
}

/// What [holdings](Holdings) are made of, at one moment.
#[derive(Debug)]
pub struct Survey {
    nodes: Nodes,
    placed: Placed,
    without_pods: Option<WithoutPods>,
    members: Option<Found>,
    ambiguous_images: usize,
    until: Option<Timestamp>,
}

impl Census {
    /// Whether everything that totals are of was listed once.
    pub fn is_filled(&self) -> bool {
        self.pods.is_filled()
            && self.replica_sets.is_filled()
            && self.jobs.is_filled()
            && self.nodes.is_filled()
    }

    /// Whether it is also what the API server says now, as far as that is heard of: none of these watches fails,
    /// or is listed anew after it did.
    pub fn is_current(&self) -> bool {
        self.is_filled() && self.behind.among(&TOTALLED) == 0
    }

    /// Changes whenever something else does.
    pub fn edition(&self) -> u64 {
        self.pods.edition()
            + self.replica_sets.edition()
            + self.jobs.edition()
            + self.nodes.edition()
            + self.controllers.edition()
            + self.services.edition()
            + self.behind.edition()
    }

    /// Whether slices and pods are of one time. With one of them behind, a pod that has come in one is missing in
    /// the other, and a Service would be taken for smaller than it is; with all of them, as while the API server
    /// is away, they still fit.
    fn has_members(&self) -> bool {
        [0, OF_MEMBERS.len()].contains(&self.behind.among(&OF_MEMBERS))
    }

    /// Where the pods of every object are. Pods on nodes that there are no more do not count: the cluster is
    /// about to remove them.
    pub fn holdings(&self, wall: Timestamp) -> Holdings {
        self.survey(wall).holdings()
    }

    /// That part of the [holdings](Census::holdings) for which the census has to stand still. It is locked meanwhile,
    /// and watches and agents wait for it.
    pub fn survey(&self, wall: Timestamp) -> Survey {
        let nodes: Nodes = self
            .nodes
            .iter()
            .map(|(node, ())| Arc::clone(node))
            .collect();
        // The number of the node of a pod that counts now.
        let on = |pod: &Pod| {
            let number = nodes.number(&pod.node)?;
            pod.counts_until()
                .is_none_or(|until| wall <= until)
                .then_some(number)
        };
        let mut placed = Placed::default();
        placed.make_room(self.pods.len());
        let mut named = images::Named::default();
        let mut until: Option<Timestamp> = None;
        for (_, pod) in self.pods.iter() {
            if let Some(node) = on(pod) {
                named.see(&pod.images);
                let kind = Kind::Image;
                let images = pod.images.names().map(|uid| Object { kind, uid });
                let all = self.objects_of(pod.maker).chain(images);
                all.for_each(|object| placed.put(object, node));
                until = until.into_iter().chain(pod.counts_until()).min();
            }
        }
        placed.retain(|object| object.kind != Kind::Image || !named.is_ambiguous(&object.uid));
        Survey {
            without_pods: self
                .controllers
                .without_pods(|object| placed.has(object), MAX_PODLESS),
            members: match self.has_members() {
                true => self.services.members(&self.pods, on),
                false => None,
            },
            placed,
            ambiguous_images: named.ambiguous(),
            until,
            nodes,
        }
    }

    /// The controllers whose totals such a pod is in.
    fn objects_of(&self, maker: Maker) -> impl Iterator<Item = Object> {
        let (itself, above) = match maker {
            Maker::ReplicaSet(uid) => (None, self.replica_sets.get(&uid)),
            Maker::Controller(object) if object.kind == Kind::Job => {
                (Some(object), self.jobs.get(&object.uid))
            }
            Maker::Controller(object) => (Some(object), None),
            Maker::Other => (None, None),
        };
        itself.into_iter().chain(above.copied())
    }
}

impl Survey {
    /// What it adds up to.
    pub fn holdings(self) -> Holdings {
        let nodes = Arc::new(self.nodes);
        let of = |found| Memberships::new(found, Arc::clone(&nodes));
        let memberships = self.members.map(of);
        let mut placed = self.placed;
        placed.make_room(memberships.as_ref().map_or(0, Memberships::pods));
        placed.extend(memberships.iter().flat_map(Memberships::places));
        Holdings {
            objects: placed.into(),
            without_pods: self.without_pods,
            memberships,
            ambiguous_images: self.ambiguous_images,
            until: self.until,
            nodes,
        }
    }
}

impl Pod {
    /// Until when it counts, if that is known.
    fn counts_until(&self) -> Option<Timestamp> {
        let gone_by = self.gone_by.as_deref()?;
        // No time is later than that.
        Some(gone_by.checked_add(LATE).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u8) -> Uid {
        Uid::from_bytes([number; 16])
    }

    fn object(kind: Kind, number: u8) -> Object {
        Object {
            kind,
            uid: uid(number),
        }
    }

    fn pod(node: &str, maker: Maker) -> Pod {
        Pod {
            node: node.into(),
            maker,
            namespace: NamespaceMark::default(),
            gone_by: None,
            images: Images::default(),
        }
    }

    fn wall() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn places(holdings: &Holdings, object: Object) -> Vec<(&str, u32)> {
        let names: Vec<&str> = holdings.nodes.iter().map(|name| &**name).collect();
        let places = holdings.objects.get(&object).into_iter().flatten();
        places
            .map(|place| (names[place.node as usize], place.pods))
            .collect()
    }

    #[test]
    fn pods_count_for_their_controllers_at_any_distance() {
        let mut census = Census::default();
        let (deployment, cron_job) = (object(Kind::Deployment, 1), object(Kind::CronJob, 2));
        let (job, alone) = (object(Kind::Job, 3), object(Kind::Job, 4));
        let set = object(Kind::StatefulSet, 5);
        for node in ["a", "b"] {
            census.nodes.put(node.into(), ());
        }
        census.replica_sets.put(uid(20), deployment);
        census.replica_sets.put(uid(21), deployment);
        census.jobs.put(job.uid, cron_job);
        for (number, node, maker) in [
            (100, "b", Maker::ReplicaSet(uid(20))),
            (101, "b", Maker::ReplicaSet(uid(21))),
            (102, "a", Maker::ReplicaSet(uid(21))),
            (103, "a", Maker::ReplicaSet(uid(22))),
            (104, "a", Maker::Controller(job)),
            (105, "b", Maker::Controller(alone)),
            (106, "gone", Maker::Controller(set)),
            (107, "b", Maker::Controller(set)),
        ] {
            census.pods.put(uid(number), pod(node, maker));
        }
        let holdings = census.holdings(wall());
        assert_eq!(places(&holdings, deployment), [("a", 1), ("b", 2)]);
        assert_eq!(places(&holdings, cron_job), [("a", 1)]);
        assert_eq!(places(&holdings, job), [("a", 1)]);
        assert_eq!(places(&holdings, alone), [("b", 1)]);
        assert_eq!(places(&holdings, set), [("b", 1)]);
        assert_eq!(holdings.objects.len(), 5);
        assert_eq!(holdings.nodes.len(), 2);
    }

    #[test]
    fn a_pod_that_should_have_been_gone_does_not_count() {
        let mut census = Census::default();
        let set = object(Kind::DaemonSet, 1);
        census.nodes.put("a".into(), ());
        let gone_by = Some(wall().into());
        let pod = Pod {
            gone_by,
            ..pod("a", Maker::Controller(set))
        };
        census.pods.put(uid(9), pod);
        let after = |seconds| wall() + SignedDuration::from_secs(seconds);
        assert_eq!(places(&census.holdings(after(-60)), set), [("a", 1)]);
        assert_eq!(places(&census.holdings(after(30)), set), [("a", 1)]);
        assert_eq!(places(&census.holdings(after(31)), set), []);
        assert_eq!(census.holdings(after(30)).until, Some(after(30)));
        assert_eq!(census.holdings(after(31)).until, None);
        // The next of several, whichever comes first.
        for (number, seconds) in [(8, 20), (10, 5), (11, 60)] {
            let mut other = census.pods.get(&uid(9)).unwrap().clone();
            other.gone_by = Some(after(seconds).into());
            census.pods.put(uid(number), other);
        }
        for (now, count, until) in [(0, 4, 30), (31, 3, 35), (36, 2, 50), (51, 1, 90)] {
            let holdings = census.holdings(after(now));
            assert_eq!(places(&holdings, set), [("a", count)]);
            assert_eq!(holdings.until, Some(after(until)), "at {now}");
        }
    }

    #[test]
    fn it_is_filled_when_everything_was_listed() {
        let mut census = Census::default();
        assert!(!census.is_filled());
        let before = census.edition();
        census.pods.complete();
        census.replica_sets.complete();
        census.jobs.complete();
        assert!(!census.is_filled());
        census.nodes.complete();
        assert!(census.is_filled());
        assert_ne!(census.edition(), before);
    }
}
