//! How the app makes the nodes of each view out of a report.
//!
//! Every view is drawn from the one below it: processes from endpoints, containers from processes,
//! pods from containers, controllers and services from pods, hosts from all of them. What a node
//! shows beside its own values (how many containers a pod has, a pod's host, the metrics of an only
//! child) is a by-product of that, so one wrong value at the bottom changes everything above it.
//!
//! * [`drawn`]: a node on its way to the page, and the joining of nodes;
//! * [`address`]: what counts as local, and what as the internet;
//! * [`endpoint`]: connections, and the nodes of processes, containers, pods and hosts they end at;
//! * [`container`], [`pod`], [`host`], [`volume`]: the views;
//! * [`filter`]: what the page hides.

pub(crate) mod address;
mod container;
pub(crate) mod drawn;
mod endpoint;
pub(crate) mod filter;
mod host;
mod pod;
mod volume;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::kind::Kind;
use crate::report::{Node, Report};

pub(crate) use container::image_name_without_tag;
pub(crate) use drawn::{Drawn, Nodes};
pub(crate) use pod::{UNCONTAINED, UNMANAGED};

/// A report and the views drawn from it, each at most once.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Everything but the nodes.
    pub(crate) report: Report,
    /// The nodes of every topology, in the order of [`Kind::ALL`].
    nodes: Vec<BTreeMap<String, Arc<Node>>>,
    local: address::Networks,
    processes: OnceLock<Nodes>,
    containers: OnceLock<Nodes>,
    named_containers: OnceLock<Nodes>,
    images: OnceLock<Nodes>,
    pods: OnceLock<Nodes>,
    controllers: OnceLock<Nodes>,
    services: OnceLock<Nodes>,
    hosts: OnceLock<Nodes>,
}

impl Scene {
    pub(crate) fn new(mut report: Report) -> Self {
        let local = address::local_networks(&report);
        let nodes = report
            .topologies_mut()
            .map(|(_, topology)| {
                std::mem::take(&mut topology.nodes)
                    .into_iter()
                    .map(|(key, node)| (key, Arc::new(node)))
                    .collect()
            })
            .collect();
        Self {
            report,
            nodes,
            local,
            processes: OnceLock::new(),
            containers: OnceLock::new(),
            named_containers: OnceLock::new(),
            images: OnceLock::new(),
            pods: OnceLock::new(),
            controllers: OnceLock::new(),
            services: OnceLock::new(),
            hosts: OnceLock::new(),
        }
    }

    /// The nodes of a topology, as they were reported.
    pub(crate) fn reported(&self, kind: Kind) -> &BTreeMap<String, Arc<Node>> {
        &self.nodes[kind.index()]
    }

    /// The nodes of a topology, ready to be drawn on.
    fn select(&self, kind: Kind) -> Nodes {
        let draw = |(key, node): (&String, &Arc<Node>)| (key.clone(), Drawn::of(node));
        self.reported(kind).iter().map(draw).collect()
    }

    pub(crate) fn processes(&self) -> &Nodes {
        self.processes.get_or_init(|| endpoint::processes(self))
    }

    fn containers(&self) -> &Nodes {
        self.containers.get_or_init(|| container::containers(self))
    }

    pub(crate) fn named_containers(&self) -> &Nodes {
        self.named_containers.get_or_init(|| container::named(self))
    }

    pub(crate) fn images(&self) -> &Nodes {
        self.images.get_or_init(|| container::images(self))
    }

    pub(crate) fn pods(&self) -> &Nodes {
        self.pods.get_or_init(|| pod::pods(self))
    }

    pub(crate) fn controllers(&self) -> &Nodes {
        self.controllers.get_or_init(|| pod::controllers(self))
    }

    pub(crate) fn services(&self) -> &Nodes {
        self.services.get_or_init(|| pod::services(self))
    }

    pub(crate) fn hosts(&self) -> &Nodes {
        self.hosts.get_or_init(|| host::hosts(self))
    }
}
