//! From usage and inventory to the report of the reporter socket.

use std::time::Duration;

use scope_protocol::{PluginSpec, Report};

use crate::attribution::Usage;
use crate::sample::Mode;

/// What the report depends on besides the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// ID of the plugin: the base name of the reporter socket.
    pub plugin_id: String,
    /// What Scope shows in its list of plugins.
    pub label: String,
    /// The tooltip there; generated if `None`.
    pub description: Option<String>,
    /// What the probe on this node calls the host.
    pub host: String,
    /// Whether to supply what Scope's probe fails to report on CRI runtimes.
    pub mend: Mend,
    /// How often a report is made at present.
    pub cadence: Duration,
    /// The controls to name in nodes.
    pub controls: ControlNames,
    /// Which of the parts that rarely change go into this report.
    pub share: Share,
}

/// When to supply what Scope's probe fails to report on CRI runtimes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mend {
    /// When the runtime is not Docker.
    #[default]
    Auto,
    /// On every runtime.
    Always,
    /// On none.
    Never,
}

/// The controls that are offered on nodes, as Scope knows them: `<controls socket>~<control>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlNames {
    /// On pods.
    pub pod: Vec<String>,
}

/// Which of the parts that rarely change go into a report. CPU and memory go into each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// Those whose turn it is: of the other metrics and processes a fifth, of names, parents and
    /// the like a third. The number counts the reports. Only right while every probe asks for
    /// nearly every report: one that sees each fifth only would see the same fifth of the nodes.
    Turn(u64),
}

/// The report of the reporter socket. The same arguments give the same report.
pub fn report(usage: &Usage, mode: Mode<'_>, settings: &Settings) -> Report {
    let _ = (usage, mode);
    Report::new(PluginSpec {
        id: settings.plugin_id.clone(),
        label: settings.label.clone(),
        description: settings.description.clone().unwrap_or_default(),
        controller: false,
    })
}
