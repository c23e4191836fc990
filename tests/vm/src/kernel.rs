//! The guest's kernel: Debian's for cloud machines, unpacked into the cache, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use throwaway_cluster::command::run;
use throwaway_cluster::{Layout, Progress};

use crate::error::{At, Error, Result};

/// The package that depends on the newest kernel for cloud machines.
const NEWEST: &str = "linux-image-cloud-amd64";
/// 27 MB; a slow mirror takes minutes.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Unpacking and looking into lists.
const LIMIT: Duration = Duration::from_secs(120);

/// A kernel and its modules.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// What starts.
    pub(crate) image: PathBuf,
    /// Where the modules lie, in directories of their own.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// The kernel in the cache, downloaded now if there is none. One that was downloaded stays:
    /// which one it is does not matter to a test, and tests shall not change by themselves.
    pub(crate) fn ensure(layout: &Layout, progress: &Progress) -> Result<Kernel> {
        let kernels = layout.root().join("kernel");
        if let Some(kernel) = Kernel::in_cache(&kernels)? {
            return Ok(kernel);
        }
        std::fs::create_dir_all(&kernels).at("create directory", &kernels)?;
        progress.during("downloading a kernel", || download(&kernels))?;
        Kernel::in_cache(&kernels)?.ok_or_else(|| {
            Error::Unable(format!(
                "the package {NEWEST} stands for has no kernel and modules where they are expected: look into {}",
                kernels.display()
            ))
        })
    }

    fn in_cache(kernels: &Path) -> Result<Option<Kernel>> {
        let mut found = Vec::new();
        let Ok(entries) = std::fs::read_dir(kernels) else {
            return Ok(None);
        };
        for entry in entries {
            let package = entry.at("read directory", kernels)?;
            if package
                .file_name()
                .to_string_lossy()
                .starts_with("linux-image-")
            {
                found.push(package.path());
            }
        }
        found.sort();
        let Some(package) = found.pop() else {
            return Ok(None);
        };
        let boot = package.join("boot");
        let image = std::fs::read_dir(&boot)
            .at("read directory", &boot)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
            });
        // Debian is about to move modules below /usr.
        let modules = ["usr/lib/modules", "lib/modules"]
            .into_iter()
            .map(|path| package.join(path))
            .find(|path| path.is_dir());
        Ok(image
            .zip(modules)
            .map(|(image, modules)| Kernel { image, modules }))
    }
}

/// Downloads and unpacks the newest kernel below this directory.
fn download(kernels: &Path) -> Result<()> {
    let package = match newest() {
        Ok(package) => package,
        // A fresh machine has no lists of packages.
        Err(_) if rustix::process::geteuid().is_root() => {
            run(
                Command::new("apt-get").args(["update", "-q"]),
                DOWNLOAD_LIMIT,
            )?;
            newest()?
        }
        Err(error) => return Err(error),
    };
    let work = kernels.join(format!("unpacking-{}", std::process::id()));
    remove(&work)?;
    let unpacked = work.join("tree");
    std::fs::create_dir_all(&unpacked).at("create directory", &unpacked)?;
    let fetch = || {
        run(
            Command::new("apt-get")
                .args(["download", "-q", &package])
                .current_dir(&work),
            DOWNLOAD_LIMIT,
        )
    };
    match fetch() {
        Ok(_) => {}
        // The lists are older than the mirror's packages.
        Err(_) if rustix::process::geteuid().is_root() => {
            run(
                Command::new("apt-get").args(["update", "-q"]),
                DOWNLOAD_LIMIT,
            )?;
            fetch()?;
        }
        Err(error) => return Err(error.into()),
    }
    let archive = std::fs::read_dir(&work)
        .at("read directory", &work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::Unable(format!("apt-get downloaded no file for {package}")))?;
    run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([&archive, &unpacked]),
        LIMIT,
    )?;
    let entry = kernels.join(&package);
    match std::fs::rename(&unpacked, &entry) {
        // Another process was faster, and has the same.
        Err(_) if entry.is_dir() => {}
        renamed => renamed.at("create directory", &entry)?,
    }
    remove(&work)
}

/// The name of the package with the newest kernel.
fn newest() -> Result<String> {
    let text = run(Command::new("apt-cache").args(["depends", NEWEST]), LIMIT)?;
    dependency(&text).ok_or_else(|| {
        Error::Unable(format!(
            "`apt-cache depends {NEWEST}` names no kernel: the guest's kernel comes from Debian 12 or newer on x86-64"
        ))
    })
}

fn dependency(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let package = line.trim().strip_prefix("Depends: ")?;
        package
            .starts_with("linux-image-")
            .then(|| package.to_owned())
    })
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_package_depends_on() {
        let text =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: x\n";
        assert_eq!(
            dependency(text).as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(dependency("linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn a_kernel_is_found_with_its_modules() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(Kernel::in_cache(scratch.path()).unwrap().is_none());
        assert!(
            Kernel::in_cache(&scratch.path().join("no"))
                .unwrap()
                .is_none()
        );
        // What an interrupted download leaves is not taken for one.
        std::fs::create_dir_all(scratch.path().join("unpacking-1/tree/boot")).unwrap();
        let package = scratch.path().join("linux-image-6.1.0-56-cloud-amd64");
        std::fs::create_dir_all(package.join("boot")).unwrap();
        std::fs::create_dir_all(package.join("lib/modules/6.1")).unwrap();
        std::fs::write(package.join("boot/System.map-6.1"), "").unwrap();
        std::fs::write(package.join("boot/vmlinuz-6.1"), "").unwrap();
        let kernel = Kernel::in_cache(scratch.path()).unwrap().unwrap();
        assert_eq!(kernel.image, package.join("boot/vmlinuz-6.1"));
        assert_eq!(kernel.modules, package.join("lib/modules"));
    }
}
