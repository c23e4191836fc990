//! What a person sees on Scope's page.
//!
//! * [`summary`]: a node in a view, with its names, values, metrics and tables;
//! * [`label`]: what nodes are called;
//! * [`panel`]: what opens on a click on a node: controls, and what is inside it.

mod label;
mod panel;
mod summary;

use std::collections::BTreeMap;

use crate::app::{SummaryPanic, node_panic};
use crate::kind::Kind;
use crate::render::filter::{
    self, connected, drop_unconnected_stand_ins, is_application, is_not_pseudo, is_running,
};
use crate::render::{Drawn, Nodes, Scene};
use crate::report::{Node, PluginSpec, Report};
use crate::version::Version;

pub use panel::{Group, Panel, ShownControl};
pub use summary::{Cell, MetricRow, Parent, Summary, Table};

/// A view that the page has a tab for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the tabs")]
pub enum Tab {
    Processes,
    Containers,
    ContainersByImage,
    Pods,
    Controllers,
    Services,
    Hosts,
}

impl Tab {
    /// All views.
    pub const ALL: [Tab; 7] = [
        Tab::Processes,
        Tab::Containers,
        Tab::ContainersByImage,
        Tab::Pods,
        Tab::Controllers,
        Tab::Services,
        Tab::Hosts,
    ];

    /// What the app calls the view in its URLs.
    pub fn url_name(self) -> &'static str {
        match self {
            Tab::Processes => "processes",
            Tab::Containers => "containers",
            Tab::ContainersByImage => "containers-by-image",
            Tab::Pods => "pods",
            Tab::Controllers => "kube-controllers",
            Tab::Services => "services",
            Tab::Hosts => "hosts",
        }
    }

    /// The view in which nodes of a topology are found.
    pub fn of(kind: Kind) -> Option<Tab> {
        match kind {
            Kind::Process => Some(Tab::Processes),
            Kind::Container => Some(Tab::Containers),
            Kind::ContainerImage => Some(Tab::ContainersByImage),
            Kind::Pod
            | Kind::PersistentVolume
            | Kind::PersistentVolumeClaim
            | Kind::StorageClass
            | Kind::VolumeSnapshot
            | Kind::VolumeSnapshotData => Some(Tab::Pods),
            Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet | Kind::CronJob | Kind::Job => {
                Some(Tab::Controllers)
            }
            Kind::Service => Some(Tab::Services),
            Kind::Host => Some(Tab::Hosts),
            _ => None,
        }
    }
}

/// What the page shows at one moment.
#[derive(Debug)]
pub struct View {
    scene: Scene,
    version: Version,
}

impl View {
    /// Draws a report as the app of 1.13.2 does. The report is the merged one; what the app does to
    /// each single one before is [`upgrade`](crate::upgrade).
    pub fn new(report: Report) -> Self {
        Self::of_version(report, Version::default())
    }

    pub(crate) fn of_version(report: Report, version: Version) -> Self {
        Self {
            scene: Scene::new(report),
            version,
        }
    }

    fn drawn(&self, tab: Tab) -> &Nodes {
        match tab {
            Tab::Processes => self.scene.processes(),
            Tab::Containers => self.scene.named_containers(),
            Tab::ContainersByImage => self.scene.images(),
            Tab::Pods => self.scene.pods(),
            Tab::Controllers => self.scene.controllers(),
            Tab::Services => self.scene.services(),
            Tab::Hosts => self.scene.hosts(),
        }
    }

    /// The nodes that the page shows in a view, with the choices that it starts with: running
    /// containers of applications, connected processes, neither storage nor stand-ins.
    ///
    /// # Errors
    ///
    /// A node that makes the app panic when it is summarised takes the whole view along.
    pub fn shown(&self, tab: Tab) -> Result<BTreeMap<String, Summary>, SummaryPanic> {
        let mut nodes = self.drawn(tab).clone();
        match tab {
            Tab::Processes => {
                let connected = connected(&nodes);
                filter::keep(&mut nodes, |node| {
                    node.is_pseudo() || connected.contains(&node.id)
                });
            }
            Tab::Containers | Tab::ContainersByImage => filter::keep(&mut nodes, |node| {
                let wanted = is_application(node) && is_running(node);
                is_not_pseudo(node) && (node.is_pseudo() || wanted)
            }),
            Tab::Pods => filter::keep(&mut nodes, |node| {
                let storage = Kind::of_name(&node.topology)
                    .is_some_and(|kind| kind != Kind::Pod && Tab::of(kind) == Some(Tab::Pods));
                is_not_pseudo(node) && !storage
            }),
            Tab::Controllers | Tab::Services => filter::keep(&mut nodes, is_not_pseudo),
            Tab::Hosts => {}
        }
        self.summaries(nodes)
    }

