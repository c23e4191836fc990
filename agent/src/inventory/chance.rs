//! What differs from node to node by chance, to spread load.

use std::hash::{BuildHasher as _, RandomState};

/// From 0 to 1, different on every node and at every call; nothing secret depends on it.
pub(crate) fn random() -> f64 {
    RandomState::new().hash_one(std::time::Instant::now()) as f64 / u64::MAX as f64
}
