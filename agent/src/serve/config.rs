//! What `serve` is told, complete and possible. It is made before anything is opened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use scope_crds::Control;

use super::socket::{SocketError, socket_path};
use crate::Collectors;
use crate::collect::Mend;
use crate::container_control::SparedPods;
use crate::control::CONTROLS_SUFFIX;
use crate::sample::Roots;

/// The configuration of a serving agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Plugin ID: the name of the plugin's directory and sockets.
    pub plugin_id: String,
    /// What Scope shows in its list of plugins.
    pub label: String,
    /// The tooltip there; generated if `None`.
    pub description: Option<String>,
    /// What is collected.
    pub collectors: Collectors,
    /// Whether HTTP may be counted at the end of system calls.
    pub http_allow_sys_exit: bool,
    /// How often the node is looked at while somebody asks.
    pub sample_interval: Duration,
    /// When to supply what Scope's probe fails to report on CRI runtimes.
    pub mend: Mend,
    /// What the probe on this node calls the host.
    pub host: String,
    /// Where the kernel's files are.
    pub roots: Roots,
    /// The kubelet's directory; looked at for the collector `VolumeCount` only.
    pub kubelet_dir: PathBuf,
    /// Where all plugins have their sockets.
    pub plugin_dir: PathBuf,
    /// Where health and metrics are served, if at all.
    pub http_listen: Option<SocketAddr>,
    /// The cluster that the node is in; `None` to run without Kubernetes.
    pub cluster: Option<Cluster>,
}

/// What is known of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The name of this node.
    pub node: String,
    /// Where clicks become `ScopeAction`s; needed with controls only.
    pub namespace: Option<String>,
    /// Controls that are offered.
    pub controls: BTreeSet<Control>,
    /// Namespaces whose containers are not touched, beside the agent's own.
    pub protected: BTreeSet<String>,
    /// How many containers of this node may be restarted, frozen or shaped within a minute.
    pub actions_per_minute: usize,
    /// Whether to look at what is set on the networks of pods.
    pub traffic: bool,
    /// The longest that the traffic of a pod may be shaped.
    pub longest_shaping: Duration,
    /// A random part of it passes before the first list of pods.
    pub start_jitter: Duration,
    /// Where the token for `scope-totals` is, and how to reach it; `None` to have no totals.
    pub totals_dir: Option<PathBuf>,
}

impl Cluster {
    /// The pods whose containers are never touched.
    pub fn spared_pods(&self) -> SparedPods {
        SparedPods {
            protected: self.protected.clone(),
            own_namespace: self.namespace.clone().unwrap_or_default(),
        }
    }
}

impl Config {
    /// The controls that are offered. There are none without a cluster.
    pub fn controls(&self) -> BTreeSet<Control> {
        self.cluster
            .as_ref()
            .map(|c| c.controls.clone())
            .unwrap_or_default()
    }

    /// The socket of the reports.
    pub fn reporter_socket(&self) -> Result<PathBuf, SocketError> {
        socket_path(&self.plugin_dir, &self.plugin_id, &self.plugin_id)
    }

    /// The name of the controls socket, where there is one.
    pub fn controls_name(&self) -> Option<String> {
        (!self.controls().is_empty()).then(|| format!("{}{CONTROLS_SUFFIX}", self.plugin_id))
    }

    /// The controls socket, where there is one.
    pub fn controls_socket(&self) -> Result<Option<PathBuf>, SocketError> {
        self.controls_name()
            .map(|name| socket_path(&self.plugin_dir, &self.plugin_id, &name))
            .transpose()
    }
}
