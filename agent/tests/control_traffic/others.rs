//! What is left alone, and what is refused.

use super::*;

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
