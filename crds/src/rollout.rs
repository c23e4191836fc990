//! How a change reaches the nodes.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// How a change reaches the nodes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// On how many nodes the plugin may be away at a time because of a rollout: a number of at
    /// least 1, or a share of the nodes from 1% to 100%, rounded up.
    #[serde(default)]
    pub max_unavailable: MaxUnavailable,
}

/// A number of nodes or a share of them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct MaxUnavailable(pub IntOrString);

impl Default for MaxUnavailable {
    /// A tenth, so that the number of steps does not grow with the cluster.
    fn default() -> Self {
        Self(IntOrString::String("10%".into()))
    }
}

impl MaxUnavailable {
    /// How many of `nodes` may be away at a time; at least 1.
    pub fn of(&self, nodes: i32) -> i32 {
        let nodes = i64::from(nodes.max(0));
        let count = match &self.0 {
            IntOrString::Int(count) => i64::from(*count),
            IntOrString::String(text) => text
                .strip_suffix('%')
                .and_then(|share| share.parse::<i64>().ok())
                .map_or(0, |share| (nodes * share.clamp(0, 100) + 99) / 100),
        };
        i32::try_from(count.max(1)).unwrap_or(i32::MAX)
    }
}

impl JsonSchema for MaxUnavailable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxUnavailable".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::max_unavailable(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_up_and_never_zero() {
        let share = |text: &str| MaxUnavailable(IntOrString::String(text.into()));
        assert_eq!(share("10%").of(0), 1);
        assert_eq!(share("10%").of(2), 1);
        assert_eq!(share("10%").of(11), 2);
        assert_eq!(share("100%").of(5000), 5000);
        assert_eq!(MaxUnavailable(IntOrString::Int(3)).of(2), 3);
        assert_eq!(MaxUnavailable(IntOrString::Int(0)).of(2), 1);
        assert_eq!(share("nonsense").of(2), 1);
    }
}
