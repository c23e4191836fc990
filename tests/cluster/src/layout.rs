//! Where everything lies: all of it below one cache directory.
//!
//! ```text
//! $XDG_CACHE_HOME/scope-plugins/harness/
//!   <family>-<key>/bin/          programs built from source (`tools`)
//!   clusters/all.lock            held while a process starts a cluster or cleans up after others
//!   clusters/<prefix>.lock       held while a process works on the cluster of this prefix
//!   clusters/<prefix>.json       what belongs to the cluster (`record`)
//!   clusters/<prefix>/           its keys, its database, its nodes' disks; 0700; removed with it
//!   log/<prefix>-<time>/*.log    its logs; the newest few are kept
//!   <harness>/                   the same for another harness that shares the cache
//! ```

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{At, Error, Result};

/// How many runs' logs are kept.
const RUNS_WITH_LOGS: usize = 10;

/// The cache directory of this user, or the part of it that is another harness's.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// `$XDG_CACHE_HOME`, or `~/.cache` where that is not set.
    pub fn from_environment() -> Result<Layout> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let cache = set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .filter(|path| path.is_absolute())
            .ok_or_else(|| {
                Error::Unable(
                    "there is no place for the cache: set XDG_CACHE_HOME (or HOME) to an absolute path"
                        .into(),
                )
            })?;
        let root = cache.join("scope-plugins/harness");
        std::fs::create_dir_all(&root).at("create directory", &root)?;
        Ok(Layout { root })
    }

    /// The part of another harness. It shares nothing with the clusters but its parent.
    pub fn of_harness(&self, name: &str) -> Result<Layout> {
        let root = self.root.join(name);
        std::fs::create_dir_all(&root).at("create directory", &root)?;
        Ok(Layout { root })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Layout {
        Layout {
            root: root.to_path_buf(),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Six digits that tell this cache from others of the same machine, in the names of what
    /// cannot lie in it.
    pub(crate) fn mark(&self) -> String {
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        digest
            .iter()
            .take(3)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The lock for everything that concerns all clusters.
    pub(crate) fn common_lock(&self) -> PathBuf {
        self.clusters().join("all.lock")
    }

    /// The directory of the records, locks and data of clusters.
    pub(crate) fn clusters(&self) -> PathBuf {
        self.root.join("clusters")
    }

    /// The data of one cluster.
    pub(crate) fn cluster(&self, prefix: &str) -> PathBuf {
        self.clusters().join(prefix)
    }

    /// The record of one cluster.
    pub(crate) fn record(&self, prefix: &str) -> PathBuf {
        self.clusters().join(format!("{prefix}.json"))
    }

    /// The lock of one cluster.
    pub(crate) fn lock(&self, prefix: &str) -> PathBuf {
        self.clusters().join(format!("{prefix}.lock"))
    }

    /// A new directory for the logs of a run. The oldest ones go, unless they are still `used`.
    pub fn new_log_directory(&self, prefix: &str, used: &[PathBuf]) -> Result<PathBuf> {
        let logs = self.root.join("log");
        std::fs::create_dir_all(&logs).at("create directory", &logs)?;
        let directory = loop {
            let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
            let directory = logs.join(format!("{prefix}-{time}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
                // Another run began in the same millisecond, which is over soon.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.at("create directory", &directory)?;
                    break directory;
                }
            }
        };
        keep_newest(&logs, RUNS_WITH_LOGS, used)?;
        Ok(directory)
    }
}

/// Makes a directory that only its owner may enter, and its parents.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .at("create directory", path)
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .at("write", path)
}

/// Removes a file or a whole directory; what is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

/// Removes all but the newest entries of a directory, and those in use.
fn keep_newest(directory: &Path, count: usize, used: &[PathBuf]) -> Result<()> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).at("read directory", directory)? {
        let entry = entry.at("read directory", directory)?;
        if let Ok(modified) = entry.metadata().and_then(|meta| meta.modified()) {
            entries.push((modified, entry.path()));
        }
    }
    entries.sort();
    for (_, path) in entries
        .iter()
        .rev()
        .skip(count)
        .filter(|(_, path)| !used.contains(path))
    {
        // Another process may be removing the same one.
        remove(path).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn old_logs_go() {
        let scratch = Scratch::new();
        let layout = Layout::at(scratch.path());
        let first = [layout.new_log_directory("first", &[]).unwrap()];
        for _ in 0..RUNS_WITH_LOGS + 3 {
            let directory = layout.new_log_directory("t", &first).unwrap();
            let mode = std::fs::metadata(directory).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let left = std::fs::read_dir(layout.root().join("log"))
            .unwrap()
            .count();
        assert_eq!(left, RUNS_WITH_LOGS + 1);
        assert!(first[0].exists());
    }

    #[test]
    fn caches_are_told_apart() {
        let mark = |path: &str| Layout::at(Path::new(path)).mark();
        assert_eq!(mark("/a").len(), 6);
        assert_ne!(mark("/a"), mark("/b"));
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let scratch = Scratch::new();
        remove(&scratch.path().join("nothing")).unwrap();
        let directory = scratch.path().join("d");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("f"), "x").unwrap();
        remove(&directory).unwrap();
        assert!(!directory.exists());
    }
}
