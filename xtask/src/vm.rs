//! `cargo xtask vm`: the scenarios on throw-away virtual machines.

use anyhow::bail;
use throwaway_cluster::Progress;
use throwaway_vm::Release;

use crate::build;

/// Plays every scenario, or those whose name contains one of the words, on a kernel of this version or
/// the usual one, and needs a machine that can.
pub(crate) fn run(version: Option<&str>, words: &[String]) -> anyhow::Result<()> {
    let release = version.map_or(Ok(Release::default()), Release::of_version)?;
    if let Some(why) = obstacle_to(release) {
        bail!("{why}");
    }
    play(release, words)
}

/// Why there can be no virtual machine here.
pub(crate) fn obstacle() -> Option<String> {
    obstacle_to(Release::default())
}

fn obstacle_to(release: Release) -> Option<String> {
    let why = throwaway_vm::obstacle(release, &Progress::to_stderr())?;
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
    play(Release::default(), &[])?;
    // Two of three errors of the kernel's verifier were seen on one of the kernels alone.
    play(Release::Debian13, &["http".into()])
}

/// Builds the programs and plays the scenarios.
fn play(release: Release, words: &[String]) -> anyhow::Result<()> {
    let programs = build::guest_programs()?;
    throwaway_vm::play_all(words, release, &programs, &Progress::to_stderr())?;
    Ok(())
}
