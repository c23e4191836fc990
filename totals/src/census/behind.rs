//! Which kinds are not what the API server says now, as far as that is heard of.

use std::collections::BTreeSet;

/// Kinds whose watch has failed and has brought nothing whole since.
#[derive(Debug, Default)]
pub struct Behind {
    kinds: BTreeSet<&'static str>,
    edition: u64,
}

impl Behind {
    /// The watch of this kind failed.
    pub fn fell(&mut self, kind: &'static str) {
        self.edition += u64::from(self.kinds.insert(kind));
    }

    /// It brought something whole.
    pub fn caught_up(&mut self, kind: &'static str) {
        self.edition += u64::from(self.kinds.remove(kind));
    }

    /// How many of these are.
    pub fn among(&self, kinds: &[&'static str]) -> usize {
        kinds
            .iter()
            .filter(|kind| self.kinds.contains(*kind))
            .count()
    }

    /// Changes whenever another kind is.
    pub fn edition(&self) -> u64 {
        self.edition
    }
}
