//! The sampler and the attribution on made nodes of every layout.

mod made_node;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use made_node::inventory::{inventory, pod};
use made_node::{Cgroup, Class, Layout, MIB, MadeNode, Process, id, uid};
use scope_agent::attribution::{Memory, Network, ProcessTotals, Usage, attribute};
use scope_agent::inventory::Inventory;
use scope_agent::sample::{Cause, Datum, Mode, Sample, Sampler};

const SECOND: Duration = Duration::from_secs(1);

/// One pod of two containers and its pause container, one guaranteed pod, one process of the host.
struct Workload {
    web: String,
    app: String,
    sidecar: String,
    pause: String,
    solo: String,
    solo_app: String,
}

impl Workload {
    fn new() -> Self {
        Workload {
            web: uid('1'),
            app: id('b'),
            sidecar: id('c'),
            pause: id('d'),
            solo: uid('2'),
            solo_app: id('e'),
        }
    }

    fn inventory(&self) -> Inventory {
        inventory([
            pod(
                &self.web,
                "web-0",
                &[(&self.app, "app"), (&self.sidecar, "sidecar")],
            ),
            pod(&self.solo, "solo", &[(&self.solo_app, "main")]),
        ])
    }

    /// Writes the node as it is after so many seconds of steady work: `app` uses 250 millicores,
    /// the pod 400 of which 100 by what has ended, `solo` 50.
    fn write(&self, node: &MadeNode, seconds: u64) {
        let web = node.pod_path(Class::Burstable, &self.web);
        let solo = node.pod_path(Class::Guaranteed, &self.solo);
        let at = |id: &str| node.container_path(Class::Burstable, &self.web, id);
        let millicores = |n: u64| 7_000_000_000 + n * seconds * 1_000_000;

        let cgroup = Cgroup {
            cpu_ns: millicores(400),
            usage: 20 * MIB,
            ..Cgroup::default()
        };
        node.cgroup(&web, cgroup);
        let limit = Some(64 * MIB);
        node.cgroup(
            &at(&self.app),
            Cgroup {
                cpu_ns: millicores(250),
                limit,
                ..Cgroup::default()
            },
        );
        node.cgroup(
            &at(&self.sidecar),
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );
        node.cgroup(&at(&self.pause), Cgroup::default());
        node.cgroup(
            &solo,
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );
        let solo_app = node.container_path(Class::Guaranteed, &self.solo, &self.solo_app);
        node.cgroup(
            &solo_app,
            Cgroup {
                cpu_ns: millicores(50),
                ..Cgroup::default()
            },
        );

        let process = |threads, ticks_per_second| Process {
            threads,
            ticks: 500 + ticks_per_second * seconds,
            ..Process::default()
        };
        node.process(100, &at(&self.pause), &process(1, 0));
        node.network(100, 7, 1_000_000 + 2_000 * seconds, 50_000 + 300 * seconds);
        node.process(110, &at(&self.app), &process(4, 20));
        node.process(
            111,
            &format!("{}/nested/child", at(&self.app)),
            &process(2, 4),
        );
        node.process(120, &at(&self.sidecar), &process(1, 5));
        node.process(130, &solo_app, &process(3, 5));
        node.network(130, 1, 9_000_000 + 100_000 * seconds, 9_000_000);
        node.process_at(4242, own_lines(node), &process(1, 1));
        node.network(4242, 1, 9_000_000, 9_000_000);
        let kernel = Process {
            flags: 0x20_8040,
            ..Process::default()
        };
        node.process_at(2, own_lines(node), &kernel);
        node.host_ticks(1000 + 60 * seconds);
    }
}

/// A process in no container.
fn own_lines(node: &MadeNode) -> &'static str {
    match node.layout {
        Layout::V2Namespaced => "0::/../../../system.slice/agent.service\n",
        Layout::V2Systemd => "0::/system.slice/agent.service\n",
        _ => "4:memory:/system.slice/agent.service\n2:cpu,cpuacct:/\n0::/\n",
    }
}

/// Two samples, a second apart.
fn twice(
    node: &MadeNode,
    sampler: &mut Sampler,
    mode: Mode<'_>,
    mut write: impl FnMut(u64),
) -> (Sample, Usage) {
    write(0);
    let first = sampler.take(mode);
    node.pass(SECOND);
    write(1);
    let second = sampler.take(mode);
    let usage = attribute(Some(&first), &second, mode);
    (second, usage)
}

fn millicores(cpu: Option<scope_agent::attribution::Cpu>) -> Option<f64> {
    // Rounded to what the counters of all layouts can show.
    cpu.map(|cpu| (cpu.millicores * 100.0).round() / 100.0)
}

