//! Which containers may be touched: pure rules with words for the person who clicked.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_crds::Control;

use super::arguments::Arguments;
use crate::inventory::Inventory;

/// What Kubernetes takes where a pod does not say.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Nobody waits longer for an answer to SIGTERM. (The API takes any number of seconds, and a time must
/// not run over.)
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// What the plugin's settings say about containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Namespaces in which nothing is touched.
    pub protected: BTreeSet<String>,
    /// The namespace of the plugins themselves.
    pub own_namespace: String,
    /// How many containers of this node may be restarted or frozen within a minute.
    pub per_minute: usize,
}

/// A container of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The 64-hex ID.
    pub container: String,
    /// Its name in the pod.
    pub name: String,
    /// UID of the pod, by which its cgroup is named too.
    pub pod_uid: String,
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// How long it gets between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Target {
            name,
            namespace,
            pod,
            ..
        } = self;
        write!(f, "container {name} of pod {namespace}/{pod}")
    }
}

/// Why a container is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not one of this node's, or not any more.
    #[error(
        "no container {short} runs on this node (any more): it has ended, or Scope sent the click \
         to another node's agent. Look at the pod again"
    )]
    Unknown {
        /// The begin of its ID.
        short: String,
    },
    /// It belongs to the plugins.
    #[error("{target} is not touched: the namespace {} belongs to the Scope plugins themselves", target.namespace)]
    OwnNamespace {
        /// Which.
        target: Box<Target>,
    },
    /// Its namespace is protected.
    #[error(
        "{target} is not touched: the namespace {} is protected (spec.agent.protectedNamespaces)",
        target.namespace
    )]
    Protected {
        /// Which.
        target: Box<Target>,
    },
    /// The kubelet runs it from a file.
    #[error("{target} is not touched: it is of a static pod, on which the node itself may depend")]
    Static {
        /// Which.
        target: Box<Target>,
    },
    /// It would be killed for not answering.
    #[error(
        "{target} is not frozen: it has a liveness probe, so that the kubelet would kill it for not \
         answering. The argument force=true freezes it all the same"
    )]
    Liveness {
        /// Which.
        target: Box<Target>,
    },
}

/// The container that was clicked, if it may be touched.
pub fn judge(
    inventory: &Inventory,
    id: &str,
    control: Control,
    arguments: Arguments,
    rules: &Rules,
) -> Result<Target, Refusal> {
    let found = inventory
        .pods
        .values()
        .find_map(|pod| Some((pod, pod.containers.get(id)?)));
    let Some((pod, container)) = found else {
        return Err(Refusal::Unknown {
            short: id.chars().take(12).collect(),
        });
    };
    let target = Target {
        container: id.to_owned(),
        name: container.name.clone(),
        pod_uid: pod.id.clone(),
        pod: pod.name.clone(),
        namespace: pod.namespace.clone(),
        grace: pod.grace.unwrap_or(DEFAULT_GRACE).min(MAX_GRACE),
    };
    if pod.namespace == rules.own_namespace {
        return Err(Refusal::OwnNamespace {
            target: target.into(),
        });
    }
    if rules.protected.contains(&pod.namespace) {
        return Err(Refusal::Protected {
            target: target.into(),
        });
    }
    if pod.mirror {
        return Err(Refusal::Static {
            target: target.into(),
        });
    }
    if control == Control::FreezeContainer && container.liveness && !arguments.force {
        return Err(Refusal::Liveness {
            target: target.into(),
        });
    }
    Ok(target)
}
