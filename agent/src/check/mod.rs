//! Asking a plugin as Scope's probe does, and judging its answer by Scope's rules.

mod click;
mod exchange;
mod redirect;

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use scope_protocol::REQUEST_DEADLINE;
use scope_protocol::conformance::{self, Verdict};

use crate::exit;

pub use click::{Clicked, click};

/// The ID under which the command `check` asks: of the form of a probe's, since a plugin may insist on
/// it. An agent does not take it for a probe.
pub const CHECKER: &str = "5c09ec4ec4";

/// How long an answer is waited for. The probe gives up after half a second; a check that waits
/// longer can say how slow the plugin is instead of just that it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a plugin could not even be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing there.
    #[error("{path} does not exist: is the plugin running, and is this where its socket is?")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else there.
    #[error("{path} is not a socket; Scope looks at sockets only")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// Left behind.
    #[error(
        "nobody serves {path}: the plugin ended without removing its socket. Start it again, or \
         remove the file"
    )]
    Refused {
        /// The path.
        path: PathBuf,
    },
    /// No rights.
    #[error("{path} may not be opened: {source}. Scope's probe runs as root; try that")]
    Denied {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot connect to {path}: {said}")]
    Unreachable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        said: String,
    },
}

impl AskError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            AskError::Missing { .. } | AskError::NoSocket { .. } => exit::NO_INPUT,
            AskError::Denied { .. } => exit::NO_PERMISSION,
            AskError::Refused { .. } | AskError::Unreachable { .. } => exit::UNAVAILABLE,
        }
    }
}

/// What a plugin did when asked for a report.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The answer, or why there is none.
    pub reply: Result<Reply, String>,
    /// URLs of the redirects that were followed, in order. Each was asked of the same socket, as the
    /// probe does it.
    pub redirects: Vec<String>,
    /// From before the connection was made to the last byte, or to the end of patience.
    pub elapsed: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, unpacked; of a longer one as much as the probe reads and a byte.
    pub body: Bytes,
    /// Why not all of the body is there; `None` when all is that the head promised.
    pub gap: Option<Gap>,
    /// Bytes of the body that came, as sent.
    pub came: usize,
    /// Bytes that the head promised; `None` when it gave no length.
    pub promised: Option<u64>,
    /// Bytes of the body that had come when the probe gives up; `None` when not even the head had.
    pub in_time: Option<usize>,
}

/// Why a body is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The connection ended first.
    Closed,
    /// The end did not come before patience ended.
    Stalled,
    /// It came as promised, and is no gzip to its end.
    Unpackable,
}

impl Reply {
    /// What came and what is missing, where something is: a clause without a full stop.
    pub fn missing(&self) -> Option<String> {
        let came = match self.promised {
            Some(promised) => format!("{} of {promised} bytes of the body", self.came),
            None => format!("{} bytes of the body", self.came),
        };
        let how = match self.gap? {
            Gap::Closed if self.promised.is_none() => {
                "then the connection ended, without the end that a chunked body has".to_owned()
            }
            Gap::Closed => "then the connection ended".to_owned(),
            Gap::Stalled => format!("and no end of it within {} s", PATIENCE.as_secs()),
            Gap::Unpackable => "which are no whole gzip, as the head says they are".to_owned(),
        };
        Some(format!("the head ({}) and {came} came, {how}", self.status))
    }
}

impl Answer {
    /// The length of the body; 0 without one.
    pub fn body_length(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.body.len())
    }

    /// Whether it is a whole answer with the right status, in the probe's time.
    pub fn arrived_in_time(&self) -> bool {
        self.elapsed < REQUEST_DEADLINE
            && matches!(
                &self.reply,
                Ok(Reply {
                    status: StatusCode::OK,
                    gap: None,
                    ..
                })
            )
    }

    /// What a person should know besides the verdict, a clause each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.redirects.is_empty() {
            notes.push(format!(
                "redirected, as the probe follows it on the same socket, to {}",
                self.redirects.join(", then to ")
            ));
        }
        if let Ok(reply) = &self.reply {
            notes.extend(reply.missing());
            if self.elapsed >= REQUEST_DEADLINE {
                let had_come = match reply.in_time {
                    None => "not even the head of the answer had come".to_owned(),
                    Some(bytes) => format!("the head and {bytes} bytes of the body had come"),
                };
                notes.push(format!(
                    "when the probe gives up, after {} ms, {had_come}",
                    REQUEST_DEADLINE.as_millis()
                ));
            }
        }
        notes
    }
}

/// Asks the plugin behind this socket for a report, with the bytes that Scope 1.13.2 sends.
pub async fn ask(socket: &Path, probe_id: &str) -> Result<Answer, AskError> {
    must_be_socket(socket)?;
    exchange::exchange(socket, probe_id)
        .await
        .map_err(|e| connect_error(socket, e))
}

fn must_be_socket(path: &Path) -> Result<(), AskError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(()),
        Ok(_) => Err(AskError::NoSocket {
            path: path.to_owned(),
        }),
        Err(e) => Err(connect_error(path, e)),
    }
}

/// What Scope makes of the answer of the plugin at this socket.
pub fn judge(socket: &Path, answer: &Answer) -> Verdict {
    let socket = socket.to_string_lossy();
    match &answer.reply {
        Err(why) => conformance::check_unanswered(&socket, why, answer.elapsed),
        Ok(reply) => conformance::check_report(
            &socket,
            &conformance::Answer {
                status: reply.status.as_u16(),
                reason: reply.status.canonical_reason().unwrap_or_default(),
                body: &reply.body,
                whole: reply.gap.is_none(),
                elapsed: answer.elapsed,
            },
        ),
    }
}

fn connect_error(path: &Path, error: io::Error) -> AskError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => AskError::Missing { path },
        io::ErrorKind::ConnectionRefused => AskError::Refused { path },
        io::ErrorKind::PermissionDenied => AskError::Denied {
            path,
            source: error,
        },
        _ => AskError::Unreachable {
            path,
            said: error.to_string(),
        },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
