//! What a sample costs.

use std::ffi::CStr;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::fs::{CWD, Mode as FileMode, OFlags, RawDir, openat};
use rustix::time::{ClockId, clock_gettime};
use scope_agent::Collectors;
use scope_agent::attribution::attribute;
use scope_agent::sample::{Mode, Roots, Sampler, system_clock};

/// Processes that do nothing; ended when dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start(count: usize) -> Sleepers {
        let sleep = || {
            Command::new("sleep")
                .arg("600")
                .spawn()
                .expect("sleep starts")
        };
        Sleepers((0..count).map(|_| sleep()).collect())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn timed(work: impl FnOnce()) -> Duration {
    let before = cpu_time();
    work();
    cpu_time() - before
}

/// The yardstick: `stat` and `cgroup` of every process, opened, read once and closed; nothing kept,
/// nothing parsed.
fn plain_scan(names: &mut Vec<u8>, text: &mut [u8]) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let proc = openat(CWD, "/proc", flags | OFlags::DIRECTORY, FileMode::empty()).expect("/proc");
    let mut entries = RawDir::new(&proc, names.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        let pid = entry.file_name().to_bytes();
        if !pid.iter().all(u8::is_ascii_digit) {
            continue;
        }
        for file in [&b"/stat\0"[..], b"/cgroup\0"] {
            let mut path = [0; 32];
            path[..pid.len()].copy_from_slice(pid);
            path[pid.len()..pid.len() + file.len()].copy_from_slice(file);
            let path = CStr::from_bytes_until_nul(&path).expect("a NUL at the end");
            if let Ok(file) = openat(&proc, path, flags, FileMode::empty()) {
                let _ = rustix::io::read(&file, &mut *text);
            }
        }
    }
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement: forks 2,000 processes for half a minute and wants a quiet machine; run \
            it by hand with --release --nocapture"]
fn the_cost_of_a_sample() {
    const ROUNDS: usize = 15;
    let sleepers = Sleepers::start(2000);
    let roots = Roots {
        proc: "/proc".into(),
        cgroup: "/sys/fs/cgroup".into(),
    };
    let mut sampler = Sampler::new(roots, Collectors::default(), system_clock());
    let (mut names, mut text) = (Vec::with_capacity(32 << 10), vec![0; 8 << 10]);
    let (mut plain, mut taking, mut attributing) = (Vec::new(), Vec::new(), Vec::new());
    let mut previous = sampler.take(Mode::Standalone);
    for _ in 0..ROUNDS {
        // In a hot loop the kernel's caches flatter every reader.
        std::thread::sleep(Duration::from_millis(500));
        plain.push(timed(|| plain_scan(&mut names, &mut text)));
        std::thread::sleep(Duration::from_millis(500));
        let mut current = None;
        taking.push(timed(|| current = Some(sampler.take(Mode::Standalone))));
        let current = current.expect("just taken");
        attributing.push(timed(|| {
            attribute(Some(&previous), &current, Mode::Standalone);
        }));
        previous = current;
    }
    drop(sleepers);
    let (plain, taking, attributing) = (median(plain), median(taking), median(attributing));
    println!(
        "{} processes: sample {taking:?}, attribution {attributing:?}, plain scan {plain:?}; \
         {:.2} of a plain scan",
        previous.processes.len(),
        (taking + attributing).as_secs_f64() / plain.as_secs_f64(),
    );
}
