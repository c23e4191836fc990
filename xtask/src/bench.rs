//! `cargo xtask bench`.

use clap::Subcommand;

use crate::build;

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
}

/// Builds what is shipped and measures that.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    let Task::Agent {
        processes,
        pods,
        rounds,
        seconds,
    } = task;
    let program = build::agent_program()?;
    let numbers = [processes as u64, pods as u64, rounds as u64, seconds].map(|n| n.to_string());
    let [processes, pods, rounds, seconds] = numbers.each_ref().map(String::as_str);
    let program = program.display().to_string();
    build::cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "scope-bench",
        "--",
        "agent",
        "--program",
        &program,
        "--processes",
        processes,
        "--pods",
        pods,
        "--rounds",
        rounds,
        "--seconds",
        seconds,
    ])
}
