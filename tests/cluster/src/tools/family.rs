//! Programs that are built together, and their place in the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{DIRECTORY_VARIABLE, go, go_identity};
use crate::command::run;
use crate::error::{At, Error, Result};
use crate::layout::{Layout, remove};
use crate::progress::Progress;
use crate::record::lock_file;

/// The cold build of Kubernetes takes 7 minutes on two idle cores, 11 beside other work.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Unused entries of a family (half a gigabyte for Kubernetes) go after this time.
const KEEP_UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Programs that are built together.
pub(super) struct Family {
    name: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// The module whose version the programs have.
    module: &'static str,
    programs: &'static [&'static str],
    /// What `go build` is asked for. Several programs keep the names of their packages.
    package: &'static str,
    stamp: fn(version: &str) -> Option<String>,
}

pub(super) const KUBE: Family = Family {
    name: "kube",
    go_mod: include_str!("../../../tools/kube/go.mod"),
    go_sum: include_str!("../../../tools/kube/go.sum"),
    module: "k8s.io/kubernetes",
    programs: &[
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubectl",
        "kubelet",
    ],
    package: "tool",
    stamp: kubernetes_stamp,
};

pub(super) const ETCD: Family = Family {
    name: "etcd",
    go_mod: include_str!("../../../tools/etcd/go.mod"),
    go_sum: include_str!("../../../tools/etcd/go.sum"),
    module: "go.etcd.io/etcd/server/v3",
    programs: &["etcd"],
    package: "go.etcd.io/etcd/server/v3",
    stamp: |_| Some(String::new()),
};

pub(super) const HELM: Family = Family {
    name: "helm",
    go_mod: include_str!("../../../tools/helm/go.mod"),
    go_sum: include_str!("../../../tools/helm/go.sum"),
    module: "helm.sh/helm/v4",
    programs: &["helm"],
    package: "helm.sh/helm/v4/cmd/helm",
    stamp: |version| {
        Some(format!(
            " -X helm.sh/helm/v4/internal/version.version={version}"
        ))
    },
};

pub(super) const HELM3: Family = Family {
    name: "helm3",
    go_mod: include_str!("../../../tools/helm3/go.mod"),
    go_sum: include_str!("../../../tools/helm3/go.sum"),
    module: "helm.sh/helm/v3",
    programs: &["helm3"],
    package: "helm.sh/helm/v3/cmd/helm",
    stamp: |version| {
        Some(format!(
            " -X helm.sh/helm/v3/internal/version.version={version}"
        ))
    },
};

pub(super) const LINT: Family = Family {
    name: "lint",
    go_mod: include_str!("../../../tools/lint/go.mod"),
    go_sum: include_str!("../../../tools/lint/go.sum"),
    module: "github.com/zegl/kube-score",
    programs: &["kube-score"],
    package: "github.com/zegl/kube-score/cmd/kube-score",
    stamp: |_| Some(String::new()),
};

