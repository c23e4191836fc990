//! Runs the scenarios one after another on one throw-away cluster.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use scope_e2e::last_words;
use scope_e2e::scenarios::{self, Suite};
use scope_e2e::world::World;

/// What the line of scenarios that failed begins with.
const FAILED: &str = "failed: ";

/// End-to-end tests on real clusters of two and four nodes, which this program makes and removes.
#[derive(Parser)]
struct Arguments {
    /// Directory with the archives of the two images, as `cargo xtask image` makes them.
    #[arg(long)]
    images: PathBuf,
    /// Stop after the first scenario that fails and leave the cluster up.
    #[arg(long)]
    keep: bool,
    /// Instead of the scenarios: so many minutes of churn and five of Scope's page, after those that install.
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["kills", "words"])]
    soak: Option<u64>,
    /// Instead of the scenarios: the operator's leader killed at so many points of a rollout, half of them
    /// before a write and half after it.
    #[arg(long, value_name = "POINTS", conflicts_with = "words")]
    kills: Option<usize>,
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
    let [two_nodes, fleet] = &scenarios::ALL;
    let mut tally = Tally::default();
    if let Some(minutes) = arguments.soak {
        let length = Duration::from_secs(minutes * 60);
        let name = format!("{minutes} minutes of churn, 5 of the page");
        let soak = |world: &mut World| scenarios::soak(world, length);
        by_hand(two_nodes, &name, soak, arguments, &mut tally)?;
    } else if let Some(points) = arguments.kills {
        let name = format!("the leader killed at {points} points of a rollout");
        let kills = |world: &mut World| scenarios::killed_at_writes(world, points);
        by_hand(fleet, &name, kills, arguments, &mut tally)?;
    } else if arguments.words.is_empty() && !arguments.keep {
        both(arguments, &mut tally)?;
    } else {
        for suite in &scenarios::ALL {
            play(suite, arguments, &mut tally, |_| Ok(()))?;
            if arguments.keep && !tally.failed.is_empty() {
                break;
            }
        }
    }
    if !tally.failed.is_empty() {
        println!("{FAILED}{}", tally.failed.join(" "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
    Ok(tally.failed.len())
}

/// All scenarios: those of the fleet by a process of their own, beside those of the two nodes as soon as no
/// figures are compared any more. Most of the time either waits.
fn both(arguments: &Arguments, tally: &mut Tally) -> anyhow::Result<()> {
    let [two_nodes, _] = &scenarios::ALL;
    let mut fleet = None;
    let played = play(two_nodes, arguments, tally, |name| {
        if two_nodes.quiet_until == Some(name) {
            fleet = Some(Beside::start(&arguments.images)?);
        }
        Ok(())
    });
    if let Some(fleet) = fleet {
        fleet.end(tally)?;
    }
    played
}

/// The fleet's scenarios in a process of their own.
struct Beside {
    process: Child,
    said: tempfile::NamedTempFile,
}

impl Beside {
    fn start(images: &Path) -> anyhow::Result<Beside> {
        let said = tempfile::NamedTempFile::new()?;
        let process = Command::new(std::env::current_exe()?)
            .arg("--images")
            .arg(images)
            .arg(scenarios::OF_THE_FLEET)
            .stdin(Stdio::null())
            .stdout(said.reopen()?)
            .stderr(said.reopen()?)
            .spawn()?;
        Ok(Beside { process, said })
    }

    /// Waits for its end, and says what it said.
    fn end(mut self, tally: &mut Tally) -> anyhow::Result<()> {
        tally.count("the fleet of four nodes", || {
            let status = self.process.wait()?;
            let said = std::fs::read_to_string(self.said.path())?;
            eprint!("{said}");
            let named = said.lines().rfind(|line| line.starts_with(FAILED));
            anyhow::ensure!(status.success(), "{}", named.unwrap_or("see above"));
            Ok(())
        });
        Ok(())
    }
}

/// The scenarios of one cluster that are wanted, if there are any. `after` is told the name of each. One that fails
/// fails alone: the nodes that it left crashed are started.
fn play(
    suite: &Suite,
    arguments: &Arguments,
    tally: &mut Tally,
    mut after: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let all = arguments.words.is_empty();
    let named = |name: &str| arguments.words.iter().any(|w| name.contains(w.as_str()));
    if !all && !suite.scenarios.iter().any(|s| named(s.name)) {
        return Ok(());
    }
    let mut world = (suite.start)(&arguments.images)?;
    world.whole_run = all;
    for (n, scenario) in suite.scenarios.iter().enumerate() {
        if !(all || n < suite.installing || named(scenario.name)) {
            continue;
        }
        let good = count(tally, scenario.name, &mut world, scenario.run);
        if !good && arguments.keep {
            break;
        }
        if !good && let Err(error) = world.start_crashed_nodes() {
            eprintln!("    {error:#}");
        }
        after(scenario.name)?;
    }
    end(world, arguments)
}

/// What takes too long for every day, after the scenarios that install.
fn by_hand(
    suite: &Suite,
    name: &str,
    work: impl FnOnce(&mut World) -> anyhow::Result<()>,
    arguments: &Arguments,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut world = (suite.start)(&arguments.images)?;
    for scenario in &suite.scenarios[..suite.installing] {
        count(tally, scenario.name, &mut world, scenario.run);
    }
    count(tally, name, &mut world, work);
    end(world, arguments)
}

/// Runs something on a cluster and says how it went; if badly, with the last words of what ran there.
fn count(
    tally: &mut Tally,
    name: &str,
    world: &mut World,
    work: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> bool {
    let good = tally.count(name, || work(world));
    if !good {
        eprint!("{}", last_words::of_the_product(&world.kubectl));
    }
    good
}

fn end(world: World, arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.keep {
        true => world.leave_up(),
        false => world.down(),
    }
}

/// How many passed, and which failed.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Runs something and says how it went.
    fn count(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> bool {
        eprintln!("  … {name}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => {
                self.passed += 1;
                eprintln!("  ✓ {name} ({took:.1} s)");
            }
            Err(error) => {
                eprintln!("  ✗ {name} ({took:.1} s): {error:#}");
                self.failed.push(name.to_owned());
            }
        }
        result.is_ok()
    }
}
