//! The network of a process that is surely the one that is meant.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::namespace::{Namespace, NamespaceError};
use crate::container_control::parse_stat;
use crate::sample::{Place, parse_process};

/// The files of a process are some hundred bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoNetwork {
    /// The process is not there, or not the one that is meant (any more).
    #[error("it has no process (any more)")]
    Gone,
    /// It is the node's own.
    #[error("it is in the network of the node itself, which is not touched")]
    Node,
    /// It is this agent's own.
    #[error("it is in this agent's own network, which is not touched")]
    Own,
    /// It cannot be looked at.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

impl NoNetwork {
    /// Whether the kernel does not answer at present.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            NoNetwork::Namespace(NamespaceError::Late(_) | NamespaceError::NotAsked)
        )
    }
}

/// The network of this process, if its cgroup is one that is meant. The descriptor is opened between two
/// looks at the process: with the same start it was the same process then.
pub(crate) fn network_of(
    proc: &Path,
    pid: u32,
    is_meant: impl Fn(&Place) -> bool,
) -> Result<Namespace, NoNetwork> {
    let pid = pid.to_string();
    let before = start(proc, &pid).ok_or(NoNetwork::Gone)?;
    let network = Namespace::of_process(proc, &pid).map_err(|e| match e.is_gone() {
        true => NoNetwork::Gone,
        false => e.into(),
    })?;
    let place = read(proc, &pid, "cgroup").and_then(|text| parse_process(&text));
    if !place.is_some_and(|place| is_meant(&place)) || start(proc, &pid) != Some(before) {
        return Err(NoNetwork::Gone);
    }
    for (other, is_it) in [("1", NoNetwork::Node), ("self", NoNetwork::Own)] {
        match Namespace::of_process(proc, other) {
            Ok(other) if other.identity() == network.identity() => return Err(is_it),
            // There is none where the root is not the machine's own.
            Err(e) if !e.is_gone() => return Err(e.into()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(network)
}

/// When the process started, in ticks since boot, if it has not ended.
fn start(proc: &Path, pid: &str) -> Option<u64> {
    let (has_ended, _, start) = parse_stat(&read(proc, pid, "stat")?)?;
    (!has_ended).then_some(start)
}

fn read(proc: &Path, pid: &str, file: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(proc.join(pid).join(file)).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
