//! Figures against what the kernel itself says, or what is known to have been moved: network, disk,
//! throttling, kills for want of memory.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::progress::await_some;
use crate::truth::{self, PodTruth};
use crate::world::World;

/// Dear figures are read once in so many intervals of the agent's, and their rates are over them.
const DEAR: usize = 5;
/// Milliseconds from a sample to the next, where none was late or missed.
const TICK: RangeInclusive<u64> = 850..=1150;
const MEGABYTE: f64 = 1024.0 * 1024.0;

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: sender, namespace: figures, labels: {app: usage}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: node2}
  containers:
    - name: sender
      image: harness.local/box:1
      command: [sh, -c, "mkdir /www; dd if=/dev/zero of=/www/file bs=1M count=1; exec httpd -f -p 9000 -h /www"]
---
apiVersion: v1
kind: Pod
metadata: {name: mover, namespace: figures, labels: {app: usage}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: node1}
  containers:
    - name: mover
      image: harness.local/box:1
      # The container's own shell starts what is asked for, so that nothing of it is counted elsewhere.
      command: [sh, -c, "while :; do for f in /ask/*; do [ -e $f ] && sh $f; rm -f $f; done; usleep 100000; done"]
      volumeMounts: [{name: ask, mountPath: /ask}, {name: data, mountPath: /data}]
  volumes: [{name: ask, emptyDir: {}}, {name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: hungry, namespace: figures, labels: {app: usage}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: hungry
      image: harness.local/box:1
      # The container itself is killed once, and started again.
      command: [sh, -c, "[ -e /data/was ] && exec sleep 1000000; touch /data/was; exec dd if=/dev/zero of=/dev/null bs=64M count=1"]
      volumeMounts: [{name: data, mountPath: /data}]
      resources: {limits: {memory: 16Mi}}
  volumes: [{name: data, emptyDir: {}}]
"#;

/// All of them, since the pods take a while to start.
pub(super) fn against_the_kernel(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(PODS)?;
    let result = start(world).and_then(|()| {
        moves(world, &RECEIVE)?;
        moves(world, &WRITE)?;
        throttled(world)?;
        killed_once(world)
    });
    let cleaned = world.kubectl.ok(&[
        "delete",
        "pods",
        "-n",
        "figures",
        "-l",
        "app=usage",
        "--grace-period=0",
        "--force",
    ]);
    result?;
    cleaned?;
    Ok(())
}

fn start(world: &mut World) -> anyhow::Result<()> {
    await_some("three running pods", Duration::from_secs(60), || {
        let pods = truth::pods(&world.kubectl)?;
        let running = |name: &str| {
            pods.iter()
                .any(|p| p.name == name && !p.containers.is_empty())
        };
        let missing: Vec<_> = ["sender", "mover", "hungry"]
            .into_iter()
            .filter(|name| !running(name))
            .collect();
        Ok(if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?}"))
        })
    })?;
    // The first two readings of what is dear follow each other at once.
    for metric in ["network_rx", "disk_write", "cpu_millicores"] {
        await_some(
            &format!("{metric} of the mover"),
            Duration::from_secs(20),
            || {
                Ok(match sample(world, "mover", metric)? {
                    Some((_, value)) if value < 1000.0 => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            },
        )?;
    }
    Ok(())
}

/// The pod's last sample of a metric.
fn sample(world: &mut World, pod: &str, metric: &str) -> anyhow::Result<Option<(f64, f64)>> {
    let pod = running(world, pod)?;
    let report = world.hear(&pod.node)?;
    let node = report.node("Pod", &pod.node_id());
    Ok(node.and_then(|node| node.timed(metric)))
}

fn running(world: &World, name: &str) -> anyhow::Result<PodTruth> {
    let pod = truth::pod_named(&world.kubectl, "figures", name)?;
    pod.with_context(|| format!("pod {name}"))
}

/// What the mover is asked to do. Reports give times to a tenth of a second, so that one rate alone is not
/// known to 2 %: it moves over several intervals, in which that evens out.
struct Move {
    metric: &'static str,
    dear: bool,
    megabytes: f64,
    ask: &'static str,
    /// Prints what was moved, by the kernel of the mover.
    truth: &'static str,
}

const RECEIVE: Move = Move {
    metric: "network_rx",
    dear: false,
    megabytes: 10.0,
    ask: "received() { cat /sys/class/net/eth0/statistics/rx_bytes; }
        received > /data/before
        for part in 0 1 2 3 4 5 6 7 8 9; do
            wget -q -O /dev/null http://$SENDER:9000/file; usleep 600000
        done
        received > /data/after; mv /data/after /data/done",
    // Headers are counted too, more of them when segments are small.
    truth: "echo $(($(cat /data/done) - $(cat /data/before)))",
};

const WRITE: Move = Move {
    metric: "disk_write",
    dear: true,
    megabytes: 50.0,
    ask: "rm -f /data/done
        for part in 0 1 2 3 4 5 6 7 8 9; do
            dd if=/dev/zero of=/data/x bs=1M count=5 oflag=direct; usleep 1300000
        done
        touch /data/done",
    truth: "[ -e /data/done ] && echo $((50 << 20))",
};

/// The mover carries it out, once. The rates that are reported, over the times that they are rates of, must
/// be what was moved: within 2 %. On a busy machine a sample may be missed here or be late there; what was
/// measured then says nothing, and is measured again.
fn moves(world: &mut World, of: &Move) -> anyhow::Result<()> {
    let metric = of.metric;
    let mut disturbed = Vec::new();
    for _ in 0..5 {
        let samples = samples_around(world, of)?;
        let said = in_mover(world, of.truth)?;
        let truth: f64 = said.trim().parse().with_context(|| said.clone())?;
        let truth = truth / MEGABYTE;
        ensure!(
            truth >= of.megabytes && truth < of.megabytes * 1.1,
            "{truth} MiB were moved, {} MiB were asked for",
            of.megabytes
        );
        let Some(told) = total(&samples, of.dear) else {
            eprintln!("    {metric}: the samples were not regular, so again");
            disturbed.push(samples);
            continue;
        };
        let told = told / MEGABYTE;
        eprintln!("    {metric}: {told:.2} MiB of {truth:.2} MiB");
        ensure!(
            (told - truth).abs() <= truth * 0.02,
            "{metric}: {told:.3} MiB are reported, {truth:.3} MiB were moved: {samples:?}"
        );
        return Ok(());
    }
    anyhow::bail!("{metric}: the machine is too busy, no samples were regular: {disturbed:?}")
}

fn in_mover(world: &World, script: &str) -> anyhow::Result<String> {
    let args = ["exec", "-n", "figures", "mover", "--", "sh", "-c", script];
    world.kubectl.ok(&args)
}

/// The samples of the mover, by their milliseconds, from before it moves until all of it has been told.
fn samples_around(world: &mut World, of: &Move) -> anyhow::Result<BTreeMap<u64, f64>> {
    let sender = world.kubectl.ok(&[
        "get",
        "pod",
        "sender",
        "-n",
        "figures",
        "-o",
        "jsonpath={.status.podIP}",
    ])?;
    let ask = of.ask.replace("$SENDER", sender.trim());
    let pod = running(world, "mover")?;
    let mut samples = BTreeMap::new();
    let mut asked = false;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(35) {
        let report = world.hear(&pod.node)?;
        let said = report.node("Pod", &pod.node_id());
        if let Some((at, value)) = said.and_then(|n| n.timed(of.metric)) {
            samples.insert((at * 1e3).round() as u64, value);
        }
        if !asked && started.elapsed() > Duration::from_secs(7) {
            let write = format!("cat > /ask/.1 <<'END' && mv /ask/.1 /ask/1\n{ask}\nEND");
            in_mover(world, &write)?;
            asked = true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(samples)
}

/// Sums what rates say: each holds for one interval of the agent's, or for five where it is dear, and is
/// counted where it first appears. `None` when it cannot be said for which time a rate that counts holds,
/// or whether one was missed.
fn total(samples: &BTreeMap<u64, f64>, dear: bool) -> Option<f64> {
    let span = if dear { DEAR } else { 1 };
    let all: Vec<(u64, f64)> = samples.iter().map(|(at, value)| (*at, *value)).collect();
    let most = all.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    // A neighbour is asked for now and then, which is no part of what was moved.
    let counts = |&(_, value): &(u64, f64)| value > most * 1e-3;
    let first = all.iter().position(counts)?.checked_sub(span)?;
    let last = all.iter().rposition(counts)? + 2;
    let around = all.get(first..=last)?;
    let late = |pair: &[(u64, f64)]| !TICK.contains(&(pair[1].0 - pair[0].0));
    if around.windows(2).any(late) {
        return None;
    }
    let appears = |n: &usize| counts(&around[*n]) && !(dear && around[*n].1 == around[*n - 1].1);
    let moved = |n: usize| around[n].1 * (around[n].0 - around[n - span].0) as f64 / 1e3;
    Some((span..around.len()).filter(appears).map(moved).sum())
}

/// The burner always runs into its limit. The share of periods in which it did, against `cpu.stat`.
fn throttled(world: &mut World) -> anyhow::Result<()> {
    let pod = truth::pods(&world.kubectl)?
        .into_iter()
        .find(|p| p.name.starts_with("burner") && p.phase == "Running")
        .context("the burner")?;
    let container = pod
        .containers
        .keys()
        .next()
        .context("its container")?
        .clone();
    let file = cgroup_file(&container, "cpu.stat")?;
    let before = periods(&file)?;
    let mut ours = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        let report = world.hear(&pod.node)?;
        let node = report.node("Container", &format!("{container};<container>"));
        ours.extend(node.and_then(|n| n.metric("cpu_throttled")));
        std::thread::sleep(Duration::from_secs(1));
    }
    let after = periods(&file)?;
    let theirs = (after.1 - before.1) as f64 / (after.0 - before.0) as f64 * 100.0;
    let mean = ours.iter().sum::<f64>() / ours.len().max(1) as f64;
    eprintln!("    throttled: {mean:.1} % of the periods, by cpu.stat {theirs:.1} %");
    ensure!(
        !ours.is_empty() && (mean - theirs).abs() <= 5.0,
        "throttled: we say {ours:?}, cpu.stat {theirs} %"
    );
    Ok(())
}

/// Periods and throttled periods.
fn periods(file: &Path) -> anyhow::Result<(u64, u64)> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let value = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.trim().parse().ok())
            .with_context(|| format!("{key} in {text}"))
    };
    Ok((value("nr_periods ")?, value("nr_throttled ")?))
}