#[test]
fn every_layout_gives_the_same_usage() {
    for layout in Layout::ALL {
        let node = MadeNode::new(layout);
        let work = Workload::new();
        let known = work.inventory();
        let mode = Mode::Cluster(&known);
        let mut sampler = node.sampler();
        let (sample, usage) = twice(&node, &mut sampler, mode, |s| work.write(&node, s));
        assert!(
            sample.problems.is_empty(),
            "{layout:?}: {:?}",
            sample.problems
        );

        let ids: Vec<&str> = usage.containers.keys().map(|id| &**id).collect();
        assert_eq!(
            ids,
            [&*work.app, &work.sidecar, &work.solo_app],
            "{layout:?}"
        );
        let app = &usage.containers[&*work.app];
        assert_eq!(app.pod.as_deref(), Some(&*work.web), "{layout:?}");
        assert_eq!(millicores(app.cpu), Some(250.0), "{layout:?}");
        assert_eq!(
            app.cpu.unwrap().percent.map(f64::round),
            Some(13.0),
            "{layout:?}"
        );
        let memory = Memory {
            working_set: 5 * MIB,
            limit: Some(64 * MIB),
        };
        assert_eq!(app.memory, Some(memory), "{layout:?}");
        let page = rustix::param::page_size() as u64;
        let totals = ProcessTotals {
            count: 2,
            threads: 6,
            rss: 2 * 256 * page,
        };
        assert_eq!(app.processes, Some(totals), "{layout:?}");
        let sidecar = &usage.containers[&*work.sidecar];
        assert_eq!(sidecar.memory.unwrap().limit, None, "{layout:?}");

        let web = usage.pods[&*work.web];
        assert_eq!(
            millicores(web.cpu),
            Some(400.0),
            "{layout:?}: with what has ended"
        );
        assert_eq!(web.memory.unwrap().working_set, 17 * MIB, "{layout:?}");
        assert_eq!(
            web.processes.unwrap().count,
            4,
            "{layout:?}: with the pause container"
        );
        assert_eq!(
            web.network,
            Some(Network {
                received: 2000.0,
                sent: 300.0
            }),
            "{layout:?}"
        );
        assert_eq!(
            millicores(usage.pods[&*work.solo].cpu),
            Some(50.0),
            "{layout:?}"
        );

        let first_process = usize::from(layout == Layout::V2Namespaced);
        assert_eq!(usage.host.processes, 6 + first_process as u32, "{layout:?}");
        assert_eq!(usage.host.kernel_threads, 1, "{layout:?}");
        assert_eq!(
            (usage.host.cpus, usage.host.memory_used),
            (Some(2), Some(1 << 30))
        );
        assert_eq!(millicores(usage.host.cpu), Some(600.0), "{layout:?}");
        let by_pid = |pid| usage.processes.iter().find(|p| p.pid == pid).unwrap();
        assert_eq!(
            by_pid(111).container.as_deref(),
            Some(&*work.app),
            "{layout:?}: nested"
        );
        assert_eq!(millicores(by_pid(110).cpu), Some(200.0), "{layout:?}");
        assert_eq!(by_pid(4242).container, None, "{layout:?}");
        assert!(
            usage.processes.iter().all(|p| p.pid != 2),
            "{layout:?}: kernel threads"
        );
    }
}

#[test]
fn standalone_finds_the_same_containers_and_the_pause_container() {
    for layout in Layout::ALL {
        let node = MadeNode::new(layout);
        let work = Workload::new();
        let mut sampler = node.sampler();
        let (_, usage) = twice(&node, &mut sampler, Mode::Standalone, |s| {
            work.write(&node, s)
        });
        let ids: Vec<&str> = usage.containers.keys().map(|id| &**id).collect();
        assert_eq!(
            ids,
            [&*work.app, &work.sidecar, &work.pause, &work.solo_app],
            "{layout:?}"
        );
        assert_eq!(
            millicores(usage.containers[&*work.app].cpu),
            Some(250.0),
            "{layout:?}"
        );
        assert_eq!(
            usage.containers[&*work.app].pod.as_deref(),
            Some(&*work.web),
            "{layout:?}: by its cgroup"
        );
        let network = Network {
            received: 2000.0,
            sent: 300.0,
        };
        assert_eq!(usage.pods[&*work.web].network, Some(network), "{layout:?}");
        assert_eq!(
            usage.pods[&*work.solo].network, None,
            "{layout:?}: the node's own network"
        );
    }
}

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
            .all(|c| c.cpu.is_none() && c.memory.is_some())
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
fn equal_nodes_give_equal_samples() {
    let node = MadeNode::new(Layout::Hybrid);
    Workload::new().write(&node, 0);
    let first = node.sampler().take(Mode::Standalone);
    assert_eq!(first, node.sampler().take(Mode::Standalone));
}

