//! What is read every few seconds: disk, throttling, pressure, OOM kills, descriptors, the freezer.

use std::fs;
use std::os::unix::fs::symlink;

use scope_agent::attribution::{Disk, Figures, Pressure, Stalled, Usage, attribute};
use scope_agent::inventory::Termination;
use scope_agent::sample::{Cause, Datum, Mode, Sample, Sampler};

use crate::made_node::{Cgroup, Class, Further, Layout, MIB, MadeNode, Process, id};
use crate::workload::{SECOND, Workload, only_gaps, twice};

/// The app's cgroup after so many seconds.
fn app(seconds: u64) -> Cgroup {
    let further = Further {
        read: 1_000_000 + 40_000 * seconds,
        written: 5_000 * seconds,
        periods: 100 + 10 * seconds,
        throttled: 50 + 3 * seconds,
        quota: Some(50_000),
        waited: 700_000 + 200_000 * seconds,
        oom_kills: 0,
        frozen: false,
    };
    Cgroup {
        cpu_ns: 7_000_000_000 + 250_000_000 * seconds,
        limit: Some(20 * MIB),
        further,
        ..Cgroup::default()
    }
}

pub(crate) struct Made {
    pub(crate) node: MadeNode,
    pub(crate) work: Workload,
    pub(crate) app: String,
    pub(crate) web: String,
}

impl Made {
    pub(crate) fn new(layout: Layout) -> Self {
        let (node, work) = (MadeNode::new(layout), Workload::new());
        let app = node.container_path(Class::Burstable, &work.web, &work.app);
        let web = node.pod_path(Class::Burstable, &work.web);
        Made {
            node,
            work,
            app,
            web,
        }
    }

    pub(crate) fn write(&self, seconds: u64) {
        self.work.write(&self.node, seconds);
        self.node.cgroup(&self.app, app(seconds));
        let further = Further {
            oom_kills: 2,
            ..app(seconds).further
        };
        self.node.cgroup(
            &self.web,
            Cgroup {
                further,
                ..app(seconds)
            },
        );
        self.node.host_waits(100_000 * seconds);
    }

    pub(crate) fn twice(&self, mut change: impl FnMut(u64)) -> (Sample, Usage) {
        let known = self.work.inventory();
        let mut sampler = self.node.sampler();
        twice(&self.node, &mut sampler, Mode::Cluster(&known), |seconds| {
            self.write(seconds);
            change(seconds);
        })
    }

    pub(crate) fn figures(&self, usage: &Usage) -> Figures {
        usage.containers[&*self.work.app].figures
    }
}

#[test]
fn every_layout_gives_the_figures_that_it_has() {
    for layout in Layout::ALL {
        let made = Made::new(layout);
        let (sample, usage) = made.twice(|_| {});
        assert!(only_gaps(&made.node, &sample), "{:?}", sample.problems);
        let app = made.figures(&usage);
        // The volume's requests count once.
        let disk = Disk {
            read: 40_000.0,
            written: 5_000.0,
        };
        assert_eq!(app.disk, Some(disk), "{layout:?}");
        assert_eq!(app.throttled, Some(30.0), "{layout:?}");
        assert_eq!(app.cpu_limit_use, Some(50.0), "{layout:?}");
        assert_eq!(app.memory_limit_use, Some(25.0), "{layout:?}");
        assert_eq!(app.files, Some(6), "{layout:?}");
        assert_eq!(app.network, None);
        assert_eq!(app.oom_kills, None);
        let stalled = |some, full| {
            Some(Stalled {
                some,
                full: Some(full),
            })
        };
        let waiting = Pressure {
            cpu: stalled(20.0, 10.0),
            memory: stalled(10.0, 5.0),
            io: stalled(5.0, 2.5),
        };
        let want = if layout.v2() {
            waiting
        } else {
            Pressure::default()
        };
        assert_eq!(app.pressure, want, "{layout:?}");
        let container = &usage.containers[&*made.work.app];
        assert_eq!(container.frozen, Some(false), "{layout:?}");

        let web = usage.pods[&*made.work.web];
        assert_eq!(web.disk, Some(disk), "{layout:?}");
        assert_eq!(web.throttled, Some(30.0), "{layout:?}");
        assert_eq!(web.files, Some(12), "{layout:?}");
        let memory_v2 = layout.v2() || layout == Layout::HybridMemoryV2;
        let kills = if memory_v2 { 2 } else { 0 };
        assert_eq!(web.oom_kills, Some(kills), "{layout:?}: none by the status");
        let sidecar = usage.containers[&*made.work.sidecar].figures;
        assert_eq!(sidecar.throttled, None, "{layout:?}: no limit");
        assert_eq!(sidecar.cpu_limit_use, None, "{layout:?}: no limit");
        assert_eq!(sidecar.memory_limit_use, None, "{layout:?}: no limit");

        let host = usage.host.pressure;
        let some = [host.cpu, host.memory, host.io].map(|stalled| stalled.unwrap().some);
        assert_eq!(some, [10.0, 5.0, 2.5], "{layout:?}");
        assert_eq!(host.cpu.unwrap().full, None, "it has no meaning there");
        assert_eq!(host.io.unwrap().full, Some(1.25));
    }
}

