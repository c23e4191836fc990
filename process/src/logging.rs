//! Log lines on stderr, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::exit::{Code, Failure};

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For a log store.
    Json,
}

/// Starts logging, once in a process. `level` is what `--log-level` says: a level, or a filter by module.
pub fn start(level: &str, format: Format) -> Result<(), Failure> {
    // The libraries below log each failed connection and each refused watch; whoever asked for it
    // says so once, and what to do. A filter by module brings their lines back.
    let quiet = "kube_runtime=error,kube_client=error,kube_client::client=off";
    let directives = format!("{quiet},{level}");
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("--log-level {level:?} is not a level or filter: {error}"),
        )
    })?;
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
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
