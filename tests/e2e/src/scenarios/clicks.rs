//! Clicks through the emulated probe.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::audit;
use crate::product::{ALL_ACTIONS, PLUGINS, SYSTEM, condition};
use crate::progress::await_some;
use crate::truth::{self, PodTruth};
use crate::world::{Clicked, World};

const DELETE: &str = "node-metrics-controls~deletePod";

fn idle_pod_on(world: &World, node: &str) -> anyhow::Result<PodTruth> {
    await_some(
        &format!("a running idle pod on {node}"),
        Duration::from_secs(30),
        || {
            let pods = truth::pods(&world.kubectl)?;
            let found = pods
                .iter()
                .find(|p| p.node == node && p.name.starts_with("idle-") && p.phase == "Running");
            Ok(found.cloned().ok_or_else(|| format!("{pods:?}")))
        },
    )
}

fn await_successor(world: &World, old: &PodTruth) -> anyhow::Result<PodTruth> {
    await_some(
        &format!("a successor of {}", old.name),
        Duration::from_secs(30),
        || {
            let now = truth::pod_named(&world.kubectl, &old.namespace, &old.name)?;
            Ok(match now {
                Some(pod) if pod.uid != old.uid && pod.phase == "Running" => Ok(pod),
                other => Err(format!("{other:?}")),
            })
        },
    )
}

fn actions_on(world: &World, uid: &str) -> anyhow::Result<Vec<Value>> {
    let list = world
        .kubectl
        .json(&["get", "scopeactions", "-n", PLUGINS])?;
    let of = |a: &&Value| a["spec"]["target"]["uid"] == uid;
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(of)
        .cloned()
        .collect())
}

/// Clicks until the outcome is the answer: a control plane that is busy may take longer than a click waits.
/// Each click is answered in time all the same, and each does what it is for.
fn deleted_at_once(
    world: &mut World,
    through: &str,
    mut pod: PodTruth,
) -> anyhow::Result<(PodTruth, Clicked)> {
    for _ in 0..4 {
        world.hear(through)?;
        let click = world.click(through, &pod.node_id(), DELETE)?;
        ensure!(
            click.took < Duration::from_millis(500),
            "the answer took {:?}",
            click.took
        );
        if click.http == 200 {
            return Ok((pod, click));
        }
        ensure!(
            click.body.contains("pending: "),
            "HTTP {}: {}",
            click.http,
            click.body
        );
        eprintln!("    not within {:.0} ms", click.took.as_secs_f64() * 1e3);
        pod = await_successor(world, &pod)?;
    }
    anyhow::bail!("no outcome within the time that a click waits")
}

