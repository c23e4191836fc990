//! Totals of Services: over the pods of one Deployment they are what the Deployment's are, from every node and on
//! the page, and so again after the Deployment has another size.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use scope_emulator::{Tab, World as Scope};

use super::totals::{LOOK_EVERY, NAMESPACE, PART, PATIENT, REPLICAS, await_rollout, page, resize};
use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::progress::await_some;
use crate::truth;
use crate::world::World;

const CPU: &str = "docker_cpu_total_usage";
const MEMORY: &str = "docker_memory_usage";
/// So many looks at the page; a total is of some seconds, and the mean of a few says more.
const LOOKS: u32 = 60;
/// A list comes with one reply, a sum by it goes out with the next report, and then it is added up.
const RIGHT_WITHIN: Duration = Duration::from_secs(30);

/// The Service's node in Scope.
fn service(kubectl: &Kubectl) -> anyhow::Result<String> {
    let object = kubectl.json(&["get", "service/busy", "-n", NAMESPACE])?;
    let uid = object["metadata"]["uid"].as_str().context("a UID")?;
    Ok(format!("{uid};<service>"))
}

pub(super) fn equal_the_deployments(world: &mut World, deployment: &str) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let service = service(&kubectl)?;
    let ids = Ids {
        deployment,
        service: &service,
    };
    await_equal(world, &ids, REPLICAS, PATIENT)?;
    on_the_page(world, &ids)?;
    for replicas in [REPLICAS / 2, REPLICAS] {
        resize(&kubectl, replicas)?;
        if replicas == REPLICAS {
            await_rollout(&kubectl)?;
        }
        await_equal(world, &ids, replicas, RIGHT_WITHIN)?;
    }
    Ok(())
}

struct Ids<'a> {
    deployment: &'a str,
    service: &'a str,
}

/// One round's total of either, as a node shows it.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    at: f64,
    cpu: f64,
    memory: f64,
    /// Of how many pods.
    counted: String,
}

fn shown(heard: &Heard, topology: &str, id: &str) -> Option<Shown> {
    let seen = heard.node(topology, id)?;
    let (at, memory) = seen.timed(MEMORY)?;
    Some(Shown {
        at,
        cpu: seen.metric(CPU)?,
        memory,
        counted: seen.latest("totals_pods_counted")?.to_owned(),
    })
}

/// Waits until every node with a pod shows both totals, of one round and of so many pods, and they are the same.
fn await_equal(
    world: &mut World,
    ids: &Ids<'_>,
    replicas: usize,
    limit: Duration,
) -> anyhow::Result<()> {
    let all = format!("{replicas} of {replicas}");
    let what = format!("a total of {all} pods of the Service everywhere");
    await_some(&what, limit, || {
        let pods = truth::pods_in(&world.kubectl, NAMESPACE)?;
        let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.node.clone()).collect();
        if pods.len() != replicas {
            return Ok(Err(format!("{} pods", pods.len())));
        }
        for node in nodes {
            let heard = world.hear(&node)?;
            let of_deployment = shown(&heard, "Deployment", ids.deployment);
            let of_service = shown(&heard, "Service", ids.service);
            let (Some(one), Some(other)) = (&of_deployment, &of_service) else {
                return Ok(Err(format!("{node}: {of_deployment:?}, {of_service:?}")));
            };
            let is_of_all = one.counted == all && other.counted == all;
            if !is_of_all || one.at != other.at {
                return Ok(Err(format!("{node}: {one:?}, {other:?}")));
            }
            is_near(one.cpu, other.cpu).with_context(|| format!("CPU on {node}"))?;
            is_near(one.memory, other.memory).with_context(|| format!("memory on {node}"))?;
        }
        Ok(Ok(()))
    })
}

fn is_near(of_deployment: f64, of_service: f64) -> anyhow::Result<()> {
    ensure!(
        (of_deployment - of_service).abs() <= of_deployment * PART,
        "{of_service} of the Service, {of_deployment} of the Deployment"
    );
    Ok(())
}

/// What the page shows of both, over some time.
fn on_the_page(world: &World, ids: &Ids<'_>) -> anyhow::Result<()> {
    let mut scope = page(world)?;
    let mut rows: [Vec<f64>; 4] = Default::default();
    for _ in 0..LOOKS {
        scope.advance(LOOK_EVERY);
        for (seen, (tab, id, metric)) in rows.iter_mut().zip([
            (Tab::Controllers, ids.deployment, CPU),
            (Tab::Services, ids.service, CPU),
            (Tab::Controllers, ids.deployment, MEMORY),
            (Tab::Services, ids.service, MEMORY),
        ]) {
            seen.extend(row(&mut scope, tab, id, metric)?);
        }
    }
    for seen in &rows {
        ensure!(
            seen.len() as u32 * 2 > LOOKS,
            "the page has a total in {} of {LOOKS} looks",
            seen.len()
        );
    }
    let [cpu, of_service, memory, service_memory] =
        rows.map(|seen| seen.iter().sum::<f64>() / seen.len() as f64);
    eprintln!(
        "    on the page {of_service:.2} % of CPU of the Service, {cpu:.2} of the Deployment; \
         {service_memory:.0} bytes, {memory:.0}"
    );
    is_near(cpu, of_service).context("CPU on the page")?;
    is_near(memory, service_memory).context("memory on the page")
}

/// A figure of a node as a view of the page has it.
fn row(scope: &mut Scope, tab: Tab, id: &str, metric: &str) -> anyhow::Result<Option<f64>> {
    let shown = scope.view().shown(tab)?;
    let row = shown
        .get(id)
        .and_then(|node| node.metrics.iter().find(|row| row.id == metric));
    Ok(row.filter(|row| row.samples > 0).map(|row| row.value))
}
