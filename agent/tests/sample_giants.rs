//! Nodes and processes beyond all measure: what can be told of them is right, and a sampler that cannot
//! keep its deadlines says so.

#![allow(
    clippy::unwrap_used,
    reason = "a made node that cannot be made is no result"
)]

mod made_node;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use made_node::inventory::{inventory, pod};
use made_node::{Cgroup, Class, Layout, MadeNode, Process, id, uid};
use scope_agent::Collectors;
use scope_agent::attribution::attribute;
use scope_agent::collect::{MAX_BODY, Mend};
use scope_agent::inventory::Inventory;
use scope_agent::sample::{Cause, Datum, Mode};
use scope_agent::serve::{Cluster, Config, Demand, Publication, SamplerThread, renderer};
use scope_agent::volumes::VolumeWatch;

const PROCESSES: u32 = 30_000;
const FIRST: u32 = 10_000;
/// The one that holds 4 TiB, in pages of 4 KiB.
const HOLDER: u32 = 5_000;
const FOUR_TIB: u64 = 1 << 42;
/// The one with this many descriptors.
const OPENER: u32 = 5_001;
const DESCRIPTORS: u64 = 100_000;
const INTERVAL: Duration = Duration::from_secs(1);

/// Two containers: a crowd, and the two giants.
fn made() -> (MadeNode, Inventory) {
    let node = MadeNode::of_many_files(Layout::V2Systemd);
    let (pod_id, crowd, giants) = (uid('1'), id('a'), id('b'));
    let of_crowd = node.container_path(Class::Burstable, &pod_id, &crowd);
    let of_giants = node.container_path(Class::Burstable, &pod_id, &giants);
    for path in [&of_crowd, &of_giants] {
        node.cgroup(path, Cgroup::default());
    }
    node.process(FIRST, &of_crowd, &Process::default());
    // The others are like it, but for their descriptors, of which these ask too many files.
    let stat = fs::read_to_string(node.path(&format!("proc/{FIRST}/stat"))).unwrap();
    let (_, rest) = stat.split_once(' ').unwrap();
    let cgroup = node.path(&format!("proc/{FIRST}/cgroup"));
    for pid in FIRST + 1..FIRST + PROCESSES {
        let directory = node.path(&format!("proc/{pid}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("stat"), format!("{pid} {rest}")).unwrap();
        fs::hard_link(&cgroup, directory.join("cgroup")).unwrap();
    }
    let holder = Process {
        rss_pages: FOUR_TIB / 4096,
        ..Process::default()
    };
    node.process(HOLDER, &of_giants, &holder);
    let opener = Process {
        files: DESCRIPTORS,
        ..Process::default()
    };
    node.process(OPENER, &of_giants, &opener);
    let containers = [(&*crowd, "crowd"), (&*giants, "giants")];
    let known = inventory([pod(&pod_id, "huge", &containers)]);
    (node, known)
}

#[test]
fn a_huge_node_is_told_rightly_and_in_time_or_not_in_time_and_said() {
    let (node, known) = made();
    told_rightly(&node, &known);
    in_time_or_said(&node, known);
}

fn told_rightly(node: &MadeNode, known: &Inventory) {
    let mode = Mode::Cluster(known);
    let mut sampler = node.sampler();
    let before = sampler.take(mode);
    node.pass(INTERVAL);
    let sample = sampler.take(mode);
    assert_eq!(sample.processes.len(), PROCESSES as usize + 2);
    let usage = attribute(Some(&before), &sample, mode);
    let crowd = &usage.containers[&*id('a')].figures;
    assert_eq!(crowd.processes.map(|p| p.count), Some(u64::from(PROCESSES)));
    let giants = &usage.containers[&*id('b')].figures;
    assert_eq!(giants.processes.map(|p| p.rss), Some(FOUR_TIB + 256 * 4096));
    // To count that many would take as long as a sample may; too low a number would be a lie.
    assert_eq!(giants.files, None);
    let problem = sampler.problems().get(Datum::OpenFiles, Cause::TooLarge);
    let example = &problem.expect("it is said").example;
    assert!(example.ends_with("proc/5001/fd"), "{example}");
}

fn in_time_or_said(node: &MadeNode, known: Inventory) {
    let config = Config {
        plugin_id: "p".into(),
        label: "p".into(),
        description: None,
        collectors: Collectors::default(),
        http_allow_sys_exit: false,
        sample_interval: INTERVAL,
        mend: Mend::Always,
        host: "node-1".into(),
        roots: node.roots(),
        kubelet_dir: "/nonexistent".into(),
        plugin_dir: node.path("plugins"),
        http_listen: None,
        cluster: Some(Cluster {
            totals_dir: None,
            node: "node-1".into(),
            namespace: None,
            controls: [].into(),
            protected: [].into(),
            actions_per_minute: 0,
            traffic: false,
            longest_shaping: Duration::ZERO,
            start_jitter: Duration::ZERO,
        }),
    };
    let render = renderer(
        &config,
        Some(Arc::new(ArcSwap::from_pointee(known))),
        VolumeWatch::default(),
        None,
        None,
        None,
    );
    let publication = Arc::new(Publication::new("first"));
    let demand = Arc::new(Demand::new());
    let began = Instant::now();
    let (sampler, _ends) =
        SamplerThread::start(render, INTERVAL, publication.clone(), demand.clone())
            .expect("it starts");
    while sampler.state().ticks < 4 {
        assert!(began.elapsed() < Duration::from_secs(120), "it is stuck");
        demand.asked(Some("ab"), publication.get().sequence);
        std::thread::sleep(Duration::from_millis(50));
    }
    let grid = began.elapsed().as_secs();
    let state = sampler.state();
    println!(
        "{} ticks in {grid} s, {} left out, {:.0} ms each",
        state.ticks,
        state.skipped,
        state.busy.as_secs_f64() * 1000.0 / state.ticks as f64
    );
    // One tick on each point of the grid, or the point is counted as left out; the one under way is
    // neither yet.
    assert!(
        state.ticks + state.skipped + 1 >= grid,
        "{grid} s: {state:?}"
    );
    let body = publication.get().body_for(None).len();
    assert!(body <= MAX_BODY, "{body} bytes");
    sampler.stop();
}
