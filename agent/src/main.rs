//! `scope-agent`: reads its arguments, starts what they ask for, and tells the outcome by its exit
//! code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use scope_agent::cli::{self, Cli, Command, LogFormat, Parsed, ServeArgs};
use scope_agent::exit::{self, Failure};
use scope_agent::{print, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// For tasks that block (reading a socket's report for judgement) when the process ends.
const BLOCKING_DRAIN: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()).and_then(|parsed| match parsed {
        Parsed::Print(text) => print::to_stdout(text.as_bytes()),
        Parsed::Run(cli) => run(*cli),
    }) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "scope-agent: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    log(&cli)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(exit::SOFTWARE, format!("cannot start the runtime: {e}")))?;
    let result = match cli.command {
        Command::Serve(args) => runtime.block_on(serve_until_signal(*args)),
        Command::Check(args) => runtime.block_on(print::check(&args.socket)),
        Command::Click(args) => runtime.block_on(print::click(&args)),
        Command::Report(args) => runtime.block_on(print::report(&args)),
    };
    runtime.shutdown_timeout(BLOCKING_DRAIN);
    result
}

async fn serve_until_signal(args: ServeArgs) -> Result<ExitCode, Failure> {
    let config = args.config(&print::kernel_name())?;
    serve::use_modes_as_given();
    let stop = stop_on_signal()
        .map_err(|e| Failure::new(exit::SOFTWARE, format!("cannot listen for signals: {e}")))?;
    match serve::run(config, stop).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) => Err(Failure::new(e.exit_code(), e.to_string())),
    }
}

/// A token that is cancelled by the first signal to end. The second ends the process at once; what
/// is left behind then is recognised at the next start.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
            };
            if token.is_cancelled() {
                std::process::exit(i32::from(exit::TEMPORARY));
            }
            tracing::info!(signal = name, "ending");
            token.cancel();
        }
    });
    Ok(stop)
}

fn log(cli: &Cli) -> Result<(), Failure> {
    let default = match cli.command {
        Command::Serve(_) => "info",
        _ => "warn",
    };
    let level = cli.logging.log_level.as_deref().unwrap_or(default);
    let wrong = |e| {
        Failure::new(
            exit::USAGE,
            format!("{level:?} is no log level (--log-level): {e}"),
        )
    };
    // A bare word that is no level would be taken for a module and silence everything else.
    for word in level
        .split(',')
        .map(str::trim)
        .filter(|word| !word.contains('='))
    {
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
            return Err(Failure::new(
                exit::USAGE,
                format!(
                    "{word:?} is no log level (--log-level): take error, warn, info, debug or trace"
                ),
            ));
        }
    }
    // The client reports every failed request as an error of its own; ours say what it means.
    let filter = EnvFilter::builder()
        .parse(format!("kube_client::client::builder=off,{level}"))
        .map_err(wrong)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match cli.logging.log_format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
