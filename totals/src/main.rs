//! `scope-totals`: adds up what the agents of all nodes report by controller.

use std::{env, process::ExitCode};

use scope_process::{
    exit::{Code, Failure},
    logging,
};
use scope_totals::{
    cli::{self, Job},
    run,
};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scope-totals: {failure}");
            failure.into()
        }
    }
}

fn start() -> Result<(), Failure> {
    let (job, log) = cli::parse(env::args_os())?;
    if let Some(log) = &log {
        logging::start(&log.log_level, log.log_format)?;
    }
    let process = match job {
        Job::Print(text) => {
            print!("{text}");
            return Ok(());
        }
        Job::Run(process) => process,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // A third of a CPU is what 5,000 agents take; a node with 100 CPUs should not cost 100 threads.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Code::OsError, format!("no threads can be started: {error}"))
        })?;
    runtime.block_on(run::run(*process))
}
