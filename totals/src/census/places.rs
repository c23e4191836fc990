//! Where the pods of objects are. There are hundreds of thousands of places, so nodes go by number, and all places are
//! in one list. While it is made it is there twice, so objects go by number, too.

use std::{collections::HashMap, sync::Arc};

use scope_totals_wire::Object;

/// The nodes. Each has a number, which is its place in the order of their names.
#[derive(Debug, Default)]
pub struct Nodes {
    names: Box<[Arc<str>]>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Nodes {
    /// The number of the node with this name.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Whether there is a node with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Their names, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl FromIterator<Arc<str>> for Nodes {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(names: I) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        // A cluster has far fewer than 2^32 nodes.
        let numbered = names.iter().cloned().zip(0..);
        Self {
            numbers: numbered.collect(),
            names: names.into(),
        }
    }
}

/// A node with pods of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the node.
    pub node: u32,
    /// How many pods.
    pub pods: u32,
}

/// The objects with pods, in order, and for each the nodes that its pods are on, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Objects {
    /// Each with the end of its places. They begin where those of the one before end.
    ends: Box<[(Object, u32)]>,
    places: Box<[Place]>,
}

/// Pods as they are found, in any order: each is of an object and on a node.
#[derive(Debug, Default)]
pub struct Placed {
    numbers: HashMap<Object, u32>,
    /// The number of the next object that is new.
    next: u32,
    /// The number of the object and that of the node.
    pods: Vec<(u32, u32)>,
}

/// Of what is left out.
const NOWHERE: u32 = u32::MAX;

/// By its number below `next`, the place of each thing among those that are in order.
pub(super) fn ranks<T>(in_order: &[(T, u32)], next: u32) -> Vec<u32> {
    let mut ranks = vec![NOWHERE; next as usize];
    for ((_, number), rank) in in_order.iter().zip(0..) {
        ranks[*number as usize] = rank;
    }
    ranks
}

impl Placed {
    /// Has room for so many more, and does not grow to twice its size for them.
    pub fn make_room(&mut self, pods: usize) {
        self.pods.reserve_exact(pods);
    }

    /// A pod of this object is on the node of that number.
    pub fn put(&mut self, object: Object, node: u32) {
        let number = *self.numbers.entry(object).or_insert(self.next);
        // Fewer than 2^32 objects: each takes more than one byte.
        self.next += u32::from(number == self.next);
        self.pods.push((number, node));
    }

    /// Whether the object has a pod.
    pub fn has(&self, object: &Object) -> bool {
        self.numbers.contains_key(object)
    }

    /// Leaves out the objects that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Object) -> bool) {
        self.numbers.retain(|object, _| keep(object));
    }
}

impl Extend<(Object, Place)> for Placed {
    fn extend<I: IntoIterator<Item = (Object, Place)>>(&mut self, found: I) {
        for (object, place) in found {
            (0..place.pods).for_each(|_| self.put(object, place.node));
        }
    }
}

impl From<Placed> for Objects {
    fn from(placed: Placed) -> Self {
        let Placed {
            numbers,
            next,
            mut pods,
        } = placed;
        let mut ends: Box<[(Object, u32)]> = numbers.into_iter().collect();
        ends.sort_unstable();
        let ranks = ranks(&ends, next);
        pods.retain_mut(|(object, _)| {
            *object = ranks[*object as usize];
            *object != NOWHERE
        });
        pods.sort_unstable();
        // In their own room: there are no more places than pods, so that a place is written where pods were read.
        let (mut from, mut count) = (0, 0);
        while let Some(&(object, node)) = pods.get(from) {
            let together = pods[from..]
                .iter()
                .take_while(|pod| **pod == (object, node));
            let together = together.count();
            pods[count] = (node, together as u32);
            from += together;
            count += 1;
            // The last one stays.
            ends[object as usize].1 = count as u32;
        }
        pods.truncate(count);
        let place = |(node, pods)| Place { node, pods };
        Self {
            ends,
            places: pods.into_iter().map(place).collect(),
        }
    }
}

#[cfg(test)]
impl FromIterator<(Object, Place)> for Objects {
    fn from_iter<I: IntoIterator<Item = (Object, Place)>>(found: I) -> Self {
        let mut placed = Placed::default();
        placed.extend(found);
        placed.into()
    }
}

impl Objects {
    /// The places of an object, if it has pods.
    pub fn get(&self, object: &Object) -> Option<&[Place]> {
        let number = self.ends.binary_search_by_key(object, |(known, _)| *known);
        Some(self.places(number.ok()?))
    }

    /// All objects in order, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (Object, &[Place])> {
        let numbered = self.ends.iter().enumerate();
        numbered.map(|(number, (object, _))| (*object, self.places(number)))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn places(&self, number: usize) -> &[Place] {
        let before = number
            .checked_sub(1)
            .map_or(0, |before| self.ends[before].1);
        &self.places[before as usize..self.ends[number].1 as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};
    use scope_totals_wire::{Kind, Uid};

    use super::*;

    fn object(number: u8) -> Object {
        let kind = match number % 2 {
            0 => Kind::Deployment,
            _ => Kind::Service,
        };
        Object {
            kind,
            uid: Uid::from_bytes([number; 16]),
        }
    }

    proptest! {
        #[test]
        fn places_are_those_that_were_found(
            found in vec((0..6_u8, 0..5_u32, 1..4_u32), 0..60),
            left_out in 0..8_u8,
            later in vec((0..6_u8, 0..5_u32, 1..4_u32), 0..20),
        ) {
            let mut wanted: BTreeMap<Object, BTreeMap<u32, u32>> = BTreeMap::new();
            let kept = found.iter().filter(|(number, ..)| *number != left_out);
            for (number, node, pods) in kept.chain(&later) {
                let of = wanted.entry(object(*number)).or_default();
                *of.entry(*node).or_default() += pods;
            }
            let place = |(number, node, pods)| (object(number), Place { node, pods });
            let mut placed = Placed::default();
            placed.extend(found.into_iter().map(place));
            placed.retain(|of| *of != object(left_out));
            placed.extend(later.into_iter().map(place));
            for number in 0..6 {
                prop_assert_eq!(placed.has(&object(number)), wanted.contains_key(&object(number)));
            }
            let objects = Objects::from(placed);
            let plain = |places: &[Place]| -> BTreeMap<u32, u32> {
                assert!(places.is_sorted());
                places.iter().map(|place| (place.node, place.pods)).collect()
            };
            let all: Vec<_> = objects.iter().map(|(of, places)| (of, plain(places))).collect();
            prop_assert_eq!(all, Vec::from_iter(wanted.clone()));
            prop_assert_eq!(objects.len(), wanted.len());
            for number in 0..6 {
                let of = object(number);
                prop_assert_eq!(objects.get(&of).map(plain), wanted.get(&of).cloned());
            }
        }
    }

    #[test]
    fn nodes_are_numbered_by_name() {
        let nodes: Nodes = ["b", "a", "c", "a"].map(Arc::from).into_iter().collect();
        let names: Vec<&str> = nodes.iter().map(|name| &**name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((nodes.number("c"), nodes.number("d")), (Some(2), None));
        assert!(nodes.contains("a") && nodes.len() == 3);
    }
}
