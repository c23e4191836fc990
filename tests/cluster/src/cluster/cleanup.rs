//! Takes clusters down, and finds what one has left.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::control_plane::remove_host_link;
use crate::cgroup::{ClusterCgroups, Hierarchies};
use crate::error::{At, Error, Result};
use crate::layout::{Layout, remove};
use crate::network::host_link;
use crate::record::{self, Lock, Record, check_prefix, lock_file};

/// How long the kernel may take to end all processes of a cluster.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// Takes down everything that the clusters of killed runs have left. Clusters that belong to a
/// running process, or that were started to stay, are left alone.
pub fn sweep() -> Result<()> {
    let layout = Layout::from_environment()?;
    let _common = lock_common(&layout)?;
    sweep_locked(&layout)
}

/// Takes the cluster of a prefix down, in whatever state it is. One that belongs to a running
/// process is that process's to take down. False when there was none.
pub fn take_down(prefix: &str) -> Result<bool> {
    check_prefix(prefix)?;
    let layout = Layout::from_environment()?;
    let common = lock_common(&layout)?;
    let _lock = Lock::take(&layout, prefix)?;
    drop(common);
    let was_there = layout.record(prefix).exists();
    remove_cluster(&layout, prefix)?;
    Ok(was_there)
}

/// Waits for the right to work on all clusters. Whoever takes a cluster's own lock takes this one
/// first, so that a sweep in progress does not look like a cluster in use.
pub(super) fn lock_common(layout: &Layout) -> Result<File> {
    let path = layout.common_lock();
    let file = lock_file(&path)?;
    file.lock().at("lock", &path)?;
    Ok(file)
}

/// The sweep itself, for those who have the common lock.
pub(super) fn sweep_locked(layout: &Layout) -> Result<()> {
    for record in record::all(layout)? {
        // Whoever holds the lock is at work on it.
        let Some(_lock) = Lock::try_take(layout, &record.prefix)? else {
            continue;
        };
        if !(record.detached && record.runs()) {
            remove_cluster(layout, &record.prefix)?;
        }
    }
    Ok(())
}

/// Ends the processes of a cluster by its record, and removes everything else by its prefix. What
/// is gone already is no error; the caller holds the cluster's lock.
pub(super) fn remove_cluster(layout: &Layout, prefix: &str) -> Result<()> {
    let path = layout.record(prefix);
    let cgroups = cgroups_of(layout, prefix)?;
    // What was frozen by a run that broke off would not end.
    cgroups.thaw()?;
    if let Some(record) = Record::read(&path)? {
        kill_machines(&record)?;
    }
    remove_host_link(&host_link(prefix, &layout.mark()))?;
    cgroups.remove()?;
    remove(&layout.cluster(prefix))?;
    // Last: as long as it is there, a sweep comes back to it.
    remove(&path)
}

fn cgroups_of(layout: &Layout, prefix: &str) -> Result<ClusterCgroups> {
    Ok(ClusterCgroups::new(
        Hierarchies::of_this_machine()?,
        prefix,
        &layout.mark(),
    ))
}

/// Ends all machines at the same time; the kernel needs a while for each.
fn kill_machines(record: &Record) -> Result<()> {
    let machines = record.running();
    std::thread::scope(|scope| {
        let threads: Vec<_> = machines
            .iter()
            .map(|machine| {
                scope.spawn(|| {
                    machine
                        .init
                        .kill(KILL_LIMIT)
                        .at("kill the machine", &machine.name)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::Unable("killing a machine broke down".into())))
        });
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// What there is of the cluster of this prefix on this machine, in words: processes, mounts,
/// links, cgroups, directories. Nothing, after it was taken down.
pub fn leftovers(prefix: &str) -> Result<Vec<String>> {
    check_prefix(prefix)?;
    let layout = Layout::from_environment()?;
    let directory = layout.cluster(prefix);
    let mut found = Vec::new();
    for path in [layout.record(prefix), directory.clone()] {
        if path.exists() {
            found.push(format!("file {}", path.display()));
        }
    }
    let link = host_link(prefix, &layout.mark());
    if Path::new("/sys/class/net").join(&link).exists() {
        found.push(format!("link {link}"));
    }
    let cgroups = cgroups_of(&layout, prefix)?;
    for tree in cgroups.trees() {
        if tree.exists() {
            found.push(format!("cgroup {}", tree.display()));
        }
    }
    let mounts = Path::new("/proc/self/mountinfo");
    let directory = directory.display().to_string();
    for line in std::fs::read_to_string(mounts).at("read", mounts)?.lines() {
        if mentions_directory(line, &directory) {
            found.push(format!("mount {line}"));
        }
    }
    found.extend(processes_of(&directory, &format!("/{}", cgroups.tree()))?);
    Ok(found)
}

/// The processes whose command line, cgroup or mounts have something of a cluster in them.
fn processes_of(directory: &str, cgroup: &str) -> Result<Vec<String>> {
    let proc = Path::new("/proc");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(proc)
        .at("read directory", proc)?
        .flatten()
    {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process that ends while it is looked at is none that was left.
        let read = |name: &str| {
            let content = std::fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&content).replace('\0', " ")
        };
        let command = read("cmdline");
        if mentions_directory(&command, directory)
            || read("cgroup")
                .lines()
                .any(|line| mentions_directory(line, cgroup))
            || read("mountinfo")
                .lines()
                .any(|line| mentions_directory(line, directory))
        {
            found.push(format!("process {pid}: {}", command.trim()));
        }
    }
    Ok(found)
}

/// Whether a text has the path of a directory, or of something below it. `…/t1` is not in
/// `…/t10`.
fn mentions_directory(text: &str, directory: &str) -> bool {
    text.match_indices(directory).any(|(at, _)| {
        matches!(
            text[at + directory.len()..].chars().next(),
            None | Some('/' | ' ' | '"' | '=')
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_from_those_with_longer_names() {
        assert!(mentions_directory("etcd --data-dir=/c/t1/etcd", "/c/t1"));
        assert!(mentions_directory("/c/t1", "/c/t1"));
        assert!(!mentions_directory("/c/t10/x", "/c/t1"));
        assert!(mentions_directory("/c/t10/x /c/t1/y", "/c/t1"));
    }

    #[test]
    fn nothing_is_left_of_a_cluster_that_never_was() {
        assert_eq!(leftovers("neverwas").unwrap(), Vec::<String>::new());
    }
}
