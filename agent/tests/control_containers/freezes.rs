//! Containers that are frozen and thawed.

use super::*;

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
