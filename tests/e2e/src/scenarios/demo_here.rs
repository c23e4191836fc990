//! `cargo xtask demo --here`: the demo as a guest on a cluster that has other things in it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

use crate::demo::here::{Here, Interrupted, IsInterrupted, Settings};
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, SYSTEM};
use crate::world::World;

/// What lives outside of namespaces, as far as the demo could touch it.
const KINDS: &str = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,priorityclasses";

/// It refuses a cluster with something of ours in it. On any other it shows the main job and leaves
/// the cluster as it was: after it is done, and when it is interrupted.
pub(super) fn leaves_nothing(world: &mut World) -> anyhow::Result<()> {
    let refused = Here::look(&world.kubectl, settings()).err();
    let refused = refused.context("a cluster with our definitions was not refused")?;
    let said = refused.to_string();
    for words in [
        "the definition scopeplugins.scopeplugins.dev",
        "the namespace scope-system",
        "delete crd scopeplugins.scopeplugins.dev",
    ] {
        ensure!(said.contains(words), "{words:?} is not in: {said}");
    }
    for objects in [
        ["crd", "scopeplugins.scopeplugins.dev"],
        ["crd", "scopeactions.scopeplugins.dev"],
        ["namespace", SYSTEM],
    ] {
        world
            .kubectl
            .ok(&[&["delete", "--ignore-not-found"], objects.as_slice()].concat())?;
    }
    let before = objects(&world.kubectl)?;
    attempt(world, &before, Box::new(|| false))?.context("the demo")?;

    let kubectl = world.kubectl.clone();
    let half_way = move || kubectl.exists(&["namespace", PLUGINS]).unwrap_or(true);
    // The demo takes the rights from operators that are only starting, without waiting for them.
    let outcome = world.refused_on_purpose(|world| attempt(world, &before, Box::new(half_way)))?;
    let error = outcome.err().context("the interrupted demo did not end")?;
    ensure!(error.is::<Interrupted>(), "not interrupted: {error:#}");
    Ok(())
}

/// What came of the demo, after which there is on the cluster what was there before.
fn attempt(
    world: &World,
    before: &BTreeSet<String>,
    is_interrupted: IsInterrupted,
) -> anyhow::Result<anyhow::Result<()>> {
    let here = Here::look(&world.kubectl, settings())?;
    let plan = here.plan();
    ensure!(
        plan.contains("server    https://") && plan.contains("Linux nodes: 2"),
        "the plan does not name the cluster: {plan}"
    );
    let outcome = here.run(is_interrupted);
    let after = objects(&world.kubectl)?;
    ensure!(
        after == *before,
        "left: {:?}; gone: {:?}; the outcome was {outcome:?}",
        after.difference(before),
        before.difference(&after)
    );
    Ok(outcome)
}

/// With the images that the throw-away cluster has.
fn settings() -> Settings {
    let image = |name: &str| name.parse().ok();
    Settings {
        operator_image: image("harness.local/scope-operator"),
        agent_image: image("harness.local/scope-agent"),
        workload_image: image("harness.local/box:1"),
        keep: false,
    }
}

fn objects(kubectl: &Kubectl) -> anyhow::Result<BTreeSet<String>> {
    let names = kubectl.ok(&["get", KINDS, "-o", "name"])?;
    Ok(names.lines().map(str::to_owned).collect())
}
