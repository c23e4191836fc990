//! The sampler and the attribution on made nodes of every layout.

#[path = "../made_node/mod.rs"]
mod made_node;

mod changes;
mod faults;
mod further;
mod half_there;
mod layouts;
mod workload;
