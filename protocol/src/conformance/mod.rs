//! The conformance rules: what Scope 1.13.2 makes of a plugin's answers, and why.
//!
//! [`check_report`] judges the answer to `GET /report`, [`check_control`] that to `POST /control`,
//! [`check_unanswered`] a request that got none. They are pure functions of what a client saw. They
//! read the body as the probe's own decoder does, which is lenient in ways of its own; see the
//! sources for which. Nothing a body contains makes them panic, and they take time and memory in
//! proportion to it.
//!
//! One thing is judged more strictly than Scope does it. An error inside a node is ignored by the
//! probe, which then reads on from the middle: mostly it stumbles again at once, but it may as well
//! end with a truncated report and the status `ok`. Such an error always counts as
//! [`Severity::Rejects`], and nothing behind it is judged.

mod codec;
mod document;
mod gotime;
mod names;
mod nodes;
mod response;
mod rule;
mod sections;
mod verdict;
mod walk;

use std::collections::BTreeSet;
use std::time::Duration;

use codec::stumble::{Kind, Stumble};
use codec::{Codec, End};
pub use rule::{Rule, Severity};
use verdict::Findings;
pub use verdict::{MAX_VIOLATIONS, Verdict, Violation};
use walk::{Walk, shown};

use crate::{MAX_BODY_BYTES, REQUEST_DEADLINE};

/// What the probe needs to decode one byte: measured as 19 ms for a megabyte of nodes with
/// metrics.
const DECODE_NANOS_PER_BYTE: u64 = 19;

/// Bodies above this are told. The probe spends a tenth of each second on decoding 5 MB, and as
/// much again on merging and publishing what it says.
const LARGE_BODY_BYTES: usize = 5_000_000;

/// Nesting of unknown values above this is told: some millions of levels exhaust the stack of a
/// goroutine (1 GB), which ends the probe.
const MAX_DEPTH: usize = 1_000_000;

/// An answer as a client saw it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The reason behind the code; may be empty.
    pub reason: &'a str,
    /// The body after decompression, as far as it was read.
    pub body: &'a [u8],
    /// Whether the body arrived as long as its head promised.
    pub whole: bool,
    /// From the start of the request to the last byte read.
    pub elapsed: Duration,
}

impl<'a> Answer<'a> {
    /// A whole answer with status 200.
    pub fn ok(body: &'a [u8], elapsed: Duration) -> Self {
        Answer {
            status: 200,
            reason: "OK",
            body,
            whole: true,
            elapsed,
        }
    }
}

/// The plugin ID of a socket: its base name without its last extension. `None` where that is no
/// valid ID; Scope never asks such a socket and does not list it.
pub fn plugin_id(socket: &str) -> Option<&str> {
    let base = socket.trim_end_matches('/').rsplit('/').next()?;
    let id = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
    names::is_plugin_id(id).then_some(id)
}

/// Judges the answer to `GET /report` of the plugin at this socket (its path or base name).
pub fn check_report(socket: &str, answer: &Answer<'_>) -> Verdict {
    check(socket, answer, |walk, id| {
        let document = walk.document()?;
        let judged = id.map(|id| document.judge(id));
        if let Some(Err((rule, words))) = &judged {
            let path = "/Plugins".to_owned();
            walk.note_at(*rule, path, document.plugins_offset(), words.clone());
        }
        walk.finish(&document);
        let status = judged.map(|judged| match judged {
            Ok(()) => "ok".to_owned(),
            Err((_, words)) => format!("error: {words}"),
        });
        Ok((status, document.controls()))
    })
}

/// Judges the answer to `POST /control` of the plugin at this socket, whose last report listed
/// these controls (see [`Verdict::controls`]). The status is the one that the plugin has until its
/// next report; an `error` in the answer is no fault of the plugin.
pub fn check_control(socket: &str, listed: &BTreeSet<String>, answer: &Answer<'_>) -> Verdict {
    check(socket, answer, |walk, id| {
        let shortcut = walk.response()?;
        let mut controls = BTreeSet::new();
        let mut status = Some("ok".to_owned());
        if let Some(shortcut) = &shortcut {
            walk.finish_shortcut(shortcut, id.unwrap_or_default(), listed);
            controls = shortcut.controls();
            if shortcut.first_plugin().is_none() {
                // No probe is left to have a list of plugins.
                status = None;
            }
        }
        Ok((status, controls))
    })
}

/// Judges a request of which no answer came: refused, or closed or given up before the status line.
pub fn check_unanswered(socket: &str, why: &str, elapsed: Duration) -> Verdict {
    let mut findings = Findings::default();
    check_socket(&mut findings, socket);
    let problem = format!("no answer came: {}", shown(why));
    findings.add(whole(Rule::NoAnswer, problem));
    check_elapsed(&mut findings, elapsed);
    findings.into_verdict()
}

