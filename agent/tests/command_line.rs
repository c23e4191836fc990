//! Flags and environment variables that cannot work: one clear line each, and nothing of what was
//! given can reach the terminal as more than text.

mod agent_process;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Command;

use agent_process::{Place, bare_command};

/// The one line for a person, with its exit code.
fn refusal(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("runs");
    let text = String::from_utf8(output.stderr).expect("UTF-8, whatever was given");
    let line = text.strip_suffix('\n').unwrap_or(&text);
    assert!(!line.contains(char::is_control), "one line: {line:?}");
    assert!(line.starts_with("scope-agent: "), "{line}");
    assert!(output.stdout.is_empty());
    (output.status.code().expect("it exits"), line.to_owned())
}

fn not_utf8() -> &'static OsStr {
    OsStr::from_bytes(b"n\xff1")
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    let place = Place::new();
    for variable in [
        "SCOPE_AGENT_LABEL",
        "SCOPE_AGENT_DESCRIPTION",
        "SCOPE_AGENT_CONTROLS",
        "SCOPE_AGENT_SAMPLE_INTERVAL",
        "SCOPE_AGENT_STANDALONE",
        "SCOPE_AGENT_LOG_FORMAT",
        "SCOPE_AGENT_LOG_LEVEL",
        "NODE_NAME",
        "POD_NAMESPACE",
    ] {
        let mut command = place.command("serve");
        command.args(["--plugin-id", "a"]).env(variable, not_utf8());
        let (code, line) = refusal(&mut command);
        assert_eq!(code, 64, "{line}");
        assert!(
            line.contains(&format!(
                "the environment variable {variable} is not UTF-8: \"n\\xFF1\""
            )),
            "{line}"
        );
    }
}

#[test]
fn an_argument_that_is_no_text_is_shown() {
    let place = Place::new();
    let mut flag = OsString::from("--label=");
    flag.push(not_utf8());
    let mut command = place.serve();
    let (code, line) = refusal(command.arg(flag));
    assert_eq!(code, 64, "{line}");
    assert!(
        line.contains("the argument \"--label=n\\xFF1\" is not UTF-8"),
        "{line}"
    );

    // Also where something else is wrong.
    let mut command = bare_command();
    command
        .args(["serve", "--plugin-id", "A"])
        .env("SCOPE_AGENT_LOG_FORMAT", "text");
    let (code, line) = refusal(command.arg(not_utf8()));
    assert_eq!(code, 64, "{line}");
}

#[test]
fn a_path_may_be_any_bytes() {
    let tmp = tempfile::tempdir().expect("a directory");
    let mut command = bare_command();
    command
        .arg("report")
        .env("SCOPE_AGENT_PLUGIN_DIR", tmp.path().join(not_utf8()));
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(66));
}

#[test]
fn a_time_below_zero_is_answered_with_the_range() {
    let place = Place::new();
    for (arguments, words) in [
        (&["--sample-interval", "-1s"][..], ["-1s", "from 1s to 60s"]),
        (&["--sample-interval=-1s"], ["-1s", "from 1s to 60s"]),
        (&["--sample-interval", "0s"], ["0s", "from 1s to 60s"]),
        (&["--sample-interval", "61s"], ["61s", "from 1s to 60s"]),
        (&["--sample-interval", "soon"], ["soon", "from 1s to 60s"]),
        (
            &["--start-jitter", "-1s"],
            ["-1s", "whole number and a unit"],
        ),
    ] {
        let (code, line) = refusal(place.serve().args(arguments));
        assert_eq!(code, 64, "{line}");
        for words in words {
            assert!(line.contains(words), "{arguments:?}: {line}");
        }
        assert!(line.contains(&arguments[0][..14]), "{arguments:?}: {line}");
    }
}

#[test]
fn what_scope_shows_has_no_control_characters() {
    let place = Place::new();
    for (flag, variable) in [
        ("--label", "SCOPE_AGENT_LABEL"),
        ("--description", "SCOPE_AGENT_DESCRIPTION"),
    ] {
        for (text, words) in [
            ("a\u{1b}[31mred", "contains the control character U+001B"),
            ("two\nlines", "contains the control character U+000A"),
            ("tab\there", "contains the control character U+0009"),
            ("next\u{85}line", "contains the control character U+0085"),
            ("", "value"),
        ] {
            let (code, line) = refusal(place.serve().args([flag, text]));
            assert_eq!(code, 64, "{line}");
            assert!(line.contains(words), "{flag} {text:?}: {line}");
            assert!(line.contains(flag), "{line}");

            let (code, line) = refusal(place.serve().env(variable, text));
            assert_eq!(code, 64, "{line}");
            assert!(line.contains(words), "{variable} {text:?}: {line}");
            assert!(line.contains(variable), "{line}");
        }
    }
}

#[test]
fn nothing_that_was_given_reaches_the_terminal_raw() {
    let place = Place::new();
    let escape = "\u{1b}]0;title\u{7}";
    for arguments in [
        vec!["--plugin-id", escape],
        vec!["--controls", escape],
        vec!["--log-level", escape],
        vec!["--proc-root", escape],
        vec!["--plugin-dir", "/dev/null/\u{1b}c"],
        vec![escape],
    ] {
        let mut command = match arguments[0] {
            "--plugin-id" => place.command("serve"),
            _ => place.serve(),
        };
        let (code, line) = refusal(command.args(&arguments));
        assert!([64, 73, 78].contains(&code), "{code}: {line}");
        if ["--log-level", "--proc-root"].contains(&arguments[0]) {
            assert!(line.contains("\\u{1b}"), "{arguments:?}: {line}");
        }
    }
    let mut socket = OsString::from_vec(b"/nowhere/\x1bc\xff".to_vec());
    let (code, line) = refusal(bare_command().arg("check").arg(&socket));
    assert_eq!(code, 66, "{line}");
    socket.push("\n");
    refusal(bare_command().arg("check").arg(&socket));
}
