//! What the encoder writes: read back by an independent decoder, and judged by the rules.

mod models;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use scope_protocol::conformance::{Answer, check_control, check_report};
use scope_protocol::report::{Column, DataType, From, MetricFormat, TableKind};
use scope_protocol::*;
use serde_json::Value;

fn encoded(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    encode(report, &mut out);
    out
}

fn objects(value: &Value, key: &str) -> BTreeMap<String, Value> {
    match value.get(key) {
        None => BTreeMap::new(),
        Some(Value::Object(map)) => {
            assert!(!map.is_empty(), "{key} is empty");
            map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        Some(other) => panic!("{key} is {other}"),
    }
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .map_or_else(String::new, |v| v.as_str().expect(key).to_owned())
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} of {value}"))
}

fn timestamp(value: &Value) -> Timestamp {
    let text = value.as_str().expect("a time");
    let shortest = text.strip_suffix('Z').expect("in UTC");
    assert!(
        !shortest.contains('.') || !shortest.ends_with(['0', '.']),
        "{text}"
    );
    let text = match shortest.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<6}"),
        None => format!("{shortest}.000000"),
    };
    let field = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect(&text);
    let (y, m) = (field(0..4), field(5..7));
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let years: i64 = (1970..y).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let february = if leap(y) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = years + months[..m as usize - 1].iter().sum::<i64>() + field(8..10) - 1;
    let seconds = days * 86_400 + field(11..13) * 3600 + field(14..16) * 60 + field(17..19);
    Timestamp::from_unix_micros(seconds * 1_000_000 + field(20..26))
}

fn strings<C: FromIterator<String>>(value: &Value) -> C {
    let strings = value.as_array().expect("an array");
    assert!(!strings.is_empty());
    strings
        .iter()
        .map(|v| v.as_str().expect("a text").to_owned())
        .collect()
}

fn data_type(value: &Value) -> DataType {
    use DataType::*;
    let written = text(value, "dataType");
    [Text, Number, Ip, DateTime, Duration, Link]
        .into_iter()
        .find(|t| t.as_str() == written)
        .expect("a data type")
}

fn decode_node(value: &Value) -> Node {
    let latest = objects(value, "latest").into_iter().map(|(k, v)| {
        (
            k,
            Latest {
                timestamp: timestamp(&v["timestamp"]),
                value: text(&v, "value"),
            },
        )
    });
    let metrics = objects(value, "metrics").into_iter().map(|(k, v)| {
        let samples = v["samples"].as_array().expect("samples");
        let samples = samples
            .iter()
            .map(|s| Sample {
                date: timestamp(&s["date"]),
                value: number(s, "value"),
            })
            .collect();
        (
            k,
            Metric {
                samples,
                min: v.get("min").map_or(0.0, |_| number(&v, "min")),
                max: number(&v, "max"),
            },
        )
    });
    let parents = objects(value, "parents")
        .into_iter()
        .map(|(k, v)| (Topology::from_name(&k).expect("a name"), strings(&v)));
    let counters = objects(value, "counters").into_iter();
    Node {
        latest: latest.collect(),
        metrics: metrics.collect(),
        sets: objects(value, "sets")
            .iter()
            .map(|(k, v)| (k.clone(), strings(v)))
            .collect(),
        parents: parents.collect(),
        adjacency: value.get("adjacency").map(strings).unwrap_or_default(),
        counters: counters
            .map(|(k, v)| (k, v.as_i64().expect("an integer")))
            .collect(),
        control_probe: None,
    }
}

fn decode_table(value: &Value) -> TableTemplate {
    let kind = match text(value, "type").as_str() {
        "property-list" => TableKind::PropertyList {
            fixed_rows: objects(value, "fixedRows")
                .into_iter()
                .map(|(k, v)| (k, v.as_str().expect("a label").to_owned()))
                .collect(),
        },
        "multicolumn-table" => TableKind::MultiColumn {
            columns: value["columns"]
                .as_array()
                .expect("columns")
                .iter()
                .map(|c| Column {
                    id: text(c, "id"),
                    label: text(c, "label"),
                    data_type: data_type(c),
                })
                .collect(),
        },
        other => panic!("table type {other}"),
    };
    TableTemplate {
        label: text(value, "label"),
        prefix: text(value, "prefix"),
        kind,
    }
}

