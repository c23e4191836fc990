//! What this node's kernel can do to a network: tried once, in one that is made for it.

use std::time::Duration;

use super::namespace::{NamespaceError, in_a_new_one};
use super::netlink::{Netlink, NetlinkError};
use super::setting::{Loss, Rate, Setting};
use super::wire::Kind;
use crate::sample::Cause;

/// Every namespace has it.
const LOOPBACK: &str = "lo";

/// What works here, and why something does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Delay, jitter and loss, with a rate beside them: `sch_netem`.
    pub netem: Result<(), Lack>,
    /// A rate alone: `sch_tbf`.
    pub tbf: Result<(), Lack>,
}

/// Why something does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Lack {
    /// In words.
    pub words: String,
    /// As a kind.
    pub cause: Cause,
}

impl Features {
    /// Tries both.
    pub fn try_out() -> Self {
        let rate = Setting {
            rate: Rate::from_bits(1_000_000),
            ..Setting::default()
        };
        let all = Setting {
            delay: Duration::from_millis(1),
            jitter: Duration::from_millis(1),
            loss: Loss::from_milli_percent(1),
            ..rate
        };
        Features {
            netem: works(all),
            tbf: works(rate),
        }
    }

    /// The one that is lacking for this setting.
    pub fn lacking_for(&self, setting: &Setting) -> Option<&Lack> {
        match Kind::of(setting) {
            Kind::Netem => self.netem.as_ref().err(),
            Kind::Tbf => self.tbf.as_ref().err(),
        }
    }
}

fn works(setting: Setting) -> Result<(), Lack> {
    let tried = in_a_new_one(|netlink: &mut Netlink| netlink.set(LOOPBACK, &setting));
    match tried {
        Ok(_) => Ok(()),
        Err(error) => Err(Lack {
            cause: match &error {
                NamespaceError::Netlink(NetlinkError::NoModule(_)) => Cause::Absent,
                NamespaceError::Enter { error, .. }
                | NamespaceError::Netlink(NetlinkError::Kernel { error, .. })
                    if [rustix::io::Errno::PERM, rustix::io::Errno::ACCESS].contains(error) =>
                {
                    Cause::Denied
                }
                _ => Cause::Failed,
            },
            words: error.to_string(),
        }),
    }
}
