//! A busy node: 200 forks a second and 20 pods a minute that come and go, while two probes poll. No
//! violation, no impossible figure, no old report, and an agent that does not grow.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::app_view;
use crate::footprint::Footprint;
use crate::heard::{Figure, Heard};
use crate::progress::await_some;
use crate::truth;
use crate::world::World;

/// Of the tests; `scope-e2e --soak` has its own.
const SHORT: Duration = Duration::from_secs(60);
/// How long a soak looks at the page before the churn, and again after it: five minutes together.
const PAGE: Duration = Duration::from_secs(150);
/// Until the agent has seen what there is: its caches have then the size that they keep.
const WARM: Duration = Duration::from_secs(15);
/// One pod in this time, which is 20 a minute.
const POD_EVERY: Duration = Duration::from_secs(3);
/// How many of them live at a time.
const ALIVE: u64 = 4;
/// What an agent may differ between the first and the last third of the time.
const FLAT: f64 = 0.05;
/// The kernel charges a cgroup for 64 pages at a time on each CPU, whether they are used or not
/// (`MEMCG_CHARGE_BATCH`): its usage is no more exact than that.
const CHARGED_AHEAD: f64 = 64.0 * 4096.0;
/// What the agent holds open of a pod: three files of its cgroup, three of its container's, and one of its network. Looks
/// that fall just before and just after a pod comes differ by one pod.
const FILES_OF_A_POD: f64 = 7.0;
/// The age of the newest sample in a report at which somebody would notice.
const OLD: Duration = Duration::from_secs(2);

