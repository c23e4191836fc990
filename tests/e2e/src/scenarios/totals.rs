//! Totals of controllers: from every node the same number, the one that the kubelets' figures add up to, or none.

mod hand_over;
mod leader;
mod outage;
mod stolen_token;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use scope_emulator::{ProbeSetup, Runtime, Tab, Version, World as Scope};
use throwaway_cluster::Patience;

use super::app_view::whole_truth;
use super::image_totals;
use super::kubelet::{Reading, Sample, kubelet_readings, mean};
use super::service_totals;
use crate::kubectl::Kubectl;
use crate::progress::await_some;
use crate::truth;
use crate::world::World;

pub(super) use hand_over::outlive_their_service;
pub(super) use outage::outlive_the_api_server;
pub(super) use stolen_token::stolen_token;

pub(super) const NAMESPACE: &str = "added-up";
pub(super) const BUSY: &str = "deployment/busy";
pub(super) const REPLICAS: usize = 6;
/// What each replica uses, by its limit.
const MILLICORES: f64 = 40.0;
/// What the total may differ by from the sum of the kubelets' readings over the same time.
pub(super) const PART: f64 = 0.05;
/// What a single total may differ by: it is of a few seconds, in which each of the processes gets its part of
/// CPU now a little sooner and now a little later.
const SINGLE_PART: f64 = 0.25;
/// A total is right so long after a change, and after the last pod that comes by it runs.
const RIGHT_WITHIN: Duration = Duration::from_secs(15);
/// The kubelet looks at a container every 10 to 15 s; so long lies between the first reading and the last.
pub(super) const LONG: f64 = 25.0;
pub(super) const PATIENT: Duration = Duration::from_secs(120);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// In every so many of these looks the kubelets are asked, too.
pub(super) const KUBELETS_EVERY: u32 = 4;
/// The nodes of the Deployment; the fleet has one more.
const NODES: [&str; 3] = ["node1", "node2", "node3"];

const OBJECTS: &str = r#"apiVersion: v1
kind: Namespace
metadata: {name: added-up}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: added-up}
spec:
  replicas: 6
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              - matchExpressions:
                  - {key: kubernetes.io/hostname, operator: In, values: [node1, node2, node3]}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: busy}}
      containers:
        - name: burner
          image: harness.local/box:1
          # Some memory, of which what others touch meanwhile is a small part.
          command: [sh, -c, "x=$(head -c 4194304 /dev/zero | tr '\\0' x); while :; do :; done"]
          resources: {limits: {cpu: 40m, memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: busy, namespace: added-up}
spec:
  clusterIP: None
  selector: {app: busy}
  ports: [{port: 80}]
"#;

/// The Deployment's node in Scope.
fn busy(kubectl: &Kubectl) -> anyhow::Result<String> {
    let object = kubectl.json(&["get", BUSY, "-n", NAMESPACE])?;
    let uid = object["metadata"]["uid"].as_str().context("a UID")?;
    Ok(format!("{uid};<deployment>"))
}

/// One steady total, from all nodes the same and on the page, which is what the kubelets' figures add up to; and
/// right again soon after the Deployment has another size. A Service over its pods has the same, and their image what
/// all containers of it use.
pub(super) fn are_true(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    kubectl.apply(OBJECTS)?;
    await_rollout(&kubectl)?;
    let id = busy(&kubectl)?;
    await_total(world, &id, REPLICAS, PATIENT)?;
    against_the_kubelets(world, &id)?;
    for replicas in [2, 0, REPLICAS] {
        resized(world, &id, replicas).with_context(|| format!("{replicas} replicas"))?;
    }
    service_totals::equal_the_deployments(world, &id)?;
    image_totals::are_what_the_kubelets_say(world)
}

/// One round's total of the Deployment, or of its image, as the nodes show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    pub(super) at: f64,
    pub(super) millicores: f64,
    pub(super) percent: f64,
    pub(super) memory: f64,
}

/// What a node's agent shows of it now.
fn shown_on(world: &mut World, node: &str, id: &str) -> anyhow::Result<Option<Shown>> {
    // On a machine with much else to do it may not answer within the probe's limit.
    let heard = await_some(&format!("an answer from {node}"), PATIENT, || {
        let heard = world.hear(node)?;
        let listed = heard.must_be_accepted(&["node-metrics", "node-metrics-controls"]);
        Ok(listed.map(|()| heard).map_err(|why| why.to_string()))
    })?;
    let Some(seen) = heard.node("Deployment", id) else {
        return Ok(None);
    };
    let Some((at, millicores)) = seen.timed("cpu_millicores") else {
        return Ok(None);
    };
    let metric = |name: &str| {
        let value = seen.metric(name);
        value.with_context(|| format!("{node} shows millicores of {id} and no {name}"))
    };
    Ok(Some(Shown {
        at,
        millicores,
        percent: metric("docker_cpu_total_usage")?,
        memory: metric("docker_memory_usage")?,
    }))
}

