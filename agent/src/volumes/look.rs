//! One look at the volumes of this node's pods.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::asker::{Asker, Counts};
use super::mounts::{Device, Mount, own_file_systems, parse};
use super::{Standing, VolumeUses};
use crate::inventory::{Inventory, Pod, Volume, VolumeKind};
use crate::sample::Cause;

/// One process of each container, by the container's ID.
pub type Processes = HashMap<String, u32>;

/// A line has some 200 bytes, and a pod some ten mounts: so for 4,000 pods.
const MAX_LIST: u64 = 8 * 1024 * 1024;

/// Looks at volumes.
pub struct Look {
    proc: PathBuf,
    pods: PathBuf,
    asker: Asker,
}

/// What came of a look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looked {
    /// How full volumes are.
    pub uses: VolumeUses,
    /// What came of asking so far.
    pub counts: Counts,
    /// What could not be read, the list of mounts or a file system, by its path, and why.
    pub problems: Vec<(Cause, String)>,
}

impl Look {
    /// One at the volumes below this directory of the kubelet.
    pub fn new(proc: &Path, kubelet: &Path, asker: Asker) -> Self {
        Look {
            proc: proc.to_owned(),
            pods: kubelet.join("pods"),
            asker,
        }
    }

    /// Looks once.
    pub fn take(&mut self, inventory: &Inventory, processes: &Processes) -> Looked {
        // Of this process: the paths that it can ask by.
        let list = self.proc.join("self/mountinfo");
        let mounts = match mounts(&list) {
            Ok(mounts) => mounts,
            Err(e) => {
                return Looked {
                    counts: self.asker.counts(),
                    problems: vec![(cause(e.kind()), list.display().to_string())],
                    ..Looked::default()
                };
            }
        };
        let mut by_pod: BTreeMap<&str, Vec<Found<'_>>> = BTreeMap::new();
        for mount in own_file_systems(&mounts, &self.pods) {
            if let Some((pod, found)) = found(mount, &self.pods) {
                by_pod.entry(pod).or_default().push(found);
            }
        }
        let mut wanted: Vec<(&str, &str, &Mount)> = Vec::new();
        for (id, found) in &by_pod {
            if let Some(pod) = inventory.pods.get(*id) {
                let volumes = volumes_of(pod, found, |pid| self.devices(pid), processes);
                wanted.extend(volumes.into_iter().map(|(name, mount)| (*id, name, mount)));
            }
        }
        let asked: Vec<&Mount> = wanted.iter().map(|&(_, _, mount)| mount).collect();
        let said = self.asker.round(&asked);
        let mut uses = VolumeUses::new();
        for (pod, name, mount) in wanted {
            // Of what is mounted no more nothing is told.
            let Some(&known) = said.get(&mount.point) else {
                continue;
            };
            let volumes = uses.entry(pod.to_owned()).or_default();
            volumes.insert(name.to_owned(), known);
        }
        let refused = said
            .iter()
            .filter_map(|(point, known)| match known.standing {
                Standing::Refuses(kind) => Some((cause(kind), point.display().to_string())),
                Standing::Answers | Standing::Silent | Standing::NotAsked => None,
            });
        Looked {
            uses,
            counts: self.asker.counts(),
            problems: refused.collect(),
        }
    }

    /// What is mounted where for this process; nothing if it ended.
    fn devices(&self, pid: u32) -> HashMap<PathBuf, Device> {
        let list = self.proc.join(pid.to_string()).join("mountinfo");
        let mounts = mounts(&list).unwrap_or_default();
        mounts
            .into_iter()
            .map(|mount| (mount.point, mount.device))
            .collect()
    }
}

