//! Being in a pod's network for a moment.
//!
//! A pid, and the number of a namespace, name whoever has them at the moment. A descriptor does not: while it
//! is open the namespace lives, and its number is nobody else's. So the descriptor is opened first, and then
//! is looked at whose it is; whatever is done is done by it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::handle::Handle;
use super::netlink::{Netlink, NetlinkError, Root};
use super::networks::Request;

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
#[derive(Debug, Clone)]
pub struct Namespace {
    handle: Arc<OwnedFd>,
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
    /// The kernel did not answer in time. What was to be done may be done at any time from now on.
    #[error("the kernel has not answered within {0:?}, and may still do it")]
    Late(Duration),
    /// It was not asked.
    #[error("not tried, since the kernel has not answered earlier questions about pods' networks")]
    NotAsked,
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

    /// Whether it is not known what was done.
    pub fn is_late(&self) -> bool {
        matches!(self, NamespaceError::Late(_))
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
        let handle = Arc::new(handle);
        Ok(Namespace { handle, identity })
    }

    /// Which one it is.
    pub fn identity(&self) -> Identity {
        self.identity
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

/// Does this in it, from a thread that has to end afterwards.
pub(super) fn ask_kernel(
    network: &Namespace,
    ours: Handle,
    request: &Request,
) -> Result<Root, NamespaceError> {
    network.enter()?;
    let mut netlink = Netlink::open(ours)?;
    Ok(match request {
        Request::Look => netlink.root(DEVICE),
        Request::Set(setting) => netlink.set(DEVICE, setting),
        Request::Clear => netlink.clear(DEVICE),
    }?)
}

/// Does something in a network that is made for it and gone afterwards. Its thread is left to itself when it
/// takes longer than this.
pub(super) fn in_a_new_one<T: Send + 'static>(
    patience: Duration,
    run: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError> + Send + 'static,
) -> Result<T, NamespaceError> {
    let (answers, answer) = sync_channel(1);
    let work = move || {
        // Nobody waits for a late one.
        let _ = answers.send(made_for(run));
    };
    std::thread::Builder::new()
        .name("network".into())
        .spawn(work)
        .map_err(NamespaceError::Thread)?;
    answer.recv_timeout(patience).unwrap_or_else(|e| {
        Err(match e {
            RecvTimeoutError::Timeout => NamespaceError::Late(patience),
            RecvTimeoutError::Disconnected => {
                NamespaceError::Thread(io::Error::other("it broke off"))
            }
        })
    })
}

fn made_for<T>(
    run: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError>,
) -> Result<T, NamespaceError> {
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
}

#[cfg(test)]
impl Namespace {
    /// One that nobody enters.
    pub(super) fn made(inode: u64) -> Self {
        let nowhere = File::open("/dev/null").expect("there");
        Namespace {
            handle: Arc::new(nowhere.into()),
            identity: Identity { device: 0, inode },
        }
    }
}

#[cfg(test)]
mod tests;
