use super::super::features::Features;
use super::super::live::Network;
use super::super::networks::Networks;
use super::super::setting::{Loss, Rate, Setting};
use super::*;

fn rate(bits: u64) -> Setting {
    Setting {
        rate: Rate::from_bits(bits),
        ..Setting::default()
    }
}

fn ours() -> Handle {
    Handle::of_plugin("node-metrics")
}

fn networks() -> Networks {
    Networks::of_plugin("node-metrics")
}

/// What is done in it, step by step.
fn inside<T: Send>(
    namespace: &Namespace,
    run: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError> + Send,
) -> Result<T, NamespaceError> {
    let work = || {
        namespace.enter()?;
        Ok(run(&mut Netlink::open(ours())?)?)
    };
    std::thread::scope(|scope| scope.spawn(work).join().expect("ends"))
}

fn of(network: &Network) -> Namespace {
    Namespace::of_process(Path::new("/proc"), &network.pid().to_string()).expect("opened")
}

#[test]
fn a_rate_is_set_changed_and_cleared_and_tc_sees_it() {
    let Some(network) = Network::new() else {
        return;
    };
    let namespace = of(&network);
    let here = fs_identity();
    assert_eq!(networks().root(&namespace).expect("read"), Root::Default);
    let before = network.tc();
    for (bits, said) in [
        (8_000_000, "rate 8Mbit burst 32Kb lat 50ms"),
        (1_000_000, "rate 1Mbit burst 32Kb lat 50ms"),
        (40_000_000_000, "rate 40Gbit burst "),
    ] {
        let set = networks().set(&namespace, rate(bits)).expect("set");
        assert_eq!(set, Root::Ours(rate(bits)));
        assert_eq!(networks().root(&namespace).expect("read"), set);
        assert!(network.tc().contains(said), "{}", network.tc());
    }
    assert_eq!(
        networks().clear(&namespace).expect("cleared"),
        Root::Ours(rate(40_000_000_000))
    );
    assert_eq!(
        network.tc(),
        before,
        "as it was, and not an empty one of ours"
    );
    assert_eq!(networks().clear(&namespace).expect("again"), Root::Default);
    assert_eq!(fs_identity(), here, "no thread but its own has moved");
}

fn fs_identity() -> Identity {
    identity(File::open("/proc/thread-self/ns/net").expect("there")).expect("looked at")
}

#[test]
fn what_somebody_else_set_stays() {
    let Some(network) = Network::new() else {
        return;
    };
    let namespace = of(&network);
    network.run("tc qdisc add dev eth0 root handle 1: tbf rate 3mbit burst 32kb latency 50ms");
    let theirs = network.tc();
    let refused = networks()
        .set(&namespace, rate(8_000_000))
        .expect_err("refused")
        .to_string();
    assert!(
        refused.contains("tbf 1: (rate 3mbit), as Chaos Mesh sets it"),
        "{refused}"
    );
    let Root::Foreign(foreign) = networks().clear(&namespace).expect("looked") else {
        panic!("not ours");
    };
    assert_eq!(
        (foreign.handle, foreign.setting),
        (0x1_0000, Some(rate(3_000_000)))
    );
    assert_eq!(network.tc(), theirs);
    // Not even where it comes between our look and our request: the kernel refuses then.
    let raced = inside(&namespace, |netlink| {
        netlink.create_for_test(DEVICE, &rate(8_000_000))
    });
    let raced = raced.expect_err("refused");
    assert!(raced.to_string().contains("File exists"), "{raced}");
    let deleted = inside(&namespace, |netlink| netlink.delete_for_test(DEVICE));
    assert!(deleted.is_ok(), "{deleted:?}");
    assert_eq!(network.tc(), theirs);
}

#[test]
fn of_two_plugins_each_leaves_alone_what_the_other_set() {
    let Some(network) = Network::new() else {
        return;
    };
    let namespace = of(&network);
    let other = Networks::of_plugin("other");
    networks().set(&namespace, rate(8_000_000)).expect("set");
    let set = network.tc();
    assert!(set.contains(&format!("tbf {} root", ours())), "{set}");
    let refused = other.set(&namespace, rate(1_000_000)).expect_err("refused");
    let refused = refused.to_string();
    assert!(
        refused.contains("(rate 8mbit), as another Scope plugin of this node sets it"),
        "{refused}"
    );
    for root in [other.root(&namespace), other.clear(&namespace)] {
        assert!(matches!(root, Ok(Root::Foreign(_))), "{root:?}");
    }
    assert_eq!(network.tc(), set);
    networks().clear(&namespace).expect("cleared");
    let theirs = other.set(&namespace, rate(1_000_000)).expect("set");
    assert_eq!(theirs, Root::Ours(rate(1_000_000)));
}

#[test]
fn a_network_without_eth0_is_said() {
    let Some(network) = Network::new() else {
        return;
    };
    network.run("ip link del eth0");
    let said = networks()
        .root(&of(&network))
        .expect_err("no device")
        .to_string();
    assert_eq!(said, "its network has no device eth0");
}

#[test]
fn the_kernel_is_asked_what_it_can_do() {
    let Some(network) = Network::new() else {
        return;
    };
    let features = Features::try_out();
    assert_eq!(features.tbf, Ok(()));
    let all = Setting {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss: Loss::from_milli_percent(12_500),
        rate: Rate::from_bits(8_000_000),
    };
    let set = networks().set(&of(&network), all);
    match features.netem {
        Ok(()) => {
            assert_eq!(set.expect("set"), Root::Ours(all));
            let said = network.tc();
            for word in [
                &format!("netem {}", ours()),
                "delay 20ms",
                "5ms",
                "loss 12.5%",
                "rate 8Mbit",
            ] {
                assert!(said.contains(word), "{said}");
            }
            // From one kind to the other, and back.
            let namespace = of(&network);
            let slow = rate(1_000_000);
            assert_eq!(
                networks().set(&namespace, slow).expect("set"),
                Root::Ours(slow)
            );
            assert_eq!(
                networks().set(&namespace, all).expect("set"),
                Root::Ours(all)
            );
        }
        Err(lack) => {
            assert_eq!(lack.words, "this node's kernel has no sch_netem");
            assert_eq!(lack.cause, crate::sample::Cause::Absent);
            assert_eq!(set.expect_err("refused").to_string(), lack.words);
            // What was set before is put back when its successor cannot be.
            let namespace = of(&network);
            let slow = rate(1_000_000);
            networks().set(&namespace, slow).expect("set");
            networks().set(&namespace, all).expect_err("refused");
            assert_eq!(networks().root(&namespace).expect("read"), Root::Ours(slow));
        }
    }
}

#[test]
fn a_try_that_hangs_is_left_to_itself() {
    let (let_go, hangs) = std::sync::mpsc::channel::<()>();
    let tried = in_a_new_one(Duration::from_millis(20), move |_| {
        let _ = hangs.recv();
        Ok(())
    });
    match tried.expect_err("late, or not allowed") {
        NamespaceError::Late(_) => {}
        error => assert!(
            matches!(error, NamespaceError::Enter { .. }),
            "this machine makes no networks: {error}"
        ),
    }
    drop(let_go);
}
