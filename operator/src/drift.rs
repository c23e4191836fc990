//! Whether somebody else changed a DaemonSet of ours, and how to take that back.
//!
//! Three things can happen to its `spec`: a field of ours gets another value or vanishes (the
//! generation moves, and the object no longer says what we want), or a field is added (its writer
//! shows up in `managedFields`). A forced apply repairs the first two. It leaves added fields alone,
//! though, since they belong to another manager. So those fields are first put into our own entry of
//! `managedFields`; the apply that follows does not name them, and the API server removes them.

use k8s_openapi::{
    api::apps::v1::DaemonSet, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry,
};
use serde_json::{Map, Value, json};

use crate::names::manager;

/// What somebody else did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    /// Nothing.
    None,
    /// A field of ours is not what it should be.
    Changed,
    /// Others have written fields under `spec`: who.
    Added(Vec<String>),
}

/// Compares the DaemonSet that is there with the one that should be. `known_generation` is the one
/// that our last apply returned, if this process has applied it.
pub(crate) fn find(live: &DaemonSet, wanted: &DaemonSet, known_generation: Option<i64>) -> Drift {
    let managers = foreign_managers(live);
    if !managers.is_empty() {
        return Drift::Added(managers);
    }
    let as_left = match known_generation {
        Some(generation) => live.metadata.generation == Some(generation),
        // After a start there is nothing to remember: compare. What the API server writes in
        // another form costs one apply that changes nothing.
        None => match (
            serde_json::to_value(&live.spec),
            serde_json::to_value(&wanted.spec),
        ) {
            (Ok(live), Ok(wanted)) => covers(&live, &wanted),
            _ => false,
        },
    };
    if as_left && labels_stand(live, wanted) {
        Drift::None
    } else {
        Drift::Changed
    }
}

/// The names of those who, besides us, have written fields under `spec`.
fn foreign_managers(live: &DaemonSet) -> Vec<String> {
    let mut managers: Vec<String> = live
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| is_foreign_spec(entry))
        .map(|entry| entry.manager.clone().unwrap_or_else(|| "unknown".into()))
        .collect();
    managers.sort();
    managers.dedup();
    managers
}

fn is_foreign_spec(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() != Some(manager::DAEMON_SET)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
        && entry
            .fields_v1
            .as_ref()
            .is_some_and(|fields| fields.0.get(SPEC).is_some())
}

const SPEC: &str = "f:spec";

fn labels_stand(live: &DaemonSet, wanted: &DaemonSet) -> bool {
    let of = |object: &DaemonSet| object.metadata.labels.clone().unwrap_or_default();
    let live = of(live);
    of(wanted)
        .iter()
        .all(|(key, value)| live.get(key) == Some(value))
}

/// Whether everything in `wanted` stands in `live`, which may hold more.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| live.get(key).is_some_and(|live| covers(live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| covers(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

/// The patch that hands the foreign fields under `spec` to us, under the resource version that was
/// looked at. It also takes the intent away: if the apply that should follow never comes, the next
/// look at the object finds it wanting.
pub(crate) fn take_over(live: &DaemonSet) -> Value {
    let mut own_spec = Map::new();
    let mut own: Option<Value> = None;
    let mut others: Vec<Value> = Vec::new();
    for entry in live.metadata.managed_fields.iter().flatten() {
        let mut value =
            serde_json::to_value(entry).expect("managedFields came as JSON and are plain data");
        if is_own_apply(entry) {
            own = Some(value);
        } else if is_foreign_spec(entry) {
            if let Some(fields) = value.get_mut("fieldsV1").and_then(Value::as_object_mut) {
                if let Some(Value::Object(spec)) = fields.remove(SPEC) {
                    union(&mut own_spec, spec);
                }
                if fields.is_empty() {
                    continue;
                }
            }
            others.push(value);
        } else {
            others.push(value);
        }
    }
    let mut own = own.unwrap_or_else(|| {
        json!({
            "manager": manager::DAEMON_SET, "operation": "Apply", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {},
        })
    });
    if let Some(fields) = own.get_mut("fieldsV1").and_then(Value::as_object_mut) {
        let spec = fields.entry(SPEC).or_insert_with(|| json!({}));
        if let Value::Object(spec) = spec {
            union(spec, own_spec);
        }
    }
    let mut managed_fields = vec![own];
    managed_fields.extend(others);
    json!({
        "metadata": {
            "resourceVersion": live.metadata.resource_version,
            "managedFields": managed_fields,
            "annotations": {crate::names::INTENT: null},
        },
    })
}

