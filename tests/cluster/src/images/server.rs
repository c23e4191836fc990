//! An image with a real web server and something that asks it, from Debian's packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::oci::Image;
use super::tar::{Tar, add_program};
use crate::command::run;
use crate::error::{At, Error, Result};

/// An image with nginx, wrk and busybox.
pub const SERVER_IMAGE: &str = "harness.local/server:1";

/// They are unpacked and not installed: installing nginx would start one on this machine.
const PACKAGES: [&str; 4] = ["nginx", "wrk", "libluajit-5.1-2", "libluajit-5.1-common"];
const PROGRAMS: [&str; 2] = ["usr/sbin/nginx", "usr/bin/wrk"];
const BUSYBOX: &str = "/bin/busybox";

/// Four small packages; a slow mirror takes minutes.
const DOWNLOAD: Duration = Duration::from_secs(10 * 60);
const UNPACK: Duration = Duration::from_secs(60);

/// Unpacks nginx and wrk below this directory and returns where; nothing is installed.
///
/// # Errors
/// When the packages cannot be had.
pub fn unpack_server(directory: &Path) -> Result<PathBuf> {
    let (packages, root) = (directory.join("packages"), directory.join("root"));
    std::fs::create_dir_all(&packages).at("make", &packages)?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-q"]).args(PACKAGES);
        run(command.current_dir(&packages), DOWNLOAD)
    };
    // A list of packages that is old names files that are gone.
    if download().is_err() {
        run(Command::new("apt-get").args(["update", "-q"]), DOWNLOAD)?;
        download()?;
    }
    for entry in std::fs::read_dir(&packages).at("list", &packages)? {
        let package = entry.at("list", &packages)?.path();
        let mut unpack = Command::new("dpkg-deb");
        run(unpack.arg("-x").arg(&package).arg(&root), UNPACK)?;
    }
    Ok(root)
}

/// What nginx and wrk need on a machine that has nothing: each file's path there, from the root, and
/// the file. They were unpacked below this root.
///
/// # Errors
/// When they need a library that this machine has not.
pub fn server_files(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let file = root.join(program);
        libraries.extend(libraries_of(&file, root)?);
        files.push((program.to_owned(), file));
    }
    for library in libraries {
        // Where the loader looks: its own place, and one directory for all others.
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        let place = match name.starts_with("ld-") {
            true => library.to_string_lossy().trim_start_matches('/').to_owned(),
            false => format!("usr/lib/{name}"),
        };
        files.push((place, library));
    }
    Ok(files)
}

/// Makes the image in this directory and returns its archive.
///
/// # Errors
/// When the packages cannot be had, or need a library that this machine has not.
pub fn make_server(directory: &Path) -> Result<PathBuf> {
    let root = unpack_server(directory)?;
    let mut layer = Tar::default();
    let mut directories = BTreeSet::new();
    for path in [
        "bin",
        "etc",
        "run",
        "tmp",
        "usr/sbin",
        "usr/bin",
        "var/lib/nginx",
        "var/log/nginx",
    ] {
        add_directories(&mut layer, &mut directories, path)?;
    }
    layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    layer.file("etc/group", 0o644, b"root:x:0:\n")?;
    add_program(&mut layer, "bin/busybox", Path::new(BUSYBOX))?;
    layer.link("bin/sh", "busybox")?;
    for (place, file) in server_files(&root)? {
        let parent = Path::new(&place).parent().unwrap_or(Path::new(""));
        add_directories(&mut layer, &mut directories, &parent.to_string_lossy())?;
        add_program(&mut layer, &place, &file)?;
    }
    let archive = directory.join("server.tar");
    Image {
        reference: SERVER_IMAGE,
        entrypoint: &[],
        command: &["/bin/sh"],
        layer: layer.finish(),
    }
    .write(&archive)?;
    Ok(archive)
}

fn add_directories(layer: &mut Tar, known: &mut BTreeSet<String>, path: &str) -> Result<()> {
    let mut parent = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if !parent.is_empty() {
            parent.push('/');
        }
        parent.push_str(part);
        if known.insert(parent.clone()) {
            let mode = if parent == "tmp" { 0o1777 } else { 0o755 };
            layer.directory(&parent, mode)?;
        }
    }
    Ok(())
}

/// The libraries that a program loads, the loader included: those of the packages first.
fn libraries_of(program: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let own = root.join("usr/lib").join(triplet);
    let mut ldd = Command::new("ldd");
    let text = run(ldd.env("LD_LIBRARY_PATH", own).arg(program), UNPACK)?;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        let path = path.split(" (").next().unwrap_or_default();
        match path.starts_with('/') {
            true => found.push(PathBuf::from(path)),
            false if path == "not found" => {
                return Err(Error::Unable(format!(
                    "{} needs {name}, which this machine lacks: install the Debian package that has it",
                    program.display()
                )));
            }
            // What the kernel gives (linux-vdso).
            false => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_files() {
        let libraries = libraries_of(Path::new("/bin/ls"), Path::new("/nonexistent")).unwrap();
        let named = |part: &str| {
            let mut names = libraries.iter().map(|path| path.to_string_lossy());
            names.any(|name| name.contains(part))
        };
        assert!(named("libc.so") && named("/ld-"), "{libraries:?}");
        assert!(libraries.iter().all(|path| path.is_file()), "{libraries:?}");
    }
}
