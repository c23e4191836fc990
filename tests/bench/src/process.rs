//! The agent under measurement: started in cgroups of its own, so that the kernel's memory counts too.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Where it runs.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Without Kubernetes.
    Standalone,
    /// On a node of a cluster.
    Cluster {
        /// The node's name.
        node: &'a str,
        /// The configuration for the API server.
        kubeconfig: &'a Path,
        /// The volume with the token for scope-totals, if it is to have totals.
        totals: Option<&'a Path>,
        /// Where it serves health and metrics.
        health: SocketAddr,
    },
}

/// A running agent; ended when dropped.
pub(crate) struct Agent {
    child: Child,
    memory: PathBuf,
    directory: tempfile::TempDir,
}

impl Agent {
    /// Starts `scope-agent serve` and waits for its socket.
    pub(crate) fn start(program: &Path, place: Place<'_>) -> anyhow::Result<Agent> {
        let directory = tempfile::tempdir()?;
        let memory = memory_cgroup(directory.path())?;
        fs::create_dir(&memory).with_context(|| memory.display().to_string())?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--plugin-id", "bench", "--mend-scope", "Always"])
            .arg("--plugin-dir")
            .arg(directory.path())
            .args(["--log-level", "warn"]);
        match place {
            Place::Standalone => {
                command.arg("--standalone");
            }
            Place::Cluster {
                node,
                kubeconfig,
                totals,
                health,
            } => {
                command
                    .args(["--node-name", node])
                    .args(["--http-listen", &health.to_string()])
                    .env("KUBECONFIG", kubeconfig);
                if let Some(totals) = totals {
                    command.arg("--totals-dir").arg(totals);
                }
            }
        }
        let child = command
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
        Ok(self.cpu_of_threads()?.values().sum())
    }

    /// CPU of its threads so far, by their names.
    pub(crate) fn cpu_of_threads(&self) -> anyhow::Result<BTreeMap<String, Duration>> {
        let mut threads: BTreeMap<String, Duration> = BTreeMap::new();
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            // A thread may end meanwhile; the agent's do not.
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            let text = fs::read_to_string(task.join("schedstat"))?;
            let nanos = text.split(' ').next().unwrap_or_default().parse()?;
            *threads.entry(name.trim_end().to_owned()).or_default() += Duration::from_nanos(nanos);
        }
        Ok(threads)
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

/// A number on the metrics page of an agent in a cluster, by its name with labels.
pub(crate) fn metric(health: SocketAddr, name: &str) -> anyhow::Result<Option<f64>> {
    let mut stream = TcpStream::connect(health).context("the agent's metrics")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let number = page.lines().find_map(|line| {
        let (found, number) = line.rsplit_once(' ')?;
        (found == name).then_some(number)
    });
    Ok(number.map(str::parse).transpose()?)
}

/// Named after the agent's directory, of which there is no other.
fn memory_cgroup(directory: &Path) -> anyhow::Result<PathBuf> {
    let own = directory.file_name().unwrap_or_default();
    let name = format!("scope-bench-agent{}", own.to_string_lossy());
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.is_dir() {
        return Ok(v1.join(name));
    }
    let v2 = Path::new("/sys/fs/cgroup");
    fs::write(v2.join("cgroup.subtree_control"), "+memory").context("memory on cgroup v2")?;
    Ok(v2.join(name))
}
