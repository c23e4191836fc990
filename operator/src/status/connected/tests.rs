use std::collections::BTreeSet;

use jiff::Timestamp;
use scope_totals_wire::OffNodes;
use serde_json::json;

use super::*;
use crate::{
    status::{self, Facts, Transition, assess, transitions},
    testing,
    totals::Told,
};

fn at(hour: u8) -> Timestamp {
    format!("2030-01-01T0{hour}:00:00Z").parse().unwrap()
}

fn told(asked: u32, silent: u32) -> Connection {
    told_but(asked, silent, 0)
}

/// Of so many nodes it is not known.
fn told_but(asked: u32, silent: u32, unknown: u32) -> Connection {
    let nodes = (1..=silent.min(3)).map(|n| format!("n{n}"));
    Connection::Shown(Arc::new(Shown::Told(Told {
        asked,
        silent,
        silent_nodes: nodes.collect(),
        unknown,
        off: vec![OffNodes {
            collector: "HTTPStatistics".into(),
            why: "no BTF".into(),
            nodes: 2,
            example: "n2".into(),
        }],
        off_total: 3,
    })))
}

fn unknown() -> Connection {
    Connection::Shown(Arc::new(Shown::Unknown {
        reason: "TotalsUnreachable",
        message: "See why".into(),
    }))
}

/// The status of a plugin after this one.
fn after(
    before: Option<&ScopePluginStatus>,
    connection: Connection,
    hour: u8,
) -> ScopePluginStatus {
    let mut plugin = testing::plugin("a", json!({"agent": {}}));
    plugin.status = before.cloned();
    let facts = Facts {
        plugin: &plugin,
        allowed: &BTreeSet::new(),
        daemon_set: None,
        progress: None,
        overlap: None,
        trouble: None,
        connection,
        plugin_directory: "/run/plugins",
    };
    assess(&facts, at(hour))
}

/// Status, reason and message of the condition.
fn said(status: &ScopePluginStatus) -> Option<(String, String, String)> {
    let said = condition(&status.conditions, SCOPE_CONNECTED)?;
    Some((
        said.status.clone(),
        said.reason.clone(),
        said.message.clone(),
    ))
}

fn counts(asked: i32, silent: i32, unknown: i32) -> Option<ScopeCounts> {
    Some(ScopeCounts {
        nodes_asked: asked,
        nodes_silent: silent,
        nodes_unknown: unknown,
    })
}

#[test]
fn the_condition_and_the_counts() {
    for (connection, wanted, scope, off) in [
        (Connection::Unsaid, None, None, 0),
        (Connection::AsBefore, None, None, 0),
        (unknown(), Some(("Unknown", "TotalsUnreachable")), None, 0),
        (
            told(4, 0),
            Some(("True", "AllNodesAsked")),
            counts(4, 0, 0),
            1,
        ),
        (
            told(3, 1),
            Some(("False", "NodesSilent")),
            counts(3, 1, 0),
            1,
        ),
        (
            told(0, 5),
            Some(("False", "NoNodeAsked")),
            counts(0, 5, 0),
            1,
        ),
        (
            told_but(0, 1, 9),
            Some(("False", "NodesSilent")),
            counts(0, 1, 9),
            1,
        ),
    ] {
        let what = format!("{connection:?}");
        let status = after(None, connection, 0);
        let said = said(&status);
        let said = said.as_ref().map(|(s, r, _)| (s.as_str(), r.as_str()));
        assert_eq!(said, wanted, "{what}");
        assert_eq!(status.scope, scope, "{what}");
        assert_eq!(status.collectors_off.len(), off, "{what}");
        assert_eq!(
            status.collectors_off_total,
            (off > 0).then_some(3),
            "{what}"
        );
    }
    let off = &after(None, told(1, 0), 0).collectors_off[0];
    assert_eq!(*off, CollectorOff::new("HTTPStatistics", "no BTF", 2, "n2"));
}

