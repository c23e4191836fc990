//! What the agent costs on a node full of idle processes, beside two yardsticks in the same run: a plain
//! scan of /proc, and a bare server of the same body. Absolute times of two runs cannot be compared;
//! the ratios can.

mod asking;
mod exchange;
mod gates;
mod node;
mod population;
mod process;
mod yardstick;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use rustix::time::{ClockId, clock_gettime};

use asking::{Asker, bare_server, quantile};
use population::Population;
use process::{Agent, Place};
use yardstick::Scanner;

/// Measures the agent. Needs root, cgroups and a machine that is otherwise quiet.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The agent beside a plain scan and a bare server
    Agent {
        /// The agent's program, built for release
        #[arg(long)]
        program: PathBuf,
        /// Idle processes
        #[arg(long, default_value_t = 2000)]
        processes: usize,
        /// Pods that they are in, two containers each
        #[arg(long, default_value_t = 110)]
        pods: usize,
        /// Rounds; each measures all contestants
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds for the agent in each round
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// Fail if the agent costs more than this part of a plain scan per second
        #[arg(long)]
        at_most: Option<f64>,
    },
    /// The agent with totals of controllers beside one without
    Exchange(exchange::Arguments),
    /// One of the idle processes
    #[command(hide = true)]
    Idle,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Idle => population::be_idle(),
        Task::Exchange(arguments) => exchange::run(&arguments),
        Task::Agent {
            program,
            processes,
            pods,
            rounds,
            seconds,
            at_most,
        } => {
            eprintln!("starting {processes} processes in {pods} pods …");
            let population = Population::start(processes, pods)?;
            let seconds = Duration::from_secs(seconds);
            let ratios = (0..rounds)
                .map(|n| round(n + 1, &program, &population, seconds))
                .collect::<anyhow::Result<Vec<f64>>>()?;
            let (least, most) = (
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            );
            println!("CPU per second of the agent / one plain scan: {least:.2} to {most:.2}");
            if most > least * 1.15 {
                println!("the rounds differ by more than 15 %: the machine was not quiet");
            }
            if let Some(limit) = at_most {
                ensure!(
                    least <= limit,
                    "the agent costs {least:.2} of a plain scan, allowed {limit}"
                );
            }
            Ok(())
        }
    }
}

/// Measures all contestants once; the agent's CPU per second in plain scans.
fn round(
    number: usize,
    program: &std::path::Path,
    population: &Population,
    seconds: Duration,
) -> anyhow::Result<f64> {
    let agent = Agent::start(program, Place::Standalone)?;
    let mut asker = Asker::connect(&agent.socket())?;
    // Rates come with the second sample and dear figures with the first five.
    let mut body = Vec::new();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(1));
        body = asker.ask()?.0;
    }
    gates::check(&body, population)?;

    let mut scanner = Scanner::new();
    let mut scans = Vec::new();
    let (began, cpu_before) = (Instant::now(), agent.cpu()?);
    let (mut sizes, mut answers) = (Vec::new(), Vec::new());
    while began.elapsed() < seconds {
        // A drifting phase, so that requests meet every part of a tick.
        std::thread::sleep(Duration::from_millis(937));
        let (body, took) = asker.ask()?;
        sizes.push(body.len());
        answers.push(took);
        let before = thread_cpu();
        scanner.scan()?;
        scans.push(thread_cpu() - before);
    }
    let wall = began.elapsed();
    let cpu = agent.cpu()? - cpu_before;
    scans.sort();
    let scan = quantile(&scans, 0.5);
    let per_second = cpu.as_secs_f64() / wall.as_secs_f64();
    let ratio = per_second / scan.as_secs_f64();
    let processes = scanner.scan()?.processes;
    let (resident, highest) = agent.resident()?;
    println!(
        "round {number}: {processes} processes\n  agent       {:.2} ms a second = {ratio:.2} plain scans of {:.2} ms, {:.2} µs a process\n  memory      {:.1} MiB resident, {:.1} at most, {:.1} charged to its cgroup\n  body        {} bytes on average, {} at most",
        per_second * 1e3,
        scan.as_secs_f64() * 1e3,
        per_second * 1e6 / processes as f64,
        mebibytes(resident),
        mebibytes(highest),
        mebibytes(agent.charged()?),
        sizes.iter().sum::<usize>() / sizes.len().max(1),
        sizes.iter().max().context("a body")?,
    );

    let directory = tempfile::tempdir()?;
    let bare_socket = directory.path().join("bare.sock");
    bare_server(&bare_socket, body)?;
    let mut bare = Asker::connect(&bare_socket)?;
    println!("  GET /report {}", latencies(&mut asker)?);
    println!("  bare server {}", latencies(&mut bare)?);
    Ok(ratio)
}

/// 1,000 requests, paced 5 ms.
fn latencies(asker: &mut Asker) -> anyhow::Result<String> {
    let mut took = Vec::with_capacity(1000);
    for _ in 0..1000 {
        took.push(asker.ask()?.1);
        std::thread::sleep(Duration::from_millis(5));
    }
    took.sort();
    Ok(format!(
        "p50 {} µs, p99 {} µs, p99.9 {} µs",
        quantile(&took, 0.5).as_micros(),
        quantile(&took, 0.99).as_micros(),
        quantile(&took, 0.999).as_micros()
    ))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
