//! Which cgroup hierarchy counts what: all in the one tree of v2, each controller in a tree of its
//! own in v1, or a mixture of both.

use std::fs;
use std::path::{Path, PathBuf};

use super::kept_file::Room;

/// The hierarchies that the figures are read from. A container's path is the same in all of them,
/// so only the first two are walked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Counts CPU time.
    pub(super) cpu: Option<Hierarchy>,
    pub(super) memory: Option<Hierarchy>,
    /// Limits CPU time.
    pub(super) bandwidth: Option<Hierarchy>,
    /// Counts block I/O. `None` also where v1 has the controller and it counts nothing. Whether it
    /// counts at all disks, the sampler finds out.
    pub(super) disk: Option<Hierarchy>,
    /// Whether v1 also has the sums over the cgroups below: since Linux 5.3.
    pub(super) disk_sums: bool,
    pub(super) freezer: Option<Hierarchy>,
    /// The v2 tree, on machines where it is the only one: elsewhere the processes need not be in
    /// the cgroups of it, and a cgroup without processes waits for nothing.
    pub(super) pressure: Option<Hierarchy>,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) root: PathBuf,
    pub(super) version: Version,
}

/// The two versions name and scale their files differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// More hierarchies than v1 has controllers: a limit for a root that is something else.
const MAX_MOUNTS: usize = 64;

impl Hierarchies {
    /// The room for keeping files of these hierarchies open.
    pub(super) fn room(&self, room: &Room) -> Room {
        let roots = self.cpu.iter().chain(&self.memory);
        roots
            .map(|hierarchy| room.on(&hierarchy.root))
            .next()
            .unwrap_or_else(|| room.none())
    }

    /// Whether a pod's cgroup counts what was killed in its containers: only v2 sums up over the
    /// cgroups below, also those that are gone.
    pub(super) fn counts_oom_kills(&self) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|hierarchy| hierarchy.version == Version::V2)
    }

    /// Looks below the directory where the cgroup file systems are mounted. The files tell, not
    /// the names: `cpuacct` may be mounted as itself, as `cpu,cpuacct` or under any other name.
    pub(super) fn discover(root: &Path) -> Hierarchies {
        if let Some(unified) = Unified::at(root) {
            return Hierarchies {
                cpu: Some(unified.hierarchy()),
                memory: unified.controller("memory"),
                bandwidth: unified.controller("cpu"),
                disk: unified.controller("io"),
                disk_sums: false,
                freezer: Some(unified.hierarchy()),
                pressure: Some(unified.hierarchy()),
            };
        }
        let mut mounts: Vec<PathBuf> = fs::read_dir(root)
            .into_iter()
            .flatten()
            .take(MAX_MOUNTS)
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        mounts.sort();
        let v1 = |found: &dyn Fn(&Path) -> bool| {
            let root = mounts.iter().find(|mount| found(mount))?.clone();
            Some(Hierarchy {
                root,
                version: Version::V1,
            })
        };
        let with = |file: &str| v1(&|mount: &Path| mount.join(file).exists());
        // The root of the freezer has no file of its own, so there the name has to tell.
        let freezer = v1(&|mount: &Path| {
            let name = mount.file_name().unwrap_or_default().as_encoded_bytes();
            name.split(|&b| b == b',').any(|part| part == b"freezer")
        });
        // On a hybrid machine the v2 tree has only the controllers that v1 does not; every cgroup
        // of v2 counts CPU time, controller or not.
        let unified = mounts.iter().find_map(|mount| Unified::at(mount));
        let controller = |name| unified.as_ref().and_then(|u| u.controller(name));
        Hierarchies {
            cpu: with("cpuacct.usage").or_else(|| unified.as_ref().map(Unified::hierarchy)),
            memory: with("memory.usage_in_bytes").or_else(|| controller("memory")),
            bandwidth: with("cpu.cfs_quota_us").or_else(|| controller("cpu")),
            disk: v1(&|mount: &Path| {
                let file = mount.join("blkio.throttle.io_service_bytes");
                // Only where it counts does the root name the devices.
                fs::read_to_string(file).is_ok_and(|text| text.contains(':'))
            })
            .or_else(|| controller("io")),
            disk_sums: with("blkio.throttle.io_service_bytes_recursive").is_some(),
            freezer,
            pressure: None,
        }
    }
}

/// The root of a v2 tree.
struct Unified {
    root: PathBuf,
    controllers: String,
}

impl Unified {
    fn at(root: &Path) -> Option<Unified> {
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
        Some(Unified {
            root: root.to_owned(),
            controllers,
        })
    }

    fn hierarchy(&self) -> Hierarchy {
        Hierarchy {
            root: self.root.clone(),
            version: Version::V2,
        }
    }

