//! Our figures against the kubelet's own, each over the very interval that the kubelet's is of.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::heard::Seen;
use crate::kubectl::Kubectl;
use crate::world::World;

/// What the figures of a steady load may differ by.
const PART: f64 = 0.05;
/// Of an idle container a part is nothing: so many millicores are 2 ms of CPU in a second, which is what
/// one look of the kubelet's at its probes and files costs.
const FEW_MILLICORES: f64 = 2.0;
/// What memory may differ by: what a container touches between the kubelet's look and ours.
const LITTLE_MEMORY: f64 = 2.0 * 1024.0 * 1024.0;
/// The kubelet looks at a container every 10 to 15 s; at least so long lies between the first reading
/// that is taken and the last, so that the second of ours that is cut by either is a small part.
const LONG: f64 = 20.0;
/// Until then it has done so.
const PATIENT: Duration = Duration::from_secs(90);
/// How often we are asked.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// In every so many of these looks the kubelets are asked, too.
const KUBELETS_EVERY: u32 = 6;
/// Where the containers are.
const NAMESPACE: &str = "figures";
/// What is held.
const HELD: f64 = 64.0 * 1024.0 * 1024.0;

/// CPU and memory of each container as the kubelet's summary has them, and the holder's memory within
/// 5 % of 64 MiB.
pub(super) fn against_the_kubelet(world: &mut World) -> anyhow::Result<()> {
    let (ours, theirs) = look_until_both_know(world)?;
    ensure!(
        theirs.len() == 5,
        "the kubelets know {:?}, want the five of namespace figures",
        theirs.keys()
    );
    for (container, readings) in &theirs {
        let ours = ours
            .get(container)
            .with_context(|| format!("the kubelet knows {container}, and we do not"))?;
        compare(container, ours, readings).with_context(|| container.clone())?;
    }
    Ok(())
}

fn compare(container: &str, ours: &[Sample], theirs: &[Reading]) -> anyhow::Result<()> {
    let (first, last) = (theirs.first(), theirs.last());
    let (first, last) = (first.context("a reading")?, last.context("a reading")?);
    let seconds = last.at - first.at;
    let used = (last.cpu - first.cpu) / seconds * 1000.0;
    let said = mean(ours, first.at, last.at).context("samples of ours over that time")?;
    let nearest = ours
        .iter()
        .min_by(|a, b| (a.at - last.at).abs().total_cmp(&(b.at - last.at).abs()))
        .context("a sample")?;
    ensure!(
        (nearest.at - last.at).abs() <= 1.1,
        "no sample of ours is of the second of the kubelet's"
    );
    eprintln!(
        "    {container}: {said:.1} millicores, the kubelet {used:.1} over {seconds:.1} s; \
         {:.2} MiB, the kubelet {:.2}",
        nearest.memory / 1024.0 / 1024.0,
        last.memory / 1024.0 / 1024.0
    );
    close("millicores", said, used, FEW_MILLICORES)?;
    close("memory", nearest.memory, last.memory, LITTLE_MEMORY)?;
    if container.starts_with("holder") {
        close("memory of what holds 64 MiB", nearest.memory, HELD, 0.0)?;
    }
    Ok(())
}

/// Within 5 %, or within this much.
fn close(what: &str, ours: f64, theirs: f64, little: f64) -> anyhow::Result<()> {
    ensure!(
        (ours - theirs).abs() <= (theirs * PART).max(little),
        "{what}: we say {ours:.1}, the other side {theirs:.1}"
    );
    Ok(())
}

/// One of ours: its rate is over the time since the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// In seconds since 1970.
    pub(super) at: f64,
    pub(super) millicores: f64,
    /// In bytes.
    pub(super) memory: f64,
}

/// One of the kubelet's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// In seconds since 1970.
    pub(super) at: f64,
    /// Seconds of CPU so far.
    pub(super) cpu: f64,
    /// In bytes.
    pub(super) memory: f64,
}

/// The mean of our rates from one time to another, if there are rates for all of it.
pub(super) fn mean(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    let (mut sum, mut known) = (0.0, 0.0);
    for pair in samples.windows(2) {
        let [before, sample] = pair else { continue };
        let overlap = sample.at.min(to) - before.at.max(from);
        if overlap > 0.0 {
            sum += sample.millicores * overlap;
            known += overlap;
        }
    }
    // A thousandth for the sums of fractions.
    (known > 0.0 && known >= (to - from) * 0.999).then(|| sum / known)
}

type ByContainer<T> = BTreeMap<String, Vec<T>>;

