//! `cargo xtask`: everything that a person types in this repository.

mod bench;
mod bpf;
mod build;
mod checks;
mod cluster;
mod demo;
mod fuzz;
mod generate;
mod interrupt;
mod vm;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use scope_e2e::demo::here::Interrupted;

/// Demo, tests, throw-away cluster, images and generated files of this repository.
///
/// What is missing is installed or built first: Debian packages, a Rust target, and Kubernetes, etcd
/// and Helm from their Go modules (once, into ~/.cache/scope-plugins).
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole job on a throw-away cluster of two nodes, or with --here on one of yours: install,
    /// roll out, report, click
    Demo(demo::Arguments),
    /// Every test: format, lints, unit tests, and the product on a throw-away cluster
    Test {
        /// Only the end-to-end scenarios whose name contains one of these words
        words: Vec<String>,
    },
    /// The agents under churn on a throw-away cluster, processes and pods that come and go, and five
    /// minutes of Scope's page before and after
    Soak {
        /// How long the churn goes on
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
    },
    /// The operator's leader killed in the middle of rollouts, on a throw-away cluster of four nodes: before
    /// and after writes from the first to the last; some 40 seconds each
    Kills {
        /// How many times
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=200))]
        points: u64,
    },
    /// Measures what agent and operator cost; wants a machine that is otherwise quiet
    Bench {
        #[command(subcommand)]
        task: bench::Task,
    },
    /// Fuzzes the parsers, the conformance rules and the control request
    Fuzz {
        /// For how long each target
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// Only this one
        target: Option<String>,
    },
    /// The throw-away cluster by itself
    Cluster {
        #[command(subcommand)]
        task: cluster::Task,
    },
    /// The agent on throw-away virtual machines, for what this machine's kernel has not got
    Vm {
        /// The kernel's version, instead of Debian 12's: 6.12 is that of Debian 13
        #[arg(long)]
        kernel: Option<String>,
        /// Only the scenarios whose name contains one of these words
        words: Vec<String>,
    },
    /// Builds the two images as OCI archives
    Image {
        /// What stands before `/scope-operator` and `/scope-agent` in the images' names
        #[arg(long, default_value = "harness.local")]
        tag: String,
        /// Where the archives go
        #[arg(long, default_value = "target/images")]
        to: PathBuf,
    },
    /// Compiles the programs that run in the kernel, from `agent/bpf/*.bpf.c` to the objects beside them
    Bpf {
        /// Write nothing: fail if an object is not what its source is compiled to
        #[arg(long)]
        check: bool,
    },
    /// Writes what is generated from the sources: CRDs, the chart's schema, pages of the documentation
    Generate,
}

fn main() -> ExitCode {
    throwaway_cluster::run_internal_command_if_asked();
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(arguments),
        Task::Test { words } => checks::run(&words),
        Task::Soak { minutes } => checks::soak(minutes),
        Task::Kills { points } => checks::kills(points),
        Task::Bench { task } => bench::run(task),
        Task::Fuzz { seconds, target } => fuzz::run(target.as_deref(), seconds),
        Task::Cluster { task } => cluster::run(task),
        Task::Vm { kernel, words } => vm::run(kernel.as_deref(), &words),
        Task::Image { tag, to } => build::images(&tag, &to).map(|images| {
            for image in images {
                println!("{}", image.display());
            }
        }),
        Task::Bpf { check } => bpf::run(check),
        Task::Generate => generate::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `eprintln!` would break down where the terminal is closed.
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            match error.is::<Interrupted>() {
                true => ExitCode::from(interrupt::EXIT_CODE),
                false => ExitCode::FAILURE,
            }
        }
    }
}