#[test]
fn after_the_first_two_samples_the_figures_are_of_five_seconds() {
    for layout in [Layout::V1Systemd, Layout::V2Systemd] {
        let made = Made::new(layout);
        let mut sampler = made.node.sampler();
        let mut previous = None;
        let mut disks = Vec::new();
        for second in 0..30 {
            made.write(second);
            // A burst in one second of each five.
            let burst = Further {
                read: 1_000_000 * (second / 5),
                ..app(second).further
            };
            made.node.cgroup(
                &made.app,
                Cgroup {
                    further: burst,
                    ..app(second)
                },
            );
            let sample = sampler.take(Mode::Standalone);
            let usage = attribute(previous.as_ref(), &sample, Mode::Standalone);
            disks.push(made.figures(&usage).disk.map(|disk| disk.read));
            previous = Some(sample);
            made.node.pass(SECOND);
        }
        assert_eq!(disks[0], None);
        assert!(disks[1..].iter().all(Option::is_some), "{disks:?}");
        // Whatever the phase, each interval of five seconds has one burst.
        assert!(
            disks[12..].iter().all(|&d| d == Some(200_000.0)),
            "{disks:?}"
        );
    }
}

#[test]
fn between_two_times_that_count_only_what_each_sample_reads_is_new() {
    for layout in [Layout::V1Systemd, Layout::V2Systemd] {
        let made = Made::new(layout);
        let mut sampler = made.node.sampler();
        let mut previous = None;
        let mut told = Vec::new();
        for (pass, second, between) in [
            (1, 0, false),
            (14, 1, false),
            (5, 15, false),
            (5, 20, true),
            (5, 25, true),
            (0, 30, false),
        ] {
            made.write(second);
            let more_and_more = Further {
                read: 1000 * second * second,
                ..app(second).further
            };
            made.node.cgroup(
                &made.app,
                Cgroup {
                    further: more_and_more,
                    ..app(second)
                },
            );
            let sample = match between {
                true => sampler.take_between(Mode::Standalone),
                false => sampler.take(Mode::Standalone),
            };
            let usage = attribute(previous.as_ref(), &sample, Mode::Standalone);
            let figures = made.figures(&usage);
            let millicores = figures.cpu.map(|cpu| cpu.millicores.round());
            told.push((millicores, figures.disk.map(|disk| disk.read)));
            previous = Some(sample);
            made.node.pass(SECOND * pass);
        }
        let cpu = Some(250.0);
        assert_eq!(
            told[2..],
            [
                (cpu, Some(16_000.0)),
                (cpu, Some(16_000.0)),
                (cpu, Some(16_000.0)),
                (cpu, Some(45_000.0)),
            ],
            "{layout:?}"
        );
    }
}

#[test]
fn counters_that_step_back_give_no_figure() {
    for layout in [Layout::V1Cgroupfs, Layout::V2Systemd] {
        let made = Made::new(layout);
        let (_, usage) = made.twice(|seconds| {
            if seconds == 1 {
                made.node.cgroup(
                    &made.app,
                    Cgroup {
                        further: Further {
                            quota: Some(50_000),
                            ..Further::default()
                        },
                        ..app(1)
                    },
                );
                made.node.host_waits(0);
            } else {
                made.node.host_waits(500);
            }
        });
        let app = made.figures(&usage);
        assert_eq!((app.disk, app.throttled), (None, None), "{layout:?}");
        assert_eq!(app.pressure, Pressure::default(), "{layout:?}");
        assert_eq!(usage.host.pressure, Pressure::default(), "{layout:?}");
        assert_eq!(app.cpu_limit_use, Some(50.0), "{layout:?}");
    }
}