fn mounts(list: &Path) -> io::Result<Vec<Mount>> {
    let mut text = Vec::new();
    std::fs::File::open(list)?
        .take(MAX_LIST + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_LIST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(parse(&text))
}

fn cause(kind: io::ErrorKind) -> Cause {
    match kind {
        io::ErrorKind::PermissionDenied => Cause::Denied,
        io::ErrorKind::NotFound => Cause::Absent,
        io::ErrorKind::FileTooLarge => Cause::TooLarge,
        _ => Cause::Failed,
    }
}

/// A volume as the kubelet has it.
struct Found<'a> {
    /// Which of Kubernetes' drivers made it, such as `kubernetes.io~empty-dir`.
    driver: &'a str,
    /// Name of the volume in the pod, or of the PersistentVolume.
    name: &'a str,
    mount: &'a Mount,
}

/// `<pods>/<pod>/volumes/<driver>/<name>`, and below that `mount` where it is a CSI driver's.
fn found<'a>(mount: &'a Mount, pods: &Path) -> Option<(&'a str, Found<'a>)> {
    let path = mount.point.strip_prefix(pods).ok()?.to_str()?;
    let mut parts = path.split('/');
    let pod = parts.next()?;
    let (Some("volumes"), Some(driver), Some(name)) = (parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let whole = matches!(
        (parts.next(), parts.next()),
        (None, None) | (Some("mount"), None)
    );
    whole.then_some((
        pod,
        Found {
            driver,
            name,
            mount,
        },
    ))
}

/// Which of the pod's volumes are which of these. The kubelet has a claim's volume under the name of the
/// PersistentVolume, which the pod does not tell: where there is more than one, it is found by what is
/// mounted in a container where the claim is to be.
fn volumes_of<'p, 'm>(
    pod: &'p Pod,
    found: &[Found<'m>],
    devices: impl Fn(u32) -> HashMap<PathBuf, Device>,
    processes: &Processes,
) -> Vec<(&'p str, &'m Mount)> {
    let mut volumes = Vec::new();
    let mut of_claims = Vec::new();
    for found in found {
        match pod.volumes.iter().find(|volume| is(volume, found)) {
            Some(volume) if volume.kind.is_given() => {}
            Some(volume) => volumes.push((&*volume.name, found.mount)),
            None => of_claims.push(found.mount),
        }
    }
    let claims: Vec<&Volume> = pod
        .volumes
        .iter()
        .filter(|volume| volume.kind.is_claimed())
        .collect();
    if let ([claim], [mount]) = (&*claims, &*of_claims) {
        volumes.push((&claim.name, mount));
        return volumes;
    }
    if claims.is_empty() || of_claims.is_empty() {
        return volumes;
    }
    for (id, container) in &pod.containers {
        let missing = |volume: &str, volumes: &[(&str, &Mount)]| {
            claims.iter().any(|claim| claim.name == volume)
                && volumes.iter().all(|(known, _)| *known != volume)
        };
        let wanted = container.volumes.iter();
        if !wanted.clone().any(|m| missing(&m.volume, &volumes)) {
            continue;
        }
        let Some(&pid) = processes.get(id) else {
            continue;
        };
        let devices = devices(pid);
        for mounted in wanted {
            if !missing(&mounted.volume, &volumes) {
                continue;
            }
            let path = mounted
                .path
                .as_deref()
                .map(|path| path.trim_end_matches('/'));
            let device = path.and_then(|path| devices.get(Path::new(path)));
            let mount = of_claims.iter().find(|mount| device == Some(&mount.device));
            let volume = claims.iter().find(|claim| claim.name == mounted.volume);
            if let (Some(volume), Some(mount)) = (volume, mount) {
                volumes.push((&volume.name, mount));
            }
        }
    }
    volumes
}

/// Whether this is the volume of the pod that the kubelet has there under its own name.
fn is(volume: &Volume, found: &Found<'_>) -> bool {
    let empty_dir = matches!(
        volume.kind,
        VolumeKind::EmptyDir | VolumeKind::EmptyDirInMemory
    );
    !volume.kind.is_claimed()
        && volume.name == found.name
        && empty_dir == (found.driver == "kubernetes.io~empty-dir")
}

#[cfg(test)]
mod tests;
