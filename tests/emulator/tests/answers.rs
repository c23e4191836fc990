//! Answers in every framing, whole and broken: what the probe makes of them, and whether it keeps the
//! connection. The words are those of Scope's own client.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod plugin;

use std::io::Write;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use plugin::{Reply, ok, report, serve};
use scope_emulator::{Options, Probe};

fn good() -> String {
    report("p", "\"reporter\"", r#""Host":{"nodes":{"h":{"id":"h"}}}"#)
}

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("{head}\r\n\r\n").as_bytes(), body].concat()
}

fn chunked(body: &[u8], end: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(50) {
        out.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(end.as_bytes());
    with_head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", &out)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

fn packed(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    with_head(
        &format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}"),
        body,
    )
}

/// Serves the answers, one a request and the last for ever, and asks twice.
fn ask_twice(answers: Vec<Reply>) -> (Vec<String>, Vec<usize>) {
    let root = tempfile::tempdir().unwrap();
    let asked = Mutex::new(0);
    let last = answers.len() - 1;
    let seen = serve(&root.path().join("p.sock"), move |_| {
        let mut asked = asked.lock().unwrap();
        let answer = &answers[last.min(*asked)];
        *asked += 1;
        match answer {
            Reply::Answer(bytes) => Reply::Answer(bytes.clone()),
            Reply::Last(bytes) => Reply::Last(bytes.clone()),
        }
    });
    let options = Options {
        probe_id: "1".to_owned(),
        ..Options::default()
    };
    let mut probe = Probe::new(root.path(), options).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..2 {
        probe.spy().unwrap();
        let plugin = probe.plugins().next().unwrap();
        let place = root.path().to_str().unwrap();
        statuses.push(plugin.spec.status.replace(place, "<root>"));
        // Lets a closed connection be noticed, and what was sent too much arrive.
        thread::sleep(Duration::from_millis(20));
    }
    let connections = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(number, _)| *number)
        .collect();
    (statuses, connections)
}

/// The same answer to both requests: its status, and whether the connection is kept.
fn check(name: &str, answer: Reply, status: &str, kept: bool) {
    let (statuses, connections) = ask_twice(vec![answer]);
    assert_eq!(statuses, [status, status], "{name}");
    assert_eq!(connections, [0, usize::from(!kept)], "{name}: connections");
}

#[test]
fn good_answers_in_every_framing() {
    let body = good();
    let bytes = body.as_bytes();
    let length = bytes.len();
    let head = |start: &str| with_head(&format!("{start}\r\nContent-Length: {length}"), bytes);
    let halves = [gzip(&bytes[..40]), gzip(&bytes[40..])].concat();
    let answer = Reply::Answer;
    for (name, reply, kept) in [
        ("plain", answer(ok(&body)), true),
        (
            "a line end after the document",
            answer(ok(&format!("{body}\n"))),
            false,
        ),
        ("HTTP/1.0", answer(head("HTTP/1.0 200 OK")), false),
        (
            "HTTP/1.0, kept",
            answer(head("HTTP/1.0 200 OK\r\nConnection: Keep-Alive")),
            true,
        ),
        (
            "close",
            answer(head("HTTP/1.1 200 OK\r\nConnection: close")),
            false,
        ),
        (
            "no length",
            Reply::Last(with_head("HTTP/1.1 200 OK\r\nX: y", bytes)),
            false,
        ),
        (
            "no length, left open",
            answer(with_head("HTTP/1.1 200 OK\r\nX: y", bytes)),
            false,
        ),
        ("chunks", answer(chunked(bytes, "0\r\n\r\n")), true),
        (
            "chunks with a trailer",
            answer(chunked(bytes, "0\r\nX: y\r\n\r\n")),
            true,
        ),
        ("chunks without end", Reply::Last(chunked(bytes, "")), false),
        ("gzip", answer(packed(&gzip(bytes))), true),
        ("gzip in two members", answer(packed(&halves)), true),
        (
            "a provisional answer before",
            answer([b"HTTP/1.1 100 X\r\n\r\n", &ok(&body)[..]].concat()),
            true,
        ),
        (
            "two answers to one request",
            answer([ok(&body), ok(&body)].concat()),
            false,
        ),
        ("no reason", answer(head("HTTP/1.1 200")), true),
        ("HTTP/2.0", answer(head("HTTP/2.0 200 OK")), true),
    ] {
        check(name, reply, "ok", kept);
    }
}

