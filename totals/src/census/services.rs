//! Which pods belong to which Services: by EndpointSlices, as whatever sends traffic to a Service sees it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kube::core::PartialObjectMeta;
use scope_process::words::Words;
use scope_totals_wire::{self as wire, MAX_MEMBERS, MAX_SERVICES, Members, Uid};

use super::{Listed, Name, Pod, SeenSlice};

/// What an EndpointSlice says of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The Service that it names.
    pub service: Name,
    /// The UID of the Service that owns it, if one does. A slice may outlive its Service for a while, and another
    /// one may have taken the name.
    pub owner: Option<Uid>,
    /// The pods that its endpoints are, ready or not. Nothing if that cannot be told of one of them.
    pub pods: Option<Box<[Uid]>>,
}

/// The Services and what belongs to them.
#[derive(Debug, Default)]
pub struct Services {
    /// The slices that name a Service, and pods, by UID.
    pub slices: Listed<Uid, Slice>,
    /// The UID of each Service.
    pub names: Listed<Name, Uid>,
}

/// The Services of every node's pods.
#[derive(Debug, Default)]
pub struct Memberships {
    nodes: HashMap<Arc<str>, NodeServices>,
    services: usize,
    left_out: usize,
}

/// The Services of a node's pods. There are many nodes, so their pods are in one row.
#[derive(Debug, Default)]
struct NodeServices {
    version: u64,
    /// In the order of UIDs.
    services: Box<[Row]>,
    pods: Box<[Uid]>,
}

#[derive(Debug)]
struct Row {
    uid: Uid,
    version: u64,
    begin: u32,
    end: u32,
}

impl Services {
    /// Whether both were listed once. Totals of controllers do not wait for it.
    pub fn is_filled(&self) -> bool {
        self.slices.is_filled() && self.names.is_filled()
    }

    /// Changes whenever something else does.
    pub fn edition(&self) -> u64 {
        self.slices.edition() + self.names.edition()
    }

    /// The Services of each node, of the `pods` that count. Nothing before all was listed. A Service of whose pods
    /// not all can be told has no total, nor has one for which an agent's list has no room; so it is in no list.
    pub(super) fn memberships(
        &self,
        pods: &Listed<Uid, Pod>,
        counts: impl Fn(&Pod) -> bool,
    ) -> Option<Memberships> {
        if !self.is_filled() {
            return None;
        }
        let mut left_out = HashSet::new();
        let mut by_node: HashMap<&Arc<str>, Vec<(Uid, Uid)>> = HashMap::new();
        for (_, slice) in self.slices.iter() {
            let Some(&service) = self.names.get(&slice.service) else {
                continue;
            };
            if slice.owner.is_some_and(|owner| owner != service) {
                continue;
            }
            let Some(members) = &slice.pods else {
                left_out.insert(service);
                continue;
            };
            for uid in members {
                if let Some(pod) = pods.get(uid).filter(|pod| counts(pod)) {
                    by_node.entry(&pod.node).or_default().push((service, *uid));
                }
            }
        }
        for members in by_node.values_mut() {
            // A pod with two addresses is in two slices.
            members.sort_unstable();
            members.dedup();
            left_out.extend(without_room(members));
        }
        let mut services = HashSet::new();
        let nodes = by_node.into_iter().map(|(node, mut members)| {
            members.retain(|(service, _)| !left_out.contains(service));
            services.extend(members.iter().map(|(service, _)| *service));
            (Arc::clone(node), NodeServices::new(&members))
        });
        Some(Memberships {
            nodes: nodes.collect(),
            services: services.len(),
            left_out: left_out.len(),
        })
    }
}

/// The Services of those members that are beyond what a list may have.
fn without_room(members: &[(Uid, Uid)]) -> impl Iterator<Item = Uid> {
    let (mut services, mut pods) = (0, 0);
    let mut of_each = members.chunk_by(|(one, _), (other, _)| one == other);
    std::iter::from_fn(move || {
        of_each.find_map(|of_one| {
            let fits = services < MAX_SERVICES && pods + of_one.len() <= MAX_MEMBERS;
            if fits {
                services += 1;
                pods += of_one.len();
            }
            (!fits).then_some(of_one[0].0)
        })
    })
}

