//! Network counters of pods, each read through one of the pod's processes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kept_file::{KeptFile, Room};
use super::net_dev;
use super::reader::{End, ReadError, Reader, path_bytes};
use super::{Cause, Datum, Moment, NetworkSample, PodSample, Problems, ProcessSample};

/// The files of the pods' networks, open from one sample to the next.
pub(super) struct PodNetworks {
    proc: PathBuf,
    room: Room,
    pods: HashMap<Arc<str>, PodNetwork>,
}

/// The file of one pod, and whose it is: the pid alone may be another process by now.
struct PodNetwork {
    process: (u32, u64),
    path: Box<[u8]>,
    file: KeptFile,
}

impl PodNetworks {
    pub(super) fn new(proc: &Path, room: &Room) -> Self {
        PodNetworks {
            proc: proc.to_owned(),
            room: room.on(proc),
            pods: HashMap::new(),
        }
    }

    /// Closes the files of all other pods: an open one keeps the network namespace alive.
    pub(super) fn forget_all_but(&mut self, pods: &BTreeMap<Arc<str>, PodSample>) {
        self.pods.retain(|id, _| pods.contains_key(id));
    }

    /// Reads the network of the pod that this process is of.
    pub(super) fn read(
        &mut self,
        reader: &mut Reader,
        pod: &Arc<str>,
        process: &ProcessSample,
        clock: &dyn Fn() -> Moment,
        problems: &mut Problems,
    ) -> Option<NetworkSample> {
        let identity = (process.pid, process.start);
        if self
            .pods
            .get(pod)
            .is_none_or(|known| known.process != identity)
        {
            let path = path_bytes(&self.proc.join(process.pid.to_string()));
            let network = PodNetwork {
                process: identity,
                path,
                file: KeptFile::default(),
            };
            self.pods.insert(pod.clone(), network);
        }
        let PodNetwork { path, file, .. } = self.pods.get_mut(pod)?;
        let text = reader.read_kept(file, &self.room, path, "net/dev", End::Records);
        let malformed = ReadError::Missing(Cause::Malformed);
        match text.and_then(|text| net_dev::parse(text).ok_or(malformed)) {
            Ok(bytes) => Some(NetworkSample {
                at: clock().monotonic,
                received: bytes.received,
                sent: bytes.sent,
            }),
            Err(ReadError::Gone) => None,
            Err(ReadError::Missing(cause)) => {
                let directory = self.proc.join(process.pid.to_string());
                let path = || directory.join("net/dev").display().to_string();
                problems.add(Datum::PodNetwork, cause, path);
                None
            }
        }
    }
}

/// Whether the process is in another network namespace than this agent and the machine's first
/// process, as far as those can be told.
pub(super) fn has_own_network(proc: &Path, pid: u32) -> Result<bool, ReadError> {
    let namespace = |pid: &str| rustix::fs::readlink(namespace_link(proc, pid), Vec::new());
    let own = namespace(&pid.to_string())?;
    let others = [namespace("self"), namespace("1")];
    Ok(others.iter().any(Result::is_ok) && others.iter().flatten().all(|other| *other != own))
}

/// Where the network namespace of a process is named.
pub(super) fn namespace_link(proc: &Path, pid: &str) -> PathBuf {
    proc.join(pid).join("ns/net")
}
