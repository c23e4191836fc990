//! What a ScopePlugin's status says: a pure function of what is wanted, what is there and what went
//! wrong.
//!
//! The conditions are those that kstatus reads: `Ready` and `Available` always, `Reconciling`, `Stalled` and
//! `Paused` only while they are true. What stands still because the spec says so (suspended, paused, held by
//! the partition) is `Ready`. What is left behind when the operator is uninstalled is neither true nor
//! false. Whether Scope asks the agents is a condition of its own, which those do not depend on.

mod connected;
mod progress;
mod words;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::DaemonSet,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use scope_crds::{Control, FailingNode, NodeCounts, ScopePlugin, ScopePluginStatus};

use crate::{
    overlap::Overlap,
    plan::{Kind, Obstacle},
    rollout::Failures,
};

pub(crate) use connected::{Connection, SCOPE_CONNECTED};
pub(crate) use progress::Progress;

/// The condition types that this operator writes.
pub(crate) const READY: &str = "Ready";
const AVAILABLE: &str = "Available";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
const PAUSED: &str = "Paused";
/// Only while agents of an older plugin write what these write, on the same nodes.
pub(crate) const OVERLAPPING: &str = "Overlapping";
/// Only while a control is asked for that the installation does not allow. The agents run all the same.
pub(crate) const CONTROLS_NOT_ALLOWED: &str = "ControlsNotAllowed";

/// What went wrong, if something did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The plan found something in the way.
    Obstacle(Obstacle),
    /// The API server refused a child: which, and its words.
    Refused {
        kind: Kind,
        name: String,
        message: String,
    },
    /// The DaemonSet controller cannot create pods: its words.
    PodsNotCreated { message: String },
    /// No node matches, and so many pods run: they are left alone.
    PlacementMatchesNothing { pods: usize },
    /// The rollout record cannot be read.
    RecordUnreadable { name: String, error: String },
    /// The template that the DaemonSet should carry is not kept any more.
    TemplateLost { revision: String },
}

/// Everything that the status depends on.
pub(crate) struct Facts<'a> {
    pub(crate) plugin: &'a ScopePlugin,
    /// The installation's allowed actions.
    pub(crate) allowed: &'a BTreeSet<Control>,
    /// The plugin's own DaemonSet as it is now.
    pub(crate) daemon_set: Option<&'a DaemonSet>,
    /// How its rollout goes; nothing where none could be planned.
    pub(crate) progress: Option<Progress<'a>>,
    /// Where agents of an older plugin write what these write.
    pub(crate) overlap: Option<&'a Overlap>,
    pub(crate) trouble: Option<Trouble>,
    /// Whether Scope asks its agents.
    pub(crate) connection: Connection,
    /// The directory on the nodes in which Scope's probe looks for plugins.
    pub(crate) plugin_directory: &'a str,
}

/// How things stand, before it is turned into conditions.
struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
    reconciling: bool,
    stalled: bool,
    paused: bool,
}

impl Verdict {
    fn new(ready: bool, reason: &'static str, message: String) -> Self {
        Self {
            ready,
            reason,
            message,
            reconciling: false,
            stalled: false,
            paused: false,
        }
    }

    /// On its way, and not there yet.
    fn on_the_way(reason: &'static str, message: String) -> Self {
        Self {
            reconciling: true,
            ..Self::new(false, reason, message)
        }
    }

    /// Standing still until a person does something.
    fn stalled(reason: &'static str, message: String) -> Self {
        Self {
            stalled: true,
            ..Self::new(false, reason, message)
        }
    }

    /// Standing still because the spec says so.
    fn paused(reason: &'static str, message: String) -> Self {
        Self {
            paused: true,
            ..Self::new(true, reason, message)
        }
    }
}

