//! Objects as the API server would send them.

use serde_json::{Value, json};

pub(crate) const NODE: &str = "node-1.example.org";

pub(crate) fn pod(uid: &str, namespace: &str, owner: Option<(&str, &str)>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": uid, "namespace": namespace, "uid": uid, "resourceVersion": "10"},
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running"}});
    if let Some((kind, name)) = owner {
        let api = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind,
            "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    }
    pod
}

pub(crate) fn list(pods: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "100"},
           "items": pods})
}

pub(crate) fn meta(uid: &str, owner: Option<(&str, &str)>) -> Value {
    let mut object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "x", "uid": uid}});
    if let Some((kind, name)) = owner {
        let api = if kind == "CronJob" {
            "batch/v1"
        } else {
            "apps/v1"
        };
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind,
            "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    }
    object
}

/// The status of a container that runs under an ID made of this character.
pub(crate) fn running(name: &str, id: char) -> Value {
    json!({"name": name, "containerID": container_id(id),
        "state": {"running": {"startedAt": "2026-11-23T01:00:00Z"}}})
}

/// As a status names it.
pub(crate) fn container_id(id: char) -> String {
    format!("containerd://{}", id.to_string().repeat(64))
}

/// What a kubelet puts into the API server for a static pod.
pub(crate) fn mirror(uid: &str, hash: &str) -> Value {
    let mut pod = pod(uid, "kube-system", None);
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash});
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node",
        "name": NODE, "uid": "uid-node", "controller": true}]);
    pod
}