#[test]
fn one_unreadable_file_costs_one_figure() {
    type Check = fn(&Figures, &Usage, &Made) -> bool;
    let frozen: Check = |_, u, m| u.containers[&*m.work.app].frozen.is_none();
    let throttled: Check = |f, _, _| f.throttled.is_none() && f.cpu_limit_use.is_some();
    let limited: Check = |f, _, _| f.cpu_limit_use.is_none() && f.disk.is_some();
    let disk: Check = |f, _, _| f.disk.is_none() && f.throttled.is_some();
    let oom: Check = |_, u, m| u.pods[&*m.work.web].oom_kills.is_none();
    let no_disks: Check = |f, u, m| f.disk.is_none() && u.pods[&*m.work.web].disk.is_none();
    let cpu_waits: Check = |f, _, _| f.pressure.cpu.is_none() && f.pressure.io.is_some();
    let io_waits: Check = |f, _, _| f.pressure.io.is_none() && f.pressure.memory.is_some();
    let host_waits: Check =
        |_, u, _| u.host.pressure.memory.is_none() && u.host.pressure.cpu.is_some();
    let delays: Check = |f, _, _| f.block_delay.is_none();
    let (v1, v2) = (Layout::V1Cgroupfs, Layout::V2Systemd);
    let cases: [(Layout, &str, Datum, Check); 17] = [
        (
            v1,
            "blkio/blkio.throttle.io_service_bytes_recursive",
            Datum::CgroupDisk,
            disk,
        ),
        (v1, "cpu/cpu.stat", Datum::CgroupThrottling, throttled),
        (v1, "cpu/cpu.cfs_quota_us", Datum::CgroupThrottling, limited),
        (
            v1,
            "cpu/cpu.cfs_period_us",
            Datum::CgroupThrottling,
            limited,
        ),
        (v1, "freezer/freezer.state", Datum::CgroupFrozen, frozen),
        (v2, "/io.stat", Datum::CgroupDisk, disk),
        (v2, "/cpu.max", Datum::CgroupThrottling, limited),
        (v2, "/cgroup.events", Datum::CgroupFrozen, frozen),
        (v2, "/cpu.pressure", Datum::CgroupPressure, cpu_waits),
        (v2, "/io.pressure", Datum::CgroupPressure, io_waits),
        (v2, "pod/memory.events", Datum::OomKills, oom),
        (v1, "proc/devices", Datum::CgroupDisk, no_disks),
        (v2, "proc/devices", Datum::CgroupDisk, no_disks),
        (v2, "proc/pressure/memory", Datum::HostPressure, host_waits),
        (v1, "proc/pressure/memory", Datum::HostPressure, host_waits),
        (
            v1,
            "proc/sys/kernel/task_delayacct",
            Datum::BlockDelay,
            delays,
        ),
        (
            v2,
            "proc/sys/kernel/task_delayacct",
            Datum::BlockDelay,
            delays,
        ),
    ];
    for (layout, file, datum, check) in cases {
        for garbage in [&b""[..], b"garbage (-5\n"] {
            // A cgroup of v2 without I/O shows nothing.
            if file == "/io.stat" && garbage.is_empty() {
                continue;
            }
            let made = Made::new(layout);
            let path = match file.split_once('/').unwrap() {
                ("proc", _) => file.to_owned(),
                ("pod", file) => format!("cgroup{}/{file}", made.web),
                ("", file) => format!("cgroup{}/{file}", made.app),
                (controller, file) => format!("cgroup/{controller}{}/{file}", made.app),
            };
            let (sample, usage) = made.twice(|_| made.node.write(&path, garbage));
            let shown = String::from_utf8_lossy(garbage);
            let figures = made.figures(&usage);
            assert!(
                check(&figures, &usage, &made),
                "{file} with {shown:?}: {usage:?}"
            );
            let problem = sample.problems.get(datum, Cause::Malformed);
            // The list of drivers is read when cgroups are looked for.
            if file != "proc/devices" {
                let problem = problem.unwrap_or_else(|| panic!("{file} with {shown:?}"));
                assert_eq!(problem.count, 1, "{file} with {shown:?}");
                assert_eq!(problem.example, made.node.path(&path).display().to_string());
            }
            assert!(figures.cpu.is_some() && figures.memory.is_some(), "{file}");
        }
    }
}

