//! What the parts of a report have in common while it is made.

use std::time::Duration;

use scope_protocol::{Node, NodeId, PluginSpec, Report, Timestamp, Topology};

use super::description::describe;
use super::kubernetes;
use super::metric::{self, Meter, Scales, Selection};
use super::share::{Cycle, Load, Share};
use super::{Mend, Settings};
use crate::attribution::Usage;
use crate::sample::{Mode, Runtime};

/// The key of [`Share::mark`]; no template has it, so that it is not shown. Hundreds of nodes have it in each report, so
/// it is as short as can be.
const MARK: &str = "t";
const ACTIVE_CONTROLS: &str = "active_controls";

/// How much of what is known goes into a report. What is left out first is what is missed least:
/// a view that shows less, then figures, then containers, then everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// All of it.
    #[default]
    Full,
    /// What rarely changes takes turns although somebody looks who does not ask for every report.
    Turns,
    /// Of a container's processes the first few are linked to it.
    FewProcesses,
    /// Processes are not linked to their containers.
    NoProcesses,
    /// Nor have containers other metrics than CPU and memory.
    ContainerEssentials,
    /// Nor have pods.
    Essential,
    /// Nor are there containers and images.
    Pods,
    /// Only the plugin itself.
    Nothing,
}

/// Of a container's processes, those linked to it in [`Detail::FewProcesses`]: those of the lowest
/// pids, which are the oldest until the machine's pids begin anew.
const FEW_PROCESSES: usize = 2;

impl Detail {
    /// From the most to the least.
    pub const ALL: [Detail; 8] = [
        Detail::Full,
        Detail::Turns,
        Detail::FewProcesses,
        Detail::NoProcesses,
        Detail::ContainerEssentials,
        Detail::Essential,
        Detail::Pods,
        Detail::Nothing,
    ];

    /// As a word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Detail::Full => "full",
            Detail::Turns => "turns",
            Detail::FewProcesses => "few_processes",
            Detail::NoProcesses => "no_processes",
            Detail::ContainerEssentials => "container_essentials",
            Detail::Essential => "essential",
            Detail::Pods => "pods",
            Detail::Nothing => "nothing",
        }
    }

    /// What is left out, in words.
    pub fn left_out(self) -> Option<&'static str> {
        match self {
            Detail::Full | Detail::Turns => None,
            Detail::FewProcesses => Some("all but two of each container's processes"),
            Detail::NoProcesses => Some("the processes of containers"),
            Detail::ContainerEssentials => {
                Some("the processes of containers and all metrics of containers but CPU and memory")
            }
            Detail::Essential => {
                Some("the processes of containers and all metrics but CPU and memory")
            }
            Detail::Pods => Some("containers, and all metrics of pods but CPU and memory"),
            Detail::Nothing => Some("everything"),
        }
    }

    /// Of a container's processes, how many are linked to it.
    pub(super) fn processes(self) -> usize {
        match self {
            Detail::Full | Detail::Turns => usize::MAX,
            Detail::FewProcesses => FEW_PROCESSES,
            _ => 0,
        }
    }
}

/// A report being made.
pub(super) struct Composer<'a> {
    pub(super) usage: &'a Usage,
    pub(super) mode: Mode<'a>,
    pub(super) settings: &'a Settings,
    pub(super) detail: Detail,
    pub(super) share: Share,
    /// Whether Scope is told what its own probe fails to report.
    pub(super) mending: bool,
    /// The date of samples.
    pub(super) at: Timestamp,
    /// The stamp of values.
    pub(super) stamp: Timestamp,
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

/// To how many microseconds a date is told: each of its digits costs a byte for every metric, and no
/// two samples are within a second of one another.
pub(super) const DATE_MICROS: i64 = 100_000;
/// The same for stamps.
pub(super) const STAMP_MICROS: i64 = 1_000_000;

/// The last such unit of time that was over at this one.
pub(super) fn down_to(at: Timestamp, unit: i64) -> Timestamp {
    let micros = at.unix_micros();
    Timestamp::from_unix_micros(micros.saturating_sub(micros.rem_euclid(unit)))
}