impl Family {
    fn version(&self) -> Result<&'static str> {
        module_version(self.go_mod, self.module).ok_or_else(|| {
            Error::Invalid(format!(
                "go.mod of {} requires no {}",
                self.name, self.module
            ))
        })
    }

    fn ldflags(&self) -> Result<String> {
        let version = self.version()?;
        (self.stamp)(version)
            .map(|stamp| format!("-s -w{stamp}"))
            .ok_or_else(|| {
                Error::Invalid(format!(
                    "go.mod of {} has the version {version}, which cannot be stamped",
                    self.name
                ))
            })
    }

    fn is_complete(&self, directory: &Path) -> bool {
        self.missing(directory).is_empty()
    }

    fn missing(&self, directory: &Path) -> Vec<&'static str> {
        self.programs
            .iter()
            .filter(|name| !directory.join(name).is_file())
            .copied()
            .collect()
    }

    /// In the directory that the user names, which must have all of them.
    pub(super) fn in_given_directory(&self, directory: &Path) -> Result<PathBuf> {
        let missing = self.missing(directory);
        if missing.is_empty() {
            // Components do not run where this process does.
            return std::path::absolute(directory).at("find", directory);
        }
        Err(Error::Unable(format!(
            "{DIRECTORY_VARIABLE} names {}, which lacks {}: put them there, or unset the variable to have them built",
            directory.display(),
            missing.join(", ")
        )))
    }

    /// In the cache, built now if they are not there yet.
    pub(super) fn in_cache(&self, layout: &Layout, progress: &Progress) -> Result<PathBuf> {
        let ldflags = self.ldflags()?;
        let key = self.key(&ldflags, &go_identity()?);
        let entry = layout.root().join(format!("{}-{key}", self.name));
        let programs = entry.join("bin");
        if !self.is_complete(&programs) {
            let lock_path = layout.root().join(format!("{}.lock", self.name));
            let lock = lock_file(&lock_path)?;
            let what = format!("waiting for another process to build {}", self.name);
            progress
                .during(&what, || lock.lock())
                .at("lock", &lock_path)?;
            // Whoever had the lock may have built it.
            if !self.is_complete(&programs) {
                self.build(&entry, &ldflags, progress)?;
                self.drop_unused(layout, &entry)?;
            }
        }
        mark_used(&entry)?;
        Ok(programs)
    }

    /// In the cache, if they are there.
    pub(super) fn in_cache_already(&self, layout: &Layout) -> Option<PathBuf> {
        let key = self.key(&self.ldflags().ok()?, &go_identity().ok()?);
        let programs = layout
            .root()
            .join(format!("{}-{key}", self.name))
            .join("bin");
        self.is_complete(&programs).then_some(programs)
    }

    fn key(&self, ldflags: &str, go: &str) -> String {
        let mut hash = Sha256::new();
        for part in [
            self.name,
            self.go_mod,
            self.go_sum,
            self.package,
            ldflags,
            go,
        ] {
            // With its length, so that no two lists of parts look alike.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Builds into a directory beside the entry, which then takes the entry's name.
    fn build(&self, entry: &Path, ldflags: &str, progress: &Progress) -> Result<()> {
        let work = entry.with_extension("new");
        remove(&work)?;
        let (source, programs) = (work.join("src"), work.join("bin"));
        for directory in [&source, &programs] {
            std::fs::create_dir_all(directory).at("create directory", directory)?;
        }
        for (name, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)] {
            let path = source.join(name);
            std::fs::write(&path, text).at("write", &path)?;
        }
        let output = match self.programs {
            [one] => programs.join(one),
            _ => programs.join(""),
        };
        let mut go = go();
        go.current_dir(&source)
            .args(["build", "-trimpath", "-ldflags", ldflags, "-o"])
            .arg(output)
            .arg(self.package);
        let what = format!(
            "building {} {} with Go",
            self.programs.join(", "),
            self.version()?
        );
        progress.during(&what, || run(&mut go, BUILD_LIMIT))?;
        let missing = self.missing(&programs);
        if !missing.is_empty() {
            return Err(Error::Unable(format!(
                "go build of {} made no {}",
                self.name,
                missing.join(", ")
            )));
        }
        remove(&source)?;
        remove(entry)?;
        std::fs::rename(&work, entry).at("rename", &work)
    }

    fn drop_unused(&self, layout: &Layout, current: &Path) -> Result<()> {
        let root = layout.root();
        let start = format!("{}-", self.name);
        for entry in std::fs::read_dir(root)
            .at("read directory", root)?
            .flatten()
        {
            let path = entry.path();
            let ours = entry.file_name().to_string_lossy().starts_with(&start);
            let unused = std::fs::metadata(path.join("used"))
                .and_then(|meta| meta.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEEP_UNUSED));
            if ours && unused && path != current {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn mark_used(entry: &Path) -> Result<()> {
    let stamp = entry.join("used");
    std::fs::write(&stamp, "").at("write", &stamp)
}

/// The version that a go.mod requires of a module.
fn module_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .split_ascii_whitespace()
            .skip_while(|word| *word == "require");
        (words.next() == Some(module)).then(|| words.next())?
    })
}

