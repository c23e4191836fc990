//! HTTP by hand over a UNIX socket, for requests that no proper client would send.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any limit of the server that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("connects");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("sets a timeout");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("sets a timeout");
    stream
}

/// What Scope 1.13.2's probe sends.
pub(crate) fn probe_request(probe_id: &str) -> String {
    format!(
        "GET /report?api_version=1&probe_id={probe_id} HTTP/1.1\r\nHost: plugin\r\n\
         User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
    )
}

pub(crate) fn get(socket: &Path, target: &str) -> Reply {
    let mut stream = connect(socket);
    ask(
        &mut stream,
        &format!("GET {target} HTTP/1.1\r\nHost: plugin\r\n\r\n"),
    )
}

pub(crate) fn post(socket: &Path, target: &str, body: &str) -> Reply {
    let mut stream = connect(socket);
    ask(
        &mut stream,
        &format!(
            "POST {target} HTTP/1.1\r\nHost: plugin\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// Sends a request and reads its answer; the connection stays open.
pub(crate) fn ask(stream: &mut UnixStream, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).expect("sends");
    read_reply(stream).expect("an answer")
}

/// Reads one answer; `None` when the server closes instead.
pub(crate) fn read_reply(stream: &mut UnixStream) -> Option<Reply> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => head.push(byte[0]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
            Err(e) => panic!("reading an answer: {e}"),
        }
    }
    let head = String::from_utf8(head).expect("a head of text");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body).expect("the body");
        }
        None => {
            stream.read_to_end(&mut body).expect("the body");
        }
    }
    Some(Reply { status, head, body })
}

/// Waits until the server closes the connection. How long that took.
pub(crate) fn wait_for_close(stream: &mut UnixStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the connection stays open: {e}"),
    }
    began.elapsed()
}

/// Tries until it is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
