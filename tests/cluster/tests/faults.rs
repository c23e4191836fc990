//! What can go wrong on a cluster at a test's command: each fault is seen, and each is undone. It
//! needs root; without it the test is skipped, and says so, unless `HARNESS_REQUIRE=nodes`.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

mod shared;

use std::time::{Duration, Instant};

use serde_json::Value;
use shared::{options, turn, wait_for};
use throwaway_cluster::{AuditMark, Cluster, RunningPod, Stage, leftovers};

/// A program that asks the API server for something all the time would need credentials; one that
/// only sits there can be asked to connect.
const WORKLOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: victim}
spec:
  replicas: 1
  selector: {matchLabels: {app: victim}}
  template:
    metadata: {labels: {app: victim}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "harness.local/box:1", command: [sleep, "100000"]}
      - {name: side, image: "harness.local/box:1", command: [sleep, "100000"]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "harness.local/box:1", command: [sleep, "100000"]}
"#;

type Step = fn(&Cluster);

#[test]
fn faults_come_and_go() {
    let Some(_turn) = turn() else { return };
    let mut options = options("tfault");
    options.nodes = 4;
    options.notice_lost_nodes_soon();
    let cluster = Cluster::up(options).unwrap();
    cluster
        .kubectl_with_input(&["apply", "-f", "-"], WORKLOAD)
        .unwrap();
    for workload in ["deployment/victim", "daemonset/everywhere"] {
        let arguments = ["rollout", "status", workload, "--timeout=60s"];
        cluster.kubectl(&arguments).unwrap();
    }

    let steps: [(&str, Step); 6] = [
        (
            "writes are seen as they come in",
            writes_are_seen_as_they_come_in,
        ),
        ("a process is frozen", a_process_is_frozen),
        (
            "a pod is cut off from the API server",
            a_pod_is_cut_off_from_the_api_server,
        ),
        (
            "a process is killed at a write",
            a_process_is_killed_at_a_write,
        ),
        ("a silent node is noticed", a_silent_node_is_noticed),
        ("a node is rebooted", a_node_is_rebooted),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step(&cluster);
        println!("{name}: {:.1?}", start.elapsed());
    }
    cluster.down().unwrap();
    assert_eq!(leftovers("tfault").unwrap(), Vec::<String>::new());
}

fn writes_are_seen_as_they_come_in(cluster: &Cluster) {
    const LIMIT: Duration = Duration::from_secs(30);
    let mut log = cluster.audit_follow(cluster.audit_mark().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in ["one", "two"] {
                let create = ["create", "configmap", name, "--from-literal=a=b"];
                cluster.kubectl(&create).unwrap();
            }
        });
        let (mut stages, mut slowest) = (Vec::new(), 0.0_f64);
        log.find("the answer to the second write", LIMIT, |event| {
            if !(event.is_write_of("admin") && event.resource == "configmaps") {
                return false;
            }
            let late = jiff::Timestamp::now().duration_since(event.reached);
            slowest = slowest.max(late.as_secs_f64());
            stages.push((event.stage, event.counts()));
            stages.len() == 4
        })
        .unwrap();
        let (came, done) = (Stage::RequestReceived, Stage::ResponseComplete);
        let expected = [(came, false), (done, true), (came, false), (done, true)];
        assert_eq!(stages, expected);
        println!("an event is here {:.1} ms after it at most", slowest * 1e3);
        assert!(slowest < 1.0);
    });
    // A log from its start has what was before, too.
    let mut all = cluster.audit_follow(AuditMark::START).unwrap();
    let first = all.next_within(LIMIT).unwrap().unwrap();
    assert!(first.reached < cluster.audit().unwrap().last().unwrap().reached);
}

fn a_process_is_frozen(cluster: &Cluster) {
    let pod = victim(cluster);
    let pids = pod.pids();
    assert_eq!(pids.len(), 2, "one process per container, none of pause");
    pod.freeze().unwrap();
    wait_for("stopped processes", || {
        pids.iter().all(|&pid| state(pid) == Some('T'))
    });
    pod.thaw().unwrap();
    wait_for("processes that go on", || {
        pids.iter().all(|&pid| state(pid) == Some('S'))
    });
}

