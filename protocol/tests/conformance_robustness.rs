//! Whatever the body is, it is judged, and in time.

mod models;

use std::time::Duration;

use proptest::prelude::*;
use scope_protocol::conformance::{
    Answer, MAX_VIOLATIONS, Severity, Verdict, check_control, check_report,
};
use scope_protocol::{ControlResponse, encode, encode_control_response};

fn tokens() -> impl Strategy<Value = &'static [u8]> {
    proptest::sample::select(vec![
        b"{".as_slice(),
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b" ",
        b"\0",
        b"\xff",
        b"null",
        b"nul",
        b"true",
        b"-",
        b"1.5",
        b"1e400",
        b"99999999999999999999",
        b"\"x\"",
        b"\"NaN\"",
        b"\\u00e9",
        b"\\ud83d",
        b"\"Plugins\":",
        b"\"Host\":",
        b"\"nodes\":",
        b"\"id\":",
        b"\"latest\":",
        b"\"sets\":",
        b"\"children\":",
        b"\"metrics\":",
        b"\"samples\":",
        b"\"2026-11-23T02:00:00Z\"",
        b"\"shortcutReport\":",
        b"\"value\":",
    ])
}

/// A change at a place (in millionths of the length): what is taken away, and what is put there.
type Change = (usize, usize, &'static [u8]);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let taken = prop_oneof![Just(0usize), 0..3usize, 0..40usize, Just(usize::MAX)];
    proptest::collection::vec((0..1_000_000usize, taken, tokens()), 1..4)
}

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for &(at, taken, put) in changes {
        let at = at * body.len() / 1_000_000;
        let end = at.saturating_add(taken).min(body.len());
        body.splice(at..end, put.iter().copied());
    }
    body
}

fn sane(verdict: &Verdict) -> Result<(), TestCaseError> {
    prop_assert!(verdict.violations().len() <= MAX_VIOLATIONS);
    prop_assert_eq!(verdict.conformant(), verdict.violations().is_empty());
    if verdict.status().is_some_and(|s| s != "ok") {
        prop_assert!(!verdict.accepted(), "{verdict}");
    }
    for violation in verdict.violations() {
        prop_assert!(!violation.problem.is_empty());
        prop_assert!(verdict.has(violation.severity()));
    }
    prop_assert_eq!(verdict.accepted(), !verdict.has(Severity::Rejects));
    Ok(())
}

fn judged(body: &[u8]) -> [Verdict; 3] {
    let answer = Answer::ok(body, Duration::ZERO);
    let cut = Answer {
        whole: false,
        ..answer
    };
    [
        check_report("fx.sock", &answer),
        check_report("fx.sock", &cut),
        check_control("fx.sock", &["go".to_owned()].into(), &answer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn changed_reports_are_judged(report in models::report(), changes in changes()) {
        let mut body = Vec::new();
        encode(&report, &mut body);
        for verdict in judged(&changed(body, &changes)) {
            sane(&verdict)?;
        }
    }

    #[test]
    fn changed_answers_are_judged(report in models::report(), changes in changes()) {
        let response = ControlResponse { shortcut_report: Some(report), ..Default::default() };
        let mut body = Vec::new();
        encode_control_response(&response, &mut body);
        for verdict in judged(&changed(body, &changes)) {
            sane(&verdict)?;
        }
    }

    #[test]
    fn any_tokens_are_judged(tokens in proptest::collection::vec(tokens(), 0..40)) {
        for verdict in judged(&tokens.concat()) {
            sane(&verdict)?;
        }
    }

    #[test]
    fn any_bytes_are_judged(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for verdict in judged(&body) {
            sane(&verdict)?;
        }
    }
}

/// Were any of these read in quadratic time, this test would not end within minutes.
#[test]
fn hostile_bodies_are_judged_in_time() {
    const N: usize = 30_000;
    let many = |item: &dyn Fn(usize) -> String| (0..N).map(item).collect::<Vec<_>>().join(",");
    let nodes = |nodes: &str, rest: &str| format!(r#"{{"Host":{{"nodes":{{{nodes}}}{rest}}}}}"#);
    let prefix = |n: usize| "p".repeat(1 + n % 300);
    let bodies = [
        "[".repeat(N),
        "{\"x\":".repeat(N),
        format!(r#"{{"x":{}"#, "[[],".repeat(N)),
        format!(
            r#"{{"Host":{{"nodes":{{"h":{}"#,
            r#"{"children":["#.repeat(N)
        ),
        format!(r#"{{"ID":"{}"}}"#, "\\u00e9".repeat(N)),
        format!(r#"{{"ID":"{}"}}"#, "\\\"".repeat(N)),
        format!("{{{}}}", " ".repeat(N)),
        format!("{{{}}}", many(&|n| format!("\"Pods{n}\":1"))),
        nodes(&many(&|_| r#""same":{"id":"other"}"#.to_owned()), ""),
        nodes(
            &many(&|n| format!(r#""{n}":{{"sets":{{"s":"not a list"}}}}"#)),
            "",
        ),
        nodes(
            &many(&|n| format!(r#""{n}":{{"metrics":{{"{n}":{{}}}}}}"#)),
            "",
        ),
        nodes(
            &format!(
                r#""h":{{"latest":{{{}}}}}"#,
                many(&|n| format!(r#""{}___{n}":{{}}"#, prefix(n)))
            ),
            &format!(
                r#","table_templates":{{{}}}"#,
                many(&|n| format!(
                    r#""{n}":{{"prefix":"{}","type":"multicolumn-table"}}"#,
                    prefix(n)
                ))
            ),
        ),
    ];
    for body in bodies {
        let [report, _, _] = judged(body.as_bytes());
        assert!(!report.accepted());
    }
}