#[test]
fn the_words_say_where_and_what_to_do() {
    let words = |connection| said(&after(None, connection, 0)).unwrap().2;
    let wanted = "Within the last minute Scope asked the agents on all of 4 nodes";
    assert_eq!(words(told(4, 0)), wanted);
    let some = words(told_but(60, 0, 40));
    let wanted = "Scope asked the agents on all of 60 nodes; 40 more do not tell. If that lasts, ";
    assert!(some.contains(wanted), "{some}");
    for (connection, begin) in [
        (
            told(3, 1),
            "Scope has not asked the agents on 1 of 4 nodes for a minute: n1. ",
        ),
        (
            told(0, 5),
            "Scope has asked no agent for a minute, on 5 nodes: n1, n2, n3 (+2). ",
        ),
        (
            told_but(2, 1, 1),
            "Scope has not asked the agents on 1 of 3 nodes for a minute: n1; 1 more does not tell. ",
        ),
    ] {
        let words = words(connection);
        assert!(words.starts_with(begin), "{words}");
        for part in [
            "before the directory /run/plugins was there",
            "restart the pods of Scope's agent",
            "does not mount",
            "pluginDirectory",
        ] {
            assert!(words.contains(part), "{part} in {words}");
        }
    }
}

/// An Event takes 1,024 bytes, and what to do stands at the end.
#[test]
fn an_event_takes_the_words() {
    let name = |letter: &str| letter.repeat(63);
    let told = Told {
        asked: 4_000,
        silent: 1_000,
        silent_nodes: vec![name("a"), name("b"), name("c")],
        unknown: 1_000,
        ..Told::default()
    };
    let words = words::connected(&told, "/var/run/scope/plugins");
    assert!(words.len() <= 1024, "{} bytes", words.len());
}

/// Another replica leads now and has heard nothing yet: what the one before it said stands.
#[test]
fn what_was_said_stays_until_more_is_heard() {
    let first = after(None, told(3, 1), 0);
    let second = after(Some(&first), Connection::AsBefore, 1);
    assert_eq!(second, first);
    let third = after(Some(&second), told(2, 2), 2);
    let time = |status: &ScopePluginStatus| {
        let said = condition(&status.conditions, SCOPE_CONNECTED).unwrap();
        said.last_transition_time.0
    };
    assert_eq!(time(&third), at(0), "it is as false as before");
    assert_eq!(time(&after(Some(&third), told(4, 0), 3)), at(3));
    // Where totals are switched off, or the plugin is suspended, nothing is left of it.
    let off = after(Some(&third), Connection::Unsaid, 3);
    assert_eq!((said(&off), off.scope), (None, None));
    assert_eq!(
        (off.collectors_off.len(), off.collectors_off_total),
        (0, None)
    );
    // What is not known takes back what was.
    assert_eq!(after(Some(&third), unknown(), 3).scope, None);
}

/// Whoever waits for a plugin by its conditions, as kstatus does, sees no difference.
#[test]
fn readiness_does_not_depend_on_it() {
    let without = after(None, Connection::Unsaid, 0);
    for connection in [told(4, 0), told(0, 4), unknown()] {
        let mut with = after(None, connection, 0);
        with.conditions.retain(|it| it.type_ != SCOPE_CONNECTED);
        assert_eq!(with.conditions, without.conditions);
    }
    let types: Vec<&str> = without.conditions.iter().map(|it| &*it.type_).collect();
    assert_eq!(types, [status::READY, "Available", "Reconciling"]);
}

#[test]
fn silence_and_its_end_are_told() {
    let silent = after(None, told(3, 1), 0);
    let actions = transitions(None, &silent).into_iter().map(|it| it.action);
    assert_eq!(actions.collect::<Vec<_>>(), ["AskTotals"]);
    let of = |before: Option<&ScopePluginStatus>, now: &ScopePluginStatus| -> Vec<(bool, String)> {
        let told = transitions(before, now);
        let told = told.into_iter();
        told.map(
            |Transition {
                 warning, reason, ..
             }| (warning, reason.to_owned()),
        )
        .collect()
    };
    let [well, silent, worse, lost] =
        [told(4, 0), told(3, 1), told(0, 4), unknown()].map(|it| after(None, it, 0));
    let warning = |reason: &str| vec![(true, reason.to_owned())];
    assert_eq!(of(None, &well), []);
    assert_eq!(of(None, &silent), warning("NodesSilent"));
    assert_eq!(of(Some(&well), &silent), warning("NodesSilent"));
    assert_eq!(of(Some(&silent), &silent), []);
    assert_eq!(of(Some(&silent), &worse), warning("NoNodeAsked"));
    assert_eq!(
        of(Some(&worse), &well),
        [(false, "AllNodesAsked".to_owned())]
    );
    assert_eq!(of(Some(&well), &lost), []);
    assert_eq!(of(Some(&lost), &well), []);
}
