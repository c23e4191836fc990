//! Clicks on containers of a made node, from the wire to the cgroup files and to real processes, and
//! the records of them in a scripted API server.

#[path = "../api_server/mod.rs"]
mod api_server;
#[path = "../local_agent/mod.rs"]
mod local_agent;
#[path = "../made_node/mod.rs"]
mod made_node;

mod freezes;
mod records;
mod refusals;
mod restarts;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api_server::{ApiServer, Reply, Seen};
use arc_swap::ArcSwap;
use local_agent::{Agent, NAMESPACE, PATIENT, await_records, await_that, recorded, said, taking};
use made_node::inventory;
use scope_agent::inventory::Inventory;
use scope_crds::Control;
use scope_protocol::ControlRequest;
use serde_json::{Value, json};

const POD: &str = "5aeb7ae0-1d5a-4f0e-9df2-6f6a3c0f1a11";

/// The ID of the container with this number.
fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn node_id(number: usize) -> String {
    format!("{};<container>", id(number))
}

/// A node with one pod of so many containers, whose files are made.
struct Node {
    dir: tempfile::TempDir,
    inventory: Arc<ArcSwap<Inventory>>,
    children: Vec<Child>,
}

impl Node {
    fn with(containers: usize) -> Node {
        let node = Node {
            dir: tempfile::tempdir().expect("a directory"),
            inventory: Arc::default(),
            children: Vec::new(),
        };
        for directory in ["proc", "plugin"] {
            fs::create_dir(node.path(directory)).expect("made");
        }
        let ids: Vec<String> = (0..containers).map(id).collect();
        let named: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "web")).collect();
        let pod = inventory::pod(POD, "web-1", &named);
        node.inventory.store(Arc::new(inventory::inventory([pod])));
        for number in 0..containers {
            let cgroup = node.cgroup(number);
            fs::create_dir_all(&cgroup).expect("made");
            fs::write(cgroup.join("freezer.state"), "THAWED\n").expect("written");
            // A process that nobody can look at: what is frozen need not be known.
            fs::write(cgroup.join("cgroup.procs"), "4000001\n").expect("written");
        }
        node
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn cgroup(&self, number: usize) -> PathBuf {
        let pod = format!("cgroup/freezer/kubepods/burstable/pod{POD}");
        self.path(&pod).join(id(number))
    }

    fn state(&self, number: usize) -> String {
        let text = fs::read_to_string(self.cgroup(number).join("freezer.state"));
        text.expect("a state").trim().to_owned()
    }

    fn frozen(&self) -> usize {
        let all = self.inventory.load().pods[POD].containers.len();
        (0..all).filter(|&n| self.state(n) == "FROZEN").count()
    }

    fn change(&self, change: impl FnOnce(&mut scope_agent::inventory::Pod)) {
        let mut inventory = Inventory::clone(&self.inventory.load());
        change(inventory.pods.get_mut(POD).expect("the pod"));
        self.inventory.store(Arc::new(inventory));
    }

    /// Puts a real process into the container.
    fn run(&mut self, number: usize, script: &str) -> u32 {
        let child = Command::new("sh")
            .args(["-c", script])
            .spawn()
            .expect("runs");
        let pid = child.id();
        self.children.push(child);
        let made = self.path("proc").join(pid.to_string());
        fs::create_dir(&made).expect("made");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its stat");
        // Its real parent is this test, which is outside of the container.
        fs::write(made.join("stat"), stat).expect("written");
        fs::write(made.join("status"), format!("NSpid:\t{pid}\t1\n")).expect("written");
        let cgroup = format!("6:freezer:/kubepods/burstable/pod{POD}/{}\n", id(number));
        fs::write(made.join("cgroup"), cgroup).expect("written");
        fs::write(self.cgroup(number).join("cgroup.procs"), format!("{pid}\n")).expect("written");
        pid
    }

    /// The signal that ended the first process of [`Self::run`].
    fn ended_by(&mut self) -> Option<i32> {
        self.children[0].wait().expect("ends").signal()
    }

    fn agent(&self, server: &ApiServer, per_minute: usize) -> Agent {
        let offered = BTreeSet::from(Control::ALL);
        let (root, known) = (self.dir.path(), &self.inventory);
        Agent::start(root, known, server, per_minute, offered, None)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Agent {
    async fn click(&self, control: &str, number: usize) -> Value {
        self.take(control, &node_id(number), &[]).await
    }
}

/// The names under which records were made.
fn record_names(server: &ApiServer) -> BTreeSet<String> {
    let name = |seen: &Seen| seen.body["metadata"]["name"].to_string();
    server.seen().iter().map(name).collect()
}
