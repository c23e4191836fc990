//! A real cluster on this machine, with everything that tests do to one. It needs root; without it
//! the test is skipped, and says so, unless `HARNESS_REQUIRE=nodes`.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

mod shared;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::{options, turn, wait_for};
use throwaway_cluster::{AuditEvent, Cluster, Error, leftovers};

const WORKLOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: harness.local/box:1
        command: [httpd, -f, -p, "8080", -h, /etc]
        readinessProbe: {httpGet: {path: /passwd, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: plugin}
spec:
  selector: {matchLabels: {app: plugin}}
  template:
    metadata: {labels: {app: plugin}}
    spec:
      terminationGracePeriodSeconds: 1
      hostPID: true
      containers:
      - name: plugin
        image: harness.local/box:1
        command: [sh, -c, "hostname > /var/run/scope/plugins/name; exec sleep 100000"]
        volumeMounts: [{name: plugins, mountPath: /var/run/scope/plugins}]
      volumes:
      - {name: plugins, hostPath: {path: /var/run/scope/plugins, type: DirectoryOrCreate}}
"#;

type Step = fn(&Cluster);

#[test]
fn a_cluster_works_and_goes_without_a_trace() {
    let Some(_turn) = turn() else { return };
    let tables_before = nft_tables();
    let started = Instant::now();
    let cluster = Cluster::up(options("tcup")).unwrap();
    println!("up after {:?}", started.elapsed());

    cluster
        .kubectl_with_input(&["apply", "-f", "-"], WORKLOAD)
        .unwrap();
    for workload in ["deployment/web", "daemonset/plugin"] {
        cluster
            .kubectl(&["rollout", "status", workload, "--timeout=60s"])
            .unwrap();
    }
    println!("workload after {:?}", started.elapsed());

    let steps: [(&str, Step); 10] = [
        (
            "pods and services are reached",
            pods_and_services_are_reached,
        ),
        (
            "files of nodes are seen from outside",
            files_of_nodes_are_seen_from_outside,
        ),
        ("nodes are told apart", nodes_are_told_apart),
        ("clients work", clients_work),
        ("requests are counted", requests_are_counted),
        (
            "an image from a Dockerfile runs",
            an_image_from_a_dockerfile_runs,
        ),
        ("kubelet is restarted", kubelet_is_restarted),
        (
            "a node crashes and comes back",
            a_node_crashes_and_comes_back,
        ),
        ("a node is cut off", a_node_is_cut_off),
        ("the API server is stopped", the_api_server_is_stopped),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        step(&cluster);
        println!("{name}: {:.1?}", start.elapsed());
    }

    println!("checked after {:?}", started.elapsed());
    let logs = cluster.logs();
    let going = Instant::now();
    cluster.down().unwrap();
    println!("down in {:?}", going.elapsed());
    assert_eq!(leftovers("tcup").unwrap(), Vec::<String>::new());
    assert_eq!(nft_tables(), tables_before);
    assert!(logs.join("node1-kubelet.log").exists(), "logs are kept");
    assert!(matches!(Cluster::attach("tcup"), Err(Error::NotUp { .. })));
}

fn pods_and_services_are_reached(cluster: &Cluster) {
    let service = json(cluster, &["get", "service/web", "-o", "json"]);
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    for node in cluster.nodes() {
        let page = node.exec(&[
            "busybox",
            "wget",
            "-qO-",
            &format!("http://{address}/passwd"),
        ]);
        assert!(page.unwrap().starts_with("root:x:0:0"));
    }
    let pods = json(cluster, &["get", "pods", "-l", "app=web", "-o", "json"]);
    let address = pods["items"][0]["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    std::net::TcpStream::connect((address, 8080)).unwrap();
    let exec = ["exec", "deployment/web", "--", "cat", "/etc/group"];
    assert!(cluster.kubectl(&exec).unwrap().contains("nonroot"));
}

fn files_of_nodes_are_seen_from_outside(cluster: &Cluster) {
    for node in cluster.nodes() {
        let plugins = node.plugin_dir().unwrap();
        std::fs::read_to_string(plugins.join("name")).unwrap();
        let socket = plugins.join("test.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        UnixStream::connect(&socket)
            .unwrap()
            .write_all(b"hello")
            .unwrap();
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello");
        // The same directory from inside, and through the link that /var/run is.
        let inside = node.exec(&["stat", "-c", "%F", "/var/run/scope/plugins/test.sock"]);
        assert_eq!(inside.unwrap().trim(), "socket");
        assert!(
            node.root()
                .unwrap()
                .join("var/run/scope/plugins/test.sock")
                .exists()
        );
        std::fs::remove_file(socket).unwrap();
    }
    // Nothing of that on the machine itself.
    assert!(!Path::new("/run/scope/plugins").exists());
    assert!(!Path::new("/var/lib/kubelet").exists());
}

fn nodes_are_told_apart(cluster: &Cluster) {
    let names: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| node.exec(&["hostname"]).unwrap())
        .collect();
    assert_eq!(names, ["node1\n", "node2\n"]);
    let processes = cluster.node(1).exec(&["ps", "-e", "-o", "comm="]).unwrap();
    assert!(
        processes.contains("kubelet") && !processes.contains("etcd"),
        "{processes}"
    );
    let nodes = json(cluster, &["get", "nodes", "-o", "json"]);
    let identity = |index: usize| {
        nodes["items"][index]["status"]["nodeInfo"]["machineID"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_ne!(identity(0), identity(1));
}

fn clients_work(cluster: &Cluster) {
    let version = cluster.helm(&["version", "--short"]).unwrap();
    assert!(version.starts_with("v4."), "{version}");
    let answer = cluster.kubectl(&["version", "-o", "json"]).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer["serverVersion"]["gitVersion"],
        answer["clientVersion"]["gitVersion"]
    );
    let summary = cluster.node(2).kubelet_get("stats/summary").unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node2");
    // A second handle, as another process has it.
    assert_eq!(Cluster::attach("tcup").unwrap().nodes().len(), 2);
    assert!(matches!(
        Cluster::up(options("tcup")),
        Err(Error::Busy { .. })
    ));
    assert!(matches!(
        Cluster::attach("tcup").unwrap().down(),
        Err(Error::Busy { .. })
    ));
    let error = cluster
        .kubectl(&["get", "pod", "none"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("pods \"none\" not found"), "{error}");
}

fn requests_are_counted(cluster: &Cluster) {
    let before = cluster.audit_mark().unwrap();
    cluster
        .kubectl(&[
            "get",
            "configmap",
            "kube-root-ca.crt",
            "--as=system:serviceaccount:a:b",
        ])
        .unwrap_err();
    cluster
        .kubectl(&["get", "configmap", "kube-root-ca.crt"])
        .unwrap();
    let events = cluster.audit_since(before).unwrap();
    let gets: Vec<&AuditEvent> = events
        .iter()
        .filter(|event| event.counts() && event.name == "kube-root-ca.crt")
        .collect();
    assert_eq!(gets.len(), 2, "{gets:?}");
    assert_eq!(
        (gets[0].verb.as_str(), gets[0].resource.as_str()),
        ("get", "configmaps")
    );
    assert_eq!(
        (gets[0].code, gets[0].decision.as_str()),
        (Some(403), "forbid")
    );
    assert_eq!((gets[1].code, gets[1].user.as_str()), (Some(200), "admin"));
    assert!(
        gets[1].user_agent.starts_with("kubectl/v1."),
        "{}",
        gets[1].user_agent
    );
    assert!(gets[0].reached <= gets[1].reached);
    let all = cluster.audit().unwrap();
    assert!(all.len() > events.len());
    assert!(
        all.iter().any(|event| event.user == "system:node:node2"
            && event.verb == "watch"
            && event.counts())
    );
}

fn an_image_from_a_dockerfile_runs(cluster: &Cluster) {
    let context = Scratch::new("image");
    std::fs::copy("/bin/busybox", context.0.join("busybox")).unwrap();
    let dockerfile = context.0.join("Dockerfile");
    std::fs::write(
        &dockerfile,
        "FROM scratch AS one\nCOPY busybox /busybox\nUSER 65532\nENTRYPOINT [\"/busybox\", \"echo\", \"first\"]\n\
         FROM scratch AS two\nCOPY busybox /two\nENTRYPOINT [\"/two\"]\n",
    )
    .unwrap();
    let output = context.0.join("archives");
    let archive = throwaway_cluster::images::build(
        &dockerfile,
        Some("one"),
        &context.0,
        "harness.local/one:0.1.0",
        &output,
    )
    .unwrap();
    assert_eq!(
        std::fs::read_dir(&output).unwrap().count(),
        1,
        "buildah's storage is removed"
    );
    cluster.load_image(&archive).unwrap();
    cluster
        .kubectl(&[
            "run",
            "one",
            "--image=harness.local/one:0.1.0",
            "--restart=Never",
            "--image-pull-policy=Never",
        ])
        .unwrap();
    cluster
        .kubectl(&[
            "wait",
            "--for=jsonpath={.status.phase}=Succeeded",
            "pod/one",
            "--timeout=30s",
        ])
        .unwrap();
    assert_eq!(cluster.kubectl(&["logs", "one"]).unwrap(), "first\n");
}

fn kubelet_is_restarted(cluster: &Cluster) {
    let pods = || running_containers(cluster, "node1");
    let before = pods();
    assert!(!before.is_empty());
    cluster.node(1).kubelet_restart().unwrap();
    assert_eq!(pods(), before, "pods live on");
}

fn a_node_crashes_and_comes_back(cluster: &Cluster) {
    let node = cluster.node(2);
    let old = node.pid().unwrap();
    node.crash().unwrap();
    assert!(!node.is_up() && !Path::new(&format!("/proc/{old}")).exists());
    let error = node.exec(&["true"]).unwrap_err().to_string();
    assert_eq!(error, "node2 is down: start it first");
    node.start().unwrap();
    assert_ne!(node.pid().unwrap(), old);
    cluster
        .kubectl(&["rollout", "status", "daemonset/plugin", "--timeout=60s"])
        .unwrap();
    wait_for("the plugin's file on the new /run", || {
        node.plugin_dir().unwrap().join("name").exists()
    });
    // The other node finds it under its old address.
    let address = node.address().to_string();
    cluster
        .node(1)
        .exec(&[
            "busybox",
            "nc",
            "-w",
            "5",
            &address,
            "10250",
            "-e",
            "/bin/true",
        ])
        .unwrap();
}

fn a_node_is_cut_off(cluster: &Cluster) {
    let node = cluster.node(1);
    let reach = || {
        let address = std::net::SocketAddr::from((node.address(), 10250));
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
    };
    assert!(reach());
    node.partition().unwrap();
    assert!(!reach());
    assert!(node.exec(&["true"]).is_ok(), "it runs on");
    node.heal().unwrap();
    wait_for("a healed network", reach);
}

fn the_api_server_is_stopped(cluster: &Cluster) {
    cluster.apiserver_stop().unwrap();
    assert!(
        cluster
            .kubectl(&["get", "nodes", "--request-timeout=2s"])
            .is_err()
    );
    cluster.apiserver_start().unwrap();
    // Controllers, scheduler and nodes have come back to it.
    cluster
        .kubectl(&["rollout", "restart", "deployment/web"])
        .unwrap();
    cluster
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])
        .unwrap();
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    serde_json::from_str(&cluster.kubectl(arguments).unwrap()).unwrap()
}

fn running_containers(cluster: &Cluster, node: &str) -> Vec<String> {
    let selector = format!("spec.nodeName={node},status.phase=Running");
    let pods = json(
        cluster,
        &["get", "pods", "--field-selector", &selector, "-o", "json"],
    );
    let mut all: Vec<String> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["status"]["containerStatuses"][0]["containerID"].to_string())
        .collect();
    all.sort();
    all
}

fn nft_tables() -> String {
    let output = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("throwaway-cluster-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
