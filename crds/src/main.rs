//! `scope-crds DIRECTORY` writes the custom resource definitions as YAML files.

use std::{env, fs, path::Path, process::ExitCode};

/// sysexits: wrong command line, and a file that could not be written.
const EX_USAGE: u8 = 64;
const EX_CANTCREAT: u8 = 73;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: scope-crds DIRECTORY (writes the custom resource definitions there)");
        return ExitCode::from(EX_USAGE);
    };
    for (name, yaml) in scope_crds::generated() {
        let path = Path::new(&directory).join(name);
        if let Err(error) = fs::write(&path, yaml) {
            eprintln!("scope-crds: cannot write {}: {error}", path.display());
            return ExitCode::from(EX_CANTCREAT);
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}
