//! What this node's kernel can do to a network: tried once, in one that is made for it.

use std::time::Duration;

use super::namespace::{NamespaceError, in_a_new_one};
use super::netlink::{Netlink, NetlinkError};
use super::setting::{Loss, Rate, Setting};
use super::wire::Kind;
use crate::sample::Cause;

/// The kernel may have to load a module first. The agent starts without what it does not know by then.
const PATIENCE: Duration = Duration::from_secs(3);
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
    /// Tries both, on threads of its own. It takes seconds where the kernel does not answer.
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
        let tbf = works(rate);
        // Who did not answer once would be waited for once more in vain.
        let netem = match &tbf {
            Err(error) if error.is_late() => Err(Lack::of(error)),
            Ok(()) | Err(_) => works(all).map_err(|e| Lack::of(&e)),
        };
        Features {
            netem,
            tbf: tbf.map_err(|e| Lack::of(&e)),
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

fn works(setting: Setting) -> Result<(), NamespaceError> {
    in_a_new_one(PATIENCE, move |netlink: &mut Netlink| {
        netlink.set(LOOPBACK, &setting)
    })?;
    Ok(())
}

impl Lack {
    fn of(error: &NamespaceError) -> Self {
        use rustix::io::Errno;
        let cause = match error {
            NamespaceError::Netlink(NetlinkError::NoModule(_)) => Cause::Absent,
            NamespaceError::Enter { error, .. }
            | NamespaceError::Netlink(NetlinkError::Kernel { error, .. })
                if [Errno::PERM, Errno::ACCESS].contains(error) =>
            {
                Cause::Denied
            }
            _ => Cause::Failed,
        };
        let words = match error.is_late() {
            true => "the kernel did not answer when the agent started".to_owned(),
            false => error.to_string(),
        };
        Lack { words, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_answer_is_said_to() {
        let lack = Lack::of(&NamespaceError::Late(PATIENCE));
        assert_eq!(
            lack.to_string(),
            "the kernel did not answer when the agent started"
        );
        assert_eq!(lack.cause, Cause::Failed);
    }
}
