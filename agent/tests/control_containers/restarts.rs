//! Restarts: what happens to the first process.

use super::*;

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
