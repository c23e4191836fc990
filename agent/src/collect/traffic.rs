//! The table of what is set on the network of a container's pod, as Scope's old Traffic Control plugin had it,
//! and a few rows more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use scope_protocol::report::{TableKind, TableTemplate};
use scope_protocol::{Node, Timestamp};

use crate::container_control::said;
use crate::traffic::{Features, Loss, PREFIX, Rate, Root, Seen, Setting, time};

/// The table's ID: its prefix without the dash, as in the old plugin.
const TABLE: &str = "traffic-control-table";
/// What stands for a value that is not set, as in the old plugin.
const UNSET: &str = "-";
/// So many reports a change is told at once, instead of in its turn: for a probe that asks seldom.
const FRESH: u8 = 5;

/// What is known of the networks of pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// By the pod's ID; one that was not looked at yet, or cannot be, is absent.
    pub pods: BTreeMap<Arc<str>, PodTraffic>,
}

/// What is known of the network of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodTraffic {
    /// The rows of the table: the rest of the key, and the value.
    pub rows: Vec<(&'static str, String)>,
    /// Whether something is set.
    pub is_set: bool,
    /// In so many reports it is still told as a change.
    fresh: u8,
}

impl Traffic {
    /// From what was seen and until when it lasts. `before` is that of the last report.
    pub fn new(
        features: &Features,
        seen: &Seen,
        until: &BTreeMap<String, SystemTime>,
        before: Option<&Traffic>,
    ) -> Self {
        let pods = seen.roots.iter().map(|(pod, root)| {
            let rows = rows(features, root, until.get(&**pod).copied());
            let earlier = before.and_then(|before| before.pods.get(pod));
            let fresh = match earlier {
                Some(earlier) if earlier.rows == rows => earlier.fresh.saturating_sub(1),
                Some(_) => FRESH,
                // A new pod is told of in its turn.
                None => 0,
            };
            let is_set = *root != Root::Default;
            (
                pod.clone(),
                PodTraffic {
                    rows,
                    is_set,
                    fresh,
                },
            )
        });
        Traffic {
            pods: pods.collect(),
        }
    }
}

impl PodTraffic {
    /// Whether it is told in every report.
    pub(super) fn is_news(&self) -> bool {
        self.is_set || self.fresh > 0
    }

    /// Tells it on a container.
    pub(super) fn tell(&self, node: &mut Node, at: Timestamp) {
        for (row, value) in &self.rows {
            node.set(format!("{PREFIX}{row}"), at, value.clone());
        }
    }
}

fn rows(
    features: &Features,
    root: &Root,
    until: Option<SystemTime>,
) -> Vec<(&'static str, String)> {
    let (setting, until, note) = match root {
        Root::Default => (Setting::default(), None, None),
        Root::Ours(setting) => (*setting, until, None),
        Root::Foreign(foreign) => {
            let note = format!("set by somebody else, and left alone: {foreign}");
            (foreign.setting.unwrap_or_default(), None, Some(note))
        }
    };
    let or_unset = |text: Option<String>| text.unwrap_or_else(|| UNSET.to_owned());
    let wait = |wait: std::time::Duration| or_unset((!wait.is_zero()).then(|| time(wait)));
    let lack = features
        .netem
        .as_ref()
        .err()
        .map(|lack| match &features.tbf {
            Ok(()) => format!("only a rate can be set: {lack}"),
            Err(_) => format!("nothing can be set: {lack}"),
        });
    let mut rows = vec![
        ("latency", wait(setting.delay)),
        (
            "pktloss",
            or_unset((setting.loss != Loss::default()).then(|| setting.loss.to_string())),
        ),
        ("jitter", wait(setting.jitter)),
        (
            "rate",
            or_unset((setting.rate != Rate::default()).then(|| setting.rate.to_string())),
        ),
        ("until", or_unset(until.map(said))),
    ];
    rows.push(("note", or_unset(note.or(lack))));
    rows
}

/// The table's template by its ID.
pub(super) fn table() -> (String, TableTemplate) {
    let template = TableTemplate {
        label: "Traffic Control".to_owned(),
        prefix: PREFIX.to_owned(),
        kind: TableKind::PropertyList {
            fixed_rows: BTreeMap::new(),
        },
    };
    (TABLE.to_owned(), template)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::Cause;
    use crate::traffic::{Foreign, Lack};

    fn able() -> Features {
        Features {
            netem: Ok(()),
            tbf: Ok(()),
        }
    }

    fn shown(features: &Features, root: Root) -> Vec<String> {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600);
        let rows = rows(features, &root, Some(noon));
        rows.into_iter()
            .map(|(row, value)| format!("{row} {value}"))
            .collect()
    }

    #[test]
    fn the_rows_of_the_old_table_come_first() {
        let setting = Setting {
            delay: Duration::from_secs(2),
            loss: Loss::from_milli_percent(10_000),
            rate: Rate::from_bits(8_000_000),
            ..Setting::default()
        };
        assert_eq!(
            shown(&able(), Root::Ours(setting)),
            [
                "latency 2000ms",
                "pktloss 10%",
                "jitter -",
                "rate 8mbit",
                "until 12:00:00 UTC",
                "note -"
            ]
        );
        assert_eq!(
            shown(&able(), Root::Default),
            [
                "latency -",
                "pktloss -",
                "jitter -",
                "rate -",
                "until -",
                "note -"
            ]
        );
        let foreign = Root::Foreign(Foreign {
            kind: "netem".into(),
            handle: 0x8001_0000,
            setting: Some(setting),
        });
        let of_others = shown(&able(), foreign);
        assert_eq!(of_others[0], "latency 2000ms");
        assert_eq!(of_others[4], "until -", "it is not ours to end");
        assert!(of_others[5].starts_with("note set by somebody else, and left alone: netem 8001:"));
        let lacking = Features {
            netem: Err(Lack {
                words: "this node's kernel has no sch_netem".into(),
                cause: Cause::Absent,
            }),
            tbf: Ok(()),
        };
        assert_eq!(
            shown(&lacking, Root::Default)[5],
            "note only a rate can be set: this node's kernel has no sch_netem"
        );
    }

    #[test]
    fn a_change_is_told_at_once_and_for_a_while() {
        let seen = |root: Root| Seen {
            roots: BTreeMap::from([("pod".into(), root)]),
            ..Seen::default()
        };
        let rate = Setting {
            rate: Rate(1000),
            ..Setting::default()
        };
        let look = |root, before: Option<&Traffic>| {
            Traffic::new(&able(), &seen(root), &BTreeMap::new(), before)
        };
        let first = look(Root::Default, None);
        assert!(!first.pods["pod"].is_news());
        let set = look(Root::Ours(rate), Some(&first));
        assert!(set.pods["pod"].is_news());
        let mut last = look(Root::Default, Some(&set));
        let mut told = 0;
        while last.pods["pod"].is_news() {
            told += 1;
            last = look(Root::Default, Some(&last));
        }
        assert_eq!(told, usize::from(FRESH));
    }
}
