//! Which pods belong to which Services: by EndpointSlices, as whatever sends traffic to a Service sees it.

use std::{collections::HashSet, sync::Arc};

use kube::core::PartialObjectMeta;
use scope_process::words::Words;
use scope_totals_wire::{self as wire, Kind, MAX_MEMBERS, MAX_SERVICES, Members, Object, Uid};

use super::{Listed, Name, NamespaceMark, Namespaces, Nodes, Place, Pod, SeenSlice};

/// What an EndpointSlice says of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The Service that it names.
    pub service: Name,
    /// The namespace of both.
    pub namespace: NamespaceMark,
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

/// The Services of every node's pods. There are many nodes and many pods, so all are in one row.
#[derive(Debug, Default)]
pub struct Memberships {
    nodes: Arc<Nodes>,
    /// By the number of the node.
    lists: Box<[List]>,
    rows: Box<[Membership]>,
    pods: Box<[Uid]>,
    services: usize,
    left_out: usize,
}

/// The Services of a node's pods.
#[derive(Clone, Copy, Debug)]
struct List {
    version: u64,
    /// Which of the rows it has. They are in the order of UIDs.
    begin: u32,
    end: u32,
}

/// A Service with pods on a node.
#[derive(Debug)]
pub struct Membership {
    /// Its UID.
    pub service: Uid,
    /// The version of the set of its pods there.
    pub version: u64,
    /// Which pods these are.
    begin: u32,
    end: u32,
}

/// A pod of a Service that is on the node of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    node: u32,
    service: Uid,
    pod: Uid,
}

/// What slices say of the pods that count.
#[derive(Debug)]
pub(super) struct Found {
    /// In any order, and some twice.
    members: Vec<Member>,
    /// Services of whose pods not all can be told.
    left_out: HashSet<Uid>,
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

    /// What the slices say of the `pods` that are `on` a node that there is, by its number. Nothing before all was
    /// listed.
    pub(super) fn members(
        &self,
        pods: &Listed<Uid, Pod>,
        on: impl Fn(&Pod) -> Option<u32>,
    ) -> Option<Found> {
        if !self.is_filled() {
            return None;
        }
        let named = self
            .slices
            .iter()
            .filter_map(|(_, slice)| slice.pods.as_ref());
        let mut members = Vec::with_capacity(named.map(|pods| pods.len()).sum());
        let mut left_out = HashSet::new();
        for (_, slice) in self.slices.iter() {
            let Some(&service) = self.names.get(&slice.service) else {
                continue;
            };
            if slice.owner.is_some_and(|owner| owner != service) {
                continue;
            }
            let Some(named) = &slice.pods else {
                left_out.insert(service);
                continue;
            };
            // Whoever may write slices in one namespace could otherwise have pods of another added up.
            let ours = |pod: &&Pod| pod.namespace == slice.namespace;
            members.extend(named.iter().filter_map(|&pod| {
                let node = on(pods.get(&pod).filter(ours)?)?;
                Some(Member { node, service, pod })
            }));
        }
        Some(Found { members, left_out })
    }
}

/// The Services of a node's members that are beyond what a list may have.
fn without_room(members: &[Member]) -> impl Iterator<Item = Uid> {
    let (mut services, mut pods) = (0, 0);
    let mut of_each = members.chunk_by(|one, other| one.service == other.service);
    std::iter::from_fn(move || {
        of_each.find_map(|of_one| {
            let fits = services < MAX_SERVICES && pods + of_one.len() <= MAX_MEMBERS;
            if fits {
                services += 1;
                pods += of_one.len();
            }
            (!fits).then_some(of_one[0].service)
        })
    })
}

impl Memberships {
    /// A Service of whose pods not all can be told has no total, nor has one for which an agent's list has no room; so
    /// it is in no list.
    pub(super) fn new(found: Found, nodes: Arc<Nodes>) -> Self {
        let Found {
            mut members,
            mut left_out,
        } = found;
        // A pod with two addresses is in two slices.
        members.sort_unstable();
        members.dedup();
        for of_node in members.chunk_by(|one, other| one.node == other.node) {
            left_out.extend(without_room(of_node));
        }
        if !left_out.is_empty() {
            members.retain(|member| !left_out.contains(&member.service));
        }
        let mut lists = vec![List::NONE; nodes.len()];
        let mut rows = Vec::with_capacity(members.len());
        let mut services = HashSet::new();
        let mut end = 0;
        for of_node in members.chunk_by(|one, other| one.node == other.node) {
            let mut list = List::NONE;
            // A cluster has fewer than 2^32 pods in Services: each takes more than one byte.
            list.begin = rows.len() as u32;
            for of_one in of_node.chunk_by(|one, other| one.service == other.service) {
                let (service, begin) = (of_one[0].service, end);
                end += of_one.len() as u32;
                let pods = of_one.iter().map(|member| &member.pod);
                let set = pods.fold(START, fold);
                list.version = mix(fold(list.version, &service) ^ set);
                services.insert(service);
                rows.push(Membership {
                    service,
                    version: set.max(1),
                    begin,
                    end,
                });
            }
            list.version = list.version.max(1);
            list.end = rows.len() as u32;
            lists[of_node[0].node as usize] = list;
        }
        Self {
            nodes,
            lists: lists.into(),
            rows: rows.into(),
            pods: members.iter().map(|member| member.pod).collect(),
            services: services.len(),
            left_out: left_out.len(),
        }
    }

    /// How many Services have pods.
    pub fn services(&self) -> usize {
        self.services
    }

    /// How many have pods and are in no list.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The Services with pods on the node of that number, in the order of UIDs.
    pub fn of(&self, node: u32) -> &[Membership] {
        let list = self.lists.get(node as usize).unwrap_or(&List::NONE);
        &self.rows[list.begin as usize..list.end as usize]
    }

    /// Where the pods of each Service are.
    pub(super) fn places(&self) -> impl Iterator<Item = (Object, Place)> {
        (0..).zip(&self.lists).flat_map(|(node, _)| {
            self.of(node).iter().map(move |row| {
                let (kind, uid) = (Kind::Service, row.service);
                let pods = row.end - row.begin;
                (Object { kind, uid }, Place { node, pods })
            })
        })
    }

    /// What the agent of a node hears that has a list of the version `held`.
    pub fn told(&self, node: &str, held: u64, valid_ms: u64) -> wire::Services {
        let number = self.nodes.number(node);
        let list = number.and_then(|number| self.lists.get(number as usize));
        let version = list.unwrap_or(&List::NONE).version;
        let members = || {
            let rows = number.map_or(&[][..], |number| self.of(number));
            rows.iter().map(|row| Members {
                uid: row.service,
                version: row.version,
                pods: self.pods[row.begin as usize..row.end as usize].to_vec(),
            })
        };
        wire::Services {
            version,
            valid_ms,
            services: (held != version).then(|| members().collect()),
        }
    }
}

impl List {
    const NONE: Self = Self {
        version: START,
        begin: 0,
        end: 0,
    };
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
pub(super) fn slice(marks: Namespaces) -> impl FnMut(&SeenSlice) -> Option<(Uid, Option<Slice>)> {
    let mut namespaces = Words::default();
    move |seen: &SeenSlice| {
        let slice = seen.names_pods().map(|named| Slice {
            namespace: marks.mark(named.namespace),
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
