//! The total of an image: from every node the same, and what the kubelets' figures of all containers of it add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use throwaway_cluster::Patience;

use super::kubelet::{Reading, kubelet_readings};
use super::totals::{KUBELETS_EVERY, LONG, LOOK_EVERY, PATIENT, Shown, compare};
use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::truth;
use crate::world::World;

/// What the Deployment runs, and perhaps others too, without the tag.
const IMAGE: &str = "harness.local/box";

/// The containers of the image.
#[derive(Default)]
struct Containers {
    /// By pod and name, as the kubelets' readings have them.
    names: BTreeSet<String>,
    pods: usize,
    /// The namespaces on each node.
    places: BTreeMap<String, BTreeSet<String>>,
}

fn is_it(image: &str) -> bool {
    image.split(':').next() == Some(IMAGE)
}

fn containers(kubectl: &Kubectl) -> anyhow::Result<Containers> {
    let mut found = Containers::default();
    for pod in truth::pods(kubectl)? {
        let mine = pod.containers.values().filter(|(_, image)| is_it(image));
        let mine: Vec<_> = mine
            .map(|(name, _)| format!("{}/{name}", pod.name))
            .collect();
        if pod.phase == "Running" && !mine.is_empty() {
            found.names.extend(mine);
            found.pods += 1;
            let namespaces = found.places.entry(pod.node).or_default();
            namespaces.insert(pod.namespace);
        }
    }
    Ok(found)
}

/// All CPUs of these nodes.
fn cpus<'a>(kubectl: &Kubectl, nodes: impl Iterator<Item = &'a String>) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for node in nodes {
        let object = kubectl.json(&["get", "node", node])?;
        let cpus = object["status"]["capacity"]["cpu"].as_str();
        sum += cpus.context("a number of CPUs")?.parse::<f64>()?;
    }
    Ok(sum)
}

/// What a node shows of the image now, and of how many pods.
fn shown(heard: &Heard, cpus: f64) -> Option<(Shown, String)> {
    let mut images = heard.nodes("ContainerImage");
    let (_, image) = images.find(|(_, one)| one.latest("docker_image_name").is_some_and(is_it))?;
    let (at, percent) = image.timed("docker_cpu_total_usage")?;
    let shown = Shown {
        at,
        millicores: percent * 10.0 * cpus,
        percent,
        memory: image.metric("docker_memory_usage")?,
    };
    Some((shown, image.latest("totals_pods_counted")?.to_owned()))
}

/// Looks at all nodes with the image and at their kubelets, for as long as these take.
pub(super) fn are_what_the_kubelets_say(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let containers = containers(&kubectl)?;
    let cpus = cpus(&kubectl, containers.places.keys())?;
    let all = format!("{0} of {0}", containers.pods);
    let from = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() + 2.0;
    let mut rounds: BTreeMap<u64, Shown> = BTreeMap::new();
    let mut kubelets: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    let (mut patience, mut look, mut counted) = (Patience::new(PATIENT), 0_u32, String::new());
    loop {
        for (node, namespaces) in &containers.places {
            if let Some((shown, of)) = shown(&world.hear(node)?, cpus) {
                // Dates are told to a tenth of a second.
                let round = (shown.at * 10.0).round() as u64;
                let first = *rounds.entry(round).or_insert(shown);
                ensure!(first == shown, "{node} shows {shown:?}, another {first:?}");
                counted = of;
            }
            if !look.is_multiple_of(KUBELETS_EVERY) {
                continue;
            }
            for namespace in namespaces {
                for (container, reading) in kubelet_readings(&kubectl, node, namespace)? {
                    if reading.at <= from || !containers.names.contains(&container) {
                        continue;
                    }
                    let of = kubelets.entry(container).or_default();
                    if of.last().is_none_or(|last| last.at < reading.at) {
                        of.push(reading);
                    }
                }
            }
        }
        let newest = rounds.values().last().map(|shown| shown.at);
        let known = kubelets.values().all(|of| {
            let span = of.first().zip(of.last());
            span.zip(newest).is_some_and(|((first, last), newest)| {
                last.at - first.at >= LONG && newest >= last.at
            })
        });
        if known && kubelets.len() == containers.names.len() {
            break;
        }
        ensure!(
            !patience.is_over(),
            "no total of {all} pods, or the kubelets did not look twice: {rounds:?}, {kubelets:?}"
        );
        look += 1;
        std::thread::sleep(LOOK_EVERY);
    }
    ensure!(counted == all, "{counted} pods of {IMAGE}, want {all}");
    let last = kubelets.values().filter_map(|of| of.last());
    let memory = last.map(|reading| reading.memory).sum();
    compare(&rounds, &kubelets, memory).context(IMAGE)
}
