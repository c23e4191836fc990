//! Clicks on containers of a made node, from the wire to the cgroup files and to real processes, and
//! the records of them in a scripted API server.

mod api_server;
mod local_agent;
mod made_node;

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

#[tokio::test]
async fn frozen_and_thawed_by_click_with_a_record_of_each() {
    let node = Node::with(2);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let frozen = agent.click("freezeContainer", 0).await;
    assert_eq!(said(&frozen), "");
    assert_eq!(frozen["value"]["phase"], "Succeeded");
    assert_eq!(
        (node.state(0).as_str(), node.state(1).as_str()),
        ("FROZEN", "THAWED")
    );
    assert_eq!(
        agent.containers.frozen().load().iter().collect::<Vec<_>>(),
        [&id(0)]
    );

    let specs = await_records(&server, 1).await;
    assert_eq!(specs[0]["control"], "FreezeContainer");
    assert_eq!(specs[0]["node"], "node-1");
    assert_eq!(specs[0]["appID"], "40a7031ee6466403");
    assert_eq!(specs[0]["done"]["phase"], "Succeeded");
    assert_eq!(
        specs[0]["target"],
        json!({"kind": "Pod", "uid": POD, "container":
            {"id": id(0), "name": "web", "namespace": "demo", "pod": "web-1"}})
    );
    assert_eq!(specs[0]["notAfter"], specs[0]["done"]["at"], "over already");
    let message = specs[0]["done"]["message"].as_str().expect("a message");
    assert!(
        message.contains("container web of pod demo/web-1 is frozen for 10 min"),
        "{message}"
    );

    let again = agent
        .take("freezeContainer", &node_id(0), &[("duration", "5s")])
        .await;
    assert!(
        said(&again).contains("is frozen already, and thaws at"),
        "{again}"
    );
    let restart = agent.click("restartContainer", 0).await;
    assert!(said(&restart).contains("thaw it first"), "{restart}");
    let thawed = agent.click("thawContainer", 0).await;
    assert_eq!((said(&thawed), node.state(0).as_str()), ("", "THAWED"));
    assert!(agent.containers.frozen().load().is_empty());
    assert_eq!(
        await_records(&server, 2).await[1]["control"],
        "ThawContainer"
    );
    // The third is not the first again.
    let refrozen = agent.click("freezeContainer", 0).await;
    assert_eq!((said(&refrozen), node.state(0).as_str()), ("", "FROZEN"));
    await_records(&server, 3).await;
    agent.end().await;
    assert_eq!(node.state(0), "THAWED", "a regular end thaws");
    let last = recorded(&server).pop().expect("a record");
    assert_eq!(
        (last["control"].as_str(), last["probeID"].as_str()),
        (Some("ThawContainer"), None)
    );
    assert_eq!(
        fs::read_dir(node.path("plugin")).expect("listed").count(),
        0
    );
}

#[tokio::test]
async fn a_freeze_runs_out() {
    let node = Node::with(1);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let answer = agent
        .take("freezeContainer", &node_id(0), &[("duration", "1s")])
        .await;
    assert_eq!(said(&answer), "");
    let specs = await_records(&server, 2).await;
    assert_eq!(node.state(0), "THAWED");
    let message = specs[1]["done"]["message"].as_str().expect("a message");
    assert!(
        message.ends_with("was thawed: its time was over"),
        "{message}"
    );
}

#[tokio::test]
async fn the_next_agent_thaws_what_a_killed_one_froze() {
    let node = Node::with(3);
    let server = taking().await;
    let killed = node.agent(&server, 10);
    for number in 0..3 {
        let duration = if number == 0 { "1s" } else { "10m" };
        let args = [("duration", duration)];
        killed
            .take("freezeContainer", &node_id(number), &args)
            .await;
    }
    await_records(&server, 3).await;
    // As by SIGKILL: nothing of it runs any more, and nothing was put in order.
    killed.ending.cancel();
    assert_eq!(node.frozen(), 3);
    // One has ended meanwhile.
    fs::remove_dir_all(node.cgroup(2)).expect("removed");

    let next = node.agent(&server, 10);
    assert_eq!(next.containers.frozen().load().len(), 3, "taken over");
    await_that("the first to thaw in time", || node.state(0) == "THAWED").await;
    assert_eq!(node.state(1), "FROZEN", "its time is not over");
    next.end().await;
    assert_eq!(node.state(1), "THAWED");
    assert_eq!(
        fs::read_dir(node.path("plugin")).expect("listed").count(),
        0
    );
}

