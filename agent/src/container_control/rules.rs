//! Which containers may be touched: pure rules with words for the person who clicked.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_crds::Control;

use super::arguments::Arguments;
use crate::inventory::{Inventory, Pod};

/// What Kubernetes takes where a pod does not say.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Nobody waits longer for an answer to SIGTERM. (The API takes any number of seconds, and a time must
/// not run over.)
const MAX_GRACE: Duration = Duration::from_secs(24 * 3600);

/// The pods whose containers are never touched, whoever asks and with what arguments. Their containers
/// have no buttons of ours, and a click on one that comes all the same is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparedPods {
    /// Namespaces in which nothing is touched.
    pub protected: BTreeSet<String>,
    /// The namespace of the plugins themselves.
    pub own_namespace: String,
}

/// Why a pod's containers are never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// They belong to the plugins.
    OwnNamespace,
    /// Their namespace is protected.
    Protected,
    /// The kubelet runs them from a file.
    Static,
}

impl SparedPods {
    /// Why this one is spared, if it is.
    pub fn why(&self, pod: &Pod) -> Option<Spared> {
        if pod.namespace == self.own_namespace {
            Some(Spared::OwnNamespace)
        } else if self.protected.contains(&pod.namespace) {
            Some(Spared::Protected)
        } else {
            pod.mirror.then_some(Spared::Static)
        }
    }
}

/// What the plugin's settings say about containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What is never touched.
    pub spared: SparedPods,
    /// How many containers of this node may be restarted, frozen or shaped within a minute.
    pub per_minute: usize,
    /// The longest that the traffic of a pod may be shaped.
    pub longest_shaping: Duration,
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
    /// It has no network of its own.
    #[error(
        "the traffic of {target} is not touched: its pod is on the node's own network (hostNetwork), so that \
         the whole node would be hit"
    )]
    HostNetwork {
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
    /// It would not come back.
    #[error(
        "{target} is not restarted: its restart policy is Never, so that the kubelet would not start it \
         again. The argument force=true ends it all the same"
    )]
    RunsOnce {
        /// Which.
        target: Box<Target>,
    },
    /// It would be killed for not getting ready in time.
    #[error(
        "{target} is not frozen: its startup probe has not succeeded yet, so that the kubelet would \
         kill it for not starting in time. Click again when it has started; the argument force=true \
         freezes it all the same"
    )]
    Starting {
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
    if let Some(spared) = rules.spared.why(pod) {
        let target = target.into();
        return Err(match spared {
            Spared::OwnNamespace => Refusal::OwnNamespace { target },
            Spared::Protected => Refusal::Protected { target },
            Spared::Static => Refusal::Static { target },
        });
    }
    if control == Control::ShapeTraffic && pod.host_network {
        return Err(Refusal::HostNetwork {
            target: target.into(),
        });
    }
    if control == Control::RestartContainer && container.runs_once && !arguments.force {
        return Err(Refusal::RunsOnce {
            target: target.into(),
        });
    }
    if control == Control::FreezeContainer && !arguments.force {
        // The probe that stays is named first.
        if container.liveness {
            return Err(Refusal::Liveness {
                target: target.into(),
            });
        }
        if container.starting {
            return Err(Refusal::Starting {
                target: target.into(),
            });
        }
    }
    Ok(target)
}
