//! What Kubernetes would say about the pods of a made node.

use std::collections::BTreeMap;

use scope_agent::inventory::{
    Container, ContainerKind, Inventory, MountedVolume, Owner, Pod, Volume, VolumeKind,
};
use scope_agent::volumes::{Files, Space, Standing, VolumeUse};
use scope_protocol::{Timestamp, Topology};

use super::EPOCH_MICROS;

pub fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: format!("registry.example/{name}:1"),
        image_id: name.repeat(8),
        runtime: "containerd".to_owned(),
        started: Some(Timestamp::from_unix_micros(EPOCH_MICROS)),
        kind: ContainerKind::App,
        liveness: false,
        starting: false,
        runs_once: false,
        restarts: 0,
        last_termination: None,
        volumes: Vec::new(),
    }
}

pub fn owner(topology: Topology, uid: &str, name: &str) -> Owner {
    Owner {
        topology,
        uid: uid.to_owned(),
        name: name.to_owned(),
    }
}

/// A pod of the namespace `demo` with these containers, by ID and name.
pub fn pod(id: &str, name: &str, containers: &[(&str, &str)]) -> Pod {
    Pod {
        id: id.to_owned(),
        uid: id.to_owned(),
        namespace: "demo".to_owned(),
        name: name.to_owned(),
        mirror: false,
        grace: None,
        host_network: false,
        ips: vec!["10.1.2.3".to_owned()],
        containers: containers
            .iter()
            .map(|(id, name)| ((*id).to_owned(), container(name)))
            .collect(),
        stopped: BTreeMap::new(),
        volumes: Vec::new(),
        owners: Vec::new(),
    }
}

/// The pod with these volumes, all of them in each of its containers.
pub fn with_volumes(mut pod: Pod, volumes: &[(&str, VolumeKind)]) -> Pod {
    for container in pod.containers.values_mut() {
        container.volumes = volumes
            .iter()
            .map(|(name, _)| MountedVolume {
                volume: (*name).to_owned(),
                path: Some(format!("/{name}")),
            })
            .collect();
    }
    pod.volumes = volumes
        .iter()
        .map(|&(name, kind)| Volume {
            name: name.to_owned(),
            kind,
        })
        .collect();
    pod
}

/// A volume of a hundred MiB and a thousand files, so many percent of both in use.
pub fn used(percent: u64) -> VolumeUse {
    let mib = |count: u64| count << 20;
    VolumeUse {
        space: Some(Space {
            capacity: mib(100),
            used: mib(percent),
            available: mib(100 - percent),
            files: Some(Files {
                most: 1000,
                used: 10 * percent,
            }),
        }),
        standing: Standing::Answers,
    }
}

pub fn inventory(pods: impl IntoIterator<Item = Pod>) -> Inventory {
    Inventory {
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        namespaces: [("demo".to_owned(), "demo-uid".to_owned())].into(),
        node: None,
    }
}
