//! A cluster: nodes, each with as many pods, every pod of another controller, and each controller with a Service unless
//! there are none; perhaps with images of their own, too. One of its pods is to be gone, later and later, so that there
//! is always something new of pods, as there is in a large cluster, and what is known beforehand of their totals stays.

use scope_totals_wire::{Uid, image_uid};
use serde_json::{Value, json};
use totals_bench::api::Objects;

/// Pods of a controller, each on another node.
const REPLICAS: usize = 20;

/// How large it is.
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    pub(crate) pods_of_node: usize,
    /// Whether there are Services.
    pub(crate) services: bool,
    /// Whether the images of containers are told.
    pub(crate) images: bool,
    /// What a real pod has besides, about 5 KB.
    rest: Value,
}

impl Cluster {
    pub(crate) fn new(nodes: usize, pods_of_node: usize, services: bool, images: bool) -> Self {
        let env =
            |number: usize| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(60)});
        let env: Vec<Value> = (0..40).map(env).collect();
        Self {
            nodes,
            pods_of_node,
            services,
            images,
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

    /// What the totals of a node's images go by, in the order of its controllers.
    pub(crate) fn images_of(&self, node: usize) -> Vec<Uid> {
        let mine = self.controllers_of(node).filter(|_| self.images);
        mine.map(|controller| image_uid(&image(controller)))
            .collect()
    }

    /// The same for the image that all pods have besides.
    pub(crate) fn common_image() -> Uid {
        image_uid(COMMON)
    }

    pub(crate) fn uid(kind: u8, number: usize) -> Uid {
        let mut bytes = [kind; 16];
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        Uid::from_bytes(bytes)
    }
}

const COMMON: &str = "registry.example/mesh/proxy:1.2.3";

fn image(controller: usize) -> String {
    format!("registry.example/apps/app-{controller}:1.2.3")
}

/// The status of a container that runs.
fn status_of(name: &str, image: &str) -> Value {
    json!({
        "name": name, "image": image, "imageID": format!("sha256:{image}"),
        "state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}},
        "containerID": "containerd://0", "ready": true, "restartCount": 0, "started": true,
    })
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
                let mut containers = self.rest.clone();
                let mut status = json!({"phase": "Running"});
                if self.images {
                    let own = image(controller);
                    containers[0]["image"] = own.as_str().into();
                    status["containerStatuses"] =
                        json!([status_of("c", &own), status_of("mesh", COMMON)]);
                }
                json!({
                    "metadata": {
                        "name": format!("app-{controller}-{number}"), "namespace": "apps",
                        "uid": Self::uid(3, number), "resourceVersion": "1",
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                            "name": "app", "uid": Self::uid(2, controller), "controller": true}],
                    },
                    "spec": {"nodeName": Self::node(node), "containers": containers},
                    "status": status,
                })
            }
        }
    }

    fn changed(&self, kind: &str, changes: u64) -> Option<Value> {
        let mut pod = (kind == "pods").then(|| self.object(kind, 0))?;
        let seconds = jiff::SignedDuration::from_secs(3600 + changes as i64);
        pod["metadata"]["deletionTimestamp"] =
            (jiff::Timestamp::now() + seconds).to_string().into();
        pod["metadata"]["resourceVersion"] = (1 + changes).to_string().into();
        Some(pod)
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
