//! What changes from one sample to the next.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::attribution::{Usage, attribute};
use scope_agent::sample::{Mode, Moment, Sample, Sampler};
use scope_protocol::Timestamp;

use crate::made_node::inventory::{inventory, pod};
use crate::made_node::{Cgroup, Class, Layout, MIB, MadeNode, Process, id, uid};
use crate::workload::{SECOND, Workload, millicores, only_gaps, own_lines, twice};

#[test]
fn there_are_no_rates_before_the_second_sample() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let known = work.inventory();
    let sample = node.sampler().take(Mode::Cluster(&known));
    let usage = attribute(None, &sample, Mode::Cluster(&known));
    assert_eq!(usage.interval, None);
    assert!(
        usage
            .containers
            .values()
            .all(|c| c.figures.cpu.is_none() && c.figures.memory.is_some())
    );
    assert!(
        usage
            .pods
            .values()
            .all(|p| p.cpu.is_none() && p.network.is_none())
    );
    assert!(usage.processes.iter().all(|p| p.cpu.is_none()));
    assert!(usage.host.cpu.is_none() && usage.host.memory_total.is_some());

    // The same sample twice is no interval.
    let usage = attribute(Some(&sample), &sample, Mode::Cluster(&known));
    assert_eq!(usage.interval, None);
    assert!(usage.host.cpu.is_none());
}

#[test]
fn processes_and_containers_may_come_and_go_at_any_moment() {
    let node = MadeNode::new(Layout::Hybrid);
    let work = Workload::new();
    work.write(&node, 0);
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (node, work, stop) = (&node, &work, &stop);
        scope.spawn(move || {
            let path = node.container_path(Class::BestEffort, &uid('7'), &id('7'));
            while !stop.load(Ordering::Relaxed) {
                node.cgroup(&path, Cgroup::default());
                for pid in 5000..5020 {
                    node.process(pid, &path, &Process::default());
                }
                for pid in 5000..5020 {
                    node.remove_process(pid);
                }
                node.remove_cgroup(&path);
            }
        });
        let mut sampler = node.sampler();
        let mut previous = None;
        for _ in 0..300 {
            node.pass(SECOND);
            let sample = sampler.take(Mode::Standalone);
            let usage = attribute(previous.as_ref(), &sample, Mode::Standalone);
            assert!(usage.containers.contains_key(&*work.app));
            assert!(usage.host.processes >= 6);
            previous = Some(sample);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_wall_clock_that_steps_changes_dates_and_no_rate() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let (seconds, wall) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(0)));
    let clock = (seconds.clone(), wall.clone());
    let mut sampler = Sampler::new(node.roots(), Collectors::ALL, move || Moment {
        monotonic: Duration::from_secs(clock.0.load(Ordering::Relaxed)),
        wall: Timestamp::from_unix_micros(clock.1.load(Ordering::Relaxed)),
    });
    let mut previous = None;
    let mut seen = Vec::new();
    // Forward by a day, back by an hour, to the year 1970, and not at all.
    for (second, day) in [(0, 20_780), (1, 20_781), (2, 20_780), (3, 0), (4, 0)] {
        work.write(&node, second);
        let date = day * 86_400_000_000;
        seconds.store(second, Ordering::Relaxed);
        wall.store(date, Ordering::Relaxed);
        let sample = sampler.take(mode);
        assert_eq!(sample.at.wall, Timestamp::from_unix_micros(date));
        let usage = attribute(previous.as_ref(), &sample, mode);
        if previous.is_some() {
            assert_eq!(usage.interval, Some(SECOND));
            let app = &usage.containers[&*work.app].figures;
            seen.push((millicores(app.cpu), usage.pods[&*work.web].network));
        }
        previous = Some(sample);
    }
    assert!(seen[0].0 > Some(0.0) && seen[0].1.is_some(), "{seen:?}");
    assert!(seen.iter().all(|figures| *figures == seen[0]), "{seen:?}");
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let mut sampler = node.sampler();
    let sidecar = node.container_path(Class::Burstable, &work.web, &work.sidecar);
    let (_, usage) = twice(&node, &mut sampler, mode, |seconds| {
        work.write(&node, seconds);
        if seconds == 1 {
            // Pid 110 ended in `app`; what is 110 now started since and runs in `sidecar`.
            node.remove_process(110);
            let young = Process {
                start: 2000,
                ticks: 30,
                ..Process::default()
            };
            node.process(110, &sidecar, &young);
        }
    });
    let reused = usage.processes.iter().find(|p| p.pid == 110).unwrap();
    assert_eq!(reused.container.as_deref(), Some(&*work.sidecar));
    assert_eq!(
        millicores(reused.cpu),
        Some(300.0),
        "all that it has used, it used just now"
    );
    assert_eq!(
        usage.containers[&*work.app]
            .figures
            .processes
            .unwrap()
            .count,
        1
    );
}

