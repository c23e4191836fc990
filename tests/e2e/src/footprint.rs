//! What a process takes up.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// What a process takes up.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Resident bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Bytes that its cgroup is charged with, those of the kernel included.
    pub cgroup_memory: u64,
}

impl Footprint {
    /// Of this process, now.
    ///
    /// # Errors
    /// When it ends meanwhile.
    pub fn of(pid: u32) -> anyhow::Result<Footprint> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let status = std::fs::read_to_string(process.join("status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .context("VmRSS of the agent")?;
        Ok(Footprint {
            resident: resident * 1024,
            descriptors: std::fs::read_dir(process.join("fd"))?.count() as u64,
            cgroup_memory: cgroup_memory(&process)?,
        })
    }
}

/// What the memory cgroup of a process is charged with, on v1 and v2.
fn cgroup_memory(process: &Path) -> anyhow::Result<u64> {
    let lines = std::fs::read_to_string(process.join("cgroup"))?;
    let line = |controllers: &str| {
        lines.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            (names == controllers).then(|| path.trim_start_matches('/'))
        })
    };
    let root = Path::new("/sys/fs/cgroup");
    let file = match (line("memory"), line("")) {
        (Some(path), _) => root.join("memory").join(path).join("memory.usage_in_bytes"),
        (None, Some(path)) => root.join(path).join("memory.current"),
        (None, None) => bail!("no memory cgroup in {lines:?}"),
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text.trim().parse()?)
}
