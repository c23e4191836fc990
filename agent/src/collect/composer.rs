//! What the parts of a report have in common while it is made.

use std::time::Duration;

use scope_protocol::{NodeId, PluginSpec, Report, Timestamp, Topology};

use super::description::describe;
use super::metric::{self, Selection};
use super::{Mend, Settings};
use crate::attribution::Usage;
use crate::sample::{Mode, Runtime};

/// How much of what is known goes into the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// All of it.
    Full,
    /// Processes are not linked to their containers.
    NoProcesses,
    /// Nor are there other metrics than CPU and memory.
    Essential,
    /// Only the plugin itself.
    Nothing,
}

impl Detail {
    /// From the most to the least.
    pub(super) const ALL: [Detail; 4] = [
        Detail::Full,
        Detail::NoProcesses,
        Detail::Essential,
        Detail::Nothing,
    ];

    /// What is left out, in words.
    pub(super) fn left_out(self) -> Option<&'static str> {
        match self {
            Detail::Full => None,
            Detail::NoProcesses => Some("the processes of containers"),
            Detail::Essential => {
                Some("the processes of containers and all metrics but CPU and memory")
            }
            Detail::Nothing => Some("everything"),
        }
    }
}

/// A report being made.
pub(super) struct Composer<'a> {
    pub(super) usage: &'a Usage,
    pub(super) mode: Mode<'a>,
    pub(super) settings: &'a Settings,
    pub(super) detail: Detail,
    /// Whether Scope is told what its own probe fails to report.
    pub(super) mending: bool,
    /// The stamp of values that must win over the probe's own.
    pub(super) ahead: Timestamp,
    /// The stamp of the list of active controls, which the probe writes as well.
    pub(super) controls_ahead: Timestamp,
    /// The node of this host.
    pub(super) host: String,
    pub(super) report: Report,
}

/// The probe sends unchanged values only in every third publish, 9 s apart with its defaults; with
/// less of a lead its own value wins part of the time.
const LEAD: Duration = Duration::from_secs(15);

/// As for [`LEAD`], for a value that the probe may send anew at any time.
const CONTROLS_LEAD: Duration = Duration::from_secs(30);

impl<'a> Composer<'a> {
    pub(super) fn new(
        usage: &'a Usage,
        mode: Mode<'a>,
        settings: &'a Settings,
        detail: Detail,
    ) -> Self {
        let lead = LEAD.max(settings.cadence.saturating_mul(2) + Duration::from_secs(5));
        let mut description = settings
            .description
            .clone()
            .unwrap_or_else(|| describe(&settings.host, &usage.problems));
        if let Some(left_out) = detail.left_out() {
            description.push_str(" Too large, so left out: ");
            description.push_str(left_out);
            description.push('.');
        }
        Composer {
            usage,
            mode,
            settings,
            detail,
            mending: match settings.mend {
                Mend::Always => true,
                Mend::Never => false,
                Mend::Auto => !runs_docker(usage, mode),
            },
            ahead: usage.at.plus(lead),
            controls_ahead: usage.at.plus(CONTROLS_LEAD),
            host: NodeId::host(&settings.host).to_string(),
            report: Report::new(PluginSpec {
                id: settings.plugin_id.clone(),
                label: settings.label.clone(),
                description,
                controller: false,
            }),
        }
    }

    /// Gives the topology the metrics' templates.
    pub(super) fn add_metric_templates(&mut self, topology: Topology, network: bool) {
        let selection = Selection {
            scopes_own: self.mending,
            network,
        };
        self.report.topology(topology).metric_templates = metric::templates(selection);
    }

    /// Whether the node's further metrics are in this report.
    pub(super) fn has_metrics(&self, id: &str) -> bool {
        self.detail < Detail::Essential && self.settings.share.has_metrics(id)
    }

    /// Whether the node's names and parents are in this report.
    pub(super) fn has_names(&self, id: &str) -> bool {
        self.settings.share.has_names(id)
    }
}

/// Whether Scope's probe has a Docker to ask, which it knows all about.
fn runs_docker(usage: &Usage, mode: Mode<'_>) -> bool {
    match mode {
        Mode::Cluster(inventory) => inventory
            .pods
            .values()
            .flat_map(|pod| pod.containers.values())
            .any(|container| container.runtime == Runtime::Docker.as_str()),
        Mode::Standalone => usage
            .containers
            .values()
            .any(|c| c.runtime == Some(Runtime::Docker)),
    }
}
