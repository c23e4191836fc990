//! The sampler on the machine that runs the tests.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use scope_agent::Collectors;
use scope_agent::attribution::{Usage, attribute};
use scope_agent::sample::{Cause, Datum, Mode, Roots, Sample, Sampler, system_clock};

fn roots() -> Roots {
    Roots {
        proc: "/proc".into(),
        cgroup: "/sys/fs/cgroup".into(),
    }
}

fn sampler() -> Sampler {
    Sampler::new(roots(), Collectors::ALL, system_clock())
}

/// Whether nothing is missing but what this machine's kernel has not got, or leaves off.
fn only_gaps(sample: &Sample) -> bool {
    let gap = |datum| {
        let pressure = [Datum::CgroupPressure, Datum::HostPressure];
        datum == Datum::BlockDelay || pressure.contains(&datum)
    };
    let mut problems = sample.problems.iter();
    problems.all(|(datum, cause, _)| cause == Cause::Absent && gap(datum))
}

fn own(usage: &Usage) -> &scope_agent::attribution::ProcessUsage {
    usage
        .processes
        .iter()
        .find(|p| p.pid == std::process::id())
        .expect("this process")
}

/// Uses so much CPU, however long it takes to get it on a busy machine.
fn burn(cpu: Duration) {
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let start = used();
    let mut n = 0u64;
    while used() - start < cpu {
        n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7));
    }
}

