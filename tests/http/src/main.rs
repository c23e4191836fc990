//! `http-acceptance fexit|sys_exit`: the table of cases against what this kernel counts in that mode.
//!
//! A server of each case is a process of its own, so that its counters are; this process is all of its
//! clients. The tests run it here, and on a virtual machine in the modes that the kernel here refuses.

mod bench;
mod calls;
mod cases;
mod counting;
mod link;
mod play;
mod side;

use std::process::ExitCode;

use scope_agent::bpf::http::{HttpCounter, HttpMode, HttpSetup};

/// The exit code that says "not on this kernel, or not with these rights".
const UNABLE: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [play::SERVE, case] => play::serve(case),
        ["memory"] => counting::memory(),
        ["bench", root, rounds, seconds] => match (rounds.parse(), seconds.parse()) {
            (Ok(rounds), Ok(seconds)) => bench::run(root.as_ref(), rounds, seconds),
            _ => Err(anyhow::anyhow!("rounds and seconds are numbers")),
        },
        ["fexit"] => return table(HttpMode::Fexit),
        ["sys_exit"] => return table(HttpMode::SysExit),
        _ => Err(anyhow::anyhow!(
            "http-acceptance fexit|sys_exit|memory|bench ROOT ROUNDS SECONDS"
        )),
    };
    end(result)
}

fn table(mode: HttpMode) -> ExitCode {
    let setup = HttpSetup {
        fexit: mode == HttpMode::Fexit,
        sys_exit: mode == HttpMode::SysExit,
        room: None,
    };
    let counter = match HttpCounter::with(setup) {
        Ok(counter) => counter,
        Err(refused) => {
            eprintln!("{refused}");
            return ExitCode::from(UNABLE);
        }
    };
    end(counting::table(counter).and_then(|()| counting::without_room(setup)))
}

fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