fn is_own_apply(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(manager::DAEMON_SET)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

/// A set of fields is a tree of keys; the union has the keys of both.
fn union(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => union(into, from),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired, testing};

    fn wanted() -> DaemonSet {
        let plugin = testing::plugin("a", json!({"agent": {}}));
        desired::children(&plugin, &testing::settings())
            .daemon_set
            .unwrap()
    }

    fn live(managed_fields: Value) -> DaemonSet {
        let mut live = serde_json::to_value(wanted()).unwrap();
        live["metadata"]["generation"] = json!(4);
        live["metadata"]["resourceVersion"] = json!("77");
        live["metadata"]["managedFields"] = managed_fields;
        // The API server adds defaults.
        live["spec"]["revisionHistoryLimit"] = json!(10);
        live["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        serde_json::from_value(live).unwrap()
    }

    fn ours() -> Value {
        json!({"manager": manager::DAEMON_SET, "operation": "Apply", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {}, "f:spec": {"f:selector": {}}}})
    }

    fn restart(annotations: Value) -> Value {
        json!({"manager": "kubectl-rollout", "operation": "Update", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": annotations,
                "f:spec": {"f:template": {"f:metadata": {"f:annotations": {
                    ".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}}}})
    }

    fn controller() -> Value {
        json!({"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {}}, "subresource": "status"})
    }

    #[test]
    fn defaults_and_the_status_are_not_drift() {
        let live = live(json!([ours(), controller()]));
        assert_eq!(find(&live, &wanted(), None), Drift::None);
        assert_eq!(find(&live, &wanted(), Some(4)), Drift::None);
    }

    #[test]
    fn a_webhook_that_writes_in_our_name_is_not_drift() {
        let mut admission = ours();
        admission["operation"] = json!("Update");
        assert_eq!(
            find(&live(json!([ours(), admission])), &wanted(), Some(4)),
            Drift::None
        );
    }

    #[test]
    fn a_moved_generation_is_drift_even_if_nobody_signed() {
        assert_eq!(
            find(&live(json!([ours()])), &wanted(), Some(3)),
            Drift::Changed
        );
    }

    #[test]
    fn after_a_start_the_objects_are_compared() {
        let mut missing = live(json!([ours()]));
        missing
            .spec
            .as_mut()
            .unwrap()
            .template
            .spec
            .as_mut()
            .unwrap()
            .containers[0]
            .resources = None;
        assert_eq!(find(&missing, &wanted(), None), Drift::Changed);

        let mut unlabelled = live(json!([ours()]));
        unlabelled
            .metadata
            .labels
            .as_mut()
            .unwrap()
            .remove(crate::names::LABEL_MANAGED_BY);
        assert_eq!(find(&unlabelled, &wanted(), None), Drift::Changed);
        assert_eq!(find(&unlabelled, &wanted(), Some(4)), Drift::Changed);
    }

    #[test]
    fn others_under_spec_are_named() {
        let live = live(json!([
            ours(),
            restart(json!({})),
            restart(json!({})),
            controller()
        ]));
        assert_eq!(
            find(&live, &wanted(), Some(4)),
            Drift::Added(vec!["kubectl-rollout".into()])
        );
    }

    #[test]
    fn foreign_fields_become_ours_and_the_rest_stays() {
        let labels = json!({"f:labels": {"f:team": {}}});
        let live = live(json!([controller(), ours(), restart(labels.clone())]));
        let patch = take_over(&live);
        assert_eq!(patch["metadata"]["resourceVersion"], "77");
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({crate::names::INTENT: null})
        );
        let fields = patch["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(fields.len(), 3);
        assert_eq!(
            fields[0]["fieldsV1"]["f:spec"],
            json!({"f:selector": {}, "f:template": {"f:metadata": {"f:annotations": {
                ".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}})
        );
        assert_eq!(fields[0]["manager"], manager::DAEMON_SET);
        assert_eq!(fields[1], controller());
        assert_eq!(fields[2]["fieldsV1"], json!({"f:metadata": labels}));
    }

    #[test]
    fn an_entry_with_nothing_left_goes() {
        let mut only_spec = restart(json!({}));
        only_spec["fieldsV1"]
            .as_object_mut()
            .unwrap()
            .remove("f:metadata");
        let patch = take_over(&live(json!([only_spec])));
        let fields = patch["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(fields.len(), 1, "wiped managedFields get an entry of ours");
        assert_eq!(fields[0]["operation"], "Apply");
        assert!(fields[0]["fieldsV1"]["f:spec"]["f:template"].is_object());
    }

    #[test]
    fn taking_over_twice_changes_nothing() {
        let live = live(json!([ours(), restart(json!({}))]));
        let patch = take_over(&live);
        let mut after = live.clone();
        after.metadata.managed_fields =
            serde_json::from_value(patch["metadata"]["managedFields"].clone()).unwrap();
        assert_eq!(take_over(&after), patch);
    }
}
