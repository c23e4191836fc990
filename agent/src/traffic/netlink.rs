//! Talking to the kernel about the qdiscs of the network namespace that this thread is in.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{netdevice, recv, send, socket_with};

use super::handle::{Handle, is_of_a_plugin};
use super::setting::Setting;
use super::wire::{self, Answer, Kind, MAX_DUMP, Qdisc};

/// The kernel answers at once, unless somebody holds its lock on all networks.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel makes its parts of a list no larger.
const PART: usize = 64 * 1024;

/// A socket to the kernel. It stays in the namespace in which it was made.
pub(super) struct Netlink {
    socket: OwnedFd,
    ours: Handle,
    sequence: u32,
}

/// What stands at the root of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The kernel's own default.
    Default,
    /// Set by this plugin, by whatever agent of it.
    Ours(Setting),
    /// Set by somebody else.
    Foreign(Foreign),
}

/// A root qdisc that somebody else set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its kind.
    pub kind: String,
    /// Its handle.
    pub handle: u32,
    /// What it does, where we can read that.
    pub setting: Option<Setting>,
}

impl fmt::Display for Foreign {
    /// With a guess whose it is, by what is known of others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign {
            kind,
            handle,
            setting,
        } = self;
        let major = handle >> 16;
        write!(f, "{kind} {major:x}:")?;
        if let Some(setting) = setting.filter(|setting| !setting.is_nothing()) {
            write!(f, " ({setting})")?;
        }
        let whose = match (kind.as_str(), major) {
            ("netem" | "tbf", _) if is_of_a_plugin(*handle) => {
                "as another Scope plugin of this node sets it"
            }
            ("netem", 1) => "as Scope's old Traffic Control plugin and Chaos Mesh set it",
            ("tbf" | "prio", 1) => "as Chaos Mesh sets it",
            ("netem" | "tbf", 0x8000..) => {
                "as `tc` sets it without a handle: by a person or a script"
            }
            ("netem" | "tbf" | "htb" | "prio" | "hfsc", _) => {
                "as `tc` sets it: by a person or a script"
            }
            ("fq" | "fq_codel" | "cake" | "pfifo" | "bfifo" | "mq" | "noqueue" | "clsact", _) => {
                "as a network plugin or a bandwidth manager sets it"
            }
            _ => "of which nothing is known here",
        };
        write!(f, ", {whose}")
    }
}

/// Why it did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The network has no such device.
    #[error("its network has no device {0}")]
    NoDevice(String),
    /// Not ours, and so left alone.
    #[error("the root qdisc of {device} is somebody else's: {foreign}")]
    Foreign {
        /// Of which device.
        device: String,
        /// What is there.
        foreign: Foreign,
    },
    /// The kernel lacks the module.
    #[error("this node's kernel has no sch_{}", .0.as_str())]
    NoModule(Kind),
    /// Any other refusal.
    #[error("{doing}: {error}")]
    Kernel {
        /// What was asked for.
        doing: &'static str,
        /// What the kernel said.
        error: Errno,
    },
    /// The list is too long to be a pod's.
    #[error("its network has too many qdiscs to be looked at")]
    TooMany,
}

