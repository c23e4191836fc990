//! Objects for tests.

use std::collections::BTreeSet;

use scope_crds::ScopePlugin;
use serde_json::{Value, json};

use crate::settings::{AgentImage, Settings};

pub(crate) fn settings() -> Settings {
    Settings {
        plugins_namespace: "scope-plugins".into(),
        own_namespace: "scope-system".into(),
        image: AgentImage {
            name: "scope-agent:1".into(),
            pull_policy: "IfNotPresent".into(),
            pull_secrets: Vec::new(),
        },
        plugin_directory: "/var/run/scope/plugins".into(),
        kubelet_directory: "/var/lib/kubelet".into(),
        totals: None,
        allowed_actions: BTreeSet::new(),
    }
}

pub(crate) fn plugin(name: &str, spec: Value) -> ScopePlugin {
    serde_json::from_value(json!({
        "apiVersion": "scopeplugins.dev/v1alpha1",
        "kind": "ScopePlugin",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 3},
        "spec": spec,
    }))
    .unwrap()
}