#[test]
fn what_was_not_seen_before_but_is_old_is_a_baseline() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    let (_, usage) = twice(&node, &mut node.sampler(), Mode::Standalone, |seconds| {
        work.write(&node, seconds);
        if seconds == 0 {
            node.write("proc/110/stat", "unreadable this time");
            let youngest = Process {
                start: 5000,
                ..Process::default()
            };
            node.process_at(300, own_lines(&node), &youngest);
        }
    });
    let process = usage.processes.iter().find(|p| p.pid == 110).unwrap();
    assert_eq!(process.cpu, None);
}

#[test]
fn a_counter_that_steps_back_gives_no_value_for_one_sample() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let mut sampler = node.sampler();
    work.write(&node, 100);
    let first = sampler.take(mode);
    node.pass(SECOND);
    work.write(&node, 50);
    let second = sampler.take(mode);
    let usage = attribute(Some(&first), &second, mode);
    assert!(usage.containers.values().all(|c| c.figures.cpu.is_none()));
    let web = usage.pods[&*work.web];
    assert!(web.cpu.is_none() && web.network.is_none());
    assert!(usage.host.cpu.is_none());
    let all_none = usage
        .processes
        .iter()
        .filter(|p| p.pid == 110)
        .all(|p| p.cpu.is_none());
    assert!(all_none && web.memory.is_some());

    node.pass(SECOND);
    work.write(&node, 51);
    let usage = attribute(Some(&second), &sampler.take(mode), mode);
    assert_eq!(
        millicores(usage.containers[&*work.app].figures.cpu),
        Some(250.0)
    );
    assert_eq!(millicores(usage.pods[&*work.web].cpu), Some(400.0));
}

#[test]
fn a_container_that_was_restarted_after_an_oom_begins_anew() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    let mut known = work.inventory();
    let mut sampler = node.sampler();
    work.write(&node, 0);
    let first = sampler.take(Mode::Cluster(&known));

    // The kernel killed it: its cgroup and processes are gone, Kubernetes does not know yet.
    node.pass(SECOND);
    work.write(&node, 1);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    node.remove_cgroup(&app);
    node.remove_process(110);
    node.remove_process(111);
    let second = sampler.take(Mode::Cluster(&known));
    let usage = attribute(Some(&first), &second, Mode::Cluster(&known));
    assert!(
        !usage.containers.contains_key(&*work.app),
        "it does not run"
    );
    assert_eq!(
        millicores(usage.pods[&*work.web].cpu),
        Some(400.0),
        "the pod goes on"
    );
    assert!(only_gaps(&node, &second), "{:?}", second.problems);

    // The kubelet starts it again, under another ID.
    node.pass(SECOND);
    work.write(&node, 2);
    node.remove_cgroup(&app);
    node.remove_process(111);
    let again = id('0');
    let path = node.container_path(Class::Burstable, &work.web, &again);
    node.cgroup(
        &path,
        Cgroup {
            cpu_ns: 3_000_000_000,
            ..Cgroup::default()
        },
    );
    node.process(
        110,
        &path,
        &Process {
            start: 3000,
            ..Process::default()
        },
    );
    known = inventory([
        pod(
            &work.web,
            "web-0",
            &[(&again, "app"), (&work.sidecar, "sidecar")],
        ),
        pod(&work.solo, "solo", &[(&work.solo_app, "main")]),
    ]);
    let third = sampler.take(Mode::Cluster(&known));
    let usage = attribute(Some(&second), &third, Mode::Cluster(&known));
    let container = &usage.containers[&*again];
    assert_eq!(container.figures.cpu, None, "its first sample");
    assert_eq!(container.figures.memory.unwrap().working_set, 5 * MIB);
    assert_eq!(container.figures.processes.unwrap().count, 1);
}

