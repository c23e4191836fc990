//! `collectors FILE` writes the page about what the agent collects.

use std::process::ExitCode;
use std::{env, fs, path::Path};

/// sysexits: wrong command line, and a file that could not be written.
const EX_USAGE: u8 = 64;
const EX_CANTCREAT: u8 = 73;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: collectors FILE (writes the page about what the agent collects there)");
        return ExitCode::from(EX_USAGE);
    };
    let file = Path::new(&file);
    if let Err(error) = fs::write(file, scope_agent::catalogue::page()) {
        eprintln!("collectors: cannot write {}: {error}", file.display());
        return ExitCode::from(EX_CANTCREAT);
    }
    ExitCode::SUCCESS
}
