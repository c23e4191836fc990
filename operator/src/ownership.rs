//! Whose an object is. What is not a child of the plugin is never touched.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use scope_crds::ScopePlugin;

/// Whose the object of a wanted name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// There is none.
    Absent,
    /// A child of this very plugin.
    Ours,
    /// A child of this plugin, or of one of the same name before it, that is being deleted.
    Going,
    /// Somebody else's: who, as far as the object says.
    Foreign { owner: Option<String> },
}

/// Judges the object that has the name of a child of `plugin`.
pub(crate) fn judge(object: Option<&ObjectMeta>, plugin: &ScopePlugin) -> Ownership {
    let Some(object) = object else {
        return Ownership::Absent;
    };
    let owner = controller(object);
    let of_this_name = owner.is_some_and(|owner| {
        is_scope_plugin(owner) && Some(&owner.name) == plugin.metadata.name.as_ref()
    });
    let of_this_plugin =
        of_this_name && owner.map(|owner| &owner.uid) == plugin.metadata.uid.as_ref();
    if of_this_plugin && object.deletion_timestamp.is_none() {
        Ownership::Ours
    } else if of_this_name {
        // A plugin of the same name was deleted and made anew; the garbage collector is at work.
        Ownership::Going
    } else {
        Ownership::Foreign {
            owner: owner_in_words(object),
        }
    }
}

/// Whether the object is controlled by the plugin with this UID.
pub(crate) fn is_child(object: &ObjectMeta, plugin_uid: &str) -> bool {
    controller(object).is_some_and(|owner| is_scope_plugin(owner) && owner.uid == plugin_uid)
}

/// The name of the plugin that controls the object.
pub(crate) fn plugin_of(object: &ObjectMeta) -> Option<&str> {
    controller(object)
        .filter(|owner| is_scope_plugin(owner))
        .map(|owner| owner.name.as_str())
}

/// Who controls the object, for people.
pub(crate) fn owner_in_words(object: &ObjectMeta) -> Option<String> {
    controller(object).map(|owner| format!("{} {}", owner.kind, owner.name))
}

fn controller(object: &ObjectMeta) -> Option<&OwnerReference> {
    object
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

fn is_scope_plugin(owner: &OwnerReference) -> bool {
    owner.kind == ScopePlugin::kind(&())
        && owner
            .api_version
            .strip_prefix(&*ScopePlugin::group(&()))
            .is_some_and(|version| version.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn judged(metadata: Value) -> Ownership {
        let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        judge(Some(&metadata), &testing::plugin("a", json!({"agent": {}})))
    }

    fn owned(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        json!({"ownerReferences": [{
            "apiVersion": "scopeplugins.dev/v1alpha1", "kind": kind, "name": name, "uid": uid,
            "controller": controller,
        }]})
    }

    #[test]
    fn only_our_own_child_is_ours() {
        let plugin = testing::plugin("a", json!({"agent": {}}));
        assert_eq!(judge(None, &plugin), Ownership::Absent);
        assert_eq!(
            judged(owned("ScopePlugin", "a", "uid-a", true)),
            Ownership::Ours
        );
        assert_eq!(judged(json!({})), Ownership::Foreign { owner: None });
        assert_eq!(
            judged(json!({"labels": {"app.kubernetes.io/managed-by": "scope-operator"}})),
            Ownership::Foreign { owner: None },
            "a label is not enough"
        );
        assert_eq!(
            judged(owned("ScopePlugin", "a", "uid-a", false)),
            Ownership::Foreign { owner: None },
            "an owner that does not control is not enough"
        );
        assert_eq!(
            judged(owned("ScopePlugin", "b", "uid-b", true)),
            Ownership::Foreign {
                owner: Some("ScopePlugin b".into())
            }
        );
        assert_eq!(
            judged(owned("Other", "a", "uid-a", true)),
            Ownership::Foreign {
                owner: Some("Other a".into())
            }
        );
    }

    #[test]
    fn what_is_being_deleted_is_waited_for() {
        let mut going = owned("ScopePlugin", "a", "uid-a", true);
        going["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        assert_eq!(judged(going), Ownership::Going);
        assert_eq!(
            judged(owned("ScopePlugin", "a", "uid-of-the-one-before", true)),
            Ownership::Going
        );
    }

    #[test]
    fn another_group_is_another_kind() {
        let mut other = owned("ScopePlugin", "a", "uid-a", true);
        other["ownerReferences"][0]["apiVersion"] = json!("scopeplugins.dev.example.org/v1");
        assert!(matches!(judged(other), Ownership::Foreign { .. }));
    }
}
