//! `cargo xtask test`.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::build;

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
        parts.run("unit tests", || {
            build::cargo(&[
                "test",
                "--locked",
                "--workspace",
                "--exclude",
                "throwaway-cluster",
            ])
        })?;
    }
    let images = parts.run("images", || {
        build::images("harness.local", &build::image_dir())
    })?;
    parts.run("Kubernetes parts", || kube.wait())?;
    if words.is_empty() {
        parts.run("throw-away cluster", || {
            build::cargo(&["test", "--locked", "--package", "throwaway-cluster"])
        })?;
    }
    if obstacle.is_none() {
        let directory = images[0]
            .parent()
            .map(|p| p.display().to_string())
            .unwrap_or_default();
        let mut command = vec![
            "run",
            "--quiet",
            "--locked",
            "--package",
            "scope-e2e",
            "--",
            "--images",
            &directory,
        ];
        command.extend(words.iter().map(String::as_str));
        parts.run("product on real nodes", || build::cargo(&command))?;
    }
    parts.run("nothing left behind", || {
        let left = throwaway_cluster::leftovers(scope_e2e::world::PREFIX)?;
        ensure!(left.is_empty(), "left on this machine: {}", left.join(", "));
        Ok(())
    })?;
    parts.print();
    if let Some(why) = obstacle {
        println!("skipped: the tests on real nodes cannot run here: {why}");
    }
    Ok(())
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
