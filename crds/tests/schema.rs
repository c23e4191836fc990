//! What the schema bounds, and what it leaves open on purpose.

#![allow(clippy::unwrap_used)]

use scope_crds::{AgentSpec, Placement, ScopePluginSpec, crds};
use serde_json::{Value, json};

fn schemas() -> Vec<(String, Value)> {
    crds()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0]
                .schema
                .as_ref()
                .and_then(|schema| schema.open_api_v3_schema.as_ref())
                .unwrap();
            (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect()
}

/// Calls `look` on every schema in `schema`, with its path.
fn walk(schema: &Value, path: &str, look: &mut dyn FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), look);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), look);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            &schema["additionalProperties"],
            &format!("{path}{{}}"),
            look,
        );
    }
}

#[test]
fn every_list_map_and_text_is_bounded() {
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, schema| {
            let bounded = match schema["type"].as_str() {
                Some("array") => schema["maxItems"].is_u64(),
                Some("string") => {
                    schema["maxLength"].is_u64()
                        || schema["enum"].is_array()
                        || schema["format"] == "date-time"
                        || path.ends_with(".apiVersion")
                        || path.ends_with(".kind")
                }
                Some("object") if schema.get("additionalProperties").is_some() => {
                    schema["maxProperties"].is_u64()
                }
                _ => true,
            };
            assert!(bounded, "{path} has no bound: {schema}");
        });
    }
}

#[test]
fn every_field_is_described_and_none_is_nullable() {
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, schema| {
            assert!(schema.get("nullable").is_none(), "{path} is nullable");
            if path.contains(".spec.") && !path.ends_with("[]") && !path.ends_with("{}") {
                let text = schema["description"].as_str().unwrap_or_default();
                assert!(text.ends_with('.'), "{path} has no description: {text:?}");
            }
        });
    }
}

#[test]
fn no_property_is_read_as_a_boolean_by_yaml_1_1() {
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, _| {
            let name = path.rsplit('.').next().unwrap_or_default();
            assert!(
                !["n", "y", "on", "off", "yes", "no"].contains(&name),
                "{path}"
            );
        });
    }
}

#[test]
fn only_the_plugin_has_a_status_default() {
    let default = |kind: &str| {
        schemas()
            .into_iter()
            .find(|(name, _)| name == kind)
            .map(|(_, schema)| schema["properties"]["status"]["default"].clone())
            .unwrap()
    };
    assert_eq!(default("ScopePlugin"), json!({"observedGeneration": -1}));
    assert_eq!(default("ScopeAction"), Value::Null);
}

/// The defaults of the types and those that the API server fills in are the same.
#[test]
fn the_smallest_spec_is_the_default_one() {
    let spec: ScopePluginSpec = serde_json::from_value(json!({"agent": {}})).unwrap();
    assert_eq!(spec.agent, AgentSpec::default());
    assert_eq!(spec.placement, Placement::default());
    assert!(!spec.suspended);
    assert!(serde_json::from_value::<ScopePluginSpec>(json!({})).is_err());
}

/// An older operator reads what a newer one's schema allows.
#[test]
fn unknown_fields_are_not_an_error() {
    let spec = json!({"agent": {"source": "Auto"}, "container": {}, "rollout": {"paused": true}});
    assert!(serde_json::from_value::<ScopePluginSpec>(spec).is_ok());
}

/// Whole numbers are common in YAML where Kubernetes takes a quantity.
#[test]
fn quantities_may_be_numbers() {
    let spec: ScopePluginSpec = serde_json::from_value(json!({
        "agent": {"resources": {"requests": {"cpu": 1, "memory": "64Mi"}}},
        "rollout": {"maxUnavailable": 2},
    }))
    .unwrap();
    let requests = spec.agent.resources.requests.unwrap();
    assert_eq!(requests.cpu.unwrap().0, "1");
    assert_eq!(spec.agent.resources.limits, None);
}
