//! How soon the operator repairs what somebody did to its DaemonSet.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hollow_nodes::Profile;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::rollout::until_updated;
use crate::world::{World, child};

const TIMES: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);
/// A policy that is gone is forgotten within a second or two.
const POLICY: Duration = Duration::from_secs(30);

/// Each kind of drift and the times until it was repaired, from the answer to the foreign write.
pub(crate) async fn measure(world: &World) -> anyhow::Result<Vec<(&'static str, Vec<Duration>)>> {
    // A plugin on ten nodes: what is measured is the operator, not how soon pods end.
    let few = json!({Profile::GROUP: Profile::group(0)});
    let generation = world.apply("drift", "drift", few).await?;
    world.await_ready("drift", generation, 10).await?;
    let (sets, name) = (world.children(), child("drift"));
    open(world, &sets, &name).await?;

    let (mut foreign, mut own, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let field =
            |set: &DaemonSet| set.spec.as_ref().and_then(|s| s.revision_history_limit) == Some(7);
        let edit = json!({"spec": {"revisionHistoryLimit": 7}});
        foreign.push(edited(&sets, &name, edit, field).await?);

        let field = |set: &DaemonSet| {
            let pod = set
                .spec
                .as_ref()
                .and_then(|spec| spec.template.spec.as_ref());
            pod.and_then(|pod| pod.termination_grace_period_seconds) == Some(3)
        };
        let edit = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3}}}});
        own.push(edited(&sets, &name, edit, field).await?);

        // Not in the middle of what the edits have set off: a DaemonSet that is made anew while
        // its predecessor's pods are being replaced was seen to get no pods for minutes.
        let now = sets.get(&name).await?.metadata.generation;
        until_updated(&sets, &name, now.unwrap_or_default(), 10).await?;
        gone.push(deleted(&sets, &name).await?);
        world.await_ready("drift", generation, 10).await?;
    }
    Ok(vec![
        ("a field of somebody else's", foreign),
        ("a field of the operator's", own),
        ("a deleted DaemonSet", gone),
    ])
}

/// Takes away the admission policy that lets nobody else write these DaemonSets at all.
async fn open(world: &World, sets: &Api<DaemonSet>, name: &str) -> anyhow::Result<()> {
    let binding = [
        "validatingadmissionpolicybinding",
        "workloads.scopeplugins.dev",
    ];
    tokio::task::block_in_place(|| {
        world
            .cluster
            .kubectl(&[["delete"].as_slice(), &binding].concat())
    })?;
    let try_out = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let edit = Patch::Merge(json!({"spec": {"revisionHistoryLimit": 7}}));
    let began = Instant::now();
    loop {
        match sets.patch(name, &try_out, &edit).await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > POLICY => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Edits the DaemonSet and waits until the edit is gone.
async fn edited(
    sets: &Api<DaemonSet>,
    name: &str,
    edit: Value,
    is_edited: fn(&DaemonSet) -> bool,
) -> anyhow::Result<Duration> {
    sets.patch(name, &PatchParams::default(), &Patch::Merge(edit))
        .await?;
    let answered = Instant::now();
    let repaired = |set: Option<&DaemonSet>| set.is_some_and(|set| !is_edited(set));
    soon(await_condition(sets.clone(), name, repaired)).await?;
    Ok(answered.elapsed())
}

/// Deletes the DaemonSet and waits for another one.
async fn deleted(sets: &Api<DaemonSet>, name: &str) -> anyhow::Result<Duration> {
    let old = sets.get(name).await?.uid();
    sets.delete(name, &DeleteParams::background()).await?;
    let answered = Instant::now();
    let repaired = move |set: Option<&DaemonSet>| set.is_some_and(|set| set.uid() != old);
    soon(await_condition(sets.clone(), name, repaired)).await?;
    Ok(answered.elapsed())
}

async fn soon<T>(
    repaired: impl Future<Output = Result<T, kube::runtime::wait::Error>>,
) -> anyhow::Result<()> {
    let waited = tokio::time::timeout(LIMIT, repaired).await;
    waited
        .with_context(|| format!("the drift was not repaired within {LIMIT:?}"))?
        .map(drop)
        .map_err(Into::into)
}
