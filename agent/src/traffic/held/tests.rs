use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::super::live::Network;
use super::*;
use crate::traffic::{Handle, Networks, Rate, Root, Setting};

const ID: &str = "9ce26da262bbc84ae4df968fe038055a2363edc73207c2a6f85ef13bfbf73bd5";
const PID: u32 = 42;

fn ours() -> Handle {
    Handle::of_plugin("node-metrics")
}

fn networks() -> Networks {
    Networks::of_plugin("node-metrics")
}

/// A `/proc` in which process 42 is of the container, and in the network of a real process.
struct Made(tempfile::TempDir);

impl Made {
    fn of(network: &Network) -> Self {
        let made = Made(tempfile::tempdir().unwrap());
        let process = made.path("42");
        fs::create_dir(&process).unwrap();
        symlink(format!("/proc/{}/ns", network.pid()), process.join("ns")).unwrap();
        fs::write(
            process.join("cgroup"),
            format!("0::/kubepods/podtest/{ID}\n"),
        )
        .unwrap();
        made.starts_at(100);
        made
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn starts_at(&self, start: u64) {
        let stat = format!("42 (x) S 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 {start} 9 9\n");
        fs::write(self.path("42/stat"), stat).unwrap();
    }

    fn find(&self, meanwhile: impl Fn()) -> Result<Namespace, NoNetwork> {
        network_of(self.0.path(), PID, |place| {
            meanwhile();
            place.container.as_deref() == Some(ID)
        })
    }
}

#[test]
fn a_process_that_is_another_one_by_now_is_not_taken() {
    let Some(network) = Network::new() else {
        return;
    };
    let made = Made::of(&network);
    let found = made.find(|| {}).expect("found");
    assert_eq!(networks().root(&found).expect("read"), Root::Default);
    // Its pid was given to another one while we looked.
    let reused = made.find(|| made.starts_at(200));
    assert!(matches!(reused, Err(NoNetwork::Gone)), "{reused:?}");
    // It ended while we looked.
    let ended = made.find(|| fs::remove_file(made.path("42/stat")).unwrap());
    assert!(matches!(ended, Err(NoNetwork::Gone)), "{ended:?}");
    made.starts_at(100);
    // It is of another container.
    fs::write(made.path("42/cgroup"), "0::/kubepods/podtest/other\n").unwrap();
    let other = made.find(|| {});
    assert!(matches!(other, Err(NoNetwork::Gone)), "{other:?}");
    let nobody = network_of(made.0.path(), 43, |_| true);
    assert!(matches!(nobody, Err(NoNetwork::Gone)), "{nobody:?}");
}

#[test]
fn what_was_found_is_acted_on_whatever_becomes_of_the_process() {
    let (Some(network), Some(next)) = (Network::new(), Network::new()) else {
        return;
    };
    let made = Made::of(&network);
    let found = made.find(|| {}).expect("found");
    // The pid is another pod's from here on.
    fs::remove_file(made.path("42/ns")).unwrap();
    symlink(format!("/proc/{}/ns", next.pid()), made.path("42/ns")).unwrap();
    let rate = Setting {
        rate: Rate::from_bits(8_000_000),
        ..Setting::default()
    };
    assert_eq!(networks().set(&found, rate).expect("set"), Root::Ours(rate));
    let set = format!("tbf {}", ours());
    assert!(network.tc().contains(&set), "{}", network.tc());
    assert!(!next.tc().contains("tbf"), "{}", next.tc());
    // And its number cannot come back while we hold it.
    let identity = found.identity();
    drop(network);
    let Some(third) = Network::new() else { return };
    let theirs = Namespace::of_process(Path::new("/proc"), &third.pid().to_string());
    assert_ne!(theirs.expect("there").identity(), identity);
}

#[test]
fn the_node_and_the_agent_itself_are_spared() {
    let Some(network) = Network::new() else {
        return;
    };
    for (name, node) in [("1", true), ("self", false)] {
        let made = Made::of(&network);
        fs::create_dir(made.path(name)).unwrap();
        symlink(
            format!("/proc/{}/ns", network.pid()),
            made.path(name).join("ns"),
        )
        .unwrap();
        let spared = made.find(|| {});
        match node {
            true => assert!(matches!(spared, Err(NoNetwork::Node)), "{spared:?}"),
            false => assert!(matches!(spared, Err(NoNetwork::Own)), "{spared:?}"),
        }
    }
}
