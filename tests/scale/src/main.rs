//! What the operator costs on a cluster of simulated nodes: the time of a rollout beside that of
//! the DaemonSet controller on the same nodes in the same run, memory, drift, idle writes.
//!
//! Times of two runs cannot be compared, so both contestants take turns and the ratio of their
//! medians counts.

mod clicks;
mod drift;
mod operator;
mod quiet;
mod rollout;
mod verdict;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::verdict::Verdicts;

/// Measures the operator. Needs root and a machine that is otherwise quiet.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The operator on simulated nodes, beside a DaemonSet with the controller's own rolling update
    Operator(Bench),
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
struct Bench {
    /// The operator's program, built for release
    #[arg(long)]
    program: PathBuf,
    /// The chart that the operator is installed by
    #[arg(long)]
    chart: PathBuf,
    /// Simulated nodes
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// ScopePlugins on all of them when memory is measured
    #[arg(long, default_value_t = 20)]
    plugins: usize,
    /// Nodes that come later, to see what each costs
    #[arg(long, default_value_t = 250)]
    more: usize,
    /// Rollouts of each contestant
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// From the start of a simulated pod to its readiness, in milliseconds
    #[arg(long, default_value_t = 1000)]
    start: u64,
    /// For how long a pod must have been ready to count, in seconds; for both contestants
    #[arg(long, default_value_t = 1)]
    min_ready: u32,
    /// Seconds in which an idle operator may write nothing
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Clicks on pods, one after the other
    #[arg(long, default_value_t = 300)]
    clicks: usize,
    /// Fail if a target is missed
    #[arg(long)]
    strict: bool,
}

fn main() -> anyhow::Result<()> {
    throwaway_cluster::run_internal_command_if_asked();
    let Task::Operator(bench) = Arguments::parse().task;
    if let Some(why) = throwaway_cluster::obstacle() {
        anyhow::bail!("{why}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let strict = bench.strict;
    let verdicts = runtime.block_on(run(bench))?;
    verdicts.print();
    anyhow::ensure!(!strict || verdicts.all_met(), "a target was missed");
    Ok(())
}

async fn run(bench: Bench) -> anyhow::Result<Verdicts> {
    let mut verdicts = Verdicts::default();
    let mut world = world::World::start(&bench).await?;

    let operator = world.operator()?;
    rollout::prepare(&world).await?;
    let (mut ours, mut plain, mut with_quota) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        // Who goes first changes, so that nobody always finds the same one's leftovers.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => ours.push(rollout::ours(&world, "bench-0", round).await?),
                1 => plain.push(rollout::native(&world, rollout::PLAIN, round).await?),
                _ => with_quota.push(rollout::native(&world, rollout::WITH_QUOTA, round).await?),
            }
        }
    }
    verdicts.rollout(&ours, &plain, &with_quota);
    verdicts.memory_after_rollouts(&operator, &world)?;

    for (what, times) in drift::measure(&world).await? {
        verdicts.drift(what, &times);
    }
    verdicts.reconciles(&operator.metrics()?);
    drop(operator);

    world.add_plugins(bench.plugins).await?;
    let operator = world.operator()?;
    quiet::settle(&operator).await?;
    let at_first = operator.memory()?;
    rollout::ours(&world, "bench-0", bench.rounds + 1).await?;
    quiet::settle(&operator).await?;
    let after = operator.memory()?;
    verdicts.memory(&world, bench.plugins, at_first, after);
    let idle = Duration::from_secs(bench.idle);
    verdicts.idle(idle, &quiet::requests_in(&world, idle).await?);
    drop(operator);

    if bench.clicks > 0 {
        world.allow_clicks()?;
        let operator = world.operator()?;
        let (pods, times) = clicks::measure(&world, bench.clicks).await?;
        quiet::settle(&operator).await?;
        verdicts.clicks(pods, &times, operator.memory()?);
    }

    if bench.more > 0 {
        world.grow(bench.more, bench.plugins).await?;
        let operator = world.operator()?;
        quiet::settle(&operator).await?;
        verdicts.growth(bench.more, at_first, operator.memory()?);
    }
    Ok(verdicts)
}