fn decode_topology(value: &Value) -> TopologyReport {
    let with_id = |section: &str| {
        objects(value, section)
            .into_iter()
            .inspect(|(key, v)| assert_eq!(&text(v, "id"), key))
    };
    let controls = with_id("controls").map(|(k, v)| {
        let confirmation = v.get("confirmation").map(|_| text(&v, "confirmation"));
        let rank = v["rank"].as_i64().expect("rank") as i32;
        (
            k,
            Control {
                human: text(&v, "human"),
                icon: text(&v, "icon"),
                rank,
                confirmation,
            },
        )
    });
    let metadata_templates = with_id("metadata_templates").map(|(k, v)| {
        let template = MetadataTemplate {
            label: text(&v, "label"),
            truncate: v
                .get("truncate")
                .map_or(0, |n| n.as_u64().expect("truncate") as u32),
            data_type: data_type(&v),
            priority: number(&v, "priority"),
            from: [From::Latest, From::Sets, From::Counters]
                .into_iter()
                .find(|f| f.as_str() == text(&v, "from"))
                .expect("from"),
        };
        (k, template)
    });
    let metric_templates = with_id("metric_templates").map(|(k, v)| {
        use MetricFormat::*;
        let template = MetricTemplate {
            label: text(&v, "label"),
            format: [Number, FileSize, Integer, Percent]
                .into_iter()
                .find(|f| f.as_str() == text(&v, "format"))
                .expect("format"),
            group: text(&v, "group"),
            priority: number(&v, "priority"),
        };
        (k, template)
    });
    TopologyReport {
        nodes: with_id("nodes")
            .map(|(k, v)| (k, decode_node(&v)))
            .collect(),
        controls: controls.collect(),
        metadata_templates: metadata_templates.collect(),
        metric_templates: metric_templates.collect(),
        table_templates: with_id("table_templates")
            .map(|(k, v)| (k, decode_table(&v)))
            .collect(),
    }
}

fn decode(body: &[u8]) -> Report {
    let value: Value = serde_json::from_slice(body).expect("JSON");
    let [plugin] = value["Plugins"].as_array().expect("plugins").as_slice() else {
        panic!("not one plugin")
    };
    assert_eq!(plugin["api_version"], "1");
    let interfaces: Vec<String> = strings(&plugin["interfaces"]);
    let plugin = PluginSpec {
        id: text(plugin, "id"),
        label: text(plugin, "label"),
        description: text(plugin, "description"),
        controller: match interfaces.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["reporter"] => false,
            ["reporter", "controller"] => true,
            _ => panic!("interfaces {interfaces:?}"),
        },
    };
    let topologies = value
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(k, _)| *k != "Plugins");
    Report {
        plugin,
        topologies: topologies
            .map(|(k, v)| {
                (
                    Topology::from_key(k).expect("a topology"),
                    decode_topology(v),
                )
            })
            .collect(),
    }
}

/// The report as the wire can hold it: no empty parts, finite numbers with three decimals.
fn as_written(mut report: Report) -> Report {
    let rounded = |n: f64| {
        let three: f64 = if n.abs() < 1e12 {
            format!("{n:.9}").parse().expect("a number")
        } else {
            n
        };
        if n.abs() < 1e12 {
            (three * 1000.0).round() / 1000.0 + 0.0
        } else {
            n
        }
    };
    for topology in report.topologies.values_mut() {
        for node in topology.nodes.values_mut() {
            node.sets.retain(|_, set| !set.is_empty());
            node.parents.retain(|_, set| !set.is_empty());
            for metric in node.metrics.values_mut() {
                metric.samples.retain(|s| s.value.is_finite());
                for sample in &mut metric.samples {
                    sample.value = rounded(sample.value);
                }
                let highest = metric
                    .samples
                    .iter()
                    .map(|s| s.value)
                    .fold(f64::MIN, f64::max);
                metric.min = if metric.min.is_finite() {
                    rounded(metric.min)
                } else {
                    0.0
                };
                metric.max = if metric.max.is_finite() {
                    rounded(metric.max)
                } else {
                    f64::MIN
                };
                metric.max = metric.max.max(highest);
                if metric.max <= 0.0 {
                    metric.max = 1.0;
                }
            }
            node.metrics.retain(|_, metric| !metric.samples.is_empty());
        }
    }
    report
        .topologies
        .retain(|_, t| *t != TopologyReport::default());
    report
}