impl Memberships {
    /// How many Services have pods.
    pub fn services(&self) -> usize {
        self.services
    }

    /// How many have pods and are in no list.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The pods of each Service, by node: how many.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Arc<str>, Uid, u32)> {
        self.nodes.iter().flat_map(|(node, of)| {
            let count = move |row: &Row| (node, row.uid, row.end - row.begin);
            of.services.iter().map(count)
        })
    }

    /// The version of the set of a Service's pods on a node, if it has any there.
    pub fn version(&self, node: &str, service: Uid) -> Option<u64> {
        let services = &self.nodes.get(node)?.services;
        let place = services.binary_search_by_key(&service, |row| row.uid);
        Some(services[place.ok()?].version)
    }

    /// What the agent of a node hears that has a list of the version `held`.
    pub fn told(&self, node: &str, held: u64, valid_ms: u64) -> wire::Services {
        let none = NodeServices::new(&[]);
        let of = self.nodes.get(node).unwrap_or(&none);
        wire::Services {
            version: of.version,
            valid_ms,
            services: (held != of.version).then(|| of.members().collect()),
        }
    }
}

impl NodeServices {
    /// Of Services and their pods, in order and each once.
    fn new(members: &[(Uid, Uid)]) -> Self {
        let mut version = START;
        let mut end = 0;
        let of_each = members.chunk_by(|(one, _), (other, _)| one == other);
        let services = of_each.map(|of_one| {
            let (uid, begin) = (of_one[0].0, end);
            // There are at most MAX_MEMBERS.
            end += of_one.len() as u32;
            let set = of_one.iter().fold(START, |set, (_, pod)| fold(set, pod));
            version = mix(fold(version, &uid) ^ set);
            Row {
                uid,
                version: set.max(1),
                begin,
                end,
            }
        });
        let services = services.collect();
        Self {
            version: version.max(1),
            services,
            pods: members.iter().map(|(_, pod)| *pod).collect(),
        }
    }

    fn members(&self) -> impl Iterator<Item = Members> {
        self.services.iter().map(|row| Members {
            uid: row.uid,
            version: row.version,
            pods: self.pods[row.begin as usize..row.end as usize].to_vec(),
        })
    }
}

/// Of an empty list.
const START: u64 = 1;

/// Versions are made of the content, so that a list has one whichever replica made it. UIDs are numbers that the API
/// server draws by lot, so nobody can choose two lists with one version, and a cheap mix tells them apart as well as a
/// digest would; it is made anew for all pods whenever one comes or goes.
fn fold(version: u64, uid: &Uid) -> u64 {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *uid.as_bytes();
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    mix(mix(version ^ high) ^ u64::from_be_bytes(rest))
}

/// That of SplitMix64, which no two numbers share.
fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Reads the UIDs of Services; each namespace is kept once.
pub(super) fn service<K>() -> impl FnMut(&PartialObjectMeta<K>) -> Option<(Name, Option<Uid>)> {
    let mut namespaces = Words::default();
    move |object: &PartialObjectMeta<K>| {
        let metadata = &object.metadata;
        let name = Name {
            namespace: namespaces.shared(metadata.namespace.as_deref()?),
            name: metadata.name.as_deref()?.into(),
        };
        Some((
            name,
            metadata.uid.as_deref().and_then(|uid| uid.parse().ok()),
        ))
    }
}

/// Reads slices; those that name no Service or no pods are not kept.
pub(super) fn slice() -> impl FnMut(&SeenSlice) -> Option<(Uid, Option<Slice>)> {
    let mut namespaces = Words::default();
    move |seen: &SeenSlice| {
        let slice = seen.names_pods().map(|named| Slice {
            service: Name {
                namespace: namespaces.shared(named.namespace),
                name: named.service.into(),
            },
            owner: named.owner,
            pods: named.pods.map(Into::into),
        });
        Some((seen.uid()?, slice))
    }
}

#[cfg(test)]
mod tests;
