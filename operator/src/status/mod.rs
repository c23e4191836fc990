//! What a ScopePlugin's status says: a pure function of what is wanted, what is there and what went
//! wrong.
//!
//! The conditions are those that kstatus reads: `Ready` and `Available` always, `Reconciling` and
//! `Stalled` only while they are true. Suspended, as asked for, is `Ready`. What is left behind when the
//! operator is uninstalled is neither true nor false.

mod words;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::DaemonSet,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use scope_crds::{Control, NodeCounts, ScopePlugin, ScopePluginStatus};

use crate::{
    desired,
    plan::{Kind, Obstacle},
};

/// The condition types that this operator writes.
pub(crate) const READY: &str = "Ready";
const AVAILABLE: &str = "Available";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
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
}

/// Everything that the status depends on.
pub(crate) struct Facts<'a> {
    pub(crate) plugin: &'a ScopePlugin,
    /// The installation's allowed actions.
    pub(crate) allowed: &'a BTreeSet<Control>,
    /// The plugin's own DaemonSet as it is now.
    pub(crate) daemon_set: Option<&'a DaemonSet>,
    /// The intent that it should carry.
    pub(crate) wanted_intent: Option<&'a str>,
    pub(crate) trouble: Option<Trouble>,
}

/// How things stand, before it is turned into conditions.
struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
    reconciling: bool,
    stalled: bool,
}

/// The whole status of a plugin. Unchanged conditions keep the time of their last transition.
pub(crate) fn assess(facts: &Facts<'_>, now: Timestamp) -> ScopePluginStatus {
    let generation = facts.plugin.metadata.generation;
    let counts = facts.daemon_set.map(Counts::of).unwrap_or_default();
    let current = is_current(facts);
    let verdict = judge(facts, &counts, current);

    let mut conditions = Conditions::new(facts.plugin, now);
    conditions.put(READY, verdict.ready, verdict.reason, &verdict.message);
    let (available, reason, message) = availability(facts, &counts);
    conditions.put(AVAILABLE, available, reason, &message);
    if verdict.reconciling {
        conditions.put(RECONCILING, true, verdict.reason, &verdict.message);
    }
    if verdict.stalled {
        conditions.put(STALLED, true, verdict.reason, &verdict.message);
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
    ScopePluginStatus {
        observed_generation: generation,
        nodes: Some(NodeCounts {
            desired: counts.desired,
            // The numbers of a template that is no longer wanted say nothing about the new one.
            updated: if current { counts.updated } else { 0 },
            ready: counts.ready,
            unavailable: counts.unavailable,
        }),
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
        nodes: None,
        conditions: conditions.list,
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
    pub(crate) message: &'a str,
}

/// What changed from one status to the next: another reason to be ready or not, and controls that
/// are not allowed. Progress within a rollout is none.
pub(crate) fn transitions<'a>(
    before: Option<&ScopePluginStatus>,
    after: &'a ScopePluginStatus,
) -> Vec<Transition<'a>> {
    let stalled = condition(&after.conditions, STALLED).is_some();
    [READY, CONTROLS_NOT_ALLOWED]
        .into_iter()
        .filter_map(|type_| {
            let now = condition(&after.conditions, type_)?;
            let then = before.and_then(|before| condition(&before.conditions, type_));
            // Each apply passes through this; what it comes to is told.
            if then.is_some_and(|then| then.reason == now.reason) || now.reason == "Applying" {
                return None;
            }
            let quiet = ["AllNodesReady", "Suspended", "Suspending", "RollingOut"];
            Some(Transition {
                warning: type_ == CONTROLS_NOT_ALLOWED
                    || stalled
                    || !quiet.contains(&now.reason.as_str()),
                reason: if type_ == READY {
                    &now.reason
                } else {
                    CONTROLS_NOT_ALLOWED
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

/// The numbers of a DaemonSet's status.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    desired: i32,
    current: i32,
    updated: i32,
    ready: i32,
    available: i32,
    unavailable: i32,
}

impl Counts {
    fn of(daemon_set: &DaemonSet) -> Self {
        daemon_set
            .status
            .as_ref()
            .map_or_else(Self::default, |status| Self {
                desired: status.desired_number_scheduled,
                current: status.current_number_scheduled,
                updated: status.updated_number_scheduled.unwrap_or_default(),
                ready: status.number_ready,
                available: status.number_available.unwrap_or_default(),
                unavailable: status.number_unavailable.unwrap_or_default(),
            })
    }
}

/// Whether the DaemonSet asks for what is wanted now and its controller has taken notice.
fn is_current(facts: &Facts<'_>) -> bool {
    facts.daemon_set.is_some_and(|daemon_set| {
        let observed = daemon_set
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        desired::intent(&daemon_set.metadata) == facts.wanted_intent
            && observed.is_some()
            && observed >= daemon_set.metadata.generation
    })
}

fn judge(facts: &Facts<'_>, counts: &Counts, current: bool) -> Verdict {
    let verdict = |ready, reason, message| Verdict {
        ready,
        reason,
        message,
        reconciling: false,
        stalled: false,
    };
    let on_the_way = |reason, message| Verdict {
        reconciling: true,
        ..verdict(false, reason, message)
    };
    if let Some(trouble) = &facts.trouble {
        let (reason, message) = words::trouble(trouble);
        return Verdict {
            stalled: true,
            ..verdict(false, reason, message)
        };
    }
    if facts.plugin.spec.suspended {
        return match facts.daemon_set {
            None => verdict(true, "Suspended", words::suspended()),
            Some(_) => on_the_way("Suspending", words::suspending(counts.current)),
        };
    }
    if facts.daemon_set.is_none() || !current {
        return on_the_way("Applying", words::applying());
    }
    if counts.desired == 0 {
        let message = words::no_matching_nodes(&facts.plugin.spec.placement);
        return verdict(false, "NoMatchingNodes", message);
    }
    let progress = words::progress(counts.ready, counts.updated, counts.desired);
    if counts.updated < counts.desired || (counts.ready < counts.desired && !was_complete(facts)) {
        on_the_way("RollingOut", progress)
    } else if counts.ready < counts.desired {
        verdict(false, "NodesNotReady", progress)
    } else {
        verdict(true, "AllNodesReady", progress)
    }
}

/// Whether this generation was on all nodes before: then an unready node is no rollout.
fn was_complete(facts: &Facts<'_>) -> bool {
    let conditions = facts
        .plugin
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    conditions
        .and_then(|conditions| condition(conditions, READY))
        .is_some_and(|ready| {
            ready.observed_generation == facts.plugin.metadata.generation
                && ["AllNodesReady", "NodesNotReady"].contains(&ready.reason.as_str())
        })
}

/// Whether the plugin serves Scope on all its nodes but those that a rollout may take down, and on
/// one at least.
fn availability(facts: &Facts<'_>, counts: &Counts) -> (bool, &'static str, String) {
    if facts.plugin.spec.suspended {
        return (false, "Suspended", words::suspended());
    }
    let spare = facts.plugin.spec.rollout.max_unavailable.of(counts.desired);
    let message = words::available(counts.available, counts.desired);
    if counts.available > 0 && counts.desired - counts.available <= spare {
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