/// Kubernetes without a stamp calls itself v0.0.0-master+$Format:%H$, which kubectl cannot parse
/// and which Helm takes for too old.
fn kubernetes_stamp(version: &str) -> Option<String> {
    let (major, rest) = version.strip_prefix('v')?.split_once('.')?;
    let (minor, _) = rest.split_once('.')?;
    let mut flags = String::new();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitCommit", "harness"),
            ("gitTreeState", "clean"),
            // Fixed, so that the same source gives the same programs.
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    Some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn versions_are_read_from_go_mod() {
        assert!(KUBE.version().unwrap().starts_with("v1."));
        assert!(ETCD.version().unwrap().starts_with("v3."));
        assert!(HELM.version().unwrap().starts_with("v4."));
        assert!(HELM3.version().unwrap().starts_with("v3."));
        assert!(LINT.version().unwrap().starts_with("v1."));
        let go_mod = "module m\nrequire a/b v1.2.3\nrequire (\n\tc/d v0.1.0 // indirect\n)\n";
        assert_eq!(module_version(go_mod, "a/b"), Some("v1.2.3"));
        assert_eq!(module_version(go_mod, "c/d"), Some("v0.1.0"));
        assert_eq!(module_version(go_mod, "a"), None);
    }

    #[test]
    fn kubernetes_is_stamped_in_both_packages() {
        let stamp = kubernetes_stamp("v1.36.3").unwrap();
        assert!(stamp.contains(" -X k8s.io/component-base/version.gitVersion=v1.36.3 "));
        assert!(stamp.contains(" -X k8s.io/client-go/pkg/version.gitMinor=36 "));
        assert_eq!(kubernetes_stamp("latest"), None);
        assert!(
            KUBE.ldflags()
                .unwrap()
                .starts_with("-s -w -X k8s.io/component-base")
        );
        assert_eq!(ETCD.ldflags().unwrap(), "-s -w");
    }

    #[test]
    fn every_part_changes_the_key() {
        let key = KUBE.key("-s", "go1.26 linux/amd64");
        assert_eq!(key.len(), 16);
        assert_eq!(key, KUBE.key("-s", "go1.26 linux/amd64"));
        assert_ne!(key, KUBE.key("-w", "go1.26 linux/amd64"));
        assert_ne!(key, KUBE.key("-s", "go1.27 linux/amd64"));
        assert_ne!(key, HELM.key("-s", "go1.26 linux/amd64"));
        // Moving a byte from one part to the next is a change too.
        assert_ne!(KUBE.key("-s", "x"), KUBE.key("-", "sx"));
    }

    #[test]
    fn a_given_directory_must_be_complete() {
        let scratch = Scratch::new();
        let error = KUBE
            .in_given_directory(scratch.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("lacks kube-apiserver, "), "{error}");
        std::fs::write(scratch.path().join("etcd"), "").unwrap();
        assert_eq!(
            ETCD.in_given_directory(scratch.path()).unwrap(),
            scratch.path()
        );
    }

    #[test]
    fn entries_that_nobody_used_for_long_go() {
        let scratch = Scratch::new();
        let layout = Layout::at(scratch.path());
        for (name, days) in [("etcd-old", 40), ("etcd-new", 1), ("kube-old", 40)] {
            let entry = scratch.path().join(name);
            std::fs::create_dir(&entry).unwrap();
            mark_used(&entry).unwrap();
            let time = std::time::SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            let stamp = std::fs::File::options()
                .write(true)
                .open(entry.join("used"))
                .unwrap();
            stamp.set_modified(time).unwrap();
        }
        ETCD.drop_unused(&layout, &scratch.path().join("etcd-x"))
            .unwrap();
        assert!(!scratch.path().join("etcd-old").exists());
        assert!(scratch.path().join("etcd-new").exists());
        assert!(scratch.path().join("kube-old").exists());
    }
}
