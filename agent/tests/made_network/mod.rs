//! A network to try things on, for tests: that of a process which only waits.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

/// A process in a network of its own, in which `eth0` is one end of a pair. Needs root.
pub(crate) struct Network(Child);

impl Network {
    /// `None` where this machine does not let us make one; then the reason is printed. With
    /// `HARNESS_REQUIRE=nodes`, as where all tests have to run, that is a failure.
    pub(crate) fn new() -> Option<Self> {
        let script = "ip link add eth0 type veth peer name other && echo made && exec sleep 1000";
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn();
        let mut network = match child {
            Ok(child) => Network(child),
            Err(e) => {
                return not_made(&format!("no unshare(1): {e}"));
            }
        };
        let mut said = [0; 5];
        let mut out = network.0.stdout.take()?;
        if out.read_exact(&mut said).is_err() {
            return not_made("no network can be made here (needs root, and ip(8))");
        }
        Some(network)
    }

    /// Another process in the same network.
    #[allow(dead_code)] // Not every test has two.
    pub(crate) fn joined(&self) -> Network {
        let child = Command::new("nsenter")
            .args(["--net", "--target", &self.pid().to_string()])
            .args(["sh", "-c", "echo there && exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("nsenter(1) runs");
        let mut said = [0; 6];
        let mut out = child.stdout.take().expect("piped");
        out.read_exact(&mut said).expect("it is there");
        Network(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What this prints, run in it.
    #[allow(dead_code)] // Not every test sets something.
    pub(crate) fn run(&self, command: &str) -> String {
        let pid = self.pid().to_string();
        let output = Command::new("nsenter")
            .args(["--net", "--target", &pid, "sh", "-c", command])
            .output()
            .expect("nsenter(1) runs");
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What an independent program says of `eth0`.
    #[allow(dead_code)] // Nor looks.
    pub(crate) fn tc(&self) -> String {
        self.run("tc qdisc show dev eth0 root")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn not_made(why: &str) -> Option<Network> {
    let required = std::env::var("HARNESS_REQUIRE");
    let required = required.is_ok_and(|all| all.split(',').any(|one| one.trim() == "nodes"));
    assert!(!required, "HARNESS_REQUIRE=nodes, but {why}");
    eprintln!("not tried: {why}");
    None
}