/// Waits until every node with a pod of it shows the total of so many replicas.
fn await_total(
    world: &mut World,
    id: &str,
    replicas: usize,
    limit: Duration,
) -> anyhow::Result<()> {
    let want = MILLICORES * replicas as f64;
    await_some(&format!("{want} millicores everywhere"), limit, || {
        let pods = truth::pods_in(&world.kubectl, NAMESPACE)?;
        let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.node.clone()).collect();
        let mut shown = BTreeMap::new();
        for node in nodes {
            let total = shown_on(world, &node, id)?.map(|total| total.millicores);
            shown.insert(node, total);
        }
        let right = |total: &Option<f64>| {
            total.is_some_and(|total| (total - want).abs() <= want * SINGLE_PART)
        };
        let all = pods.len() == replicas && shown.values().all(right);
        Ok(if all {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        })
    })
}

/// Waits until no node shows a total any more: nobody has a pod of it, so nobody may show what it used.
fn await_no_total(world: &mut World, id: &str) -> anyhow::Result<()> {
    await_some("no total anywhere", RIGHT_WITHIN, || {
        for node in world.nodes() {
            if let Some(shown) = shown_on(world, &node, id)? {
                return Ok(Err(format!("{node} shows {shown:?}")));
            }
        }
        Ok(Ok(()))
    })
}

/// Waits until a node's agent draws the Deployment that has no pods, with its name and in its namespace.
fn await_drawn(world: &mut World, id: &str) -> anyhow::Result<()> {
    await_some("busy, drawn without pods", RIGHT_WITHIN, || {
        let mut shown = BTreeMap::new();
        for node in world.nodes() {
            let heard = world.hear(&node)?;
            let drawn = heard.node("Deployment", id).map(|busy| {
                let latest = |key: &str| busy.latest(key).map(str::to_owned);
                [latest("kubernetes_name"), latest("kubernetes_namespace")]
            });
            if drawn == Some([Some("busy".to_owned()), Some(NAMESPACE.to_owned())]) {
                return Ok(Ok(()));
            }
            shown.insert(node, drawn);
        }
        Ok(Err(format!("{shown:?}")))
    })
}

/// Looks at all nodes, the page and the kubelets for as long as the kubelets take.
fn against_the_kubelets(world: &mut World, id: &str) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let mut scope = page(world)?;
    let mut rounds: BTreeMap<u64, Shown> = BTreeMap::new();
    let mut tellers: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut kubelets: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    let from = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() + 2.0;
    let (mut patience, mut look, mut on_page) = (Patience::new(PATIENT), 0_u32, Vec::new());
    loop {
        for node in NODES {
            let Some(shown) = shown_on(world, node, id)? else {
                bail!("{node} shows no total any more");
            };
            // Dates are told to a tenth of a second.
            let round = (shown.at * 10.0).round() as u64;
            let first = *rounds.entry(round).or_insert(shown);
            ensure!(first == shown, "{node} shows {shown:?}, another {first:?}");
            tellers.entry(round).or_default().insert(node);
        }
        if look.is_multiple_of(KUBELETS_EVERY) {
            for node in NODES {
                for (container, reading) in kubelet_readings(&kubectl, node, NAMESPACE)? {
                    let of = kubelets.entry(container).or_default();
                    if reading.at > from && of.last().is_none_or(|last| last.at < reading.at) {
                        of.push(reading);
                    }
                }
            }
        }
        scope.advance(LOOK_EVERY);
        if let Some(cpu) = total_on_page(&mut scope, id)? {
            on_page.push(cpu);
        }
        let newest = rounds.values().last().context("a round")?.at;
        let known = kubelets.values().all(|of| {
            let span = of.first().zip(of.last());
            span.is_some_and(|(first, last)| last.at - first.at >= LONG && newest >= last.at)
        });
        if known && kubelets.len() == REPLICAS {
            break;
        }
        ensure!(
            !patience.is_over(),
            "the kubelets did not look twice: {kubelets:?}"
        );
        look += 1;
    }
    // Agents come each at its own time, so that a round may be over before the next visit of one of them.
    let everywhere = tellers.values().filter(|nodes| nodes.len() == NODES.len());
    ensure!(
        everywhere.count() * 2 > tellers.len(),
        "rounds are seldom on all nodes: {tellers:?}"
    );
    let memory = memory_by_the_kubelets(&kubectl)?;
    compare(&rounds, &kubelets, memory)?;
    steady_on_page(&on_page, look)
}

/// The working sets of the pods as a whole, in bytes: what is beside the containers counts.
fn memory_by_the_kubelets(kubectl: &Kubectl) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for node in NODES {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let summary: serde_json::Value =
            serde_json::from_str(&kubectl.ok(&["get", "--raw", &path])?)?;
        let pods = summary["pods"].as_array().context("pods")?;
        for pod in pods
            .iter()
            .filter(|p| p["podRef"]["namespace"] == NAMESPACE)
        {
            let memory = pod["memory"]["workingSetBytes"].as_f64();
            sum += memory.with_context(|| format!("memory of {}", pod["podRef"]))?;
        }
    }
    Ok(sum)
}

