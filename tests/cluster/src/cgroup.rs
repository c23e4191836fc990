//! The cgroups of a cluster: one tree per cluster, one directory in it per node, in every
//! hierarchy that this machine has mounted.
//!
//! Version 1 (and hybrid) is what the tests run on. The version 2 part (one hierarchy whose
//! controllers must be handed down step by step) was written from documents and is **untried**.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{At, Error, Result};
use crate::patience::Patience;

/// `ENODEV`.
const NO_DEVICE: i32 = rustix::io::Errno::NODEV.raw_os_error();

/// Dying processes leave their cgroups within milliseconds; this is for a busy machine.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

/// Names the cgroup, relative to the hierarchy's root, below which clusters put theirs on a
/// version 2 host: a subtree that was delegated to the caller.
const PARENT_VARIABLE: &str = "HARNESS_CGROUP_PARENT";

/// The hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Mount points of version 1 hierarchies, named ones included.
    v1: Vec<PathBuf>,
    /// Mount point of the version 2 hierarchy.
    v2: Option<PathBuf>,
}

/// The cgroups of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterCgroups {
    hierarchies: Hierarchies,
    /// The tree's path below the root of each hierarchy, without a slash at its start.
    tree: String,
}

impl Hierarchies {
    /// The hierarchies that are mounted now.
    pub(crate) fn of_this_machine() -> Result<Hierarchies> {
        let path = Path::new("/proc/self/mountinfo");
        let hierarchies = parse_mounts(&std::fs::read_to_string(path).at("read", path)?);
        if hierarchies.v1.is_empty() && hierarchies.v2.is_none() {
            return Err(Error::Unable(
                "no cgroup hierarchy is mounted on this machine, and Kubernetes cannot run without"
                    .into(),
            ));
        }
        Ok(hierarchies)
    }

    /// Whether the resource controllers are in the version 2 hierarchy.
    pub(crate) fn are_v2(&self) -> bool {
        !self.v1.iter().any(|mount| controls(mount, "memory"))
    }

    /// The hierarchy of this controller, whatever the machine.
    fn with(&self, controller: &str) -> Option<&PathBuf> {
        self.v1
            .iter()
            .find(|mount| controls(mount, controller))
            .or(self.v2.as_ref())
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().chain(&self.v2)
    }
}

/// Mount points of version 1 are named by their controllers, as in `memory` or `cpu,cpuacct`.
fn controls(mount: &Path, controller: &str) -> bool {
    let name = mount.file_name().unwrap_or_default().to_string_lossy();
    name.split(',').any(|named| named == controller)
}

impl ClusterCgroups {
    /// The cgroups of the cluster with this prefix. Their name says whose they are (`mark` tells
    /// the clusters of several caches apart), so that removing them by name never meets another's.
    pub(crate) fn new(hierarchies: Hierarchies, prefix: &str, mark: &str) -> ClusterCgroups {
        let parent = if hierarchies.are_v2() {
            std::env::var(PARENT_VARIABLE).unwrap_or_default()
        } else {
            String::new()
        };
        ClusterCgroups {
            tree: tree_name(&parent, &format!("throwaway-{prefix}-{mark}")),
            hierarchies,
        }
    }

    /// Whether kubelet finds version 2.
    pub(crate) fn are_v2(&self) -> bool {
        self.hierarchies.are_v2()
    }

    /// The tree's path, without a slash at its start.
    pub(crate) fn tree(&self) -> &str {
        &self.tree
    }

    /// The tree in every hierarchy, whether it exists or not.
    pub(crate) fn trees(&self) -> Vec<PathBuf> {
        self.hierarchies
            .all()
            .map(|mount| mount.join(&self.tree))
            .collect()
    }

    /// What kubelet calls the cgroup of a node.
    pub(crate) fn of_node(&self, node: &str) -> String {
        format!("/{}/{node}", self.tree)
    }

    /// The pids, as this machine counts them, of a container of a node. None when it has no cgroup
    /// there.
    pub(crate) fn processes_of_container(&self, node: &str, id: &str) -> Result<Vec<i32>> {
        let mut found = Vec::new();
        for directory in self.of_container("memory", node, id)? {
            found.extend(pids(&directory.join("cgroup.procs"))?);
        }
        Ok(found)
    }

