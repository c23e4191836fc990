//! What a real Scope 1.13.2 said to recorded answers: the rules must say the same.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_protocol::conformance::{
    Answer, Rule, Verdict, check_control, check_report, check_unanswered,
};
use serde_json::Value;

fn entries() -> Vec<Value> {
    let path = "../tests/fixtures/scope-verdicts.json";
    let text = std::fs::read_to_string(path).expect(path);
    serde_json::from_str(&text).expect("an array of entries")
}

/// Times for the placeholders; when it is makes no difference to any rule.
fn with_times(text: &str) -> String {
    text.replace("@NOW@", "2026-11-23T01:34:40.764052Z")
        .replace("@NOW+5@", "2026-11-23T01:34:45.764052Z")
        .replace("@NOW+30@", "2026-11-23T01:35:10.764052Z")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The body of an entry that is only described: a good report, padded by an unknown key.
fn padded(name: &str, good: &str) -> Option<Vec<u8>> {
    let megabytes: usize = name
        .strip_prefix("size-")?
        .strip_suffix("MB")?
        .parse()
        .expect(name);
    let mut body = good
        .strip_suffix('}')
        .expect("an object")
        .as_bytes()
        .to_vec();
    body.extend_from_slice(b",\"padding\":\"");
    body.resize(megabytes * 1024 * 1024 - 2, b'x');
    body.extend_from_slice(b"\"}");
    Some(body)
}

/// The answer as a client of the recorded transport saw it.
fn seen(body: &[u8], transport: &Value, check: impl Fn(&Answer<'_>) -> Verdict) -> Verdict {
    let seconds = |key: &str| transport[key].as_f64().unwrap_or(0.0);
    let mut answer = Answer::ok(
        body,
        Duration::from_secs_f64(seconds("delay") + seconds("drip")),
    );
    if let Some(status) = transport["status"].as_u64() {
        answer.status = status.try_into().expect("a status code");
        answer.reason = "X";
    }
    if let Some(sent) = transport["truncate"].as_u64() {
        answer.body = &answer.body[..sent as usize];
        answer.whole = false;
    }
    check(&answer)
}

/// The recording replaced the position in errors of the decoder.
fn without_position(status: &str) -> String {
    let Some((before, rest)) = status.split_once("[pos ") else {
        return status.to_owned();
    };
    let (_, after) = rest.split_once(']').expect("a closing bracket");
    format!("{before}[pos N]{after}")
}

/// Whether the recorded status depends on the client's clock or socket rather than on the answer.
fn is_of_transport(entry: &Value) -> bool {
    let transport = &entry["transport"];
    let late = |key: &str| transport[key].as_f64().is_some_and(|s| s >= 0.5);
    late("delay")
        || late("drip")
        || ["hangup", "stale"]
            .iter()
            .any(|key| transport[*key] == true)
        || text(entry, "name").starts_with("size-")
}

fn report_verdict(entry: &Value, good: &str) -> Verdict {
    let (name, socket) = (text(entry, "name"), text(entry, "socket"));
    let transport = &entry["transport"];
    if transport["stale"] == true {
        return check_unanswered(socket, "connection refused", Duration::ZERO);
    }
    if transport["hangup"] == true {
        return check_unanswered(socket, "closed before the status line", Duration::ZERO);
    }
    let body = padded(name, good).unwrap_or_else(|| with_times(text(entry, "report")).into_bytes());
    seen(&body, transport, |answer| check_report(socket, answer))
}

#[test]
fn every_recorded_report_gets_scopes_verdict() {
    let entries = entries();
    assert!(entries.len() >= 103, "{} entries", entries.len());
    let good = with_times(text(&entries[0], "report"));
    for entry in &entries {
        let name = text(entry, "name");
        let scope = &entry["scope"];
        let plugins = scope["plugins"].as_array().expect("plugins");
        if entry["transport"]["regular"] == true {
            // A file is no socket: nothing is asked, so there is nothing to judge.
            assert!(plugins.is_empty(), "{name}");
            continue;
        }
        let verdict = report_verdict(entry, &good);

        let passed_over = verdict.violation(Rule::SocketName).is_some();
        assert_eq!(passed_over, plugins.is_empty(), "{name}: {verdict}");
        let panicked = scope["hosts_view_http"] != 200;
        assert_eq!(verdict.breaks(), panicked, "{name}: {verdict}");
        let Some(plugin) = plugins.first() else {
            continue;
        };

        let status = text(plugin, "status");
        assert_eq!(
            verdict.accepted(),
            status == "ok",
            "{name}: {status}\n{verdict}"
        );
        match verdict.status() {
            Some(ours) => assert_eq!(without_position(ours), status, "{name}"),
            None => assert!(is_of_transport(entry), "{name}: {status}\n{verdict}"),
        }
    }
}

#[test]
fn every_recorded_click_gets_scopes_verdict() {
    let mut clicks = 0;
    for entry in &entries() {
        let Some(answer) = entry["control_answer"].as_str() else {
            continue;
        };
        let (name, socket) = (text(entry, "name"), text(entry, "socket"));
        let report = with_times(text(entry, "report"));
        let listed = check_report(socket, &Answer::ok(report.as_bytes(), Duration::ZERO));
        let click = &entry["scope"]["click"];
        let told: String = serde_json::from_str(text(click, "body")).unwrap_or_default();
        if told.starts_with("Control \"") {
            // The probe knew no such control and asked nothing.
            continue;
        }
        clicks += 1;
        let body = with_times(answer);
        let verdict = seen(body.as_bytes(), &entry["control_transport"], |answer| {
            check_control(socket, listed.controls(), answer)
        });

        let died = entry["scope"]["probe"] != "alive";
        assert_eq!(verdict.breaks(), died, "{name}: {verdict}");
        if died {
            continue;
        }
        let own_error = serde_json::from_str::<Value>(answer)
            .is_ok_and(|answer| answer["error"] == *told && !told.is_empty());
        let worked = click["http"] == 200 || own_error;
        assert_eq!(verdict.accepted(), worked, "{name}: {told}\n{verdict}");
        if let Some(status) = verdict.status()
            && !worked
        {
            assert_eq!(status, format!("error: {told}"), "{name}");
        }
    }
    assert!(clicks >= 10, "{clicks} clicks");
}

#[test]
fn what_the_panel_showed_is_what_the_rules_say() {
    for entry in &entries() {
        let shown = &entry["scope"]["panel"]["metrics"];
        let metrics: BTreeSet<&str> = entry["scope"]["metric_samples_and_max"]
            .as_object()
            .expect("metrics")
            .keys()
            .map(String::as_str)
            .collect();
        let Some(shown) = shown.as_array() else {
            continue;
        };
        if metrics.is_empty() {
            continue;
        }
        let report = with_times(text(entry, "report"));
        let verdict = check_report(
            text(entry, "socket"),
            &Answer::ok(report.as_bytes(), Duration::ZERO),
        );
        let hidden = verdict
            .violations()
            .iter()
            .filter(|v| v.rule == Rule::MetricTemplate)
            .count();
        assert_eq!(
            metrics.len() - hidden,
            shown.len(),
            "{}: {verdict}",
            text(entry, "name")
        );
    }
}
