//! Which Services the pods of each node belong to, as its agent is told.

use std::{collections::HashSet, sync::Arc};

use scope_totals_wire::{self as wire, Kind, MAX_MEMBERS, MAX_SERVICES, Members, Object, Uid};

use super::{
    Nodes, Place, places,
    services::{Found, Member},
};

/// The Services of every node's pods. There are many nodes and many pods, so all are in one row, and Services go by
/// number.
#[derive(Debug, Default)]
pub struct Memberships {
    nodes: Arc<Nodes>,
    /// The Services in the order of UIDs. Their number is their place.
    services: Box<[Uid]>,
    /// By the number of the node.
    lists: Box<[List]>,
    rows: Box<[Row]>,
    pods: Box<[Uid]>,
    with_pods: usize,
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
struct Row {
    /// The version of the set of its pods there.
    version: u64,
    /// Its number.
    service: u32,
    /// Where these pods begin. They end where those of the next row begin.
    begin: u32,
}

/// The versions of the sets of pods on a node, of Services that are asked for in the order of their UIDs.
#[derive(Debug, Default)]
pub struct Versions<'a> {
    services: &'a [Uid],
    left: &'a [Row],
}

impl Versions<'_> {
    /// That of a Service with pods there.
    pub fn of(&mut self, service: Uid) -> Option<u64> {
        let uid = |row: &Row| self.services[row.service as usize];
        let before = self.left.iter().take_while(|row| uid(row) < service);
        self.left = &self.left[before.count()..];
        let row = self.left.first().filter(|row| uid(row) == service);
        row.map(|row| row.version)
    }
}

/// The Services of a node's members that are beyond what a list may have.
fn without_room(members: &[Member]) -> impl Iterator<Item = u32> {
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

/// Gives Services and what is of them the numbers of the order of their UIDs.
fn put_in_order(found: &mut Found) {
    let services = std::mem::take(&mut found.services);
    let mut numbered: Vec<(Uid, u32)> = services.into_iter().zip(0..).collect();
    numbered.sort_unstable();
    let ranks = places::ranks(&numbered, numbered.len() as u32);
    let rank = |number: u32| ranks[number as usize];
    for member in &mut found.members {
        member.service = rank(member.service);
    }
    found.left_out = found.left_out.iter().map(|number| rank(*number)).collect();
    found.services = numbered.into_iter().map(|(uid, _)| uid).collect();
}

impl Memberships {
    /// A Service of whose pods not all can be told has no total, nor has one for which an agent's list has no room; so
    /// it is in no list.
    pub(super) fn new(mut found: Found, nodes: Arc<Nodes>) -> Self {
        put_in_order(&mut found);
        let Found {
            services,
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
        let together =
            |one: &Member, other: &Member| one.node == other.node && one.service == other.service;
        let mut lists = vec![List::NONE; nodes.len()];
        let mut rows = Vec::with_capacity(members.chunk_by(together).count());
        let mut with_pods = HashSet::new();
        let mut end = 0;
        for of_node in members.chunk_by(|one, other| one.node == other.node) {
            let mut list = List::NONE;
            // A cluster has fewer than 2^32 pods in Services: each takes more than one byte.
            list.begin = rows.len() as u32;
            for of_one in of_node.chunk_by(together) {
                let (service, begin) = (of_one[0].service, end);
                end += of_one.len() as u32;
                let pods = of_one.iter().map(|member| &member.pod);
                let set = pods.fold(START, fold);
                list.version = mix(fold(list.version, &services[service as usize]) ^ set);
                with_pods.insert(service);
                rows.push(Row {
                    version: set.max(1),
                    service,
                    begin,
                });
            }
            list.version = list.version.max(1);
            list.end = rows.len() as u32;
            lists[of_node[0].node as usize] = list;
        }
        Self {
            nodes,
            services: services.into(),
            lists: lists.into(),
            rows: rows.into(),
            pods: members.iter().map(|member| member.pod).collect(),
            with_pods: with_pods.len(),
            left_out: left_out.len(),
        }
    }

    /// How many Services have pods.
    pub fn services(&self) -> usize {
        self.with_pods
    }

    /// How many pods are in them, those of two Services twice.
    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// How many have pods and are in no list.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The versions of the sets of pods on the node of that number.
    pub fn versions(&self, node: u32) -> Versions<'_> {
        let list = self.lists.get(node as usize).unwrap_or(&List::NONE);
        Versions {
            services: &self.services,
            left: &self.rows[list.begin as usize..list.end as usize],
        }
    }

    /// The Services of a list, and the pods of each.
    fn of(&self, list: List) -> impl Iterator<Item = (Uid, u64, &[Uid])> {
        (list.begin as usize..list.end as usize).map(|number| {
            let row = &self.rows[number];
            let next = self.rows.get(number + 1);
            let end = next.map_or(self.pods.len(), |next| next.begin as usize);
            let pods = &self.pods[row.begin as usize..end];
            (self.services[row.service as usize], row.version, pods)
        })
    }

    /// Where the pods of each Service are.
    pub(super) fn places(&self) -> impl Iterator<Item = (Object, Place)> {
        (0..).zip(&self.lists).flat_map(|(node, list)| {
            self.of(*list).map(move |(uid, _, pods)| {
                let kind = Kind::Service;
                let pods = pods.len() as u32;
                (Object { kind, uid }, Place { node, pods })
            })
        })
    }

    /// What the agent of a node hears that has a list of the version `held`.
    pub fn told(&self, node: &str, held: u64, valid_ms: u64) -> wire::Services {
        let number = self.nodes.number(node);
        let list = number.and_then(|number| self.lists.get(number as usize));
        let list = *list.unwrap_or(&List::NONE);
        let members = || {
            self.of(list).map(|(uid, version, pods)| Members {
                uid,
                version,
                pods: pods.to_vec(),
            })
        };
        wire::Services {
            version: list.version,
            valid_ms,
            services: (held != list.version).then(|| members().collect()),
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
