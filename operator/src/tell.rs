//! What is told about plugins, as Events and log lines.

use kube::Resource;
use scope_crds::{ScopePlugin, ScopePluginStatus};

use crate::{
    apply::Outcome,
    events::{Events, Note},
    names, status,
};

/// An Event and a log line for each transition that a person would want to know.
pub(crate) async fn transitions<K: Resource<DynamicType = ()>>(
    object: &K,
    before: Option<&ScopePluginStatus>,
    after: &ScopePluginStatus,
    events: &Events,
) {
    let plugin = object.meta().name.as_deref().unwrap_or_default();
    for transition in status::transitions(before, after) {
        let status::Transition {
            warning,
            reason,
            action,
            message,
        } = transition;
        if warning {
            tracing::warn!(plugin, reason, "{message}");
        } else {
            tracing::info!(plugin, reason, "{message}");
        }
        let note = Note {
            warning,
            reason,
            action,
            text: message,
            related: None,
        };
        events.publish(note, &object.object_ref(&())).await;
    }
}

/// An Event about a change by others that was taken back.
pub(crate) async fn repair(plugin: &ScopePlugin, outcome: &Outcome, events: &Events) {
    let (Some(managers), Some(_)) = (&outcome.repaired, &outcome.daemon_set) else {
        return;
    };
    let who = if managers.is_empty() {
        "somebody".to_owned()
    } else {
        managers.join(", ")
    };
    let text = format!(
        "The DaemonSet had been changed by {who}; it is again as this ScopePlugin says. Change the \
         ScopePlugin instead"
    );
    tracing::warn!(plugin = names::id(plugin), "{text}");
    let note = Note {
        warning: true,
        reason: "DriftRepaired",
        action: "Repair",
        text: &text,
        related: None,
    };
    events.publish(note, &plugin.object_ref(&())).await;
}
