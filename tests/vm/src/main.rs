//! `throwaway-vm GUEST AGENT [WORD…]`: plays the scenarios whose name contains one of the words, or
//! all, with programs that are built already.

use std::process::ExitCode;

use throwaway_cluster::Progress;
use throwaway_vm::{Programs, play_all};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, agent, words @ ..] = arguments.as_slice() else {
        eprintln!("throwaway-vm GUEST AGENT [WORD…]: the two static programs, and which scenarios");
        return ExitCode::FAILURE;
    };
    let programs = Programs {
        guest: guest.into(),
        agent: agent.into(),
    };
    match play_all(words, &programs, &Progress::to_stderr()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throwaway-vm: {error}");
            ExitCode::FAILURE
        }
    }
}