/// Asks us more than once a second, and them now and then, until the kubelet has looked at each container twice, long enough apart, and
/// we after it.
fn look_until_both_know(
    world: &mut World,
) -> anyhow::Result<(ByContainer<Sample>, ByContainer<Reading>)> {
    let kubectl = world.kubectl.clone();
    let (mut ours, mut theirs) = (ByContainer::<Sample>::new(), ByContainer::<Reading>::new());
    let started = Instant::now();
    // What the kubelet read before we began to look has no sample of ours beside it.
    let from = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() + 2.0;
    let mut look = 0_u32;
    loop {
        // A question to a kubelet takes long enough to miss a sample of ours.
        let kubelets_too = look.is_multiple_of(KUBELETS_EVERY);
        for node in world.nodes() {
            for (container, sample) in our_samples(world, &node)? {
                let of = ours.entry(container).or_default();
                if of.last().is_none_or(|last| last.at < sample.at) {
                    of.push(sample);
                }
            }
            if !kubelets_too {
                continue;
            }
            for (container, reading) in kubelet_readings(&kubectl, &node, NAMESPACE)? {
                let of = theirs.entry(container).or_default();
                if reading.at > from && of.last().is_none_or(|last| last.at < reading.at) {
                    of.push(reading);
                }
            }
        }
        let known = theirs.iter().all(|(container, of)| {
            let span = of.first().zip(of.last());
            let newest = ours.get(container).and_then(|of| of.last());
            span.zip(newest).is_some_and(|((first, last), newest)| {
                last.at - first.at >= LONG && newest.at >= last.at
            })
        });
        if known && !theirs.is_empty() {
            return Ok((ours, theirs));
        }
        ensure!(
            started.elapsed() < PATIENT,
            "the kubelets did not look twice: {theirs:?}"
        );
        look += 1;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Our newest samples of the containers of namespace `figures`, by `pod/container`.
fn our_samples(world: &mut World, node: &str) -> anyhow::Result<BTreeMap<String, Sample>> {
    let report = world.hear(node)?;
    let label = |seen: &Seen, key: &str| {
        seen.latest(&format!("docker_label_io.kubernetes.{key}"))
            .unwrap_or_default()
            .to_owned()
    };
    Ok(report
        .nodes("Container")
        .filter(|(_, seen)| label(seen, "pod.namespace") == "figures")
        .filter_map(|(_, seen)| {
            let name = format!(
                "{}/{}",
                label(&seen, "pod.name"),
                label(&seen, "container.name")
            );
            let (at, millicores) = seen.timed("cpu_millicores")?;
            let memory = seen.metric("docker_memory_usage")?;
            Some((
                name,
                Sample {
                    at,
                    millicores,
                    memory,
                },
            ))
        })
        .collect())
}

/// The same of the kubelet: the figures of its summary. That has their time in whole seconds, so the time
/// is taken from the same reading in its resource metrics, which have it in milliseconds; what has moved
/// on between the two questions is left out.
pub(super) fn kubelet_readings(
    kubectl: &Kubectl,
    node: &str,
    namespace: &str,
) -> anyhow::Result<BTreeMap<String, Reading>> {
    let ask = |what: &str| {
        let path = format!("/api/v1/nodes/{node}/proxy/{what}");
        kubectl.ok(&["get", "--raw", &path])
    };
    let metrics = ask("metrics/resource")?;
    let summary: Value = serde_json::from_str(&ask("stats/summary")?)?;
    let mut readings = BTreeMap::new();
    for pod in summary["pods"].as_array().context("pods")? {
        if pod["podRef"]["namespace"] != namespace {
            continue;
        }
        let pod_name = pod["podRef"]["name"].as_str().unwrap_or_default();
        for container in pod["containers"].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default();
            let (Some(nanoseconds), Some(memory)) = (
                container["cpu"]["usageCoreNanoSeconds"].as_f64(),
                container["memory"]["workingSetBytes"].as_f64(),
            ) else {
                continue;
            };
            let cpu = nanoseconds / 1e9;
            let same = |metric: &str, value: f64| {
                let (found, at) = resource_metric(&metrics, metric, [namespace, pod_name, name])?;
                // Written as a decimal and read again.
                ((found - value).abs() < 1e-6 * value.max(1e-3)).then_some(at)
            };
            let at = same("container_cpu_usage_seconds_total", cpu);
            if let Some((at, _)) = at.zip(same("container_memory_working_set_bytes", memory)) {
                let key = format!("{pod_name}/{name}");
                readings.insert(key, Reading { at, cpu, memory });
            }
        }
    }
    Ok(readings)
}

/// Value and time, in seconds since 1970, of the metric of a container, by namespace, pod and name.
fn resource_metric(text: &str, metric: &str, of: [&str; 3]) -> Option<(f64, f64)> {
    let [namespace, pod, container] = of;
    let wanted = [
        format!("namespace=\"{namespace}\""),
        format!("pod=\"{pod}\""),
        format!("container=\"{container}\""),
    ];
    text.lines().find_map(|line| {
        let (labels, figures) = line.strip_prefix(metric)?.split_once('}')?;
        let labels = labels.strip_prefix('{')?;
        let has = |wanted: &String| labels.split(',').any(|label| label == wanted);
        if !wanted.iter().all(has) {
            return None;
        }
        let (value, milliseconds) = figures.trim().split_once(' ')?;
        Some((
            value.parse().ok()?,
            milliseconds.parse::<f64>().ok()? / 1000.0,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_over_the_time_that_is_asked_for() {
        let samples =
            [(0.0, 7.0), (1.0, 10.0), (2.0, 20.0), (4.0, 40.0)].map(|(at, millicores)| Sample {
                at,
                millicores,
                memory: 0.0,
            });
        for (from, to, want) in [
            (0.0, 1.0, Some(10.0)),
            (0.0, 4.0, Some(27.5)),
            (0.5, 1.5, Some(15.0)),
            (3.0, 3.5, Some(40.0)),
            (3.0, 5.0, None),
            (-1.0, 1.0, None),
        ] {
            assert_eq!(mean(&samples, from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn a_metric_is_found_by_its_labels() {
        let text = "# HELP x y\n\
            x{container=\"a\",namespace=\"other\",pod=\"p\"} 1 1000\n\
            x{container=\"a\",namespace=\"figures\",pod=\"p\"} 0.052031 1795926591230\n\
            xy{container=\"b\",namespace=\"figures\",pod=\"p\"} 1 1000\n";
        assert_eq!(
            resource_metric(text, "x", ["figures", "p", "a"]),
            Some((0.052_031, 1_795_926_591.23))
        );
        assert_eq!(resource_metric(text, "x", ["figures", "p", "b"]), None);
    }
}
