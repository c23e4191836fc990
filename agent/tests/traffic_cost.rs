//! What a look at the networks of pods costs. It needs root; elsewhere it says so and passes.

mod made_network;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use made_network::Network;
use rustix::time::{ClockId, clock_gettime};
use scope_agent::traffic::{Board, Features, Networks, Way};

const PODS: usize = 10;
const LOOKS: u32 = 20;
/// Of CPU time, for one network. It is some 0.2 ms; this is for a busy machine and a binary without optimization.
const MOST: Duration = Duration::from_millis(3);

/// CPU time of all threads of this process, those that ended included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_look_at_a_network_takes_little() {
    let networks: Option<Vec<Network>> = (0..PODS).map(|_| Network::new()).collect();
    let Some(networks) = networks else { return };
    let proc = tempfile::tempdir().expect("a directory");
    let mut ways = Vec::new();
    for (number, network) in networks.iter().enumerate() {
        let (pid, pod) = (
            network.pid(),
            format!("5aeb7ae0-1d5a-4f0e-9df2-{number:012x}"),
        );
        let made = proc.path().join(pid.to_string());
        fs::create_dir(&made).expect("made");
        for file in ["ns", "stat"] {
            symlink(format!("/proc/{pid}/{file}"), made.join(file)).expect("linked");
        }
        let cgroup = format!("0::/kubepods/burstable/pod{pod}/{number:064x}\n");
        fs::write(made.join("cgroup"), cgroup).expect("written");
        let pod = pod.into();
        ways.push(Way { pod, pid });
    }
    let board = Board::new(Features::try_out(), Arc::new(Networks::of_plugin("cost")));
    board.look_through(ways);
    board.look(proc.path());
    assert_eq!(
        board.seen().roots.len(),
        PODS,
        "{:?}",
        board.seen().failures
    );

    let (began, before) = (Instant::now(), cpu_time());
    for _ in 0..LOOKS {
        board.look(proc.path());
    }
    let looks = LOOKS * PODS as u32;
    let (wall, cpu) = (began.elapsed() / looks, (cpu_time() - before) / looks);
    println!("a look at a pod's network: {cpu:?} of CPU, {wall:?}");
    assert!(cpu < MOST, "{cpu:?} for one network");
    assert_eq!(board.seen().roots.len(), PODS);
}
