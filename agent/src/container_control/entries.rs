//! What is so until its time is over, and stands in a file until then.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::traffic;

/// What is so until its time is over.
pub(super) trait Entry: Clone + Serialize + DeserializeOwned {
    /// The file in the plugin's directory. Scope's probe looks for sockets only.
    const FILE: &'static str;
    /// What stands in it, for log lines.
    const WHAT: &'static str;
    /// When its time is over, in milliseconds of the boot clock.
    fn until(&mut self) -> &mut u64;
    /// Whether it, and what it goes by, can be ours: both go into records and log lines.
    fn fits(&self, key: &str) -> bool;
}

/// A frozen container; it goes by its ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frozen {
    /// UID of its pod.
    pub(super) pod_uid: String,
    /// The pod's namespace.
    pub(super) namespace: String,
    /// The pod's name.
    pub(super) pod: String,
    /// Its name in the pod.
    pub(super) name: String,
    /// When it thaws, in milliseconds of the boot clock.
    pub(super) until_ms: u64,
}

/// A pod whose traffic is shaped; it goes by the pod's ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shaped {
    /// The pod's namespace.
    pub(super) namespace: String,
    /// The pod's name.
    pub(super) pod: String,
    /// The container that was clicked.
    pub(super) container: String,
    /// Its name in the pod.
    pub(super) name: String,
    /// The network that was shaped: a pod gets a new one when its sandbox is made again.
    pub(super) network: traffic::Identity,
    /// Until when, in milliseconds of the boot clock.
    pub(super) until_ms: u64,
}

impl Entry for Frozen {
    const FILE: &'static str = "frozen.json";
    const WHAT: &'static str = "frozen containers";

    fn until(&mut self) -> &mut u64 {
        &mut self.until_ms
    }

    fn fits(&self, key: &str) -> bool {
        let Frozen {
            pod_uid,
            namespace,
            pod,
            name,
            ..
        } = self;
        is_container_id(key) && are_names(pod_uid, namespace, pod, name)
    }
}

impl Entry for Shaped {
    const FILE: &'static str = "shaped.json";
    const WHAT: &'static str = "pods with shaped traffic";

    fn until(&mut self) -> &mut u64 {
        &mut self.until_ms
    }

    fn fits(&self, key: &str) -> bool {
        let Shaped {
            namespace,
            pod,
            container,
            name,
            ..
        } = self;
        is_container_id(container) && are_names(key, namespace, pod, name)
    }
}

/// Whether these can be a pod's UID and names of Kubernetes.
fn are_names(uid: &str, namespace: &str, pod: &str, container: &str) -> bool {
    let name = |text: &str, max: usize| {
        (1..=max).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    name(uid, 64) && name(namespace, 63) && name(pod, 253) && name(container, 63)
}

/// 64 hex digits in lower case, as every runtime names containers.
pub(crate) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
