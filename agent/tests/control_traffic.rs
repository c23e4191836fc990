//! Clicks that shape the traffic of a pod: real networks and the real kernel, under a made `/proc` and made
//! cgroups. They need root; elsewhere they say so and pass.

mod api_server;
mod local_agent;
mod made_network;
mod made_node;

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

#[tokio::test]
async fn a_rate_is_set_and_cleared_with_a_record_of_each() {
    let Some(node) = Node::with(2) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let before = node.networks[0].tc();
    let set = agent.click("set", &id(0, 1), SLOW).await;
    assert_eq!(
        (said(&set), &set["value"]["phase"]),
        ("", &json!("Succeeded"))
    );
    assert!(
        node.networks[0]
            .tc()
            .contains("rate 8Mbit burst 32Kb lat 50ms")
    );
    assert!(!node.networks[1].tc().contains("tbf"), "of another pod");
    assert_eq!(agent.containers.shaped_pods(), 1);
    let until = agent.board().until();
    assert!(until.contains_key(&pod_uid(0)));
    assert!(matches!(
        agent.board().seen().roots[&*pod_uid(0)],
        Root::Ours(_)
    ));
    let specs = await_records(&server, 1).await;
    assert_eq!(specs[0]["control"], "ShapeTraffic");
    let message = specs[0]["done"]["message"].as_str().expect("a message");
    assert!(
        message.contains(
            "what leaves the pod of container log of pod demo/web-0 has rate 8mbit for 30 min, until"
        ),
        "{message}"
    );

    // The same pod by its other container.
    let changed = agent
        .click("set", &id(0, 0), &[("rate", "1mbit"), ("duration", "60s")])
        .await;
    assert_eq!(said(&changed), "");
    assert!(node.networks[0].tc().contains("rate 1Mbit"));
    assert_eq!(agent.containers.shaped_pods(), 1);
    let none = agent.click("set", &id(0, 0), &[("rate", "0")]).await;
    assert_eq!(said(&none), "", "nothing is left, so it is cleared");
    assert_eq!(node.networks[0].tc(), before);
    let cleared = agent.click("clear", &id(0, 0), &[]).await;
    assert!(
        said(&cleared).contains("nothing is set on the traffic of container"),
        "{cleared}"
    );
    let specs = await_records(&server, 3).await;
    assert!(
        specs[2]["done"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("is as before again, without rate 1mbit"))
    );
    assert_eq!(node.files(), 0);
    agent.end().await;
}

#[tokio::test]
async fn it_runs_out_and_ends_with_the_agent() {
    let Some(node) = Node::with(2) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let before = node.networks[0].tc();
    for (pod, duration) in [(0, "1s"), (1, "10m")] {
        let args = [("rate", "8mbit"), ("duration", duration)];
        assert_eq!(said(&agent.click("set", &id(pod, 0), &args).await), "");
    }
    await_that("its time to be over", || node.networks[0].tc() == before).await;
    assert!(
        node.networks[1].tc().contains("tbf"),
        "its time is not over"
    );
    let specs = await_records(&server, 3).await;
    let last = &specs[2];
    assert_eq!(
        (last["control"].as_str(), last["probeID"].as_str()),
        (Some("ShapeTraffic"), None)
    );
    assert!(
        last["done"]["message"]
            .as_str()
            .is_some_and(|m| m.ends_with("its time was over"))
    );
    agent.end().await;
    assert!(
        !node.networks[1].tc().contains("tbf"),
        "a regular end clears"
    );
    assert_eq!(node.files(), 0);
}