impl<'a> Composer<'a> {
    pub(super) fn new(
        usage: &'a Usage,
        mode: Mode<'a>,
        settings: &'a Settings,
        detail: Detail,
    ) -> Self {
        // A value is told at the latest when the second report after it is made.
        let told = settings.cadence.saturating_mul(2) + Duration::from_secs(5);
        let micros = usage.at.unix_micros();
        let stamp = down_to(usage.at, STAMP_MICROS);
        // Up, so that the lead is what it should be at least.
        let lead = |lead: Duration| match stamp == usage.at {
            true => stamp.plus(lead),
            false => stamp.plus(lead + Duration::from_micros(STAMP_MICROS.unsigned_abs())),
        };
        let share = match settings.share {
            Share::Whole if detail >= Detail::Turns => counted_turn(micros, settings.cadence),
            share => share,
        };
        let mut description = describe(settings, usage.http.said.as_deref(), &usage.problems);
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
            share,
            at: down_to(usage.at, DATE_MICROS),
            stamp,
            mending: match settings.mend {
                Mend::Always => true,
                Mend::Never => false,
                // A node in a cluster has Docker for all that is known before its first container.
                Mend::Auto => match runs_docker(usage, mode) {
                    Some(docker) => !docker,
                    None => matches!(mode, Mode::Standalone),
                },
            },
            ahead: lead(LEAD.max(told)),
            controls_ahead: lead(CONTROLS_LEAD.max(told)),
            host: NodeId::host(&settings.host).to_string(),
            report: Report::new(PluginSpec {
                id: settings.plugin_id.clone(),
                label: settings.label.clone(),
                description,
                controller: false,
            }),
        }
    }

    /// Adds metrics to this node.
    pub(super) fn meter<'n>(&self, node: &'n mut Node, scales: Scales) -> Meter<'n> {
        Meter {
            node,
            at: self.at,
            collectors: self.settings.collectors,
            scales,
        }
    }

    /// Gives the topology the metrics' templates; `pods` are those that only pods have, and what
    /// Scope lifts from pods.
    pub(super) fn add_metric_templates(&mut self, topology: Topology, pods: bool) {
        // Controllers have totals of what Scope's probe itself tells of containers.
        let totals = self.settings.totals.is_some() && kubernetes::CONTROLLERS.contains(&topology);
        let selection = Selection {
            collectors: self.settings.collectors,
            scopes_own: self.mending || totals,
            pods,
        };
        let mut templates = metric::templates(selection);
        templates.extend(super::http::templates(self, topology));
        self.report.topology(topology).metric_templates = templates;
    }

    /// Whether the container's further metrics are in this report.
    pub(super) fn has_container_metrics(&self, id: &str) -> bool {
        self.detail < Detail::ContainerEssentials && self.share.has_metrics(id)
    }

    /// Whether the pod's further metrics are in this report.
    pub(super) fn has_pod_metrics(&self, id: &str) -> bool {
        self.detail < Detail::Essential && self.share.has_metrics(id)
    }

    /// Whether the totals of this controller are in this report, beside that load. Of its pods so many are
    /// here, and so many there are.
    pub(super) fn has_totals(&self, id: &str, load: &Load, own: u32, all: u32) -> bool {
        let (share, host) = (self.share, &self.host);
        share.has_totals(id, host, load) && share.speaks_for(id, host, own, all)
    }

    /// Whether the node's names are in this report, and the controls of a pod or container.
    pub(super) fn has_names(&self, id: &str) -> bool {
        self.share.has_names(id)
    }

    /// Whether the controls of this controller, or of the host, are in this report.
    pub(super) fn has_controls(&self, id: &str) -> bool {
        self.share.has_controls(id, &self.host)
    }

    /// Marks a node whose names are told, so that the probe does not leave them out.
    pub(super) fn mark(&self, node: &mut Node) {
        if let Some(mark) = self.share.mark() {
            node.set(MARK, self.stamp, mark.to_string());
        }
    }

    /// Names the active controls of a node: Scope's own, which share one string with ours, and ours.
    pub(super) fn name_controls(&self, node: &mut Node, scopes_own: &[&str], ours: &[String]) {
        let all: Vec<&str> = scopes_own
            .iter()
            .copied()
            .chain(ours.iter().map(String::as_str))
            .collect();
        node.set(ACTIVE_CONTROLS, self.controls_ahead, all.join(";"));
    }
}

/// The turn at this time, for who gets every report. There is none that a probe waits for; so reports
/// count them. Where so few are made that Scope forgets what had its turn, there are none.
fn counted_turn(micros: i64, cadence: Duration) -> Share {
    let step = i64::try_from(cadence.as_micros())
        .unwrap_or(i64::MAX)
        .max(1);
    match Cycle::at(cadence) {
        Some(cycle) => Share::Turn {
            number: micros.div_euclid(step).unsigned_abs(),
            cycle,
        },
        None => Share::Whole,
    }
}

/// Whether Scope's probe has a Docker to ask, which it knows all about; `None` where there is no
/// container to tell it by.
fn runs_docker(usage: &Usage, mode: Mode<'_>) -> Option<bool> {
    let mut docker = None;
    let mut see = |is_docker: bool| docker = Some(is_docker || docker == Some(true));
    match mode {
        Mode::Cluster(inventory) => inventory
            .pods
            .values()
            .flat_map(|pod| pod.containers.values())
            .for_each(|container| see(container.runtime == Runtime::Docker.as_str())),
        Mode::Standalone => usage
            .containers
            .values()
            .for_each(|container| see(container.runtime == Some(Runtime::Docker))),
    }
    docker
}

impl Mend {
    /// This, with [`Mend::Auto`] decided by the containers that are known; as it was while there are
    /// none. Whoever makes one report after the other keeps the decision, so that a node whose last
    /// container ended does not look like another one.
    pub fn decided(self, before: Mend, usage: &Usage, mode: Mode<'_>) -> Mend {
        match (self, runs_docker(usage, mode)) {
            (Mend::Auto, Some(true)) => Mend::Never,
            (Mend::Auto, Some(false)) => Mend::Always,
            (Mend::Auto, None) => before,
            (decided, _) => decided,
        }
    }
}
