//! What is not done, and how often the rest is.

use super::*;

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
