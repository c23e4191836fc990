//! The programs that a cluster is made of: found, or built from source.
//!
//! In this order: `HARNESS_BIN_DIR`, the cache, `go build`. Each family of programs (Kubernetes,
//! etcd, Helm) has its own go.mod, since a shared one would lift the libraries that each was
//! tested with, and its own entry in the cache. The entry's key covers everything that decides
//! about the result, so an entry is never wrong, only absent.

mod definitions;
mod family;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::run;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use family::{ETCD, Family, HELM, HELM3, KUBE, LINT};

pub use definitions::monitoring_definitions;

/// Names a directory with programs that are used as they are.
pub const DIRECTORY_VARIABLE: &str = "HARNESS_BIN_DIR";

/// `go version` and `go env` only print.
const GO_LIMIT: Duration = Duration::from_secs(60);

/// Where the programs are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tools {
    kube: PathBuf,
    etcd: PathBuf,
    helm: PathBuf,
    /// Not in what an older version wrote down about a cluster.
    #[serde(default)]
    helm3: PathBuf,
}

impl Tools {
    /// All programs in one directory.
    #[cfg(test)]
    pub(crate) fn in_directory(directory: &Path) -> Tools {
        let directory = directory.to_path_buf();
        Tools {
            kube: directory.clone(),
            etcd: directory.clone(),
            helm: directory.clone(),
            helm3: directory,
        }
    }

    /// The path of kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.kube.join("kubectl")
    }

    /// The path of helm, which is Helm 4.
    pub fn helm(&self) -> PathBuf {
        self.helm.join("helm")
    }

    /// The path of Helm 3, which many still have.
    pub fn helm3(&self) -> PathBuf {
        self.helm3.join("helm3")
    }

    /// The path of etcd.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.etcd.join("etcd")
    }

    /// The directory of Kubernetes' own programs.
    pub(crate) fn kube_directory(&self) -> &Path {
        &self.kube
    }

    /// The directories of all programs, each once.
    pub(crate) fn directories(&self) -> Vec<&Path> {
        let mut directories: Vec<&Path> = vec![&self.kube, &self.etcd, &self.helm, &self.helm3];
        directories.dedup();
        directories
    }
}

/// A search for the programs that runs beside other work.
#[derive(Debug)]
pub struct Pending(std::thread::JoinHandle<Result<Tools>>);

impl Pending {
    /// Waits for it.
    pub fn wait(self) -> Result<Tools> {
        self.0.join().unwrap_or_else(|_| {
            Err(Error::Unable(
                "building the programs of Kubernetes broke down: see above".into(),
            ))
        })
    }
}

/// Finds or builds all programs in a thread of its own.
pub fn ensure_in_background(progress: Progress) -> Pending {
    Pending(std::thread::spawn(move || ensure(&progress)))
}

/// Finds or builds all programs.
pub fn ensure(progress: &Progress) -> Result<Tools> {
    let find = |family: &Family| one(family, progress);
    Ok(Tools {
        kube: find(&KUBE)?,
        etcd: find(&ETCD)?,
        helm: find(&HELM)?,
        helm3: find(&HELM3)?,
    })
}

/// Finds or builds both Helms alone, for what needs no cluster.
pub fn helms(progress: &Progress) -> Result<[PathBuf; 2]> {
    Ok([
        one(&HELM3, progress)?.join("helm3"),
        one(&HELM, progress)?.join("helm"),
    ])
}

/// The directories of kubectl and helm as far as they were built before; builds nothing.
pub fn clients_already_built() -> Vec<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty())
    {
        return vec![PathBuf::from(directory)];
    }
    let Ok(layout) = Layout::from_environment() else {
        return Vec::new();
    };
    let built = [&KUBE, &HELM].map(|family| family.in_cache_already(&layout));
    built.into_iter().flatten().collect()
}

/// Finds or builds kube-score, which has opinions about manifests.
pub fn kube_score(progress: &Progress) -> Result<PathBuf> {
    Ok(one(&LINT, progress)?.join("kube-score"))
}

fn one(family: &Family, progress: &Progress) -> Result<PathBuf> {
    match std::env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty()) {
        Some(directory) => family.in_given_directory(Path::new(&directory)),
        None => family.in_cache(&Layout::from_environment()?, progress),
    }
}

/// `go`, undisturbed by the surroundings: no other toolchain, workspace or flags.
fn go() -> Command {
    let mut go = Command::new("go");
    go.envs([
        ("GOTOOLCHAIN", "local"),
        ("CGO_ENABLED", "0"),
        ("GOWORK", "off"),
        ("GOFLAGS", "-mod=readonly -buildvcs=false"),
    ]);
    go
}

/// The compiler and what it compiles for.
fn go_identity() -> Result<String> {
    let say = |arguments: &[&str]| run(go().args(arguments), GO_LIMIT);
    let missing = |error| match error {
        Error::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::Unable(format!(
                "the programs of Kubernetes are built with Go, which is not in PATH: install Go 1.26 or newer, or name a directory with the programs in {DIRECTORY_VARIABLE}"
            ))
        }
        error => error,
    };
    Ok(say(&["version"]).map_err(missing)? + &say(&["env", "GOOS", "GOARCH"])?)
}
