//! Log lines on stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{
    cli::{LogArgs, LogFormat},
    exit::{Code, Failure},
};

/// Starts logging.
pub fn start(arguments: &LogArgs) -> Result<(), Failure> {
    // The libraries below log each failed connection and each refused watch; whoever asked for it
    // says so once, and what to do. A filter by module brings their lines back.
    let quiet = "kube_runtime=error,kube_client=error,kube_client::client=off";
    let directives = format!("{quiet},{}", arguments.log_level);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!(
                "--log-level {:?} is not a level or filter: {error}",
                arguments.log_level
            ),
        )
    })?;
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match arguments.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| {
            Failure::new(
                Code::Software,
                format!("logging cannot be started: {error}"),
            )
        })
}
