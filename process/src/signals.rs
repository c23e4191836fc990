//! One SIGTERM or SIGINT for the whole process.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{Code, Failure};

static RECEIVED: AtomicBool = AtomicBool::new(false);

/// A token that the first signal cancels. A second one ends the process at once.
pub fn stop() -> Result<CancellationToken, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(
                Code::OsError,
                format!("signals cannot be received: {error}"),
            )
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for seen in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if seen > 0 {
                // 128 + SIGTERM, as a shell would say it.
                std::process::exit(143);
            }
            RECEIVED.store(true, Ordering::SeqCst);
            tracing::info!("stopping");
            told.cancel();
        }
    });
    Ok(stop)
}

/// Whether a signal came.
pub fn received() -> bool {
    RECEIVED.load(Ordering::SeqCst)
}
