//! Where the pods of objects are. There are hundreds of thousands of places, so nodes go by number, and all places are
//! in one list.

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

impl Objects {
    /// Of places in any order. Those of one object on one node are added up.
    pub fn new(mut found: Vec<(Object, Place)>) -> Self {
        count(&mut found);
        let of_each = found.chunk_by(|(one, _), (other, _)| one == other);
        let mut end = 0;
        let ends = of_each.map(|of_one| {
            // Fewer than 2^32: each takes more than one byte.
            end += of_one.len() as u32;
            (of_one[0].0, end)
        });
        Self {
            ends: ends.collect(),
            places: found.iter().map(|(_, place)| *place).collect(),
        }
    }

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

/// Sorts places, and adds up those of one object on one node.
pub(super) fn count(found: &mut Vec<(Object, Place)>) {
    found.sort_unstable();
    found.dedup_by(|(object, place), (before, kept)| {
        let same = object == before && place.node == kept.node;
        if same {
            kept.pods += place.pods;
        }
        same
    });
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
        fn places_are_those_that_were_found(found in vec((0..6_u8, 0..5_u32, 1..4_u32), 0..60)) {
            let mut wanted: BTreeMap<Object, BTreeMap<u32, u32>> = BTreeMap::new();
            for (number, node, pods) in &found {
                let of = wanted.entry(object(*number)).or_default();
                *of.entry(*node).or_default() += pods;
            }
            let place = |(number, node, pods)| (object(number), Place { node, pods });
            let objects = Objects::new(found.into_iter().map(place).collect());
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
