//! What Kubernetes would say about the pods of a made node.

use std::collections::BTreeMap;

use scope_agent::inventory::{Container, ContainerKind, Inventory, Owner, Pod};
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
        restarts: 0,
        last_termination: None,
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
        owners: Vec::new(),
    }
}

pub fn inventory(pods: impl IntoIterator<Item = Pod>) -> Inventory {
    Inventory {
        pods: pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect(),
        namespaces: [("demo".to_owned(), "demo-uid".to_owned())].into(),
        node: None,
    }
}
