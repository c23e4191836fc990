//! Answers of made-up plugins.

use std::time::{Duration, SystemTime};

use scope_emulator::Stamp;
use serde_json::{Map, Value, json};

/// A time as reports carry it.
pub(crate) fn stamp(now: SystemTime, ahead: u64) -> String {
    Stamp::from(now + Duration::from_secs(ahead)).to_string()
}

/// An answer of a plugin with these interfaces and topologies.
pub(crate) fn body(id: &str, interfaces: &[&str], topologies: Value) -> Vec<u8> {
    let spec = json!({
        "id": id, "label": id, "interfaces": interfaces, "api_version": "1",
    });
    let mut body = json!({ "Plugins": [spec] });
    merge(&mut body, topologies);
    body.to_string().into_bytes()
}

/// A topology of some nodes.
pub(crate) fn nodes(nodes: impl IntoIterator<Item = Value>) -> Value {
    let by_id = nodes.into_iter().map(|node| {
        let id = node["id"].as_str().unwrap().to_owned();
        (id, node)
    });
    json!({ "nodes": Value::Object(by_id.collect::<Map<_, _>>()) })
}

/// A node with values that are all of one time.
pub(crate) fn node(id: &str, stamp: &str, values: &[(&str, &str)]) -> Value {
    let latest = values.iter().map(|(key, value)| {
        let entry = json!({ "timestamp": stamp, "value": value });
        ((*key).to_owned(), entry)
    });
    json!({ "id": id, "latest": Value::Object(latest.collect()) })
}

/// A metric with one sample.
pub(crate) fn metric(id: &str, stamp: &str, value: f64) -> Value {
    json!({ "metrics": { id: { "samples": [{ "date": stamp, "value": value }], "max": 100.0 } } })
}

/// Parents of one kind.
pub(crate) fn parent(kind: &str, id: &str) -> Value {
    json!({ "parents": { kind: [id] } })
}

/// Controls as plugins offer them on a node.
pub(crate) fn latest_controls(stamp: &str, ids: &[&str]) -> Value {
    let controls = ids.iter().map(|id| {
        let alive = json!({ "timestamp": stamp, "value": { "dead": false } });
        ((*id).to_owned(), alive)
    });
    json!({ "latestControls": Value::Object(controls.collect()) })
}

/// The description of a control of a topology.
pub(crate) fn control(id: &str) -> Value {
    json!({ "controls": { id: { "id": id, "human": id, "icon": "fa fa-bolt", "rank": 10 } } })
}

/// The template of a metric.
pub(crate) fn template(id: &str) -> Value {
    json!({ "metric_templates": { id: { "id": id, "label": id, "priority": 0.5 } } })
}

/// All of these in one.
pub(crate) fn all(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut sum = json!({});
    for part in parts {
        merge(&mut sum, part);
    }
    sum
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
