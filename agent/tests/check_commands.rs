//! `check` and `report`: the real binary against its own agent, against plugins that are wrong, and
//! against this machine.

mod agent_process;
mod raw_http;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use agent_process::{ID, Place, bare_command};
use raw_http::{eventually, get};

fn check(socket: &Path) -> Output {
    bare_command()
        .arg("check")
        .arg(socket)
        .output()
        .expect("runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A plugin that answers every connection with these bytes.
fn plugin(dir: &Path, name: &str, answer: impl Into<Vec<u8>>) -> PathBuf {
    let socket = dir.join(name);
    let listener = UnixListener::bind(&socket).expect("binds");
    let answer = answer.into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(n @ 1..) => request.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&request);
            let (probe_id, rest) = text
                .strip_prefix("GET /report?api_version=1&probe_id=")
                .and_then(|rest| rest.split_once(' '))
                .unwrap_or_else(|| panic!("not what the probe sends: {text}"));
            assert!(scope_agent::serve::is_probe_id(probe_id), "{text}");
            assert_eq!(
                rest,
                "HTTP/1.1\r\nHost: plugin\r\nUser-Agent: Go-http-client/1.1\r\n\
                 Accept-Encoding: gzip\r\n\r\n"
            );
            let _ = stream.write_all(&answer);
        }
    });
    socket
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

const GOOD: &str = r#"{"Plugins":[{"id":"good","label":"G","description":"d","interfaces":["reporter"],"api_version":"1"}]}"#;

#[test]
fn the_agents_own_report_is_conformant() {
    let place = Place::new();
    let _agent = place.start();
    let report = || get(&place.socket(), "/report?api_version=1").body;
    for _ in 0..3 {
        let before = report();
        let output = check(&place.socket());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}{}",
            stdout(&output),
            stderr(&output)
        );
        assert!(
            stdout(&output).contains("conformant"),
            "{}",
            stdout(&output)
        );
        eventually("another report", || report() != before);
    }
}

#[test]
fn violations_are_printed_with_their_remedy() {
    let tmp = tempfile::tempdir().expect("a directory");
    let cases = [
        ("other.sock", ok(GOOD), "plugin must not change its id"),
        (
            "good.sock",
            ok("{}"),
            "report must contain exactly one plugin (found 0)",
        ),
        (
            "good2.sock",
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "http-status (rejects): the status is 500",
        ),
        (
            "cut.sock",
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Plugins\":[".to_owned(),
            "body-incomplete",
        ),
        (
            "rude.sock",
            "not http at all\r\n\r\n".to_owned(),
            "no-answer (rejects)",
        ),
        ("bad_name.sock", ok(GOOD), "socket-name (rejects)"),
    ];
    for (name, answer, words) in cases {
        let output = check(&plugin(tmp.path(), name, answer));
        assert_eq!(
            output.status.code(),
            Some(1),
            "{name}: {}{}",
            stdout(&output),
            stderr(&output)
        );
        assert!(
            stdout(&output).contains(words),
            "{name}: {}",
            stdout(&output)
        );
    }
}

#[test]
fn any_good_plugin_is_conformant_also_when_packed() {
    let tmp = tempfile::tempdir().expect("a directory");
    let output = check(&plugin(tmp.path(), "good.sock", ok(GOOD)));
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));

    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(GOOD.as_bytes()).expect("packs");
    let packed = packer.finish().expect("packs");
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    answer.extend(&packed);
    std::fs::create_dir(tmp.path().join("packed")).expect("a directory");
    let output = check(&plugin(
        &tmp.path().join("packed"),
        "good.sock",
        answer.clone(),
    ));
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));

    answer.truncate(answer.len() - 10);
    std::fs::create_dir(tmp.path().join("torn")).expect("a directory");
    let output = check(&plugin(&tmp.path().join("torn"), "good.sock", answer));
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}

#[test]
fn what_cannot_be_asked_has_its_own_exit_code() {
    let tmp = tempfile::tempdir().expect("a directory");
    let missing = tmp.path().join("missing.sock");
    let file = tmp.path().join("file.sock");
    std::fs::write(&file, "").expect("writes");
    let stale = tmp.path().join("stale.sock");
    drop(UnixListener::bind(&stale).expect("binds"));
    for (path, code, words) in [
        (&missing, 66, "does not exist"),
        (&file, 66, "is not a socket"),
        (&stale, 69, "nobody serves"),
    ] {
        let output = check(path);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(stderr(&output).contains(&path.display().to_string()));
        assert_eq!(stderr(&output).trim_end().lines().count(), 1);
    }
    assert_eq!(
        bare_command()
            .arg("check")
            .output()
            .expect("runs")
            .status
            .code(),
        Some(64)
    );
}

#[test]
fn the_machine_itself_is_reported_without_anything() {
    let output = bare_command()
        .args(["report", "--standalone"])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("Host "), "{text}");
    assert!(text.contains("Rates over 1."), "{text}");
    assert!(text.contains("PROCESS"), "{text}");

    let output = bare_command()
        .args(["report", "--standalone", "-o", "json"])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["Plugins"][0]["id"], "standalone");
}

#[test]
fn an_ordinary_user_may_look_around_too() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        // Then the test above was run by an ordinary user.
        return;
    }
    // The binary may lie where only root can go.
    let tmp = tempfile::tempdir().expect("a directory");
    let binary = tmp.path().join("scope-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_scope-agent"), &binary).expect("copies");
    for path in [tmp.path(), &binary] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .expect("sets a mode");
    }
    let mut command = std::process::Command::new(&binary);
    command
        .args(["report", "--standalone"])
        .uid(65534)
        .gid(65534)
        .current_dir("/");
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("Host "), "{}", stdout(&output));
}

#[test]
fn a_serving_agent_is_found_and_asked() {
    let place = Place::new();
    let _agent = place.start();
    let mut report = place.command("report");
    let output = report.output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with(&format!("{ID}: ")),
        "{}",
        stdout(&output)
    );

    let mut by_socket = place.command("report");
    by_socket
        .args(["-o", "json", "--socket"])
        .arg(place.socket());
    let output = by_socket.output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["Plugins"][0]["id"], ID);
}

#[test]
fn without_an_agent_to_ask_it_says_so() {
    let place = Place::new();
    let output = place.command("report").output().expect("runs");
    assert_eq!(output.status.code(), Some(66), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("no agent serves below"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("--standalone"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = bare_command()
        .args(["report", "--standalone", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().expect("waits");
        status.is_some()
    });
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
}