#[test]
fn another_nodes_containers_on_the_same_machine_are_not_ours() {
    let mut node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    // The other node has a pod of its own and one with a copy of our pod's UID.
    node.prefix = "t0/node2";
    let other = Process {
        threads: 50,
        ..Process::default()
    };
    for (pid, pod, container) in [(900, uid('9'), id('9')), (901, work.web.clone(), id('8'))] {
        let path = node.container_path(Class::Burstable, &pod, &container);
        node.cgroup(
            &path,
            Cgroup {
                usage: 500 * MIB,
                ..Cgroup::default()
            },
        );
        node.process(pid, &path, &other);
    }
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let usage = attribute(None, &node.sampler().take(mode), mode);
    assert_eq!(usage.containers.len(), 3);
    assert_eq!(usage.pods.len(), 2);
    assert!(
        usage
            .processes
            .iter()
            .filter(|p| p.pid >= 900)
            .all(|p| p.container.is_none())
    );
}

#[test]
fn the_agents_own_container_is_found_from_inside_its_cgroup_namespace() {
    let node = MadeNode::new(Layout::V2Namespaced);
    let work = Workload::new();
    work.write(&node, 0);
    let own = node.own_path();
    node.cgroup(&own, Cgroup::default());
    node.write(&node.memory_file(&own, "cgroup.procs"), "17\n4242\n");
    node.cgroup(
        &node.pod_path(Class::Burstable, &uid('a')),
        Cgroup::default(),
    );
    // This agent, a child of its in a nested cgroup, and its pod's pause container.
    node.process_at(4242, "0::/\n", &Process::default());
    node.process_at(4243, "0::/nested\n", &Process::default());
    let pause = node.container_path(Class::Burstable, &uid('a'), &id('f'));
    node.cgroup(&pause, Cgroup::default());
    node.process(4240, &pause, &Process::default());

    let known = inventory([pod(&uid('a'), "agent", &[(&id('a'), "agent")])]);
    let mode = Mode::Cluster(&known);
    let usage = attribute(None, &node.sampler().take(mode), mode);
    assert_eq!(usage.containers[&*id('a')].processes.unwrap().count, 2);
    assert_eq!(
        usage.pods[&*uid('a')].processes.unwrap().count,
        3,
        "with its pause container"
    );

    let usage = attribute(
        None,
        &node.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    assert_eq!(usage.containers[&*id('f')].pod.as_deref(), Some(&*uid('a')));
}

#[test]
fn docker_and_podman_containers_are_found_without_kubernetes() {
    for layout in [Layout::V2Systemd, Layout::V1Cgroupfs] {
        let node = MadeNode::new(layout);
        for (pid, path) in [
            (50, format!("/docker/{}", id('1'))),
            (51, format!("/system.slice/docker-{}.scope", id('2'))),
            (
                52,
                format!("/machine.slice/libpod-{}.scope/container", id('3')),
            ),
            (
                53,
                format!("/machine.slice/libpod-conmon-{}.scope", id('3')),
            ),
        ] {
            let cgroup = path.strip_suffix("/container").unwrap_or(&path);
            node.cgroup(cgroup, Cgroup::default());
            node.process(pid, &path, &Process::default());
        }
        let usage = attribute(
            None,
            &node.sampler().take(Mode::Standalone),
            Mode::Standalone,
        );
        let found: Vec<(&str, Option<&str>)> = usage
            .containers
            .iter()
            .map(|(id, c)| (&id[..1], c.runtime.map(|runtime| runtime.as_str())))
            .collect();
        let podman = Some("podman");
        assert_eq!(
            found,
            [("1", Some("docker")), ("2", Some("docker")), ("3", podman)]
        );
        assert!(
            usage.containers.values().all(|c| c.memory.is_some()),
            "{layout:?}"
        );
        assert!(
            usage
                .containers
                .values()
                .all(|c| c.processes.unwrap().count == 1)
        );
    }
}

#[test]
fn without_visible_processes_the_cgroups_are_enough() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    work.write(&node, 0);
    for pid in [100, 110, 111, 120, 130] {
        node.remove_process(pid);
    }
    let known = work.inventory();
    let mut sampler = node.sampler();
    for mode in [Mode::Cluster(&known), Mode::Standalone] {
        let usage = attribute(None, &sampler.take(mode), mode);
        let app = &usage.containers[&*work.app];
        assert_eq!(app.memory.unwrap().working_set, 5 * MIB);
        assert_eq!(app.pod.as_deref(), Some(&*work.web));
        assert_eq!(app.processes, None, "unknown, not none");
    }
}