#[tokio::test]
async fn the_next_agent_clears_what_a_killed_one_set() {
    let Some(node) = Node::with(3) else { return };
    let server = taking().await;
    let killed = node.agent(&server, 10);
    for (pod, duration) in [(0, "2s"), (1, "10m"), (2, "10m")] {
        let args = [("rate", "8mbit"), ("duration", duration)];
        assert_eq!(said(&killed.click("set", &id(pod, 1), &args).await), "");
    }
    // As by SIGKILL: nothing of it runs any more, and nothing was put in order.
    killed.ending.cancel();
    // The container that was clicked has ended meanwhile; its pod has not.
    fs::remove_dir_all(node.cgroup(0, 1)).expect("removed");
    // This pod is gone as a whole.
    fs::remove_dir_all(node.cgroup(2, 0).parent().expect("its pod")).expect("removed");

    let next = node.agent(&server, 10);
    assert_eq!(next.containers.shaped_pods(), 3, "taken over");
    await_that("the first to be cleared in time", || {
        !node.networks[0].tc().contains("tbf")
    })
    .await;
    assert!(
        node.networks[1].tc().contains("tbf"),
        "its time is not over"
    );
    next.end().await;
    assert!(!node.networks[1].tc().contains("tbf"));
    assert_eq!(node.files(), 0);
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

#[tokio::test]
async fn what_is_ours_and_has_no_deadline_is_cleared() {
    let Some(node) = Node::with(3) else { return };
    let server = taking().await;
    let killed = node.agent(&server, 10);
    for pod in [0, 1] {
        assert_eq!(said(&killed.click("set", &id(pod, 0), SLOW).await), "");
    }
    killed.ending.cancel();
    // Of one the file knows nothing any more.
    let path = node.path("plugin/shaped.json");
    let text = fs::read_to_string(&path).expect("there");
    let mut left: Value = serde_json::from_str(&text).expect("JSON");
    left.as_object_mut().expect("by pod").remove(&pod_uid(0));
    fs::write(&path, left.to_string()).expect("written");
    let other = Handle::of_plugin("other");
    let theirs =
        format!("tc qdisc add dev eth0 root handle {other} tbf rate 3mbit burst 32kb latency 50ms");
    node.networks[2].run(&theirs);

    let next = node.agent(&server, 10);
    node.look(&next).await;
    await_that("it to be cleared", || next.containers.leftovers() == 1).await;
    assert!(!node.networks[0].tc().contains("tbf"));
    assert!(node.networks[1].tc().contains("tbf"), "it has a deadline");
    assert!(node.networks[2].tc().contains("tbf"), "another plugin's");
    assert_eq!(next.board().seen().roots[&*pod_uid(0)], Root::Default);
    // Neither is one that is set from now on.
    assert_eq!(said(&next.click("set", &id(0, 0), SLOW).await), "");
    node.look(&next).await;
    node.look(&next).await;
    assert!(node.networks[0].tc().contains("tbf"));
    assert_eq!(
        (next.containers.leftovers(), next.containers.shaped_pods()),
        (1, 2)
    );
    next.end().await;

    // A file that cannot be read, too.
    node.networks[0].run(&like_ours());
    fs::write(&path, "no JSON").expect("written");
    let last = node.agent(&server, 10);
    node.look(&last).await;
    await_that("it to be cleared", || last.containers.leftovers() == 1).await;
    assert!(!node.networks[0].tc().contains("tbf"));
    last.end().await;
}

/// A kernel that does not answer while something is to be set.
#[derive(Default)]
struct Hanging(Arc<(Mutex<bool>, Condvar)>);

impl Hanging {
    fn hang(&self, hangs: bool) {
        *self.0.0.lock().expect("whole") = hangs;
        self.0.1.notify_all();
    }

    fn networks(&self) -> Networks {
        let (state, real) = (self.0.clone(), Networks::of_plugin(PLUGIN));
        let ask = move |network: &Namespace, _: Handle, request: &Request| match request {
            Request::Look => real.root(network),
            Request::Clear => real.clear(network),
            Request::Set(setting) => {
                let hangs = state.0.lock().expect("whole");
                let _gone_on = state.1.wait_while(hangs, |hangs| *hangs);
                real.set(network, *setting)
            }
        };
        let patience = Duration::from_secs(1);
        Networks::new(Handle::of_plugin(PLUGIN), Arc::new(ask), patience)
    }
}

#[tokio::test]
async fn a_kernel_that_does_not_answer_holds_up_that_pod_alone() {
    let Some(node) = Node::with(2) else { return };
    let freezer = node.cgroup(1, 0).join("freezer.state");
    fs::write(&freezer, "THAWED\n").expect("written");
    let server = taking().await;
    let hanging = Hanging::default();
    let agent = node.agent_by(hanging.networks(), &server, 10);
    hanging.hang(true);
    let (web, other) = (id(0, 0), format!("{};<container>", id(1, 0)));
    // The click waits, and freezing goes on meanwhile.
    let (_, frozen) = tokio::join!(
        agent.click("set", &web, SLOW),
        agent.take("freezeContainer", &other, &[("force", "true")])
    );
    assert_eq!(said(&frozen), "", "{frozen}");
    assert_eq!(fs::read_to_string(&freezer).expect("there"), "FROZEN\n");
    let recorded = await_records(&server, 2).await;
    let message = recorded[1]["done"]["message"].as_str().expect("a message");
    assert!(
        message.ends_with(
            "is changed or as it was: the kernel has not answered within 1s, and may still do it"
        ),
        "{message}"
    );
    // It may come to be set, so it has a deadline; until it is known nothing else is done there.
    assert_eq!(agent.containers.shaped_pods(), 1);
    for (button, args) in [("set", &[("rate", "9mbit")][..]), ("clear", &[])] {
        let answer = agent.click(button, &web, args).await;
        assert!(
            said(&answer).ends_with("has not answered earlier questions about pods' networks"),
            "{answer}"
        );
    }
    node.look(&agent).await;
    let seen = agent.board().seen();
    assert_eq!(
        seen.roots.keys().map(|pod| &**pod).collect::<Vec<_>>(),
        [pod_uid(1)]
    );
    assert_eq!(agent.board().networks().late(), (1, 1));
    hanging.hang(false);
    await_that("it to be set", || node.networks[0].tc().contains("tbf")).await;
    await_that("its thread to end", || {
        agent.board().networks().late().1 == 0
    })
    .await;
    agent.end().await;
    assert!(
        !node.networks[0].tc().contains("tbf"),
        "it is known to be ours"
    );
    assert_eq!(fs::read_to_string(&freezer).expect("there"), "THAWED\n");
}

#[tokio::test]
async fn a_pod_without_a_process_keeps_its_deadline() {
    let Some(node) = Node::with(1) else { return };
    let server = taking().await;
    node.networks[0].run(&like_ours());
    leave(&node, node.inode(0));
    let procs = [0, 1].map(|number| node.cgroup(0, number).join("cgroup.procs"));
    let pids = procs.clone().map(|procs| fs::read(procs).expect("there"));
    for procs in &procs {
        fs::write(procs, "").expect("written");
    }
    let agent = node.agent(&server, 10);
    // The network may live on without a process, as where a runtime keeps none for the sandbox: then nothing is
    // known of it, which is no reason to forget it.
    let tried = || fs::read_to_string(node.path("plugin/shaped.json")).is_ok();
    node.look(&agent).await;
    assert!(tried());
    assert_eq!(agent.containers.shaped_pods(), 1);
    for (procs, pids) in procs.iter().zip(pids) {
        fs::write(procs, pids).expect("written");
    }
    await_that("it to be tried again", || {
        agent.containers.shaped_pods() == 0
    })
    .await;
    assert!(!node.networks[0].tc().contains("tbf"));
    agent.end().await;
    assert_eq!(node.files(), 0);
}

#[tokio::test]
async fn a_network_that_comes_back_under_an_old_number_is_not_touched() {
    let Some(node) = Node::with(2) else { return };
    let server = taking().await;
    // The pod's sandbox was made again: another network, in which nothing of that click can be.
    node.networks[0].run(&like_ours());
    leave(&node, node.inode(0) + 100_000);
    let agent = node.agent(&server, 10);
    await_that("it to be forgotten", || agent.containers.shaped_pods() == 0).await;
    assert!(node.networks[0].tc().contains("tbf"));
    agent.end().await;
    assert!(node.networks[0].tc().contains("tbf"));
    // The pod is gone, and another one has its network's number.
    node.networks[1].run(&like_ours());
    leave(&node, node.inode(1));
    fs::remove_dir_all(node.cgroup(0, 0).parent().expect("its pod")).expect("removed");
    let agent = node.agent(&server, 10);
    await_that("it to be forgotten", || agent.containers.shaped_pods() == 0).await;
    agent.end().await;
    assert!(node.networks[1].tc().contains("tbf"));
    assert_eq!(server.seen().len(), 0, "nothing was done");
}

#[tokio::test]
async fn of_two_networks_in_one_pod_the_one_that_is_shaped_is_not_forgotten() {
    let Some(node) = Node::with(1) else { return };
    let Some(own) = Network::new() else { return };
    node.put(0, 1, own.pid());
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let (web, log) = (id(0, 0), id(0, 1));
    assert_eq!(said(&agent.click("set", &web, SLOW).await), "");
    let answer = agent.click("set", &log, SLOW).await;
    assert!(
        said(&answer).ends_with(
            "container web of the same pod has another network, which is shaped; clear that one first"
        ),
        "{answer}"
    );
    let answer = agent.click("clear", &log, &[]).await;
    assert!(said(&answer).contains("nothing is set"), "{answer}");
    assert!(!own.tc().contains("tbf"));
    assert_eq!(agent.containers.shaped_pods(), 1, "it still ends in time");
    assert_eq!(said(&agent.click("clear", &web, &[]).await), "");
    assert_eq!(said(&agent.click("set", &log, SLOW).await), "");
    assert!(own.tc().contains("tbf") && !node.networks[0].tc().contains("tbf"));
    // The other network is gone with its process: nothing is left to be cleared there.
    fs::write(node.cgroup(0, 1).join("cgroup.procs"), "").expect("written");
    assert_eq!(said(&agent.click("set", &web, SLOW).await), "");
    agent.end().await;
    assert!(!node.networks[0].tc().contains("tbf"));
}

#[tokio::test]
async fn another_plugin_of_the_node_leaves_alone_what_this_one_set() {
    let Some(node) = Node::with(1) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let other = Handle::of_plugin("other");
    let theirs =
        format!("tc qdisc add dev eth0 root handle {other} tbf rate 3mbit burst 32kb latency 50ms");
    node.networks[0].run(&theirs);
    for (button, args) in [("set", SLOW), ("clear", &[][..])] {
        let answer = agent.click(button, &id(0, 0), args).await;
        assert!(
            said(&answer).contains("(rate 3mbit), as another Scope plugin of this node sets it"),
            "{answer}"
        );
    }
    agent.end().await;
    assert!(node.networks[0].tc().contains("rate 3Mbit"));
}

#[tokio::test]
async fn nothing_is_set_on_who_has_the_pid_by_now() {
    let Some(node) = Node::with(2) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 10);
    // The cgroup still lists the process, which is of the other pod by now.
    let other = node.networks[1].pid();
    let procs = node.cgroup(0, 0).join("cgroup.procs");
    fs::write(&procs, format!("{other}\n")).expect("written");
    let answer = agent.click("set", &id(0, 0), SLOW).await;
    assert!(
        said(&answer).contains("container web of pod demo/web-0 has no process (any more)"),
        "{answer}"
    );
    // The process has ended.
    fs::write(&procs, "4000001\n").expect("written");
    let answer = agent.click("set", &id(0, 0), SLOW).await;
    assert!(
        said(&answer).contains("has no process (any more)"),
        "{answer}"
    );
    // The pod has ended.
    fs::remove_dir_all(node.cgroup(0, 0).parent().expect("its pod")).expect("removed");
    let answer = agent.click("set", &id(0, 1), SLOW).await;
    assert!(
        said(&answer).contains("has no process (any more)"),
        "{answer}"
    );
    assert!(
        node.networks
            .iter()
            .all(|network| !network.tc().contains("tbf"))
    );
    assert_eq!((node.files(), server.seen().len()), (0, 0));
    agent.end().await;
}

