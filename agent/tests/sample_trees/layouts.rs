//! Where pods and containers are found, and what they use there.

use std::fs;

use scope_agent::attribution::{Memory, Network, ProcessTotals, attribute};
use scope_agent::sample::{Cause, Datum, Mode};

use crate::made_node::inventory::{inventory, pod};
use crate::made_node::{Cgroup, Class, Layout, MIB, MadeNode, Process, id, uid};
use crate::workload::{SECOND, Workload, millicores, only_gaps, twice};

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
            only_gaps(&node, &sample),
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
        assert_eq!(millicores(app.figures.cpu), Some(250.0), "{layout:?}");
        assert_eq!(
            app.figures.cpu.unwrap().percent.map(f64::round),
            Some(13.0),
            "{layout:?}"
        );
        let memory = Memory {
            working_set: 5 * MIB,
            limit: Some(64 * MIB),
        };
        assert_eq!(app.figures.memory, Some(memory), "{layout:?}");
        let page = rustix::param::page_size() as u64;
        let totals = ProcessTotals {
            count: 2,
            threads: 6,
            rss: 2 * 256 * page,
        };
        assert_eq!(app.figures.processes, Some(totals), "{layout:?}");
        let sidecar = &usage.containers[&*work.sidecar];
        assert_eq!(sidecar.figures.memory.unwrap().limit, None, "{layout:?}");

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
fn standalone_finds_the_same_containers() {
    for layout in Layout::ALL {
        let node = MadeNode::new(layout);
        let work = Workload::new();
        let mut sampler = node.sampler();
        // As the kubelet has them for the pods of each class, and the runtime for what it adds.
        for (pid, score) in [(100, "-998"), (110, "2"), (111, "999"), (130, "-997")] {
            node.write(&format!("proc/{pid}/oom_score_adj"), format!("{score}\n"));
        }
        let (_, usage) = twice(&node, &mut sampler, Mode::Standalone, |s| {
            work.write(&node, s)
        });
        let ids: Vec<&str> = usage.containers.keys().map(|id| &**id).collect();
        assert_eq!(
            ids,
            [&*work.app, &work.sidecar, &work.solo_app],
            "{layout:?}: without the pod's sandbox"
        );
        assert_eq!(
            millicores(usage.containers[&*work.app].figures.cpu),
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
fn a_sandbox_is_told_by_what_its_runtime_gives_it_alone() {
    let node = MadeNode::new(Layout::V2Systemd);
    let work = Workload::new();
    let mut sampler = node.sampler();
    let mut found = |second: u64, score: &str| {
        work.write(&node, second);
        node.write("proc/100/oom_score_adj", score);
        if second > 0 {
            node.pass(SECOND);
        }
        let sample = sampler.take(Mode::Standalone);
        let usage = attribute(None, &sample, Mode::Standalone);
        let pod = &usage.pods[&*work.web];
        let processes = pod.processes.map(|totals| totals.count);
        (usage.containers.contains_key(&*work.pause), processes)
    };
    // What the runtime has not finished yet is looked at again, two seconds later.
    let all = found(0, "0\n").1;
    assert_eq!(found(1, "-998\n"), (true, all), "not at each sample");
    assert_eq!(
        found(2, "-998\n"),
        (false, all),
        "it still counts for the pod"
    );
    assert_eq!(found(3, "-998\n"), (false, all));
    assert_eq!(found(4, "0\n"), (false, all), "known for good");
    // By the shim that containerd started for it; all of these processes have the parent 1.
    let shim = "/usr/bin/containerd-shim-runc-v2\0-namespace\0k8s.io\0-id\0";
    node.write("proc/1/cmdline", format!("{shim}{}\0", work.pause));
    let sample = node.sampler().take(Mode::Standalone);
    let containers = attribute(None, &sample, Mode::Standalone).containers;
    let ids: Vec<&str> = containers.keys().map(|id| &**id).collect();
    assert_eq!(ids, [&*work.app, &work.sidecar, &work.solo_app]);
    node.write("proc/1/cmdline", "/sbin/init\0");
    for text in ["-997\n", "-9980\n", "", "x"] {
        node.write("proc/100/oom_score_adj", text);
        let sample = node.sampler().take(Mode::Standalone);
        let usage = attribute(None, &sample, Mode::Standalone);
        assert!(usage.containers.contains_key(&*work.pause), "{text:?}");
    }
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
    assert_eq!(
        usage.containers[&*id('a')].figures.processes.unwrap().count,
        2
    );
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
            usage
                .containers
                .values()
                .all(|c| c.figures.memory.is_some()),
            "{layout:?}"
        );
        assert!(
            usage
                .containers
                .values()
                .all(|c| c.figures.processes.unwrap().count == 1)
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
        assert_eq!(app.figures.memory.unwrap().working_set, 5 * MIB);
        assert_eq!(app.pod.as_deref(), Some(&*work.web));
        assert_eq!(app.figures.processes, None, "unknown, not none");
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
    assert_eq!(millicores(app.figures.cpu), Some(240.0));
    assert_eq!(app.figures.memory, None);
    assert_eq!(app.figures.processes.unwrap().count, 2);
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
    assert_eq!(
        usage.containers[&*work.app]
            .figures
            .memory
            .unwrap()
            .working_set,
        0
    );
}
