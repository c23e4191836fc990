//! A kernel that does not answer.

use super::*;

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
