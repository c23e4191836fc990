//! What Kubernetes says runs on this node: a watch of its pods, and their owners.
//!
//! It is read by the sampler's thread through an atomic pointer and goes its own way: while the API
//! server is away, the last inventory stays.

pub(crate) mod chance;
mod container_status;
mod identity;
mod lookups;
mod model;
mod node_object;
mod node_pod;
mod observed;
mod owners;
mod patience;
mod pods;
mod source;
mod volume;
mod watch;

pub use model::{Container, ContainerKind, Inventory, Owner, Pod, StoppedContainer, Termination};
pub use node_object::{NodeLookSettings, NodeObject, look_at_node};

pub use volume::{MountedVolume, Volume, VolumeKind};
pub use watch::{InventoryWatch, WatchSettings, WatchState, watch};
