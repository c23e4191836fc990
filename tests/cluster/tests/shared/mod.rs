//! What the tests on real clusters share.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use throwaway_cluster::Options;

/// A program that the library can start again.
pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_throwaway-cluster");

/// The test's turn, or nothing when this machine cannot have a cluster and need not. Several
/// clusters at once work; they would only make each other slow.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Some(why) = throwaway_cluster::obstacle() {
        assert!(
            !throwaway_cluster::nodes_required(),
            "HARNESS_REQUIRE=nodes, but {why}"
        );
        println!("SKIPPED: {why}");
        return None;
    }
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Two nodes.
pub(crate) fn options(prefix: &str) -> Options {
    let mut options = Options::new(prefix);
    options.helper = Some(PathBuf::from(HELPER));
    options
}

/// Looks again and again, for 30 s.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
