//! One file of the node at a time is changed: just the lines change that are about it.

use std::collections::BTreeSet;
use std::fs;

use crate::lines::lines;
use crate::made_node::{Layout, MIB, pressure};
use crate::node::{Golden, process};

type Change = fn(&Golden);

/// What a line is about: all before the value.
fn subject(line: &str) -> &str {
    line.split(" = ").next().unwrap_or(line)
}

/// The subjects of the lines that are in one and not in the other.
fn changed(before: &[String], after: &[String]) -> BTreeSet<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.iter().collect(), after.iter().collect());
    let differ = before.symmetric_difference(&after);
    differ.map(|line| subject(line).to_owned()).collect()
}

fn check(layout: Layout, cases: &[(&str, Change, &[&str])]) {
    let before = lines(&Golden::new(layout).report(|_| {}));
    for (what, change, want) in cases {
        let after = lines(&Golden::new(layout).report(change));
        let want: BTreeSet<String> = want.iter().map(|&subject| subject.to_owned()).collect();
        assert_eq!(changed(&before, &after), want, "{layout:?}: {what}");
    }
}

fn file(path: &str, name: &str) -> String {
    format!("cgroup{path}/{name}")
}

const CPU: [&str; 3] = [
    "Container bbbbbbbb docker_cpu_total_usage",
    "Container bbbbbbbb cpu_millicores",
    "Container bbbbbbbb cpu_limit_use",
];
const MEMORY: [&str; 2] = [
    "Container bbbbbbbb docker_memory_usage",
    "Container bbbbbbbb memory_limit_use",
];
const DISK: [&str; 2] = [
    "Container bbbbbbbb disk_read",
    "Container bbbbbbbb disk_write",
];

#[test]
fn files_of_v2_cgroups() {
    check(
        Layout::V2Systemd,
        &[
            (
                "cpu.stat",
                |g| {
                    let text = "usage_usec 7150000\nnr_periods 110\nnr_throttled 52\n";
                    g.node.write(&file(&g.app, "cpu.stat"), text);
                },
                &CPU,
            ),
            (
                "the periods in cpu.stat",
                |g| {
                    let text = "usage_usec 7100000\nnr_periods 110\nnr_throttled 55\n";
                    g.node.write(&file(&g.app, "cpu.stat"), text);
                },
                &["Container bbbbbbbb cpu_throttled"],
            ),
            (
                "cpu.max",
                |g| g.node.write(&file(&g.app, "cpu.max"), "200000 100000\n"),
                &["Container bbbbbbbb cpu_limit_use"],
            ),
            (
                "no cpu.max",
                |g| g.node.write(&file(&g.app, "cpu.max"), "max 100000\n"),
                &["Container bbbbbbbb cpu_limit_use"],
            ),
            (
                "memory.current",
                |g| {
                    g.node
                        .write(&file(&g.app, "memory.current"), (20 * MIB).to_string())
                },
                &MEMORY,
            ),
            (
                "memory.stat",
                |g| {
                    g.node
                        .write(&file(&g.app, "memory.stat"), "inactive_file 1048576\n")
                },
                &MEMORY,
            ),
            (
                "io.stat",
                |g| {
                    g.node.write(
                        &file(&g.app, "io.stat"),
                        "8:0 rbytes=1000500 wbytes=2000500\n",
                    )
                },
                &DISK,
            ),
            (
                "a volume in io.stat",
                |g| {
                    let text = "8:0 rbytes=1080000 wbytes=2010000\n253:7 rbytes=9 wbytes=9\n";
                    g.node.write(&file(&g.app, "io.stat"), text);
                },
                &[],
            ),
            (
                "memory.pressure",
                |g| {
                    g.node
                        .write(&file(&g.app, "memory.pressure"), pressure(450_000, 250_000))
                },
                &[
                    "Container bbbbbbbb psi_memory_some",
                    "Container bbbbbbbb psi_memory_full",
                ],
            ),
            (
                "memory.events of the pod",
                |g| {
                    g.node
                        .write(&file(&g.web, "memory.events"), "oom 9\noom_kill 4\n")
                },
                &["Pod 11111111 oom_kills"],
            ),
            (
                "memory.events of the container",
                |g| {
                    g.node
                        .write(&file(&g.app, "memory.events"), "oom 9\noom_kill 4\n")
                },
                &[],
            ),
            (
                "cpu.stat of the pod",
                |g| {
                    let text = "usage_usec 7250000\nnr_periods 110\nnr_throttled 53\n";
                    g.node.write(&file(&g.web, "cpu.stat"), text);
                },
                &[
                    "Pod 11111111 docker_cpu_total_usage",
                    "Pod 11111111 cpu_millicores",
                    "Pod 11111111 cpu_limit_use",
                ],
            ),
        ],
    );
}

