//! What cannot be read or counted.

use super::*;

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
