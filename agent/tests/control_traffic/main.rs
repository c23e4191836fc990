//! Clicks that shape the traffic of a pod: real networks and the real kernel, under a made `/proc` and made
//! cgroups. They need root; elsewhere they say so and pass.

#[path = "../api_server/mod.rs"]
mod api_server;
#[path = "../local_agent/mod.rs"]
mod local_agent;
#[path = "../made_network/mod.rs"]
mod made_network;
#[path = "../made_node/mod.rs"]
mod made_node;

mod hanging;
mod limits;
mod others;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use api_server::ApiServer;
use arc_swap::ArcSwap;
use local_agent::{Agent, NAMESPACE, PLUGIN, await_records, await_that, said, taking};
use made_network::Network;
use made_node::inventory;
use scope_agent::inventory::Inventory;
use scope_agent::traffic::{Board, Features, Handle, Namespace, Networks, Request, Root, Way};
use scope_crds::Control;
use serde_json::{Value, json};

fn pod_uid(pod: usize) -> String {
    format!("5aeb7ae0-1d5a-4f0e-9df2-{pod:012x}")
}

/// The ID of a pod's container with this number.
fn id(pod: usize, number: usize) -> String {
    format!("{:064x}", pod * 16 + number)
}

/// A node with pods of two containers, each pod with a network.
struct Node {
    dir: tempfile::TempDir,
    inventory: Arc<ArcSwap<Inventory>>,
    networks: Vec<Network>,
    /// The second container's process of each pod.
    others: Vec<Network>,
}

impl Node {
    /// `None` where this machine makes no networks.
    fn with(pods: usize) -> Option<Node> {
        let networks: Option<Vec<Network>> = (0..pods).map(|_| Network::new()).collect();
        let networks = networks?;
        let node = Node {
            dir: tempfile::tempdir().expect("a directory"),
            inventory: Arc::default(),
            others: networks.iter().map(Network::joined).collect(),
            networks,
        };
        for directory in ["proc", "plugin"] {
            fs::create_dir(node.path(directory)).expect("made");
        }
        let mut known = Vec::new();
        for pod in 0..pods {
            let ids = [id(pod, 0), id(pod, 1)];
            let named = [(ids[0].as_str(), "web"), (ids[1].as_str(), "log")];
            known.push(inventory::pod(&pod_uid(pod), &format!("web-{pod}"), &named));
            for (number, process) in [&node.networks[pod], &node.others[pod]].iter().enumerate() {
                fs::create_dir_all(node.cgroup(pod, number)).expect("made");
                node.put(pod, number, process.pid());
            }
        }
        node.inventory.store(Arc::new(inventory::inventory(known)));
        Some(node)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn cgroup(&self, pod: usize, number: usize) -> PathBuf {
        let uid = pod_uid(pod);
        self.path(&format!("cgroup/freezer/kubepods/burstable/pod{uid}"))
            .join(id(pod, number))
    }

    /// Puts a real process into the container, in its own network.
    fn put(&self, pod: usize, number: usize, pid: u32) {
        let made = self.path("proc").join(pid.to_string());
        if fs::create_dir(&made).is_ok() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its stat");
            fs::write(made.join("stat"), stat).expect("written");
            fs::write(made.join("status"), format!("NSpid:\t{pid}\t1\n")).expect("written");
            symlink(format!("/proc/{pid}/ns"), made.join("ns")).expect("linked");
        }
        let cgroup = format!(
            "6:freezer:/kubepods/burstable/pod{}/{}\n",
            pod_uid(pod),
            id(pod, number)
        );
        fs::write(made.join("cgroup"), cgroup).expect("written");
        let procs = self.cgroup(pod, number).join("cgroup.procs");
        fs::write(procs, format!("{pid}\n")).expect("written");
    }

    fn inode(&self, pod: usize) -> u64 {
        let path = format!("/proc/{}/ns/net", self.networks[pod].pid());
        fs::metadata(path).expect("there").ino()
    }

    fn change(&self, pod: usize, change: impl FnOnce(&mut scope_agent::inventory::Pod)) {
        let mut inventory = Inventory::clone(&self.inventory.load());
        change(inventory.pods.get_mut(&pod_uid(pod)).expect("the pod"));
        self.inventory.store(Arc::new(inventory));
    }

    fn files(&self) -> usize {
        fs::read_dir(self.path("plugin")).expect("listed").count()
    }

    fn agent(&self, server: &ApiServer, per_minute: usize) -> Agent {
        self.agent_by(Networks::of_plugin(PLUGIN), server, per_minute)
    }

    fn agent_by(&self, networks: Networks, server: &ApiServer, per_minute: usize) -> Agent {
        let board = Arc::new(Board::new(Features::try_out(), Arc::new(networks)));
        let offered = BTreeSet::from([Control::ShapeTraffic, Control::FreezeContainer]);
        let (root, known) = (self.dir.path(), &self.inventory);
        Agent::start(root, known, server, per_minute, offered, Some(board))
    }
}

impl Agent {
    async fn click(&self, button: &str, container: &str, args: &[(&str, &str)]) -> Value {
        let control = format!("traffic-control-table-{button}");
        let node = format!("{container};<container>");
        self.take(&control, &node, args).await
    }

    fn board(&self) -> &Arc<Board> {
        self.board.as_ref().expect("it looks at networks")
    }
}

const SLOW: &[(&str, &str)] = &[("rate", "8mbit")];

impl Node {
    /// Has the agent look at the pods' networks once.
    async fn look(&self, agent: &Agent) {
        let ways = (0..self.networks.len()).map(|pod| Way {
            pod: pod_uid(pod).into(),
            pid: self.networks[pod].pid(),
        });
        agent.board().look_through(ways.collect());
        let (board, proc) = (agent.board().clone(), self.path("proc"));
        let looked = tokio::task::spawn_blocking(move || board.look(&proc));
        looked.await.expect("looked");
    }
}

/// What an earlier agent left, about pod 0.
fn leave(node: &Node, inode: u64) {
    let path = format!("/proc/{}/ns/net", node.networks[0].pid());
    let device = fs::metadata(path).expect("there").dev();
    let left = json!({pod_uid(0): {
        "namespace": "demo", "pod": "web-0", "container": id(0, 0), "name": "web",
        "network": {"device": device, "inode": inode}, "untilMs": 0,
    }});
    fs::write(node.path("plugin/shaped.json"), left.to_string()).expect("written");
}

/// What sets on `eth0` what this plugin might have set, by its handle.
fn like_ours() -> String {
    let ours = Handle::of_plugin(PLUGIN);
    format!("tc qdisc add dev eth0 root handle {ours} tbf rate 8mbit burst 32kb latency 50ms")
}
