//! `cargo xtask vm`: the scenarios on throw-away virtual machines.

use anyhow::bail;
use throwaway_cluster::Progress;

use crate::build;

/// Plays every scenario, or those whose name contains one of the words, and needs a machine that
/// can.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    if let Some(why) = obstacle() {
        bail!("{why}");
    }
    play(words)
}

/// Why there can be no virtual machine here.
pub(crate) fn obstacle() -> Option<String> {
    let why = throwaway_vm::obstacle(&Progress::to_stderr())?;
    Some(format!(
        "the tests on a virtual machine cannot run here: {why}"
    ))
}

/// How guests end, and every scenario.
pub(crate) fn test() -> anyhow::Result<()> {
    build::cargo(&[
        "test",
        "--locked",
        "--package",
        "throwaway-vm",
        "--",
        "--ignored",
    ])?;
    play(&[])
}

/// Builds the programs and plays the scenarios.
fn play(words: &[String]) -> anyhow::Result<()> {
    let programs = build::guest_programs()?;
    throwaway_vm::play_all(words, &programs, &Progress::to_stderr())?;
    Ok(())
}
