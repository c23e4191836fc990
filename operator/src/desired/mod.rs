//! What a ScopePlugin asks for, as objects. Pure: the same plugin and settings give the same bytes,
//! or every operator upgrade would restart every agent.

mod placement;
mod pod;
mod revision;
mod rights;
mod totals;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy},
        core::v1::ServiceAccount,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use kube::Resource;
use scope_crds::{Control, ScopePlugin};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{names, settings::Settings};

pub(crate) use placement::{HOSTLESS, OS, selector_in_words};
pub(crate) use pod::AGENT_PORT;
pub(crate) use revision::Revision;

/// The revision that the template of a DaemonSet carries.
pub(crate) fn carried(daemon_set: &DaemonSet) -> Option<&str> {
    let template = &daemon_set.spec.as_ref()?.template;
    let labels = template.metadata.as_ref()?.labels.as_ref()?;
    labels.get(names::LABEL_REVISION).map(String::as_str)
}

/// The children of a ScopePlugin.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The account of its agents: an identity, whose rights the chart binds. It stays while the
    /// ScopePlugin exists, so that agents on their way out still are who they are.
    pub(crate) service_account: ServiceAccount,
    /// Its agents; nothing when suspended.
    pub(crate) daemon_set: Option<DaemonSet>,
}

/// Builds the children of `plugin`, with the pods that it asks for.
#[cfg(test)]
pub(crate) fn children(plugin: &ScopePlugin, settings: &Settings) -> Desired {
    children_at(plugin, settings, &Revision::wanted(plugin, settings))
}

/// Builds the children of `plugin`, with pods of this revision.
pub(crate) fn children_at(
    plugin: &ScopePlugin,
    settings: &Settings,
    revision: &Revision,
) -> Desired {
    let id = names::id(plugin);
    let metadata = ObjectMeta {
        name: Some(names::child(id)),
        namespace: Some(settings.plugins_namespace.clone()),
        labels: Some(labels(id)),
        owner_references: Some(vec![owner(plugin)]),
        ..ObjectMeta::default()
    };

    let mut service_account = ServiceAccount {
        metadata: metadata.clone(),
        // The agents' pods ask for the token themselves; no other pod gets it by accident.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    note_intent(&mut service_account);

    let daemon_set = (!plugin.spec.suspended).then(|| {
        let mut daemon_set = DaemonSet {
            metadata,
            spec: Some(DaemonSetSpec {
                selector: LabelSelector {
                    match_labels: Some(selector(id)),
                    ..LabelSelector::default()
                },
                template: revision.placed(plugin),
                // Pods are replaced by the rollout's plan, not by the DaemonSet controller.
                update_strategy: Some(DaemonSetUpdateStrategy {
                    type_: Some("OnDelete".into()),
                    rolling_update: None,
                }),
                ..DaemonSetSpec::default()
            }),
            status: None,
        };
        note_intent(&mut daemon_set);
        daemon_set
    });
    Desired {
        service_account,
        daemon_set,
    }
}

/// The reference that makes an object a child of `plugin`. `blockOwnerDeletion` stays unset: where
/// it is checked it would take rights on the owner's finalizers.
pub(crate) fn owner(plugin: &ScopePlugin) -> OwnerReference {
    OwnerReference {
        api_version: ScopePlugin::api_version(&()).into_owned(),
        kind: ScopePlugin::kind(&()).into_owned(),
        name: names::id(plugin).to_owned(),
        uid: plugin.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The labels by which a DaemonSet finds its pods. They never change: a DaemonSet with another
/// selector would be another DaemonSet, with an outage on all nodes in between.
fn selector(id: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::LABEL_NAME.into(), names::AGENT.into()),
        (names::LABEL_INSTANCE.into(), id.into()),
    ])
}

/// The labels of everything that belongs to a plugin.
fn labels(id: &str) -> BTreeMap<String, String> {
    let mut labels = selector(id);
    labels.insert(names::LABEL_MANAGED_BY.into(), names::OPERATOR.into());
    labels
}

/// The controls that the agents of `plugin` are told to offer. What they would do themselves, without
/// asking the operator, only as far as the installation allows it.
fn offered(plugin: &ScopePlugin, settings: &Settings) -> BTreeSet<Control> {
    let allowed =
        |control: &Control| !control.is_node_local() || settings.allowed_actions.contains(control);
    let controls = plugin.spec.agent.controls.iter().copied();
    controls.filter(allowed).collect()
}

/// The path of the longest socket that the plugin needs.
pub(crate) fn longest_socket(plugin: &ScopePlugin, settings: &Settings) -> String {
    let id = names::id(plugin);
    let suffix = if plugin.spec.agent.controls.is_empty() {
        ""
    } else {
        "-controls"
    };
    format!("{}/{id}/{id}{suffix}.sock", settings.plugin_directory)
}

/// Writes a hash of the object into its annotations, so that an object which already carries it
/// need not be written again.
fn note_intent<K: Resource<DynamicType = ()> + Serialize>(object: &mut K) {
    let hash = hash(object);
    object
        .meta_mut()
        .annotations
        .get_or_insert_default()
        .insert(names::INTENT.into(), hash);
}

/// 16 hex digits: no two contents of one object meet by chance.
fn hash<T: Serialize>(content: &T) -> String {
    let text =
        serde_json::to_vec(content).expect("Kubernetes objects are plain JSON with text keys");
    Sha256::digest(text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hash that [`children_at`] has written into an object.
pub(crate) fn intent(metadata: &ObjectMeta) -> Option<&str> {
    metadata
        .annotations
        .as_ref()?
        .get(names::INTENT)
        .map(String::as_str)
}

#[cfg(test)]
mod tests;