/// A file of the cgroup of this container, wherever the machine has it.
fn cgroup_file(container: &str, file: &str) -> anyhow::Result<PathBuf> {
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(container) && path.join(file).exists() {
                return Ok(path.join(file));
            }
            // Not `file_type`: v1 has links from one controller's name to another's, which are not followed.
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(path);
            }
        }
    }
    anyhow::bail!("no cgroup of container {container} has {file}")
}

/// It was killed once, and that is what is shown, later too.
fn killed_once(world: &mut World) -> anyhow::Result<()> {
    await_some("a kill in hungry", Duration::from_secs(30), || {
        Ok(match sample(world, "hungry", "oom_kills")? {
            Some((_, kills)) if kills >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        let kills = sample(world, "hungry", "oom_kills")?;
        let kills = kills.context("hungry lost its figure")?.1;
        ensure!(kills == 1.0, "hungry was killed once, {kills} are shown");
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(u64, f64)]) -> BTreeMap<u64, f64> {
        of.iter().copied().collect()
    }

    #[test]
    fn a_rate_counts_once_for_its_interval() {
        let steady = samples(&[
            (0, 0.0),
            (1000, 0.0),
            (2010, 5.0),
            (3000, 0.001),
            (4000, 0.0),
        ]);
        assert_eq!(total(&steady, false), Some(5.0 * 1.01));
        let missed = samples(&[(0, 0.0), (2010, 5.0), (3000, 0.0), (4000, 0.0)]);
        assert_eq!(total(&missed, false), None);
        let missed_after = samples(&[(0, 0.0), (1000, 5.0), (2000, 0.0), (4000, 0.0)]);
        assert_eq!(total(&missed_after, false), None);
        let long_before = samples(&[
            (0, 0.0),
            (5000, 0.0),
            (6000, 5.0),
            (7000, 5.0),
            (8000, 0.0),
            (9000, 0.0),
        ]);
        assert_eq!(total(&long_before, false), Some(10.0));
        assert_eq!(total(&samples(&[(0, 0.0), (1000, 0.0)]), false), None);
    }

    #[test]
    fn a_dear_rate_is_told_five_times_and_counts_once() {
        let mut told: Vec<(u64, f64)> = (0..20).map(|n| (n * 1000, 0.0)).collect();
        for sample in &mut told[7..12] {
            sample.1 = 10.0;
        }
        assert_eq!(total(&samples(&told), true), Some(50.0));
        told.remove(4);
        assert_eq!(total(&samples(&told), true), None);
    }
}