#[test]
fn what_a_kernel_has_not_got_is_absent_and_said() {
    let made = Made::new(Layout::V2Systemd);
    let gone = [
        ("cpu.pressure", Datum::CgroupPressure),
        ("memory.pressure", Datum::CgroupPressure),
        ("io.pressure", Datum::CgroupPressure),
        ("io.stat", Datum::CgroupDisk),
        ("cpu.max", Datum::CgroupThrottling),
    ];
    let (sample, usage) = made.twice(|_| {
        for (file, _) in gone {
            fs::remove_file(made.node.path(&format!("cgroup{}/{file}", made.app))).unwrap();
        }
        made.node.write(
            &format!("cgroup{}/cgroup.events", made.app),
            "populated 1\n",
        );
        made.node.write(
            &format!("cgroup{}/cpu.stat", made.app),
            "usage_usec 7000000\nuser_usec 1\nsystem_usec 1\n",
        );
        fs::remove_dir_all(made.node.path("proc/pressure")).unwrap();
        made.node.write("proc/sys/kernel/task_delayacct", "0\n");
    });
    let app = made.figures(&usage);
    let mut figures = app;
    (figures.cpu, figures.memory, figures.memory_limit_use) = (None, None, None);
    (figures.processes, figures.files) = (None, None);
    assert_eq!(figures, Figures::default());
    assert!(app.cpu.is_some() && app.files == Some(6));
    assert_eq!(usage.containers[&*made.work.app].frozen, None);
    let problems: Vec<_> = sample
        .problems
        .iter()
        .map(|(d, c, p)| (d, c, p.count))
        .collect();
    assert_eq!(
        problems,
        [
            (Datum::CgroupDisk, Cause::Absent, 1),
            (Datum::CgroupThrottling, Cause::Absent, 2),
            (Datum::CgroupPressure, Cause::Absent, 3),
            (Datum::CgroupFrozen, Cause::Absent, 1),
            (Datum::BlockDelay, Cause::Absent, 1),
            (Datum::HostPressure, Cause::Absent, 3),
        ]
    );
}

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

#[test]
fn an_oom_kill_counts_once_by_the_kernel_or_by_the_status() {
    for layout in [Layout::V1Systemd, Layout::V2Systemd] {
        let made = Made::new(layout);
        let mut known = made.work.inventory();
        let pod = known.pods.get_mut(&made.work.web).unwrap();
        let container = pod.containers.get_mut(&made.work.app).unwrap();
        container.last_termination = Some(Termination {
            container: Some(id('9')),
            reason: "OOMKilled".into(),
            exit_code: 137,
            finished: None,
        });
        let mode = Mode::Cluster(&known);
        let (_, usage) = twice(&made.node, &mut made.node.sampler(), mode, |s| {
            made.write(s)
        });
        let kills = if layout.v2() { 2 } else { 1 };
        assert_eq!(
            usage.pods[&*made.work.web].oom_kills,
            Some(kills),
            "{layout:?}"
        );
        assert_eq!(
            usage.pods[&*made.work.solo].oom_kills,
            Some(0),
            "{layout:?}"
        );
        let (_, usage) = twice(
            &made.node,
            &mut made.node.sampler(),
            Mode::Standalone,
            |s| made.write(s),
        );
        let kills = layout.v2().then_some(2);
        assert_eq!(usage.pods[&*made.work.web].oom_kills, kills, "{layout:?}");
    }
}

#[test]
fn a_frozen_container_is_seen() {
    for layout in Layout::ALL {
        let made = Made::new(layout);
        let (_, usage) = made.twice(|_| {
            let mut cgroup = app(1);
            cgroup.further.frozen = true;
            made.node.cgroup(&made.app, cgroup);
        });
        let frozen = |id: &str| usage.containers[id].frozen;
        assert_eq!(frozen(&made.work.app), Some(true), "{layout:?}");
        assert_eq!(frozen(&made.work.sidecar), Some(false), "{layout:?}");
    }
}