/// What another reader of `/proc` says this process has used.
fn own_cpu() -> Duration {
    let stat = procfs::process::Process::myself().unwrap().stat().unwrap();
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

#[test]
fn this_process_is_found_with_what_it_uses() {
    let mut sampler = sampler();
    let before_first = own_cpu();
    let first = sampler.take(Mode::Standalone);
    let after_first = own_cpu();
    burn(Duration::from_millis(300));
    let before_second = own_cpu();
    let second = sampler.take(Mode::Standalone);
    let after_second = own_cpu();

    let usage = attribute(Some(&first), &second, Mode::Standalone);
    let process = own(&usage);
    let millicores = process.cpu.unwrap().millicores;
    let seen =
        Duration::from_secs_f64(millicores / 1000.0).mul_f64(usage.interval.unwrap().as_secs_f64());
    // Both readers round down to ticks of 10 ms, for user and system time each.
    let rounding = Duration::from_millis(40);
    let (least, most) = (before_second - after_first, after_second - before_first);
    assert!(
        seen + rounding >= least && seen <= most + rounding,
        "{seen:?}: {least:?} to {most:?}"
    );
    assert!(
        seen >= Duration::from_millis(250),
        "{seen:?} of 300 ms; others saw {least:?} to {most:?}"
    );

    let other = procfs::process::Process::myself().unwrap().stat().unwrap();
    let rss = other.rss * procfs::page_size();
    assert!(
        process.rss.abs_diff(rss) < rss / 4 + (4 << 20),
        "{} and {rss}",
        process.rss
    );
    assert!(u64::from(process.threads).abs_diff(other.num_threads as u64) <= 4);
    assert_eq!(process.name.to_string(), other.comm);
}

#[test]
fn all_processes_are_found_and_kernel_threads_are_only_counted() {
    let pids = || -> BTreeSet<u32> {
        let names = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    };
    let kernel = |pid: &u32| {
        let process = procfs::process::Process::new(*pid as i32).and_then(|p| p.stat());
        process.is_ok_and(|stat| stat.flags & 0x20_0000 != 0)
    };
    let before = pids();
    let sample = sampler().take(Mode::Standalone);
    let after = pids();
    let found: BTreeSet<u32> = sample.processes.iter().map(|p| p.pid).collect();
    // What was there before and after was there in between.
    let stayed: BTreeSet<u32> = before
        .intersection(&after)
        .copied()
        .filter(|pid| !kernel(pid))
        .collect();
    assert!(
        stayed.is_subset(&found),
        "missed {:?}",
        stayed.difference(&found)
    );
    assert!(found.iter().all(|pid| !kernel(pid)));
    let threads = after.iter().filter(|pid| kernel(pid)).count();
    assert!(threads.abs_diff(sample.kernel_threads as usize) < 10);
    assert!(only_gaps(&sample), "{:?}", sample.problems);
}

#[test]
fn the_host_is_measured() {
    let mut sampler = sampler();
    let first = sampler.take(Mode::Standalone);
    burn(Duration::from_millis(300));
    let second = sampler.take(Mode::Standalone);
    let host = attribute(Some(&first), &second, Mode::Standalone).host;
    let cpus = host.cpus.unwrap();
    assert!(cpus >= std::thread::available_parallelism().unwrap().get() as u32);
    let used = host.cpu.unwrap();
    assert!(
        used.millicores > 1.0 && used.millicores < f64::from(cpus) * 1100.0,
        "{used:?}"
    );
    let total = host.memory_total.unwrap();
    assert!(host.memory_used.unwrap() < total && total > 64 << 20);
}

/// A pod's cgroup in the machine's own hierarchies, removed when dropped.
struct RealPod {
    directories: Vec<PathBuf>,
    children: Vec<Child>,
}

const POD: &str = "5c0be9a6-1111-4222-8333-444455556666";

impl RealPod {
    /// `None` where no cgroups can be made.
    fn make(id: &str) -> Option<RealPod> {
        let root = Path::new("/sys/fs/cgroup");
        let v2 = root.join("cgroup.controllers").exists();
        let hierarchies: &[&str] = if v2 { &[""] } else { &["cpuacct", "memory"] };
        let top = format!("scope-agent-test-{}", std::process::id());
        let mut pod = RealPod {
            directories: Vec::new(),
            children: Vec::new(),
        };
        for hierarchy in hierarchies {
            let mut directory = root.join(hierarchy);
            for part in [&*top, "kubepods", "burstable", &format!("pod{POD}"), id] {
                if v2 {
                    // Children count memory only if the parent is told to.
                    let _ = fs::write(directory.join("cgroup.subtree_control"), "+memory");
                }
                directory.push(part);
                fs::create_dir(&directory).ok()?;
                pod.directories.push(directory.clone());
            }
        }
        Some(pod)
    }

    fn containers(&self, id: &str) -> impl Iterator<Item = &PathBuf> {
        self.directories.iter().filter(move |d| d.ends_with(id))
    }

    /// Runs a shell command in the container.
    fn run(&mut self, id: &str, command: &str) -> u32 {
        let files: Vec<PathBuf> = self
            .containers(id)
            .map(|d| d.join("cgroup.procs"))
            .collect();
        let join: String = files
            .iter()
            .map(|file| format!("echo $$ > {}; ", file.display()))
            .collect();
        let child = Command::new("sh")
            .args(["-c", &format!("{join}{command}")])
            .spawn()
            .unwrap();
        let pid = child.id();
        self.children.push(child);
        // It is in when the kernel says so.
        for file in &files {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !fs::read_to_string(file)
                .unwrap()
                .lines()
                .any(|l| l == pid.to_string())
            {
                assert!(
                    Instant::now() < deadline,
                    "{pid} did not enter {}",
                    file.display()
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        pid
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for directory in self.directories.iter().rev() {
            // The kernel empties a cgroup a moment after its last process.
            for _ in 0..100 {
                if fs::remove_dir(directory).is_ok() || !directory.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for RealPod {
    fn drop(&mut self) {
        self.end();
    }
}

/// Nanoseconds of CPU by the kernel's own file of the container.
fn counted(pod: &RealPod, id: &str) -> u64 {
    pod.containers(id)
        .find_map(|directory| {
            if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
                return text.trim().parse().ok();
            }
            let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
            let micros: u64 = text
                .lines()
                .find_map(|l| l.strip_prefix("usage_usec "))?
                .parse()
                .ok()?;
            Some(micros * 1000)
        })
        .expect("a CPU counter")
}

#[test]
fn the_machines_own_cgroups_are_read() {
    let id = "5".repeat(64);
    let Some(mut pod) = RealPod::make(&id) else {
        eprintln!("skipped: no right to make cgroups on this machine");
        return;
    };
    let pid = pod.run(&id, "while :; do :; done");
    let mut sampler = sampler();
    let take = |sampler: &mut Sampler| -> (Sample, u64, u64) {
        let before = counted(&pod, &id);
        let sample = sampler.take(Mode::Standalone);
        (sample, before, counted(&pod, &id))
    };
    // Two intervals: the files are opened in the first and kept for the second.
    let mut previous = take(&mut sampler);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(600));
        let current = take(&mut sampler);
        let usage = attribute(Some(&previous.0), &current.0, Mode::Standalone);
        let container = &usage.containers[&*id];
        let counter = |sample: &Sample| {
            let mut groups = sample.groups.iter();
            groups
                .find(|g| g.group.container.as_deref() == Some(&id))
                .unwrap()
                .cgroup
                .cpu
                .unwrap()
        };
        let (from, to) = (counter(&previous.0), counter(&current.0));
        assert!(
            (previous.1..=previous.2).contains(&from.value),
            "the kernel's own figure"
        );
        assert!(
            (current.1..=current.2).contains(&to.value),
            "the kernel's own figure"
        );
        let millicores = container.figures.cpu.unwrap().millicores;
        let want = (to.value - from.value) as f64 / (to.at - from.at).as_nanos() as f64 * 1000.0;
        assert!(
            (millicores - want).abs() < 0.01 && millicores > 0.0,
            "{millicores} {want}"
        );

        assert_eq!(container.pod.as_deref(), Some(POD));
        assert_eq!(container.figures.processes.unwrap().count, 1);
        let memory = container.figures.memory.expect("memory is counted");
        assert!(
            memory.working_set < 64 << 20 && memory.limit.is_none(),
            "{memory:?}"
        );
        assert!(usage.pods[POD].cpu.unwrap().millicores >= millicores * 0.9);
        let process = usage.processes.iter().find(|p| p.pid == pid).unwrap();
        assert_eq!(process.container.as_deref(), Some(&*id));
        previous = current;
    }

    // It ends: gone at the next look, although its files were open, and nothing is wrong.
    pod.end();
    let sample = sampler.take(Mode::Standalone);
    assert!(
        sample
            .groups
            .iter()
            .all(|g| g.group.container.as_deref() != Some(&id))
    );
    assert!(!sample.pods.contains_key(POD));
    assert!(only_gaps(&sample), "{:?}", sample.problems);
}
