//! How a change reaches the nodes: one pure planner, what it sees, and what it remembers.
//!
//! A plugin's DaemonSet is `OnDelete`: its controller makes pods from whatever template stands in it and
//! replaces none, and the operator deletes pods by plan. So a template that is being tried stands there only
//! while pods are being replaced by it; otherwise the last good one does, and nodes that join, drain or
//! evict in the meantime get that.
//!
//! What must survive a crash or a change of leader is in the [`Record`], which is written before any pod
//! is deleted: which revision was good, which one is being rolled out, how far it is, and which nodes are
//! under way.

mod fleet;
mod plan;
mod policy;
mod record;
#[cfg(test)]
mod simulation;
mod standing;
mod turn;

pub(crate) use fleet::{Failure, Fleet, Node, Pod};
pub(crate) use plan::{Carried, Decision, Deletion, Input, Turn, plan};
pub(crate) use policy::Policy;
pub(crate) use record::{Record, Run, Stage};
pub(crate) use standing::{Failing, Failures, Found, Standing, Waiting};
pub(crate) use turn::{Other, turn};