/// What comes of reading a body: the status, and the controls that are listed.
type Outcome = (Option<String>, BTreeSet<String>);

fn check<'a>(
    socket: &str,
    answer: &Answer<'a>,
    read: impl FnOnce(&mut Walk<'a>, Option<&str>) -> Result<Outcome, Stumble>,
) -> Verdict {
    let mut findings = Findings::default();
    let id = check_socket(&mut findings, socket);
    let in_time = check_elapsed(&mut findings, answer.elapsed);

    if answer.status != 200 {
        let line = format!("{} {}", answer.status, shown(answer.reason));
        findings.add(whole(
            Rule::HttpStatus,
            format!("the status is {}", line.trim_end()),
        ));
        let mut verdict = findings.into_verdict();
        verdict.status = (id.is_some() && in_time)
            .then(|| format!("error: plugin returned non-200 status code: {line}"));
        return verdict;
    }

    let (body, end) = match answer.body.split_at_checked(MAX_BODY_BYTES) {
        Some((body, rest)) if !rest.is_empty() => (body, End::TooLarge),
        _ if answer.whole => (answer.body, End::Whole),
        _ => (answer.body, End::Cut),
    };
    let mut walk = Walk::new(Codec::new(body, end), findings);
    let outcome = read(&mut walk, id);
    let fatal = outcome.as_ref().err();
    match fatal {
        Some(stumble) => walk.stumbled(stumble),
        None => check_odd(&mut walk),
    }
    let consumed = walk.codec.consumed();
    let mut findings = walk.findings;
    let in_time = in_time && check_size(&mut findings, answer, consumed);

    let mut verdict = findings.into_verdict();
    match outcome {
        Ok((status, controls)) => {
            verdict.status = status;
            verdict.controls = controls;
        }
        Err(stumble) => {
            verdict.status = match stumble.kind {
                // Go's words tell which part of which layout did not match.
                Kind::Time => None,
                Kind::Endless => None,
                Kind::TooLarge => Some(format!("error: {}", stumble.words)),
                _ => Some(format!("error: decoding error: {}", stumble.words)),
            };
        }
    }
    if id.is_none() || !in_time {
        verdict.status = None;
    }
    verdict
}

fn whole(rule: Rule, problem: String) -> Violation {
    Violation {
        rule,
        path: String::new(),
        offset: None,
        problem,
    }
}

fn check_socket<'s>(findings: &mut Findings, socket: &'s str) -> Option<&'s str> {
    let id = plugin_id(socket);
    if id.is_none() {
        let problem = format!(
            "the socket {:?} gives no plugin ID, so Scope passes it over",
            shown(socket)
        );
        findings.add(whole(Rule::SocketName, problem));
    }
    id
}

fn check_elapsed(findings: &mut Findings, elapsed: Duration) -> bool {
    let in_time = elapsed < REQUEST_DEADLINE;
    if !in_time {
        let problem = format!("the answer took {} ms", elapsed.as_millis());
        findings.add(whole(Rule::Deadline, problem));
    }
    in_time
}

fn check_size(findings: &mut Findings, answer: &Answer<'_>, consumed: usize) -> bool {
    let decoding = Duration::from_nanos(consumed as u64 * DECODE_NANOS_PER_BYTE);
    let in_time =
        answer.elapsed >= REQUEST_DEADLINE || answer.elapsed + decoding < REQUEST_DEADLINE;
    if !in_time {
        let problem = format!(
            "the probe needs about {} ms to decode {consumed} bytes, which came after {} ms",
            decoding.as_millis(),
            answer.elapsed.as_millis()
        );
        findings.add(whole(Rule::BodyDecodeTime, problem));
    } else if answer.body.len() > LARGE_BODY_BYTES {
        let problem = format!(
            "the body has {} bytes; the probe needs about {} ms to decode them",
            answer.body.len(),
            decoding.as_millis()
        );
        findings.add(whole(Rule::BodyLarge, problem));
    }
    in_time
}

fn check_odd(walk: &mut Walk<'_>) {
    if let Some((offset, what)) = walk.codec.oddity() {
        let problem = format!("Scope lets it pass: {what}");
        walk.note_at(Rule::JsonLenient, String::new(), Some(offset), problem);
    }
    let depth = walk.codec.depth();
    if depth > MAX_DEPTH {
        let problem = format!("values that Scope does not know are nested {depth} levels deep");
        walk.note_at(Rule::JsonDepth, String::new(), None, problem);
    }
}
