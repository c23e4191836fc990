//! Nodes, with what they swallow.

use std::collections::BTreeMap;

use super::feed::Stop;
use super::report::{entries, float, text, time, words};
use super::scanner::{Scanner, Step, Surplus};
use crate::report::{ACTIVE_CONTROLS, LatestControl, LatestEntry, Metric, Node, Sample};
use crate::stamp::Stamp;

type Read<T = ()> = Result<T, Stop>;

/// What stands in a node besides the node: two older ways to say things.
#[derive(Default)]
struct Older {
    controls: BTreeMap<String, LatestControl>,
    counters: BTreeMap<String, i64>,
}

/// Reads a node. Whatever goes wrong inside, the node counts with what was read up to there, and
/// reading goes on where it stopped.
pub(super) fn read(scanner: &mut Scanner<'_, '_>, node: &mut Node) {
    let mut older = Older::default();
    *node = Node::default();
    // The error is dropped on purpose: Scope does so.
    let _ = scanner.enter().and_then(|()| match scanner.try_null()? {
        true => Ok(()),
        false => fields(scanner, node, &mut older),
    });
    scanner.leave();

    if !older.controls.is_empty() {
        // Scope joins the ids in random order; here they are sorted.
        let live = || older.controls.iter().filter(|(_, control)| !control.dead);
        let ids: Vec<&str> = live().map(|(id, _)| id.as_str()).collect();
        let newest = live()
            .map(|(_, control)| control.stamp)
            .max()
            .unwrap_or_default();
        node.set_latest(ACTIVE_CONTROLS, newest.max(Stamp::ZERO), &ids.join(";"));
        node.latest_controls = older.controls;
    }
    for (name, count) in older.counters {
        let key = format!("count_{name}");
        let before = node
            .latest(&key)
            .and_then(|value| value.parse::<i64>().ok());
        let sum = count.wrapping_add(before.unwrap_or(0));
        node.set_latest(&key, scanner.now, &sum.to_string());
    }
}

fn fields(scanner: &mut Scanner<'_, '_>, node: &mut Node, older: &mut Older) -> Read {
    const FIELDS: [&str; 10] = [
        "id",
        "topology",
        "sets",
        "adjacency",
        "latest",
        "metrics",
        "parents",
        "children",
        "latestControls",
        "counters",
    ];
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| node.id = text),
            1 => text(scanner, null).map(|text| node.topology = text),
            2 => sets(scanner, null, &mut node.sets),
            3 => words(scanner, null, &mut node.adjacency),
            4 => latest(scanner, null, &mut node.latest),
            5 => entries(scanner, null, &mut node.metrics, metric),
            6 => sets(scanner, null, &mut node.parents),
            7 => {
                children(scanner, null, &mut node.children);
                Ok(())
            }
            8 => entries(scanner, null, &mut older.controls, latest_control),
            _ => counters(scanner, null, &mut older.counters),
        },
    )
}

/// Lists of words by key. A list that cannot be read is empty; what follows it is read on.
fn sets(
    scanner: &mut Scanner<'_, '_>,
    null: bool,
    into: &mut BTreeMap<String, Vec<String>>,
) -> Read {
    let mut sets = BTreeMap::new();
    if !null {
        scanner.map(&mut |scanner, key| {
            let mut list = Vec::new();
            if !scanner.try_null()? {
                // Dropped on purpose, as in `read`.
                let _ = scanner
                    .try_null()
                    .and_then(|null| words(scanner, null, &mut list));
            }
            sets.insert(key, list);
            Ok(())
        })?;
    }
    *into = sets;
    Ok(())
}

/// Values by key. A key given twice is read over the first, field by field.
fn latest(
    scanner: &mut Scanner<'_, '_>,
    null: bool,
    into: &mut BTreeMap<String, LatestEntry>,
) -> Read {
    into.clear();
    if null {
        return Ok(());
    }
    scanner.open('{')?;
    while !scanner.at_end()? {
        scanner.step(Step::Key)?;
        // The entry is made before it is known whether a value follows.
        let entry = into.entry(scanner.text()?).or_default();
        scanner.step(Step::Value)?;
        if scanner.try_null()? {
            continue;
        }
        let fields = ["timestamp", "value"];
        scanner.structure(
            &fields,
            Surplus::Skipped,
            &mut |scanner, field, null| match field {
                0 => time(scanner, null).map(|stamp| entry.stamp = stamp),
                _ => text(scanner, null).map(|value| entry.value = value),
            },
        )?;
    }
    scanner.step(Step::MapEnd)
}

fn metric(scanner: &mut Scanner<'_, '_>, metric: &mut Metric) -> Read {
    let fields = ["samples", "min", "max"];
    scanner.structure(
        &fields,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 if null => {
                metric.samples.clear();
                Ok(())
            }
            0 => {
                metric.samples = scanner.list(metric.samples.clone(), &mut sample)?;
                Ok(())
            }
            1 => float(scanner, null).map(|min| metric.min = min),
            _ => float(scanner, null).map(|max| metric.max = max),
        },
    )
}

fn sample(scanner: &mut Scanner<'_, '_>, sample: &mut Sample) -> Read {
    if scanner.try_null()? {
        *sample = Sample::default();
        return Ok(());
    }
    let fields = ["date", "value"];
    scanner.structure(
        &fields,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => time(scanner, null).map(|date| sample.date = date),
            _ => float(scanner, null).map(|value| sample.value = value),
        },
    )
}

/// The nodes inside a node, by their id. An error in them drops them all.
fn children(scanner: &mut Scanner<'_, '_>, null: bool, into: &mut BTreeMap<String, Node>) {
    if null {
        into.clear();
        return;
    }
    let nodes = scanner.list_or_null(&mut |scanner, node: &mut Node| {
        if !scanner.try_null()? {
            read(scanner, node);
        }
        Ok(())
    });
    if let Ok(nodes) = nodes {
        *into = nodes
            .into_iter()
            .map(|node| (node.id.clone(), node))
            .collect();
    }
}

fn latest_control(scanner: &mut Scanner<'_, '_>, control: &mut LatestControl) -> Read {
    let fields = ["timestamp", "value"];
    scanner.structure(
        &fields,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => time(scanner, null).map(|stamp| control.stamp = stamp),
            _ if null => {
                control.dead = false;
                Ok(())
            }
            _ => scanner.structure(&["dead"], Surplus::Skipped, &mut |scanner, _, null| {
                control.dead = !null && scanner.boolean()?;
                Ok(())
            }),
        },
    )
}

/// Counters count only if all of them could be read.
fn counters(scanner: &mut Scanner<'_, '_>, null: bool, into: &mut BTreeMap<String, i64>) -> Read {
    let mut counters = if null { BTreeMap::new() } else { into.clone() };
    if !null {
        scanner.map(&mut |scanner, key| {
            let count = scanner.int()?;
            counters.insert(key, count);
            Ok(())
        })?;
    }
    *into = counters;
    Ok(())
}
