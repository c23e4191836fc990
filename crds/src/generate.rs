//! The CRDs as objects and as files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{ScopeAction, ScopePlugin, schema};

const PLAIN: &str = "a derived CRD is plain data with text keys, whatever keyword is left out";

/// Both custom resource definitions as they are installed.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [finish(ScopePlugin::crd()), finish(ScopeAction::crd())]
}

/// The files of the CRDs: name and content.
pub fn generated() -> Vec<(String, String)> {
    crds()
        .into_iter()
        .map(|crd| {
            let file = format!("{}.yaml", crd.spec.names.plural);
            let mut plain = serde_json::to_value(crd).expect(PLAIN);
            schema::whole_numbers(&mut plain);
            let yaml = serde_saphyr::to_string(&plain).expect(PLAIN);
            let text = format!(
                "# Generated from the types in crds/src by `cargo xtask generate`. Do not edit.\n{}\n",
                yaml.trim_end()
            );
            (file, text)
        })
        .collect()
}

fn finish(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut crd: Value = serde_json::to_value(crd).expect(PLAIN);
    if let Some(versions) = crd
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut)
    {
        for version in versions {
            if let Some(root) = version.pointer_mut("/schema/openAPIV3Schema") {
                schema::tidy(root);
                schema::default_status(root);
            }
        }
    }
    serde_json::from_value(crd).expect(PLAIN)
}
