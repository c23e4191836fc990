//! `spec.agent.trafficControl`: how the traffic of pods may be shaped.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How the traffic of pods may be shaped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrafficControl {
    /// The longest that the traffic of a pod may be shaped by a click, and how long it is if the click
    /// does not say: 1s to 24h, in whole seconds, minutes or hours.
    #[serde(default = "default_max_duration")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,4}[smh]$') && duration(self) <= duration('24h')").message(
        "spec.agent.trafficControl.maxDuration must be 1s to 24h, in whole seconds, minutes or hours, for example 30m"
    ))]
    pub max_duration: String,
}

impl Default for TrafficControl {
    fn default() -> Self {
        Self {
            max_duration: default_max_duration(),
        }
    }
}

fn default_max_duration() -> String {
    "30m".into()
}
