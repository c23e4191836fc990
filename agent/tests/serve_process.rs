//! The real binary: how it starts, is refused, ends, and what it leaves behind.

mod agent_process;
mod raw_http;

use std::process::Output;
use std::time::{Duration, Instant};

use agent_process::{Agent, ID, Place, bare_command};
use raw_http::{eventually, get};
use rustix::process::Signal;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one line for a person, with its exit code.
fn refusal(output: &Output) -> (i32, String) {
    let text = stderr(output);
    let line = text.trim_end().to_owned();
    assert_eq!(line.lines().count(), 1, "one line: {text}");
    assert!(line.starts_with("scope-agent: "), "{line}");
    assert!(output.stdout.is_empty());
    (output.status.code().expect("it exits"), line)
}

#[test]
fn every_signal_to_end_removes_everything() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = Place::new();
        let agent = place.start();
        assert_eq!(
            get(&place.socket(), "/report?api_version=1&probe_id=ab").status,
            200
        );
        let began = Instant::now();
        agent.signal(signal);
        let output = agent.end();
        assert!(output.status.success(), "{signal:?}: {}", stderr(&output));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{signal:?} took {:?}",
            began.elapsed()
        );
        assert!(!place.dir().exists(), "{signal:?}");
        assert!(place.plugins.exists());
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let place = Place::new();
    let agent = place.start();
    let _idle = raw_http::connect(&place.socket());
    let mut kept = raw_http::connect(&place.socket());
    raw_http::ask(&mut kept, &raw_http::probe_request("ab"));
    agent.signal(Signal::TERM);
    let output = agent.end();
    assert!(output.status.success());
    assert!(!stderr(&output).contains("cut off"), "{}", stderr(&output));
}

#[test]
fn a_killed_agent_comes_back_on_the_same_socket() {
    let place = Place::new();
    let agent = place.start();
    agent.signal(Signal::KILL);
    assert!(!agent.end().status.success());
    assert!(place.socket().exists(), "left behind");

    let agent = Agent::spawn(&mut place.serve());
    eventually("the second agent serves", || {
        std::os::unix::net::UnixStream::connect(place.socket()).is_ok()
    });
    assert_eq!(get(&place.socket(), "/report").status, 200);
    agent.signal(Signal::TERM);
    assert!(agent.end().status.success());
    assert!(!place.dir().exists());
}

#[test]
fn a_second_agent_says_who_is_in_the_way() {
    let place = Place::new();
    let _first = place.start();
    let (code, line) = refusal(&place.serve().output().expect("runs"));
    assert_eq!(code, 75);
    assert!(line.contains("another live scope-agent (pid "), "{line}");
    assert!(line.contains(&format!("{ID}.lock")), "{line}");
    assert_eq!(
        get(&place.socket(), "/report").status,
        200,
        "the first still serves"
    );
}

#[test]
fn an_agent_whose_socket_was_taken_away_ends() {
    let place = Place::new();
    let agent = place.start();
    std::fs::remove_file(place.socket()).expect("removes");
    let output = agent.end();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("was removed or replaced by somebody else"));
    assert!(!place.dir().exists());
}

#[test]
fn what_is_in_the_way_is_named() {
    let place = Place::new();
    std::fs::create_dir_all(place.dir()).expect("a directory");
    std::fs::write(place.socket(), "").expect("writes");
    let (code, line) = refusal(&place.serve().output().expect("runs"));
    assert_eq!(code, 73);
    assert!(
        line.contains("is a regular file, where the plugin's socket must be"),
        "{line}"
    );

    std::fs::write(place.plugins.join("file"), "").expect("writes");
    let mut command = place.serve();
    command.arg("--plugin-dir").arg(place.plugins.join("file"));
    let (code, line) = refusal(&command.output().expect("runs"));
    assert_eq!(code, 73);
    assert!(line.contains("cannot make the plugin directory"), "{line}");
}