#[tokio::test]
async fn clicks_at_once_each_hit_their_own_pod() {
    let Some(node) = Node::with(2) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let (web, log, of_another) = (id(0, 0), id(0, 1), id(1, 0));
    let (a, b, c) = tokio::join!(
        agent.click("set", &web, &[("rate", "1mbit")]),
        agent.click("set", &of_another, &[("rate", "3mbit")]),
        agent.click("set", &log, &[("rate", "2mbit")]),
    );
    for answer in [&a, &b, &c] {
        assert_eq!(said(answer), "");
    }
    let first = node.networks[0].tc();
    assert!(
        first.contains("rate 1Mbit") || first.contains("rate 2Mbit"),
        "{first}"
    );
    assert!(node.networks[1].tc().contains("rate 3Mbit"));
    assert_eq!(agent.containers.shaped_pods(), 2);
    agent.end().await;
    assert!(
        node.networks
            .iter()
            .all(|network| !network.tc().contains("tbf"))
    );
}

#[tokio::test]
async fn refusals_are_words_and_change_nothing() {
    let Some(node) = Node::with(1) else { return };
    let server = taking().await;
    let agent = node.agent(&server, 1);
    let web = id(0, 1);
    type Change = fn(&mut scope_agent::inventory::Pod);
    let change: [(Change, &str); 4] = [
        (
            |pod| pod.namespace = "prod".into(),
            "the namespace prod is protected",
        ),
        (
            |pod| pod.namespace = NAMESPACE.into(),
            "belongs to the Scope plugins",
        ),
        (|pod| pod.mirror = true, "it is of a static pod"),
        (
            |pod| pod.host_network = true,
            "its pod is on the node's own network (hostNetwork)",
        ),
    ];
    let known = node.inventory.load_full();
    for (change, words) in change {
        node.change(0, change);
        for button in ["set", "clear"] {
            let args = if button == "set" { SLOW } else { &[] };
            let answer = agent.click(button, &web, args).await;
            assert!(said(&answer).contains(words), "{answer}");
            assert_eq!(answer["value"]["phase"], "Refused");
        }
        node.inventory.store(known.clone());
    }
    for (args, words) in [
        (
            &[("rate", "1")][..],
            "the argument rate is \"1\"; it is a rate from 8kbit to 100gbit",
        ),
        (
            &[("rate", "1mbit"), ("duration", "31m")][..],
            "from 1s to 1800s",
        ),
        (&[("latency", "1ms")][..], "has no argument \"latency\""),
        (
            &[("jitter", "1ms")][..],
            "the jitter would be 1ms and the delay 0ms",
        ),
        (&[][..], "changes nothing without an argument"),
    ] {
        let answer = agent.click("set", &web, args).await;
        assert!(said(&answer).contains(words), "{answer}");
    }
    let features = Features::try_out();
    if features.netem.is_err() {
        let answer = agent.click("slow", &web, &[]).await;
        assert!(
            said(&answer).ends_with(
                "this node's kernel has no sch_netem, so that only a rate can be set on it"
            ),
            "{answer}"
        );
        assert_eq!(node.files(), 0);
    }
    node.networks[0]
        .run("tc qdisc add dev eth0 root handle 1: tbf rate 3mbit burst 32kb latency 50ms");
    let theirs = node.networks[0].tc();
    for (button, args) in [("set", SLOW), ("clear", &[][..])] {
        let answer = agent.click(button, &web, args).await;
        assert!(
            said(&answer).contains(
                "shaped by somebody else already, with tbf 1: (rate 3mbit), as Chaos Mesh sets it"
            ),
            "{answer}"
        );
    }
    assert_eq!(node.networks[0].tc(), theirs);
    assert_eq!((node.files(), server.seen().len()), (0, 0));
    node.networks[0].run("tc qdisc del dev eth0 root");
    assert_eq!(said(&agent.click("set", &web, SLOW).await), "");
    let answer = agent.click("set", &web, &[("rate", "9mbit")]).await;
    assert!(
        said(&answer).contains("has had its 1 actions of this minute"),
        "{answer}"
    );
    let cleared = agent.click("clear", &web, &[]).await;
    assert_eq!(said(&cleared), "", "clearing is not counted");
    agent.end().await;
}