#[test]
fn a_process_is_looked_at_again_after_it_may_have_been_moved() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    let count = |usage: &Usage| {
        usage.containers[&*work.app]
            .figures
            .processes
            .unwrap()
            .count
    };
    let mut sampler = node.sampler();
    let mut take = || {
        let sample = sampler.take(Mode::Standalone);
        attribute(None, &sample, Mode::Standalone)
    };

    // The runtime makes the process in its own cgroup and moves it then.
    node.process_at(200, own_lines(&node), &Process::default());
    assert_eq!(count(&take()), 2);
    node.process(200, &app, &Process::default());
    node.pass(SECOND);
    take();
    node.pass(SECOND);
    assert_eq!(count(&take()), 3, "after two seconds");

    // A process that is moved later is found within 60 samples.
    node.process_at(200, own_lines(&node), &Process::default());
    node.pass(SECOND);
    take();
    let found = (0..60).any(|_| {
        node.pass(SECOND);
        count(&take()) == 2
    });
    assert!(found);
}

#[test]
fn a_new_container_is_looked_for_at_once_but_not_more_than_once_a_second() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let mut sampler = node.sampler();
    sampler.take(Mode::Standalone);
    let path = node.container_path(Class::BestEffort, &uid('7'), &id('7'));
    node.cgroup(&path, Cgroup::default());
    node.process(700, &path, &Process::default());
    let memory = |sample: &Sample| {
        let mut groups = sample.groups.iter();
        let group = groups
            .find(|g| g.group.container.as_deref() == Some(&id('7')))
            .unwrap();
        group.cgroup.memory.is_some()
    };
    node.pass(SECOND / 2);
    assert!(
        !memory(&sampler.take(Mode::Standalone)),
        "half a second after the last walk"
    );
    node.pass(SECOND / 2);
    assert!(memory(&sampler.take(Mode::Standalone)));
}

#[test]
fn a_container_that_was_found_half_made_is_looked_for_again() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    fs::remove_dir_all(node.path(&node.memory_file(&app, ""))).unwrap();
    let mut sampler = node.sampler();
    let mut found = || {
        let usage = attribute(None, &sampler.take(Mode::Standalone), Mode::Standalone);
        usage.containers[&*work.app].figures.memory.is_some()
    };
    assert!(!found());
    work.write(&node, 0);
    node.pass(SECOND);
    assert!(found());
}

#[test]
fn a_container_without_a_cgroup_does_not_cause_walk_after_walk() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    let memory = node.path(&node.memory_file(&app, ""));
    fs::remove_dir_all(&memory).unwrap();
    let mut sampler = node.sampler();
    let mut found = || {
        let usage = attribute(None, &sampler.take(Mode::Standalone), Mode::Standalone);
        usage.containers[&*work.app].figures.memory.is_some()
    };
    for _ in 0..4 {
        assert!(!found());
        node.pass(SECOND);
    }
    work.write(&node, 0);
    assert!(!found(), "it was looked for often enough");
    node.pass(30 * SECOND);
    assert!(found());
}