proptest! {
    #[test]
    fn an_encoded_report_reads_back(report in models::report()) {
        prop_assert_eq!(decode(&encoded(&report)), as_written(report));
    }

    #[test]
    fn an_encoded_report_breaks_no_rule(report in models::report()) {
        let body = encoded(&report);
        let socket = format!("/var/run/scope/plugins/{0}/{0}.sock", report.plugin.id);
        let verdict = check_report(&socket, &Answer::ok(&body, Duration::ZERO));
        prop_assert!(verdict.conformant(), "{verdict}\n{}", String::from_utf8_lossy(&body));
        prop_assert_eq!(verdict.status(), Some("ok"));
    }

    #[test]
    fn an_encoded_answer_breaks_no_rule(report in models::report(), error in models::text()) {
        let response = ControlResponse {
            error: Some(error.clone()),
            value: Some(serde_json::json!({"done": [1.5, null, "x"]})),
            removed_node: Some(NodeId::pod("1")),
            shortcut_report: Some(report.clone()),
        };
        let mut body = Vec::new();
        encode_control_response(&response, &mut body);
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        prop_assert_eq!(text(&value, "error"), error);
        prop_assert_eq!(&value["removedNode"], "1;<pod>");
        prop_assert_eq!(decode(value["shortcutReport"].to_string().as_bytes()), as_written(report.clone()));

        let report_body = encoded(&report);
        let ok = |body| Answer::ok(body, Duration::ZERO);
        let listed = check_report(&report.plugin.id, &ok(&report_body));
        let verdict = check_control(&report.plugin.id, listed.controls(), &ok(&body));
        prop_assert!(verdict.conformant(), "{verdict}\n{}", String::from_utf8_lossy(&body));
    }
}

fn plugin(controller: bool) -> PluginSpec {
    PluginSpec {
        id: "node-metrics".into(),
        label: "Node \"metrics\"".into(),
        description: String::new(),
        controller,
    }
}

#[test]
fn the_wire_format_is_this() {
    let at = Timestamp::from_unix_micros(1_795_397_680_764_052);
    let mut report = Report::new(plugin(false));
    report.topology(Topology::Namespace);
    let pods = report.topology(Topology::Pod);
    pods.metric_templates.insert(
        "cpu".into(),
        MetricTemplate {
            label: "CPU".into(),
            format: MetricFormat::Percent,
            group: String::new(),
            priority: 0.1,
        },
    );
    let node = pods.node(NodeId::pod("6b1a"));
    node.set("state", at, "a\u{1}\n\u{e9}");
    node.add_parent(Topology::DaemonSet, "z;<daemonset>");
    node.add_parent(Topology::DaemonSet, "b;<daemonset>");
    node.sets.insert("none".into(), Default::default());
    node.metrics
        .insert("cpu".into(), Metric::single(at, 12.3456, 10.0));
    node.metrics
        .insert("rss".into(), Metric::single(at, f64::NAN, 10.0));
    let want = concat!(
        r#"{"Plugins":[{"id":"node-metrics","label":"Node \"metrics\"","#,
        r#""interfaces":["reporter"],"api_version":"1"}],"#,
        r#""Pod":{"metric_templates":{"cpu":{"id":"cpu","label":"CPU","format":"percent","#,
        r#""priority":0.1}},"nodes":{"6b1a;<pod>":{"id":"6b1a;<pod>","#,
        r#""latest":{"state":{"timestamp":"2026-11-23T01:34:40.764052Z","value":"a\u0001\né"}},"#,
        r#""metrics":{"cpu":{"samples":[{"date":"2026-11-23T01:34:40.764052Z","value":12.346}],"#,
        r#""max":12.346}},"#,
        r#""parents":{"daemon_set":["b;<daemonset>","z;<daemonset>"]}}}}}"#,
    );
    assert_eq!(String::from_utf8(encoded(&report)).expect("UTF-8"), want);
}

