use super::*;
use crate::volumes::{Place, Space};
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
            "1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 /kubelet/pods /k/pods rw - ext4 a rw\n".to_owned();
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
        let ask = move |place: &Place| {
            let mut asked = asked.lock().unwrap();
            let used = asked.len() as u64;
            let path = place.point.display().to_string();
            let refused = path.ends_with("/refused");
            asked.push(path);
            match refused {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(Some(Space {
                    used,
                    ..Space::default()
                })),
            }
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
        assert_eq!(looked.problems, []);
        let asked = self.asked.lock().unwrap();
        let uses = looked.uses.get(UID).cloned().unwrap_or_default();
        uses.into_iter()
            .map(|(name, known)| {
                let used = known.fresh().expect("an answer").used;
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
        uid: UID.into(),
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
fn a_file_system_that_refuses_is_said() {
    let made = Made::new(&[("0:11", "empty-dir", "refused")]);
    let pod = pod(&[("refused", VolumeKind::EmptyDirInMemory)], &[]);
    let inventory = Inventory {
        pods: [(UID.to_owned(), pod)].into(),
        ..Inventory::default()
    };
    let looked = made.look().take(&inventory, &Processes::new());
    let refused = Standing::Refuses(io::ErrorKind::PermissionDenied);
    assert_eq!(looked.uses[UID]["refused"].standing, refused);
    let [(cause, path)] = &*looked.problems else {
        panic!("one: {:?}", looked.problems);
    };
    assert!(*cause == Cause::Denied && path.ends_with("empty-dir/refused"));
}

#[test]
fn a_list_that_cannot_be_read_is_said() {
    let made = Made::new(&[]);
    let list = made.directory.path().join("self/mountinfo");
    fs::remove_file(&list).expect("removes");
    let looked = made.look().take(&Inventory::default(), &Processes::new());
    let problem = (Cause::Absent, list.display().to_string());
    assert_eq!(looked.problems, [problem]);
    // One line that never ends.
    let file = fs::File::create(&list).expect("creates");
    file.set_len(MAX_LIST + 1).expect("a hole");
    let looked = made.look().take(&Inventory::default(), &Processes::new());
    assert_eq!(looked.problems[0].0, Cause::TooLarge);
}
