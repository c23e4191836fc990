//! Pods that stand in for Scope's probe where the nodes' sockets cannot be reached from outside.
//!
//! Nobody gets into a running agent, so it cannot be asked by `kubectl exec`. But whoever may mount the
//! plugin directory can ask, as Scope's probe does. The agent's own image has the program for that and
//! nothing to keep a container waiting, so each question is a pod of its own, whose log is the answer.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::progress::await_some;

/// The namespace of these pods.
pub(super) const PROBES: &str = "demo-probe";
/// Where the chart has the sockets, which is where Scope's probe looks.
const DIRECTORY: &str = "/var/run/scope/plugins";
/// A pod that has not asked within this time will not.
const PATIENCE: Duration = Duration::from_secs(90);

/// The namespace: mounting a directory of the host is for the level `privileged` alone.
pub(super) fn namespace() -> String {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": PROBES, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
    })
    .to_string()
}

/// Asks on behalf of a probe.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// Rounds of questions so far.
    rounds: usize,
}

/// What a question came to.
#[derive(Debug)]
pub(super) struct Reply {
    /// Whether the program ended well.
    pub(super) well: bool,
    /// What it printed.
    pub(super) text: String,
}

impl Asker {
    /// Runs `scope-agent` with these arguments on each of these nodes, all at a time.
    ///
    /// # Errors
    /// When a pod cannot be made or does not run.
    pub(super) fn ask(
        &mut self,
        kubectl: &Kubectl,
        image: &Value,
        nodes: &[String],
        arguments: &[&str],
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Reply>> {
        self.rounds += 1;
        let round = self.rounds.to_string();
        let pods: Vec<Value> = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| pod(&round, at, node, image, arguments))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
        let output = kubectl.pipe(&["create", "-f", "-"], &list.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("the pods that ask the agents are refused: {}", said.trim());
        }
        let selector = format!("round={round}");
        let ended = await_some("pods that ask the agents", PATIENCE, || {
            go_on()?;
            let list = kubectl.json(&["get", "pods", "-n", PROBES, "-l", &selector])?;
            Ok(ended(&list, nodes.len()))
        })?;
        let mut replies = Vec::new();
        for (at, pod) in ended.iter().enumerate() {
            let said = match &pod.never_ran {
                Some(why) => bail!("{} could not be asked: {why}", nodes[at]),
                None => kubectl.ok(&["logs", "-n", PROBES, &name(&round, at)])?,
            };
            replies.push(Reply {
                well: pod.well,
                text: said,
            });
        }
        kubectl.ok(&[
            "delete",
            "pods",
            "-n",
            PROBES,
            "-l",
            &selector,
            "--wait=false",
        ])?;
        Ok(replies)
    }
}

fn name(round: &str, at: usize) -> String {
    format!("ask-{round}-{at}")
}

/// A pod on this node that runs `scope-agent` once. It is root, to whom alone the sockets are open, and has
/// no capability, since that is enough.
fn pod(round: &str, at: usize, node: &str, image: &Value, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name(round, at), "namespace": PROBES, "labels": {"round": round}},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "seccompProfile": {"type": "RuntimeDefault"},
                // As the agents have it. Ignored on nodes without SELinux.
                "seLinuxOptions": {"type": "spc_t"},
            },
            "containers": [{
                "name": "ask",
                "image": image["image"],
                "imagePullPolicy": image["imagePullPolicy"],
                "args": arguments,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [{"name": "plugins", "mountPath": DIRECTORY, "readOnly": true}],
            }],
            "volumes": [{"name": "plugins", "hostPath": {"path": DIRECTORY, "type": "Directory"}}],
        },
    })
}

/// How a pod that asks ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    well: bool,
    /// Why its container was not even started, as where a node has no room.
    never_ran: Option<String>,
}

/// How all of them ended, in the order of their names; before that, how many have.
fn ended(list: &Value, wanted: usize) -> Result<Vec<Ended>, String> {
    let mut pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    let number = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        name.rsplit('-')
            .next()
            .and_then(|n| n.parse::<usize>().ok())
    };
    pods.sort_by_key(|pod| number(pod));
    let ended: Vec<Ended> = pods.into_iter().filter_map(how_it_ended).collect();
    match ended.len() == wanted {
        true => Ok(ended),
        false => Err(format!("{} of {wanted} have asked", ended.len())),
    }
}

fn how_it_ended(pod: &Value) -> Option<Ended> {
    let status = &pod["status"];
    match status["phase"].as_str()? {
        "Succeeded" => Some(Ended {
            well: true,
            never_ran: None,
        }),
        "Failed" => {
            let exit = &status["containerStatuses"][0]["state"]["terminated"]["exitCode"];
            let why = status["message"].as_str().or(status["reason"].as_str());
            Some(Ended {
                well: false,
                never_ran: exit
                    .is_null()
                    .then(|| why.unwrap_or("its pod failed").to_owned()),
            })
        }
        _ => None,
    }
}

/// The agent's image and pull policy as its DaemonSet has them.
pub(super) fn image(kubectl: &Kubectl, namespace: &str) -> anyhow::Result<Value> {
    let list = kubectl.json(&["get", "daemonsets", "-n", namespace])?;
    let container = list.pointer("/items/0/spec/template/spec/containers/0");
    container
        .cloned()
        .context("the agents' DaemonSet, which has the image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_have_ended_when_all_have() {
        let pod = |name: &str, status: Value| json!({"metadata": {"name": name}, "status": status});
        let well = pod("ask-1-10", json!({"phase": "Succeeded"}));
        let refused = pod(
            "ask-1-2",
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}),
        );
        let full = pod("ask-1-0", json!({"phase": "Failed", "message": "no room"}));
        let running = pod("ask-1-1", json!({"phase": "Running"}));
        let told = ended(&json!({"items": [well, refused, full]}), 3).expect("all ended");
        assert_eq!(
            told.iter().map(|e| e.well).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(told[0].never_ran.as_deref(), Some("no room"));
        assert_eq!(told[1].never_ran, None);
        assert_eq!(
            ended(&json!({"items": [running]}), 1),
            Err("0 of 1 have asked".to_owned())
        );
    }
}
