//! A cluster that stands still: nodes, each with as many pods, every pod of another controller, and each controller
//! with a Service unless there are none.

use scope_totals_wire::Uid;
use serde_json::{Value, json};
use totals_bench::api::Objects;

/// Pods of a controller, each on another node.
const REPLICAS: usize = 20;

/// How large it is.
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    pods_of_node: usize,
    /// Whether there are Services.
    pub(crate) services: bool,
    /// What a real pod has besides, about 5 KB.
    rest: Value,
}

impl Cluster {
    pub(crate) fn new(nodes: usize, pods_of_node: usize, services: bool) -> Self {
        let env =
            |number: usize| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(60)});
        let env: Vec<Value> = (0..40).map(env).collect();
        Self {
            nodes,
            pods_of_node,
            services,
            rest: json!([{"name": "c", "image": "registry.example/some/image:1.2.3", "env": env}]),
        }
    }

    pub(crate) fn pods(&self) -> usize {
        self.nodes * self.pods_of_node
    }

    pub(crate) fn controllers(&self) -> usize {
        self.pods().div_ceil(REPLICAS)
    }

    pub(crate) fn node(number: usize) -> String {
        format!("node-{number}.example.internal")
    }

    /// The controllers of a node's pods. Those of one controller are on neighbouring nodes.
    pub(crate) fn controllers_of(&self, node: usize) -> impl Iterator<Item = usize> {
        let stride = self.nodes;
        (0..self.pods_of_node).map(move |slot| (slot * stride + node) / REPLICAS)
    }

    pub(crate) fn pods_of(&self, controller: usize) -> usize {
        (self.pods() - controller * REPLICAS).min(REPLICAS)
    }

    pub(crate) fn uid(kind: u8, number: usize) -> Uid {
        let mut bytes = [kind; 16];
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        Uid::from_bytes(bytes)
    }
}

impl Objects for Cluster {
    fn object(&self, kind: &str, number: usize) -> Value {
        match kind {
            "nodes" => json!({"metadata": {"name": Self::node(number), "resourceVersion": "1"}}),
            "namespaces" => json!({"metadata": {
                "name": "apps", "resourceVersion": "1", "uid": Self::uid(4, 0),
            }}),
            "deployments" => json!({"metadata": {
                "name": format!("some-service-{number}"), "namespace": "apps", "resourceVersion": "1",
                "uid": Self::uid(1, number),
            }}),
            "replicasets" => json!({"metadata": {
                "name": format!("app-{number}"), "namespace": "apps", "resourceVersion": "1",
                "uid": Self::uid(2, number),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "app",
                    "uid": Self::uid(1, number), "controller": true}],
            }}),
            "services" => json!({"metadata": {
                "name": format!("some-service-{number}"), "namespace": "apps", "resourceVersion": "1",
                "uid": Self::uid(5, number),
            }}),
            "endpointslices" => {
                let first = number * REPLICAS;
                let pods = first..first + self.pods_of(number);
                let endpoint = |pod: usize| {
                    json!({
                        "addresses": ["10.0.0.1"], "nodeName": Self::node(pod % self.nodes),
                        "conditions": {"ready": true, "serving": true, "terminating": false},
                        "targetRef": {"kind": "Pod", "namespace": "apps",
                            "name": format!("app-{number}-{pod}"), "uid": Self::uid(3, pod)},
                    })
                };
                json!({
                    "metadata": {
                        "name": format!("some-service-{number}-x"), "namespace": "apps",
                        "uid": Self::uid(6, number), "resourceVersion": "1",
                        "labels": {"kubernetes.io/service-name": format!("some-service-{number}")},
                        "ownerReferences": [{"apiVersion": "v1", "kind": "Service",
                            "name": format!("some-service-{number}"), "uid": Self::uid(5, number),
                            "controller": true}],
                    },
                    "addressType": "IPv4",
                    "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
                })
            }
            _ => {
                let (slot, node) = (number / self.nodes, number % self.nodes);
                let controller = (slot * self.nodes + node) / REPLICAS;
                json!({
                    "metadata": {
                        "name": format!("app-{controller}-{number}"), "namespace": "apps",
                        "uid": Self::uid(3, number), "resourceVersion": "1",
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                            "name": "app", "uid": Self::uid(2, controller), "controller": true}],
                    },
                    "spec": {"nodeName": Self::node(node), "containers": self.rest},
                    "status": {"phase": "Running"},
                })
            }
        }
    }

    fn count(&self, kind: &str) -> usize {
        match kind {
            "nodes" => self.nodes,
            "namespaces" => 1,
            "services" | "endpointslices" if !self.services => 0,
            "deployments" | "replicasets" | "services" | "endpointslices" => self.controllers(),
            "pods" => self.pods(),
            _ => 0,
        }
    }
}
