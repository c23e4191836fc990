//! The links of pods, as a CNI plugin makes them.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::pod::Container;
use crate::workload::{Network, Start};

/// The address at the machine's end.
pub(crate) const HOST: &str = "10.9.0.1";
/// The address at the pod's end.
pub(crate) const POD: &str = "10.9.0.2";
/// The interface at the pod's end.
pub(crate) const POD_INTERFACE: &str = "eth0";

/// Makes the machine reach itself.
pub(crate) fn start_loopback() -> anyhow::Result<()> {
    succeed(Command::new("/sbin/ip").args(["link", "set", "lo", "up"]))
}

/// Links the network namespace of this process of a container with the machine's.
pub(crate) fn link(container: &Container, pid: u32) -> anyhow::Result<()> {
    let (host, pod) = (format!("{HOST}/24"), format!("{POD}/24"));
    let netns = pid.to_string();
    let pair = [
        "link",
        "add",
        "vpod0",
        "type",
        "veth",
        "peer",
        "name",
        POD_INTERFACE,
        "netns",
        &netns,
    ];
    let outside: [&[&str]; 3] = [
        &pair,
        &["addr", "add", &host, "dev", "vpod0"],
        &["link", "set", "vpod0", "up"],
    ];
    for arguments in outside {
        succeed(Command::new("/sbin/ip").args(arguments))?;
    }
    let start = Start {
        network: Network::Of(pid),
        ..Start::default()
    };
    let inside: [&[&str]; 2] = [
        &["addr", "add", &pod, "dev", POD_INTERFACE],
        &["link", "set", POD_INTERFACE, "up"],
    ];
    for arguments in inside {
        let role = [&["exec", "/sbin/ip"], arguments].concat();
        succeed(&mut container.command(&start, &role))?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
