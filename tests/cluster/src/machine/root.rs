//! The file system that a node sees: a directory of its own as root, with this machine's programs
//! and devices in it.
//!
//! So every node has the standard paths (`/var/lib/kubelet`, `/run`, `/etc/cni`) without a
//! trace of them on the host. A crashed node keeps its directory and loses `/run`, like a
//! computer that was switched off.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};

/// The file system of a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    /// The node's host name.
    pub(crate) host_name: String,
    /// The directory that becomes its root.
    pub(crate) directory: PathBuf,
    /// More directories that it sees, read-only.
    pub(crate) binds: Vec<Bind>,
}

/// A directory of this machine, read-only somewhere in a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// The directory outside.
    pub(crate) source: PathBuf,
    /// Where it appears inside, without a slash at its start.
    pub(crate) target: PathBuf,
}

/// Directories with programs and libraries. Where /bin and others are links into /usr, the node
/// gets the same links.
const PROGRAMS: [&str; 8] = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32",
];

/// Files of /etc that programs in a node need: the linker's cache, user names, protocol names.
const ETC_FILES: [&str; 8] = [
    "ld.so.cache",
    "ld.so.conf",
    "passwd",
    "group",
    "nsswitch.conf",
    "protocols",
    "services",
    "localtime",
];

/// Directories of a node: (path, mode).
const DIRECTORIES: [(&str, u32); 20] = [
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("root", 0o700),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt/kubernetes/bin", 0o755),
    ("etc/alternatives", 0o755),
    ("etc/cni/net.d", 0o755),
    ("etc/containerd", 0o755),
    ("etc/kubernetes/manifests", 0o755),
    ("var/lib/kubelet", 0o750),
    ("var/lib/containerd", 0o711),
    ("var/lib/cni", 0o755),
    ("var/log/pods", 0o755),
    ("var/log/containers", 0o755),
    ("var/tmp", 0o1777),
    ("var/cache", 0o755),
];

impl RootSpec {
    /// Fills the directory with what does not need a mount. What is there already stays.
    pub(crate) fn prepare(&self, hosts: &str, machine_id: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        refuse_overlay(&self.directory)?;
        for (name, mode) in DIRECTORIES {
            let path = self.directory.join(name);
            std::fs::create_dir_all(&path).at("create directory", &path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                .at("set the mode of", &path)?;
        }
        for name in PROGRAMS {
            let (outside, inside) = (Path::new("/").join(name), self.directory.join(name));
            match std::fs::symlink_metadata(&outside) {
                Ok(meta) if meta.is_symlink() => copy_link(&outside, &inside)?,
                Ok(meta) if meta.is_dir() => {
                    std::fs::create_dir_all(&inside).at("create directory", &inside)?;
                }
                _ => {}
            }
        }
        let etc = self.directory.join("etc");
        for name in ETC_FILES {
            let outside = Path::new("/etc").join(name);
            if outside.is_file() {
                let inside = etc.join(name);
                std::fs::copy(&outside, &inside).at("write", &inside)?;
            }
        }
        // iptables is reached through these; portmap calls it.
        let alternatives = Path::new("/etc/alternatives");
        for entry in std::fs::read_dir(alternatives)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                copy_link(
                    &entry.path(),
                    &etc.join("alternatives").join(entry.file_name()),
                )?;
            }
        }
        // No name server: nothing in the cluster has one.
        for (name, text) in [
            ("hostname", format!("{}\n", self.host_name)),
            ("hosts", hosts.to_owned()),
            ("machine-id", format!("{machine_id}\n")),
            ("resolv.conf", String::new()),
        ] {
            let path = etc.join(name);
            std::fs::write(&path, text).at("write", &path)?;
        }
        // Relative, so that it also leads to the node's /run when followed from outside.
        make_link(Path::new("../run"), &self.directory.join("var/run"))
    }

    /// Makes the directory the root of this process's mount namespace. Only for a process that
    /// has a mount and a pid namespace of its own.
    pub(super) fn enter(&self) -> Result<()> {
        let root = &self.directory;
        // Nothing that is mounted from here on reaches the host.
        change_all(Path::new("/"), MountPropagationFlags::DOWNSTREAM)?;
        mount_bind_recursive(root, root).at("bind", root)?;
        for name in PROGRAMS {
            let outside = Path::new("/").join(name);
            if std::fs::symlink_metadata(&outside).is_ok_and(|meta| meta.is_dir()) {
                bind_read_only(&outside, &root.join(name))?;
            }
        }
        for bind in &self.binds {
            bind_read_only(&bind.source, &root.join(&bind.target))?;
        }
        for name in ["dev", "sys"] {
            let (outside, inside) = (Path::new("/").join(name), root.join(name));
            mount_bind_recursive(&outside, &inside).at("bind", &inside)?;
        }
        let run = root.join("run");
        mount(
            "tmpfs",
            &run,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=755",
        )
        .at("mount a tmpfs at", &run)?;
        mount_proc(&root.join("proc"))?;
        // The new root on top of the old one, which is then taken away from below it.
        rustix::process::chdir(root).at("enter", root)?;
        rustix::process::pivot_root(".", ".").at("change the root to", root)?;
        unmount(".", UnmountFlags::DETACH).at("detach", "the old root")?;
        rustix::process::chdir("/").at("enter", "/")?;
        // Containers ask for shared and slave mounts of the node's directories.
        change_all(Path::new("/"), MountPropagationFlags::SHARED)?;
        rustix::system::sethostname(self.host_name.as_bytes())
            .at("set the host name of", &self.host_name)
    }
}

