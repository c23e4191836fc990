//! Ctrl-C and its like, noticed instead of obeyed at once, where things have to be removed first.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that a person interrupted.
pub(crate) const EXIT_CODE: u8 = 130;

/// Listens from now on. The first signal is noticed in the returned flag; the second ends the program
/// with these last words, since somebody may not want to wait.
pub(crate) fn listen(last_words: String) -> anyhow::Result<Arc<AtomicBool>> {
    let seen = Arc::new(AtomicBool::new(false));
    let flag = seen.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot listen for signals")?;
    let guard = runtime.enter();
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                // The terminal may be closed, which is no reason to stop.
                if flag.swap(true, Ordering::SeqCst) {
                    let _ = write!(std::io::stderr(), "\n{last_words}");
                    std::process::exit(i32::from(EXIT_CODE));
                }
                let _ = writeln!(
                    std::io::stderr(),
                    "\nEnding. A second time ends at once and removes nothing."
                );
            }
        });
    });
    Ok(seen)
}
