//! `cargo xtask cluster`: the throw-away cluster by itself.

use std::process::Command;

use anyhow::ensure;
use clap::Subcommand;
use scope_e2e::world::PREFIX;

/// What can be done with the cluster that stays up.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Start it and leave it up
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 2)]
        nodes: usize,
    },
    /// Take it down; nothing of it stays but programs and logs in the cache
    Down,
    /// Print the environment of its clients: eval "$(cargo xtask cluster env)"
    Env,
    /// Run kubectl on it
    #[command(trailing_var_arg = true)]
    Kubectl {
        /// kubectl's arguments
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run helm on it
    #[command(trailing_var_arg = true)]
    Helm {
        /// helm's arguments
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// crash, start, partition, heal or kubelet-restart a node, by its number
    Node {
        /// What to do to it
        deed: String,
        /// Which one, from 1
        number: usize,
    },
}

/// Hands the task to the library's own command, which knows how.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    let arguments: Vec<String> = match task {
        Task::Up { nodes } => vec!["up".into(), nodes.to_string()],
        Task::Down => vec!["down".into()],
        Task::Env => vec!["env".into()],
        Task::Kubectl { arguments } => ["kubectl".into()].into_iter().chain(arguments).collect(),
        Task::Helm { arguments } => ["helm".into()].into_iter().chain(arguments).collect(),
        Task::Node { deed, number } => vec!["node".into(), deed, number.to_string()],
    };
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "throwaway-cluster",
            "--",
        ])
        .args(["--prefix", PREFIX])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "the command failed ({status})");
    Ok(())
}