/// The whole status of a plugin. Unchanged conditions keep the time of their last transition.
pub(crate) fn assess(facts: &Facts<'_>, now: Timestamp) -> ScopePluginStatus {
    let generation = facts.plugin.metadata.generation;
    let counts = Counts::of_facts(facts);
    let verdict = judge(facts, &counts);

    let mut conditions = Conditions::new(facts.plugin, now);
    conditions.put(READY, verdict.ready, verdict.reason, &verdict.message);
    let (available, reason, message) = availability(facts, &counts);
    conditions.put(AVAILABLE, available, reason, &message);
    for (type_, holds) in [
        (RECONCILING, verdict.reconciling),
        (STALLED, verdict.stalled),
        (PAUSED, verdict.paused),
    ] {
        if holds {
            conditions.put(type_, true, verdict.reason, &verdict.message);
        }
    }
    let refused = not_allowed(facts);
    if !refused.is_empty() {
        let message = words::controls_not_allowed(&refused);
        conditions.put(
            CONTROLS_NOT_ALLOWED,
            true,
            "NotAllowedByInstallation",
            &message,
        );
    }
    if let Some(overlap) = facts.overlap {
        let message = overlap.in_words();
        conditions.put(OVERLAPPING, true, "SameNodes", &message);
    }
    let said = connected::say(
        &facts.connection,
        facts.plugin.status.as_ref(),
        facts.plugin_directory,
        &mut conditions,
    );
    let progress = facts.progress.as_ref();
    let failing = progress.map(|progress| &progress.standing.failing);
    ScopePluginStatus {
        observed_generation: generation,
        revision: progress.map(|progress| progress.wanted.to_owned()),
        last_good_revision: progress.and_then(|progress| progress.record.good.clone()),
        nodes: Some(NodeCounts {
            desired: counts.desired,
            updated: counts.updated,
            ready: counts.ready,
            unavailable: counts.desired - counts.serving,
            not_ready_nodes: counts.down,
        }),
        rollout: progress.map(|progress| progress.status(&verdict.message)),
        failing_nodes: failing
            .into_iter()
            .flat_map(Failures::worst)
            .map(|f| FailingNode::new(&f.node, &f.reason, &f.message, f.since))
            .collect(),
        failing_nodes_total: failing
            .map(|failing| number(failing.total()))
            .filter(|total| *total > 0),
        scope: said.scope,
        collectors_off: said.off,
        collectors_off_total: said.off_total,
        conditions: conditions.list,
    }
}

/// The status of an object that this operator cannot read. Nothing of its children is touched.
pub(crate) fn unreadable(
    generation: Option<i64>,
    error: &str,
    now: Timestamp,
) -> ScopePluginStatus {
    let message = words::unreadable(error);
    let mut conditions = Conditions {
        list: Vec::new(),
        previous: &[],
        generation,
        now: Time(now),
    };
    conditions.put(READY, false, "UnreadableSpec", &message);
    conditions.put(AVAILABLE, false, "UnreadableSpec", &message);
    conditions.put(STALLED, true, "UnreadableSpec", &message);
    ScopePluginStatus {
        observed_generation: generation,
        conditions: conditions.list,
        ..ScopePluginStatus::default()
    }
}

/// The status of a plugin that no operator looks after any more and of which nothing runs. `previous`
/// is what was known of it, if that can be read.
pub(crate) fn operator_uninstalled(
    previous: Option<&ScopePluginStatus>,
    generation: Option<i64>,
    now: Timestamp,
) -> ScopePluginStatus {
    let mut conditions = Conditions {
        list: Vec::new(),
        previous: previous.map_or(&[], |status| &status.conditions),
        generation,
        now: Time(now),
    };
    for type_ in [READY, AVAILABLE] {
        conditions.put_as(
            type_,
            "Unknown",
            "OperatorUninstalled",
            words::OPERATOR_UNINSTALLED,
        );
    }
    ScopePluginStatus {
        observed_generation: generation,
        nodes: Some(NodeCounts::default()),
        conditions: conditions.list,
        ..ScopePluginStatus::default()
    }
}

/// The condition of this type.
pub(crate) fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A change that a person would want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition<'a> {
    pub(crate) warning: bool,
    pub(crate) reason: &'a str,
    /// What the operator was at.
    pub(crate) action: &'static str,
    pub(crate) message: &'a str,
}

/// Reasons to be ready or not that are the ordinary course of things.
const QUIET: [&str; 9] = [
    "AllNodesReady",
    "ReadyNodesDone",
    "Suspended",
    "Suspending",
    "RollingOut",
    "CanarySoaking",
    "Paused",
    "HeldByPartition",
    "WaitingForPlugin",
];

/// What changed from one status to the next: another reason to be ready or not, controls that are not allowed,
/// and Scope that asks the agents no more, or does again. Progress within a rollout is none.
pub(crate) fn transitions<'a>(
    before: Option<&ScopePluginStatus>,
    after: &'a ScopePluginStatus,
) -> Vec<Transition<'a>> {
    let stalled = condition(&after.conditions, STALLED).is_some();
    [READY, CONTROLS_NOT_ALLOWED, OVERLAPPING, SCOPE_CONNECTED]
        .into_iter()
        .filter_map(|type_| {
            let now = condition(&after.conditions, type_)?;
            let then = before.and_then(|before| condition(&before.conditions, type_));
            // Each apply passes through this; what it comes to is told.
            if then.is_some_and(|then| then.reason == now.reason) || now.reason == "Applying" {
                return None;
            }
            let connects = type_ == SCOPE_CONNECTED && now.status != "False";
            // That it is well is told only where it was not, and that it is not known is no news.
            if connects && (now.status != "True" || then.is_none_or(|then| then.status != "False"))
            {
                return None;
            }
            let warning = match type_ {
                READY => stalled || !QUIET.contains(&now.reason.as_str()),
                _ => !connects,
            };
            Some(Transition {
                warning,
                reason: match type_ {
                    READY | SCOPE_CONNECTED => &now.reason,
                    type_ => type_,
                },
                action: match type_ {
                    SCOPE_CONNECTED => "AskTotals",
                    _ => "Rollout",
                },
                message: &now.message,
            })
        })
        .collect()
}

