//! The template of a plugin's pods under the name of its content, and how it is kept for a rollback.
//!
//! Where the pods go is not part of it: the DaemonSet controller removes and makes pods by the placement
//! at once, whatever the rollout does, so every template carries the placement that is wanted now.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    apimachinery::pkg::runtime::RawExtension,
};
use scope_crds::ScopePlugin;

use super::{hash, owner, placement, pod};
use crate::{names, settings::Settings};

/// A template of pods, and its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    /// A hash of the template.
    pub(crate) id: String,
    template: PodTemplateSpec,
}

impl Revision {
    /// The one that the plugin asks for.
    pub(crate) fn wanted(plugin: &ScopePlugin, settings: &Settings) -> Self {
        Self::of(pod::template(plugin, settings))
    }

    fn of(template: PodTemplateSpec) -> Self {
        Self {
            id: hash(&template),
            template,
        }
    }

    /// The template with the plugin's placement, and the name on each pod.
    pub(super) fn placed(&self, plugin: &ScopePlugin) -> PodTemplateSpec {
        let mut template = self.template.clone();
        let metadata = template.metadata.get_or_insert_default();
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(names::LABEL_REVISION.into(), self.id.clone());
        let spec = template.spec.get_or_insert_default();
        let wanted = &plugin.spec.placement;
        spec.affinity = Some(placement::affinity(wanted));
        spec.node_selector = Some(placement::node_selector(wanted));
        spec.tolerations = placement::tolerations(wanted);
        template
    }

    /// What the object is called in which the one of this ID is kept.
    pub(crate) fn name(plugin: &ScopePlugin, id: &str) -> String {
        format!("{}-{id}", names::child(names::id(plugin)))
    }

    /// The object in which it is kept. `number` orders a plugin's revisions.
    pub(crate) fn kept(
        &self,
        plugin: &ScopePlugin,
        settings: &Settings,
        number: i64,
    ) -> ControllerRevision {
        let id = names::id(plugin);
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(Self::name(plugin, &self.id)),
                namespace: Some(settings.plugins_namespace.clone()),
                labels: Some(BTreeMap::from([
                    (names::LABEL_MANAGED_BY.into(), names::OPERATOR.into()),
                    (names::LABEL_PLUGIN.into(), id.into()),
                    (names::LABEL_REVISION.into(), self.id.clone()),
                ])),
                owner_references: Some(vec![owner(plugin)]),
                ..ObjectMeta::default()
            },
            data: serde_json::to_value(&self.template).ok().map(RawExtension),
            revision: number,
        }
    }

    /// Reads what [`Revision::kept`] wrote. Nothing where the content does not have the name that the
    /// object has: somebody changed it, or another version wrote it, and it must not be rolled out.
    pub(crate) fn read(kept: &ControllerRevision) -> Option<Self> {
        let named = kept.metadata.labels.as_ref()?.get(names::LABEL_REVISION)?;
        let template = serde_json::from_value(kept.data.as_ref()?.0.clone()).ok()?;
        let read = Self::of(template);
        (read.id == *named).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn wanted(spec: serde_json::Value) -> Revision {
        Revision::wanted(&testing::plugin("a", spec), &testing::settings())
    }

    #[test]
    fn what_changes_the_pods_is_another_revision_and_nothing_else_is() {
        let plain = wanted(json!({"agent": {}}));
        assert_eq!(plain.id.len(), 16);
        for same in [
            json!({"agent": {}, "rollout": {"maxUnavailable": 3, "canary": {"nodes": 0}}}),
            json!({"agent": {}, "placement": {"nodeSelector": {"pool": "x"}, "tolerations": []}}),
            json!({"agent": {}, "suspended": false}),
        ] {
            assert_eq!(wanted(same.clone()), plain, "{same}");
        }
        for other in [
            json!({"agent": {}, "label": "x"}),
            json!({"agent": {"sampleInterval": "5s"}}),
            json!({"agent": {}, "placement": {"priorityClassName": "low"}}),
            json!({"agent": {}, "rollout": {"restartedAt": "2030-01-01T00:00:00Z"}}),
        ] {
            assert_ne!(wanted(other.clone()).id, plain.id, "{other}");
        }
    }

    #[test]
    fn a_kept_template_is_read_only_as_it_was_written() {
        let plugin = testing::plugin("a", json!({"agent": {}}));
        let revision = wanted(json!({"agent": {}}));
        let mut kept = revision.kept(&plugin, &testing::settings(), 7);
        // As it comes from the API server.
        kept = serde_json::from_value(serde_json::to_value(kept).unwrap()).unwrap();
        assert_eq!(Revision::read(&kept), Some(revision));
        let data = &mut kept.data.as_mut().unwrap().0;
        data["spec"]["containers"][0]["image"] = json!("evil:1");
        assert_eq!(Revision::read(&kept), None);
        kept.data = None;
        assert_eq!(Revision::read(&kept), None);
    }

    #[test]
    fn an_old_template_goes_where_the_plugin_belongs_now() {
        let plugin = testing::plugin(
            "a",
            json!({"agent": {}, "placement": {"nodeSelector": {"pool": "x"}}}),
        );
        let placed = wanted(json!({"agent": {}})).placed(&plugin);
        let selector = placed.spec.unwrap().node_selector.unwrap();
        assert_eq!(selector["pool"], "x");
        let labels = placed.metadata.unwrap().labels.unwrap();
        assert_eq!(labels[names::LABEL_REVISION].len(), 16);
    }
}
