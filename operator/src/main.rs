//! `scope-operator`: rolls ScopePlugins out to the nodes and carries out ScopeActions.

mod actions;
mod apply;
mod check;
mod cleanup;
mod cli;
mod controller;
mod desired;
mod drift;
mod editions;
mod events;
mod guarded;
mod http;
mod installation;
mod leader;
mod look;
mod memory;
mod metrics;
mod names;
mod node_match;
mod overlap;
mod ownership;
mod plan;
mod queue;
mod readiness;
mod refusals;
mod rolling;
mod rollout;
mod run;
mod seen;
mod settings;
mod status;
mod tell;
#[cfg(test)]
mod testing;
mod totals;
mod watches;

use std::{env, process::ExitCode};

use cli::Job;
use scope_process::{
    exit::{Code, Failure},
    logging,
};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scope-operator: {failure}");
            failure.into()
        }
    }
}

fn start() -> Result<(), Failure> {
    let (job, log) = cli::parse(env::args_os())?;
    if let Some(log) = &log {
        logging::start(&log.log_level, log.log_format)?;
    }
    let job = match job {
        Job::Print(text) => {
            print!("{text}");
            return Ok(());
        }
        job => job,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Waiting is most of the work; a node with 100 CPUs should not cost 100 threads.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Code::OsError, format!("no threads can be started: {error}"))
        })?;
    runtime.block_on(async {
        match job {
            Job::Run(process) => run::run(*process).await,
            Job::Cleanup(cleanup) => cleanup::run(cleanup).await,
            Job::Check(check) => check::run(check).await,
            Job::Print(_) => Ok(()),
        }
    })
}