    fn controller(&self, name: &str) -> Option<Hierarchy> {
        self.controllers
            .split_whitespace()
            .any(|c| c == name)
            .then(|| self.hierarchy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    type Found = Option<(String, Version)>;

    fn found(files: &[(&str, &str)]) -> (Found, Found) {
        let dir = tree(files);
        let name = |h| named(dir.path(), h);
        let Hierarchies { cpu, memory, .. } = Hierarchies::discover(dir.path());
        (cpu.map(name), memory.map(name))
    }

    fn named(dir: &Path, h: Hierarchy) -> (String, Version) {
        let name = h.root.strip_prefix(dir).unwrap().to_str().unwrap();
        (name.to_owned(), h.version)
    }

    /// Those of throttling, disk, freezer and pressure.
    fn further(files: &[(&str, &str)]) -> [Found; 4] {
        let dir = tree(files);
        let found = Hierarchies::discover(dir.path());
        let Hierarchies {
            bandwidth,
            disk,
            freezer,
            pressure,
            ..
        } = found;
        [bandwidth, disk, freezer, pressure].map(|h| h.map(|h| named(dir.path(), h)))
    }

    #[test]
    fn further_controllers() {
        let v2 = some("", Version::V2);
        assert_eq!(
            further(&[("cgroup.controllers", "cpuset cpu io memory pids\n")]),
            [v2.clone(), v2.clone(), v2.clone(), v2.clone()]
        );
        assert_eq!(
            further(&[("cgroup.controllers", "memory\n")]),
            [None, None, v2.clone(), v2],
            "every v2 cgroup can be frozen and has pressure"
        );
        let v1 = [
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1"),
            (
                "blkio/blkio.throttle.io_service_bytes",
                "8:0 Read 0\nTotal 0\n",
            ),
            ("freezer/cgroup.procs", ""),
            ("memory/memory.usage_in_bytes", ""),
        ];
        assert_eq!(
            further(&v1),
            [
                some("cpu,cpuacct", Version::V1),
                some("blkio", Version::V1),
                some("freezer", Version::V1),
                None
            ]
        );
        let idle = [("blkio/blkio.throttle.io_service_bytes", "Total 0\n")];
        assert_eq!(further(&idle)[1], None, "it counts nothing");
        let hybrid = [v1[0], v1[2], ("unified/cgroup.controllers", "io")];
        assert_eq!(
            further(&hybrid),
            [
                some("cpu,cpuacct", Version::V1),
                some("unified", Version::V2),
                some("freezer", Version::V1),
                None
            ]
        );
        assert_eq!(further(&[]), [None, None, None, None]);
    }

    fn some(name: &str, version: Version) -> Found {
        Some((name.to_owned(), version))
    }

    #[test]
    fn v2() {
        assert_eq!(
            found(&[("cgroup.controllers", "cpuset cpu io memory pids\n")]),
            (some("", Version::V2), some("", Version::V2))
        );
        assert_eq!(
            found(&[("cgroup.controllers", "cpu pids\n")]),
            (some("", Version::V2), None)
        );
    }

    #[test]
    fn v1_under_any_name() {
        assert_eq!(
            found(&[
                ("cpuacct/cpuacct.usage", "1"),
                ("memory/memory.usage_in_bytes", "1")
            ]),
            (some("cpuacct", Version::V1), some("memory", Version::V1))
        );
        assert_eq!(
            found(&[
                ("cpu,cpuacct/cpuacct.usage", "1"),
                ("mem/memory.usage_in_bytes", "1")
            ]),
            (some("cpu,cpuacct", Version::V1), some("mem", Version::V1))
        );
    }

    #[test]
    fn hybrid_prefers_v1_and_takes_the_rest_from_v2() {
        let v1 = [
            ("cpuacct/cpuacct.usage", "1"),
            ("memory/memory.usage_in_bytes", "1"),
        ];
        assert_eq!(
            found(&[v1[0], v1[1], ("unified/cgroup.controllers", "")]),
            (some("cpuacct", Version::V1), some("memory", Version::V1))
        );
        assert_eq!(
            found(&[v1[0], ("unified/cgroup.controllers", "memory")]),
            (some("cpuacct", Version::V1), some("unified", Version::V2))
        );
        assert_eq!(
            found(&[v1[1], ("unified/cgroup.controllers", "")]),
            (some("unified", Version::V2), some("memory", Version::V1))
        );
        assert_eq!(
            found(&[v1[0], ("unified/cgroup.controllers", "")]),
            (some("cpuacct", Version::V1), None)
        );
    }

    #[test]
    fn nothing() {
        assert_eq!(found(&[]), (None, None));
        assert_eq!(
            Hierarchies::discover(Path::new("/nonexistent")),
            Hierarchies::default()
        );
    }
}
