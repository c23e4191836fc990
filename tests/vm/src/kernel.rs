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
/// What Debian signs its lists with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which of Debian's kernels a guest runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Release {
    /// That of this machine's own Debian; 6.1 on Debian 12.
    #[default]
    OfThisMachine,
    /// 6.12, that of Debian 13.
    Debian13,
}

impl Release {
    /// The one of this version.
    pub fn of_version(version: &str) -> Result<Release> {
        match version {
            "6.12" => Ok(Release::Debian13),
            _ => Err(Error::Unable(format!(
                "there is no kernel {version} to name: say 6.12 (Debian 13's), or nothing for that of this machine's Debian"
            ))),
        }
    }

    /// Its directory in the cache.
    fn directory(self) -> &'static str {
        match self {
            Release::OfThisMachine => "kernel",
            Release::Debian13 => "kernel-6.12",
        }
    }

    /// Where apt shall look, if not where it always does: what makes it do so. Its lists are this
    /// harness's own, so that nothing is installed from there by mistake.
    fn apt(self, kernels: &Path) -> Result<Vec<String>> {
        let suite = match self {
            Release::OfThisMachine => return Ok(Vec::new()),
            Release::Debian13 => "trixie",
        };
        let directory = kernels.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = directory.join(part);
            std::fs::create_dir_all(&part).at("create directory", &part)?;
        }
        let sources = directory.join("sources.list");
        let source = format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror()?);
        std::fs::write(&sources, source).at("write", &sources)?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State::lists={}", directory.join("lists").display()),
            format!("Dir::Cache={}", directory.join("cache").display()),
            "Acquire::Languages=none".into(),
            // The cache is closed to the user that apt would become.
            "APT::Sandbox::User=root".into(),
        ];
        Ok(options
            .into_iter()
            .flat_map(|option| ["-o".into(), option])
            .collect())
    }
}

/// The mirror of Debian that this machine uses.
fn mirror() -> Result<String> {
    let ask = || {
        let wanted = [
            "Created-By: Packages",
            "Origin: Debian",
            "Label: Debian",
            "Component: main",
        ];
        let mut command = Command::new("apt-get");
        command.args(["indextargets", "--format", "$(REPO_URI)"]);
        let text = run(command.args(wanted), LIMIT)?;
        Ok::<_, Error>(text.lines().next().map(str::to_owned))
    };
    if let Some(mirror) = ask()? {
        return Ok(mirror);
    }
    update(&[])?;
    ask()?.ok_or_else(|| {
        Error::Unable("apt knows no mirror of Debian, where the guest's kernel comes from".into())
    })
}

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
    pub(crate) fn ensure(layout: &Layout, release: Release, progress: &Progress) -> Result<Kernel> {
        let kernels = layout.root().join(release.directory());
        if let Some(kernel) = Kernel::in_cache(&kernels)? {
            return Ok(kernel);
        }
        std::fs::create_dir_all(&kernels).at("create directory", &kernels)?;
        progress.during("downloading a kernel", || download(&kernels, release))?;
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
fn download(kernels: &Path, release: Release) -> Result<()> {
    let apt = release.apt(kernels)?;
    let package = match newest(&apt) {
        Ok(package) => package,
        // A fresh machine has no lists of packages.
        Err(_) if rustix::process::geteuid().is_root() => {
            update(&apt)?;
            newest(&apt)?
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
                .args(&apt)
                .args(["download", "-q", &package])
                .current_dir(&work),
            DOWNLOAD_LIMIT,
        )
    };
    match fetch() {
        Ok(_) => {}
        // The lists are older than the mirror's packages.
        Err(_) if rustix::process::geteuid().is_root() => {
            update(&apt)?;
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
    // Those of newer kernels are compressed, and the guest shall not have the work.
    run(
        Command::new("find")
            .arg(&unpacked)
            .args(["-name", "*.ko.xz", "-exec", "unxz", "{}", "+"]),
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

/// Has apt read the lists of packages again.
fn update(apt: &[String]) -> Result<()> {
    let mut command = Command::new("apt-get");
    run(command.args(apt).args(["update", "-q"]), DOWNLOAD_LIMIT)?;
    Ok(())
}

/// The name of the package with the newest kernel.
fn newest(apt: &[String]) -> Result<String> {
    let mut command = Command::new("apt-cache");
    let text = run(command.args(apt).args(["depends", NEWEST]), LIMIT)?;
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
    fn a_release_is_named_by_its_version() {
        assert_eq!(Release::of_version("6.12").unwrap(), Release::Debian13);
        let said = Release::of_version("5.4").unwrap_err().to_string();
        assert!(said.contains("5.4") && said.contains("6.12"), "{said}");
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
