//! One look at the volumes of this node's pods.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::asker::{Asker, Counts};
use super::mounts::{Device, Mount, own_file_systems, parse};
use super::{VolumeUse, VolumeUses};
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
    /// Why the list of mounts could not be read, and its path.
    pub problem: Option<(Cause, String)>,
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
                    problem: Some((cause(&e), list.display().to_string())),
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
            let known = said.get(&mount.point).copied().unwrap_or(VolumeUse {
                space: None,
                stale: true,
            });
            let volumes = uses.entry(pod.to_owned()).or_default();
            volumes.insert(name.to_owned(), known);
        }
        Looked {
            uses,
            counts: self.asker.counts(),
            problem: None,
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

fn cause(e: &io::Error) -> Cause {
    match e.kind() {
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
mod tests {
    use super::*;
    use crate::volumes::Space;
    use std::fs;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    struct Made {
        directory: tempfile::TempDir,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Made {
        /// A node on whose disk the kubelet's directory is, with these mounts in this pod's: the device,
        /// the driver and the rest of the path of each.
        fn new(mounts: &[(&str, &str, &str)]) -> Self {
            let made = Made {
                directory: tempfile::tempdir().expect("a directory"),
                asked: Arc::default(),
            };
            let mut list =
                "1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 /kubelet/pods /k/pods rw - ext4 a rw\n"
                    .to_owned();
            for (n, (device, driver, rest)) in mounts.iter().enumerate() {
                let id = n + 3;
                list.push_str(&format!(
                    "{id} 2 {device} / /k/pods/{UID}/volumes/kubernetes.io~{driver}/{rest} rw - x y rw\n"
                ));
            }
            made.list("self", &list);
            made
        }

        fn list(&self, process: &str, list: &str) {
            let directory = self.directory.path().join(process);
            fs::create_dir_all(&directory).expect("a directory");
            fs::write(directory.join("mountinfo"), list).expect("writes");
        }

        fn look(&self) -> Look {
            let asked = self.asked.clone();
            let ask = move |path: &Path| {
                let mut asked = asked.lock().unwrap();
                let used = asked.len() as u64;
                asked.push(path.display().to_string());
                Ok(Space {
                    used,
                    ..Space::default()
                })
            };
            let asker = Asker::new(Arc::new(ask), Duration::from_secs(5));
            Look::new(self.directory.path(), Path::new("/k"), asker)
        }

        /// The end of the path that was asked for each volume of the pod.
        fn found(&self, pod: &Pod, processes: &Processes) -> Vec<(String, String)> {
            let inventory = Inventory {
                pods: [(UID.to_owned(), pod.clone())].into(),
                ..Inventory::default()
            };
            let looked = self.look().take(&inventory, processes);
            assert_eq!(looked.problem, None);
            let asked = self.asked.lock().unwrap();
            let uses = looked.uses.get(UID).cloned().unwrap_or_default();
            uses.into_iter()
                .map(|(name, known)| {
                    assert!(!known.stale);
                    let used = known.space.expect("an answer").used;
                    let end = asked[used as usize].rsplit_once('~').expect("a driver").1;
                    (name, end.to_owned())
                })
                .collect()
        }
    }

    fn pod(volumes: &[(&str, VolumeKind)], mounted: &[(&str, &str)]) -> Pod {
        let app = crate::inventory::Container {
            name: "app".into(),
            image: String::new(),
            image_id: String::new(),
            runtime: "containerd".into(),
            started: None,
            kind: crate::inventory::ContainerKind::App,
            liveness: false,
            starting: false,
            runs_once: false,
            restarts: 0,
            last_termination: None,
            volumes: mounted
                .iter()
                .map(|(volume, path)| crate::inventory::MountedVolume {
                    volume: (*volume).into(),
                    path: Some((*path).into()),
                })
                .collect(),
        };
        Pod {
            id: UID.into(),
            namespace: "demo".into(),
            name: "web".into(),
            mirror: false,
            grace: None,
            host_network: false,
            ips: Vec::new(),
            containers: [("c".into(), app)].into(),
            stopped: BTreeMap::new(),
            volumes: volumes
                .iter()
                .map(|&(name, kind)| Volume {
                    name: name.into(),
                    kind,
                })
                .collect(),
            owners: Vec::new(),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn what_can_fill_up_is_asked_and_nothing_else() {
        let made = Made::new(&[
            ("0:11", "empty-dir", "cache"),
            ("8:1", "empty-dir", "disk"),
            ("0:12", "secret", "password"),
            ("0:13", "projected", "token"),
            ("0:14", "csi", "inline/mount"),
            ("0:15", "nfs", "export"),
            ("0:16", "csi", "inline/other"),
            ("0:17", "csi", "inline/mount/deeper"),
            ("0:18", "empty-dir", "nobodys"),
        ]);
        let pod = pod(
            &[
                ("cache", VolumeKind::EmptyDirInMemory),
                ("disk", VolumeKind::EmptyDir),
                ("password", VolumeKind::Secret),
                ("token", VolumeKind::Projected),
                ("inline", VolumeKind::Csi),
                ("export", VolumeKind::Nfs),
                ("node", VolumeKind::HostPath),
            ],
            &[],
        );
        let found = made.found(&pod, &Processes::new());
        let want = [
            ("cache", "empty-dir/cache"),
            ("export", "nfs/export"),
            ("inline", "csi/inline/mount"),
        ];
        assert_eq!(found, pairs(&want));
        assert_eq!(made.asked.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_pod_that_nobody_knows_is_not_looked_at() {
        let made = Made::new(&[("0:11", "empty-dir", "cache")]);
        let looked = made.look().take(&Inventory::default(), &Processes::new());
        assert_eq!(looked, Looked::default());
    }

    #[test]
    fn the_one_claim_has_the_one_volume_that_no_name_fits() {
        let made = Made::new(&[
            ("0:11", "empty-dir", "cache"),
            ("8:17", "csi", "pvc-1/mount"),
        ]);
        // A PersistentVolume may have the name of another volume.
        for kind in [VolumeKind::Claim, VolumeKind::EphemeralClaim] {
            let pod = pod(
                &[("data", kind), ("cache", VolumeKind::EmptyDirInMemory)],
                &[],
            );
            let found = made.found(&pod, &Processes::new());
            let want = [("cache", "empty-dir/cache"), ("data", "csi/pvc-1/mount")];
            assert_eq!(found, pairs(&want));
        }
    }

    #[test]
    fn several_claims_are_told_apart_by_what_the_container_has_mounted() {
        let made = Made::new(&[
            ("8:17", "csi", "pvc-1/mount"),
            ("8:33", "local-volume", "disk-7"),
        ]);
        made.list(
            "77",
            "9 0 0:40 / / rw - overlay o rw\n10 9 8:33 / /data rw - ext4 b rw\n\
             11 9 8:17 /sub /var/log rw - ext4 c rw\n",
        );
        let claims = [
            ("data", VolumeKind::Claim),
            ("logs", VolumeKind::Claim),
            ("unused", VolumeKind::Claim),
        ];
        let pod = pod(&claims, &[("data", "/data/"), ("logs", "/var/log")]);
        let processes = Processes::from([("c".to_owned(), 77)]);
        let found = made.found(&pod, &processes);
        let want = [("data", "local-volume/disk-7"), ("logs", "csi/pvc-1/mount")];
        assert_eq!(found, pairs(&want));
        // Without a process nothing is known, and nothing is guessed.
        assert_eq!(made.found(&pod, &Processes::new()), []);
        let gone = Processes::from([("c".to_owned(), 78)]);
        assert_eq!(made.found(&pod, &gone), []);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_said() {
        let made = Made::new(&[]);
        let list = made.directory.path().join("self/mountinfo");
        fs::remove_file(&list).expect("removes");
        let looked = made.look().take(&Inventory::default(), &Processes::new());
        let problem = Some((Cause::Absent, list.display().to_string()));
        assert_eq!(looked.problem, problem);
        // One line that never ends.
        let file = fs::File::create(&list).expect("creates");
        file.set_len(MAX_LIST + 1).expect("a hole");
        let looked = made.look().take(&Inventory::default(), &Processes::new());
        assert_eq!(
            looked.problem.map(|(cause, _)| cause),
            Some(Cause::TooLarge)
        );
    }
}
