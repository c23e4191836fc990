//! What Kubernetes says runs on this node.

mod model;

pub use model::{Container, Inventory, Owner, Pod};
