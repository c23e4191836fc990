//! The operator that carries out a click is killed meanwhile. What it began is done once or not at all, and its
//! person is told which, or that it is not known.

use anyhow::{Context, ensure};
use throwaway_cluster::{AuditEvent, Stage};

use super::{IN_TIME, NAMESPACE, PLUGIN, SOON, THROUGH, get, node_id, outcome};
use crate::audit::{Request, operator};
use crate::product::{SYSTEM, await_operator};
use crate::scenarios::rollouts::leader;
use crate::world::World;

/// An operator's writes for one click: the note that it begins, the deed, the outcome, and then an Event.
const POINTS: [(usize, Stage, Clicked); 4] = [
    // It has said that it begins, and nothing is done.
    (1, Stage::ResponseComplete, WEB),
    // The deed is on its way, and its answer never comes.
    (2, Stage::RequestReceived, DB),
    // The same for a deed that makes something new each time.
    (2, Stage::ResponseComplete, NIGHTLY),
    // All is done but the Event.
    (3, Stage::ResponseComplete, WEB),
];

/// What is clicked: kind, name, and the control that would add up if it were done twice.
type Clicked = (&'static str, &'static str, &'static str);

const WEB: Clicked = ("deployment", "web", "scaleUp");
const DB: Clicked = ("statefulset", "db", "scaleUp");
const NIGHTLY: Clicked = ("cronjob", "nightly", "triggerCronJob");

pub(super) fn operators(world: &mut World) -> anyhow::Result<()> {
    for (write, stage, clicked) in POINTS {
        killed(world, write, stage, clicked)
            .with_context(|| format!("killed at {stage:?} of write {write}, {clicked:?}"))?;
    }
    Ok(())
}

fn killed(
    world: &mut World,
    write: usize,
    stage: Stage,
    (kind, name, control): Clicked,
) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    await_operator(&kubectl, SOON)?;
    let object = get(&kubectl, kind, name)?;
    let id = node_id(&object)?;
    let before = size(world, kind, name)?;
    let mark = world.audit_mark()?;
    let mut log = world.audit_follow()?;
    // What it has to say of the plugin meanwhile is none of them, nor is an Event of the click before.
    let mut writes = 0;
    let mut is_the_point = move |event: &AuditEvent| {
        let for_click = event.namespace == NAMESPACE || event.resource == "scopeactions";
        let counts = for_click
            && event.resource != "events"
            && event.is_write_of(&operator())
            && event.stage == stage;
        writes += usize::from(counts);
        counts && writes == write
    };
    let what = format!("write {write} for the click");
    let leader = leader(&kubectl)?;
    world.hear(THROUGH)?;
    let full = format!("{PLUGIN}-controls~{control}");
    let (click, at) =
        world.click_and_kill(THROUGH, [&id, &full], [SYSTEM, &leader], move || {
            Ok(log.find(&what, SOON, &mut is_the_point)?)
        })?;
    ensure!(
        click.took < IN_TIME,
        "answered after {:?}: {}",
        click.took,
        click.body
    );
    let uid = object["metadata"]["uid"].as_str().context("a UID")?;
    let record = outcome(world, uid, control)?;
    let message = record["status"]["message"].as_str().unwrap_or_default();
    let tries = tries(&world.audit_since(mark)?, kind, name);
    let more = size(world, kind, name)? - before;
    eprintln!(
        "    {control} of {name}, operator killed at {stage:?} of {} {}: HTTP {}, {more} done, tried with {tries:?}, \
         {message}",
        at.verb, at.resource, click.http
    );
    let agrees = match tries[..] {
        [] => more == 0,
        [200..300] => more == 1,
        [BROKEN_OFF] => more <= 1,
        _ => false,
    };
    ensure!(agrees, "tried with {tries:?}, {more} more: {record}");
    match record["status"]["phase"].as_str() {
        Some("Succeeded") => ensure!(more == 1, "said to be done, and is not: {record}"),
        // Whoever clicked looks at the object.
        Some("Failed") => ensure!(message.contains("click again"), "{record}"),
        other => anyhow::bail!("{other:?}: {record}"),
    }
    // What the answer said was so.
    ensure!(
        click.http == 200 && more == 1 || click.body.contains("pending: "),
        "HTTP {}: {}",
        click.http,
        click.body
    );
    Ok(())
}

/// What a click makes more of: replicas that are wanted, or Jobs.
fn size(world: &World, kind: &str, name: &str) -> anyhow::Result<u64> {
    if kind != "cronjob" {
        let replicas = get(&world.kubectl, kind, name)?["spec"]["replicas"].as_u64();
        return replicas.context("replicas");
    }
    let jobs = world.kubectl.json(&["get", "jobs", "-n", NAMESPACE])?;
    Ok(jobs["items"].as_array().map_or(0, Vec::len) as u64)
}

/// The API server's answer to nobody: who asked was gone by then. It may have done what it was asked for.
const BROKEN_OFF: u16 = 504;

/// What the API server answered each time that the operator wanted it done, but for refusals.
fn tries(requests: &[Request], kind: &str, name: &str) -> Vec<u16> {
    let resource = match kind {
        "cronjob" => "jobs".to_owned(),
        kind => format!("{kind}s/scale"),
    };
    let tried = requests.iter().filter(|request| {
        request.user == operator()
            && request.is_write()
            && request.namespace == NAMESPACE
            && request.resource == resource
            && (kind == "cronjob" || request.name == name)
            && !(400..500).contains(&request.code)
    });
    tried.map(|request| request.code).collect()
}