#[tokio::test]
async fn a_container_that_is_out_of_sight_is_not_forgotten() {
    let node = Node::with(1);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    agent.click("freezeContainer", 0).await;
    let (seen, hidden) = (node.path("cgroup/freezer"), node.path("hidden"));
    fs::rename(&seen, &hidden).expect("moved");
    let answer = agent.click("thawContainer", 0).await;
    assert!(said(&answer).contains("is not found: "), "{answer}");
    assert_eq!(answer["value"]["phase"], "Failed");
    agent.end().await;
    fs::rename(&hidden, &seen).expect("moved");
    assert_eq!(node.state(0), "FROZEN");

    let next = node.agent(&server, 10);
    assert_eq!(next.containers.frozen().load().len(), 1, "taken over");
    next.end().await;
    assert_eq!(node.state(0), "THAWED");
}

#[tokio::test]
async fn refusals_are_words_and_change_nothing() {
    let refused = |number: usize, change: fn(&mut scope_agent::inventory::Pod)| {
        let node = Node::with(2);
        node.change(change);
        (node, number)
    };
    let liveness: fn(&mut scope_agent::inventory::Pod) = |pod| {
        pod.containers.values_mut().for_each(|c| c.liveness = true);
    };
    let starting: fn(&mut scope_agent::inventory::Pod) = |pod| {
        pod.containers.values_mut().for_each(|c| c.starting = true);
    };
    let once: fn(&mut scope_agent::inventory::Pod) = |pod| {
        let containers = pod.containers.values_mut();
        containers.for_each(|c| c.runs_once = true);
    };
    let all = ["freezeContainer", "thawContainer", "restartContainer"];
    for ((node, number), controls, words) in [
        (
            refused(0, |pod| pod.namespace = "prod".into()),
            &all[..],
            "the namespace prod is protected",
        ),
        (
            refused(0, |pod| pod.namespace = NAMESPACE.into()),
            &all[..],
            "belongs to the Scope plugins",
        ),
        (
            refused(0, |pod| pod.mirror = true),
            &all[..],
            "it is of a static pod",
        ),
        (refused(7, |_| {}), &all[..], "runs on this node (any more)"),
        (
            refused(0, |pod| pod.containers.clear()),
            &all[..],
            "runs on this node (any more)",
        ),
        (refused(0, liveness), &all[..1], "it has a liveness probe"),
        (
            refused(0, starting),
            &all[..1],
            "its startup probe has not succeeded yet",
        ),
        (
            refused(0, once),
            &all[2..],
            "is not restarted: its restart policy is Never",
        ),
        (refused(0, |_| {}), &all[1..2], "is not frozen"),
        // Its process cannot be seen.
        (
            refused(0, |_| {}),
            &all[2..],
            "it has no process (any more)",
        ),
    ] {
        let server = taking().await;
        let agent = node.agent(&server, 10);
        for control in controls {
            let answer = agent.click(control, number).await;
            assert!(said(&answer).contains(words), "{control}: {answer}");
            assert_eq!(node.state(0), "THAWED");
        }
        assert_eq!(server.seen().len(), 0, "what was not done leaves no record");
    }

    // Gone between the inventory and the click; and the agent's own.
    let node = Node::with(3);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    fs::remove_dir_all(node.cgroup(0)).expect("removed");
    let own = format!("4000001\n{}\n", std::process::id());
    fs::write(node.cgroup(1).join("cgroup.procs"), own).expect("written");
    fs::write(node.cgroup(2).join("cgroup.procs"), "").expect("written");
    for control in all {
        for (number, words) in [
            (0, "has no process (any more)"),
            (1, "is this agent's own container"),
            (2, "has no process (any more)"),
        ] {
            let answer = agent.click(control, number).await;
            assert!(said(&answer).contains(words), "{control}: {answer}");
        }
    }
    assert_eq!((node.state(1).as_str(), server.seen().len()), ("THAWED", 0));
}

