//! What the agents of a plugin say of themselves, as its status tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// On how many nodes Scope's probes ask the agents.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScopeCounts {
    /// Nodes on which a probe asked within the last minute.
    #[schemars(range(min = 0))]
    pub nodes_asked: i32,
    /// Nodes on which none did: Scope shows nothing of what these agents know.
    #[schemars(range(min = 0))]
    pub nodes_silent: i32,
    /// Nodes of which that is not known: the agent does not tell, does not reach scope-totals, or began less than a
    /// minute ago and was not asked yet.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub nodes_unknown: i32,
}

/// A collector, or a part of one, that is asked for and brings nothing on some nodes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CollectorOff {
    /// Its name, as in `spec.agent.collectors`.
    #[schemars(length(max = 64))]
    pub collector: String,
    /// Why it brings nothing, in the agents' words.
    #[schemars(length(max = 256))]
    pub why: String,
    /// On how many nodes.
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// The first of these nodes, by name.
    #[schemars(length(max = 253))]
    pub example: String,
}

impl CollectorOff {
    /// At most so many stand in a status.
    pub const MAX: usize = 16;

    /// One entry, with its texts cut to what the schema takes and made one line each: they come from nodes.
    pub fn new(collector: &str, why: &str, nodes: i32, example: &str) -> Self {
        let line = |text: &str, most: usize| {
            let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            line.take(most).collect::<String>()
        };
        Self {
            collector: line(collector, 64),
            why: line(why, 256),
            nodes,
            example: line(example, 253),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_the_schema_and_are_one_line() {
        let long = "ü".repeat(300);
        let off = CollectorOff::new(&long, &format!("a\nb{long}"), 2, &long);
        let characters = [&off.collector, &off.why, &off.example].map(|text| text.chars().count());
        assert_eq!(characters, [64, 256, 253]);
        assert!(off.why.starts_with("a b"), "{}", off.why);
    }
}