#[tokio::test]
async fn a_look_tells_what_the_kernel_says_of_each_pod() {
    let Some(node) = Node::with(3) else { return };
    let board = Board::new(Features::try_out(), Arc::new(Networks::of_plugin(PLUGIN)));
    let ways = (0..3).map(|pod| Way {
        pod: pod_uid(pod).into(),
        pid: node.networks[pod].pid(),
    });
    let gone = Way {
        pod: "gone".into(),
        pid: 4_000_001,
    };
    board.look_through(ways.chain([gone]).collect());
    node.networks[1].run(&like_ours());
    node.networks[2].run("tc qdisc add dev eth0 root pfifo");
    board.look(&node.path("proc"));
    let seen = board.seen();
    assert_eq!(seen.roots.len(), 3);
    assert_eq!(seen.roots[&*pod_uid(0)], Root::Default);
    assert!(matches!(seen.roots[&*pod_uid(1)], Root::Ours(_)));
    assert!(matches!(&seen.roots[&*pod_uid(2)], Root::Foreign(foreign) if foreign.kind == "pfifo"));
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    node.networks[0].run("ip link del eth0");
    board.look(&node.path("proc"));
    let seen = board.seen();
    assert_eq!(seen.roots.len(), 2);
    let (count, example) = &seen.failures[&scope_agent::sample::Cause::Absent];
    assert!(
        *count == 1 && example.ends_with("its network has no device eth0"),
        "{example}"
    );
}
