//! How runs end: killed, left alone, failed at the start. They need root; without it they are
//! skipped, and say so, unless `HARNESS_REQUIRE=nodes`.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

mod shared;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use shared::{HELPER, options, turn, wait_for};
use throwaway_cluster::{Cluster, Error, leftovers};

#[test]
fn a_killed_run_is_cleaned_up_at_the_next_start() {
    let Some(_turn) = turn() else { return };
    // The program reads from the pipe, so that it ends with this test whatever happens.
    let mut run = Command::new(HELPER)
        .args([
            "--prefix",
            "tckill",
            "with",
            "sh",
            "-c",
            "echo up; exec cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    let processes = |found: &[String]| found.iter().any(|line| line.starts_with("process"));
    assert!(processes(&leftovers("tckill").unwrap()));
    // A sweep leaves it alone while its run lives.
    throwaway_cluster::sweep().unwrap();
    let cluster = Cluster::attach("tckill").unwrap();
    cluster.kubectl(&["get", "nodes"]).unwrap();
    drop(cluster);

    run.kill().unwrap();
    run.wait().unwrap();
    drop(run.stdin.take());
    wait_for("processes that end with their run", || {
        !processes(&leftovers("tckill").unwrap())
    });
    assert!(
        !leftovers("tckill").unwrap().is_empty(),
        "directories and cgroups cannot end"
    );
    throwaway_cluster::sweep().unwrap();
    assert_eq!(leftovers("tckill").unwrap(), Vec::<String>::new());
}

#[test]
fn a_detached_cluster_stays_until_it_is_taken_down() {
    let Some(_turn) = turn() else { return };
    let run = |arguments: &[&str]| {
        let output = Command::new(HELPER)
            .args(["--prefix", "tcstay"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["up", "1"]);
    throwaway_cluster::sweep().unwrap();
    run(&["node", "crash", "1"]);
    run(&["node", "start", "1"]);
    assert!(run(&["kubectl", "get", "nodes", "--no-headers"]).starts_with("node1"));
    assert!(run(&["env"]).contains("export KUBECONFIG='"));
    assert!(matches!(
        Cluster::up(options("tcstay")),
        Err(Error::Busy { .. })
    ));
    run(&["down"]);
    assert_eq!(leftovers("tcstay").unwrap(), Vec::<String>::new());
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let Some(_turn) = turn() else { return };
    let mut wrong = options("tcfail");
    wrong.nodes = 1;
    wrong.api_server_flags = vec!["--no-such-flag".into()];
    let error = Cluster::up(wrong).unwrap_err().to_string();
    assert!(
        error.starts_with("kube-apiserver on control-plane ended with status 1"),
        "{error}"
    );
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
    assert_eq!(leftovers("tcfail").unwrap(), Vec::<String>::new());

    let mut wrong = options("tcfail");
    wrong.nodes = 1;
    wrong.helper = Some("/bin/true".into());
    let error = Cluster::up(wrong).unwrap_err().to_string();
    assert!(
        error.contains("does /bin/true call run_internal_command_if_asked first?"),
        "{error}"
    );
    assert_eq!(leftovers("tcfail").unwrap(), Vec::<String>::new());
}
