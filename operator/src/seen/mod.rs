//! Nodes and pods as far as rollouts need them. The types have just the fields that are read, so that
//! what a large cluster says about images, volumes and addresses is skipped while it is decoded and
//! never kept.

mod failure;
mod fleet;
mod node;
mod pod;
mod pods;
mod told;
mod words;

pub(crate) use failure::{in_own_words, refuses_at};
pub(crate) use fleet::{fleet, strays};
pub(crate) use node::SeenNode;
pub(crate) use pod::SeenPod;
pub(crate) use pods::Pods;
