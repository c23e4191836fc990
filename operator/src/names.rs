//! Names that other programs and people see: labels, annotations, field managers, objects.

use scope_crds::ScopePlugin;

/// Label with the name of the program that runs.
pub(crate) const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label with the plugin's ID.
pub(crate) const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label with who looks after the object.
pub(crate) const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label of a pod with the revision of its template.
pub(crate) const LABEL_REVISION: &str = "scopeplugins.dev/revision";
/// Label with the plugin that a kept template or a rollout record belongs to. Not one by which the
/// DaemonSet finds its pods: its controller adopts, and deletes, ControllerRevisions with those.
pub(crate) const LABEL_PLUGIN: &str = "scopeplugins.dev/plugin";

/// The value of [`LABEL_NAME`] on everything of the bundled agent.
pub(crate) const AGENT: &str = "scope-agent";
/// The value of [`LABEL_MANAGED_BY`], and the name under which the operator writes Events.
pub(crate) const OPERATOR: &str = "scope-operator";

/// Hash of what the operator last asked for; an object that carries the wanted one is left alone.
pub(crate) const INTENT: &str = "scopeplugins.dev/intent";
/// When `spec.rollout.restartedAt` was, in a pod's template: a new time is a new revision.
pub(crate) const RESTARTED_AT: &str = "scopeplugins.dev/restarted-at";
/// When the operator last woke the DaemonSet controller after pods could not be created.
pub(crate) const RETRIED_AT: &str = "scopeplugins.dev/retried-at";

/// Field managers, one per kind of write: an apply takes back whatever its manager no longer sends.
pub(crate) mod manager {
    pub(crate) const SERVICE_ACCOUNT: &str = "scopeplugins.dev/service-account";
    pub(crate) const DAEMON_SET: &str = "scopeplugins.dev/daemon-set";
    pub(crate) const REVISION: &str = "scopeplugins.dev/revision";
    pub(crate) const RECORD: &str = "scopeplugins.dev/rollout-record";
    pub(crate) const RETRY: &str = "scopeplugins.dev/retry";
    pub(crate) const STATUS: &str = "scopeplugins.dev/status";
    pub(crate) const ACTION: &str = "scopeplugins.dev/action";
}

const CHILD_PREFIX: &str = "scope-plugin-";

/// The name of a plugin's ServiceAccount and DaemonSet. The prefix keeps a plugin called `default`
/// away from the account that every namespace has.
pub(crate) fn child(plugin: &str) -> String {
    format!("{CHILD_PREFIX}{plugin}")
}

/// The plugin that a child of this name belongs to, whoever made it.
pub(crate) fn plugin_of_child(child: &str) -> Option<&str> {
    child
        .strip_prefix(CHILD_PREFIX)
        .filter(|name| !name.is_empty())
}

/// The ID of a plugin: the object's name.
pub(crate) fn id(plugin: &ScopePlugin) -> &str {
    plugin.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_lead_back_to_their_plugin() {
        assert_eq!(plugin_of_child(&child("default")), Some("default"));
        assert_eq!(plugin_of_child("default"), None);
        assert_eq!(plugin_of_child("scope-plugin-"), None);
    }
}
