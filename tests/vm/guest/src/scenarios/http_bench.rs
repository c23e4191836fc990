//! What counting HTTP costs nginx under wrk. How it is measured is that program's affair, which does the
//! same outside of the machine.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use throwaway_vm_guest::HTTP_PROGRAM;

use super::step;
use crate::network;

/// Where nginx looks the user up that it runs as.
const USERS: [(&str, &str); 2] = [
    ("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
];

pub(super) fn play(rounds: &str, seconds: &str) -> anyhow::Result<()> {
    network::start_loopback()?;
    std::fs::create_dir_all("/etc")?;
    for (file, content) in USERS {
        std::fs::write(file, content).with_context(|| format!("cannot write {file}"))?;
    }
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    step(&format!("Linux {}", version.trim()));
    let mut bench = Command::new(HTTP_PROGRAM)
        .args(["bench", "/", rounds, seconds])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the bench")?;
    let said = bench.stdout.take().context("a pipe")?;
    for line in BufReader::new(said).lines() {
        step(&line?);
    }
    let status = bench.wait()?;
    ensure!(
        status.success(),
        "the bench ended with {status}: see the console"
    );
    Ok(())
}
