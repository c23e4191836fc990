//! Bytes of disks, by processes, containers and pods.

use super::*;

#[test]
fn a_pods_disk_needs_sums_and_a_containers_does_not() {
    let made = Made::new(Layout::V1Systemd);
    let (_, usage) = made.twice(|seconds| {
        let root = made
            .node
            .path("cgroup/blkio/blkio.throttle.io_service_bytes_recursive");
        let _ = fs::remove_file(root);
        for path in [&made.app, &made.web] {
            let directory = format!("cgroup/blkio{path}/blkio.throttle.io_service_bytes");
            fs::remove_file(made.node.path(&format!("{directory}_recursive"))).unwrap();
            let text = format!("8:0 Read {}\n8:0 Write 0\nTotal 1\n", 500 * seconds);
            made.node.write(&directory, text);
        }
    });
    let disk = Disk {
        read: 500.0,
        written: 0.0,
    };
    assert_eq!(made.figures(&usage).disk, Some(disk));
    assert_eq!(usage.pods[&*made.work.web].disk, None);
}

#[test]
fn where_blkio_counts_nothing_the_processes_do() {
    let made = Made::new(Layout::V1Cgroupfs);
    let counting = |seconds: u64, refused: bool| {
        for file in ["io_service_bytes", "io_service_bytes_recursive"] {
            let file = format!("cgroup/blkio/blkio.throttle.{file}");
            made.node.write(&file, "Total 0\n");
        }
        for pid in [100u64, 110, 111, 120, 130] {
            let (read, written) = (1_000 + 500 * seconds, 100 * pid * seconds);
            let text = format!("rchar: 9\nread_bytes: {read}\nwrite_bytes: {written}\n");
            made.node.write(&format!("proc/{pid}/io"), text);
        }
        if refused {
            made.node.write("proc/111/io", "nonsense");
        }
    };
    let (sample, usage) = made.twice(|seconds| counting(seconds, false));
    assert!(only_gaps(&made.node, &sample), "{:?}", sample.problems);
    let disk = |read, written| Some(Disk { read, written });
    assert_eq!(made.figures(&usage).disk, disk(1_000.0, 22_100.0));
    assert_eq!(usage.pods[&*made.work.web].disk, disk(2_000.0, 44_100.0));
    assert_eq!(usage.pods[&*made.work.solo].disk, disk(500.0, 13_000.0));

    let (sample, usage) = made.twice(|seconds| counting(seconds, true));
    assert_eq!(made.figures(&usage).disk, None, "never too low");
    assert_eq!(usage.pods[&*made.work.web].disk, None, "never too low");
    assert_eq!(usage.pods[&*made.work.solo].disk, disk(500.0, 13_000.0));
    let problem = sample
        .problems
        .get(Datum::CgroupDisk, Cause::Malformed)
        .unwrap();
    assert_eq!(problem.count, 1);
}

/// A process of the pod ends in the middle of its turns. What was read before is not told for long.
#[test]
fn disk_bytes_that_cannot_be_summed_up_are_tried_again_and_then_left_out() {
    let made = Made::new(Layout::V1Cgroupfs);
    let known = made.work.inventory();
    let mut sampler = made.node.sampler();
    // When it was read last, and the time before: of the pod that is disturbed and of the other.
    let mut tick = |second: u64, disturbed: bool| {
        made.write(second);
        for file in ["io_service_bytes", "io_service_bytes_recursive"] {
            let file = format!("cgroup/blkio/blkio.throttle.{file}");
            made.node.write(&file, "Total 0\n");
        }
        for pid in [100u64, 110, 111, 120, 130] {
            let text = format!("read_bytes: {}\nwrite_bytes: 0\n", 500 * second);
            made.node.write(&format!("proc/{pid}/io"), text);
        }
        if disturbed {
            fs::remove_file(made.node.path("proc/111/io")).unwrap();
        }
        let sample = sampler.take(Mode::Cluster(&known));
        made.node.pass(SECOND);
        let read = |pod: &str| {
            let span = sample.pods[pod].cgroup.further.disk?;
            Some((span.at.as_secs(), span.before.map(|(at, _)| at.as_secs())))
        };
        (read(&made.work.web), read(&made.work.solo))
    };
    let origin = tick(0, false).0.unwrap().0;
    let mut second = 0;
    let mut next = |disturbed| {
        second += 1;
        let (web, solo) = tick(second, disturbed);
        let since =
            |(at, before): (u64, Option<u64>)| (at - origin, before.map(|before| before - origin));
        (second, web.map(since), solo.map(since))
    };
    // Turns are five seconds apart when the first two are over.
    let turn = loop {
        let (second, web, _) = next(false);
        if second > 10 && web.unwrap().0 == second {
            break second;
        }
    };
    let at = |seconds: u64, before: Option<u64>| {
        Some((turn + seconds, before.map(|before| turn + before)))
    };
    for seconds in 1..32 {
        let disturbed = seconds == 5 || (15..22).contains(&seconds);
        let (_, web, solo) = next(disturbed);
        let want = match seconds {
            0..6 => Some(turn),
            6..10 => Some(turn + 6),
            10..20 => Some(turn + 10),
            20..25 => None,
            25..30 => Some(turn + 25),
            _ => Some(turn + 30),
        };
        assert_eq!(web.map(|(at, _)| at), want, "after {seconds} s");
        match seconds {
            6 => assert_eq!(web, at(6, Some(0))),
            25 => assert_eq!(web, at(25, None), "a new beginning"),
            30 => assert_eq!(web, at(30, Some(25))),
            _ => {}
        }
        let (at, before) = solo.unwrap();
        assert_eq!(before, Some(at - 5), "the other pod keeps its turns");
    }
}
