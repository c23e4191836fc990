//! Control groups of version 2.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where they are mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// What every group below gets, as the kubelet gives it.
const CONTROLLERS: &str = "+cpu +memory +io +pids";

/// A control group.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// The root of them all.
    pub(crate) fn root() -> Cgroup {
        Cgroup(PathBuf::from(ROOT))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The group of this name in it, made now if it is not there. This one then passes its
    /// controllers on, and can have no processes of its own.
    pub(crate) fn child(&self, name: &str) -> anyhow::Result<Cgroup> {
        self.set("cgroup.subtree_control", CONTROLLERS)?;
        let child = Cgroup(self.0.join(name));
        match std::fs::create_dir(&child.0) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("cannot make {}", child.0.display()))?,
        }
        Ok(child)
    }

    /// Writes one of its files.
    pub(crate) fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.0.join(file);
        std::fs::write(&path, value)
            .with_context(|| format!("cannot write {value:?} into {}", path.display()))
    }

    /// Reads one of its files.
    pub(crate) fn get(&self, file: &str) -> anyhow::Result<String> {
        let path = self.0.join(file);
        let text = std::fs::read_to_string(&path);
        Ok(text
            .with_context(|| format!("cannot read {}", path.display()))?
            .trim()
            .to_owned())
    }

    /// The number behind a word in one of its files.
    pub(crate) fn number(&self, file: &str, word: &str) -> anyhow::Result<u64> {
        let text = self.get(file)?;
        let number = text
            .lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        number
            .and_then(|number| number.trim().parse().ok())
            .with_context(|| format!("{}/{file} has no number {word}: {text}", self.0.display()))
    }

    /// Removes it; nothing may run in it.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_dir(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }
}
