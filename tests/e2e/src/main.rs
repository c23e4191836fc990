//! Runs the scenarios one after another on one throw-away cluster.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use scope_e2e::scenarios;
use scope_e2e::world::World;

/// End-to-end tests on a real cluster of two nodes, which this program makes and removes.
#[derive(Parser)]
struct Arguments {
    /// Directory with the archives of the two images, as `cargo xtask image` makes them.
    #[arg(long)]
    images: PathBuf,
    /// Stop after the first scenario that fails and leave the cluster up.
    #[arg(long)]
    keep: bool,
    /// Instead of the scenarios: so many minutes of churn, after those that install.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// Only scenarios whose name contains one of these words, and those before them that install.
    words: Vec<String>,
}

fn main() -> ExitCode {
    throwaway_cluster::run_internal_command_if_asked();
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scope-e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Scenarios that failed.
fn run(arguments: &Arguments) -> anyhow::Result<usize> {
    let wanted = |name: &str| {
        (arguments.words.is_empty() && arguments.soak.is_none())
            || ["install", "workloads"].contains(&name)
            || arguments.words.iter().any(|w| name.contains(w.as_str()))
    };
    let mut world = World::up(&arguments.images)?;
    let (mut passed, mut failed) = (0, Vec::new());
    for scenario in scenarios::ALL.iter().filter(|s| wanted(s.name)) {
        eprintln!("  … {}", scenario.name);
        let started = Instant::now();
        let result = (scenario.run)(&mut world);
        let took = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                eprintln!("  ✓ {} ({took:.1} s)", scenario.name);
            }
            Err(error) => {
                eprintln!("  ✗ {} ({took:.1} s): {error:#}", scenario.name);
                failed.push(scenario.name);
                if arguments.keep {
                    break;
                }
            }
        }
    }
    if let Some(minutes) = arguments.soak {
        eprintln!("  … {minutes} minutes of churn");
        match scenarios::soak(&mut world, Duration::from_secs(minutes * 60)) {
            Ok(()) => passed += 1,
            Err(error) => {
                eprintln!("  ✗ {error:#}");
                failed.push("soak");
            }
        }
    }
    if arguments.keep {
        world.leave_up()?;
    } else {
        world.down()?;
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(" "));
    }
    println!("{passed} passed, {} failed", failed.len());
    Ok(failed.len())
}
