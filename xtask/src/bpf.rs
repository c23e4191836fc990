//! `cargo xtask bpf`: the programs that run in the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use throwaway_cluster::Progress;
use throwaway_cluster::packages::{self, Package};

use crate::build;

/// The compiler of Debian 12. Another one makes other bytes of the same source, and this one the same
/// wherever it runs.
const PACKAGES: [Package; 2] = [
    ("clang-14", "/usr/bin/clang-14"),
    ("llvm-14", "/usr/bin/llvm-strip-14"),
];
/// What every source is named like, and what is made of it.
const SOURCE: &str = ".bpf.c";
const OBJECT: &str = ".bpf.o";
/// `-g` is for the types, by which the loader makes a program fit the kernel. Paths would be different
/// everywhere.
const FLAGS: [&str; 9] = [
    "-target",
    "bpf",
    "-mcpu=v3",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fdebug-compilation-dir=.",
];

/// Compiles every source of `agent/bpf`. With `check` the objects stay as they are, and have to be what
/// their sources are compiled to.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    packages::ensure_these(&PACKAGES, &Progress::to_stderr())?;
    let directory = build::root().join("agent/bpf");
    let made = build::target_dir().join("bpf");
    fs::create_dir_all(&made)?;
    let mut old = Vec::new();
    for name in sources(&directory)? {
        let object = format!("{name}{OBJECT}");
        let new = compile(&directory, &name, &made.join(&object))?;
        let object = directory.join(object);
        let is_new = fs::read(&object).ok().as_deref() != Some(&new);
        if is_new && !check {
            fs::write(&object, new)
                .with_context(|| format!("{} cannot be written", object.display()))?;
        } else if is_new {
            old.push(object.display().to_string());
            continue;
        }
        println!("{} is up to date", object.display());
    }
    ensure!(
        old.is_empty(),
        "{} is not what its source is compiled to: run `cargo xtask bpf` and commit it",
        old.join(", ")
    );
    Ok(())
}

/// The names of the sources, without what each ends in.
fn sources(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(SOURCE))
                .map(str::to_owned),
        );
    }
    names.sort();
    ensure!(!names.is_empty(), "{} has no source", directory.display());
    Ok(names)
}

fn compile(directory: &Path, name: &str, to: &PathBuf) -> anyhow::Result<Vec<u8>> {
    build::run(
        Command::new("/usr/bin/clang-14")
            .args(FLAGS)
            .arg(format!("-ffile-prefix-map={}=.", directory.display()))
            .arg("-c")
            .arg(directory.join(format!("{name}{SOURCE}")))
            .arg("-o")
            .arg(to),
    )?;
    // What is for debuggers alone; the types stay.
    build::run(Command::new("/usr/bin/llvm-strip-14").arg("-g").arg(to))?;
    fs::read(to).with_context(|| format!("{} cannot be read", to.display()))
}
