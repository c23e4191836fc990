//! `click`: what the real binary sends to a plugin, and what it makes of the answer.

mod agent_process;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread::JoinHandle;

use agent_process::bare_command;

fn click(socket: &Path, more: &[&str]) -> Output {
    bare_command()
        .arg("click")
        .arg(socket)
        .args(["deletePod", "5aeb7ae0-1d5a-4f0e;<pod>"])
        .args(more)
        .output()
        .expect("runs")
}

/// A plugin that takes one click and answers with these bytes; the thread gives what it was sent.
fn plugin(dir: &Path, answer: &'static str) -> (PathBuf, JoinHandle<String>) {
    let socket = dir.join("p.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepts");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => request.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        let _ = stream.write_all(answer.as_bytes());
        String::from_utf8_lossy(&request).into_owned()
    });
    (socket, thread)
}

#[test]
fn a_click_is_what_the_probe_sends() {
    let tmp = tempfile::tempdir().expect("a directory");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{\"removedNode\":\"a;<pod>\"}";
    let (socket, sent) = plugin(tmp.path(), answer);
    let output = click(&socket, &["--arg", "force=true"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (head, body) = printed.split_once('\n').expect("two lines");
    assert!(head.contains("p.sock: 200 OK after "), "{printed}");
    assert_eq!(body, "{\"removedNode\":\"a;<pod>\"}\n");
    let sent = sent.join().expect("a request");
    let (head, body) = sent.split_once("\r\n\r\n").expect("a body");
    assert!(
        head.starts_with("POST /control?api_version=1&probe_id=")
            && head.contains("\r\nContent-Type: application/json")
            && head.contains("\r\nHost: plugin\r\n"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["NodeID"], "5aeb7ae0-1d5a-4f0e;<pod>");
    assert_eq!(body["Control"], "deletePod");
    assert_eq!(body["ControlArgs"]["force"], "true");
}

#[test]
fn what_scope_shows_as_an_error_is_told_by_the_exit_code() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let tmp = tempfile::tempdir().expect("a directory");
        let (socket, _) = plugin(tmp.path(), answer);
        assert_eq!(click(&socket, &[]).status.code(), Some(1), "{answer}");
    }
}

#[test]
fn without_an_answer_it_says_that_it_may_be_done() {
    let tmp = tempfile::tempdir().expect("a directory");
    let (socket, _) = plugin(tmp.path(), "");
    let output = click(&socket, &[]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("may have been carried out"), "{said}");
    let output = click(&tmp.path().join("none.sock"), &[]);
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    let output = click(&socket, &["--arg", "force"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}
