//! `cargo xtask bench`.

use std::process::Command;

use clap::Subcommand;

use crate::{build, vm};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// The agent beside a plain scan of /proc and a bare socket server, on a node of idle processes
    Agent {
        /// Idle processes
        #[arg(long, default_value_t = 2000)]
        processes: usize,
        /// Pods that they are in
        #[arg(long, default_value_t = 110)]
        pods: usize,
        /// Rounds, each with a new agent
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds of each round
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// The agent with totals of controllers beside one without, at the same time on such a node, with
    /// scope-totals and an API server in memory: what the exchange costs, while a probe asks every second and
    /// while nobody does
    Exchange {
        /// Idle processes
        #[arg(long, default_value_t = 2000)]
        processes: u64,
        /// Pods that they are in
        #[arg(long, default_value_t = 110)]
        pods: u64,
        /// Pods of each Deployment, all on this node
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
        replicas: u64,
        /// Rounds, each with two new agents
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        rounds: u64,
        /// Seconds of each round in which both are asked
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Seconds of each round in which nobody asks
        #[arg(long, default_value_t = 60)]
        idle_seconds: u64,
        /// Fail if a target is missed: 1 ms of CPU a second and 1 MiB
        #[arg(long)]
        strict: bool,
    },
    /// What counting HTTP costs a server: CPU of nginx for each request under wrk, with and without
    Http {
        /// Rounds, each without and with [default: 5, in a virtual machine 1, where all are alike]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: Option<u32>,
        /// Seconds of each load [default: 6, in a virtual machine 3]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: Option<u32>,
        /// In instructions instead of time, in a throw-away virtual machine: for the modes that this
        /// machine's kernel refuses
        #[arg(long)]
        in_vm: bool,
        /// The version of that machine's kernel, instead of Debian 12's: 6.12 is that of Debian 13
        #[arg(long, requires = "in_vm")]
        kernel: Option<String>,
    },
    /// The operator on simulated nodes, beside the DaemonSet controller's own rolling update
    Operator {
        /// Simulated nodes
        #[arg(long, default_value_t = 1000)]
        nodes: u64,
        /// ScopePlugins on all of them when memory is measured
        #[arg(long, default_value_t = 20)]
        plugins: u64,
        /// Nodes that come later, to see what each costs
        #[arg(long, default_value_t = 250)]
        more: u64,
        /// Rollouts of each contestant
        #[arg(long, default_value_t = 3)]
        rounds: u64,
        /// Clicks on pods, one after the other
        #[arg(long, default_value_t = 300)]
        clicks: u64,
        /// Fail if a target is missed
        #[arg(long)]
        strict: bool,
    },
    /// The totals service with simulated agents
    Totals {
        /// Nodes, with an agent each
        #[arg(long, default_value_t = 5000)]
        agents: u64,
        /// Pods of a node
        #[arg(long, default_value_t = 30)]
        pods: u64,
        /// Seconds that are measured
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// No pod is in a Service
        #[arg(long)]
        without_services: bool,
        /// With totals of images
        #[arg(long)]
        images: bool,
        /// Fail if a target is missed
        #[arg(long)]
        strict: bool,
    },
}

/// Builds what is shipped and measures that.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Agent {
            processes,
            pods,
            rounds,
            seconds,
        } => agent(&[
            ("--processes", processes as u64),
            ("--pods", pods as u64),
            ("--rounds", rounds as u64),
            ("--seconds", seconds),
        ]),
        Task::Exchange {
            processes,
            pods,
            replicas,
            rounds,
            seconds,
            idle_seconds,
            strict,
        } => exchange(
            &[
                ("--processes", processes),
                ("--pods", pods),
                ("--replicas", replicas),
                ("--rounds", rounds),
                ("--seconds", seconds),
                ("--idle-seconds", idle_seconds),
            ],
            strict,
        ),
        Task::Http {
            rounds,
            seconds,
            in_vm: false,
            ..
        } => http(rounds.unwrap_or(5), seconds.unwrap_or(6)),
        Task::Http {
            rounds,
            seconds,
            in_vm: true,
            kernel,
        } => vm::bench_http(kernel.as_deref(), rounds.unwrap_or(1), seconds.unwrap_or(3)),
        Task::Operator {
            nodes,
            plugins,
            more,
            rounds,
            clicks,
            strict,
        } => operator(
            &[
                ("--nodes", nodes),
                ("--plugins", plugins),
                ("--more", more),
                ("--rounds", rounds),
                ("--clicks", clicks),
            ],
            strict,
        ),
        Task::Totals {
            agents,
            pods,
            seconds,
            without_services,
            images,
            strict,
        } => totals(
            &[
                ("--agents", agents),
                ("--pods", pods),
                ("--seconds", seconds),
            ],
            without_services,
            images,
            strict,
        ),
    }
}

fn agent(numbers: &[(&str, u64)]) -> anyhow::Result<()> {
    let (program, bench) = build::agent_programs()?;
    let mut command = Command::new(bench);
    command
        .arg("agent")
        .arg("--program")
        .arg(program)
        .args(words(numbers));
    build::run(&mut command)
}

fn exchange(numbers: &[(&str, u64)], strict: bool) -> anyhow::Result<()> {
    let (program, bench) = build::agent_programs()?;
    let mut command = Command::new(bench);
    command
        .arg("exchange")
        .arg("--program")
        .arg(program)
        .arg("--totals-program")
        .arg(build::totals_program()?)
        .args(words(numbers))
        .args(strict.then_some("--strict"));
    build::run(&mut command)
}

/// nginx and wrk come from Debian's packages, which are unpacked and not installed.
fn http(rounds: u32, seconds: u32) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let root = throwaway_cluster::images::unpack_server(directory.path())?;
    let mut command = vec!["run", "--quiet", "--locked", "--release", "--package"];
    let (root, rounds) = (root.display().to_string(), rounds.to_string());
    let seconds = seconds.to_string();
    command.extend(["http-acceptance", "--", "bench", &root, &rounds, &seconds]);
    build::cargo(&command)
}

fn operator(numbers: &[(&str, u64)], strict: bool) -> anyhow::Result<()> {
    let kube = build::Parts::in_background()?;
    let (program, bench) = build::operator_programs()?;
    kube.wait()?;
    let mut command = Command::new(bench);
    command
        .arg("operator")
        .arg("--program")
        .arg(program)
        .arg("--chart")
        .arg(build::root().join("charts/scope-plugins"))
        .args(words(numbers))
        .args(strict.then_some("--strict"));
    build::run(&mut command)
}

fn totals(
    numbers: &[(&str, u64)],
    without_services: bool,
    images: bool,
    strict: bool,
) -> anyhow::Result<()> {
    let (program, bench) = build::totals_programs()?;
    let mut command = Command::new(bench);
    command
        .arg("--program")
        .arg(program)
        .args(words(numbers))
        .args(without_services.then_some("--without-services"))
        .args(images.then_some("--images"))
        .args(strict.then_some("--strict"));
    build::run(&mut command)
}

/// Options with numbers, as they are typed.
fn words(numbers: &[(&str, u64)]) -> Vec<String> {
    numbers
        .iter()
        .flat_map(|(option, number)| [(*option).to_owned(), number.to_string()])
        .collect()
}
