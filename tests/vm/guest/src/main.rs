//! The guest's program: its first process, the player of a scenario, and every workload in it.
//! One program for all of it, since there is no other in the guest that could do as much.

mod agent;
mod api_server;
mod cgroup;
mod init;
mod measure;
mod network;
mod pod;
mod scenarios;
mod workload;

use std::process::ExitCode;

use throwaway_vm_guest::Line;

/// The exit code of a scenario that has said its result itself.
const SAID: u8 = 0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if std::process::id() == 1 {
        // The kernel hands on what follows `--` on its command line.
        return init::run(&words);
    }
    match words.as_slice() {
        [init::SCENARIO, name, told @ ..] => {
            let result = match scenarios::play(name, told) {
                Ok(()) => Line::Ok,
                Err(error) => Line::Failed(format!("{error:#}")),
            };
            init::say(&result);
            ExitCode::from(SAID)
        }
        [workload::WORKLOAD, start @ ..] => match workload::run(start) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("workload {}: {error:#}", start.join(" "));
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("this is the first process of a throw-away virtual machine, see tests/vm");
            ExitCode::FAILURE
        }
    }
}