pub(super) fn compare(
    rounds: &BTreeMap<u64, Shown>,
    kubelets: &BTreeMap<String, Vec<Reading>>,
    memory: f64,
) -> anyhow::Result<()> {
    let samples: Vec<_> = rounds
        .values()
        .map(|shown| Sample {
            at: shown.at,
            millicores: shown.millicores,
            memory: shown.memory,
        })
        .collect();
    let mut used = 0.0;
    let (mut from, mut to) = (f64::MAX, f64::MIN);
    for of in kubelets.values() {
        let (first, last) = of.first().zip(of.last()).context("readings")?;
        used += (last.cpu - first.cpu) / (last.at - first.at) * 1000.0;
        from = from.min(first.at);
        to = to.max(last.at);
    }
    let from = from.max(samples.first().context("a round")?.at);
    let said = mean(&samples, from, to).context("totals over that time")?;
    let newest = samples.last().context("a round")?.memory;
    eprintln!(
        "    {} rounds, the same from all nodes: {said:.1} millicores, the kubelets {used:.1} over {:.0} s; \
         {:.2} MiB, the kubelets {:.2}",
        samples.len(),
        to - from,
        newest / 1024.0 / 1024.0,
        memory / 1024.0 / 1024.0,
    );
    ensure!(
        (said - used).abs() <= used * PART,
        "{said:.1} millicores, the kubelets {used:.1}"
    );
    ensure!(
        (newest - memory).abs() <= memory * PART,
        "{newest} bytes, the kubelets {memory}"
    );
    Ok(())
}

/// A page with a probe on each node.
pub(super) fn page(world: &World) -> anyhow::Result<Scope> {
    let pods = truth::pods(&world.kubectl)?;
    let mut scope = Scope::live(Version::default());
    *scope.truth() = whole_truth(world, &pods)?;
    for (n, node) in world.nodes().iter().enumerate() {
        let sockets = world.plugin_dir(node);
        let setup = ProbeSetup::host(node)
            .runtime(Runtime::Cri)
            .sockets(&sockets);
        scope.try_add_probe(setup.id(&format!("70{n}")))?;
        if n == 0 {
            let setup = ProbeSetup::cluster(node).sockets(&sockets);
            scope.try_add_probe(setup.id("c7"))?;
        }
    }
    Ok(scope)
}

/// Millicores of the Deployment as the page has them.
fn total_on_page(scope: &mut Scope, id: &str) -> anyhow::Result<Option<f64>> {
    let shown = scope.view().shown(Tab::Controllers)?;
    let row = shown
        .get(id)
        .and_then(|busy| busy.metrics.iter().find(|row| row.id == "cpu_millicores"));
    Ok(row.filter(|row| row.samples > 0).map(|row| row.value))
}

/// On the page there is never a node's own part: in no look less than all, or more.
fn steady_on_page(on_page: &[f64], looks: u32) -> anyhow::Result<()> {
    let want = MILLICORES * REPLICAS as f64;
    let (low, high) = on_page
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), cpu| {
            (low.min(*cpu), high.max(*cpu))
        });
    eprintln!(
        "    on the page {low:.0} to {high:.0} millicores in {} of {looks} looks",
        on_page.len()
    );
    ensure!(
        on_page.len() as u32 * 2 > looks,
        "the page has the total in {} of {looks} looks",
        on_page.len()
    );
    ensure!(
        low >= want * (1.0 - SINGLE_PART) && high <= want * (1.0 + SINGLE_PART),
        "the page shows {low} to {high} millicores, want {want}"
    );
    Ok(())
}

/// Gives the Deployment another size.
pub(super) fn resize(kubectl: &Kubectl, replicas: usize) -> anyhow::Result<()> {
    let size = format!("--replicas={replicas}");
    kubectl
        .ok(&["scale", BUSY, "-n", NAMESPACE, &size])
        .map(drop)
}

/// Waits until as many replicas run as are wanted.
pub(super) fn await_rollout(kubectl: &Kubectl) -> anyhow::Result<()> {
    let of_busy = ["rollout", "status", BUSY, "-n", NAMESPACE, "--timeout=90s"];
    kubectl.ok(&of_busy).map(drop)
}

/// Right in time after the last of the replicas runs: what their start takes is the node's.
fn resized(world: &mut World, id: &str, replicas: usize) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    resize(&kubectl, replicas)?;
    let began = Instant::now();
    if replicas == REPLICAS {
        await_rollout(&kubectl)?;
    }
    let started = began.elapsed();
    match replicas {
        0 => {
            await_no_total(world, id)?;
            await_drawn(world, id)?;
        }
        _ => await_total(world, id, replicas, RIGHT_WITHIN)?,
    }
    eprintln!(
        "    {replicas} replicas: right after {:.1} s, {:.1} s of it to start them",
        began.elapsed().as_secs_f64(),
        started.as_secs_f64()
    );
    Ok(())
}