const FORKER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: forker, namespace: figures}
spec:
  replicas: 1
  selector: {matchLabels: {app: forker}}
  template:
    metadata: {labels: {app: forker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: forker
          image: harness.local/box:1
          # Twenty processes of 50 ms at a time; with the shells, some 200 forks and more a second.
          command: [sh, -c, "for n in 1 2 3 4 5 6 7 8 9 10; do while :; do usleep 50000; done & done; wait"]
"#;

/// The short one.
pub(super) fn churn(world: &mut World) -> anyhow::Result<()> {
    busy(world, SHORT)
}

/// Keeps the nodes busy for so long. Before, and when it is over, Scope's page is looked at, which must
/// always show the same.
///
/// # Errors
/// At the first report that is wrong, if an agent grew, or at the first look at the page that lacks
/// something.
pub fn soak(world: &mut World, length: Duration) -> anyhow::Result<()> {
    app_view::stays_with_cri(world, PAGE)?;
    busy(world, length)?;
    app_view::stays_without_cri(world, PAGE)
}

/// Keeps the nodes busy for so long and asks once a second.
fn busy(world: &mut World, length: Duration) -> anyhow::Result<()> {
    world.kubectl.apply(FORKER)?;
    await_some("the forker runs", Duration::from_secs(60), || {
        let pods = truth::pods(&world.kubectl)?;
        let runs = pods
            .iter()
            .any(|p| p.name.starts_with("forker") && !p.containers.is_empty());
        Ok(if runs { Ok(()) } else { Err("not yet".into()) })
    })?;
    let result = keep_busy(world, length);
    let cleaned = world.kubectl.ok(&[
        "delete",
        "-n",
        "figures",
        "--wait=false",
        "--grace-period=0",
        "--force",
        "deployment/forker",
    ]);
    let pods = world.kubectl.ok(&[
        "delete",
        "pods",
        "-n",
        "figures",
        "-l",
        "app=churn",
        "--grace-period=0",
        "--force",
    ]);
    result?;
    cleaned?;
    pods?;
    Ok(())
}

fn keep_busy(world: &mut World, length: Duration) -> anyhow::Result<()> {
    wake(world)?;
    let caps = Caps::of_this_machine()?;
    let said_before = descriptions(world)?;
    let forks_before = forks()?;
    let mut footprints: Vec<Vec<Footprint>> = vec![Vec::new(); world.nodes().len()];
    let started = Instant::now();
    let (mut made, mut asked, mut oldest) = (0, 0_u64, Duration::ZERO);
    let mut tick = Instant::now();
    while started.elapsed() < WARM + length {
        if started.elapsed() >= POD_EVERY * made as u32 {
            come_and_go(world, made)?;
            made += 1;
        }
        for (n, node) in world.nodes().into_iter().enumerate() {
            for probe in ["host", "cluster"].into_iter().take(2 - n.min(1)) {
                let report = world.hear_by(&node, probe)?;
                report.must_be_accepted(&["node-metrics", "node-metrics-controls"])?;
                report.must_conform()?;
                possible(&report, caps)?;
                oldest = oldest.max(fresh(&report)?);
                asked += 1;
            }
            if started.elapsed() >= WARM && asked % 5 == 0 {
                footprints[n].push(world.agent_footprint(&node)?);
            }
        }
        tick += Duration::from_secs(1);
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "    {asked} reports, oldest {:.2} s; {:.0} forks/s; {:.0} pods a minute",
        oldest.as_secs_f64(),
        (forks()? - forks_before) as f64 / seconds,
        made as f64 / seconds * 60.0
    );
    let said = descriptions(world)?;
    ensure!(
        said == said_before,
        "containers came and went, and the agents say {said:?} instead of {said_before:?}"
    );
    for (node, footprints) in world.nodes().iter().zip(&footprints) {
        flat(node, footprints)?;
    }
    Ok(())
}

/// An agent that nobody asks reads its node every 15 s; the first question after that gets what it has, and
/// wakes it.
fn wake(world: &mut World) -> anyhow::Result<()> {
    for node in world.nodes() {
        await_some("a fresh report", Duration::from_secs(20), || {
            let age = world.hear(&node)?.age();
            Ok(match age {
                Some(age) if age < OLD => Ok(()),
                age => Err(format!("{age:?} old")),
            })
        })?;
    }
    Ok(())
}

/// One of an agent's own figures.
type Own = fn(&Footprint) -> u64;

/// Makes a pod, and removes the one that is old enough.
fn come_and_go(world: &World, number: u64) -> anyhow::Result<()> {
    world.kubectl.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: churn-{number}, namespace: figures, labels: {{app: churn}}}}, \
         spec: {{terminationGracePeriodSeconds: 0, nodeSelector: {{kubernetes.io/hostname: {}}}, \
         containers: [{{name: main, image: 'harness.local/box:1', command: [sleep, '1000000']}}]}}}}",
        world.nodes()[number as usize % world.nodes().len()]
    ))?;
    if let Some(old) = number.checked_sub(ALIVE) {
        world.kubectl.ok(&[
            "delete",
            "pod",
            "-n",
            "figures",
            &format!("churn-{old}"),
            "--wait=false",
        ])?;
    }
    Ok(())
}

/// The most that this machine can show. A counter taken for a rate, or the difference of two that are not
/// the same, is nearly always above one of these.
#[derive(Debug, Clone, Copy)]
struct Caps {
    cpus: f64,
    /// Bytes.
    memory: f64,
    /// Of the whole machine.
    threads: f64,
}

/// Nobody downloads anything here: pods' networks carry little more than health checks.
const NETWORK: f64 = 100e6;
/// A fast disk, or the memory that stands in for one.
const DISK: f64 = 5e9;
/// The smallest CPU limit that the kernel takes: 1 ms in each tenth of a second.
const LEAST_LIMIT_MILLICORES: f64 = 10.0;
/// Clock and counter are not read at the same instant.
const SLACK: f64 = 1.5;
/// A process may have about a million descriptors open, and none here has more than some hundred.
const FILES: f64 = 1e5;

impl Caps {
    fn of_this_machine() -> anyhow::Result<Caps> {
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        // The fourth word: threads that can run, and all that there are.
        let threads = std::fs::read_to_string("/proc/loadavg")?;
        let threads = threads
            .split(' ')
            .nth(3)
            .and_then(|word| word.split_once('/')?.1.parse::<f64>().ok());
        Ok(Caps {
            cpus: std::thread::available_parallelism()?.get() as f64,
            memory: memory.context("MemTotal in /proc/meminfo")? * 1024.0,
            // Twenty pods and the forker's processes come and go.
            threads: threads.context("threads in /proc/loadavg")? * 2.0 + 1000.0,
        })
    }

