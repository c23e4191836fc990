//! What `scope-totals` costs: the service as it is shipped, an API server in memory with the pods of thousands
//! of nodes, and an agent for each of them that reports at the pace that the service asks for.

mod agents;
mod cluster;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::ensure;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use totals_bench::{api, service::Service};

use agents::Outcome;
use cluster::Cluster;

/// Resident memory of the service, in MiB.
const RESIDENT: f64 = 150.0;
/// CPUs.
const CPU: f64 = 0.3;
/// 99 of 100 exchanges are as fast or faster, by an agent's clock.
const P99: Duration = Duration::from_millis(50);

/// In its first three intervals a replica that has begun to lead adds up more often. What is measured is the time after
/// that, with 5,000 agents.
const YOUNG: Duration = Duration::from_secs(30);

/// Measures the totals service.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The service's program, built for release
    #[arg(long)]
    program: PathBuf,
    /// Nodes, with an agent each
    #[arg(long, default_value_t = 5000)]
    agents: usize,
    /// Pods of a node, each of another controller
    #[arg(long, default_value_t = 30)]
    pods: usize,
    /// No pod is in a Service
    #[arg(long)]
    without_services: bool,
    /// Have an image for each controller, and a second container of one image in every pod
    #[arg(long)]
    images: bool,
    /// Seconds that are measured, after all agents have totals
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Fail if a target is missed
    #[arg(long)]
    strict: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let cluster = Arc::new(Cluster::new(
        arguments.agents,
        arguments.pods,
        !arguments.without_services,
        arguments.images,
    ));
    let api = api::serve(cluster.clone())?;
    let service = Service::start(&arguments.program, api.address)?;
    let bundle = api.bundle().await?;
    service.ready().await?;
    let (filled, _) = service.resident()?;
    println!(
        "{} pods of {} controllers are known: {filled:.0} MiB resident",
        cluster.pods(),
        cluster.controllers(),
    );
    let fleet = agents::start(cluster, service.exchange, &bundle);
    fleet.all_have_totals().await?;
    let (_, at_first) = service.resident()?;
    tokio::time::sleep(YOUNG).await;
    fleet.forget();
    service.forget_peak()?;
    let before = service.cpu()?;
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    let cpu = (service.cpu()? - before).as_secs_f64() / arguments.seconds as f64;
    let outcome = fleet.outcome();
    let (now, peak) = service.resident()?;
    println!("memory until all had them: {at_first:.0} MiB at most");
    let met = report(&arguments, &outcome, now, peak, cpu);
    let each = (now - filled) * 1024.0 / arguments.agents as f64;
    println!("an agent's connection and the newest report take {each:.1} KiB");
    ensure!(met || !arguments.strict, "a target was missed");
    Ok(())
}

/// Prints the figures. Whether all targets were met.
fn report(arguments: &Arguments, outcome: &Outcome, resident: f64, peak: f64, cpu: f64) -> bool {
    let p99 = outcome.percentile(99.0);
    let rate = outcome.count() as f64 / arguments.seconds as f64;
    println!(
        "{} agents, {rate:.0} exchanges/s, {:.1} totals in each reply, {} wrong, {} failed (target 0)",
        arguments.agents,
        outcome.totals_of_each(),
        outcome.wrong,
        outcome.failed,
    );
    println!(
        "memory: {resident:.0} MiB resident (target {RESIDENT:.0}), {peak:.0} MiB for a moment, as pods change"
    );
    println!("CPU: {cpu:.2} (target {CPU})");
    println!(
        "exchange: {:.1} ms median, {:.1} ms p99 (target {}), by the agents' clocks on the same machine",
        outcome.percentile(50.0).as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        P99.as_millis(),
    );
    outcome.wrong + outcome.failed == 0
        && outcome.count() > 0
        && resident <= RESIDENT
        && cpu <= CPU
        && p99 <= P99
}
