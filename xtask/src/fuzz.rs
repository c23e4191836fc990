//! `cargo xtask fuzz`.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::build;

/// cargo-fuzz, which is installed where it is missing.
const VERSION: &str = "0.13.2";

/// Runs this target, or all of them one after the other, for so many seconds each. What is found to
/// be new goes to `fuzz/grown`, what fails to `fuzz/artifacts`; the corpus itself is written by hand.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let mut targets = targets()?;
    if let Some(target) = target {
        let all = targets.join(", ");
        targets.retain(|name| name == target);
        ensure!(
            !targets.is_empty(),
            "no target {target:?}; there are: {all}"
        );
    }
    ensure_installed()?;
    let mut failed = Vec::new();
    for name in &targets {
        println!("== {name}");
        fs::create_dir_all(build::root().join("fuzz/grown").join(name))?;
        let status = cargo_fuzz()
            // There is no unsafe code in what is tested, so the sanitizers have nothing to find.
            .args(["run", "--sanitizer", "none", name])
            .args(["grown", "corpus"].map(|of| format!("fuzz/{of}/{name}")))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .args(["-rss_limit_mb=1024", "-timeout=10", "-max_len=4096"])
            .args(["-verbosity=0", "-print_final_stats=1"])
            .status()
            .context("cargo could not be started")?;
        if !status.success() {
            failed.push(name.as_str());
        }
    }
    ensure!(failed.is_empty(), "these failed: {}", failed.join(", "));
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let directory = build::root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.display().to_string()));
    }
    targets.sort();
    Ok(targets)
}

fn ensure_installed() -> anyhow::Result<()> {
    let installed = cargo_fuzz()
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if installed.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    build::cargo(&["install", "--locked", "cargo-fuzz", "--version", VERSION])
}

/// The instrumentation is a flag of rustc's that it takes only when it is told that it may.
fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    command
        .arg("fuzz")
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(build::root());
    command
}
