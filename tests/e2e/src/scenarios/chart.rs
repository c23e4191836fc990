//! The chart in the hands of Helm 3 and Helm 4: test, upgrade, rollback, uninstall, waiting.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use scope_chart::render::{ALL_ON, Objects};
use serde_json::Value;

use super::lifecycle::only_definitions_and_plugins_are_left;
use crate::kubectl::Kubectl;
use crate::product::{IMAGES, PLUGINS, RELEASE, SYSTEM, agent_pods, await_ready, condition};
use crate::world::World;

const PLUGIN: &str = "node-metrics";

/// `helm test` says what it found and leaves nothing; the notes name it as the next command.
pub(super) fn helm_test(world: &mut World) -> anyhow::Result<()> {
    let notes = world
        .kubectl
        .helm(&["get", "notes", RELEASE, "-n", SYSTEM])?;
    let next = format!("helm test {RELEASE} --namespace {SYSTEM}");
    ensure!(notes.contains(&next), "the notes: {notes}");
    tested(&world.kubectl, Kubectl::helm)
}

fn tested(
    kubectl: &Kubectl,
    helm: fn(&Kubectl, &[&str]) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let said = helm(
        kubectl,
        &["test", RELEASE, "-n", SYSTEM, "--timeout", "90s"],
    )?;
    for words in [
        "scopeplugins.scopeplugins.dev is served as v1alpha1",
        "replicas of scope-operator are ready",
        "replicas of scope-totals are ready",
        " leads",
        "the ScopePlugin node-metrics is Ready=True",
    ] {
        ensure!(said.contains(words), "no \"{words}\" in: {said}");
    }
    let left = kubectl.ok(&[
        "get",
        "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings",
        "-n",
        SYSTEM,
        "-l",
        "app.kubernetes.io/name=scope-plugins-test",
        "-o",
        "name",
    ])?;
    ensure!(left.is_empty(), "helm test left {left}");
    Ok(())
}

/// Helm 4's `--wait` for a chart that holds a ScopePlugin returns when the plugin is Ready and not before,
/// and does not return well when it never will be.
pub(super) fn wait_for_plugins(world: &mut World) -> anyhow::Result<()> {
    let chart = world.product.path("tests/fixtures/chart-of-a-plugin");
    let chart = chart.to_str().context("the path is text")?;
    let kubectl = &world.kubectl;
    let started = Instant::now();
    kubectl.helm(&["install", "by-helm", chart, "--wait", "--timeout", "60s"])?;
    let plugin = kubectl.json(&["get", "scopeplugin", "by-helm"])?;
    ensure!(
        condition(&plugin, "Ready").is_some_and(|c| c["status"] == "True")
            && plugin["status"]["observedGeneration"] == plugin["metadata"]["generation"]
            && plugin["status"]["nodes"]["ready"] == 2,
        "Helm waited for less: {}",
        plugin["status"]
    );
    eprintln!(
        "    Ready and told by Helm after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let nowhere = kubectl.helm(&[
        "upgrade",
        "by-helm",
        chart,
        "--set",
        "nodeSelector.planet=mars",
        "--wait",
        "--timeout",
        "10s",
    ]);
    ensure!(
        nowhere.is_err(),
        "Helm took a plugin without nodes for ready"
    );
    kubectl.helm(&["uninstall", "by-helm", "--wait", "--timeout", "60s"])?;
    ensure!(!kubectl.exists(&["scopeplugin", "by-helm"])?, "it stayed");
    Ok(())
}

/// The API server takes every object of the chart, all on, to the letter.
pub(super) fn every_object(world: &mut World) -> anyhow::Result<()> {
    let kubectl = &world.kubectl;
    // As the Prometheus operator ships them, so that ours are checked against the real ones.
    for path in throwaway_cluster::tools::monitoring_definitions()? {
        let path = path.display().to_string();
        kubectl.ok(&["apply", "--server-side", "-f", &path])?;
        kubectl.ok(&["wait", "--for=condition=Established", "-f", &path])?;
    }
    let chart = world.product.path("charts/scope-plugins");
    let chart = chart.to_str().context("the path is text")?;
    let mut args = vec!["template", RELEASE, chart, "-n", SYSTEM];
    args.extend(ALL_ON.iter().flat_map(|setting| ["--set-json", setting]));
    let manifest = kubectl.helm(&args)?;
    let names = Objects::of(&manifest)?.names()?;
    // A pod is refused without its account, even in a dry run, and the test's account lives with the test.
    let account = ["serviceaccount", "scope-plugins-test", "-n", SYSTEM];
    kubectl.ok(&[&["create"][..], &account].concat())?;
    let tried = kubectl.pipe(
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-o",
            "name",
            "-f",
            "-",
        ],
        &manifest,
    );
    kubectl.ok(&[&["delete"][..], &account].concat())?;
    let tried = tried?;
    let refused = String::from_utf8_lossy(&tried.stderr);
    ensure!(tried.status.success(), "{refused}");
    let taken = String::from_utf8_lossy(&tried.stdout);
    let taken: BTreeSet<_> = taken.lines().collect();
    ensure!(
        taken.len() > 40,
        "of {} objects only {} were tried",
        names.len(),
        taken.len()
    );
    Ok(())
}

/// An upgrade with changed values and back, by Helm 4: agents do not notice.
pub(super) fn rollback(world: &mut World) -> anyhow::Result<()> {
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    changed_and_back(world, Kubectl::helm)?;
    await_ready(&world.kubectl, PLUGIN, Duration::from_secs(30))?;
    ensure!(
        agents == agent_pods(&world.kubectl, PLUGIN)?,
        "agents were restarted"
    );
    Ok(())
}