    /// Leaves a container of a node this part of one CPU, a millisecond in each of its turns.
    pub(crate) fn slow_container(&self, node: &str, id: &str, part: u32) -> Result<()> {
        let period = 1000 * part;
        // Those below it have what it has; it comes first.
        let Some(directory) = self.of_container("cpu", node, id)?.into_iter().next() else {
            return Err(Error::Invalid(format!(
                "container {id} of {node} has no cgroup of CPU"
            )));
        };
        let files = match self.are_v2() {
            true => vec![("cpu.max", format!("1000 {period}"))],
            false => vec![
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", "1000".to_owned()),
            ],
        };
        for (file, text) in files {
            let file = directory.join(file);
            std::fs::write(&file, text).at("write", &file)?;
        }
        Ok(())
    }

    /// The cgroup of a container of a node in this controller's hierarchy, and those below it, the outer ones
    /// first.
    fn of_container(&self, controller: &str, node: &str, id: &str) -> Result<Vec<PathBuf>> {
        let Some(mount) = self.hierarchies.with(controller) else {
            return Ok(Vec::new());
        };
        let top = mount.join(&self.tree).join(node);
        let mut found = Vec::new();
        let mut left = vec![(top, false)];
        while let Some((directory, inside)) = left.pop() {
            let inside = inside
                || directory
                    .file_name()
                    .is_some_and(|name| is_container(&name.to_string_lossy(), id));
            let entries = match std::fs::read_dir(&directory) {
                // Another container's may go at any time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.at("read directory", &directory)?,
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    left.push((entry.path(), inside));
                }
            }
            if inside {
                found.push(directory);
            }
        }
        Ok(found)
    }

    /// Makes a node's cgroups anew: what a crashed node left is removed.
    pub(crate) fn create(&self, node: &str) -> Result<()> {
        self.remove_node(node)?;
        // On version 1 every hierarchy must have the directory before kubelet starts.
        for mount in &self.hierarchies.v1 {
            let directory = mount.join(&self.tree).join(node);
            std::fs::create_dir_all(&directory).at("create cgroup", &directory)?;
        }
        match &self.hierarchies.v2 {
            Some(mount) if self.are_v2() => create_with_controllers(mount, &self.tree, node),
            _ => Ok(()),
        }
    }

    /// Lets everything of the cluster run that somebody froze. In version 1 a frozen process does not end, not even
    /// by SIGKILL, before it is thawed; in version 2 it does.
    pub(crate) fn thaw(&self) -> Result<()> {
        let trees = self.hierarchies.v1.iter().map(|v1| v1.join(&self.tree));
        trees.into_iter().try_for_each(|tree| thaw_tree(&tree))
    }

    /// Removes what a node has left.
    pub(crate) fn remove_node(&self, node: &str) -> Result<()> {
        self.trees()
            .iter()
            .try_for_each(|tree| remove_tree(&tree.join(node)))
    }

    /// Removes everything of the cluster.
    pub(crate) fn remove(&self) -> Result<()> {
        self.trees().iter().try_for_each(|tree| remove_tree(tree))
    }
}

/// Whether a cgroup's name is a container's: its ID, or that in the way of systemd.
fn is_container(name: &str, id: &str) -> bool {
    !id.is_empty() && (name == id || name == format!("cri-containerd-{id}.scope"))
}

fn pids(file: &Path) -> Result<Vec<i32>> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => Ok(text
            .at("read", file)?
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()),
    }
}

fn tree_name(parent: &str, name: &str) -> String {
    match parent.trim_matches('/') {
        "" => name.to_owned(),
        parent => format!("{parent}/{name}"),
    }
}

/// The version 2 way (untried): each level hands its controllers to the next one.
fn create_with_controllers(mount: &Path, tree: &str, node: &str) -> Result<()> {
    let mut directory = mount.to_path_buf();
    for part in tree.split('/').chain([node]) {
        let file = directory.join("cgroup.controllers");
        let controllers = std::fs::read_to_string(&file).at("read", &file)?;
        let enable: Vec<String> = controllers
            .split_ascii_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        let file = directory.join("cgroup.subtree_control");
        std::fs::write(&file, enable.join(" ")).map_err(|error| {
            Error::Unable(format!(
                "cannot hand cgroup controllers down in {}: {error}; name a delegated cgroup without processes of its own in {PARENT_VARIABLE}",
                directory.display()
            ))
        })?;
        directory.push(part);
        std::fs::create_dir_all(&directory).at("create cgroup", &directory)?;
    }
    Ok(())
}