impl Netlink {
    /// One that knows by this handle what is ours.
    pub(super) fn open(ours: Handle) -> Result<Self, NetlinkError> {
        let failed = kernel("opening a netlink socket");
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is 0.
        )
        .map_err(&failed)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(&failed)?;
        Ok(Netlink {
            socket,
            ours,
            sequence: 0,
        })
    }

    /// What stands at the root of this device.
    pub(super) fn root(&mut self, device: &str) -> Result<Root, NetlinkError> {
        let index = self.index(device)?;
        self.root_of(index)
    }

    /// Puts this setting at the root of the device, in the place of the default or of what is ours
    /// already. What is there afterwards, as the kernel says.
    pub(super) fn set(&mut self, device: &str, setting: &Setting) -> Result<Root, NetlinkError> {
        let index = self.index(device)?;
        match self.root_of(index)? {
            Root::Default => self.create(index, setting)?,
            Root::Ours(before) if Kind::of(&before) == Kind::of(setting) => {
                let message = wire::change(self.next(), index, self.ours, setting);
                self.ask(message, "changing the qdisc")?;
            }
            Root::Ours(before) => {
                self.delete(index)?;
                if let Err(e) = self.create(index, setting) {
                    // As it was; the first error is what the person has to know.
                    let _ = self.create(index, &before);
                    return Err(e);
                }
            }
            Root::Foreign(foreign) => {
                let device = device.to_owned();
                return Err(NetlinkError::Foreign { device, foreign });
            }
        }
        self.root_of(index)
    }

    /// Takes away what is ours. What was there before.
    pub(super) fn clear(&mut self, device: &str) -> Result<Root, NetlinkError> {
        let index = self.index(device)?;
        let before = self.root_of(index)?;
        if let Root::Ours(_) = before {
            self.delete(index)?;
        }
        Ok(before)
    }

    fn create(&mut self, index: u32, setting: &Setting) -> Result<(), NetlinkError> {
        let message = wire::create(self.next(), index, self.ours, setting);
        let created = self.ask(message, "setting the qdisc");
        match created {
            Err(NetlinkError::Kernel {
                error: Errno::NOENT,
                ..
            }) => Err(NetlinkError::NoModule(Kind::of(setting))),
            other => other,
        }
    }

    fn delete(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = wire::delete(self.next(), index, self.ours);
        match self.ask(message, "removing the qdisc") {
            // Gone meanwhile, or in its place is one that has another handle.
            Err(NetlinkError::Kernel {
                error: Errno::NOENT | Errno::INVAL,
                ..
            }) => Ok(()),
            other => other,
        }
    }

    fn root_of(&mut self, index: u32) -> Result<Root, NetlinkError> {
        let (mut root, ours) = (Root::Default, self.ours);
        let message = wire::list(self.next());
        self.exchange(message, "listing qdiscs", |qdisc| {
            if qdisc.device == index && qdisc.root {
                root = Root::of(qdisc, ours);
            }
        })?;
        Ok(root)
    }

    fn index(&self, device: &str) -> Result<u32, NetlinkError> {
        match netdevice::name_to_index(&self.socket, device) {
            Ok(index) => Ok(index),
            Err(Errno::NODEV) => Err(NetlinkError::NoDevice(device.to_owned())),
            Err(error) => Err(kernel("looking for the device")(error)),
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    fn ask(&mut self, message: Vec<u8>, doing: &'static str) -> Result<(), NetlinkError> {
        self.exchange(message, doing, |_| {})
    }

    fn exchange(
        &mut self,
        message: Vec<u8>,
        doing: &'static str,
        mut each: impl FnMut(Qdisc),
    ) -> Result<(), NetlinkError> {
        let failed = kernel(doing);
        send(&self.socket, &message, SendFlags::empty()).map_err(&failed)?;
        let mut part = vec![0; PART];
        let mut seen = 0;
        loop {
            let (length, _) =
                recv(&self.socket, &mut part[..], RecvFlags::empty()).map_err(&failed)?;
            seen += length;
            for answer in wire::answers(&part[..length], self.sequence) {
                match answer {
                    Answer::Done | Answer::Ack(0) => return Ok(()),
                    Answer::Ack(error) => return Err(failed(Errno::from_raw_os_error(error))),
                    Answer::Qdisc(qdisc) => each(qdisc),
                    Answer::Other => {}
                }
            }
            if seen > MAX_DUMP {
                return Err(NetlinkError::TooMany);
            }
        }
    }
}

impl Root {
    /// The kernel's own defaults have the handle 0, whatever their kind is.
    fn of(qdisc: Qdisc, ours: Handle) -> Self {
        match (qdisc.handle, qdisc.setting) {
            (0, _) => Root::Default,
            (handle, Some(setting)) if handle == ours.number() => Root::Ours(setting),
            (handle, setting) => Root::Foreign(Foreign {
                kind: qdisc.kind,
                handle,
                setting,
            }),
        }
    }
}

fn kernel(doing: &'static str) -> impl Fn(Errno) -> NetlinkError {
    move |error| NetlinkError::Kernel { doing, error }
}

#[cfg(test)]
impl Netlink {
    /// What is sent where the default was seen.
    pub(super) fn create_for_test(
        &mut self,
        device: &str,
        setting: &Setting,
    ) -> Result<(), NetlinkError> {
        let index = self.index(device)?;
        self.create(index, setting)
    }

    /// What is sent where ours was seen.
    pub(super) fn delete_for_test(&mut self, device: &str) -> Result<(), NetlinkError> {
        let index = self.index(device)?;
        self.delete(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(kind: &str, handle: u32, setting: Option<Setting>) -> Qdisc {
        Qdisc {
            device: 2,
            handle,
            root: true,
            kind: kind.to_owned(),
            setting,
        }
    }

    #[test]
    fn whose_it_looks_like() {
        let ours = Handle::of_plugin("node-metrics");
        for (kind, handle, said) in [
            (
                "netem",
                0x1_0000,
                "netem 1:, as Scope's old Traffic Control plugin and Chaos Mesh",
            ),
            ("tbf", 0x1_0000, "tbf 1:, as Chaos Mesh sets it"),
            (
                "netem",
                0x8001_0000,
                "netem 8001:, as `tc` sets it without a handle",
            ),
            (
                "fq",
                0x8002_0000,
                "fq 8002:, as a network plugin or a bandwidth manager",
            ),
            ("htb", 0x10_0000, "htb 10:, as `tc` sets it"),
            ("xyz", 0x10_0000, "xyz 10:, of which nothing is known"),
            (
                "tbf",
                Handle::of_plugin("other").number(),
                "tbf 5ae5:, as another Scope plugin of this node sets it",
            ),
            // Our handle on what we never set is not ours.
            ("fq", ours.number(), "fq 5fc7:, as a network plugin"),
        ] {
            let Root::Foreign(foreign) = Root::of(qdisc(kind, handle, None), ours) else {
                panic!("{kind} {handle:x} is somebody else's");
            };
            assert!(foreign.to_string().starts_with(said), "{foreign}");
        }
        let setting = Setting {
            delay: Duration::from_millis(7),
            ..Setting::default()
        };
        let Root::Foreign(foreign) = Root::of(qdisc("netem", 0x2_0000, Some(setting)), ours) else {
            panic!("somebody else's");
        };
        assert!(
            foreign
                .to_string()
                .starts_with("netem 2: (delay 7ms), as `tc`"),
            "{foreign}"
        );
        assert_eq!(
            Root::of(qdisc("netem", ours.number(), Some(setting)), ours),
            Root::Ours(setting)
        );
        assert_eq!(Root::of(qdisc("fq_codel", 0, None), ours), Root::Default);
    }
}
