//! Which agent `report` asks: only one that answers, and what it says when there is none to ask.

mod agent_process;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use agent_process::{ID, Place};

/// Exit code and line of a `report` that fails.
fn refusal(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    (output.status.code().expect("it exits"), line)
}

/// What an agent leaves when it is killed.
fn leave_behind(place: &Place, id: &str) {
    let dir = place.plugins.join(id);
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(format!("{id}.lock")), "1\n").expect("writes");
    drop(UnixListener::bind(dir.join(format!("{id}.sock"))).expect("binds"));
}

#[test]
fn what_killed_agents_left_is_no_agent() {
    let place = Place::new();
    for id in ["b", "a"] {
        leave_behind(&place, id);
    }
    std::fs::create_dir(place.plugins.join("empty")).expect("a directory");
    std::fs::write(place.plugins.join("file"), "").expect("writes");
    let (code, line) = refusal(&mut place.command("report"));
    assert_eq!(code, 66, "{line}");
    assert!(line.contains("no agent serves below"), "{line}");
    assert!(line.contains("agents that have ended: a, b"), "{line}");

    let _agent = place.start();
    let output = place.command("report").output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(output.stdout.starts_with(ID.as_bytes()));
}

#[test]
fn among_several_that_answer_one_is_to_be_chosen() {
    let place = Place::new();
    let mut listeners = Vec::new();
    for id in ["b", "a"] {
        leave_behind(&place, id);
        let socket = place.plugins.join(id).join(format!("{id}.sock"));
        std::fs::remove_file(&socket).expect("removes");
        listeners.push(UnixListener::bind(socket).expect("binds"));
    }
    leave_behind(&place, "c");
    let (code, line) = refusal(&mut place.command("report"));
    assert_eq!(code, 64, "{line}");
    assert!(line.contains("by --plugin-id: a, b"), "{line}");
}

#[test]
fn a_plugin_directory_that_cannot_be_searched_says_why() {
    let place = Place::new();
    std::fs::write(&place.plugins, "").expect("writes");
    let (code, line) = refusal(&mut place.command("report"));
    assert_eq!(code, 66, "{line}");
    assert!(line.contains(": Not a directory"), "{line}");
}

#[test]
fn an_ordinary_user_is_told_whose_agent_it_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let tmp = tempfile::tempdir().expect("a directory");
    let binary = tmp.path().join("scope-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_scope-agent"), &binary).expect("copies");
    let plugins = tmp.path().join("plugins");
    let private = plugins.join("a");
    std::fs::create_dir_all(&private).expect("a directory");
    for (path, mode) in [(tmp.path(), 0o755), (&plugins, 0o755), (&private, 0o700)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets");
    }
    let report = || {
        let mut command = Command::new(&binary);
        command
            .args(["report", "--plugin-dir"])
            .arg(&plugins)
            .uid(65534)
            .gid(65534)
            .current_dir("/");
        refusal(&mut command)
    };
    let (code, line) = report();
    assert_eq!(code, 77, "{line}");
    assert!(line.contains("Permission denied"), "{line}");
    assert!(line.contains(&private.display().to_string()), "{line}");

    std::fs::set_permissions(&plugins, std::fs::Permissions::from_mode(0o700)).expect("sets");
    let (code, line) = report();
    assert_eq!(code, 77, "{line}");
    assert!(line.contains("cannot look for agents in"), "{line}");
    assert!(line.contains("Permission denied"), "{line}");
}