#[test]
fn files_of_v1_cgroups() {
    check(
        Layout::V1Cgroupfs,
        &[
            (
                "cpuacct.usage",
                |g| g.node.write(&g.node.cpu_file(&g.app), "7150000000\n"),
                &CPU,
            ),
            (
                "cpu.stat",
                |g| {
                    let file = g.node.bandwidth_file(&g.app, "cpu.stat");
                    g.node.write(&file, "nr_periods 110\nnr_throttled 55\n");
                },
                &["Container bbbbbbbb cpu_throttled"],
            ),
            (
                "cpu.cfs_quota_us",
                |g| {
                    let file = g.node.bandwidth_file(&g.app, "cpu.cfs_quota_us");
                    g.node.write(&file, "200000\n");
                },
                &["Container bbbbbbbb cpu_limit_use"],
            ),
            (
                "blkio",
                |g| {
                    let text = "8:0 Read 1000500\n8:0 Write 2000500\nTotal 1\n";
                    g.node.write(&g.node.disk_file(&g.app), text);
                },
                &DISK,
            ),
            (
                "memory.usage_in_bytes",
                |g| {
                    let file = g.node.memory_file(&g.app, "memory.usage_in_bytes");
                    g.node.write(&file, (20 * MIB).to_string());
                },
                &MEMORY,
            ),
        ],
    );
}

#[test]
fn files_of_processes_and_the_host() {
    for layout in [Layout::V1Systemd, Layout::V2Cgroupfs] {
        check(
            layout,
            &[
                (
                    "the descriptors of a process",
                    |g| {
                        fs::write(g.node.path("proc/100/fd/99"), "").expect("writes");
                    },
                    &["Container bbbbbbbb open_files", "Pod 11111111 open_files"],
                ),
                (
                    "stat of a process",
                    |g| {
                        let mut changed = process(2, 1);
                        (changed.threads, changed.rss_pages) = (4, 300);
                        g.node.process(100, &g.app, &changed);
                    },
                    &[
                        "Container bbbbbbbb rss",
                        "Container bbbbbbbb threads",
                        "Pod 11111111 rss",
                        "Pod 11111111 threads",
                    ],
                ),
                (
                    "waiting in stat of a process",
                    |g| {
                        let mut changed = process(2, 1);
                        changed.delay_ticks += 1;
                        g.node.process(100, &g.app, &changed);
                    },
                    &[
                        "Container bbbbbbbb block_io_delay",
                        "Pod 11111111 block_io_delay",
                    ],
                ),
                (
                    "net/dev of a process",
                    |g| g.node.network(100, 100, 9_000, 1_000),
                    // Both on one scale, which ends at the highest.
                    &["Pod 11111111 network_rx", "Pod 11111111 network_tx"],
                ),
                (
                    "net/dev on the node's network",
                    |g| g.node.network(102, 102, 99_000, 99_000),
                    &[],
                ),
                (
                    "pressure/memory of the host",
                    |g| {
                        g.node
                            .write("proc/pressure/memory", pressure(60_000, 25_000))
                    },
                    &["Host node1 psi_memory_some"],
                ),
                (
                    "stat of the host",
                    |g| g.node.cpu_times(1070, 5100, 50),
                    &["Host node1 idle", "Host node1 iowait"],
                ),
            ],
        );
    }
}
