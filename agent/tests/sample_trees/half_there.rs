//! What is there in part, or for a while: hierarchies of a cgroup that is being removed, a controller that
//! counts at some disks only, a sysctl that is set later.

use std::fs;

use scope_agent::sample::{Cause, Datum, Mode};

use crate::further::Made;
use crate::made_node::Layout;
use crate::workload::{SECOND, only_gaps};

/// Runtimes remove a container's cgroup from one hierarchy of v1 after the other.
#[test]
fn a_cgroup_that_is_half_removed_lacks_nothing_for_a_while() {
    for layout in [
        Layout::V1Systemd,
        Layout::V1Cgroupfs,
        Layout::HybridMemoryV2,
    ] {
        for half in ["blkio", "freezer", "cpu"] {
            let made = Made::new(layout);
            let known = made.work.inventory();
            made.write(0);
            let mut sampler = made.node.sampler();
            sampler.take(Mode::Cluster(&known));
            for path in [&made.app, &made.web] {
                let _ = fs::remove_dir_all(made.node.path(&format!("cgroup/{half}{path}")));
            }
            for _ in 0..8 {
                made.node.pass(SECOND);
                let sample = sampler.take(Mode::Cluster(&known));
                assert!(
                    only_gaps(&made.node, &sample),
                    "{layout:?} without {half}: {:?}",
                    sample.problems
                );
            }
            // It stays so: this runtime has no use for that hierarchy, which is said.
            let lacks = made.node.path(&format!("cgroup/{half}")).exists();
            for _ in 0..20 {
                made.node.pass(SECOND);
                sampler.take(Mode::Cluster(&known));
            }
            let datum = match half {
                "blkio" => Datum::CgroupDisk,
                "freezer" => Datum::CgroupFrozen,
                _ => Datum::CgroupThrottling,
            };
            let told = sampler.problems().get(datum, Cause::Absent).is_some();
            assert_eq!(told, lacks, "{layout:?} without {half}");
            // And not any more when it is there again.
            for second in 0..80 {
                made.write(second);
                made.node.pass(SECOND);
                sampler.take(Mode::Cluster(&known));
            }
            let told = sampler.problems().not_available().unwrap_or_default();
            assert!(!told.contains(&datum.to_string()), "{told}");
        }
    }
}

#[test]
fn what_is_available_again_is_not_said_to_be_missing() {
    let made = Made::new(Layout::V2Systemd);
    let known = made.work.inventory();
    let mut sampler = made.node.sampler();
    let mut told = Vec::new();
    for second in 0..90 {
        made.write(second);
        let on = if second < 10 { "0\n" } else { "1\n" };
        made.node.write("proc/sys/kernel/task_delayacct", on);
        sampler.take(Mode::Cluster(&known));
        told.push(sampler.problems().not_available().is_some());
        made.node.pass(SECOND);
    }
    assert!(told[..60].iter().all(|told| *told), "{told:?}");
    assert!(told[70..].iter().all(|told| !told), "{told:?}");
    let counted = sampler.problems().get(Datum::BlockDelay, Cause::Absent);
    assert!(counted.unwrap().count >= 2, "the counter keeps it");
}

/// Since Linux 6.10 `blkio` counts at disks with a limit only, and somebody set one for one of two.
#[test]
fn where_blkio_counts_at_one_disk_of_two_the_processes_do() {
    let line = |device, name| format!("   {device} {name} 9 0 70 5 8 0 70 4 0 3 3\n");
    let one = line("8 0", "sda") + &line("8 1", "sda1") + &line("253 0", "dm-0");
    for (stats, processes) in [
        (one.clone(), false),
        (one.clone() + &line("8 16", "sdb"), true),
        (one + "nonsense", false),
    ] {
        let made = Made::new(Layout::V1Cgroupfs);
        let (sample, usage) = made.twice(|seconds| {
            made.node.write("proc/diskstats", &stats);
            for pid in [100u64, 110, 111, 120, 130] {
                let text = format!("read_bytes: {}\nwrite_bytes: 0\n", 500 * seconds);
                made.node.write(&format!("proc/{pid}/io"), text);
            }
        });
        assert!(only_gaps(&made.node, &sample), "{:?}", sample.problems);
        let read = made.figures(&usage).disk.unwrap().read;
        assert_eq!(read, if processes { 1_000.0 } else { 40_000.0 }, "{stats}");
    }
}
