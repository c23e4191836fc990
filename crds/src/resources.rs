//! CPU and memory of a container.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// CPU and memory of a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || \
     quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0"
).message("spec.agent.resources.requests.cpu may not be above limits.cpu"))]
#[x_kube(validation = Rule::new(
    "!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || \
     quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0"
).message("spec.agent.resources.requests.memory may not be above limits.memory"))]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What the container may not exceed. A CPU limit throttles the agent and is better left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

impl Resources {
    /// The agent's default: small requests, a memory limit, and no CPU limit, since throttling
    /// would make it miss Scope's 500 ms.
    pub fn agent_default() -> Self {
        Self {
            requests: Some(Amounts {
                cpu: Some(Quantity("10m".into())),
                memory: Some(Quantity("32Mi".into())),
            }),
            limits: Some(Amounts {
                cpu: None,
                memory: Some(Quantity("128Mi".into())),
            }),
        }
    }
}

/// Amounts of CPU and memory.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// CPUs, for example `10m` or `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cpu: Option<Quantity>,
    /// Bytes, for example `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub memory: Option<Quantity>,
}