fn a_pod_is_cut_off_from_the_api_server(cluster: &Cluster) {
    let pod = victim(cluster);
    let connects = |address: &str, port: &str| {
        let mut arguments = vec!["exec", pod.name(), "-c", "main", "--"];
        arguments.extend(["nc", "-w", "1", address, port, "-e", "/bin/true"]);
        cluster.kubectl_output(&arguments).unwrap().status.success()
    };
    let service = ("10.96.0.1", "443");
    assert!(connects(service.0, service.1));
    pod.cut_off().unwrap();
    // Twice is once.
    pod.cut_off().unwrap();
    assert!(!connects(service.0, service.1));
    let own_node = pod.node().address().to_string();
    assert!(connects(&own_node, "10250"), "all else is reached");
    pod.reconnect().unwrap();
    pod.reconnect().unwrap();
    assert!(connects(service.0, service.1));
}

fn a_process_is_killed_at_a_write(cluster: &Cluster) {
    let pod = victim(cluster);
    let old = pod.pids();
    let mut log = cluster.audit_follow(cluster.audit_mark().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for node in ["node1", "node2", "node3"] {
                cluster.kubectl(&["label", "node", node, "a=b"]).unwrap();
            }
        });
        let limit = Duration::from_secs(30);
        let write = log.nth_write("admin", 2, Stage::RequestReceived, limit);
        pod.kill().unwrap();
        assert_eq!(write.unwrap().name, "node2");
    });
    wait_for("the end of the processes", || {
        old.iter()
            .all(|&pid| matches!(state(pid), None | Some('Z')))
    });
    // A second time kubelet would wait 10 s; a new pod does not.
    let name = pod.name().to_owned();
    pod.remove().unwrap();
    wait_for("another pod", || {
        let new = pods(cluster, "app=victim");
        matches!(&new[..], [(other, true)] if *other != name)
    });
    assert!(victim(cluster).pids().iter().all(|pid| !old.contains(pid)));
}

fn a_silent_node_is_noticed(cluster: &Cluster) {
    let node = cluster.node(3);
    let was_silent = Instant::now();
    node.kubelet_stop().unwrap();
    wait_for("a node that is not ready", || !is_ready(cluster, "node3"));
    println!("noticed after {:.1?}", was_silent.elapsed());
    // The pod is still there, and still runs.
    assert!(node.exec(&["pgrep", "sleep"]).is_ok());
    node.kubelet_start().unwrap();
    assert!(is_ready(cluster, "node3"));
}

fn a_node_is_rebooted(cluster: &Cluster) {
    let node = cluster.node(4);
    // The node that was silent has to say first that its pod is ready again.
    wait_for("ready pods on all nodes", || {
        pods(cluster, "app=everywhere")
            .iter()
            .all(|(_, ready)| *ready)
    });
    let before = pods(cluster, "app=everywhere");
    assert_eq!(before.len(), 4);
    node.crash().unwrap();
    wait_for("a node that is not ready", || !is_ready(cluster, "node4"));
    node.start().unwrap();
    wait_for("its pod, started again", || {
        pods(cluster, "app=everywhere") == before
    });
}

fn victim(cluster: &Cluster) -> RunningPod<'_> {
    let all = pods(cluster, "app=victim");
    cluster.running_pod("default", &all[0].0).unwrap()
}

/// Names of pods and whether they are ready, those that end left out.
fn pods(cluster: &Cluster, selector: &str) -> Vec<(String, bool)> {
    let text = cluster.kubectl(&["get", "pods", "-l", selector, "-o", "json"]);
    let list: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            (name, condition_is_true(pod, "Ready"))
        })
        .collect()
}

fn is_ready(cluster: &Cluster, node: &str) -> bool {
    let text = cluster.kubectl(&["get", "node", node, "-o", "json"]);
    condition_is_true(&serde_json::from_str(&text.unwrap()).unwrap(), "Ready")
}

fn condition_is_true(object: &Value, kind: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == kind && c["status"] == "True")
        })
}

/// The state of a process, as in /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}