/// Pids begin anew at their limit, so a child that was started last may have the lowest one.
#[test]
fn a_pods_network_is_read_through_its_oldest_process() {
    for layout in [Layout::V1Systemd, Layout::V2Cgroupfs] {
        let (node, work) = (MadeNode::new(layout), Workload::new());
        let known = work.inventory();
        for mode in [Mode::Cluster(&known), Mode::Standalone] {
            let mut sampler = node.sampler();
            let app = node.container_path(Class::Burstable, &work.web, &work.app);
            let mut previous = None;
            for seconds in 0..6 {
                work.write(&node, seconds);
                node.remove_process(100);
                let pause = Process {
                    start: 10,
                    ..Process::default()
                };
                node.process(
                    4000,
                    &node.container_path(Class::Burstable, &work.web, &work.pause),
                    &pause,
                );
                node.network(4000, 7, 5_000_000_000 + 2_000 * seconds, 300 * seconds);
                match seconds {
                    2..4 => {
                        let child = Process {
                            start: 900 + seconds,
                            ..Process::default()
                        };
                        node.process(50, &app, &child);
                        // A network of its own, which has moved next to nothing.
                        node.network(50, 9, 1, 1);
                    }
                    4 => node.remove_process(50),
                    _ => {}
                }
                let sample = sampler.take(mode);
                if previous.is_some() {
                    let usage = attribute(previous.as_ref(), &sample, mode);
                    let network = usage.pods[&*work.web].network.unwrap();
                    assert_eq!(
                        (network.received, network.sent),
                        (2_000.0, 300.0),
                        "{layout:?}"
                    );
                }
                previous = Some(sample);
                node.pass(SECOND);
            }
            node.remove_process(4000);
        }
    }
}

/// CRI-O may put its monitors, which are on the machine's network, into the pod's cgroup.
#[test]
fn a_monitor_in_a_pods_cgroup_is_no_way_to_its_network() {
    let (node, work) = (MadeNode::new(Layout::V2Systemd), Workload::new());
    let known = work.inventory();
    for mode in [Mode::Cluster(&known), Mode::Standalone] {
        let (_, usage) = twice(&node, &mut node.sampler(), mode, |seconds| {
            work.write(&node, seconds);
            let pod = node.pod_path(Class::Burstable, &work.web);
            let monitor = Process {
                start: 1,
                ..Process::default()
            };
            let path = format!("{pod}/crio-conmon-{}.scope", work.pause);
            node.process(99, &path, &monitor);
            node.network(99, 1, 70_000_000 * seconds, 70_000_000 * seconds);
        });
        let network = usage.pods[&*work.web].network.unwrap();
        assert_eq!((network.received, network.sent), (2_000.0, 300.0));
    }
}

#[test]
fn a_change_of_the_process_gives_no_rate_of_the_network_and_one_that_ended_no_gap() {
    let (node, work) = (MadeNode::new(Layout::V2Systemd), Workload::new());
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let mut sampler = node.sampler();
    let mut previous = None;
    for seconds in 0..4 {
        work.write(&node, seconds);
        // More of both than the other had, as a rate would be impossible.
        let moved = |per_second| 900_000_000 + per_second * seconds;
        node.network(110, 7, moved(2_000), moved(300));
        if seconds >= 1 {
            // As of one that ends between the list and its network's file.
            fs::remove_dir_all(node.path("proc/100/net")).unwrap();
        }
        let sample = sampler.take(mode);
        let read = sample.pods[&*work.web].network.unwrap();
        assert_eq!(read.process.pid, if seconds >= 1 { 110 } else { 100 });
        let usage = attribute(previous.as_ref(), &sample, mode);
        let rate = usage.pods[&*work.web]
            .network
            .map(|network| network.received);
        assert_eq!(rate, (seconds >= 2).then_some(2_000.0), "after {seconds} s");
        assert!(only_gaps(&node, &sample), "{:?}", sample.problems);
        previous = Some(sample);
        node.pass(SECOND);
    }
}
