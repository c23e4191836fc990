//! The fixed set of topologies that a report has.

use std::fmt;
use std::str::FromStr;

/// One of Scope's topologies. A plugin cannot add another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    missing_docs,
    reason = "the names are Scope's own and speak for themselves"
)]
pub enum Kind {
    Endpoint,
    Process,
    Container,
    ContainerImage,
    Pod,
    Service,
    Deployment,
    ReplicaSet,
    DaemonSet,
    StatefulSet,
    CronJob,
    Namespace,
    Host,
    Overlay,
    EcsTask,
    EcsService,
    SwarmService,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    VolumeSnapshot,
    VolumeSnapshotData,
    Job,
}

/// What is fixed about a topology.
struct Facts {
    kind: Kind,
    /// Key of the topology in a report.
    key: &'static str,
    /// What a node's `topology` says, and the key under `parents`.
    name: &'static str,
    /// Shape, label and plural that every empty report starts with.
    shape: &'static str,
    tag: &'static str,
    label: &'static str,
    plural: &'static str,
}

const fn facts(
    kind: Kind,
    key: &'static str,
    name: &'static str,
    shape: &'static str,
    tag: &'static str,
    label: &'static str,
    plural: &'static str,
) -> Facts {
    Facts {
        kind,
        key,
        name,
        shape,
        tag,
        label,
        plural,
    }
}

/// In the order in which Scope walks them.
#[rustfmt::skip]
const FACTS: [Facts; 23] = [
    facts(Kind::Endpoint, "Endpoint", "endpoint", "", "", "", ""),
    facts(Kind::Process, "Process", "process", "square", "", "process", "processes"),
    facts(Kind::Container, "Container", "container", "hexagon", "", "container", "containers"),
    facts(Kind::ContainerImage, "ContainerImage", "container_image", "hexagon", "", "image", "images"),
    facts(Kind::Pod, "Pod", "pod", "heptagon", "", "pod", "pods"),
    facts(Kind::Service, "Service", "service", "heptagon", "", "service", "services"),
    facts(Kind::Deployment, "Deployment", "deployment", "heptagon", "", "deployment", "deployments"),
    facts(Kind::ReplicaSet, "ReplicaSet", "replica_set", "triangle", "", "replica set", "replica sets"),
    facts(Kind::DaemonSet, "DaemonSet", "daemon_set", "pentagon", "", "daemonset", "daemonsets"),
    facts(Kind::StatefulSet, "StatefulSet", "stateful_set", "octagon", "", "stateful set", "stateful sets"),
    facts(Kind::CronJob, "CronJob", "cron_job", "triangle", "", "cron job", "cron jobs"),
    facts(Kind::Namespace, "Namespace", "namespace", "", "", "", ""),
    facts(Kind::Host, "Host", "host", "circle", "", "host", "hosts"),
    facts(Kind::Overlay, "Overlay", "overlay", "circle", "", "peer", "peers"),
    facts(Kind::EcsTask, "ECSTask", "ecs_task", "heptagon", "", "task", "tasks"),
    facts(Kind::EcsService, "ECSService", "ecs_service", "heptagon", "", "service", "services"),
    facts(Kind::SwarmService, "SwarmService", "swarm_service", "heptagon", "", "service", "services"),
    facts(Kind::PersistentVolume, "PersistentVolume", "persistent_volume", "cylinder", "", "persistent volume", "persistent volumes"),
    facts(Kind::PersistentVolumeClaim, "PersistentVolumeClaim", "persistent_volume_claim", "dottedcylinder", "", "persistent volume claim", "persistent volume claims"),
    facts(Kind::StorageClass, "StorageClass", "storage_class", "sheet", "", "storage class", "storage classes"),
    facts(Kind::VolumeSnapshot, "VolumeSnapshot", "volume_snapshot", "dottedcylinder", "camera", "volume snapshot", "volume snapshots"),
    facts(Kind::VolumeSnapshotData, "VolumeSnapshotData", "volume_snapshot_data", "cylinder", "camera", "volume snapshot data", "volume snapshot data"),
    facts(Kind::Job, "Job", "job", "dottedtriangle", "", "job", "jobs"),
];

impl Kind {
    /// All kinds, in the order in which Scope walks them.
    pub const ALL: [Kind; 23] = {
        let mut all = [Kind::Endpoint; 23];
        let mut at = 0;
        while at < FACTS.len() {
            all[at] = FACTS[at].kind;
            at += 1;
        }
        all
    };

    fn facts(self) -> &'static Facts {
        &FACTS[self.index()]
    }

    /// Position in [`Kind::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The topology's key in a report, such as `ReplicaSet`.
    pub fn key(self) -> &'static str {
        self.facts().key
    }

    /// The name used inside reports, such as `replica_set`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The kind whose name inside reports this is.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let facts = FACTS.iter().find(|facts| facts.name == name)?;
        Some(facts.kind)
    }

    pub(crate) fn shape(self) -> &'static str {
        self.facts().shape
    }

    pub(crate) fn tag(self) -> &'static str {
        self.facts().tag
    }

    pub(crate) fn label(self) -> &'static str {
        self.facts().label
    }

    pub(crate) fn plural(self) -> &'static str {
        self.facts().plural
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A word that names no topology.
#[derive(Debug, thiserror::Error)]
#[error("Scope has no topology {0:?}; write one of its keys, such as Pod, Container or Deployment")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Takes the key of a report or the name used inside, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        FACTS
            .iter()
            .find(|facts| {
                facts.key.eq_ignore_ascii_case(text) || facts.name.eq_ignore_ascii_case(text)
            })
            .map(|facts| facts.kind)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enum() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), at, "{kind}");
        }
        assert_eq!(Kind::ReplicaSet.name(), "replica_set");
        assert_eq!(
            "container_image".parse::<Kind>().unwrap(),
            Kind::ContainerImage
        );
        assert!("Pods".parse::<Kind>().is_err());
    }
}
