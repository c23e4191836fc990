//! Being in a pod's network for a moment.
//!
//! A pid, and the number of a namespace, name whoever has them at the moment. A descriptor does not: while it
//! is open the namespace lives, and its number is nobody else's. So the descriptor is opened first, and then
//! is looked at whose it is; whatever is done is done by it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::handle::Handle;
use super::netlink::{Netlink, NetlinkError, Root};
use super::setting::Setting;

/// What every network plugin calls a pod's device: the kubelet's runtimes ask for this name.
pub const DEVICE: &str = "eth0";

/// Which network namespace, while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The device of the kernel's file system of namespaces.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
    identity: Identity,
}

/// Why nothing was done in it.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// It cannot be opened or entered.
    #[error("{doing} its network: {error}{}", needs(.error))]
    Enter {
        /// Which of both.
        doing: &'static str,
        /// What the system said.
        error: rustix::io::Errno,
    },
    /// The thread found itself elsewhere.
    #[error("the network that was entered is another one than was looked at")]
    Another,
    /// No thread could be started for it, or it broke off.
    #[error("no thread for it: {0}")]
    Thread(io::Error),
    /// In it, the kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

fn needs(error: &rustix::io::Errno) -> &'static str {
    match *error {
        rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => {
            " (needs the capabilities SYS_ADMIN and SYS_PTRACE)"
        }
        _ => "",
    }
}

impl NamespaceError {
    /// Whether the process through which it was looked for is not there any more.
    pub fn is_gone(&self) -> bool {
        use rustix::io::Errno;
        matches!(
            self,
            NamespaceError::Enter {
                error: Errno::NOENT | Errno::SRCH,
                ..
            }
        )
    }
}

impl Namespace {
    /// The network namespace that this process is in now. Whose that is has to be looked at afterwards.
    pub fn of_process(proc: &Path, pid: &str) -> Result<Self, NamespaceError> {
        let doing = "opening";
        let failed = |error| NamespaceError::Enter { doing, error };
        let path = proc.join(pid).join("ns/net");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let handle = open(path, flags, Mode::empty()).map_err(failed)?;
        let identity = identity(&handle).map_err(failed)?;
        Ok(Namespace { handle, identity })
    }

    /// Which one it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What is set on its device.
    pub fn root(&self, ours: Handle) -> Result<Root, NamespaceError> {
        self.inside(ours, |netlink| netlink.root(DEVICE))
    }

    /// Sets it; what the kernel says then.
    pub fn set(&self, ours: Handle, setting: &Setting) -> Result<Root, NamespaceError> {
        self.inside(ours, |netlink| netlink.set(DEVICE, setting))
    }

    /// Takes away what is ours; what was there before.
    pub fn clear(&self, ours: Handle) -> Result<Root, NamespaceError> {
        self.inside(ours, |netlink| netlink.clear(DEVICE))
    }

    /// Does something in it, on a thread that ends afterwards: no other one ever leaves its own.
    fn inside<T: Send>(
        &self,
        ours: Handle,
        run: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError> + Send,
    ) -> Result<T, NamespaceError> {
        on_a_thread(|| {
            self.enter()?;
            Ok(run(&mut Netlink::open(ours)?)?)
        })
    }

    /// Moves this thread there for good.
    pub(super) fn enter(&self) -> Result<(), NamespaceError> {
        let doing = "entering";
        let failed = |error| NamespaceError::Enter { doing, error };
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.handle.as_fd(), network).map_err(failed)?;
        let here = File::open("/proc/thread-self/ns/net").map_err(|e| {
            failed(rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))
        })?;
        match identity(&here).map_err(failed)? == self.identity {
            true => Ok(()),
            false => Err(NamespaceError::Another),
        }
    }
}

fn identity(of: impl std::os::fd::AsFd) -> rustix::io::Result<Identity> {
    let stat = fstat(of)?;
    Ok(Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
    })
}

/// Does something in a network that is made for it and gone afterwards.
pub(super) fn in_a_new_one<T: Send>(
    run: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError> + Send,
) -> Result<T, NamespaceError> {
    on_a_thread(|| {
        #[expect(
            deprecated,
            reason = "deprecated since some flags part threads from the files of the others; the network's does \
                      not, and the way for those is unsafe code"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET).map_err(|error| {
            let doing = "making";
            NamespaceError::Enter { doing, error }
        })?;
        // Nobody else has something there.
        Ok(run(&mut Netlink::open(Handle::of_plugin(""))?)?)
    })
}

pub(super) fn on_a_thread<T: Send>(
    run: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("network".into())
            .spawn_scoped(scope, run)
            .map_err(NamespaceError::Thread)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(NamespaceError::Thread(io::Error::other("it broke off"))))
    })
}

#[cfg(test)]
mod tests;
