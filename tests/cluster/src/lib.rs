//! A real Kubernetes of several nodes on one Linux machine, thrown away after use.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet and
//! kube-proxy, as they are, in namespaces instead of machines: no virtual machine, no container
//! engine, no registry, no way out of the machine. It takes root, Linux and a few Debian packages
//! ([`packages`]); Kubernetes itself is built from source once and kept ([`tools`]).
//!
//! ```no_run
//! fn main() -> Result<(), throwaway_cluster::Error> {
//!     // The library starts this program again for work that needs a process of its own.
//!     throwaway_cluster::run_internal_command_if_asked();
//!     let cluster = throwaway_cluster::Cluster::up(throwaway_cluster::Options::new("t0"))?;
//!     print!("{}", cluster.kubectl(&["get", "nodes"])?);
//!     cluster.node(1).crash()?;
//!     cluster.node(1).start()?;
//!     cluster.down()
//! }
//! ```
//!
//! **What stays after a cluster is down:** programs and logs in the cache, nothing else. A run
//! that was killed cannot clean up after itself: its processes end with it, and the next start
//! removes the rest ([`sweep`]).
//!
//! **Tried on** cgroup version 1 (with a version 2 tree beside it), Debian 12, containerd 1.6.
//! The parts for machines with cgroup version 2 only are written and **untried**; there,
//! `HARNESS_CGROUP_PARENT` names the cgroup below which clusters may put theirs.

mod audit;
mod cgroup;
mod cluster;
pub mod command;
mod config;
mod error;
pub mod images;
mod layout;
mod machine;
mod network;
pub mod packages;
mod patience;
mod pki;
mod process;
mod progress;
mod record;
#[cfg(test)]
mod scratch;
pub mod tools;

pub use audit::{AuditEvent, AuditMark, Stage, WRITES};
pub use cluster::{AuditFollow, Cluster, Node, Options, RunningPod, leftovers, sweep, take_down};
pub use error::{Error, Result, tail_of};
pub use layout::Layout;
pub use patience::Patience;
pub use progress::Progress;

/// Does the library's internal work and ends the process, when the arguments ask for it.
///
/// The first line of `main` of every program that starts a cluster, before any thread: entering
/// namespaces needs a process with one thread, so the library starts its program again.
pub fn run_internal_command_if_asked() {
    machine::run_if_asked(&mut std::env::args_os().skip(1));
}

/// Why this machine or this user cannot have a cluster; nothing, when it can.
pub fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a throw-away cluster needs Linux".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root can start a throw-away cluster, since its nodes mount file systems and make network links".into());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !has_system_rights(&status) {
        return Some("this root has no CAP_SYS_ADMIN or CAP_NET_ADMIN, as in an ordinary container: run on a machine or in a privileged container".into());
    }
    None
}

/// Whether tests that need nodes must not be skipped: `HARNESS_REQUIRE=nodes`.
pub fn nodes_required() -> bool {
    required("nodes")
}

/// Whether `HARNESS_REQUIRE` lists these tests.
pub fn required(tests: &str) -> bool {
    std::env::var("HARNESS_REQUIRE")
        .is_ok_and(|tiers| tiers.split(',').any(|tier| tier.trim() == tests))
}

/// Whether the effective capabilities of a status file have CAP_NET_ADMIN (12) and CAP_SYS_ADMIN
/// (21).
fn has_system_rights(status: &str) -> bool {
    const NEEDED: u64 = 1 << 12 | 1 << 21;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & NEEDED == NEEDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told() {
        assert!(has_system_rights("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!has_system_rights("CapEff:\t00000000a80425fb\n"));
        assert!(!has_system_rights(""));
    }
}