#[test]
fn stamps_are_short() {
    for (micros, want) in [
        (0, "1970-01-01T00:00:00Z"),
        (100_000, "1970-01-01T00:00:00.1Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (10_020_000, "1970-01-01T00:00:10.02Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ] {
        let mut report = Report::new(plugin(false));
        let node = report.topology(Topology::Pod).node(NodeId::pod("a"));
        node.set("k", Timestamp::from_unix_micros(micros), "v");
        let body = String::from_utf8(encoded(&report)).expect("UTF-8");
        assert!(
            body.contains(&format!("{{\"timestamp\":\"{want}\"")),
            "{body}"
        );
    }
}

#[test]
fn each_probe_finds_its_own_id() {
    let at = Timestamp::from_unix_micros(5_000_000);
    let mut report = Report::new(plugin(false));
    let containers = report.topology(Topology::Container);
    for (id, asked) in [("a", true), ("b", false), ("c", true)] {
        let node = containers.node(NodeId::container(id));
        node.set("active_controls", at, "x\",\"control_probe_id\":{");
        node.control_probe = asked.then_some(at);
    }
    let nothing_to_show = containers.node(NodeId::container("d"));
    nothing_to_show.control_probe = Some(at);

    let mut body = Vec::new();
    let slots = encode_for_probes(&report, &mut body);
    assert_eq!(
        body,
        encoded(&report),
        "nothing of it for a probe that is not known"
    );
    assert_eq!((slots.len(), slots.is_empty()), (2, false));
    for probe in ["1", "5bdcc0beddf3c14", "7fffffffffffffff"] {
        let filled = slots.fill(&body, probe);
        assert!(filled.len() <= slots.filled_len(body.len()));
        let mut wanted = report.clone();
        for (id, node) in &mut wanted.topology(Topology::Container).nodes {
            if id.starts_with(['a', 'c']) {
                node.set("control_probe_id", at, probe);
            }
        }
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).expect("JSON");
        assert_eq!(read(&filled), read(&encoded(&wanted)));
        let verdict = check_report(&report.plugin.id, &Answer::ok(&filled, Duration::ZERO));
        assert!(verdict.accepted(), "{verdict}");
    }
    assert!(encode_for_probes(&Report::new(plugin(false)), &mut Vec::new()).is_empty());
}

#[test]
fn a_scale_is_never_below_its_samples() {
    for (samples, max, want) in [
        (vec![1.0, 3.0, 2.0], 2.5, 3.0),
        (vec![1.0], 100.0, 100.0),
        (vec![0.0], 0.0, 1.0),
        (vec![-5.0], -1.0, 1.0),
        (vec![0.0001], 0.0, 1.0),
        (vec![7.0, f64::INFINITY], f64::INFINITY, 7.0),
    ] {
        let samples = samples.into_iter().zip(0..).map(|(value, second)| Sample {
            date: Timestamp::from_unix_micros(second * 1_000_000),
            value,
        });
        let metric = Metric {
            samples: samples.collect(),
            min: 0.0,
            max,
        };
        let mut report = Report::new(plugin(false));
        let node = report.topology(Topology::Host).node(NodeId::host("h"));
        node.metrics.insert("m".into(), metric.clone());
        let read = decode(&encoded(&report));
        let node = &read.topologies[&Topology::Host].nodes["h;<host>"];
        assert_eq!(node.metrics["m"].max, want, "{metric:?}");
    }
}

#[test]
fn numbers_are_short_and_exact() {
    let at = Timestamp::from_unix_micros(0);
    for (value, want) in [
        (0.0, "0"),
        (-0.0, "0"),
        (-0.0004, "0"),
        (0.1 + 0.2, "0.3"),
        (2.0005, "2.001"),
        (100.0, "100"),
        (-1.5, "-1.5"),
        (1e12 + 0.5, "1000000000000.5"),
        (8_999_999_999_999_999.0, "8999999999999999"),
        (1e16, "1e16"),
        (1.68471132689534e82, "1.68471132689534e82"),
        (f64::MAX, "1.7976931348623157e308"),
    ] {
        let mut report = Report::new(plugin(false));
        let node = report.topology(Topology::Host).node(NodeId::host("h"));
        node.metrics
            .insert("m".into(), Metric::single(at, value, f64::MAX));
        let body = String::from_utf8(encoded(&report)).expect("UTF-8");
        let written = body
            .split("\"value\":")
            .nth(1)
            .and_then(|rest| rest.split('}').next());
        assert_eq!(written, Some(want));
    }
}

#[test]
fn equal_reports_are_equal_bytes_and_are_appended() {
    let report = Report::new(plugin(true));
    let mut out = b"before ".to_vec();
    encode(&report, &mut out);
    encode(&report, &mut out);
    let one = encoded(&report);
    assert_eq!(out, [b"before ".as_slice(), &one, &one].concat());
}

#[test]
fn a_plain_success_is_an_empty_object() {
    let mut out = Vec::new();
    encode_control_response(&ControlResponse::default(), &mut out);
    assert_eq!(out, b"{}");
    out.clear();
    encode_control_response(&ControlResponse::error("no such pod"), &mut out);
    assert_eq!(out, br#"{"error":"no such pod"}"#);
}