#[test]
fn a_configuration_that_cannot_work_is_one_line() {
    let place = Place::new();
    let long = "d".repeat(120);
    /// Arguments, environment, exit code, and words of the line.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);
    let cases: [Case<'_>; 18] = [
        (
            &["serve", "--plugin-id", "a"],
            &[],
            78,
            "the name of this node is not known: set NODE_NAME",
        ),
        (&["serve"], &[], 64, "--plugin-id <ID>"),
        (
            &["serve", "--standalone", "--plugin-id", "A_b"],
            &[],
            64,
            "a plugin ID has lower-case letters",
        ),
        (
            &["serve", "--standalone", "--plugin-id", "a-controls"],
            &[],
            64,
            "does not end in -controls",
        ),
        (
            &["serve", "--standalone"],
            &[("SCOPE_AGENT_PLUGIN_ID", "A")],
            64,
            "(from the environment variable SCOPE_AGENT_PLUGIN_ID)",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--sample-interval",
                "100ms",
            ],
            &[],
            64,
            "it is from 1s to 60s",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--sample-interval",
                "1",
            ],
            &[],
            64,
            "a whole number and a unit",
        ),
        (
            &["serve", "--standalone", "--plugin-id", "a"],
            &[("SCOPE_AGENT_SAMPLE_INTERVAL", "soon")],
            64,
            "(from the environment variable SCOPE_AGENT_SAMPLE_INTERVAL)",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--collectors",
                "Resources,Magic",
            ],
            &[],
            64,
            "\"Magic\" is not a collector",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--controls",
                "DeletePod",
            ],
            &[],
            78,
            "--controls needs Kubernetes",
        ),
        (
            &[
                "serve",
                "--plugin-id",
                "a",
                "--node-name",
                "n",
                "--controls",
                "DeletePod",
            ],
            &[],
            78,
            "--controls needs the namespace",
        ),
        (
            &[
                "serve",
                "--plugin-id",
                "a",
                "--node-name",
                "n",
                "--controls",
                "Explode",
            ],
            &[],
            64,
            "\"Explode\" is not an action",
        ),
        (
            &["serve", "--plugin-id", "a"],
            &[("NODE_NAME", "n,x=y")],
            64,
            "(from the environment variable NODE_NAME)",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--host-name",
                "NodeName",
            ],
            &[],
            78,
            "--host-name=NodeName needs --node-name",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--http-listen",
                "here",
            ],
            &[],
            64,
            "an IP address and a port",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--proc-root",
                "/nowhere",
            ],
            &[],
            78,
            "/nowhere (--proc-root) is not a directory",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--log-level",
                "shout=loud",
            ],
            &[],
            64,
            "is no log level",
        ),
        (
            &[
                "serve",
                "--standalone",
                "--plugin-id",
                "a",
                "--plugin-dir",
                &long,
            ],
            &[],
            78,
            "a socket path may have 107",
        ),
    ];
    for (args, env, code, words) in cases {
        let mut command = bare_command();
        // As a last resort against a test that would serve for real.
        command.env("SCOPE_AGENT_PLUGIN_DIR", &place.plugins);
        command.args(args).envs(env.iter().copied());
        let (got, line) = refusal(&command.output().expect("runs"));
        assert!(line.contains(words), "{args:?} {env:?}: {line}");
        assert_eq!(got, code, "{args:?} {env:?}: {line}");
        assert!(
            !place.plugins.exists(),
            "nothing is opened before all is checked: {args:?}"
        );
    }
}

#[test]
fn without_a_cluster_to_ask_it_does_not_start() {
    let place = Place::new();
    let mut command = place.command("serve");
    command.args([
        "--plugin-id",
        ID,
        "--node-name",
        "n1",
        "--http-listen",
        "off",
    ]);
    command
        .env("HOME", &place.plugins)
        .env("KUBECONFIG", "/nowhere/kubeconfig");
    let (code, line) = refusal(&command.output().expect("runs"));
    assert_eq!(code, 78);
    assert!(
        line.contains("cannot find out how to reach the API server"),
        "{line}"
    );
    assert!(line.contains("--standalone"), "{line}");
    assert!(!place.dir().exists());
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = place.serve();
    command.args(["--http-listen", &address, "--log-level", "error"]);
    let (code, line) = refusal(&command.output().expect("runs"));
    assert_eq!(code, 69);
    assert!(
        line.contains(&format!("cannot listen on {address}")),
        "{line}"
    );
    assert!(!place.dir().exists());
}

#[test]
fn health_and_metrics_are_served() {
    let place = Place::new();
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("an address");
    let mut command = place.serve();
    command.args(["--http-listen", &address.to_string()]);
    let agent = Agent::spawn(&mut command);
    let ask = |path: &str| -> Option<(u16, String)> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
    };
    eventually("ready", || {
        ask("/readyz").is_some_and(|(status, _)| status == 200)
    });
    assert_eq!(ask("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(ask("/nothing").map(|(status, _)| status), Some(404));
    for _ in 0..3 {
        get(
            &place.socket(),
            "/report?api_version=1&probe_id=5bdcc0beddf3c14",
        );
    }
    let (_, metrics) = ask("/metrics").expect("metrics");
    for line in [
        "scope_agent_ready 1",
        "scope_agent_probes 1",
        "scope_agent_build_info{version=\"0.1.0\",plugin=\"node-metrics\"} 1",
        "# TYPE scope_agent_tick_seconds histogram",
        "# TYPE process_cpu_seconds counter",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is missing in\n{metrics}"
        );
    }
    assert!(metrics.contains("scope_agent_http_requests_total{socket=\"reporter\",code=\"200\"}"));
    agent.signal(Signal::TERM);
    assert!(agent.end().status.success());
}

#[test]
fn the_log_is_text_or_json() {
    for (format, is_json) in [("text", false), ("json", true)] {
        let place = Place::new();
        let mut command = place.serve();
        command.args(["--log-format", format]);
        let agent = Agent::spawn(&mut command);
        eventually("it serves", || place.socket().exists());
        agent.signal(Signal::TERM);
        let output = agent.end();
        let text = stderr(&output);
        let first = text.lines().next().expect("a line");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(first).is_ok(),
            is_json,
            "{first}"
        );
        assert!(text.contains("serving"), "{text}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for (arg, words) in [
        ("--help", "scope-agent report --standalone"),
        ("--version", "scope-agent 0."),
    ] {
        let output = bare_command().arg(arg).output().expect("runs");
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(words));
        assert!(output.stderr.is_empty());
    }
}
