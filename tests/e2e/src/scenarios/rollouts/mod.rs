//! Rollouts: a bad revision takes no fleet down, and neither does a sick node or a lost leader.

mod kills;
mod leaders;
mod nodes;
mod revisions;
mod serving;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use crate::audit::{Request, operator};
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, SYSTEM, agent_pods, condition};
use crate::progress::await_some;
use crate::world::World;

pub(super) use kills::at_a_write;
pub use kills::at_writes;
pub(super) use leaders::{api_server_restarts, leader_cut_off, leader_frozen};
pub(super) use nodes::{dies_after_its_update, lost_and_found, reboots};
pub(super) use revisions::{
    agent_says_why, forgets_old_templates, halts_at_the_canary, is_paused_and_held, rolls_back,
};
pub(super) use serving::two_bad_revisions;

const PLUGIN: &str = "node-metrics";
/// So little memory that no container starts with it. Nobody says that it never will, so the deadline tells.
const BROKEN: &str = r#"{"spec":{"rollout":{"deadline":"15s"},
    "agent":{"resources":{"requests":{"memory":"1Mi"},"limits":{"memory":"1Mi"}}}}}"#;
const MENDED: &str = r#"{"spec":{"rollout":{"deadline":null},"agent":{"resources":null}}}"#;
/// From a change of the spec to the last word about it.
const LIMIT: Duration = Duration::from_secs(90);

fn patch(kubectl: &Kubectl, patch: &str) -> anyhow::Result<()> {
    kubectl
        .ok(&["patch", "scopeplugin", PLUGIN, "--type=merge", "-p", patch])
        .map(drop)
}

fn plugin(kubectl: &Kubectl) -> anyhow::Result<Value> {
    kubectl.json(&["get", "scopeplugin", PLUGIN])
}

/// Waits until the status speaks of the newest generation and has this reason and this status of Ready.
fn settled(kubectl: &Kubectl, status: &str, reason: &str) -> anyhow::Result<Value> {
    let mut found = Value::Null;
    await_some(&format!("Ready={status} {reason}"), LIMIT, || {
        let object = plugin(kubectl)?;
        let ready = condition(&object, "Ready").cloned().unwrap_or_default();
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let good = current && ready["status"] == status && ready["reason"] == reason;
        found = object;
        Ok(if good {
            Ok(())
        } else {
            Err(found["status"].to_string())
        })
    })?;
    Ok(found)
}

/// The agents by node: name and UID.
fn agents(kubectl: &Kubectl) -> anyhow::Result<BTreeMap<String, (String, String)>> {
    let pods = agent_pods(kubectl, PLUGIN)?;
    Ok(pods
        .into_iter()
        .map(|(name, node, uid)| (node, (name, uid)))
        .collect())
}

/// The revision of the pod on this node and whether it is ready, if there is one now.
fn revision_on(kubectl: &Kubectl, node: &str) -> anyhow::Result<Option<(String, bool)>> {
    let selector = format!("app.kubernetes.io/instance={PLUGIN}");
    let list = kubectl.json(&["get", "pods", "-n", PLUGINS, "-l", &selector])?;
    let pods = list["items"].as_array().into_iter().flatten();
    let mut here = pods.filter(|pod| {
        pod["spec"]["nodeName"] == node && pod["metadata"]["deletionTimestamp"].is_null()
    });
    Ok(here.next().map(|pod| {
        let revision = pod["metadata"]["labels"]["scopeplugins.dev/revision"].as_str();
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        (revision.unwrap_or_default().to_owned(), ready)
    }))
}

/// Waits until a node but those of `before` has another pod than then.
fn first_replaced(
    kubectl: &Kubectl,
    before: &BTreeMap<String, (String, String)>,
) -> anyhow::Result<String> {
    await_some("a node that is updated", LIMIT, || {
        let now = agents(kubectl)?;
        let mut replaced = now
            .iter()
            .filter(|(node, (_, uid))| before.get(*node).is_some_and(|(_, old)| old != uid));
        Ok(match replaced.next() {
            Some((node, _)) => Ok(node.clone()),
            None => Err(format!("{now:?}")),
        })
    })
}

/// The operator's pod that holds the lease. After the end of a leader there is none for a while.
pub(super) fn leader(kubectl: &Kubectl) -> anyhow::Result<String> {
    await_some("a pod that leads", LIMIT, || {
        let lease = kubectl.json(&["get", "lease", "scope-operator", "-n", SYSTEM])?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let pods = kubectl.json(&["get", "pods", "-n", SYSTEM])?;
        let mut names = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        Ok(names
            .find(|name| holder.starts_with(name))
            .map(str::to_owned)
            .ok_or_else(|| format!("no pod leads: {holder:?}")))
    })
}

/// The agents' pods that the operator has deleted, each as often as the API server said so. Where it could tell nobody,
/// as the operator was killed meanwhile, the API server wrote 504 into its log, and the pod is deleted or not: such a
/// request counts where no other one was answered.
fn deletions(requests: &[Request]) -> Vec<&str> {
    let of_agents = |code: u16| {
        requests
            .iter()
            .filter(|r| r.user == operator() && r.verb == "delete" && r.resource == "pods")
            .filter(move |r| r.namespace == PLUGINS && r.code == code)
            .map(|r| r.name.as_str())
    };
    let mut deleted: Vec<&str> = of_agents(200).collect();
    for broken_off in of_agents(504) {
        if !deleted.contains(&broken_off) {
            deleted.push(broken_off);
        }
    }
    deleted
}

/// Every node has one agent, ready and at the revision that is wanted, which is called good; and none was
/// deleted more than once to get there.
fn replaced_once(
    world: &World,
    before: &BTreeMap<String, (String, String)>,
    requests: &[Request],
) -> anyhow::Result<()> {
    let object = plugin(&world.kubectl)?;
    let status = &object["status"];
    let wanted = status["revision"].as_str().unwrap_or_default();
    ensure!(status["lastGoodRevision"] == wanted, "{status}");
    for node in world.nodes() {
        let here = revision_on(&world.kubectl, &node)?;
        ensure!(
            here == Some((wanted.to_owned(), true)),
            "{node}: {here:?}, want {wanted}"
        );
    }
    let mut deleted = deletions(requests);
    deleted.sort_unstable();
    let mut old: Vec<&str> = before.values().map(|(name, _)| name.as_str()).collect();
    old.sort_unstable();
    ensure!(
        deleted == old,
        "pods deleted: {deleted:?}, want each of the old ones once: {old:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_was_broken_off_counts_where_no_other_was_answered() {
        let request = |(name, code): &(&str, u16)| Request {
            user: operator(),
            pod: String::new(),
            verb: "delete".into(),
            group: String::new(),
            resource: "pods".into(),
            namespace: PLUGINS.into(),
            name: (*name).into(),
            uri: String::new(),
            code: *code,
            allowed_by: String::new(),
        };
        for (requests, deleted) in [
            (&[("a", 200), ("b", 200)][..], &["a", "b"][..]),
            (&[("a", 200), ("a", 200)], &["a", "a"]),
            (&[("a", 504), ("b", 200)], &["b", "a"]),
            (&[("a", 504), ("a", 504)], &["a"]),
            (&[("a", 504), ("a", 200)], &["a"]),
            (&[("a", 409), ("b", 404)], &[]),
        ] {
            let requests: Vec<Request> = requests.iter().map(request).collect();
            assert_eq!(deletions(&requests), deleted, "{requests:?}");
        }
    }
}