#[tokio::test]
async fn wrong_arguments_and_nodes_change_nothing() {
    let node = Node::with(1);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let container = node_id(0);
    for (control, target, args, words) in [
        (
            "freezeContainer",
            &*container,
            [("duration", "2h")],
            "the argument duration is \"2h\"",
        ),
        (
            "freezeContainer",
            &container,
            [("force", "yes")],
            "the argument force is \"yes\"",
        ),
        (
            "thawContainer",
            &container,
            [("duration", "5s")],
            "has no argument \"duration\"",
        ),
        (
            "restartContainer",
            &container,
            [("grace", "0s")],
            "has no argument \"grace\"",
        ),
    ] {
        let answer = agent.take(control, target, &args).await;
        assert!(said(&answer).contains(words), "{answer}");
    }
    let pod = format!("{POD};<pod>");
    for (control, target, words) in [
        ("freezeContainer", &*pod, "nodes of kind Container"),
        ("deletePod", &container, "nodes of kind Pod"),
        ("freezeContainer", "abc;<container>", "names no container"),
        ("melt", &container, "there is no control"),
    ] {
        let answer = agent.take(control, target, &[]).await;
        assert!(said(&answer).contains(words), "{answer}");
    }
    assert_eq!((node.state(0).as_str(), server.seen().len()), ("THAWED", 0));
    node.change(|pod| {
        for container in pod.containers.values_mut() {
            (container.liveness, container.starting) = (true, true);
        }
    });
    let forced = agent
        .take("freezeContainer", &container, &[("force", "true")])
        .await;
    assert_eq!((said(&forced), node.state(0).as_str()), ("", "FROZEN"));
}

#[tokio::test]
async fn a_double_click_is_one() {
    let node = Node::with(1);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let (first, second) = tokio::join!(
        agent.click("freezeContainer", 0),
        agent.click("freezeContainer", 0)
    );
    assert_eq!(first, second);
    assert_eq!(
        agent.click("freezeContainer", 0).await,
        first,
        "and a moment later"
    );
    assert_eq!(said(&first), "");
    assert_eq!(await_records(&server, 1).await.len(), 1);
    assert_eq!(agent.desk.counts()["repeated"], 2);
}

#[tokio::test]
async fn what_is_not_so_any_more_is_not_said_again() {
    let node = Node::with(2);
    let server = taking().await;
    let agent = node.agent(&server, 2);
    // Its time is over sooner than a double click is forgotten.
    let short = [("duration", "1s")];
    let container = node_id(0);
    let freeze = || agent.take("freezeContainer", &container, &short);
    assert_eq!(said(&freeze().await), "");
    await_records(&server, 2).await;
    assert_eq!(node.state(0), "THAWED");
    assert_eq!(
        (said(&freeze().await), node.state(0).as_str()),
        ("", "FROZEN")
    );
    assert_eq!(agent.desk.counts().get("repeated"), None);

    // What was refused is looked at anew each time.
    let full = agent.click("freezeContainer", 1).await;
    assert!(said(&full).contains("click again in"), "{full}");
    node.change(|pod| pod.containers.values_mut().for_each(|c| c.liveness = true));
    let probed = agent.click("freezeContainer", 1).await;
    assert!(said(&probed).contains("liveness probe"), "{probed}");
}

#[tokio::test]
async fn of_a_hundred_clicks_at_once_as_many_as_allowed_are_carried_out() {
    let node = Node::with(100);
    let server = taking().await;
    let agent = node.agent(&server, 5);
    let mut clicks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let desk = agent.desk.clone();
        clicks.spawn(async move {
            let request = ControlRequest {
                app_id: String::new(),
                node_id: node_id(number),
                control: "freezeContainer".into(),
                control_args: Default::default(),
            };
            let began = Instant::now();
            let answer = desk.take(&request, "1").await;
            (answer.error, began.elapsed())
        });
    }
    let answers = clicks.join_all().await;
    let done = answers.iter().filter(|(error, _)| error.is_none()).count();
    assert!(
        done <= 5 && node.frozen() == done,
        "{done} done, {} frozen",
        node.frozen()
    );
    assert!(done >= 1);
    for (error, took) in &answers {
        assert!(*took < Duration::from_millis(500), "{took:?}");
        let error = error.as_deref().unwrap_or("is frozen");
        let known = [
            "is frozen",
            "5 actions of this minute",
            "clicks are being carried out already",
        ];
        assert!(known.iter().any(|words| error.contains(words)), "{error}");
    }
    // What was turned away for the crowd gets what is left of the minute, and no more.
    for number in 0..100 {
        agent.click("freezeContainer", number).await;
    }
    assert_eq!(node.frozen(), 5);
    // Thawing is never refused for the number.
    for number in (0..100).filter(|&n| node.state(n) == "FROZEN") {
        assert_eq!(said(&agent.click("thawContainer", number).await), "");
    }
    assert_eq!(node.frozen(), 0);
}

