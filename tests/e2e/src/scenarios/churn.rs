//! A busy node: 200 forks a second and 20 pods a minute that come and go, while two probes poll. No
//! violation, no impossible figure, no old report, and an agent that does not grow.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::progress::await_some;
use crate::truth;
use crate::world::{Footprint, Heard, World};

/// Of the tests; `scope-e2e --soak` has its own.
const SHORT: Duration = Duration::from_secs(60);
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
    soak(world, SHORT)
}

/// Keeps the nodes busy for so long and asks once a second.
///
/// # Errors
/// At the first report that is wrong, or at the end if an agent grew.
pub fn soak(world: &mut World, length: Duration) -> anyhow::Result<()> {
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
                possible(&report)?;
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
    for (node, footprints) in world.nodes().iter().zip(&footprints) {
        flat(node, footprints)?;
    }
    Ok(())
}

/// One of an agent's figures.
type Figure = fn(&Footprint) -> u64;

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

/// No figure that cannot be.
fn possible(report: &Heard) -> anyhow::Result<()> {
    for (topology, id, metric, value) in report.figures() {
        ensure!(
            value.is_finite() && value >= 0.0,
            "{topology} {id}: {metric} is {value}"
        );
        let percent = metric == "docker_cpu_total_usage" || metric.ends_with("_percent");
        ensure!(
            !percent || value <= 100.0,
            "{topology} {id}: {metric} is {value} %"
        );
    }
    Ok(())
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
    let median = |of: &[Footprint], what: Figure| {
        let mut values: Vec<u64> = of.iter().map(what).collect();
        values.sort_unstable();
        values[values.len() / 2] as f64
    };
    let cpus = std::thread::available_parallelism()?.get() as f64;
    // The third is what the figure itself may be off by.
    let figures: [(&str, Figure, f64); 3] = [
        ("resident memory", |f| f.resident, 0.0),
        ("descriptors", |f| f.descriptors, 0.0),
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
