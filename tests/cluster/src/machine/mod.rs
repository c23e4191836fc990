//! Machines: a group of namespaces with a tiny first process that starts components, reaps what
//! is orphaned and takes everything with it when it ends.
//!
//! Entering namespaces needs a process with one thread, so the library starts the calling program
//! again ([`crate::run_internal_command_if_asked`]): a *keeper* that makes the namespaces, and
//! below it *init*, which is pid 1 in them. When pid 1 ends, for whatever reason, the kernel kills
//! the rest, and mounts, links and nftables rules go with the namespaces.
//!
//! Two threads lead back to the library. The *leash* is a pipe: init ends when its other end is
//! closed, which the kernel does even for a library that was killed. A socket takes requests, one
//! line of JSON each, from any process that may enter the cluster's directory.

mod client;
mod init;
mod protocol;
mod root;

pub(crate) use client::{Machine, component_log};
pub(crate) use init::{PATH, run_if_asked};
pub(crate) use protocol::{Component, MachineSpec};
pub(crate) use root::{Bind, RootSpec};