fn changed_and_back(
    world: &World,
    helm: fn(&Kubectl, &[&str]) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let kubectl = &world.kubectl;
    let before = operator(kubectl)?;
    let chart = world.product.path("charts/scope-plugins");
    let chart = chart.to_str().context("the path is text")?;
    let wait = ["-n", SYSTEM, "--wait", "--timeout", "90s"];
    let mut upgrade = vec!["upgrade", RELEASE, chart, "--reset-then-reuse-values"];
    upgrade.extend(["--set", "operator.logLevel=debug"]);
    upgrade.extend(wait);
    helm(kubectl, &upgrade)?;
    let changed = operator(kubectl)?;
    ensure!(
        changed.args.contains("--log-level=debug"),
        "{}",
        changed.args
    );
    ensure!(
        changed.ready == before.ready,
        "Helm did not wait: {changed:?}"
    );
    let mut rollback = vec!["rollback", RELEASE];
    rollback.extend(wait);
    helm(kubectl, &rollback)?;
    let back = operator(kubectl)?;
    ensure!(
        back == before,
        "{back:?} after the rollback, was {before:?}"
    );
    Ok(())
}

/// What a Deployment's upgrade is told by.
#[derive(Debug, PartialEq)]
struct Operator {
    args: String,
    ready: Value,
}

fn operator(kubectl: &Kubectl) -> anyhow::Result<Operator> {
    let deployment = kubectl.json(&["get", "deployment", "scope-operator", "-n", SYSTEM])?;
    Ok(Operator {
        args: deployment["spec"]["template"]["spec"]["containers"][0]["args"].to_string(),
        ready: deployment["status"]["readyReplicas"].clone(),
    })
}

/// Helm 3 from end to end: the chart as it was before monitoring, with a ScopePlugin; the present one over
/// it, all on; its test; changed and back; uninstalled. The ScopePlugin is the same object all along.
pub(super) fn helm3_from_the_chart_before(world: &mut World) -> anyhow::Result<()> {
    let kubectl = &world.kubectl;
    kubectl.helm(&[
        "uninstall",
        RELEASE,
        "-n",
        SYSTEM,
        "--ignore-not-found",
        "--wait",
    ])?;
    // Those that the scenario before applied by kubectl do not belong to Helm.
    kubectl.ok(&[
        "delete",
        "crd",
        "--ignore-not-found",
        "scopeplugins.scopeplugins.dev",
        "scopeactions.scopeplugins.dev",
    ])?;
    kubectl.ok(&[
        "label",
        "nodes",
        "--all",
        "--overwrite",
        "pool=system",
        "rack=a",
    ])?;
    let before = world.product.path("tests/fixtures/chart-0.1.0.tgz");
    let before = before.to_str().context("the path is text")?;
    let mut install = vec!["install", RELEASE, before, "-n", SYSTEM];
    install.extend(IMAGES);
    kubectl.helm3(&install)?;
    kubectl.apply(&world.product.text("examples/node-metrics.yaml")?)?;
    let plugin = uid(kubectl)?;

    let chart = world.product.path("charts/scope-plugins");
    let chart = chart.to_str().context("the path is text")?;
    let mut upgrade = vec!["upgrade", RELEASE, chart, "-n", SYSTEM];
    upgrade.extend(["--reset-then-reuse-values", "--wait", "--timeout", "2m"]);
    upgrade.extend(ALL_ON.iter().flat_map(|setting| ["--set-json", setting]));
    kubectl.helm3(&upgrade)?;
    // Where the operator came to begin with the agents before that, this is a rollout, and its canary would soak
    // for a minute and a half. The definition of before knew no such setting.
    kubectl.apply(&world.product.example()?)?;
    await_ready(kubectl, PLUGIN, Duration::from_secs(60))?;
    ensure!(uid(kubectl)? == plugin, "the ScopePlugin is another one");
    ensure!(
        operator(kubectl)?.args.contains("DeletePod"),
        "the allowed actions did not arrive"
    );
    for (object, namespace) in [
        ("podmonitor/scope-operator", SYSTEM),
        ("podmonitor/scope-totals", SYSTEM),
        ("podmonitor/scope-agents", SYSTEM),
        ("prometheusrule/scope-plugins", SYSTEM),
        ("networkpolicy/scope-operator", SYSTEM),
        ("networkpolicy/scope-totals", SYSTEM),
        ("networkpolicy/scope-agents", PLUGINS),
    ] {
        ensure!(kubectl.exists(&[object, "-n", namespace])?, "no {object}");
    }
    tested(kubectl, Kubectl::helm3)?;
    changed_and_back(world, Kubectl::helm3)?;
    ensure!(uid(kubectl)? == plugin, "the ScopePlugin is another one");
    let wait = ["-n", SYSTEM, "--wait", "--timeout", "3m"];
    let mut uninstall = vec!["uninstall", RELEASE];
    uninstall.extend(wait);
    kubectl.helm3(&uninstall)?;
    only_definitions_and_plugins_are_left(world)?;
    let monitoring = kubectl.ok(&["get", "podmonitors,prometheusrules", "-A", "-o", "name"])?;
    ensure!(monitoring.is_empty(), "left: {monitoring}");
    ensure!(uid(kubectl)? == plugin, "the ScopePlugin did not stay");
    Ok(())
}

fn uid(kubectl: &Kubectl) -> anyhow::Result<String> {
    let plugin = kubectl.json(&["get", "scopeplugin", PLUGIN])?;
    let uid = plugin["metadata"]["uid"].as_str();
    Ok(uid.context("a UID")?.to_owned())
}