/// A click through node 1 deletes exactly that pod on node 2, and leaves a trail.
pub(super) fn deletes_exactly_that_pod(world: &mut World) -> anyhow::Result<()> {
    let [first, second] = two_nodes(world)?;
    let pod = idle_pod_on(world, &second)?;

    // The button is there: Scope's own beside ours on the pod, the control on the other socket.
    let there = world.hear(&second)?;
    let seen = there
        .node("Pod", &pod.node_id())
        .context("the pod is reported by its node")?;
    ensure!(
        seen.latest("active_controls")
            == Some(
                "kubernetes_get_logs;kubernetes_delete_pod;kubernetes_describe;node-metrics-controls~deletePod"
            ),
        "active controls are {:?}",
        seen.latest("active_controls")
    );
    let (pod, click) = deleted_at_once(world, &first, pod)?;
    let answer: Value = serde_json::from_str(&click.body)?;
    ensure!(
        answer["removedNode"] == pod.node_id(),
        "the answer is {answer}"
    );
    eprintln!(
        "    click to outcome: {:.0} ms",
        click.took.as_secs_f64() * 1e3
    );

    let successor = await_successor(world, &pod)?;
    let actions = actions_on(world, &pod.uid)?;
    ensure!(actions.len() == 1, "ScopeActions on the pod: {actions:?}");
    let action = &actions[0];
    for (path, want) in [
        ("/spec/plugin", "node-metrics"),
        ("/spec/control", "DeletePod"),
        ("/spec/target/kind", "Pod"),
        ("/spec/node", &first),
        ("/spec/probeID", &click.probe),
        ("/spec/appID", &click.app),
        ("/status/phase", "Succeeded"),
    ] {
        let is = action.pointer(path).and_then(Value::as_str);
        ensure!(
            is == Some(want),
            "{path} of the ScopeAction is {is:?}, want {want:?}"
        );
    }
    await_some(
        "an Event on the deleted pod",
        Duration::from_secs(10),
        || {
            let events = world
                .kubectl
                .json(&["get", "events", "-n", &pod.namespace])?;
            let found = events["items"].as_array().into_iter().flatten().find(|e| {
                e["involvedObject"]["uid"] == pod.uid.as_str()
                    && e["source"]["component"]
                        .as_str()
                        .or(e["reportingComponent"].as_str())
                        .is_some_and(|c| c.contains("scope"))
            });
            Ok(found.map(drop).ok_or_else(|| "no Event of ours".to_owned()))
        },
    )?;

    // The successor has the name but not the UID: a click on the old one leaves it alone.
    world.hear(&first)?;
    let late = world.click(&first, &pod.node_id(), DELETE)?;
    ensure!(
        late.took < Duration::from_millis(500),
        "the answer took {:?}",
        late.took
    );
    let still = truth::pod_named(&world.kubectl, &pod.namespace, &pod.name)?;
    ensure!(
        still.map(|p| p.uid) == Some(successor.uid),
        "the successor was touched"
    );
    Ok(())
}

/// Refusals are words, in time, with HTTP 200 from the plugin (Scope makes 400 of an `error`).
pub(super) fn refuses_in_words(world: &mut World) -> anyhow::Result<()> {
    let [first, second] = two_nodes(world)?;
    let gone = "00000000-0000-4000-8000-000000000000;<pod>".to_owned();
    let protected = truth::pods(&world.kubectl)?
        .into_iter()
        .find(|p| p.namespace == PLUGINS && p.node == second)
        .context("an agent's pod on node 2")?;
    let container = truth::pods(&world.kubectl)?
        .iter()
        .flat_map(|p| p.containers.keys().cloned())
        .next()
        .context("a container")?;
    for (node_id, word) in [
        (gone, "no pod"),
        (protected.node_id(), "belongs to the Scope plugins"),
        (format!("{container};<container>"), "pod"),
        ("nonsense".to_owned(), "nonsense"),
    ] {
        refused(world, &first, &node_id, &[word])?;
    }
    untouched(world, &protected)
}

/// A click that is answered with an `error` of these words, in time; where it is pending, as on a machine that is busy,
/// one of the next is: within 5 s they ask about the same action. Scope makes HTTP 400 of that; where the plugin's own
/// answer is not HTTP 200, it says so instead of the words.
fn refused(world: &mut World, node: &str, node_id: &str, words: &[&str]) -> anyhow::Result<()> {
    world.hear(node)?;
    let mut click = click_in_time(world, node, node_id)?;
    for _ in 0..3 {
        if click.body.contains("pending: ") {
            await_refusal(world, node_id)?;
            click = click_in_time(world, node, node_id)?;
        }
    }
    ensure!(
        click.http == 400,
        "{node_id} was not refused: {}",
        click.body
    );
    ensure!(
        !click.body.contains("status code"),
        "{node_id}: transport text: {}",
        click.body
    );
    for word in words {
        ensure!(
            click.body.to_lowercase().contains(&word.to_lowercase()),
            "{node_id}: {:?} lacks {word:?}",
            click.body
        );
    }
    Ok(())
}

fn click_in_time(world: &mut World, node: &str, node_id: &str) -> anyhow::Result<Clicked> {
    let click = world.click(node, node_id, DELETE)?;
    ensure!(
        click.took < Duration::from_millis(500),
        "{node_id}: {:?}",
        click.took
    );
    Ok(click)
}

