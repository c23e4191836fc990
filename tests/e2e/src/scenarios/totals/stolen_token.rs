//! What an agent's token is good for in other hands.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::leader::active;
use super::{MILLICORES, PATIENT, REPLICAS, SINGLE_PART, await_total, busy, shown_on};
use crate::product::{PLUGINS, SYSTEM, agent_pods};
use crate::progress::await_some;
use crate::world::World;

/// A token that was taken from an agent's pod speaks for its node and plugin alone: what it says of a controller
/// without pods on that node changes no total, and other tokens say nothing at all.
pub(in crate::scenarios) fn stolen_token(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    let id = busy(&kubectl)?;
    await_total(world, &id, REPLICAS, PATIENT)?;
    let agents = agent_pods(&kubectl, "node-metrics")?;
    let uid_on = |node: &str| -> anyhow::Result<String> {
        let agent = agents.iter().find(|(_, on, _)| on == node);
        let (_, _, uid) = agent.with_context(|| format!("an agent on {node}"))?;
        Ok(uid.clone())
    };
    let uid = uid_on("node4")?;
    let token = world.totals_token_of("node4", &uid)?;
    let object = id.split(';').next().context("a UID")?;
    let lie = serde_json::json!({
        "version": 1, "boot": "thief", "sequence": 1, "node": {"cpus": 2, "memory": 1u64 << 34},
        "objects": [{"kind": "Deployment", "uid": object, "counted": 5,
                     "values": {"cpu_millicores": 3999.0, "docker_memory_usage": 1e9}}],
    });
    let said = exchange(world, &token, &lie)?;
    let stamp = said["stamp"].clone();
    ensure!(
        stamp.is_string(),
        "an agent's own token is not heard: {said}"
    );
    let mut lie = lie;
    lie["sequence"] = 2.into();
    lie["sampled"] = serde_json::json!({"stamp": stamp, "after_ms": 0});
    let said = exchange(world, &token, &lie)?;
    eprintln!("    a lie of node4: {}", said["fate"]);
    // Two rounds later it would be in the total.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let want = MILLICORES * REPLICAS as f64;
    await_some("two more rounds", PATIENT, || {
        let shown = shown_on(world, "node1", &id)?.context("a total")?;
        ensure!(
            (shown.millicores - want).abs() <= want * SINGLE_PART,
            "the lie is in the total: {shown:?}"
        );
        Ok(match shown.at > now + 12.0 {
            true => Ok(()),
            false => Err(format!("{shown:?}")),
        })
    })?;
    let api = world.token_of("node4", &uid)?;
    let operator = kubectl.ok(&[
        "create",
        "token",
        "scope-operator",
        "-n",
        SYSTEM,
        "--audience",
        "scope-totals",
    ])?;
    let forged = token
        .rsplit_once('.')
        .map(|(signed, _)| format!("{signed}.{}", "A".repeat(86)))
        .context("a token of three parts")?;
    for (what, token) in [
        ("for the API server", api.as_str()),
        ("of the operator", operator.trim()),
        ("that is signed by nobody", &forged),
        ("that is none", "none"),
    ] {
        let words = refused(world, token, &lie)?;
        eprintln!("    a token {what}: {words}");
        ensure!(
            words.contains("must be logged in") || words.to_lowercase().contains("forbidden"),
            "a token {what}: {words}"
        );
    }
    Ok(())
}

/// What the service answers to a report.
fn exchange(
    world: &World,
    token: &str,
    report: &serde_json::Value,
) -> anyhow::Result<serde_json::Value> {
    let output = send(world, token, report)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// In what words it refuses one.
fn refused(world: &World, token: &str, report: &serde_json::Value) -> anyhow::Result<String> {
    let output = send(world, token, report)?;
    ensure!(!output.status.success(), "the service took it");
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Sends a report as an agent does, by `kubectl` with nothing but this token: what is known of the service is in
/// the ConfigMap that agents have.
fn send(
    world: &World,
    token: &str,
    report: &serde_json::Value,
) -> anyhow::Result<std::process::Output> {
    use base64::Engine;
    let kubectl = &world.kubectl;
    let map = kubectl.json(&["get", "configmap", "scope-totals-ca", "-n", PLUGINS])?;
    let value = |key: &str| {
        let value = map["data"][key].as_str();
        value.with_context(|| format!("{key} is published"))
    };
    let (_, address) = active(kubectl)?.context("an active replica")?;
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{address}:8443"),
            "tls-server-name": value("name")?,
            "certificate-authority-data":
                base64::engine::general_purpose::STANDARD.encode(value("ca.crt")?),
        }}],
        "users": [{"name": "c", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    let thief = world.kubectl_with_config(&config)?;
    thief.pipe(
        &["create", "--raw", "/v1/exchange", "-f", "-"],
        &report.to_string(),
    )
}