/// Thaws a cgroup and then those below it: one is frozen for as long as one above it is.
fn thaw_tree(directory: &Path) -> Result<()> {
    let gone = |error: &io::Error| {
        // A cgroup that is removed while one of its files is open says the latter.
        error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_DEVICE)
    };
    let state = directory.join("freezer.state");
    match std::fs::read_to_string(&state) {
        Ok(text) if text.trim() != "THAWED" => match std::fs::write(&state, "THAWED") {
            Err(error) if !gone(&error) => return Err(error).at("thaw", &state),
            _ => {}
        },
        Err(error) if !gone(&error) => return Err(error).at("read", &state),
        _ => {}
    }
    let entries = match std::fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries.at("read directory", directory)?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            thaw_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a cgroup and those below it, waiting for processes that are dying.
fn remove_tree(directory: &Path) -> Result<()> {
    let mut patience = Patience::new(REMOVAL_LIMIT);
    loop {
        match try_remove_tree(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && !patience.is_over() => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).at("remove cgroup", directory),
        }
    }
}

fn try_remove_tree(directory: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // The files of a cgroup go with it.
        if entry.file_type()?.is_dir() {
            try_remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(directory) {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The cgroup mounts of a mountinfo file; of several at one place the last one is seen.
fn parse_mounts(mountinfo: &str) -> Hierarchies {
    let mut hierarchies = Hierarchies {
        v1: Vec::new(),
        v2: None,
    };
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        // Only whole hierarchies: a part of one that is mounted elsewhere is another's business.
        if root != "/" {
            continue;
        }
        let point = PathBuf::from(point);
        match filesystem.split(' ').next() {
            Some("cgroup") if !hierarchies.v1.contains(&point) => hierarchies.v1.push(point),
            Some("cgroup2") => hierarchies.v2 = Some(point),
            _ => {}
        }
    }
    hierarchies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const V1: &str = "\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
35 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 30 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
37 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
38 30 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
39 30 0:31 /docker/x /elsewhere rw - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid_hierarchies() {
        let found = parse_mounts(V1);
        assert_eq!(found.v1.len(), 3);
        assert_eq!(
            found.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert!(!found.are_v2());
        let cgroups = ClusterCgroups::new(found, "t0", "123456");
        assert_eq!(cgroups.of_node("node1"), "/throwaway-t0-123456/node1");
        assert_eq!(
            cgroups.trees()[1],
            Path::new("/sys/fs/cgroup/memory/throwaway-t0-123456")
        );
        assert_eq!(
            cgroups.trees()[3],
            Path::new("/sys/fs/cgroup/unified/throwaway-t0-123456")
        );
    }

    #[test]
    fn a_version_2_machine() {
        let found = parse_mounts("30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
        assert!(found.are_v2());
    }

    #[test]
    fn a_tree_below_a_delegated_cgroup() {
        assert_eq!(tree_name("/user.slice/x/", "t"), "user.slice/x/t");
        assert_eq!(tree_name("", "t"), "t");
    }

    #[test]
    fn processes_of_a_container_are_found_wherever_its_cgroup_is() {
        let scratch = Scratch::new();
        let mount = scratch.path().join("memory");
        let pod = mount.join("throwaway-t0-m/node1/kubepods/burstable/podx");
        for (name, text) in [("abc", "1\n2\n"), ("abc/below", "3\n"), ("abcd", "4\n")] {
            std::fs::create_dir_all(pod.join(name)).unwrap();
            std::fs::write(pod.join(name).join("cgroup.procs"), text).unwrap();
        }
        let cgroups = ClusterCgroups::new(
            Hierarchies {
                v1: vec![mount],
                v2: None,
            },
            "t0",
            "m",
        );
        let of = |node, id| cgroups.processes_of_container(node, id).unwrap();
        assert_eq!(of("node1", "abc"), [1, 2, 3]);
        assert_eq!(of("node1", "abcd"), [4]);
        assert_eq!(of("node1", ""), [0; 0]);
        assert_eq!(of("node2", "abc"), [0; 0]);
        assert!(is_container("cri-containerd-abc.scope", "abc"));
    }

    #[test]
    fn what_is_frozen_is_thawed_and_nothing_of_others() {
        let scratch = Scratch::new();
        let mounts = ["freezer", "memory"].map(|name| scratch.path().join(name));
        let pod = "node1/kubepods/podx";
        let state =
            |tree: &str, below: &str| mounts[0].join(tree).join(below).join("freezer.state");
        let all = [
            state("throwaway-t0-m", ""),
            state("throwaway-t0-m", pod),
            state("throwaway-t0-m", &format!("{pod}/abc")),
            state("throwaway-t1-m", pod),
        ];
        for (file, text) in all.iter().zip(["THAWED", "FROZEN", "FREEZING", "FROZEN"]) {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{text}\n")).unwrap();
        }
        let hierarchies = Hierarchies {
            v1: mounts.to_vec(),
            v2: None,
        };
        ClusterCgroups::new(hierarchies, "t0", "m").thaw().unwrap();
        let now = all.map(|file| std::fs::read_to_string(file).unwrap());
        assert_eq!(now, ["THAWED\n", "THAWED", "THAWED", "FROZEN\n"]);
    }

    /// By the kernel; where this machine has no freezer of version 1, or does not let us have it, it says so.
    #[test]
    fn a_frozen_process_can_be_ended_once_it_is_thawed() {
        let freezer = Hierarchies::of_this_machine().ok().and_then(|all| {
            let mut v1 = all.v1.into_iter();
            v1.find(|mount| mount.ends_with("freezer"))
        });
        let Some(freezer) = freezer else {
            eprintln!("not tried: this machine has no freezer of version 1");
            return;
        };
        let cgroups = ClusterCgroups {
            hierarchies: Hierarchies {
                v1: vec![freezer.clone()],
                v2: None,
            },
            tree: format!("throwaway-thaw-{}", std::process::id()),
        };
        if let Err(error) = cgroups.create("node1") {
            eprintln!("not tried: {error}");
            return;
        }
        let cgroup = freezer.join(&cgroups.tree).join("node1/podx");
        std::fs::create_dir(&cgroup).unwrap();
        let mut sleeper = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        std::fs::write(cgroup.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        std::fs::write(cgroup.join("freezer.state"), "FROZEN").unwrap();
        let state = || std::fs::read_to_string(cgroup.join("freezer.state")).unwrap();
        while state().trim() != "FROZEN" {
            std::thread::yield_now();
        }
        sleeper.kill().unwrap();
        assert!(sleeper.try_wait().unwrap().is_none(), "it stands");
        cgroups.thaw().unwrap();
        sleeper.wait().unwrap();
        cgroups.remove().unwrap();
        assert!(!freezer.join(&cgroups.tree).exists());
    }

    #[test]
    fn trees_are_made_and_removed_in_every_hierarchy() {
        let scratch = Scratch::new();
        let mounts = ["memory", "pids"].map(|name| scratch.path().join(name));
        let hierarchies = Hierarchies {
            v1: mounts.to_vec(),
            v2: None,
        };
        let cgroups = ClusterCgroups {
            hierarchies,
            tree: "throwaway-t0".into(),
        };
        cgroups.create("node1").unwrap();
        std::fs::create_dir_all(mounts[1].join("throwaway-t0/node1/kubepods/pod1")).unwrap();
        cgroups.create("node1").unwrap();
        assert!(mounts[1].join("throwaway-t0/node1").is_dir());
        assert!(!mounts[1].join("throwaway-t0/node1/kubepods").exists());
        cgroups.remove().unwrap();
        cgroups.remove().unwrap();
        assert!(!mounts[0].join("throwaway-t0").exists());
    }

    #[test]
    fn version_2_controllers_are_handed_down() {
        let scratch = Scratch::new();
        for level in ["", "throwaway-t0"] {
            let directory = scratch.path().join(level);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("cgroup.controllers"), "cpu memory\n").unwrap();
        }
        create_with_controllers(scratch.path(), "throwaway-t0", "node1").unwrap();
        let written =
            std::fs::read_to_string(scratch.path().join("throwaway-t0/cgroup.subtree_control"));
        assert_eq!(written.unwrap(), "+cpu +memory");
        assert!(scratch.path().join("throwaway-t0/node1").is_dir());
    }
}
