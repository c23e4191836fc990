//! A node's worth of idle processes: pods of two containers each, in cgroups that are named as the
//! kubelet's systemd driver names them, each pod with a network of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Idle processes end by themselves after this, should nobody be left to end them.
const LIFE: Duration = Duration::from_secs(1800);
/// Every so many processes, one has [`THREADS`] threads.
const THREADED_EVERY: usize = 4;
/// Threads of such a process.
pub(crate) const THREADS: usize = 5;
/// Descriptors that such a process has open besides its own three.
const FILES: usize = 9;

/// Idle processes in their cgroups; gone when dropped.
pub(crate) struct Population {
    /// Directories that were made, parents first.
    made: Vec<PathBuf>,
    children: Vec<Child>,
    /// UID of each pod and how many processes it has.
    pub(crate) pods: Vec<(String, usize)>,
}

impl Population {
    /// Starts so many processes in so many pods, and returns when all are there.
    pub(crate) fn start(processes: usize, pods: usize) -> anyhow::Result<Self> {
        ensure!(
            pods > 0 && processes >= pods * 2,
            "two processes a pod at least"
        );
        let mut population = Population {
            made: Vec::new(),
            children: Vec::new(),
            pods: Vec::new(),
        };
        let hierarchies = hierarchies()?;
        let parent = format!("scope-bench-{}", std::process::id());
        for pod in 0..pods {
            let of_pod = processes * (pod + 1) / pods - processes * pod / pods;
            population.add_pod(&hierarchies, &parent, pod, of_pod)?;
        }
        Ok(population)
    }

    fn add_pod(
        &mut self,
        hierarchies: &[PathBuf],
        parent: &str,
        number: usize,
        processes: usize,
    ) -> anyhow::Result<()> {
        let uid = format!("bbbbbbbb-0000-4000-8000-{number:012x}");
        let (quality, dashed) = (
            ["", "-burstable", "-besteffort"][number % 3],
            uid.replace('-', "_"),
        );
        let slice = match quality {
            "" => format!("{parent}/kubepods.slice/kubepods-pod{dashed}.slice"),
            q => format!("{parent}/kubepods.slice/kubepods{q}.slice/kubepods{q}-pod{dashed}.slice"),
        };
        let mut network = None;
        for n in 0..processes {
            let id = container_id(number, n % 2);
            let scope = format!("{slice}/cri-containerd-{id}.scope");
            let groups = if n < 2 {
                self.make(hierarchies, &scope)?
            } else {
                hierarchies.iter().map(|h| h.join(&scope)).collect()
            };
            let child = idle(n.is_multiple_of(THREADED_EVERY), network)?;
            let pid = child.id();
            self.children.push(child);
            for group in groups {
                let file = group.join("cgroup.procs");
                let mut procs = fs::OpenOptions::new().write(true).open(&file)?;
                write!(procs, "{pid}").with_context(|| file.display().to_string())?;
            }
            network.get_or_insert(pid);
        }
        self.pods.push((uid, processes));
        Ok(())
    }

    /// Makes this cgroup in every hierarchy.
    fn make(&mut self, hierarchies: &[PathBuf], path: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        for hierarchy in hierarchies {
            let mut directory = hierarchy.clone();
            for part in path.split('/') {
                directory.push(part);
                match fs::create_dir(&directory) {
                    Ok(()) => self.made.push(directory.clone()),
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(e).with_context(|| directory.display().to_string()),
                }
            }
            made.push(directory);
        }
        Ok(made)
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
        for directory in self.made.iter().rev() {
            if let Err(error) = fs::remove_dir(directory) {
                eprintln!("{} stays behind: {error}", directory.display());
            }
        }
    }
}

/// The ID of one of the two containers of a pod.
pub(crate) fn container_id(pod: usize, container: usize) -> String {
    format!("{pod:060x}{container:04x}")
}

/// Every hierarchy in which pods have a cgroup here. One without a controller that matters would only
/// cost memory, and `cpuset` takes no process before it is set up.
fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(at), Some(kind), Some(options)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let wanted = match kind {
            "cgroup2" => true,
            "cgroup" => options
                .split(',')
                .any(|o| ["cpu", "cpuacct", "memory", "blkio", "freezer", "pids"].contains(&o)),
            _ => false,
        };
        if wanted {
            found.push(PathBuf::from(at));
        }
    }
    ensure!(!found.is_empty(), "no cgroup file system is mounted");
    Ok(found)
}

/// A process that does nothing, in this process's network or in a new one.
fn idle(threaded: bool, network: Option<u32>) -> anyhow::Result<Child> {
    let mut command = match network {
        None => {
            let mut command = Command::new("unshare");
            command.args(["--net", "--"]);
            command
        }
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.args([&format!("--net=/proc/{pid}/ns/net"), "--"]);
            command
        }
    };
    if threaded {
        command.arg(std::env::current_exe()?).arg("idle");
    } else {
        command.args(["/bin/busybox", "sleep", &LIFE.as_secs().to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{command:?}"))
}

/// What a threaded idle process does: threads, descriptors, a little memory, and nothing more.
pub(crate) fn be_idle() -> anyhow::Result<()> {
    let files: Vec<fs::File> = (0..FILES)
        .map(|_| fs::File::open(Path::new("/dev/null")))
        .collect::<Result<_, _>>()?;
    let memory = std::hint::black_box(vec![1_u8; 64 << 10]);
    let threads: Vec<_> = (1..THREADS)
        .map(|_| std::thread::spawn(|| std::thread::sleep(LIFE)))
        .collect();
    std::thread::sleep(LIFE);
    drop((files, memory, threads));
    Ok(())
}