/// How many nodes of the DaemonSet have no pod, not even one that starts.
pub(crate) fn missing_pods(daemon_set: &DaemonSet) -> i32 {
    let counts = Counts::of(daemon_set);
    (counts.desired - counts.current).max(0)
}

/// The numbers of nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    desired: i32,
    /// Nodes with a pod, in whichever state.
    current: i32,
    updated: i32,
    ready: i32,
    serving: i32,
    down: i32,
}

impl Counts {
    /// From the fleet if it is known, else from the DaemonSet.
    fn of_facts(facts: &Facts<'_>) -> Self {
        let by_daemon_set = facts.daemon_set.map(Self::of).unwrap_or_default();
        let Some(progress) = &facts.progress else {
            return by_daemon_set;
        };
        let standing = progress.standing;
        Self {
            desired: number(standing.desired),
            current: by_daemon_set.current,
            updated: number(standing.updated),
            ready: number(standing.ready),
            serving: number(standing.serving),
            down: number(standing.down.len()),
        }
    }

    /// From a DaemonSet's status; it does not tell which pods are the newest.
    fn of(daemon_set: &DaemonSet) -> Self {
        daemon_set
            .status
            .as_ref()
            .map_or_else(Self::default, |status| Self {
                desired: status.desired_number_scheduled,
                current: status.current_number_scheduled,
                updated: 0,
                ready: status.number_ready,
                serving: status.number_available.unwrap_or_default(),
                down: 0,
            })
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn judge(facts: &Facts<'_>, counts: &Counts) -> Verdict {
    if let Some(trouble) = &facts.trouble {
        let (reason, message) = words::trouble(trouble);
        return Verdict::stalled(reason, message);
    }
    if facts.plugin.spec.suspended {
        return match facts.daemon_set {
            None => Verdict::new(true, "Suspended", words::suspended()),
            Some(_) => Verdict::on_the_way("Suspending", words::suspending(counts.current)),
        };
    }
    let (Some(progress), Some(_)) = (&facts.progress, facts.daemon_set) else {
        return Verdict::on_the_way("Applying", words::applying());
    };
    if counts.desired == 0 {
        let message = words::no_matching_nodes(&facts.plugin.spec.placement);
        return Verdict::new(false, "NoMatchingNodes", message);
    }
    progress.verdict()
}

/// Whether the plugin serves Scope on all nodes that are up but those that a rollout may take down, and on
/// one at least.
fn availability(facts: &Facts<'_>, counts: &Counts) -> (bool, &'static str, String) {
    if facts.plugin.spec.suspended {
        return (false, "Suspended", words::suspended());
    }
    let spare = facts.plugin.spec.rollout.max_unavailable.of(counts.desired);
    let message = words::available(counts.serving, counts.desired);
    if counts.serving > 0 && counts.desired - counts.down - counts.serving <= spare {
        (true, "EnoughNodes", message)
    } else {
        (false, "TooFewNodes", message)
    }
}

/// The controls that the plugin asks for and the installation does not allow.
fn not_allowed(facts: &Facts<'_>) -> Vec<Control> {
    let controls = &facts.plugin.spec.agent.controls;
    controls
        .iter()
        .copied()
        .filter(|control| !facts.allowed.contains(control))
        .collect()
}

/// Conditions under construction.
struct Conditions<'a> {
    list: Vec<Condition>,
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Time,
}

impl<'a> Conditions<'a> {
    fn new(plugin: &'a ScopePlugin, now: Timestamp) -> Self {
        Self {
            list: Vec::new(),
            previous: plugin
                .status
                .as_ref()
                .map_or(&[], |status| &status.conditions),
            generation: plugin.metadata.generation,
            now: Time(now),
        }
    }

    fn put(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let status = if status { "True" } else { "False" };
        self.put_as(type_, status, reason, message);
    }

    /// With any of the three values that a condition's status has.
    fn put_as(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let since = condition(self.previous, type_)
            .filter(|previous| previous.status == status)
            .map_or_else(
                || self.now.clone(),
                |previous| previous.last_transition_time.clone(),
            );
        self.list.push(Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: words::bounded(message),
            last_transition_time: since,
            observed_generation: self.generation,
        });
    }
}

#[cfg(test)]
mod tests;
