//! Network counters of pods, each read through one of the pod's processes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kept_file::{KeptFile, Room};
use super::net_dev;
use super::reader::{End, ReadError, Reader, path_bytes};
use super::{
    Cause, Datum, GroupSample, Mode, Moment, NetworkSample, PodSample, Problems, ProcessId,
    ProcessSample,
};

/// So many of a pod's processes are tried, should one end while it is read.
const TRIES: usize = 3;

/// A process that a pod's network may be read through. The better ones are less: the oldest, which is
/// mostly the pause container's and stays for as long as the pod. The lowest pid would not do: pids
/// begin anew, and then it is a child's that is gone in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    /// Not in a container, hence last: the monitors that CRI-O may put into a pod's cgroup are in the
    /// host's network.
    outside: bool,
    process: ProcessId,
}

/// The best few ways to the network of each of these pods, the best one first. Without Kubernetes, a
/// sandbox is no container, and each way's own network tells whether it is one.
fn ways<'a>(
    mode: Mode<'_>,
    processes: &[ProcessSample],
    groups: &'a [GroupSample],
    pods: &BTreeMap<Arc<str>, PodSample>,
) -> Vec<(&'a Arc<str>, Vec<Way>)> {
    let mut ways: Vec<(&Arc<str>, Vec<Way>)> = Vec::new();
    let mut of_pod: HashMap<&Arc<str>, usize> = HashMap::new();
    let of_group: Vec<Option<usize>> = groups
        .iter()
        .map(|sample| {
            let pod = sample.group.pod.as_ref()?;
            pods.contains_key(pod).then(|| {
                *of_pod.entry(pod).or_insert_with(|| {
                    ways.push((pod, Vec::new()));
                    ways.len() - 1
                })
            })
        })
        .collect();
    for process in processes {
        let Some(group) = process.group.map(|group| group as usize) else {
            continue;
        };
        let Some(pod) = of_group.get(group).copied().flatten() else {
            continue;
        };
        let way = Way {
            outside: matches!(mode, Mode::Cluster(_)) && groups[group].group.container.is_none(),
            process: process.identity(),
        };
        let best = &mut ways[pod].1;
        let place = best.partition_point(|better| *better < way);
        if place < TRIES {
            best.insert(place, way);
            best.truncate(TRIES);
        }
    }
    ways
}

/// The files of the pods' networks, open from one sample to the next.
pub(super) struct PodNetworks {
    proc: PathBuf,
    room: Room,
    pods: HashMap<Arc<str>, PodNetwork>,
}

/// The file of one pod, and whose it is: the pid alone may be another process by now.
struct PodNetwork {
    process: ProcessId,
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

    /// Reads the network counters of the pods that have a network of their own.
    #[allow(clippy::too_many_arguments)] // A part of `Sampler::take`, with its borrows.
    pub(super) fn read(
        &mut self,
        mode: Mode<'_>,
        reader: &mut Reader,
        clock: &dyn Fn() -> Moment,
        processes: &[ProcessSample],
        groups: &[GroupSample],
        pods: &mut BTreeMap<Arc<str>, PodSample>,
        problems: &mut Problems,
    ) {
        self.forget_all_but(pods);
        for (pod, ways) in ways(mode, processes, groups, pods) {
            for Way { process, .. } in ways {
                let own = self.has_own_network(mode, pod, process.pid);
                let read = match own {
                    Ok(true) => {
                        let network = self.read_through(reader, pod, process, clock);
                        let file = || self.proc.join(format!("{}/net/dev", process.pid));
                        network.map(Some).map_err(|error| (error, file()))
                    }
                    Ok(false) => Ok(None),
                    Err(error) => {
                        let link = namespace_link(&self.proc, &process.pid.to_string());
                        Err((error, link))
                    }
                };
                match read {
                    Ok(Some(network)) => {
                        if let Some(sample) = pods.get_mut(pod) {
                            sample.network = Some(network);
                        }
                        break;
                    }
                    // It is on the machine's network, or ended since it was listed.
                    Ok(None) | Err((ReadError::Gone, _)) => {}
                    Err((ReadError::Missing(cause), path)) => {
                        problems.add(Datum::PodNetwork, cause, || path.display().to_string());
                        break;
                    }
                }
            }
        }
    }

    /// Whether the pod of this process has a network that is not the machine's.
    fn has_own_network(&self, mode: Mode<'_>, pod: &str, pid: u32) -> Result<bool, ReadError> {
        match mode {
            Mode::Cluster(inventory) => {
                let pod = inventory.pods.get(pod);
                Ok(pod.is_some_and(|pod| !pod.host_network))
            }
            Mode::Standalone => has_own_network(&self.proc, pid),
        }
    }

    /// Closes the files of all other pods: an open one keeps the network namespace alive.
    fn forget_all_but(&mut self, pods: &BTreeMap<Arc<str>, PodSample>) {
        self.pods.retain(|id, _| pods.contains_key(id));
    }

    /// Reads the network of the pod that this process is of. [`ReadError::Gone`] if the process is.
    fn read_through(
        &mut self,
        reader: &mut Reader,
        pod: &Arc<str>,
        process: ProcessId,
        clock: &dyn Fn() -> Moment,
    ) -> Result<NetworkSample, ReadError> {
        let new = || PodNetwork {
            process,
            path: path_bytes(&self.proc.join(process.pid.to_string())),
            file: KeptFile::default(),
        };
        let known = self.pods.entry(pod.clone()).or_insert_with(new);
        if known.process != process {
            *known = new();
        }
        let PodNetwork { path, file, .. } = known;
        let text = reader.read_kept(file, &self.room, path, "net/dev", End::Records);
        let malformed = ReadError::Missing(Cause::Malformed);
        let bytes = text.and_then(|text| net_dev::parse(text).ok_or(malformed))?;
        Ok(NetworkSample {
            process,
            at: clock().monotonic,
            received: bytes.received,
            sent: bytes.sent,
        })
    }
}

/// Whether the process is in another network namespace than this agent and the machine's first
/// process, as far as those can be told.
fn has_own_network(proc: &Path, pid: u32) -> Result<bool, ReadError> {
    let namespace = |pid: &str| rustix::fs::readlink(namespace_link(proc, pid), Vec::new());
    let own = namespace(&pid.to_string())?;
    let others = [namespace("self"), namespace("1")];
    Ok(others.iter().any(Result::is_ok) && others.iter().flatten().all(|other| *other != own))
}

/// Where the network namespace of a process is named.
fn namespace_link(proc: &Path, pid: &str) -> PathBuf {
    proc.join(pid).join("ns/net")
}
