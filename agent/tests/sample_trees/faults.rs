//! Files that are gone, unreadable or nonsense.

use std::fs;

use scope_agent::Collectors;
use scope_agent::attribution::{Usage, attribute};
use scope_agent::sample::{Cause, Datum, Mode, Roots, Sampler, system_clock};

use crate::made_node::{Cgroup, Class, Further, Layout, MadeNode, Process};
use crate::workload::{Workload, millicores, only_gaps, twice};

#[test]
fn one_unreadable_file_costs_one_datum() {
    let work = Workload::new();
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    type Check = fn(&Workload, &Usage) -> bool;
    let cases: [(&str, Datum, Check); 7] = [
        ("stat", Datum::HostCpu, |_, u| {
            u.host.cpu.is_none() && u.host.memory_total.is_some()
        }),
        ("meminfo", Datum::HostMemory, |_, u| {
            u.host.cpu.is_some() && u.host.memory_used.is_none()
        }),
        ("110/stat", Datum::ProcessStat, |w, u| {
            u.containers[&*w.app].figures.processes.unwrap().count == 1
                && u.containers[&*w.app].figures.cpu.is_some()
        }),
        ("110/cgroup", Datum::ProcessCgroup, |w, u| {
            u.containers[&*w.app].figures.processes.unwrap().count == 1 && u.host.processes == 6
        }),
        ("100/net/dev", Datum::PodNetwork, |w, u| {
            u.pods[&*w.web].network.is_none() && u.pods[&*w.web].cpu.is_some()
        }),
        ("cpu", Datum::CgroupCpu, |w, u| {
            // The processes stand in, as for a cgroup that is not there.
            millicores(u.containers[&*w.app].figures.cpu) == Some(240.0)
                && u.containers[&*w.app].figures.memory.is_some()
        }),
        ("memory", Datum::CgroupMemory, |w, u| {
            u.containers[&*w.app].figures.memory.is_none()
                && u.containers[&*w.app].figures.cpu.is_some()
        }),
    ];
    for (file, datum, check) in cases {
        for garbage in [
            &b""[..],
            b"\xff\xfe\0",
            b"garbage (\n",
            b"1 2 3",
            b"-5\n",
            &[b'9'; 100],
        ] {
            // An empty list of cgroups is what a kernel without cgroups shows.
            if (file, garbage) == ("110/cgroup", b"") {
                continue;
            }
            let node = MadeNode::new(Layout::V1Cgroupfs);
            let app = node.container_path(Class::Burstable, &work.web, &work.app);
            let path = match file {
                "cpu" => node.cpu_file(&app),
                "memory" => node.memory_file(&app, "memory.stat"),
                file => format!("proc/{file}"),
            };
            let mut sampler = node.sampler();
            let (sample, usage) = twice(&node, &mut sampler, mode, |seconds| {
                work.write(&node, seconds);
                node.write(&path, garbage);
            });
            let shown = String::from_utf8_lossy(garbage);
            let problem = sample.problems.get(datum, Cause::Malformed);
            assert!(check(&work, &usage), "{file} with {shown:?}");
            // The cgroup of a known process is not read again each time.
            if file != "110/cgroup" {
                let problem = problem.unwrap_or_else(|| panic!("{file} with {shown:?}"));
                assert_eq!(problem.count, 1, "{file} with {shown:?}");
                assert_eq!(problem.example, node.path(&path).display().to_string());
            }
            let total = sampler
                .problems()
                .get(datum, Cause::Malformed)
                .unwrap()
                .count;
            assert_eq!(
                total,
                if file == "110/cgroup" { 1 } else { 2 },
                "{file} with {shown:?}"
            );
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_counted_by_its_cause() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    // Reading a directory fails, whoever reads.
    let current = node.path(&node.memory_file(&app, "memory.current"));
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    let sidecar = node.container_path(Class::Burstable, &work.web, &work.sidecar);
    fs::remove_file(node.path(&node.memory_file(&sidecar, "memory.current"))).unwrap();
    node.write("proc/120/stat", vec![b'x'; 2 << 20]);
    // Whose network it is cannot be told, so it is not taken for the pod's own.
    fs::remove_file(node.path("proc/100/ns/net")).unwrap();
    node.write("proc/100/ns/net", "no link");

    let sample = node.sampler().take(Mode::Standalone);
    assert_eq!(
        sample
            .problems
            .get(Datum::PodNetwork, Cause::Failed)
            .unwrap()
            .count,
        1
    );
    assert_eq!(sample.pods[&*work.web].network, None);
    assert_eq!(
        sample
            .problems
            .get(Datum::CgroupMemory, Cause::Failed)
            .unwrap()
            .count,
        1
    );
    assert_eq!(
        sample
            .problems
            .get(Datum::CgroupMemory, Cause::Absent)
            .unwrap()
            .count,
        1
    );
    assert_eq!(
        sample
            .problems
            .get(Datum::ProcessStat, Cause::TooLarge)
            .unwrap()
            .count,
        1
    );
    assert_eq!(sample.problems.iter().count(), 4, "{:?}", sample.problems);

    let mut sampler = Sampler::new(
        Roots {
            proc: "/nonexistent".into(),
            cgroup: "/nonexistent".into(),
        },
        Collectors::ALL,
        system_clock(),
    );
    let sample = sampler.take(Mode::Standalone);
    assert!(
        sample
            .problems
            .get(Datum::ProcessList, Cause::Absent)
            .is_some()
    );
    assert!(sample.problems.get(Datum::HostCpu, Cause::Absent).is_some());
    assert!(sample.processes.is_empty() && sample.groups.is_empty());
}

#[test]
fn a_process_that_vanishes_while_it_is_read_is_no_problem() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    work.write(&node, 0);
    // Gone before its first file, before its second, and before its network's.
    fs::remove_file(node.path("proc/110/stat")).unwrap();
    fs::remove_file(node.path("proc/120/cgroup")).unwrap();
    fs::remove_file(node.path("proc/100/net/dev")).unwrap();
    let known = work.inventory();
    let sample = node.sampler().take(Mode::Cluster(&known));
    assert!(only_gaps(&node, &sample), "{:?}", sample.problems);
    let pids: Vec<u32> = sample.processes.iter().map(|p| p.pid).collect();
    assert_eq!(pids, [100, 111, 130, 4242]);
    assert_eq!(sample.pods[&*work.web].network, None);
}

#[test]
fn huge_values_neither_wrap_nor_panic() {
    for layout in Layout::ALL {
        let node = MadeNode::new(layout);
        let work = Workload::new();
        let known = work.inventory();
        let mode = Mode::Cluster(&known);
        let (_, usage) = twice(&node, &mut node.sampler(), mode, |seconds| {
            work.write(&node, seconds);
            if seconds == 1 {
                let app = node.container_path(Class::Burstable, &work.web, &work.app);
                let max = u64::MAX;
                let huge = Cgroup {
                    cpu_ns: max,
                    usage: max,
                    inactive_file: 0,
                    limit: Some(max),
                    further: Further {
                        read: max,
                        written: max,
                        periods: max,
                        throttled: max,
                        quota: Some(max),
                        waited: max,
                        oom_kills: max,
                        frozen: true,
                    },
                };
                node.cgroup(&app, huge);
                let huge = Process {
                    ticks: max,
                    rss_pages: max,
                    threads: max,
                    delay_ticks: max,
                    ..Process::default()
                };
                node.process(110, &app, &huge);
                node.process(111, &app, &huge);
                node.network(100, 7, max, max);
            }
        });
        let app = &usage.containers[&*work.app];
        assert_eq!(app.figures.cpu, None, "{layout:?}: no machine can do that");
        assert_eq!(
            app.figures.memory.unwrap().working_set,
            u64::MAX,
            "{layout:?}"
        );
        assert_eq!(app.figures.processes.unwrap().rss, u64::MAX, "{layout:?}");
        assert_eq!(
            app.figures.processes.unwrap().threads,
            2 * u64::from(u32::MAX),
            "{layout:?}"
        );
        assert!(
            usage.pods[&*work.web].network.unwrap().received.is_finite(),
            "{layout:?}"
        );
    }
}

#[test]
fn a_tree_without_end_is_walked_to_a_limit() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    work.write(&node, 0);
    // Deeper than any path of a pod; and a link back to the root, which no kernel makes.
    fs::create_dir_all(node.path(&format!("cgroup/{}", "deep/".repeat(100)))).unwrap();
    std::os::unix::fs::symlink("../..", node.path("cgroup/deep/loop")).unwrap();
    let usage = attribute(
        None,
        &node.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    assert_eq!(usage.containers.len(), 4);
}
