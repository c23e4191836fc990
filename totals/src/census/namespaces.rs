//! Namespaces, told apart.

use std::hash::{BuildHasher, RandomState};

/// A namespace in four bytes, as there are many pods. One namespace has one mark, and nobody can choose another that has
/// the same: marks are drawn by lot whenever the program starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMark(u32);

/// Gives namespaces their marks. Marks of a copy are the same.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(RandomState);

impl Namespaces {
    /// The mark of the namespace of that name.
    pub fn mark(&self, name: &str) -> NamespaceMark {
        // The upper half is as good as the lower one.
        NamespaceMark((self.0.hash_one(name) >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_mark() {
        let namespaces = Namespaces::default();
        assert_eq!(namespaces.mark("a"), namespaces.clone().mark("a"));
        let names = (0..100).map(|number| namespaces.mark(&format!("n{number}")));
        let first = namespaces.mark("a");
        assert_eq!(names.filter(|mark| *mark == first).count(), 0);
    }
}
