//! `cargo xtask cluster`: the throw-away cluster by itself.

use std::process::Command;

use anyhow::ensure;
use clap::{Subcommand, ValueEnum};
use scope_e2e::world::{FLEET_PREFIX, PREFIX};

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
    Down {
        /// The tests' cluster of four nodes in its place, which they leave up when they are told to keep it
        #[arg(long)]
        fleet: bool,
    },
    /// Print the environment of its clients, for a new shell: eval "$(cargo xtask cluster env)"
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
    /// Do something to a node: crash it, cut it off, start it again
    Node {
        /// What to do to it
        deed: Deed,
        /// Which one, from 1
        number: usize,
    },
}

/// What can be done to a node. The names are the library's command's.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Deed {
    /// End all its processes at once, as a power cut does
    Crash,
    /// Start it again after a crash
    Start,
    /// Cut its network off
    Partition,
    /// Join its network again
    Heal,
    /// End kubelet and start it again; pods go on
    KubeletRestart,
}

/// Hands the task to the library's own command, which knows how.
pub(crate) fn run(task: Task) -> anyhow::Result<()> {
    let prefix = match task {
        Task::Down { fleet: true } => FLEET_PREFIX,
        _ => PREFIX,
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
        .args(["--prefix", prefix, "--as", "cargo xtask cluster"])
        .args(words(task))
        .status()?;
    ensure!(status.success(), "the command failed ({status})");
    Ok(())
}

/// The task in the words of the library's command.
fn words(task: Task) -> Vec<String> {
    match task {
        Task::Up { nodes } => vec!["up".into(), nodes.to_string()],
        Task::Down { .. } => vec!["down".into()],
        Task::Env => vec!["env".into()],
        Task::Kubectl { arguments } => ["kubectl".into()].into_iter().chain(arguments).collect(),
        Task::Helm { arguments } => ["helm".into()].into_iter().chain(arguments).collect(),
        Task::Node { deed, number } => {
            // No deed is hidden, so each has a name.
            let deed = deed.to_possible_value().map(|v| v.get_name().to_owned());
            ["node".into()]
                .into_iter()
                .chain(deed)
                .chain([number.to_string()])
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        task: Task,
    }

    fn passed_on(line: &str) -> Result<String, clap::Error> {
        let line = Line::try_parse_from(line.split(' '))?;
        Ok(words(line.task).join(" "))
    }

    #[test]
    fn deeds_are_passed_on_as_they_were_typed() {
        for deed in ["crash", "start", "partition", "heal", "kubelet-restart"] {
            let typed = format!("node {deed} 2");
            assert_eq!(
                passed_on(&format!("cluster {typed}")).expect("a deed"),
                typed
            );
        }
    }

    #[test]
    fn an_unknown_deed_is_answered_with_all_of_them() {
        let error = passed_on("cluster node explode 2").expect_err("no deed");
        let error = error.to_string();
        assert!(
            error.contains("[possible values: crash, start, partition, heal, kubelet-restart]"),
            "{error}"
        );
    }

    #[test]
    fn options_of_clients_are_theirs() {
        assert_eq!(
            passed_on("cluster kubectl get pods --help -A").expect("kubectl's words"),
            "kubectl get pods --help -A"
        );
    }
}
