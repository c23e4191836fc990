//! `check` against plugins that redirect, drip, break off or say nothing: it judges what Scope's
//! probe would come to see, and says what came and what did not.

mod agent_process;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_process::bare_command;
use tempfile::TempDir;

const GOOD: &str = r#"{"Plugins":[{"id":"good","label":"G","description":"d","interfaces":["reporter"],"api_version":"1"}]}"#;

/// A plugin whose answers follow from the requests, which it keeps.
struct Plugin {
    _tmp: TempDir,
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

fn plugin(answer: impl Fn(&str, &mut UnixStream) + Send + 'static) -> Plugin {
    let tmp = tempfile::tempdir().expect("a directory");
    let socket = tmp.path().join("good.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let request = read_request(&mut stream);
            let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().expect("no panic").push(request);
            answer(&target, &mut stream);
        }
    });
    Plugin {
        _tmp: tmp,
        socket,
        requests,
    }
}

impl Plugin {
    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => request.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nthere")
}

fn send(stream: &mut UnixStream, bytes: &str) {
    // The client may have seen enough.
    let _ = stream.write_all(bytes.as_bytes());
}

/// Exit code and output of `check`.
fn check(socket: &Path) -> (i32, String) {
    let output = bare_command()
        .arg("check")
        .arg(socket)
        .output()
        .expect("runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code().expect("it exits"), text)
}

#[test]
fn redirects_are_followed_on_the_same_socket() {
    for status in [301, 302, 303, 307, 308] {
        let plugin = plugin(move |target, stream| {
            let answer = match target {
                "/a/b" => redirect(302, "http://elsewhere.example:81/c"),
                "/c" => ok(GOOD),
                _ => redirect(status, "/a/b"),
            };
            send(stream, &answer);
        });
        let (code, text) = check(&plugin.socket);
        assert_eq!(code, 0, "{status}: {text}");
        assert!(
            text.contains("to http://plugin/a/b, then to http://elsewhere.example:81/c"),
            "{text}"
        );
        let requests = plugin.requests();
        let first = requests[0].split(' ').nth(1).expect("a target").to_owned();
        assert_eq!(
            requests[1],
            format!(
                "GET /a/b HTTP/1.1\r\nHost: plugin\r\nUser-Agent: Go-http-client/1.1\r\n\
                 Referer: http://plugin{first}\r\nAccept-Encoding: gzip\r\n\r\n"
            )
        );
        assert!(
            requests[2].starts_with("GET /c HTTP/1.1\r\nHost: elsewhere.example:81\r\n"),
            "{}",
            requests[2]
        );
    }
}

#[test]
fn what_is_at_the_end_of_a_redirect_is_judged() {
    let plugin = plugin(|target, stream| {
        let answer = match target {
            "/moved" => ok("{}"),
            _ => redirect(302, "moved"),
        };
        send(stream, &answer);
    });
    let (code, text) = check(&plugin.socket);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("exactly one plugin (found 0)"), "{text}");
}

#[test]
fn a_redirect_that_leads_nowhere_is_said_in_words() {
    let cases = [
        (redirect(302, "/again"), "gives up after 10 requests", 10),
        (redirect(307, "https://plugin/x"), "speaks plain HTTP", 1),
        (
            "HTTP/1.1 301 Gone\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "named no Location",
            1,
        ),
    ];
    for (answer, words, requests) in cases {
        let plugin = plugin(move |_, stream| send(stream, &answer));
        let (code, text) = check(&plugin.socket);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("no-answer (rejects)"), "{text}");
        assert!(text.contains(words), "{text}");
        assert_eq!(plugin.requests().len(), requests, "{text}");
    }
}

#[test]
fn a_status_that_only_looks_like_a_redirect_is_an_answer() {
    let plugin = plugin(|_, stream| send(stream, &redirect(304, "/x")));
    let (code, text) = check(&plugin.socket);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("http-status (rejects)"), "{text}");
    assert_eq!(plugin.requests().len(), 1);
}

#[test]
fn a_body_that_drips_too_slowly_is_counted_as_far_as_the_probe_reads() {
    let plugin = plugin(|_, stream| {
        let answer = ok(GOOD);
        let (first, rest) = answer.split_at(answer.len() - 30);
        send(stream, first);
        std::thread::sleep(Duration::from_millis(700));
        send(stream, rest);
    });
    let (code, text) = check(&plugin.socket);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("deadline (rejects)"), "{text}");
    assert!(
        text.contains(&format!(
            "after 500 ms, the head and {} bytes of the body had come",
            GOOD.len() - 30
        )),
        "{text}"
    );
    assert!(!text.contains("no answer"), "{text}");
}

#[test]
fn a_body_without_end_is_no_missing_answer() {
    let plugin = plugin(|_, stream| {
        send(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"Plug",
        );
        // Until the client gives up.
        let _ = stream.read(&mut [0]);
    });
    let (code, text) = check(&plugin.socket);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains(
            "the head (200 OK) and 6 of 50 bytes of the body came, and no end of it within 5 s"
        ),
        "{text}"
    );
    assert!(text.contains("body-incomplete (rejects)"), "{text}");
    assert!(!text.contains("no answer"), "{text}");
}

#[test]
fn a_body_that_breaks_off_is_counted() {
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Plug",
            "the head (200 OK) and 6 of 1000 bytes of the body came, then the connection ended",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"Plug\r\n",
            "the head (200 OK) and 6 bytes of the body came, then the connection ended, without",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n{\"Plug",
            "6 of 6 bytes of the body came, which are no whole gzip",
        ),
    ];
    for (answer, words) in cases {
        let plugin = plugin(move |_, stream| send(stream, answer));
        let (code, text) = check(&plugin.socket);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("no answer"), "{text}");
    }
}

#[test]
fn a_head_that_does_not_end_is_counted() {
    let cases = [
        ("", "closed the connection without a byte"),
        (
            "HTTP/1.1 200 OK\r\nConte",
            "closed the connection after 22 bytes, before the head",
        ),
        (
            "not http\r\n\r\n",
            "the 12 bytes that came are no HTTP answer",
        ),
    ];
    for (answer, words) in cases {
        let plugin = plugin(move |_, stream| send(stream, answer));
        let (code, text) = check(&plugin.socket);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(words), "{text}");
    }

    let silent = plugin(|_, stream| {
        send(stream, "HTTP/1.1");
        let _ = stream.read(&mut [0]);
    });
    let (code, text) = check(&silent.socket);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("8 bytes came within 5 s, and not the end of the answer's head"),
        "{text}"
    );
}

#[test]
fn an_agent_that_breaks_off_is_reported_so() {
    let plugin = plugin(|_, stream| {
        send(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"Plug",
        );
    });
    let output = bare_command()
        .args(["report", "--socket"])
        .arg(&plugin.socket)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("6 of 50 bytes of the body came"), "{text}");
}