/// Waits until the last click on a node is refused on record.
fn await_refusal(world: &World, node_id: &str) -> anyhow::Result<()> {
    let (uid, _) = node_id.split_once(';').context("an ID of Scope")?;
    await_some("a refusal on record", Duration::from_secs(15), || {
        let actions = actions_on(world, uid)?;
        let newest = actions
            .iter()
            .max_by_key(|action| action["spec"]["notAfter"].as_str());
        let status = newest.map(|action| &action["status"]);
        Ok(match status {
            Some(status) if status["phase"] == "Refused" => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })
}

/// The pod is there as before, and nobody has asked it to go.
fn untouched(world: &World, pod: &PodTruth) -> anyhow::Result<()> {
    let object = world
        .kubectl
        .json(&["get", "pod", "-n", &pod.namespace, &pod.name])?;
    let metadata = &object["metadata"];
    ensure!(
        metadata["uid"] == pod.uid.as_str() && metadata["deletionTimestamp"].is_null(),
        "{}/{} was touched: {metadata}",
        pod.namespace,
        pod.name
    );
    Ok(())
}

/// A pod in kube-system, which a ScopePlugin protects unless it says otherwise.
const PROTECTED: &str = "apiVersion: v1
kind: Pod
metadata: {name: protected, namespace: kube-system}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{name: idle, image: 'harness.local/box:1', command: [sleep, '1000000']}]
";

/// In a protected namespace the button is there, since Scope draws it for all pods alike, and the
/// answer says why nothing was done.
pub(super) fn protected_namespace(world: &mut World) -> anyhow::Result<()> {
    let [first, _] = two_nodes(world)?;
    let plugin = world
        .kubectl
        .json(&["get", "scopeplugin", "node-metrics"])?;
    ensure!(
        plugin["spec"]["agent"]["protectedNamespaces"] == serde_json::json!(["kube-system"]),
        "protected are {}",
        plugin["spec"]["agent"]["protectedNamespaces"]
    );
    world.kubectl.apply(PROTECTED)?;
    let pod =
        await_some(
            "the pod in kube-system",
            Duration::from_secs(30),
            || match truth::pod_named(&world.kubectl, "kube-system", "protected")? {
                Some(pod) if pod.phase == "Running" => Ok(Ok(pod)),
                other => Ok(Err(format!("{other:?}"))),
            },
        )?;
    refused(
        world,
        &first,
        &pod.node_id(),
        &["kube-system", "is protected", "protectedNamespaces"],
    )?;
    untouched(world, &pod)?;
    let actions = actions_on(world, &pod.uid)?;
    ensure!(
        actions.len() == 1 && actions[0]["status"]["phase"] == "Refused",
        "ScopeActions on the pod: {actions:?}"
    );
    world
        .kubectl
        .ok(&["delete", "pod", "-n", "kube-system", &pod.name])
        .map(drop)
}

/// What the installation does not allow is refused in words, without a right to do it; and the
/// plugin's conditions say so beforehand.
pub(super) fn not_allowed_by_the_installation(world: &mut World) -> anyhow::Result<()> {
    let [first, second] = two_nodes(world)?;
    // Not the pod of which a later scenario counts the clicks: nobody may remove the record of one.
    let pod = idle_pod_on(world, &first)?;
    // The rights are taken from operators that still run for a moment, with watches that may begin anew.
    world.refused_on_purpose(|world| {
        world
            .product
            .upgrade(&world.kubectl, &["--set-json", "actions.allowed=[]"])?;
        await_not_allowed(world, true)?;
        await_operators(world, 2)
    })?;
    let mark = world.audit_mark()?;
    let words = ["does not allow DeletePod", "actions.allowed"];
    refused(world, &second, &pod.node_id(), &words)?;
    untouched(world, &pod)?;
    // Before anything was looked up: the rights are gone with the permission.
    audit::nothing_forbidden(&world.audit_since(mark)?)?;

    world
        .product
        .upgrade(&world.kubectl, &["--set", ALL_ACTIONS])?;
    await_not_allowed(world, false)?;
    untouched(world, &pod)
}

/// Waits until the operator that leads says, or says no more, that DeletePod is not allowed.
fn await_not_allowed(world: &World, wanted: bool) -> anyhow::Result<()> {
    await_some(
        &format!("ControlsNotAllowed of node-metrics to be {wanted}"),
        Duration::from_secs(60),
        || {
            let plugin = world
                .kubectl
                .json(&["get", "scopeplugin", "node-metrics"])?;
            let is =
                condition(&plugin, "ControlsNotAllowed").is_some_and(|c| c["status"] == "True");
            Ok(if is == wanted {
                Ok(())
            } else {
                Err(plugin["status"]["conditions"].to_string())
            })
        },
    )
}

/// Without an operator a click is pending in time, and is never carried out after its deadline.
pub(super) fn pending_without_operator(world: &mut World) -> anyhow::Result<()> {
    let [first, second] = two_nodes(world)?;
    let pod = idle_pod_on(world, &second)?;
    scale_operator(world, 0)?;
    world.hear(&first)?;
    let click = world.click(&first, &pod.node_id(), DELETE)?;
    ensure!(
        click.took < Duration::from_millis(500),
        "the answer took {:?}",
        click.took
    );
    ensure!(
        click.body.contains("pending"),
        "HTTP {}: {}",
        click.http,
        click.body
    );
    let actions = actions_on(world, &pod.uid)?;
    ensure!(
        actions.len() == 1 && actions[0]["status"]["phase"].is_null(),
        "{actions:?}"
    );
    let name = actions[0]["metadata"]["name"].as_str().context("a name")?;
    ensure!(
        click.body.contains(name),
        "the answer does not name {name}: {}",
        click.body
    );
    // Whoever saw nothing happen clicks once more, and asks about the same action with that.
    let again = world.click(&first, &pod.node_id(), DELETE)?;
    ensure!(
        again.body.contains("pending") && again.body.contains(name),
        "the second click, HTTP {}: {}",
        again.http,
        again.body
    );
    let now = actions_on(world, &pod.uid)?;
    ensure!(now.len() == 1, "the second click made another: {now:?}");
    let deadline = actions[0]["spec"]["notAfter"]
        .as_str()
        .context("notAfter")?
        .to_owned();
    await_some(
        "the deadline of the action",
        Duration::from_secs(15),
        || {
            let now = scope_protocol::Timestamp::from(std::time::SystemTime::now()).to_string();
            Ok(if now > deadline { Ok(()) } else { Err(now) })
        },
    )?;
    scale_operator(world, 2)?;
    await_some(
        "the action marked as expired",
        Duration::from_secs(60),
        || {
            let actions = actions_on(world, &pod.uid)?;
            let phase = actions[0]["status"]["phase"].as_str();
            Ok(if phase == Some("Expired") {
                Ok(())
            } else {
                Err(format!("{phase:?}"))
            })
        },
    )?;
    let still = truth::pod_named(&world.kubectl, &pod.namespace, &pod.name)?;
    ensure!(
        still.is_some_and(|p| p.uid == pod.uid),
        "the pod was deleted after the deadline"
    );
    Ok(())
}

fn scale_operator(world: &World, replicas: u32) -> anyhow::Result<()> {
    let to = format!("--replicas={replicas}");
    world
        .kubectl
        .ok(&["scale", "deployment/scope-operator", "-n", SYSTEM, &to])?;
    await_operators(world, replicas)
}

/// Waits until there are so many pods of the operator, and no other that is ending.
fn await_operators(world: &World, replicas: u32) -> anyhow::Result<()> {
    await_some("the operator's pods", Duration::from_secs(60), || {
        let pods = world.kubectl.json(&[
            "get",
            "pods",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/name=scope-operator",
        ])?;
        let pods = pods["items"].as_array().map_or(0, Vec::len);
        Ok(if pods == replicas as usize {
            Ok(())
        } else {
            Err(format!("{pods} pods"))
        })
    })
}

fn two_nodes(world: &World) -> anyhow::Result<[String; 2]> {
    world
        .nodes()
        .try_into()
        .map_err(|n| anyhow::anyhow!("two nodes are wanted, not {n:?}"))
}
