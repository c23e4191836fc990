//! The node of the idle processes as the API server knows it: each of its pods belongs to a Deployment,
//! all of whose pods are here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use totals_bench::api::Objects;

use crate::population::{Population, container_id};

/// The containers of each pod, of an image each.
pub(crate) const CONTAINERS: [&str; 2] = ["server", "proxy"];

/// Its name.
pub(crate) const NODE: &str = "bench-node.example.internal";
const NAMESPACE: &str = "shop";

/// The pods, each with how many processes it has.
pub(crate) struct Node {
    pods: Vec<(String, usize)>,
    replicas: usize,
}

/// What there is of a Deployment.
pub(crate) struct Deployed {
    pub(crate) pods: usize,
    /// Of all of them together.
    pub(crate) processes: usize,
}

impl Node {
    /// With so many pods of each Deployment; the last may have fewer.
    pub(crate) fn new(population: &Population, replicas: usize) -> Self {
        Node {
            pods: population.pods.clone(),
            replicas,
        }
    }

    /// What there is of each Deployment, by its UID.
    pub(crate) fn deployments(&self) -> BTreeMap<String, Deployed> {
        let of_one = self.pods.chunks(self.replicas).enumerate();
        let deployed = |pods: &[(String, usize)]| Deployed {
            pods: pods.len(),
            processes: pods.iter().map(|(_, processes)| processes).sum(),
        };
        of_one
            .map(|(number, pods)| (deployment(number), deployed(pods)))
            .collect()
    }

    fn pod(&self, number: usize) -> Value {
        let (uid, _) = &self.pods[number];
        let owner = number / self.replicas;
        let image = |name: &str| format!("registry.example/shop/{name}:1.2.3");
        let containers = CONTAINERS.map(|name| json!({"name": name, "image": image(name)}));
        let statuses = [0, 1].map(|n| {
            json!({
                "name": CONTAINERS[n], "image": image(CONTAINERS[n]),
                "imageID": format!("registry.example/shop/{}@sha256:{n:064x}", CONTAINERS[n]),
                "containerID": format!("containerd://{}", container_id(number, n)),
                "ready": true, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-01T10:00:00Z"}},
            })
        });
        json!({
            "metadata": {
                "name": format!("{}-{number:05}", replica_set_name(owner)),
                "namespace": NAMESPACE, "uid": uid, "resourceVersion": "1",
                "labels": {"app.kubernetes.io/name": deployment_name(owner)},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": replica_set_name(owner), "uid": replica_set(owner),
                }],
            },
            "spec": {"nodeName": NODE, "containers": containers},
            "status": {
                "phase": "Running", "podIP": format!("10.1.0.{}", number % 250 + 1),
                "startTime": "2026-11-01T10:00:00Z", "containerStatuses": statuses,
            },
        })
    }
}

impl Objects for Node {
    fn count(&self, kind: &str) -> usize {
        match kind {
            "nodes" | "namespaces" => 1,
            "deployments" | "replicasets" => self.pods.len().div_ceil(self.replicas),
            "pods" => self.pods.len(),
            _ => 0,
        }
    }

    fn object(&self, kind: &str, number: usize) -> Value {
        let one = |name: &str, uid: &str| {
            json!({"metadata": {
                "name": name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": "1",
            }})
        };
        match kind {
            "pods" => self.pod(number),
            "deployments" => one(&deployment_name(number), &deployment(number)),
            "replicasets" => {
                let mut set = one(&replica_set_name(number), &replica_set(number));
                set["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                    "name": deployment_name(number), "uid": deployment(number),
                }]);
                set
            }
            _ => {
                let (name, kind) = match kind {
                    "nodes" => (NODE, 0xe),
                    _ => (NAMESPACE, 0xf),
                };
                json!({"metadata": {
                    "name": name, "uid": uid(kind, number), "resourceVersion": "1",
                }})
            }
        }
    }
}

fn uid(kind: u8, number: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{number:012x}")
}

fn deployment(number: usize) -> String {
    uid(0xd, number)
}

fn replica_set(number: usize) -> String {
    uid(0xc, number)
}

fn deployment_name(number: usize) -> String {
    format!("service-{number}")
}

fn replica_set_name(number: usize) -> String {
    format!("service-{number}-7d9c5b6f4")
}
