//! What a verdict tells: places, statuses, bounds.

mod answers;

use std::time::Duration;

use answers::*;
use scope_protocol::conformance::{MAX_VIOLATIONS, Rule, Severity, plugin_id};

#[test]
fn a_violation_tells_its_place() {
    let verdict = node(r#""sets":{"a/b~c":["z","y"]}"#);
    let violation = verdict.violation(Rule::SetOrder).expect("a violation");
    assert_eq!(violation.path, "/Host/nodes/h;<host>/sets/a~1b~0c/1");
    let body = format!(
        "{{{PLUGINS},\"Host\":{{\"nodes\":{{\"h;<host>\":{{\"id\":\"h;<host>\",\"sets\":{{\"a/b~c\":[\"z\","
    );
    assert_eq!(violation.offset, Some(body.len()));
    assert_eq!(
        violation.to_string(),
        format!(
            "set-order (shows wrong) at {} (byte {}): \"y\" is not in order. {}",
            violation.path,
            body.len(),
            Rule::SetOrder.remedy()
        )
    );
}

#[test]
fn a_stumble_in_a_node_is_rejected_though_scope_may_say_ok() {
    // The stray `}` closes what the probe reads on in: it ends with a truncated report.
    let body = format!(
        r#"{{{PLUGINS},"Host":{{"nodes":{{"f;<host>":{{"metrics":{{"m":{{"samples":[{{"date":"2026-11-23T02:00:00Z","q","metrics":{{"m":{{"samples":[]}}}},"counters":{{"n":"5"}}}}}}}}}}"#
    );
    let verdict = judge(&body);
    assert_eq!(verdict.status(), Some("ok"));
    assert!(!verdict.accepted());
    assert_eq!(
        verdict.violations().len(),
        1,
        "nothing behind it is judged: {verdict}"
    );
}

#[test]
fn a_shortcut_report_whose_plugins_get_lost_breaks_the_probe() {
    // The error in `Plugins` is ignored, and the stray `}` closes the report.
    let verdict = clicked(r#"{"shortcutReport":{"Plugins":[{"id":"fx"}}}"#);
    assert!(verdict.violation(Rule::JsonSyntax).is_some(), "{verdict}");
    assert!(verdict.breaks() && !verdict.accepted(), "{verdict}");
}

#[test]
fn a_lot_of_violations_is_bounded_and_the_worst_are_kept() {
    let nodes: Vec<String> = (0..500)
        .map(|n| format!(r#""{n}":{{"id":"{n}"}}"#))
        .collect();
    let mild = nodes.join(",");
    let verdict = report(&format!(r#""Host":{{"nodes":{{{mild}}}}}"#));
    assert_eq!(verdict.violations().len(), MAX_VIOLATIONS);
    assert_eq!(verdict.unlisted(), 400);
    assert!(verdict.accepted());
    assert!(verdict.to_string().ends_with("… and 400 more\n"));

    let verdict = report(&format!(
        r#""Host":{{"nodes":{{{mild},"h;<host>":{{"latest":5}}}}}}"#
    ));
    assert_eq!(verdict.violations().len(), MAX_VIOLATIONS);
    assert!(verdict.violation(Rule::ValueType).is_some());
    assert!(!verdict.accepted());
}

#[test]
fn long_texts_are_not_repeated() {
    let long = "x".repeat(100_000);
    let verdict = report(&format!(
        r#""Host":{{"nodes":{{"{long}":{{"id":"{long}y","counters":{{"n":{}}}}}}}}}"#,
        "1".repeat(100_000)
    ));
    assert!(!verdict.conformant());
    assert!(
        verdict.to_string().len() < 10_000,
        "{}",
        verdict.to_string().len()
    );
}

#[test]
fn statuses_are_the_probes_words() {
    for (body, want) in [
        (
            "{}",
            "error: report must contain exactly one plugin (found 0)",
        ),
        (
            r#"{"Plugins":[{"id":"a"},{"id":"b"}]}"#,
            "error: report must contain exactly one plugin (found 2)",
        ),
        (
            r#"{"Plugins":[{"id":"a\"\n"}]}"#,
            r#"error: plugin must not change its id (is "a\"\n", should be "fx")"#,
        ),
        (
            r#"{"Plugins":[{"id":"fx"}]}"#,
            r#"error: incorrect API version: expected "1", got """#,
        ),
        (
            r#"{"Plugins":[{"id":"fx","api_version":1}]}"#,
            "error: spec must contain a label",
        ),
        (
            r#"{"Window":1.5}"#,
            r#"error: decoding error: [pos 13]: json: decode int from 1.5: strconv.ParseInt: parsing "1.5": invalid syntax"#,
        ),
        (r#"{"ID":"x"#, "error: decoding error: EOF"),
        (
            "",
            "error: decoding error: only encoded map or array can be decoded into a struct",
        ),
        ("nul", "error: decoding error: unexpected EOF"),
        (
            "nope",
            "error: decoding error: [pos 4]: json: expecting ull: got ope",
        ),
        (
            r#"{"x":[1,]}"#,
            "error: decoding error: [pos 8]: json: decode number from empty string",
        ),
        (
            r#"{"ID":"\u12"}"#,
            "error: decoding error: runtime error: index out of range [5] with length 5",
        ),
        (
            r#"{"ID":"\ud800x"}"#,
            "error: decoding error: [pos 15]: json: unquoteStr: invalid unicode sequence. Expecting \\u",
        ),
    ] {
        assert_eq!(judge(body).status(), Some(want), "{body}");
    }
    assert_eq!(
        exchange(|a| a.elapsed = Duration::from_secs(1)).status(),
        None
    );
    let cut = exchange(|a| {
        a.body = &a.body[..10];
        a.whole = false;
    });
    assert_eq!(cut.status(), Some("error: decoding error: unexpected EOF"));
    let status = exchange(|a| (a.status, a.reason) = (404, "Not Found"));
    assert_eq!(
        status.status(),
        Some("error: plugin returned non-200 status code: 404 Not Found")
    );
}

#[test]
fn the_plugin_id_comes_from_the_socket() {
    for (socket, want) in [
        (
            "/var/run/scope/plugins/node-metrics/node-metrics.sock",
            Some("node-metrics"),
        ),
        ("fx", Some("fx")),
        ("fx.x", Some("fx")),
        ("a.b.sock", None),
        (".sock", None),
        ("", None),
        ("fx~1.sock", None),
    ] {
        assert_eq!(plugin_id(socket), want, "{socket}");
    }
}

#[test]
fn controls_of_a_report_are_listed() {
    let verdict = judge(&format!(
        r#"{{{CONTROLLER},"Host":{{"controls":{{"a":{{"id":"a"}}}}}},"Pod":{{"controls":{{"b":{{"id":"b"}}}}}}}}"#
    ));
    assert_eq!(verdict.controls().iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn severities_are_ordered() {
    assert!(Severity::ShowsWrong < Severity::Rejects && Severity::Rejects < Severity::Breaks);
}
