use super::*;
use crate::decode_report;
use crate::kind::Kind;

fn at(second: u32) -> String {
    format!("2026-11-22T15:51:{second:02}Z")
}

fn read(json: &str) -> Report {
    decode_report(json.as_bytes(), Stamp::ZERO).unwrap()
}

/// Merges reports of one host node each.
fn merged(nodes: &[String]) -> Node {
    let mut out = Report::empty();
    for node in nodes {
        out.merge(read(&format!(r#"{{"Host":{{"nodes":{{"h":{node}}}}}}}"#)))
            .unwrap();
    }
    out.node(Kind::Host, "h").unwrap().clone()
}

fn latest(entries: &[(&str, u32, &str)]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(key, second, value)| {
            format!(
                r#""{key}":{{"timestamp":"{}","value":"{value}"}}"#,
                at(*second)
            )
        })
        .collect();
    format!(r#"{{"latest":{{{}}}}}"#, entries.join(","))
}

#[test]
fn the_newest_value_wins_from_either_side() {
    let old = latest(&[("a", 1, "old"), ("b", 9, "new"), ("c", 1, "only")]);
    let new = latest(&[("a", 2, "new"), ("b", 3, "old")]);
    for nodes in [[old.clone(), new.clone()], [new, old]] {
        let node = merged(&nodes);
        assert_eq!(node.latest("a"), Some("new"));
        assert_eq!(node.latest("b"), Some("new"));
        assert_eq!(node.latest("c"), Some("only"));
    }
}

#[test]
fn a_tie_goes_to_the_longer_side() {
    let short = latest(&[("a", 1, "short")]);
    let long = latest(&[("a", 1, "long"), ("b", 1, "x")]);
    assert_eq!(
        merged(&[short.clone(), long.clone()]).latest("a"),
        Some("long")
    );
    assert_eq!(merged(&[long, short]).latest("a"), Some("long"));
}

#[test]
fn samples_are_interleaved_and_bounds_widened() {
    let metric = |samples: &[(u32, f64)], min: f64, max: f64| {
        let samples: Vec<String> = samples
            .iter()
            .map(|(second, value)| format!(r#"{{"date":"{}","value":{value}}}"#, at(*second)))
            .collect();
        let samples = samples.join(",");
        format!(r#"{{"metrics":{{"m":{{"samples":[{samples}],"min":{min},"max":{max}}}}}}}"#)
    };
    let values = |node: &Node| -> Vec<f64> {
        node.metrics["m"]
            .samples
            .iter()
            .map(|sample| sample.value)
            .collect()
    };
    let node = merged(&[
        metric(&[(1, 1.0), (4, 4.0)], 0.0, 5.0),
        metric(&[(2, 2.0), (4, 9.0)], -1.0, 3.0),
    ]);
    assert_eq!(
        values(&node),
        [1.0, 2.0, 9.0],
        "of two of one time the newcomer's stays"
    );
    assert_eq!((node.metrics["m"].min, node.metrics["m"].max), (-1.0, 5.0));
    let later = merged(&[metric(&[(5, 5.0)], 0.0, 1.0), metric(&[(1, 1.0)], 0.0, 1.0)]);
    assert_eq!(values(&later), [1.0, 5.0]);
    // A metric without samples leaves the other as it is, bounds included.
    let empty = merged(&[metric(&[], 0.0, 99.0), metric(&[(1, 1.0)], 0.0, 1.0)]);
    assert_eq!(empty.metrics["m"].max, 1.0);
}

#[test]
fn sets_unite_if_they_are_sorted() {
    let sets = |words: &str| format!(r#"{{"parents":{{"pod":{words}}},"adjacency":{words}}}"#);
    let node = merged(&[sets(r#"["a","c"]"#), sets(r#"["b","c"]"#)]);
    assert_eq!(node.parents["pod"], ["a", "b", "c"]);
    assert_eq!(node.adjacency, ["a", "b", "c"]);
    let unsorted = merged(&[sets(r#"["a","z"]"#), sets(r#"["z","a"]"#)]);
    assert_eq!(
        unsorted.parents["pod"],
        ["a", "z", "a"],
        "what Scope makes of it"
    );
}

#[test]
fn nodes_of_two_topologies_bring_the_probe_down() {
    let mut report = read(r#"{"Host":{"nodes":{"h":{"topology":"host"}}}}"#);
    let other = read(r#"{"Host":{"nodes":{"h":{"topology":"pod"}}}}"#);
    let death = report.merge(other).unwrap_err();
    assert_eq!(
        death.to_string(),
        "panic: Cannot merge nodes with different topology types: pod != host"
    );
}

#[test]
fn templates_and_controls_of_one_key() {
    let side = |label: &str, priority: f64, more: &str| {
        read(&format!(
            r#"{{"Pod":{{"metric_templates":{{"m":{{"id":"m","label":"{label}","priority":{priority}}}}},
                "metadata_templates":{{"m":{{"id":"m","label":"{label}","priority":{priority}}}}},
                "table_templates":{{"t":{{"id":"t","label":"{label}","prefix":"t-"}}}},
                "controls":{{"c":{{"id":"c","human":"{label}"}}{more}}}}}}}"#
        ))
    };
    for (first, second) in [(("a", 1.0), ("b", 2.0)), (("b", 2.0), ("a", 1.0))] {
        let mut report = side(first.0, first.1, "");
        report
            .merge(side(second.0, second.1, r#","d":{"id":"d"}"#))
            .unwrap();
        let pods = report.topology(Kind::Pod);
        assert_eq!(
            pods.metric_templates["m"].label, "b",
            "the higher number wins"
        );
        assert_eq!(pods.metadata_templates["m"].label, "b");
        assert_eq!(
            pods.table_templates["t"].label, "b",
            "the greater text wins"
        );
        assert_eq!(pods.controls["c"].human, first.0, "the smaller side wins");
        assert_eq!(pods.controls.len(), 2);
    }
}

#[test]
fn what_a_plugin_cannot_change_and_what_adds_up() {
    let mut report = Report::empty();
    for json in [
        r#"{"TS":"2026-01-02T00:00:00Z","Window":5,"Sampling":{"Count":1,"Total":2},"Pod":{"shape":"cloud","label":"x"},"Namespace":{"shape":"cloud"}}"#,
        r#"{"TS":"2026-01-01T00:00:00Z","Window":7,"Sampling":{"Count":1,"Total":2},"Plugins":[{"id":"p"}]}"#,
    ] {
        report.merge(read(json)).unwrap();
    }
    assert_eq!(report.topology(Kind::Pod).shape, "heptagon");
    assert_eq!(report.topology(Kind::Pod).label, "pod");
    assert_eq!(
        report.topology(Kind::Namespace).shape,
        "cloud",
        "this one has no default"
    );
    assert_eq!(
        (report.window, report.sampling.count, report.sampling.total),
        (12, 2, 4)
    );
    assert_eq!(report.ts.to_string(), "2026-01-01T00:00:00Z");
    assert!(report.plugins.contains_key("p"));
}

#[test]
fn names_of_an_address_may_get_lost() {
    let dns = |forward: &str| {
        read(&format!(
            r#"{{"DNS":{{"1.2.3.4":{{"forward":{forward},"reverse":[]}}}}}}"#
        ))
    };
    let mut report = dns(r#"["a"]"#);
    report.merge(dns(r#"["b"]"#)).unwrap();
    assert_eq!(report.dns["1.2.3.4"].forward, ["a", "b"]);
    report.merge(dns(r#"["a","b","c"]"#)).unwrap();
    assert_eq!(report.dns["1.2.3.4"].forward, ["a", "b"], "Scope's slip");
}

#[test]
fn children_of_one_id_are_replaced() {
    let children = |value: &str| format!(r#"{{"children":[{{"id":"c","topology":"{value}"}}]}}"#);
    let node = merged(&[children("first"), children("second")]);
    assert_eq!(node.children["c"].topology, "first");
}
