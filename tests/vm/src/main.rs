//! `throwaway-vm GUEST AGENT HTTP [WORD…]`: plays the scenarios whose name contains one of the words, or
//! all, with programs that are built already.

use std::process::ExitCode;

use throwaway_cluster::Progress;
use throwaway_vm::{Programs, Release, play_all};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, agent, http, words @ ..] = arguments.as_slice() else {
        eprintln!(
            "throwaway-vm GUEST AGENT HTTP [WORD…]: the three static programs, and which scenarios"
        );
        return ExitCode::FAILURE;
    };
    let programs = Programs {
        guest: guest.into(),
        agent: agent.into(),
        http: http.into(),
    };
    match play_all(words, Release::default(), &programs, &Progress::to_stderr()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throwaway-vm: {error}");
            ExitCode::FAILURE
        }
    }
}