#[test]
fn broken_bodies() {
    let body = good();
    let bytes = body.as_bytes();
    let all = gzip(bytes);
    let sum = [&all[..all.len() - 8], &[0; 8]].concat();
    let cut_in_node = Reply::Last(ok(&body)[..ok(&body).len() - 8].to_vec());
    let answer = Reply::Answer;
    for (name, reply, words, kept) in [
        ("cut", cut_in_node, "unexpected EOF", false),
        (
            "one bracket short",
            answer(ok(&body[..body.len() - 1])),
            "[pos 113]: json: expect char ',' but got char '\0'",
            true,
        ),
        (
            "inside a word",
            answer(ok(&body[..20])),
            "[pos 20]: json: expect char ',' but got char '\0'",
            true,
        ),
        (
            "bad chunk size",
            answer(with_head(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
                b"zz\r\n",
            )),
            "invalid byte in chunk length",
            false,
        ),
        (
            "bad chunk end",
            answer(with_head(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
                b"2\r\n{\"XX2\r\n",
            )),
            "malformed chunked encoding",
            false,
        ),
        (
            "chunks cut",
            Reply::Last(chunked(bytes, "")[..100].to_vec()),
            "unexpected EOF",
            false,
        ),
        (
            "not packed",
            answer(packed(bytes)),
            "gzip: invalid header",
            true,
        ),
        (
            "packed, cut",
            answer(packed(&all[..all.len() - 20])),
            "unexpected EOF",
            true,
        ),
        (
            "bad checksum",
            answer(packed(&sum)),
            "gzip: invalid checksum",
            true,
        ),
        (
            "no checksum",
            answer(packed(&all[..all.len() - 8])),
            "unexpected EOF",
            true,
        ),
        (
            "empty",
            answer(ok("")),
            "only encoded map or array can be decoded into a struct",
            true,
        ),
    ] {
        check(
            name,
            reply,
            &format!("error: decoding error: {words}"),
            kept,
        );
    }
}

#[test]
fn broken_heads_and_other_codes() {
    for (answer, words) in [
        ("", "EOF"),
        (
            "hello\r\n\r\n",
            "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"hello\"",
        ),
        (
            "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n",
            "302 response missing Location header",
        ),
    ] {
        let url = "http://plugin/report?api_version=1&probe_id=1";
        let status = format!("error: Get \"{url}\": {words}");
        let kept = answer.contains("Content-Length");
        let reply = if kept { Reply::Answer } else { Reply::Last };
        check(answer, reply(answer.as_bytes().to_vec()), &status, kept);
    }
    for (head, kept) in [
        ("500 X\r\nContent-Length: 0", true),
        ("500 Internal Server Error\r\nContent-Length: 2", false),
        ("201 Created\r\nContent-Length: 0", true),
        ("204 X", true),
    ] {
        let status = head.split("\r\n").next().unwrap();
        let answer = with_head(&format!("HTTP/1.1 {head}"), b"");
        let status = format!("error: plugin returned non-200 status code: {status}");
        check(head, Reply::Answer(answer), &status, kept);
    }
}

#[test]
fn redirects_are_followed() {
    let to = |location: &str| {
        let head = format!("HTTP/1.1 302 X\r\nContent-Length: 2\r\nLocation: {location}");
        Reply::Answer(with_head(&head, b"no"))
    };
    let (statuses, connections) = ask_twice(vec![to("/there"), Reply::Answer(ok(&good()))]);
    assert_eq!(statuses, ["ok", "ok"]);
    assert_eq!(connections, [0, 0, 0]);
    let (statuses, connections) = ask_twice(vec![to("/round")]);
    assert_eq!(
        statuses[0],
        "error: Get \"/round\": stopped after 10 redirects"
    );
    assert_eq!(connections.len(), 20);
    let (statuses, _) = ask_twice(vec![to("ftp://x/")]);
    assert_eq!(
        statuses[0],
        "error: Get \"ftp://x/\": unsupported protocol scheme \"ftp\""
    );
}

#[test]
fn where_the_time_runs_out_decides_on_the_words() {
    let body = good();
    let stalled = |at: usize| Reply::Answer(ok(&body)[..at].to_vec());
    let head = ok(&body).len() - body.len();
    let words = |reply: Reply| ask_twice(vec![reply]).0[0].clone();
    assert_eq!(
        words(Reply::Answer(Vec::new())),
        "error: context deadline exceeded"
    );
    assert_eq!(
        words(stalled(head + 2)),
        "error: decoding error: context deadline exceeded"
    );
    // The list of plugins swallows the first error, and reading on meets a closed connection.
    assert_eq!(
        words(stalled(head + 20)),
        "error: decoding error: read unix @-><root>/p.sock: use of closed network connection"
    );
}