    /// The nodes of a view without any choice, as the API answers when none is given.
    ///
    /// # Errors
    ///
    /// As for [`shown`](Self::shown).
    pub fn all(&self, tab: Tab) -> Result<BTreeMap<String, Summary>, SummaryPanic> {
        self.summaries(self.drawn(tab).clone())
    }

    /// As [`all`](Self::all), but only what the page's filter for this namespace leaves.
    ///
    /// # Errors
    ///
    /// As for [`shown`](Self::shown).
    pub fn in_namespace(
        &self,
        tab: Tab,
        namespace: &str,
    ) -> Result<BTreeMap<String, Summary>, SummaryPanic> {
        let mut nodes = self.drawn(tab).clone();
        filter::keep(&mut nodes, |node| {
            node.is_pseudo() || filter::namespace(node) == namespace
        });
        self.summaries(nodes)
    }

    fn summaries(&self, mut nodes: Nodes) -> Result<BTreeMap<String, Summary>, SummaryPanic> {
        drop_unconnected_stand_ins(&mut nodes);
        let mut summaries = BTreeMap::new();
        for (id, node) in nodes {
            self.check(&node)?;
            if let Some(summary) = summary::summary(&self.scene, &node) {
                summaries.insert(id, summary);
            }
        }
        Ok(summaries)
    }

    fn check(&self, node: &Drawn) -> Result<(), SummaryPanic> {
        let Some(kind) = Kind::of_name(&node.topology) else {
            return Ok(());
        };
        let topology = self.scene.report.topology(kind);
        match node_panic(topology, kind, &node.id, &node.data) {
            Some(panic) => Err(panic),
            None => Ok(()),
        }
    }

    /// What opens on a click on a node, hidden or not.
    ///
    /// # Errors
    ///
    /// As for [`shown`](Self::shown), for this node or one inside it.
    pub fn panel(&self, tab: Tab, id: &str) -> Result<Option<Panel>, SummaryPanic> {
        let Some(node) = self.drawn(tab).get(id) else {
            return Ok(None);
        };
        self.check(node)?;
        for child in node.children.values() {
            self.check(child)?;
        }
        Ok(panel::panel(&self.scene, self.version, node))
    }

    /// The controls that a node shows, in the order in which they are listed. The page sorts them by
    /// rank.
    pub fn controls(&self, kind: Kind, id: &str) -> Vec<ShownControl> {
        panel::controls(&self.scene, self.version, kind, id)
    }

    /// The names in the filter of namespaces, sorted and with whatever stands there twice.
    pub fn namespaces(&self) -> Vec<&str> {
        let nodes = self.scene.reported(Kind::Namespace).values();
        let mut names: Vec<&str> = nodes
            .filter_map(|node| node.latest("kubernetes_name"))
            .collect();
        names.sort_unstable();
        names
    }

    /// The plugins in the corner of the page.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginSpec> {
        self.scene.report.plugins.values()
    }

    /// The probes that the app lists, by id, with their host: those that report one. The probe of the
    /// cluster is not among them.
    pub fn probes(&self) -> BTreeMap<&str, &str> {
        let hosts = self.scene.reported(Kind::Host).values();
        hosts
            .filter_map(|node| Some((node.latest("control_probe_id")?, node.latest("host_name")?)))
            .collect()
    }

    /// A node as it was reported, whether it is drawn or not.
    pub fn reported(&self, kind: Kind, id: &str) -> Option<&Node> {
        self.scene.reported(kind).get(id).map(|node| &**node)
    }
}
