//! What uses most, as people ask through the API server's proxy of Services: whom it is told, and that it is what the
//! kubelets say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::kubelet::kubelet_readings;
use super::totals::{NAMESPACE, PATIENT, REPLICAS};
use crate::kubectl::Kubectl;
use crate::product::SYSTEM;
use crate::progress::await_some;
use crate::truth;
use crate::world::World;

/// What each replica uses, by its limit.
const MILLICORES: f64 = 40.0;
/// What one sample of some seconds may differ by from that.
const PART: f64 = 0.25;
/// What a pod's memory may differ by from its containers', between a look of the kubelet's and one of ours: its pause
/// container, and what is touched meanwhile.
const LITTLE_MEMORY: f64 = 2.0 * 1024.0 * 1024.0;
/// An answer that has to be found out takes two intervals, and reviews.
const ANSWER: Duration = Duration::from_secs(40);

const PEOPLE: &str = r#"apiVersion: v1
kind: Namespace
metadata: {name: askers}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer, namespace: askers}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: askers}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: askers-view}
rules:
  - {apiGroups: [metrics.k8s.io], resources: [pods, nodes], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: askers-view}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: askers-view}
subjects:
  - {kind: ServiceAccount, name: viewer, namespace: askers}
"#;

/// `kubectl proxy`, which speaks to the API server as an administrator and passes other headers on.
struct Proxy {
    child: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Proxy {
    fn start(kubectl: &Kubectl) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("api");
        let option = format!("--unix-socket={}", socket.display());
        let child = kubectl
            .prepared(&["proxy", &option])
            .stdout(Stdio::null())
            .spawn()?;
        let proxy = Self {
            child,
            socket,
            _directory: directory,
        };
        await_some("kubectl proxy", PATIENT, || {
            let connected = UnixStream::connect(&proxy.socket);
            Ok(connected.map(drop).map_err(|error| error.to_string()))
        })?;
        Ok(proxy)
    }