#[tokio::test]
async fn what_cannot_be_frozen_is_said() {
    let node = Node::with(2);
    let server = taking().await;
    let agent = node.agent(&server, 10);
    // Without its deadline on disk nothing is frozen.
    fs::remove_dir(node.path("plugin")).expect("removed");
    let answer = agent.click("freezeContainer", 0).await;
    assert!(
        said(&answer).contains("its deadline cannot be written"),
        "{answer}"
    );
    assert_eq!((node.state(0).as_str(), server.seen().len()), ("THAWED", 0));
    fs::create_dir(node.path("plugin")).expect("made");
    // A state that the kernel does not reach.
    let state = node.cgroup(1).join("freezer.state");
    fs::remove_file(&state).expect("removed");
    let answer = agent.click("freezeContainer", 1).await;
    assert!(
        said(&answer).contains("is not frozen") && said(&answer).contains("freezer.state"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_restart_ends_the_first_process() {
    let mut node = Node::with(1);
    node.run(0, "exec sleep 1000");
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let answer = agent.click("restartContainer", 0).await;
    // On a busy machine it may not have ended before the answer had to leave.
    assert!(
        said(&answer).is_empty() || said(&answer).starts_with("accepted: "),
        "{answer}"
    );
    assert_eq!(node.ended_by(), Some(15));
    let specs = await_records(&server, 1).await;
    let message = specs[0]["done"]["message"].as_str().expect("a message");
    assert!(
        message.contains("ended") && message.contains("s after SIGTERM; the kubelet starts"),
        "{message}"
    );
    assert_eq!(specs[0]["done"]["phase"], "Succeeded");
}

#[tokio::test]
async fn a_process_that_heeds_no_sigterm_is_killed_after_its_grace_period() {
    let mut node = Node::with(1);
    let ready = node.path("ready");
    let script = format!("trap '' TERM; touch {}; exec sleep 1000", ready.display());
    node.run(0, &script);
    await_that("the signal to be ignored", || ready.exists()).await;
    node.change(|pod| pod.grace = Some(Duration::from_secs(1)));
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let answer = agent.click("restartContainer", 0).await;
    assert!(said(&answer).starts_with("accepted: "), "{answer}");
    assert_eq!(answer["value"]["phase"], "Accepted");
    let freeze = agent.click("freezeContainer", 0).await;
    assert!(said(&freeze).contains("is being ended already"), "{freeze}");
    let specs = await_records(&server, 1).await;
    assert_eq!(node.ended_by(), Some(9));
    let message = specs[0]["done"]["message"].as_str().expect("a message");
    assert!(
        message.contains("heeded no SIGTERM for 1 s and got SIGKILL; the kubelet starts"),
        "{message}"
    );
}

#[tokio::test]
async fn an_agent_that_ends_during_a_grace_period_says_so() {
    let mut node = Node::with(1);
    let ready = node.path("ready");
    let script = format!("trap '' TERM; touch {}; exec sleep 1000", ready.display());
    node.run(0, &script);
    await_that("the signal to be ignored", || ready.exists()).await;
    let server = taking().await;
    let agent = node.agent(&server, 10);
    agent.click("restartContainer", 0).await;
    agent.end().await;
    assert_eq!(recorded(&server)[0]["done"]["phase"], "Failed");
    // A request that was under way at the end is made once more under the same name.
    assert_eq!(record_names(&server).len(), 1);
    assert_eq!(
        node.children[0].try_wait().expect("asked"),
        None,
        "it still runs"
    );
}

/// Reports are served on the thread that the clicks come in by.
#[tokio::test]
async fn nothing_stands_still_while_the_kernel_is_waited_for() {
    let mut node = Node::with(3);
    let ready = node.path("ready");
    let script = format!("trap '' TERM; touch {}; exec sleep 1000", ready.display());
    node.run(0, &script);
    await_that("the signal to be ignored", || ready.exists()).await;
    node.change(|pod| pod.grace = Some(Duration::from_secs(1)));
    let server = taking().await;
    let agent = node.agent(&server, 10);
    let soon = [("duration", "1s")];
    agent.take("freezeContainer", &node_id(2), &soon).await;
    let answer = agent.click("restartContainer", 0).await;
    assert!(said(&answer).starts_with("accepted: "), "{answer}");

    // Whoever reads this state waits for a writer.
    let state = node.cgroup(1).join("freezer.state");
    fs::remove_file(&state).expect("removed");
    let (kind, mode) = (
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    rustix::fs::mknodat(rustix::fs::CWD, &state, kind, mode, 0).expect("made");
    let (release, released) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let in_time = released.recv_timeout(PATIENT).is_ok();
        fs::write(state, "MELTING\n").expect("written");
        in_time
    });
    let stuck = agent.click("freezeContainer", 1).await;
    assert!(said(&stuck).contains("this node is slow"), "{stuck}");
    // Meanwhile one has ended, and one is due.
    let killed = |spec: &Value| spec["done"]["message"].to_string().contains("got SIGKILL");
    await_that("the kill", || recorded(&server).iter().any(killed)).await;
    release.send(()).expect("it waits");
    assert!(
        writer.join().expect("written"),
        "the thread of the reports stood still"
    );
    await_records(&server, 3).await;
    assert_eq!(node.state(2), "THAWED");
    agent.end().await;
}

/// The servers stop after the containers are put in order: a kept connection can still bring a click.
#[tokio::test]
async fn a_click_on_an_agent_that_ends_begins_nothing() {
    let mut node = Node::with(2);
    node.run(0, "exec sleep 1000");
    let server = taking().await;
    let agent = node.agent(&server, 10);
    agent.click("freezeContainer", 1).await;
    agent.containers.end().await;
    assert_eq!(node.state(1), "THAWED");
    for (control, number) in [("restartContainer", 0), ("freezeContainer", 0)] {
        let answer = agent.click(control, number).await;
        assert!(
            said(&answer).contains("the agent of its node is ending"),
            "{answer}"
        );
        assert_eq!(answer["value"]["phase"], "Refused");
    }
    let again = agent
        .take("freezeContainer", &node_id(1), &[("duration", "5s")])
        .await;
    assert!(said(&again).contains("is ending"), "{again}");
    assert_eq!(node.frozen(), 0);
    assert_eq!(
        node.children[0].try_wait().expect("asked"),
        None,
        "it got no signal"
    );
    assert_eq!(
        fs::read_dir(node.path("plugin")).expect("listed").count(),
        0,
        "nothing to be thawed later"
    );
    agent.end().await;
    // The freeze and its end.
    assert_eq!(record_names(&server).len(), 2);
}

#[tokio::test]
async fn done_without_the_api_server_and_recorded_once_it_is_back() {
    let node = Node::with(1);
    let away = Arc::new(AtomicBool::new(true));
    let script = away.clone();
    let server = ApiServer::start(move |seen: &Seen| {
        if script.load(Ordering::SeqCst) {
            return Reply::status(503, "ServiceUnavailable", "away");
        }
        Reply::Json(201, seen.body.clone())
    })
    .await;
    let agent = node.agent(&server, 10);
    let answer = agent.click("freezeContainer", 0).await;
    assert_eq!((said(&answer), node.state(0).as_str()), ("", "FROZEN"));
    await_that("a try", || !server.seen().is_empty()).await;
    let counts = agent.containers.records();
    let written = move || {
        counts
            .each()
            .iter()
            .any(|(what, n)| *what == "written" && *n == 1)
    };
    assert!(!written());
    away.store(false, Ordering::SeqCst);
    await_that("the record", written).await;
    let names = record_names(&server);
    assert_eq!(
        names.len(),
        1,
        "one record however often it was tried: {names:?}"
    );
}

/// A token that was rotated, and a role that is being replaced by an upgrade.
#[tokio::test]
async fn a_record_that_may_not_be_written_yet_is_tried_again() {
    for (code, reason) in [(401, "Unauthorized"), (403, "Forbidden")] {
        let node = Node::with(1);
        let first = AtomicBool::new(true);
        let server = ApiServer::start(move |seen: &Seen| {
            if first.swap(false, Ordering::SeqCst) {
                return Reply::status(code, reason, "as the test wants");
            }
            Reply::Json(201, seen.body.clone())
        })
        .await;
        let agent = node.agent(&server, 10);
        agent.click("freezeContainer", 0).await;
        let counts = agent.containers.records();
        let written = move || counts.each().contains(&("written", 1));
        await_that("the record", written).await;
        assert_eq!((server.seen().len(), record_names(&server).len()), (2, 1));
    }
}

#[tokio::test]
async fn a_record_that_is_there_already_or_refused_is_not_tried_again() {
    for (code, reason, outcome) in [
        (409, "AlreadyExists", "written"),
        (422, "Invalid", "refused"),
    ] {
        let node = Node::with(1);
        let server =
            ApiServer::start(move |_: &Seen| Reply::status(code, reason, "as the test wants"))
                .await;
        let agent = node.agent(&server, 10);
        agent.click("freezeContainer", 0).await;
        let counts = agent.containers.records();
        let counted = move || {
            counts
                .each()
                .iter()
                .any(|(what, n)| *what == outcome && *n == 1)
        };
        await_that(outcome, counted).await;
        assert_eq!(server.seen().len(), 1);
    }
}
