//! What leaves a probe, publish by publish, against nine recorded ones.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod recorded;

use std::collections::BTreeMap;
use std::time::Duration;

use scope_emulator::{Ask, Kind, ProbeSetup, Stamp, Version, World};
use serde_json::{Value, json};

/// The recorded plugin: three pods, of which one never changes, one has a metric, and one has a value
/// that changes every second.
fn plugin(ask: &Ask) -> Vec<u8> {
    let now = Stamp::from(ask.now).to_string();
    let latest = |key: &str, value: &str| json!({ key: {"timestamp": now, "value": value} });
    let both = |other: (&str, &str)| {
        let mut both = latest("kubernetes_name", "name");
        let other = latest(other.0, other.1);
        let more = other.as_object().unwrap().clone();
        both.as_object_mut().unwrap().extend(more);
        both
    };
    let node = |id: &str, latest: Value| json!({"id": id, "latest": latest, "parents": {"host": ["h;<host>"]}});
    let mut measured = node("constant-with-metric;<pod>", both(("other", "same")));
    measured["metrics"] = json!({"m": {"samples": [{"date": now, "value": 1.0}], "max": 1.0}});
    let nodes = json!({
        "constant;<pod>": node("constant;<pod>", both(("other", "same"))),
        "constant-with-metric;<pod>": measured,
        "changing-value;<pod>": node("changing-value;<pod>", both(("tick", &now))),
    });
    let spec = json!({"id": "p", "label": "P", "interfaces": ["reporter"], "api_version": "1"});
    let templates = json!({"m": {"id": "m", "label": "M"}});
    let pods = json!({"nodes": nodes, "metric_templates": templates});
    serde_json::to_vec(&json!({"Plugins": [spec], "Pod": pods})).unwrap()
}

fn described(world: &World) -> Value {
    let pods = world.published(0).unwrap().topology(Kind::Pod);
    let templates: Vec<&String> = pods.metric_templates.keys().collect();
    let mut nodes = serde_json::Map::new();
    for (key, node) in &pods.nodes {
        let mut parts: BTreeMap<&str, Value> = BTreeMap::new();
        let texts = [("id", &node.id), ("topology", &node.topology)];
        parts.extend(
            texts
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name, json!(text))),
        );
        let keys = [
            ("latest", node.latest.keys().collect::<Vec<_>>()),
            ("metrics", node.metrics.keys().collect()),
            ("parents", node.parents.keys().collect()),
        ];
        parts.extend(
            keys.into_iter()
                .filter(|(_, keys)| !keys.is_empty())
                .map(|(name, keys)| (name, json!(keys))),
        );
        nodes.insert(key.clone(), json!(parts));
    }
    json!({"pod_metric_templates": templates, "pod_nodes": nodes})
}

#[test]
fn every_third_is_complete_as_recorded() {
    let recorded = recorded::json("publishes");
    let mut world = World::default();
    world.add_probe(ProbeSetup::host("h"));
    world.add_plugin("h", "p.sock", plugin);
    for wanted in recorded["publishes"].as_array().unwrap() {
        world.advance(Duration::from_secs(3));
        let mut wanted = wanted.clone();
        let second = wanted["second"].take();
        let map = wanted.as_object_mut().unwrap();
        map.retain(|key, _| key.starts_with("pod_"));
        assert_eq!(described(&world), wanted, "second {second}");
    }
}

#[test]
fn all_were_complete_before_1_11_6() {
    let mut world = World::new(Version::V1_9);
    world.add_probe(ProbeSetup::both("h"));
    world.add_plugin("h", "p.sock", plugin);
    for _ in 0..4 {
        world.advance(Duration::from_secs(3));
        let pods = world.published(0).unwrap().topology(Kind::Pod);
        assert_eq!(pods.nodes.len(), 3);
        assert_eq!(pods.metric_templates["m"].label, "M");
    }
}
