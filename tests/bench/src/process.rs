//! The agent under measurement: started in cgroups of its own, so that the kernel's memory counts too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// A running agent; ended when dropped.
pub(crate) struct Agent {
    child: Child,
    memory: PathBuf,
    directory: tempfile::TempDir,
}

impl Agent {
    /// Starts `scope-agent serve --standalone` and waits for its socket.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Agent> {
        let directory = tempfile::tempdir()?;
        let memory = memory_cgroup()?;
        fs::create_dir(&memory).with_context(|| memory.display().to_string())?;
        let child = Command::new(program)
            .args([
                "serve",
                "--standalone",
                "--plugin-id",
                "bench",
                "--mend-scope",
                "Always",
            ])
            .arg("--plugin-dir")
            .arg(directory.path())
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let agent = Agent {
            child,
            memory,
            directory,
        };
        fs::write(
            agent.memory.join("cgroup.procs"),
            agent.child.id().to_string(),
        )?;
        let started = Instant::now();
        while !agent.socket().exists() {
            ensure!(
                started.elapsed() < Duration::from_secs(10),
                "the agent makes no socket"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(agent)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("bench").join("bench.sock")
    }

    /// CPU of all its threads so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanos = 0;
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            // A thread may end meanwhile; the agent's do not.
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident bytes now and at most.
    pub(crate) fn resident(&self) -> anyhow::Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kilobytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            value.map(|kb| kb * 1024).with_context(|| key.to_owned())
        };
        Ok((kilobytes("VmRSS:")?, kilobytes("VmHWM:")?))
    }

    /// Bytes that its cgroup is charged with, those of the kernel included.
    pub(crate) fn charged(&self) -> anyhow::Result<u64> {
        let files = ["memory.usage_in_bytes", "memory.current"];
        let text = files
            .iter()
            .find_map(|f| fs::read_to_string(self.memory.join(f)).ok());
        Ok(text
            .context("the memory of the agent's cgroup")?
            .trim()
            .parse()?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Err(error) = fs::remove_dir(&self.memory) {
            eprintln!("{} stays behind: {error}", self.memory.display());
        }
    }
}

fn memory_cgroup() -> anyhow::Result<PathBuf> {
    let name = format!("scope-bench-agent-{}", std::process::id());
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.is_dir() {
        return Ok(v1.join(name));
    }
    let v2 = Path::new("/sys/fs/cgroup");
    fs::write(v2.join("cgroup.subtree_control"), "+memory").context("memory on cgroup v2")?;
    Ok(v2.join(name))
}
