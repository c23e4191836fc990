//! How guests end that never say how it went: by a panic, by the time limit, with their run.
//! `cargo xtask test` runs these; alone: `cargo test -p throwaway-vm -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use throwaway_cluster::Progress;
use throwaway_vm::{Error, Programs, Release, SCENARIOS, Scenario, play};

/// A first process that never ends and knows nothing of results: busybox takes itself for `init`.
const HANGS: &str = "/bin/busybox";

fn scenario() -> Scenario {
    Scenario {
        modules: &[],
        tools: &[],
        ..SCENARIOS[0]
    }
}

fn programs(guest: &Path) -> Programs {
    Programs {
        guest: guest.to_path_buf(),
        agent: PathBuf::from(HANGS),
        http: PathBuf::from(HANGS),
    }
}

/// Why this scenario, which cannot go well, did not.
fn failure(scenario: &Scenario, guest: &Path) -> Box<Error> {
    let played = play(
        scenario,
        Release::default(),
        &programs(guest),
        &Progress::silent(),
    );
    Box::new(played.unwrap_err())
}

/// Only the console of a failed run is kept.
fn is_all_that_is_left(console: &Path) {
    let directory = console.parent().unwrap();
    let names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["console.log"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
#[ignore = "needs qemu, which cargo xtask test installs"]
fn a_panic_is_told_with_the_end_of_the_console() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = scratch.path().join("guest");
    std::fs::write(&guest, "no program").unwrap();
    let error = failure(&scenario(), &guest);
    let Error::NoResult { console, tail, .. } = &*error else {
        panic!("{error}");
    };
    assert!(tail.contains("Kernel panic"), "{error}");
    is_all_that_is_left(console);
}

#[test]
#[ignore = "needs qemu, which cargo xtask test installs"]
fn a_guest_that_hangs_is_ended() {
    let limited = Scenario {
        limit: Duration::from_secs(4),
        ..scenario()
    };
    let began = Instant::now();
    let error = failure(&limited, Path::new(HANGS));
    assert!(began.elapsed() < Duration::from_secs(60));
    let Error::Slow { console, .. } = &*error else {
        panic!("{error}");
    };
    is_all_that_is_left(console);
}

#[test]
#[ignore = "needs qemu, which cargo xtask test installs"]
fn a_killed_run_takes_its_guest_along() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_throwaway-vm"))
        .args([HANGS, HANGS, HANGS])
        .spawn()
        .unwrap();
    let guest = wait_for("a guest", || emulator_of(run.id()));
    run.kill().unwrap();
    run.wait().unwrap();
    let process = PathBuf::from(format!("/proc/{guest}"));
    wait_for("the guest's end", || {
        // An orphan that nobody waits for stays as a zombie.
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

/// The pid of the emulator that a process has started.
fn emulator_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        name.starts_with("qemu").then_some(child.parse().ok()?)
    })
}

fn wait_for<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
