//! Debian packages: those that a cluster needs, and those that other harnesses name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::run;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Downloading and unpacking takes seconds; a slow mirror minutes.
const APT_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A package and a file that it gives: (package, file).
pub type Package = (&'static str, &'static str);

/// What a cluster needs.
const PACKAGES: [Package; 8] = [
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("busybox-static", "/bin/busybox"),
    ("iproute2", "/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("musl-tools", "/usr/bin/musl-gcc"),
    ("buildah", "/usr/bin/buildah"),
];

/// The packages that a cluster needs and that are not installed.
pub fn missing() -> Vec<&'static str> {
    missing_below(Path::new("/"), &PACKAGES)
}

/// Installs the packages that a cluster needs, as far as they are missing.
pub fn ensure(progress: &Progress) -> Result<()> {
    ensure_these(&PACKAGES, progress)
}

/// Installs those of these packages that are missing, if any.
pub fn ensure_these(packages: &[Package], progress: &Progress) -> Result<()> {
    let root = Path::new("/");
    let missing = missing_below(root, packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::Unable(format!(
            "this machine lacks what these Debian packages give: {list}; it has no apt-get, so install the same software in its own way"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Unable(format!(
            "these packages are missing and only root can install them: `{by_hand}`"
        )));
    }
    let apt = |arguments: &[&str]| {
        run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments),
            APT_LIMIT,
        )
    };
    progress.during(&format!("installing {list}"), || {
        apt(&["update", "-q"])?;
        let install = ["install", "-q", "-y", "--no-install-recommends"];
        apt(&[install.as_slice(), missing.as_slice()].concat())
    })?;
    match missing_below(root, packages).as_slice() {
        [] => Ok(()),
        still => Err(Error::Unable(format!(
            "apt-get ended well, but what these packages give is not in its place: {}",
            still.join(" ")
        ))),
    }
}

fn missing_below(root: &Path, packages: &[Package]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|(_, file)| !root.join(file.trim_start_matches('/')).exists())
        .map(|(package, _)| *package)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn packages_are_told_by_their_files() {
        let scratch = Scratch::new();
        assert_eq!(
            missing_below(scratch.path(), &PACKAGES).len(),
            PACKAGES.len()
        );
        let binaries = scratch.path().join("usr/bin");
        std::fs::create_dir_all(&binaries).unwrap();
        std::fs::write(binaries.join("containerd"), "").unwrap();
        let left = missing_below(scratch.path(), &PACKAGES);
        assert_eq!(left.len(), PACKAGES.len() - 1);
        assert!(!left.contains(&"containerd"));
    }
}