#[test]
fn without_cgroup_files_the_processes_stand_in_for_cpu_alone() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    let known = work.inventory();
    let mode = Mode::Cluster(&known);
    let mut sampler = node.sampler();
    let (sample, usage) = twice(&node, &mut sampler, mode, |seconds| {
        work.write(&node, seconds);
        fs::remove_dir_all(node.path("cgroup")).unwrap();
    });
    let app = &usage.containers[&*work.app];
    assert_eq!(millicores(app.cpu), Some(240.0));
    assert_eq!(app.memory, None);
    assert_eq!(app.processes.unwrap().count, 2);
    assert_eq!(millicores(usage.pods[&*work.web].cpu), Some(290.0));
    assert!(
        sample
            .problems
            .get(Datum::CgroupCpu, Cause::Absent)
            .is_some()
    );
    assert!(
        sample
            .problems
            .get(Datum::CgroupMemory, Cause::Absent)
            .is_some()
    );
}

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
            u.containers[&*w.app].processes.unwrap().count == 1
                && u.containers[&*w.app].cpu.is_some()
        }),
        ("110/cgroup", Datum::ProcessCgroup, |w, u| {
            u.containers[&*w.app].processes.unwrap().count == 1 && u.host.processes == 6
        }),
        ("100/net/dev", Datum::PodNetwork, |w, u| {
            u.pods[&*w.web].network.is_none() && u.pods[&*w.web].cpu.is_some()
        }),
        ("cpu", Datum::CgroupCpu, |w, u| {
            // The processes stand in, as for a cgroup that is not there.
            millicores(u.containers[&*w.app].cpu) == Some(240.0)
                && u.containers[&*w.app].memory.is_some()
        }),
        ("memory", Datum::CgroupMemory, |w, u| {
            u.containers[&*w.app].memory.is_none() && u.containers[&*w.app].cpu.is_some()
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
    assert_eq!(sample.problems.get(Datum::PodNetwork, Cause::Failed).unwrap().count, 1);
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
        scope_agent::sample::Roots {
            proc: "/nonexistent".into(),
            cgroup: "/nonexistent".into(),
        },
        scope_agent::sample::system_clock(),
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
    assert!(sample.problems.is_empty(), "{:?}", sample.problems);
    let pids: Vec<u32> = sample.processes.iter().map(|p| p.pid).collect();
    assert_eq!(pids, [100, 111, 130, 4242]);
    assert_eq!(sample.pods[&*work.web].network, None);
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
    assert_eq!(usage.containers[&*work.app].processes.unwrap().count, 1);
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
    assert!(usage.containers.values().all(|c| c.cpu.is_none()));
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
    assert_eq!(millicores(usage.containers[&*work.app].cpu), Some(250.0));
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
    assert!(second.problems.is_empty(), "{:?}", second.problems);

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
    assert_eq!(container.cpu, None, "its first sample");
    assert_eq!(container.memory.unwrap().working_set, 5 * MIB);
    assert_eq!(container.processes.unwrap().count, 1);
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
                };
                node.cgroup(&app, huge);
                let huge = Process {
                    ticks: max,
                    rss_pages: max,
                    threads: max,
                    ..Process::default()
                };
                node.process(110, &app, &huge);
                node.process(111, &app, &huge);
                node.network(100, 7, max, max);
            }
        });
        let app = &usage.containers[&*work.app];
        assert_eq!(app.cpu, None, "{layout:?}: no machine can do that");
        assert_eq!(app.memory.unwrap().working_set, u64::MAX, "{layout:?}");
        assert_eq!(app.processes.unwrap().rss, u64::MAX, "{layout:?}");
        assert_eq!(
            app.processes.unwrap().threads,
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
fn memory_is_never_below_nothing() {
    let node = MadeNode::new(Layout::V1Systemd);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    node.cgroup(
        &app,
        Cgroup {
            usage: MIB,
            inactive_file: 2 * MIB,
            ..Cgroup::default()
        },
    );
    let usage = attribute(
        None,
        &node.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    assert_eq!(usage.containers[&*work.app].memory.unwrap().working_set, 0);
}

#[test]
fn a_process_is_looked_at_again_after_it_may_have_been_moved() {
    let node = MadeNode::new(Layout::V1Cgroupfs);
    let work = Workload::new();
    work.write(&node, 0);
    let app = node.container_path(Class::Burstable, &work.web, &work.app);
    let count = |usage: &Usage| usage.containers[&*work.app].processes.unwrap().count;
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