    /// Those of a metric, by its ID or else by how it is shown.
    fn most(self, figure: &Figure<'_>) -> anyhow::Result<f64> {
        let Caps {
            cpus,
            memory,
            threads,
        } = self;
        Ok(match (figure.metric, figure.format) {
            ("cpu_limit_use", _) => cpus * 1000.0 / LEAST_LIMIT_MILLICORES * 100.0 * SLACK,
            // A limit may be lowered below what is in use.
            ("memory_limit_use", _) => 100.0 * SLACK,
            ("docker_cpu_total_usage", _) | (_, Some("percent")) => 100.0,
            ("network_rx" | "network_tx", _) => NETWORK,
            ("disk_read" | "disk_write", _) => DISK,
            ("docker_memory_usage", _) | (_, Some("filesize")) => memory,
            ("cpu_millicores", _) => cpus * 1000.0 * SLACK,
            ("block_io_delay", _) => 1000.0 * threads,
            ("open_files", _) => FILES,
            // Few pods here have too little memory, and the kubelet waits longer after each end.
            ("oom_kills", _) => 100.0,
            ("threads" | "processes", _) => threads,
            // More than the kubelet takes by itself on both nodes.
            ("pods", _) => 2.0 * 110.0,
            (metric, format) => bail!("nothing is known of what {metric} ({format:?}) can be"),
        })
    }
}

/// No figure that cannot be.
fn possible(report: &Heard, caps: Caps) -> anyhow::Result<()> {
    for figure in report.figures() {
        let most = caps.most(&figure)?;
        let Figure {
            topology,
            node,
            metric,
            value,
            ..
        } = figure;
        ensure!(
            value.is_finite() && (0.0..=most).contains(&value),
            "{topology} {node}: {metric} is {value}, and cannot be above {most}"
        );
    }
    Ok(())
}

/// What each agent says of itself, which includes what is not available.
fn descriptions(world: &mut World) -> anyhow::Result<Vec<Option<String>>> {
    let nodes = world.nodes();
    let heard = nodes.iter().map(|node| world.hear(node));
    heard
        .map(|heard| Ok(heard?.plugin_description("node-metrics")))
        .collect()
}

/// The age of the newest sample.
fn fresh(report: &Heard) -> anyhow::Result<Duration> {
    let age = report.age().context("a sample")?;
    ensure!(age < OLD, "the newest sample is {age:?} old");
    Ok(age)
}

/// Forks of this machine since it booted.
fn forks() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|l| l.strip_prefix("processes "));
    Ok(line
        .context("a line `processes` in /proc/stat")?
        .trim()
        .parse()?)
}

/// The medians of the first and of the last third differ little.
fn flat(node: &str, footprints: &[Footprint]) -> anyhow::Result<()> {
    let third = footprints.len() / 3;
    ensure!(third >= 2, "only {} looks at the agent", footprints.len());
    let (first, last) = (
        &footprints[..third],
        &footprints[footprints.len() - third..],
    );
    let median = |of: &[Footprint], what: Own| {
        let mut values: Vec<u64> = of.iter().map(what).collect();
        values.sort_unstable();
        values[values.len() / 2] as f64
    };
    let cpus = std::thread::available_parallelism()?.get() as f64;
    // The third is what the figure itself may be off by.
    let figures: [(&str, Own, f64); 3] = [
        ("resident memory", |f| f.resident, 0.0),
        ("descriptors", |f| f.descriptors, FILES_OF_A_POD),
        (
            "memory of the cgroup",
            |f| f.cgroup_memory,
            cpus * CHARGED_AHEAD,
        ),
    ];
    for (name, what, fuzz) in figures {
        let (before, after) = (median(first, what), median(last, what));
        eprintln!("    {node}: {name} {before} -> {after}");
        ensure!(
            after <= before * (1.0 + FLAT) + fuzz,
            "{node}: the agent's {name} grew from {before} to {after}"
        );
    }
    Ok(())
}
