//! Objects of a kind as a watch brings them: a list first, and again after an interruption.

use std::{collections::HashMap, hash::Hash};

/// What is read of the objects of a kind.
#[derive(Debug)]
pub struct Listed<K, V> {
    known: HashMap<K, V>,
    /// What a list has brought so far that is not complete; until then the old one holds.
    coming: Option<HashMap<K, V>>,
    filled: bool,
    edition: u64,
}

impl<K, V> Default for Listed<K, V> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            coming: None,
            filled: false,
            edition: 0,
        }
    }
}

impl<K: Eq + Hash, V: PartialEq> Listed<K, V> {
    /// A list begins.
    pub fn begin(&mut self) {
        self.coming = Some(HashMap::new());
    }

    /// It brings this.
    pub fn listed(&mut self, key: K, value: V) {
        self.coming.get_or_insert_default().insert(key, value);
    }

    /// It is complete.
    pub fn complete(&mut self) {
        if let Some(mut coming) = self.coming.take() {
            coming.shrink_to_fit();
            self.known = coming;
        }
        self.filled = true;
        self.edition += 1;
    }

    /// An object is new or another than before.
    pub fn put(&mut self, key: K, value: V) {
        if self.known.get(&key) != Some(&value) {
            self.known.insert(key, value);
            self.edition += 1;
        }
    }

    /// An object is gone, or does not matter any more.
    pub fn remove(&mut self, key: &K) {
        if self.known.remove(key).is_some() {
            self.edition += 1;
        }
    }

    /// What is known of one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    /// All of them, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.known.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a list was complete.
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// Changes with everything in it.
    pub fn edition(&self) -> u64 {
        self.edition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_list_holds_until_the_new_one_is_complete() {
        let mut pods: Listed<u8, u8> = Listed::default();
        pods.begin();
        pods.listed(1, 10);
        assert!(pods.is_empty() && !pods.is_filled());
        pods.complete();
        assert_eq!(pods.get(&1), Some(&10));
        pods.put(2, 20);
        pods.begin();
        pods.listed(3, 30);
        assert_eq!(pods.len(), 2);
        pods.complete();
        assert_eq!(
            (pods.get(&1), pods.get(&2), pods.get(&3)),
            (None, None, Some(&30))
        );
    }

    #[test]
    fn the_edition_changes_with_what_is_known() {
        let mut pods: Listed<u8, u8> = Listed::default();
        pods.put(1, 10);
        let first = pods.edition();
        pods.put(1, 10);
        pods.remove(&2);
        assert_eq!(pods.edition(), first);
        pods.put(1, 11);
        let second = pods.edition();
        assert_ne!(second, first);
        pods.remove(&1);
        assert_ne!(pods.edition(), second);
    }
}