/// For a machine that shares the file system: only its own processes in /proc.
pub(super) fn enter_shared() -> Result<()> {
    change_all(Path::new("/"), MountPropagationFlags::DOWNSTREAM)?;
    mount_proc(Path::new("/proc"))
}

fn mount_proc(target: &Path) -> Result<()> {
    mount(
        "proc",
        target,
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .at("mount proc at", target)
}

fn change_all(target: &Path, propagation: MountPropagationFlags) -> Result<()> {
    mount_change(target, propagation | MountPropagationFlags::REC)
        .at("change the propagation of", target)
}

fn bind_read_only(source: &Path, target: &Path) -> Result<()> {
    mount_bind(source, target).at("bind", target)?;
    mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, c"").at("make read-only", target)
}

fn copy_link(outside: &Path, inside: &Path) -> Result<()> {
    let target = std::fs::read_link(outside).at("read link", outside)?;
    make_link(&target, inside)
}

fn make_link(target: &Path, link: &Path) -> Result<()> {
    match symlink(target, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("link", link),
        _ => Ok(()),
    }
}

/// containerd's overlays need an upper layer that is not an overlay itself, as in a container.
fn refuse_overlay(directory: &Path) -> Result<()> {
    const OVERLAYFS: i64 = 0x794c_7630;
    std::fs::create_dir_all(directory).at("create directory", directory)?;
    let filesystem = rustix::fs::statfs(directory).at("look at the file system of", directory)?;
    if filesystem.f_type as i64 == OVERLAYFS {
        return Err(Error::Unable(format!(
            "{} is on an overlay file system, where containers cannot run: set XDG_CACHE_HOME to a directory on ext4 or xfs",
            directory.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_root_is_prepared_twice_without_harm() {
        let scratch = Scratch::new();
        let root = RootSpec {
            host_name: "node1".into(),
            directory: scratch.path().join("node1"),
            binds: Vec::new(),
        };
        root.prepare("127.0.0.1 localhost\n", "abc").unwrap();
        std::fs::write(root.directory.join("var/lib/kubelet/kept"), "x").unwrap();
        root.prepare("127.0.0.1 localhost\n", "abc").unwrap();
        assert!(root.directory.join("var/lib/kubelet/kept").exists());
        assert_eq!(
            std::fs::read_link(root.directory.join("var/run")).unwrap(),
            Path::new("../run")
        );
        assert_eq!(
            std::fs::read_to_string(root.directory.join("etc/hostname")).unwrap(),
            "node1\n"
        );
    }
}
