//! `cargo xtask test`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::{bpf, build, vm};

/// Runs every test in turn and prints how long each part took. `words` narrow the end-to-end
/// scenarios and skip what comes before them.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    let mut parts = Parts::default();
    let obstacle = throwaway_cluster::obstacle();
    if let Some(why) = &obstacle {
        let said = format!("the tests on real nodes cannot run here: {why}");
        ensure!(!throwaway_cluster::nodes_required(), "{said}");
        println!("to be skipped: {said}");
    }
    let no_vm = if words.is_empty() {
        vm::obstacle()
    } else {
        None
    };
    if let Some(why) = &no_vm {
        ensure!(!throwaway_vm::required(), "{why}");
        println!("to be skipped: {why}");
    }
    let kube = build::Parts::in_background()?;
    if words.is_empty() {
        parts.run("format", || build::cargo(&["fmt", "--all", "--check"]))?;
        parts.run("lints", || {
            build::cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        })?;
        parts.run("BPF objects", || bpf::run(true))?;
        parts.run("unit tests", || {
            build::cargo(&[
                "test",
                "--locked",
                "--workspace",
                "--exclude",
                "throwaway-cluster",
                // Wants Helm, which may still be in the making.
                "--exclude",
                "scope-chart",
                "--exclude",
                "hollow-nodes",
            ])
        })?;
    }
    let images = parts.run("images", || {
        build::images("harness.local", &build::image_dir())
    })?;
    parts.run("Kubernetes parts", || kube.wait())?;
    if words.is_empty() {
        parts.run("chart", || {
            build::cargo(&["test", "--locked", "--package", "scope-chart"])
        })?;
        parts.run("throw-away cluster", || {
            build::cargo(&[
                "test",
                "--locked",
                "--package",
                "throwaway-cluster",
                "--package",
                "hollow-nodes",
            ])
        })?;
        if no_vm.is_none() {
            parts.run("throw-away virtual machine", vm::test)?;
        }
    }
    if obstacle.is_none() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        parts.run("product on real nodes", || on_real_nodes(&images, &words))?;
    }
    parts.run("nothing left behind", || {
        let mut left = throwaway_cluster::leftovers(scope_e2e::world::PREFIX)?;
        left.extend(throwaway_cluster::leftovers(
            scope_e2e::world::FLEET_PREFIX,
        )?);
        ensure!(left.is_empty(), "left on this machine: {}", left.join(", "));
        Ok(())
    })?;
    parts.print();
    if let Some(why) = obstacle {
        println!("skipped: the tests on real nodes cannot run here: {why}");
    }
    if let Some(why) = no_vm {
        println!("skipped: {why}");
    }
    Ok(())
}

/// Runs the agents under churn and prints what they took up.
pub(crate) fn soak(minutes: u64) -> anyhow::Result<()> {
    by_hand("the soak", &["--soak", &minutes.to_string()])
}

/// Kills the operator's leader at so many points of a rollout.
pub(crate) fn kills(points: u64) -> anyhow::Result<()> {
    by_hand("this test", &["--kills", &points.to_string()])
}

/// What takes too long for every day.
fn by_hand(what: &str, arguments: &[&str]) -> anyhow::Result<()> {
    if let Some(why) = throwaway_cluster::obstacle() {
        anyhow::bail!("{what} needs real nodes, which cannot run here: {why}");
    }
    let kube = build::Parts::in_background()?;
    let images = build::images("harness.local", &build::image_dir())?;
    kube.wait()?;
    on_real_nodes(&images, arguments)
}

/// The end-to-end program with the images of this directory.
fn on_real_nodes(images: &[PathBuf], arguments: &[&str]) -> anyhow::Result<()> {
    let directory = images.first().and_then(|image| image.parent());
    let directory = directory
        .context("the images' directory")?
        .display()
        .to_string();
    let mut command = vec!["run", "--quiet", "--locked", "--package", "scope-e2e", "--"];
    command.extend(["--images", &directory]);
    command.extend(arguments);
    build::cargo(&command)
}

#[derive(Default)]
struct Parts {
    took: Vec<(&'static str, Duration)>,
}

impl Parts {
    fn run<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("== {name}");
        let started = Instant::now();
        let result = work();
        self.took.push((name, started.elapsed()));
        if result.is_err() {
            self.print();
        }
        result
    }

    fn print(&self) {
        println!("== time");
        for (name, took) in &self.took {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
    }
}
