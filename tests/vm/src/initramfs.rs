//! The guest's only file system, which lives in its memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use throwaway_cluster::command::run;
use throwaway_vm_guest::{AGENT, GUEST, HTTP_PROGRAM, MODULES};

use crate::cpio::Cpio;
use crate::error::{At, Error, Result};
use crate::kernel::Kernel;
use crate::modules::Modules;
use crate::{Programs, Scenario};

/// A list of libraries.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes the archive, with these files at these paths besides. Uncompressed: an emulated CPU takes
/// longer to unpack it than to copy it.
pub(crate) fn make(
    scenario: &Scenario,
    programs: &Programs,
    files: &[(String, PathBuf)],
    kernel: &Kernel,
) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for directory in ["proc", "sys", "dev", "run", "tmp", "var"] {
        cpio.directory(directory);
    }
    // The kernel opens it for the first process before there is anything in /dev.
    cpio.character_device("dev/console", 5, 1);
    add_file(&mut cpio, GUEST, &programs.guest)?;
    add_file(&mut cpio, AGENT, &programs.agent)?;
    add_file(&mut cpio, HTTP_PROGRAM, &programs.http)?;
    add_tools(&mut cpio, scenario.tools)?;
    for (path, file) in files {
        add_file(&mut cpio, path, file)?;
    }
    let modules = Modules::below(&kernel.modules)?.in_order(scenario.modules)?;
    for (place, module) in modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        add_file(&mut cpio, &format!("{MODULES}/{place:02}-{name}"), module)?;
    }
    Ok(cpio.finish())
}

/// Adds programs of this machine under their own paths, with the libraries that they need.
fn add_tools(cpio: &mut Cpio, tools: &[&str]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for tool in tools {
        add_file(cpio, tool, Path::new(tool))?;
        // It fails for a static program, which needs none.
        if let Ok(text) = run(Command::new("ldd").arg(tool), LIMIT) {
            libraries.extend(paths(&text));
        }
    }
    for library in libraries {
        add_file(cpio, &library, Path::new(&library))?;
    }
    Ok(())
}

/// The paths in what `ldd` prints: behind the arrow, or the loader's at the start of its line.
fn paths(ldd: &str) -> impl Iterator<Item = String> + '_ {
    ldd.lines().filter_map(|line| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = line.split_whitespace().next()?;
        path.starts_with('/').then(|| path.to_owned())
    })
}

fn add_file(cpio: &mut Cpio, path: &str, source: &Path) -> Result<()> {
    let content = match std::fs::read(source) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Unable(format!(
                "{} is not there, which the guest needs as {path}",
                source.display()
            )));
        }
        content => content.at("read", source)?,
    };
    cpio.program(path, &content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007f30b33ab000)\n\
            \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f30b3228000)\n\
            \tlibnone.so.1 => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f30b33ad000)\n";
        assert_eq!(
            paths(text).collect::<Vec<_>>(),
            [
                "/lib/x86_64-linux-gnu/libmnl.so.0",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
