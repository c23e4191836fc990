//! Images without a registry: archives that containerd imports.
//!
//! Two are written here by hand, the pod sandbox `harness.local/pause:1` and the helper
//! [`BOX_IMAGE`], and on request a web server, [`SERVER_IMAGE`]; the product's own come from its Dockerfile ([`build()`]). Use
//! `imagePullPolicy: IfNotPresent` or `Never` with all of them, and never the tag `latest`.

mod buildah;
mod oci;
mod server;
mod tar;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use buildah::build;
pub use server::{SERVER_IMAGE, make_server, server_files, unpack_server};

use crate::command::run;
use crate::config::PAUSE_IMAGE;
use crate::error::{At, Error, Result};
use oci::Image;
use tar::{Tar, add_program};

/// An image with busybox and a link for each of its programs.
pub const BOX_IMAGE: &str = "harness.local/box:1";

const BUSYBOX: &str = "/bin/busybox";
/// Compiling ten lines and listing applets.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the images that every cluster has and returns their archives.
pub(crate) fn make_own(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(vec![make_pause(directory)?, make_box(directory)?])
}

fn make_pause(directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join("pause.c"), directory.join("pause"));
    std::fs::write(&source, include_str!("pause.c")).at("write", &source)?;
    run(
        Command::new("musl-gcc")
            .args(["-static", "-Os", "-s", "-o"])
            .arg(&program)
            .arg(&source),
        LIMIT,
    )?;
    let mut layer = Tar::default();
    add_program(&mut layer, "pause", &program)?;
    let archive = directory.join("pause.tar");
    Image {
        reference: PAUSE_IMAGE,
        entrypoint: &["/pause"],
        command: &[],
        layer: layer.finish(),
    }
    .write(&archive)?;
    Ok(archive)
}

fn make_box(directory: &Path) -> Result<PathBuf> {
    let busybox = std::fs::read(BUSYBOX).at("read", BUSYBOX)?;
    if is_dynamic(&busybox) {
        return Err(Error::Unable(format!(
            "{BUSYBOX} needs shared libraries, which the image does not have: install the package busybox-static"
        )));
    }
    let applets = run(Command::new(BUSYBOX).arg("--list"), LIMIT)?;
    let mut layer = Tar::default();
    for (path, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
    ] {
        layer.directory(path, mode)?;
    }
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnonroot:x:65532:\n")?;
    layer.file("bin/busybox", 0o755, &busybox)?;
    for applet in applets
        .lines()
        .filter(|name| !name.is_empty() && *name != "busybox")
    {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    let archive = directory.join("box.tar");
    Image {
        reference: BOX_IMAGE,
        entrypoint: &[],
        command: &["/bin/sh"],
        layer: layer.finish(),
    }
    .write(&archive)?;
    Ok(archive)
}

/// Whether an ELF program of 64 bits names an interpreter (program header type 3).
fn is_dynamic(program: &[u8]) -> bool {
    let number = |offset: usize, size: usize| -> usize {
        program.get(offset..offset + size).map_or(0, |bytes| {
            bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | usize::from(byte))
        })
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(start.saturating_add(index * size), 4) == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        let shell = std::fs::read("/proc/self/exe").unwrap();
        assert!(is_dynamic(&shell));
        assert!(!is_dynamic(b"#!/bin/sh\n"));
        assert!(!is_dynamic(&[]));
    }
}
