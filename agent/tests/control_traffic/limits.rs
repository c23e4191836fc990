//! Limits that are set, run out and are cleared.

use super::*;

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
