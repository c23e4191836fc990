//! What is refused, and records that nobody may write.

use super::*;

pub(super) fn refusals(world: &mut World) -> anyhow::Result<()> {
    let probed = container(world, NAMESPACE, "probed")?;
    let guarded = container(world, "kube-system", "touched-guarded")?;
    let rooted = container(world, "default", &format!("rooted-{NODE}"))?;
    let elsewhere = container(world, NAMESPACE, "elsewhere")?;
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    let own = container(world, PLUGINS, agent)?;
    let old = format!("{};<container>", "0".repeat(64));
    let pod = format!("{};<pod>", probed.pod_uid);
    for (node_id, words) in [
        (guarded.node_id(), "kube-system is protected"),
        (own.node_id(), "belong"),
        (rooted.node_id(), "static pod"),
        (elsewhere.node_id(), "runs on this node"),
        (old, "runs on this node"),
        (pod, "nodes of kind Container"),
        ("nonsense".to_owned(), "nonsense"),
    ] {
        for control in ["freezeContainer", "thawContainer", "restartContainer"] {
            refused(&click(world, &node_id, control, &[])?, words)
                .with_context(|| format!("{control} on {node_id}"))?;
        }
    }
    let node_id = probed.node_id();
    for (args, words) in [
        (&[][..], "liveness probe"),
        (&[("duration", "2h")], "the argument duration"),
        (&[("force", "maybe")], "the argument force"),
    ] {
        refused(&click(world, &node_id, "freezeContainer", args)?, words)?;
    }
    let starting = container(world, NAMESPACE, "starting")?;
    let unasked = click(world, &starting.node_id(), "freezeContainer", &[])?;
    refused(&unasked, "startup probe has not succeeded yet")?;
    for untouched in [&probed, &starting, &guarded, &own, &rooted, &elsewhere] {
        ensure!(!is_frozen(&untouched.id)?, "{} is frozen", untouched.pod);
        let now = container(world, &untouched.namespace, &untouched.pod)?;
        ensure!(now.id == untouched.id, "{} was restarted", untouched.pod);
    }
    let forced = [("force", "true"), ("duration", "5s")];
    done(&click(world, &node_id, "freezeContainer", &forced)?)?;
    done(&click(world, &node_id, "thawContainer", &[])?)?;

    // Nobody may say that something is done which the operator would have to do.
    world.refused_on_purpose(forged_records)
}

fn forged_records(world: &mut World) -> anyhow::Result<()> {
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (_, node, uid) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    let thief = world.kubectl_with_token(&world.token_of(node, uid)?)?;
    let record = |control: &str, node: &str, done: bool| -> Value {
        let mut record = serde_json::json!({
            "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
            "metadata": {"generateName": "forged-", "namespace": PLUGINS},
            "spec": {
                "plugin": PLUGIN, "control": control, "node": node,
                "target": {"kind": "Pod", "uid": "00000000-0000-4000-8000-000000000001"},
                "notAfter": "2020-01-01T00:00:00Z",
            },
        });
        if done {
            record["spec"]["target"]["container"] = serde_json::json!({
                "id": "0".repeat(64), "name": "x", "namespace": "default", "pod": "x",
            });
            record["spec"]["done"] = serde_json::json!({
                "phase": "Succeeded", "message": "forged", "at": "2020-01-01T00:00:00Z",
            });
        }
        record
    };
    for (control, node, done, accepted) in [
        ("FreezeContainer", NODE, true, true),
        ("FreezeContainer", "node2", true, false),
        ("FreezeContainer", NODE, false, false),
        ("DeletePod", NODE, true, false),
    ] {
        let manifest = record(control, node, done).to_string();
        let output = thief.pipe(&["create", "--validate=false", "-f", "-"], &manifest)?;
        ensure!(
            output.status.success() == accepted,
            "{control} of {node}, done {done}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
