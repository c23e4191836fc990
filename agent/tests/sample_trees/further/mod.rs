//! What is read every few seconds: disk, throttling, pressure, OOM kills, descriptors, the freezer.

mod disk;
mod missing;

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
