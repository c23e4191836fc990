//! What must survive a crash: written, under its resource version, before any pod is deleted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The rollouts of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The last revision that was good on all nodes that were up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) good: Option<String>,
    /// The newest rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<Run>,
}

/// One rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// The revision that the nodes get.
    pub(crate) target: String,
    /// The plugin's generation that asked for it.
    pub(crate) generation: i64,
    /// Not the spec but the operator changed: a new version of it, or of the agent's image.
    #[serde(default)]
    pub(crate) upgrade: bool,
    pub(crate) started: Timestamp,
    pub(crate) stage: Stage,
    /// The canary's nodes, and how often their containers had been restarted when the soak began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) canary: BTreeMap<String, i32>,
    /// The nodes whose pod is being replaced, and since when. At most
    /// [`scope_crds::MAX_IN_FLIGHT`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) in_flight: BTreeMap<String, Timestamp>,
}

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub(crate) enum Stage {
    /// The canary's nodes are being updated.
    Canary,
    /// They are updated, and watched.
    Soaking { since: Timestamp },
    /// All others are being updated.
    Rolling,
    /// Every node that was up is as it should be.
    Done,
    /// It stopped; `why` is for people.
    Halted { why: String },
    /// The nodes that it had reached go back to the good revision.
    RollingBack { why: String },
    /// They are back.
    RolledBack { why: String },
}

impl Stage {
    /// Whether failures can still end it.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self, Self::Canary | Self::Soaking { .. } | Self::Rolling)
    }

    /// Whether the nodes go back to the good revision, or have.
    pub(crate) fn goes_back(&self) -> bool {
        matches!(self, Self::RollingBack { .. } | Self::RolledBack { .. })
    }
}

#[cfg(test)]
impl Record {
    /// The revision that the nodes should have as things stand: the target, or the good one when the
    /// target failed and is taken back.
    pub(crate) fn effective(&self) -> Option<&str> {
        let run = self.run.as_ref()?;
        if run.stage.goes_back() {
            self.good.as_deref()
        } else {
            Some(&run.target)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes() {
        let at: Timestamp = "2030-01-01T00:00:00.123456Z".parse().unwrap();
        let record = Record {
            good: Some("a".into()),
            run: Some(Run {
                target: "b".into(),
                generation: 3,
                upgrade: false,
                started: at,
                stage: Stage::Soaking { since: at },
                canary: BTreeMap::from([("n1".into(), 2)]),
                in_flight: BTreeMap::from([("n1".into(), at)]),
            }),
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(
            serde_json::from_str::<Record>("{}").unwrap(),
            Record::default()
        );
    }

    /// With names of the usual length; ConfigMaps may have 1 MiB.
    #[test]
    fn the_largest_record_fits_its_object() {
        let at = Timestamp::now();
        let names = || (0..scope_crds::MAX_IN_FLIGHT).map(|n| format!("{n:0>253}"));
        let record = Record {
            good: Some("a".repeat(16)),
            run: Some(Run {
                target: "b".repeat(16),
                generation: i64::MAX,
                upgrade: true,
                started: at,
                stage: Stage::Halted {
                    why: "x".repeat(1024),
                },
                canary: names().map(|name| (name, i32::MAX)).collect(),
                in_flight: names().map(|name| (name, at)).collect(),
            }),
        };
        assert!(serde_json::to_string(&record).unwrap().len() < 700_000);
    }
}