    /// Asks with this token: status and answer.
    fn ask(&self, query: &str, token: Option<&str>) -> anyhow::Result<(u16, Value)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let path = format!(
            "/api/v1/namespaces/{SYSTEM}/services/https:scope-totals:exchange/proxy/v1/top?{query}"
        );
        let header = token.map_or_else(String::new, |token| {
            format!("X-Scope-Token: Bearer {token}\r\n")
        });
        // Of this version an answer ends with its connection, and is in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        let body = serde_json::from_str(body).with_context(|| format!("{head}: {body}"))?;
        Ok((status, body))
    }

    /// The answer, which is to be one. Who asks too often waits.
    fn told(&self, query: &str, token: &str) -> anyhow::Result<Value> {
        await_some(&format!("what uses most, {query}"), PATIENT, || {
            let (status, body) = self.ask(query, Some(token))?;
            match status {
                200 => Ok(Ok(body)),
                429 | 503 => Ok(Err(body.to_string())),
                _ => anyhow::bail!("{query}: {status} {body}"),
            }
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token of one of the accounts, for scope-totals alone or for the API server.
fn token(kubectl: &Kubectl, account: &str, audience: Option<&str>) -> anyhow::Result<String> {
    let mut args = vec!["create", "token", account, "-n", "askers"];
    args.extend(audience.map(|_| "--audience"));
    args.extend(audience);
    Ok(kubectl.ok(&args)?.trim().to_owned())
}

const OURS: Option<&str> = Some("scope-totals");

/// Nobody is told anything without a token, or without the right of `kubectl top`.
pub(super) fn is_guarded(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    kubectl.apply(PEOPLE)?;
    let proxy = Proxy::start(&kubectl)?;
    let viewer = token(&kubectl, "viewer", OURS)?;
    let query = "of=controllers&namespace=scope-plugins&plugin=node-metrics";
    let told = await_some(
        "a DaemonSet of agents among those that use most",
        PATIENT,
        || {
            let told = proxy.told(query, &viewer)?;
            let has_one = told["rows"].as_array().is_some_and(|rows| !rows.is_empty());
            Ok(if has_one {
                Ok(told)
            } else {
                Err(told.to_string())
            })
        },
    )?;
    ensure!(told["rows"][0]["kind"] == "DaemonSet", "{told}");
    // With that with which they speak to the API server it goes as well.
    proxy.told(query, &token(&kubectl, "viewer", None)?)?;
    let elsewhere = token(&kubectl, "viewer", Some("somewhere"))?;
    let nobody = token(&kubectl, "nobody", OURS)?;
    for (what, query, token, status, words) in [
        ("no token", query, None, 401, "x-scope-token"),
        (
            "no token of this cluster",
            query,
            Some("abc"),
            401,
            "does not accept",
        ),
        (
            "for somebody else",
            query,
            Some(&*elsewhere),
            401,
            "does not accept",
        ),
        (
            "no right",
            query,
            Some(&*nobody),
            403,
            "may not list pods of metrics.k8s.io in the namespace",
        ),
        (
            "no right to nodes",
            "of=nodes",
            Some(&*nobody),
            403,
            "may not list nodes of metrics.k8s.io",
        ),
        (
            "no question",
            "of=images",
            Some(&*viewer),
            400,
            "ask of pods",
        ),
    ] {
        let (got, body) = proxy.ask(query, token)?;
        let message = body["message"].as_str().unwrap_or_default();
        ensure!(
            got == status && message.contains(words),
            "{what}: {got} {body}"
        );
        eprintln!("    {what}: {got}, {message}");
    }
    kubectl.ok(&["delete", "clusterrolebinding,clusterrole", "askers-view"])?;
    kubectl.ok(&["delete", "namespace", "askers"]).map(drop)
}

/// Of the Deployment whose totals were true before: the Deployment and its pods use what the kubelets say, and the nodes
/// are there.
pub(super) fn is_true(world: &mut World) -> anyhow::Result<()> {
    let kubectl = world.kubectl.clone();
    kubectl.apply(PEOPLE)?;
    let proxy = Proxy::start(&kubectl)?;
    let viewer = token(&kubectl, "viewer", OURS)?;
    let of_controllers = format!("of=controllers&namespace={NAMESPACE}&plugin=node-metrics");
    let total = await_some("a total of all pods", PATIENT, || {
        let told = proxy.told(&of_controllers, &viewer)?;
        let row = told["rows"][0].clone();
        Ok(
            match row["counted"] == REPLICAS && row["pods"] == REPLICAS {
                true => Ok(row),
                false => Err(told.to_string()),
            },
        )
    })?;
    ensure!(
        total["name"] == "busy" && total["kind"] == "Deployment",
        "{total}"
    );
    is_near("the Deployment", &total, MILLICORES * REPLICAS as f64, PART)?;

    let pods = truth::pods_in(&kubectl, NAMESPACE)?;
    let wanted: BTreeSet<_> = pods
        .iter()
        .map(|pod| (pod.name.clone(), pod.uid.clone(), pod.node.clone()))
        .collect();
    let all = world.nodes().len();
    for (metric, name) in [("cpu_millicores", "CPU"), ("docker_memory_usage", "memory")] {
        let query = format!("of=pods&namespace={NAMESPACE}&plugin=node-metrics&metric={metric}");
        let told = await_some(&format!("{name} of pods by all nodes"), PATIENT, || {
            let told = proxy.told(&query, &viewer)?;
            let answered = told["nodes"]["answered"] == all && told["nodes"]["of"] == all;
            Ok(if answered {
                Ok(told)
            } else {
                Err(told.to_string())
            })
        })?;
        let rows = told["rows"].as_array().context("rows")?;
        let word = |value: &'static str| move |row: &Value| row[value].as_str().map(str::to_owned);
        let (name_of, uid_of, node_of) = (word("name"), word("uid"), word("node"));
        let found: BTreeSet<_> = rows
            .iter()
            .filter_map(|row| Some((name_of(row)?, uid_of(row)?, node_of(row)?)))
            .collect();
        ensure!(found == wanted, "{told} is not of {wanted:?}");
        let values: Vec<f64> = rows
            .iter()
            .filter_map(|row| row["value"].as_f64())
            .collect();
        ensure!(values.is_sorted_by(|one, other| one >= other), "{values:?}");
        match metric {
            "cpu_millicores" => {
                for row in rows {
                    is_near("a pod", row, MILLICORES, PART)?;
                }
            }
            _ => as_the_kubelets_say(&kubectl, rows)?,
        }
        eprintln!("    {name} of the pods: {values:?}");
    }

    let told = proxy.told("of=nodes&plugin=node-metrics", &viewer)?;
    let rows = told["rows"].as_array().context("rows")?;
    let nodes: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| row["name"].as_str().map(str::to_owned))
        .collect();
    let all: BTreeSet<String> = world.nodes().into_iter().collect();
    ensure!(nodes == all, "{told}");
    kubectl.ok(&["delete", "clusterrolebinding,clusterrole", "askers-view"])?;
    kubectl.ok(&["delete", "namespace", "askers"]).map(drop)
}

fn is_near(what: &str, row: &Value, wanted: f64, part: f64) -> anyhow::Result<()> {
    let value = row["value"].as_f64().context("a value")?;
    ensure!(
        (value - wanted).abs() <= wanted * part,
        "{what} uses {value}, want {wanted}: {row}"
    );
    Ok(())
}

/// The memory of each pod is that of its containers as the kubelet of its node has it.
fn as_the_kubelets_say(kubectl: &Kubectl, rows: &[Value]) -> anyhow::Result<()> {
    let nodes: BTreeSet<_> = rows.iter().filter_map(|row| row["node"].as_str()).collect();
    // A reading is told where two of the kubelet's answers agree on it, which they do not just when it looks anew.
    let theirs = await_some("a reading of each pod", PATIENT, || {
        let mut theirs: BTreeMap<String, f64> = BTreeMap::new();
        for node in &nodes {
            for (container, reading) in kubelet_readings(kubectl, node, NAMESPACE)? {
                let pod = container.split('/').next().unwrap_or_default();
                *theirs.entry(pod.to_owned()).or_default() += reading.memory;
            }
        }
        Ok(match theirs.len() == rows.len() {
            true => Ok(theirs),
            false => Err(format!("{theirs:?}")),
        })
    })?;
    for row in rows {
        let (name, ours) = (row["name"].as_str(), row["value"].as_f64());
        let (name, ours) = (name.context("a name")?, ours.context("a value")?);
        let kubelet = theirs
            .get(name)
            .with_context(|| format!("the kubelet does not know {name}"))?;
        ensure!(
            (ours - kubelet).abs() <= LITTLE_MEMORY,
            "{name} uses {ours} bytes, the kubelet says {kubelet}"
        );
    }
    Ok(())
}
