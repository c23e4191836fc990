//! The object that an action is about, as one read of it showed it.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use scope_crds::{TargetKind, TargetName};
use serde_json::Value;

/// On a mirror pod: the hash of the file that the kubelet made it from.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// On every pod from a file: the same hash, which Scope takes for the pod's id.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// How the API server calls objects of this kind.
pub(crate) fn resource(kind: TargetKind) -> ApiResource {
    let (group, plural) = match kind {
        TargetKind::Pod => ("", "pods"),
        TargetKind::Node => ("", "nodes"),
        TargetKind::Deployment => ("apps", "deployments"),
        TargetKind::StatefulSet => ("apps", "statefulsets"),
        TargetKind::DaemonSet => ("apps", "daemonsets"),
        TargetKind::CronJob => ("batch", "cronjobs"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind.as_str()), plural)
}

/// Where an object is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Empty for a node.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Place {
    /// The requests about objects of this kind there.
    pub(super) fn api(&self, client: &Client, kind: TargetKind) -> Api<DynamicObject> {
        let (client, resource) = (client.clone(), resource(kind));
        match self.namespace.as_str() {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        }
    }
}

/// An object whose kind is known: everything that is judged and done follows from the same read of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: TargetKind,
    object: Arc<DynamicObject>,
}

impl Seen {
    pub(super) fn new(kind: TargetKind, object: DynamicObject) -> Self {
        Self {
            kind,
            object: Arc::new(object),
        }
    }

    pub(super) fn metadata(&self) -> &ObjectMeta {
        &self.object.metadata
    }

    pub(super) fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    pub(super) fn resource_version(&self) -> Option<&str> {
        self.metadata().resource_version.as_deref()
    }

    /// A field below the object, by its JSON pointer.
    pub(super) fn field(&self, pointer: &str) -> Option<&Value> {
        self.object.data.pointer(pointer)
    }

    /// Whether it has everything that `wanted` says.
    pub(super) fn has(&self, wanted: &Value) -> bool {
        has(&self.object.data, wanted)
    }

    /// The node that a pod is bound to.
    pub(super) fn node(&self) -> Option<&str> {
        match self.kind {
            TargetKind::Pod => self.field("/spec/nodeName")?.as_str(),
            _ => None,
        }
    }

    pub(super) fn is_going(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// Whether it stands for a static pod, which its node runs whatever becomes of this object.
    pub(super) fn is_mirror(&self) -> bool {
        annotation(self.metadata(), CONFIG_MIRROR).is_some()
    }

    pub(super) fn place(&self) -> Place {
        Place {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    pub(super) fn target(&self) -> TargetName {
        TargetName {
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
            node: self.node().map(str::to_owned),
        }
    }

    /// For an Event about it.
    pub(super) fn reference(&self) -> ObjectReference {
        let resource = resource(self.kind);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: some(self.namespace()),
            name: some(self.name()),
            uid: some(self.uid()),
            ..ObjectReference::default()
        }
    }

    /// Kind and name, for the person who clicked.
    pub(super) fn in_words(&self) -> String {
        in_words(self.kind, &self.target())
    }
}

/// Kind and name, for the person who clicked.
pub(super) fn in_words(kind: TargetKind, target: &TargetName) -> String {
    let name = &target.name;
    match target.namespace.as_str() {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// Whether `object` has everything that `wanted` says: after a lost answer it tells whether the request had
/// arrived.
fn has(object: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields.iter().all(|(key, wanted)| match object.get(key) {
            Some(found) => has(found, wanted),
            // Of a field that is false by default the API server keeps nothing.
            None => *wanted == Value::Bool(false),
        }),
        wanted => object == wanted,
    }
}

/// Whether this is the object that Scope knows by `uid`. Besides the one of that UID it may be the mirror
/// of a static pod, which Scope knows by the hash of its file. Anybody can write that annotation, so
/// whatever is known by it alone is [judged](super::decide::judge) as a mirror and never touched.
pub(super) fn is_target(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.uid.as_deref() == Some(uid) || mirror_of(metadata).contains(&Some(uid))
}

/// The hashes by which Scope may know a mirror pod; none of any other object.
pub(super) fn mirror_of(metadata: &ObjectMeta) -> [Option<&str>; 2] {
    match annotation(metadata, CONFIG_MIRROR) {
        None => [None, None],
        mirror => [mirror, annotation(metadata, CONFIG_HASH)],
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let annotations = metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_known_by_its_uid_or_by_the_hash_of_its_file() {
        let is = |annotations: Value, uid| {
            let metadata = json!({"uid": "0f-1", "annotations": annotations});
            is_target(&serde_json::from_value(metadata).unwrap(), uid)
        };
        assert!(is(json!({}), "0f-1"));
        assert!(!is(json!({}), "0f-2"));
        assert!(is(json!({"kubernetes.io/config.mirror": "abc"}), "abc"));
        assert!(is(
            json!({"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "def"}),
            "abc"
        ));
        // Written by somebody else than a kubelet: no pod is taken for another by that.
        assert!(!is(json!({"kubernetes.io/config.hash": "abc"}), "abc"));
        assert!(!is(json!({"other": "abc"}), "abc"));
    }

    #[test]
    fn an_object_tells_whether_a_lost_request_had_arrived() {
        let object = json!({"spec": {"replicas": 4, "template": {"metadata": {"annotations": {"a": "1", "b": "2"}}}}});
        for (wanted, there) in [
            (json!({"spec": {"replicas": 4}}), true),
            (json!({"spec": {"replicas": 3}}), false),
            (
                json!({"spec": {"template": {"metadata": {"annotations": {"b": "2"}}}}}),
                true,
            ),
            (json!({"spec": {"paused": true}}), false),
            (json!({"spec": {"paused": false}}), true),
        ] {
            assert_eq!(has(&object, &wanted), there, "{wanted}");
        }
    }

    #[test]
    fn kinds_are_named_as_the_api_server_does() {
        for (kind, api_version, plural) in [
            (TargetKind::Pod, "v1", "pods"),
            (TargetKind::Node, "v1", "nodes"),
            (TargetKind::Deployment, "apps/v1", "deployments"),
            (TargetKind::StatefulSet, "apps/v1", "statefulsets"),
            (TargetKind::DaemonSet, "apps/v1", "daemonsets"),
            (TargetKind::CronJob, "batch/v1", "cronjobs"),
        ] {
            let resource = resource(kind);
            assert_eq!(
                (resource.api_version.as_str(), resource.plural.as_str()),
                (api_version, plural)
            );
            assert_eq!(resource.kind, kind.as_str());
        }
    }

    #[test]
    fn an_event_about_a_node_has_no_namespace() {
        let seen = |kind, object| Seen::new(kind, serde_json::from_value(object).unwrap());
        let node = seen(
            TargetKind::Node,
            json!({"metadata": {"name": "n1", "uid": "u"}}),
        );
        assert_eq!(node.reference().namespace, None);
        assert_eq!(node.in_words(), "Node n1");
        let web = json!({"metadata": {"namespace": "demo", "name": "web"}});
        let web = seen(TargetKind::Deployment, web);
        assert_eq!(web.in_words(), "Deployment demo/web");
        assert_eq!(web.reference().api_version.as_deref(), Some("apps/v1"));
    }
}