#[test]
fn whether_a_container_is_frozen_is_seen_in_the_next_sample() {
    for layout in Layout::ALL {
        let made = Made::new(layout);
        let known = made.work.inventory();
        let mode = Mode::Cluster(&known);
        let mut sampler = made.node.sampler();
        let mut previous: Option<Sample> = None;
        for second in 0..24 {
            // Each state for one to four seconds, so that some end before it is the container's turn.
            let frozen = [1, 2, 5, 6, 7, 11, 13, 14, 15, 19].contains(&second);
            made.write(second);
            let mut cgroup = app(second);
            cgroup.further.frozen = frozen;
            made.node.cgroup(&made.app, cgroup);
            let sample = sampler.take(mode);
            let usage = attribute(previous.as_ref(), &sample, mode);
            let seen = &usage.containers[&*made.work.app];
            assert_eq!(seen.frozen, Some(frozen), "{layout:?} after {second} s");
            let changes = [1, 3, 5, 8, 11, 12, 13, 16, 19, 20];
            assert_eq!(seen.frozen_changed, changes.contains(&second));
            assert!(!usage.containers[&*made.work.sidecar].frozen_changed);
            previous = Some(sample);
            made.node.pass(SECOND);
        }
    }
}

#[test]
fn descriptors_that_cannot_all_be_counted_are_not_counted() {
    let made = Made::new(Layout::V2Systemd);
    let (sample, usage) = made.twice(|_| {
        // One that refuses, whoever asks.
        fs::remove_dir_all(made.node.path("proc/111/fd")).unwrap();
        symlink("fd", made.node.path("proc/111/fd")).unwrap();
        let many = Process {
            files: 40,
            ..Process::default()
        };
        let sidecar =
            made.node
                .container_path(Class::Burstable, &made.work.web, &made.work.sidecar);
        made.node.process(120, &sidecar, &many);
    });
    assert_eq!(made.figures(&usage).files, None, "never too low");
    assert_eq!(usage.pods[&*made.work.web].files, None);
    assert_eq!(
        usage.containers[&*made.work.sidecar].figures.files,
        Some(40)
    );
    assert_eq!(usage.pods[&*made.work.solo].files, Some(3));
    let problem = sample
        .problems
        .get(Datum::OpenFiles, Cause::Failed)
        .unwrap();
    assert_eq!(
        problem.example,
        made.node.path("proc/111/fd").display().to_string()
    );
}

#[test]
fn waiting_for_block_io_is_told_where_the_kernel_counts_it() {
    let delayed = |accounting: &str, ticks: fn(u64) -> u64| {
        let made = Made::new(Layout::V2Systemd);
        let (_, usage) = made.twice(|seconds| {
            made.node
                .write("proc/sys/kernel/task_delayacct", accounting);
            let process = Process {
                delay_ticks: ticks(seconds),
                ..Process::default()
            };
            made.node.process(110, &made.app, &process);
        });
        (
            made.figures(&usage).block_delay,
            usage.pods[&*made.work.web].block_delay,
        )
    };
    assert_eq!(delayed("1\n", |s| 100 + 7 * s), (Some(70.0), Some(70.0)));
    assert_eq!(delayed("1\n", |_| 100), (Some(0.0), Some(0.0)));
    assert_eq!(delayed("1\n", |_| 0), (None, None), "perhaps never counted");
    assert_eq!(
        delayed("1\n", |s| 100 - s),
        (Some(0.0), Some(0.0)),
        "the other process"
    );
    assert_eq!(delayed("0\n", |s| 100 + 7 * s), (None, None));
}

#[test]
fn a_container_that_vanishes_is_no_problem_and_a_new_one_begins_anew() {
    for layout in [Layout::V1Systemd, Layout::V2Systemd] {
        let made = Made::new(layout);
        let known = made.work.inventory();
        let mode = Mode::Cluster(&known);
        let mut sampler: Sampler = made.node.sampler();
        made.write(0);
        sampler.take(mode);
        made.node.pass(SECOND);
        made.write(1);
        made.node.remove_cgroup(&made.app);
        let sample = sampler.take(mode);
        assert!(
            only_gaps(&made.node, &sample),
            "{layout:?}: {:?}",
            sample.problems
        );
        made.node.pass(SECOND);
        made.write(2);
        let first = sampler.take(mode);
        let usage = attribute(Some(&sample), &first, mode);
        assert_eq!(
            made.figures(&usage).disk,
            None,
            "{layout:?}: nothing to compare with"
        );
    }
}
