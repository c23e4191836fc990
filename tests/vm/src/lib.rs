//! A virtual machine with a Linux of its own, thrown away after use.
//!
//! It shows what the machine that runs the tests may lack: cgroup version 2 with all its
//! controllers, pressure stall information, kernel probes, netem. The emulator is qemu without
//! hardware support, so it runs anywhere and slowly; the kernel is Debian's for cloud machines,
//! unpacked into the cache, not installed. The file system is an archive in the guest's memory:
//! the guest's program as its first process, the agent, some tools of this machine.
//!
//! A run plays one [`Scenario`] on a fresh guest and takes seconds. Its result is a line that the
//! guest's program says at the end; how the emulator ended says nothing.
//!
//! **What stays:** the kernel in the cache; the console of a run that failed, next to what was
//! started, in the directory that the error names. No process: the emulator ends with the thread
//! that runs it.

mod bench;
mod cpio;
mod emulator;
mod error;
mod initramfs;
mod kernel;
mod modules;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use throwaway_cluster::packages::{self, Package};
use throwaway_cluster::{Layout, Progress};

pub use bench::bench_http;
pub use error::{Error, Result};
pub use kernel::Release;

use error::At;
use kernel::Kernel;

/// What the host needs. All but the emulator is for the guest.
const PACKAGES: [Package; 3] = [
    ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("iproute2", "/sbin/ip"),
];

/// What is played on a guest, and what the guest must have for it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, which the guest's program knows.
    pub name: &'static str,
    /// What it is about, for people.
    pub about: &'static str,
    /// Kernel modules, by name.
    pub modules: &'static [&'static str],
    /// Programs and files of this machine, by path.
    pub tools: &'static [&'static str],
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in MiB, the file system included.
    pub memory_mib: u32,
    /// How long it may take on a busy machine.
    pub limit: Duration,
    /// What the guest takes for time.
    pub clock: Clock,
}

/// What a guest takes for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The time of this machine. How far the guest gets in it depends on what else runs here.
    Time,
    /// What the guest executes: each instruction is a nanosecond, whatever else runs here. With one
    /// CPU only.
    Instructions,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: throwaway_vm_guest::CGROUP_V2,
        about: "the agent on a machine with cgroup version 2 only",
        modules: &["veth", "null_blk"],
        // The agent takes no configuration for an API server without root certificates.
        tools: &["/sbin/ip", "/etc/ssl/certs/ca-certificates.crt"],
        cpus: 2,
        memory_mib: 512,
        limit: Duration::from_secs(240),
        clock: Clock::Time,
    },
    Scenario {
        name: throwaway_vm_guest::TRAFFIC,
        about: "the traffic of a pod shaped on a kernel with netem",
        modules: &["veth", "sch_netem", "sch_tbf"],
        tools: &["/sbin/ip", "/sbin/tc", "/etc/ssl/certs/ca-certificates.crt"],
        cpus: 2,
        memory_mib: 512,
        limit: Duration::from_secs(240),
        clock: Clock::Time,
    },
    Scenario {
        name: throwaway_vm_guest::HTTP,
        about: "HTTP counted at functions of the kernel, and at system calls",
        modules: &[],
        tools: &["/sbin/ip"],
        cpus: 2,
        memory_mib: 512,
        limit: Duration::from_secs(480),
        clock: Clock::Time,
    },
];

/// The static programs that go into the guest.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The guest's own.
    pub guest: PathBuf,
    /// The agent.
    pub agent: PathBuf,
    /// The HTTP servers and clients, and what counts them.
    pub http: PathBuf,
}

/// Why this machine or this user cannot have a virtual machine; nothing, when it can. Installs
/// the emulator if it may.
pub fn obstacle(release: Release, progress: &Progress) -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("a throw-away virtual machine needs Linux on x86-64".into());
    }
    if let Err(error) = packages::ensure_these(&PACKAGES, progress) {
        return Some(error.to_string());
    }
    let layout = match layout() {
        Ok(layout) => layout,
        Err(error) => return Some(error.to_string()),
    };
    let kernel = Kernel::ensure(&layout, release, progress);
    kernel.err().map(|error| error.to_string())
}

/// Whether tests on a virtual machine must not be skipped: `HARNESS_REQUIRE=nodes`, or `vm` alone.
pub fn required() -> bool {
    throwaway_cluster::required("nodes") || throwaway_cluster::required("vm")
}

/// Plays every scenario in turn, or those whose name contains one of these words, and says so.
pub fn play_all(
    words: &[String],
    release: Release,
    programs: &Programs,
    progress: &Progress,
) -> Result<()> {
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut chosen = SCENARIOS
        .iter()
        .filter(|scenario| chosen(scenario.name))
        .peekable();
    if chosen.peek().is_none() {
        return Err(Error::Unable(format!(
            "no scenario's name contains {}; there are: {}",
            words.join(" or "),
            SCENARIOS.map(|scenario| scenario.name).join(", ")
        )));
    }
    for scenario in chosen {
        progress.say(&format!("{}: {}", scenario.name, scenario.about));
        let began = Instant::now();
        play(scenario, release, programs, progress)?;
        let took = began.elapsed().as_secs_f64();
        progress.say(&format!("{}: ok in {took:.1} s", scenario.name));
    }
    Ok(())
}

/// Plays a scenario on a fresh guest.
pub fn play(
    scenario: &Scenario,
    release: Release,
    programs: &Programs,
    progress: &Progress,
) -> Result<()> {
    play_with(scenario, release, programs, &Extras::default(), progress)
}

/// What a run gives its guest besides what the scenario says.
#[derive(Debug, Default)]
struct Extras {
    /// What the guest's program is told after the scenario's name.
    words: Vec<String>,
    /// Programs and libraries: their paths in the guest, and the files.
    files: Vec<(String, PathBuf)>,
}

fn play_with(
    scenario: &Scenario,
    release: Release,
    programs: &Programs,
    extras: &Extras,
    progress: &Progress,
) -> Result<()> {
    packages::ensure_these(&PACKAGES, progress)?;
    let layout = layout()?;
    let kernel = Kernel::ensure(&layout, release, progress)?;
    let directory = layout.new_log_directory(scenario.name, &[])?;
    let initramfs = directory.join("initramfs");
    let content = initramfs::make(scenario, programs, &extras.files, &kernel)?;
    std::fs::write(&initramfs, content).at("write", &initramfs)?;
    let console = directory.join("console.log");
    let start = emulator::Start {
        scenario,
        words: &extras.words,
        kernel: &kernel.image,
        initramfs: &initramfs,
        console: &console,
    };
    let played = emulator::run(&start, progress);
    // Some 20 MB that can be made again; the console of a failure is kept.
    std::fs::remove_file(&initramfs).at("remove", &initramfs)?;
    if played.is_ok() {
        std::fs::remove_dir_all(&directory).at("remove", &directory)?;
    }
    played
}

fn layout() -> Result<Layout> {
    Ok(Layout::from_environment()?.of_harness("vm")?)
}
