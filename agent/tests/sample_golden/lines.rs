//! A report's body, one line for each thing that it says.

use serde_json::Value;

/// The lines, sorted. Templates are left out: they are constant, and have tests of their own.
pub(crate) fn lines(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let mut lines = Vec::new();
    for (topology, content) in body.as_object().expect("an object") {
        let nodes = content.get("nodes").and_then(Value::as_object);
        for (id, node) in nodes.into_iter().flatten() {
            // IDs of one digit, repeated, are as good at their first digits.
            let (name, kind) = id.split_once(';').expect("an ID");
            let at = match name.len() {
                0..40 if kind.starts_with('<') => {
                    format!("{topology} {}", &name[..name.len().min(8)])
                }
                40.. => format!("{topology} {}", &name[..8]),
                _ => format!("{topology} {name};{kind}"),
            };
            node_lines(&at, node, &mut lines);
        }
    }
    lines.sort();
    lines
}

fn node_lines(at: &str, node: &Value, lines: &mut Vec<String>) {
    for (section, content) in node.as_object().expect("an object") {
        let entries = content.as_object().into_iter().flatten();
        match section.as_str() {
            "metrics" => {
                for (id, metric) in entries {
                    let samples = metric["samples"].as_array().expect("samples");
                    assert_eq!(samples.len(), 1, "{at} {id}");
                    let (value, max) = (&samples[0]["value"], &metric["max"]);
                    lines.push(format!("{at} {id} = {value} of {max}"));
                }
            }
            "latest" => {
                for (key, latest) in entries {
                    let (value, stamp) = (&latest["value"], &latest["timestamp"]);
                    lines.push(format!("{at} {key} = {value} at {stamp}"));
                }
            }
            "sets" | "parents" => {
                for (key, members) in entries {
                    lines.push(format!("{at} {section} {key} = {members}"));
                }
            }
            _ => {}
        }
    }
}
