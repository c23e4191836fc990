//! HTTP counted by the programs of the agent, in both modes. What is served and what has to be counted is
//! that program's affair, which the tests run outside of the machine too.

use std::process::Command;

use anyhow::ensure;
use throwaway_vm_guest::HTTP_PROGRAM;

use super::step;
use crate::network;

pub(super) fn play() -> anyhow::Result<()> {
    network::start_loopback()?;
    let version = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    step(&format!("Linux {}", version.trim()));
    for mode in ["fexit", "sys_exit"] {
        step(&format!("the table in mode {mode}"));
        let said = run(mode)?;
        ensure!(!said.contains("not at work"), "{mode}: {said}");
    }
    let said = run("memory")?;
    step(&said);
    ensure!(said.contains("(fexit)"), "the better mode comes first");
    Ok(())
}

/// What the program says; it is shown on the console.
fn run(word: &str) -> anyhow::Result<String> {
    let output = Command::new(HTTP_PROGRAM).arg(word).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    println!("{said}{wrong}");
    ensure!(output.status.success(), "{word}: {}", wrong.trim());
    Ok(said)
}
