//! What counting HTTP costs a server, in the modes that this machine's own kernel refuses.
//!
//! The guest's clock is its own instructions, so a ratio of times is one of instructions. It does not
//! depend on what else runs here, and it knows nothing of caches and of what an instruction takes.

use std::path::Path;
use std::time::Duration;

use throwaway_cluster::Progress;
use throwaway_cluster::images::server_files;

use crate::error::Result;
use crate::{Clock, Extras, Programs, Release, Scenario, play_with};

/// To boot, and to load the programs.
const START: Duration = Duration::from_secs(120);
/// How long the emulator may take for a second of the guest, a thousand million instructions: some 10 s
/// of a CPU, of which there may be a tenth left.
const SECOND: Duration = Duration::from_secs(120);
/// Loads of a round: two sizes of answers, each without and in both modes.
const LOADS: u32 = 6;

/// Measures on a fresh guest with nginx and wrk, which were unpacked below this root: so many rounds of
/// loads of so many of the guest's seconds.
pub fn bench_http(
    release: Release,
    programs: &Programs,
    server: &Path,
    rounds: u32,
    seconds: u32,
    progress: &Progress,
) -> Result<()> {
    let loads = rounds.saturating_mul(LOADS).saturating_mul(seconds);
    let scenario = Scenario {
        name: throwaway_vm_guest::HTTP_BENCH,
        about: "what counting HTTP costs a server",
        modules: &[],
        tools: &["/sbin/ip"],
        cpus: 1,
        memory_mib: 1024,
        limit: START.saturating_add(SECOND.saturating_mul(loads)),
        clock: Clock::Instructions,
    };
    let extras = Extras {
        words: vec![rounds.to_string(), seconds.to_string()],
        files: server_files(server)?,
    };
    play_with(&scenario, release, programs, &extras, progress)
}
