//! Node objects as a kubelet registers them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::said::{condition, now};

/// How the nodes shall be.
#[derive(Debug, Clone)]
pub struct Profile {
    /// How many there are at first.
    pub nodes: usize,
    /// They are called by this, a dash and a number from 0.
    pub name: String,
    /// Their labels, beside those of every Linux node and [`Profile::group`].
    pub labels: BTreeMap<String, String>,
    /// From the start of a pod to its readiness.
    pub start: Duration,
    /// From the deletion of a pod to its end.
    pub stop: Duration,
    /// How often each node renews its Lease. Without, the controller manager must be told to wait
    /// long enough (`--node-monitor-grace-period=1h`).
    pub lease: Option<Duration>,
}

impl Profile {
    /// Nodes whose pods are ready after a second and gone after 200 ms, and which renew no Lease.
    pub fn new(nodes: usize) -> Profile {
        Profile {
            nodes,
            name: "hollow".into(),
            labels: BTreeMap::new(),
            start: Duration::from_secs(1),
            stop: Duration::from_millis(200),
            lease: None,
        }
    }

    /// The label that puts a node into a group of ten, for selectors that match few nodes.
    pub const GROUP: &str = "hollow/group";

    /// The value of [`Profile::GROUP`] of node N, counted from 0.
    pub fn group(number: usize) -> String {
        (number / 10).to_string()
    }

    pub(crate) fn node_name(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// Node N, ready.
    pub(crate) fn node(&self, number: usize) -> Value {
        let name = self.node_name(number);
        let mut labels = self.labels.clone();
        labels.extend(
            [
                ("kubernetes.io/os", "linux".to_owned()),
                ("kubernetes.io/arch", "amd64".to_owned()),
                ("kubernetes.io/hostname", name.clone()),
                (Profile::GROUP, Profile::group(number)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let amounts =
            json!({"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"});
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            // Pods that only want to run somewhere are not for these nodes.
            "spec": {"taints": [{"key": "hollow", "effect": "NoSchedule"}]},
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "addresses": [
                    {"type": "InternalIP", "address": address(number)},
                    {"type": "Hostname", "address": name},
                ],
                "nodeInfo": {
                    "architecture": "amd64", "bootID": "0", "containerRuntimeVersion": "hollow://0",
                    "kernelVersion": "0", "kubeProxyVersion": "", "kubeletVersion": "v1.36.3",
                    "machineID": "0", "operatingSystem": "linux", "osImage": "hollow", "systemUUID": "0",
                },
                "conditions": [ready(true)],
            },
        })
    }

    /// The Lease by which node N says that it is there.
    pub(crate) fn lease(&self, number: usize) -> Value {
        let name = self.node_name(number);
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renew_time()},
        })
    }
}

/// The condition Ready of a node.
pub(crate) fn ready(ready: bool) -> Value {
    let (reason, message) = match ready {
        true => ("KubeletReady", "kubelet is posting ready status"),
        false => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
    };
    let mut condition = condition("Ready", ready, reason, message);
    condition["lastHeartbeatTime"] = now().into();
    if !ready {
        condition["status"] = "Unknown".into();
    }
    condition
}

/// Now, in the precision of Leases.
pub(crate) fn renew_time() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

/// An address for node N, or for a pod on it; nothing listens there.
fn address(number: usize) -> String {
    format!("10.200.{}.{}", number / 250 % 250, number % 250 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_apart_and_grouped_in_tens() {
        let profile = Profile::new(2);
        assert_eq!(profile.node(1)["metadata"]["name"], "hollow-1");
        assert_ne!(address(1), address(251));
        let group =
            |number: usize| profile.node(number)["metadata"]["labels"][Profile::GROUP].clone();
        assert_eq!(group(0), group(9));
        assert_ne!(group(9), group(10));
    }

    #[test]
    fn leases_have_microseconds() {
        let time = renew_time();
        assert!(
            time.ends_with('Z') && time.split_once('.').is_some_and(|(_, f)| f.len() == 7),
            "{time}"
        );
    }
}
