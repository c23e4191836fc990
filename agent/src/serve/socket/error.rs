//! What may be wrong with the plugin's directory and its sockets, in a sentence each.

use std::path::{Path, PathBuf};

use super::{MAX_ATTEMPTS, MAX_SOCKET_PATH};
use crate::exit;

/// Why the sockets cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error(
        "the socket path {path} has {length} bytes, and a socket path may have {MAX_SOCKET_PATH}: \
         choose a shorter plugin directory or plugin ID"
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Another instance holds the lock.
    #[error(
        "another live scope-agent{} serves plugin {id} (it holds the lock {path}): stop it first, \
         or give this one another --plugin-id or --plugin-dir",
        pid.map(|p| format!(" (pid {p})")).unwrap_or_default()
    )]
    LiveInstance {
        /// The plugin ID.
        id: String,
        /// The lock file.
        path: PathBuf,
        /// Who wrote itself into it.
        pid: Option<u32>,
    },
    /// Somebody answers on the socket without holding our lock.
    #[error(
        "another live process serves the socket {path}: stop it first, or give this agent another \
         --plugin-id"
    )]
    LivePeer {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket has the socket's name.
    #[error("{path} is {what}, where the plugin's socket must be: remove it")]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The plugin's directory is a link or a file.
    #[error("{path} is {what}, not a directory of its own: remove it")]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The plugin's directory belongs to another user.
    #[error("{path} belongs to user {owner}, not to user {me} who runs this agent: remove it")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Us.
        me: u32,
    },
    /// An operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user who runs the agent may not do it.
    #[error(
        "cannot {action} {path}: {source}; run as root, or choose a directory with --plugin-dir"
    )]
    Denied {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory or lock file vanished again and again.
    #[error("{path} was removed by others while it was made, {MAX_ATTEMPTS} times in a row")]
    Unstable {
        /// The directory.
        path: PathBuf,
    },
    /// A socket that we serve is no longer there under its name.
    #[error(
        "the socket {path} was removed or replaced by somebody else: ending, so that a restart \
         makes it anew"
    )]
    Lost {
        /// The socket.
        path: PathBuf,
    },
}

impl SocketError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            SocketError::PathTooLong { .. } => exit::CONFIG,
            SocketError::LiveInstance { .. }
            | SocketError::LivePeer { .. }
            | SocketError::Unstable { .. }
            | SocketError::Lost { .. } => exit::TEMPORARY,
            _ => exit::CANNOT_CREATE,
        }
    }

    /// An operation failed for the user who runs this.
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        SocketError::of_user(is_root, action, path.to_owned(), source.into())
    }

    /// Root is not told to be root: it lacks capabilities, or the file system says no.
    fn of_user(
        is_root: bool,
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    ) -> SocketError {
        match source.kind() {
            std::io::ErrorKind::PermissionDenied if !is_root => SocketError::Denied {
                action,
                path,
                source,
            },
            _ => SocketError::Io {
                action,
                path,
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn whoever_is_not_root_is_told_what_to_do() {
        let hint = "; run as root, or choose a directory with --plugin-dir";
        for (is_root, said, hint) in [
            (false, Errno::ACCESS, hint),
            (false, Errno::PERM, hint),
            (false, Errno::ROFS, ""),
            (true, Errno::ACCESS, ""),
        ] {
            let path = PathBuf::from("/var/run/scope/plugins/x");
            let error = SocketError::of_user(is_root, "make the directory", path, said.into());
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot make the directory /var/run/scope/plugins/x: {}{hint}",
                    std::io::Error::from(said)
                )
            );
            assert_eq!(error.exit_code(), exit::CANNOT_CREATE);
        }
    }
}
