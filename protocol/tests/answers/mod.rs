//! Short ways to write an answer and have it judged.

// Each test binary has its own copy of this and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::time::Duration;

use scope_protocol::conformance::{Answer, Verdict, check_control, check_report};

pub(crate) const PLUGINS: &str =
    r#""Plugins":[{"id":"fx","label":"Fx","interfaces":["reporter"],"api_version":"1"}]"#;
pub(crate) const CONTROLLER: &str = r#""Plugins":[{"id":"fx","label":"Fx","interfaces":["reporter","controller"],"api_version":"1"}]"#;
pub(crate) const STAMP: &str = r#""timestamp":"2026-11-23T01:34:40Z""#;

pub(crate) fn judge(body: &str) -> Verdict {
    check_report("fx.sock", &Answer::ok(body.as_bytes(), Duration::ZERO))
}

/// A report with these topologies.
pub(crate) fn report(topologies: &str) -> Verdict {
    judge(&format!("{{{PLUGINS},{topologies}}}"))
}

/// A report with this member of `Plugins`.
pub(crate) fn plugin(spec: &str) -> Verdict {
    judge(&format!(r#"{{"Plugins":[{spec}]}}"#))
}

/// A report with a node of this topology, these members of the node, and a template for `m`.
pub(crate) fn node_of(topology: &str, id: &str, members: &str) -> Verdict {
    let comma = if members.is_empty() { "" } else { "," };
    report(&format!(
        r#""{topology}":{{"nodes":{{"{id}":{{"id":"{id}"{comma}{members}}}}},"metric_templates":{{"m":{{"id":"m","label":"M","priority":1}}}}}}"#
    ))
}

pub(crate) fn node(members: &str) -> Verdict {
    node_of("Host", "h;<host>", members)
}

/// A node with one metric of these members.
pub(crate) fn metric(members: &str) -> Verdict {
    node(&format!(r#""metrics":{{"m":{{{members}}}}}"#))
}

/// A topology with this section.
pub(crate) fn section(name: &str, content: &str) -> Verdict {
    report(&format!(r#""Host":{{"{name}":{{{content}}}}}"#))
}

/// A controller's report with these controls.
pub(crate) fn controls(content: &str) -> Verdict {
    judge(&format!(
        r#"{{{CONTROLLER},"Host":{{"controls":{{{content}}}}}}}"#
    ))
}

pub(crate) fn exchange(change: impl FnOnce(&mut Answer<'_>)) -> Verdict {
    let body = format!("{{{PLUGINS}}}");
    let mut answer = Answer::ok(body.as_bytes(), Duration::from_millis(3));
    change(&mut answer);
    check_report("fx.sock", &answer)
}

/// A good report of this size.
pub(crate) fn sized(bytes: usize) -> Verdict {
    let mut body = format!("{{{PLUGINS},\"padding\":\"").into_bytes();
    body.resize(bytes - 2, b'x');
    body.extend_from_slice(b"\"}");
    check_report("fx.sock", &Answer::ok(&body, Duration::ZERO))
}

pub(crate) fn clicked(body: &str) -> Verdict {
    let listed = BTreeSet::from(["go".to_owned()]);
    check_control(
        "fx.sock",
        &listed,
        &Answer::ok(body.as_bytes(), Duration::ZERO),
    )
}

pub(crate) fn shortcut(members: &str) -> Verdict {
    clicked(&format!(r#"{{"shortcutReport":{{{members}}}}}"#))
}
