//! `cargo xtask vm`: the scenarios on throw-away virtual machines.

use anyhow::bail;
use throwaway_cluster::Progress;
use throwaway_vm::Release;

use crate::build;

/// Plays every scenario, or those whose name contains one of the words, on a kernel of this version or
/// the usual one, and needs a machine that can.
pub(crate) fn run(version: Option<&str>, words: &[String]) -> anyhow::Result<()> {
    play(possible(version)?, words)
}

/// Measures what counting HTTP costs a server on such a kernel, and shows it on standard output.
pub(crate) fn bench_http(version: Option<&str>, rounds: u32, seconds: u32) -> anyhow::Result<()> {
    let release = possible(version)?;
    let programs = build::guest_programs()?;
    let directory = tempfile::tempdir()?;
    let server = throwaway_cluster::images::unpack_server(directory.path())?;
    println!(
        "in a virtual machine without hardware support, where 1 µs stands for 1,000 instructions:"
    );
    let progress = Progress::new(|line| println!("{line}"));
    throwaway_vm::bench_http(release, &programs, &server, rounds, seconds, &progress)?;
    Ok(())
}

/// The release with the kernel of this version, or the usual one, on a machine that can run it.
fn possible(version: Option<&str>) -> anyhow::Result<Release> {
    let release = version.map_or(Ok(Release::default()), Release::of_version)?;
    match obstacle_to(release) {
        Some(why) => bail!("{why}"),
        None => Ok(release),
    }
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
