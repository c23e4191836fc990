//! Whether an action is carried out: pure rules with words for the person who clicked.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use scope_crds::{ActionPhase, AgentSpec, ScopeAction, ScopeActionSpec, ScopePlugin, TargetName};

use super::target::{Seen, in_words};
use crate::settings::Settings;

/// How an action ended, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) phase: ActionPhase,
    pub(crate) message: String,
}

impl Outcome {
    pub(super) fn succeeded(message: impl Into<String>) -> Self {
        Self::new(ActionPhase::Succeeded, message)
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(ActionPhase::Refused, message)
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(ActionPhase::Failed, message)
    }

    pub(super) fn expired(spec: &ScopeActionSpec) -> Self {
        Self::new(
            ActionPhase::Expired,
            format!(
                "Nothing was done, since it was to be done by {}. Click again",
                spec.not_after.0.strftime("%H:%M:%S UTC")
            ),
        )
    }

    fn new(phase: ActionPhase, message: impl Into<String>) -> Self {
        Self {
            phase,
            message: message.into(),
        }
    }
}

/// The plugin that an action belongs to, as far as it is known.
pub(super) enum Plugin<'a> {
    /// There is none of that name.
    Missing,
    /// This version cannot read it.
    Unreadable,
    Known(&'a ScopePlugin),
}

/// What can be said before anything is looked up in the cluster.
pub(super) fn admit<'a>(
    action: &ScopeAction,
    plugin: &Plugin<'a>,
    settings: &Settings,
    now: Timestamp,
) -> Result<&'a AgentSpec, Outcome> {
    let spec = &action.spec;
    if spec.control.is_node_local() {
        return Err(Outcome::refused(format!(
            "{} is carried out by the agent of the container's node; the operator only writes down what it did",
            spec.control
        )));
    }
    // Marked by a replica that did not come to write the outcome. Whether it acted is not known,
    // so it is not done again.
    if let Some(target) = begun(action) {
        return Err(Outcome::failed(format!(
            "The operator was replaced while it carried this out. See how {} is now, and click again if \
             nothing was done",
            in_words(spec.target.kind, target)
        )));
    }
    if left(action, now).is_none() {
        return Err(Outcome::expired(spec));
    }
    let plugin = match plugin {
        Plugin::Missing => {
            return Err(Outcome::refused(format!(
                "There is no ScopePlugin {}",
                spec.plugin
            )));
        }
        Plugin::Unreadable => {
            return Err(Outcome::refused(format!(
                "The operator cannot read the ScopePlugin {}, see its conditions",
                spec.plugin
            )));
        }
        Plugin::Known(plugin) => plugin,
    };
    if plugin.spec.suspended || plugin.metadata.deletion_timestamp.is_some() {
        return Err(Outcome::refused(format!(
            "The ScopePlugin {} is suspended or being deleted",
            spec.plugin
        )));
    }
    let agent = &plugin.spec.agent;
    if !agent.controls.contains(&spec.control) {
        return Err(Outcome::refused(format!(
            "The ScopePlugin {} does not offer {} (spec.agent.controls)",
            spec.plugin, spec.control
        )));
    }
    if !settings.allowed_actions.contains(&spec.control) {
        return Err(Outcome::refused(format!(
            "This installation does not allow {} (chart value actions.allowed)",
            spec.control
        )));
    }
    Ok(agent)
}

/// The latest that anything is done after the API server took the action, whatever `notAfter` says: an
/// agent gives itself 10 s, and neither a node's wrong clock nor a stolen token shall make it hours.
const LONGEST: SignedDuration = SignedDuration::from_secs(15);

/// How long the action may still be carried out; nothing when it is too late.
pub(super) fn left(action: &ScopeAction, now: Timestamp) -> Option<Duration> {
    let not_after = action.spec.not_after.0;
    let bound = action
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(not_after, |created| {
            created.0.checked_add(LONGEST).unwrap_or(not_after)
        });
    Duration::try_from(not_after.min(bound).duration_since(now))
        .ok()
        .filter(|left| !left.is_zero())
}

/// The target of an action that somebody began to carry out.
pub(super) fn begun(action: &ScopeAction) -> Option<&TargetName> {
    let status = action.status.as_ref()?;
    if status.phase.is_some() {
        return None;
    }
    status.target.as_ref()
}

/// When an action took one of its plugin's places of a minute, as far as its record tells: it was
/// begun, and not found to be forbidden or too late after all. One that failed had reached the API
/// server, and of one without an outcome nobody knows.
pub(super) fn acted_at(action: &ScopeAction) -> Option<Timestamp> {
    // What agents did themselves they have counted themselves.
    if action.spec.control.is_node_local() {
        return None;
    }
    let status = action.status.as_ref()?;
    status.target.as_ref()?;
    match status.phase {
        None | Some(ActionPhase::Succeeded | ActionPhase::Failed) => {}
        Some(ActionPhase::Refused | ActionPhase::Expired) => return None,
    }
    match &status.completed_at {
        Some(completed) => Some(completed.0),
        None => Some(action.metadata.creation_timestamp.as_ref()?.0),
    }
}

/// Whether an action waits for its outcome.
pub(super) fn is_pending(action: &ScopeAction) -> bool {
    action
        .status
        .as_ref()
        .is_none_or(|status| status.phase.is_none())
}

/// Whether this object may be touched for a plugin with these settings.
pub(super) fn judge(seen: &Seen, agent: &AgentSpec, settings: &Settings) -> Result<(), Outcome> {
    let (object, namespace) = (seen.in_words(), seen.namespace());
    let own = [&settings.plugins_namespace, &settings.own_namespace];
    if own.into_iter().any(|own| own == namespace) {
        return Err(Outcome::refused(format!(
            "{object} is left alone: the namespace {namespace} belongs to the Scope plugins themselves"
        )));
    }
    let mut protected = agent.protected_namespaces.iter();
    if protected.any(|protected| protected == namespace) {
        return Err(Outcome::refused(format!(
            "{object} is left alone: the namespace {namespace} is protected \
             (spec.agent.protectedNamespaces)"
        )));
    }
    if seen.is_mirror() {
        return Err(Outcome::refused(format!(
            "{object} is left alone: it is a static pod, which its node starts from a file{}. \
             Deleting its image in the API would not touch it",
            seen.node()
                .map(|node| format!(" ({node})"))
                .unwrap_or_default()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
