//! The fixed set of topologies of a report (`report/report.go`); a plugin cannot add one.

macro_rules! topologies {
    ($($variant:ident $key:literal $name:literal $tag:expr;)*) => {
        /// One of Scope's topologies: the kind of a node.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Topology {
            $(#[doc = concat!("`", $key, "` nodes.")] $variant,)*
        }

        impl Topology {
            /// Every topology, in the order of the enum.
            pub const ALL: &'static [Topology] = &[$(Topology::$variant,)*];

            /// The key in a report, such as `DaemonSet`.
            pub fn key(self) -> &'static str {
                match self { $(Topology::$variant => $key,)* }
            }

            /// The name used as `topology` of a node and as key of `parents`, such as `daemon_set`.
            pub fn name(self) -> &'static str {
                match self { $(Topology::$variant => $name,)* }
            }

            /// The tag in node IDs of the form `<name>;<tag>` without its angle brackets, such as
            /// `daemonset`; `None` where IDs have another form.
            pub fn id_tag(self) -> Option<&'static str> {
                match self { $(Topology::$variant => $tag,)* }
            }

            /// The topology with this report key.
            pub fn from_key(key: &str) -> Option<Topology> {
                match key { $($key => Some(Topology::$variant),)* _ => None }
            }

            /// The topology with this name.
            pub fn from_name(name: &str) -> Option<Topology> {
                match name { $($name => Some(Topology::$variant),)* _ => None }
            }
        }
    };
}

topologies! {
    Endpoint "Endpoint" "endpoint" None;
    Process "Process" "process" None;
    Container "Container" "container" Some("container");
    ContainerImage "ContainerImage" "container_image" Some("container_image");
    Pod "Pod" "pod" Some("pod");
    Service "Service" "service" Some("service");
    Deployment "Deployment" "deployment" Some("deployment");
    ReplicaSet "ReplicaSet" "replica_set" Some("replica_set");
    DaemonSet "DaemonSet" "daemon_set" Some("daemonset");
    StatefulSet "StatefulSet" "stateful_set" Some("statefulset");
    CronJob "CronJob" "cron_job" Some("cronjob");
    Namespace "Namespace" "namespace" Some("namespace");
    Host "Host" "host" Some("host");
    EcsTask "ECSTask" "ecs_task" Some("ecs_task");
    EcsService "ECSService" "ecs_service" None;
    SwarmService "SwarmService" "swarm_service" Some("swarm_service");
    Overlay "Overlay" "overlay" None;
    PersistentVolume "PersistentVolume" "persistent_volume" Some("persistent_volume");
    PersistentVolumeClaim "PersistentVolumeClaim" "persistent_volume_claim" Some("persistent_volume_claim");
    StorageClass "StorageClass" "storage_class" Some("storage_class");
    VolumeSnapshot "VolumeSnapshot" "volume_snapshot" Some("volume_snapshot");
    VolumeSnapshotData "VolumeSnapshotData" "volume_snapshot_data" Some("volume_snapshot_data");
    Job "Job" "job" Some("job");
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}

impl Topology {
    /// The topology whose IDs end in `;<tag>`.
    pub fn from_id_tag(tag: &str) -> Option<Topology> {
        Topology::ALL
            .iter()
            .copied()
            .find(|t| t.id_tag() == Some(tag))
    }
}
