//! What the fuzz targets call: whatever the bytes are, nothing panics, and what was understood of
//! them is within its bounds.
//!
//! `fuzz/` at the root has a target of the same name for each of [`TARGETS`], and a corpus, which
//! the tests go through as well.

#[cfg(test)]
mod corpus;
mod node;

use std::collections::BTreeSet;
use std::time::Duration;

use scope_crds::{Control, TargetKind};
use scope_protocol::conformance::{
    Answer, MAX_VIOLATIONS, Severity, Verdict, check_control, check_report,
};
use scope_protocol::{ControlRequest, ControlResponse, NodeId, encode_control_response};
use serde::Deserialize as _;
use serde::de::IgnoredAny;

use crate::container_control::{fuzzing as container_control, is_container_id};
use crate::control::{Click, OwnNode, places_of};
use crate::sample::fuzzing as sample;
use crate::serve::{fuzzing as serve, is_probe_id};
use crate::traffic::fuzzing as traffic;
use crate::volumes::fuzzing as volumes;

/// A target's function. It panics if something does not hold.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Check); 27] = [
    ("conformance_control", conformance_control),
    ("conformance_report", conformance_report),
    ("control_request", control_request),
    ("file_blkio", sample::blkio),
    ("file_cpu_limit", sample::cpu_limit),
    ("file_cpu_stat", sample::cpu_stat),
    ("file_devices", sample::devices),
    ("file_events", sample::events),
    ("file_first_process", container_control::first_process),
    ("file_freezer", container_control::freezer),
    ("file_frozen", container_control::frozen_file),
    ("file_host_meminfo", sample::host_meminfo),
    ("file_host_stat", sample::host_stat),
    ("file_io_stat", sample::io_stat),
    ("file_memory", sample::memory),
    ("file_mounts", volumes::mounts),
    ("file_net_dev", sample::network),
    ("file_number", sample::number),
    ("file_offered", serve::offered_controls),
    ("file_pressure", sample::pressure_file),
    ("file_process_cgroup", sample::process_cgroup),
    ("file_process_io", sample::process_io),
    ("file_process_stat", sample::process_stat),
    ("file_sandbox", sample::sandbox),
    ("file_shaped", container_control::shaped_file),
    ("netlink_answers", traffic::netlink_answers),
    ("node", node::node),
];

/// Runs the target with this name.
pub fn run(target: &str, data: &[u8]) {
    match TARGETS.iter().find(|(name, _)| *name == target) {
        Some((_, check)) => check(data),
        None => panic!("there is no target {target:?}"),
    }
}

/// Longest text of ours about somebody else's: it goes into logs and onto a screen.
const MAX_SAID: usize = 1_500;

/// The answer to `GET /report`.
fn conformance_report(body: &[u8]) {
    let whole = Answer::ok(body, Duration::ZERO);
    let verdict = check_report("fx.sock", &whole);
    judged(body, &verdict);
    assert_eq!(verdict, check_report("fx.sock", &whole), "another verdict");
    if verdict.conformant() {
        begins_with_json(body);
        assert_eq!(verdict.status(), Some("ok"));
    }
    for broken in [
        Answer {
            whole: false,
            ..whole
        },
        Answer {
            elapsed: Duration::from_secs(1),
            ..whole
        },
        Answer {
            status: 500,
            reason: &String::from_utf8_lossy(body),
            ..whole
        },
    ] {
        let verdict = check_report("fx.sock", &broken);
        judged(body, &verdict);
    }
}

/// The answer to `POST /control`.
fn conformance_control(body: &[u8]) {
    let listed = BTreeSet::from(["go".to_owned(), "stop".to_owned()]);
    let verdict = check_control("fx.sock", &listed, &Answer::ok(body, Duration::ZERO));
    judged(body, &verdict);
    if verdict.conformant() {
        begins_with_json(body);
    }
}

/// Scope reads one value and no further.
fn begins_with_json(body: &[u8]) {
    let json = IgnoredAny::deserialize(&mut serde_json::Deserializer::from_slice(body));
    assert!(json.is_ok(), "conformant, and not JSON: {json:?}");
}

fn judged(body: &[u8], verdict: &Verdict) {
    assert!(verdict.violations().len() <= MAX_VIOLATIONS);
    assert_eq!(verdict.conformant(), verdict.violations().is_empty());
    assert_eq!(verdict.accepted(), !verdict.has(Severity::Rejects));
    assert_eq!(verdict.breaks(), verdict.has(Severity::Breaks));
    if verdict.status().is_some_and(|status| status != "ok") {
        assert!(!verdict.accepted(), "{verdict}");
    }
    assert!(verdict.violations().is_sorted_by_key(|v| v.offset));
    for violation in verdict.violations() {
        assert!(verdict.has(violation.severity()));
        assert!(!violation.problem.is_empty());
        assert!(violation.problem.len() <= MAX_SAID, "{violation}");
        assert!(violation.path.is_empty() || violation.path.starts_with('/'));
        assert!(violation.offset.is_none_or(|offset| offset <= body.len()));
    }
}

/// The body of `POST /control`, up to the click that is made of it.
fn control_request(body: &[u8]) {
    let request = match ControlRequest::parse(body) {
        Ok(request) => request,
        Err(error) => return answered(error.to_string()),
    };
    assert!(!request.node_id.is_empty() && !request.control.is_empty());
    let offered = BTreeSet::from(Control::ALL);
    let own = OwnNode {
        host: "node-1",
        uid: Some("0a1b2c3d"),
    };
    let click = match Click::read(&request, &request.app_id, &offered, own) {
        Ok(click) => click,
        Err(rejection) => return answered(rejection.to_string()),
    };
    assert_eq!(click.node.as_str(), request.node_id);
    let place = (click.node.topology(), click.kind);
    assert!(places_of(click.control).contains(&place), "{place:?}");
    let name = match click.kind {
        TargetKind::Node => own.host,
        _ => &*click.uid,
    };
    let of_name = NodeId::object(click.node.topology(), name);
    assert_eq!(of_name.as_ref(), Some(&click.node));
    assert!(click.kind != TargetKind::Node || Some(&*click.uid) == own.uid);
    assert!((1..=64).contains(&click.uid.len()));
    if click.control.is_node_local() {
        assert!(is_container_id(&click.uid));
    }
    assert!(click.probe_id.is_empty() || is_probe_id(&click.probe_id));
    assert!(click.app_id.len() <= 64 && click.app_id.is_ascii());
    container_control::arguments(&click);
}

/// What a person is told is short, and Scope takes it.
fn answered(said: String) {
    assert!(!said.is_empty() && said.len() <= MAX_SAID, "{said}");
    let mut body = Vec::new();
    encode_control_response(&ControlResponse::error(said), &mut body);
    let answer = Answer::ok(&body, Duration::ZERO);
    let verdict = check_control("fx.sock", &BTreeSet::new(), &answer);
    assert!(verdict.conformant(), "{verdict}");
}
