//! What can go wrong in an exchange.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use scope_totals_wire::{MAX_REPLY, Reason};

/// Why there was no reply.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The service has not published yet how to reach it.
    #[error(
        "{} is not there or empty: does scope-totals run (values `totals.enabled` of the chart)?", .0.display()
    )]
    NotPublished(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has another content than it should.
    #[error("{} is not {wanted}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is nothing to report.
    #[error(
        "nothing was measured yet: the pods of this node, its CPUs or its memory are not known"
    )]
    NoSample,
    /// No connection.
    #[error("cannot connect to scope-totals at {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever answered there did not prove to be the service, or speaks no TLS 1.3.
    #[error(
        "what answers at {address} is not scope-totals, as far as its certificate says: {source}"
    )]
    Handshake {
        /// Where.
        address: String,
        /// What TLS said.
        source: io::Error,
    },
    /// It took too long.
    #[error("scope-totals did not {what} within {} s", limit.as_secs())]
    Late {
        /// What.
        what: &'static str,
        /// How long it could take.
        limit: Duration,
    },
    /// The connection ended.
    #[error("the connection to scope-totals ended: {0}")]
    Cut(#[from] hyper::Error),
    /// A reply that is too long.
    #[error("the reply of scope-totals has more than {MAX_REPLY} bytes: is it of another release?")]
    TooLarge,
    /// Not a reply.
    #[error(
        "scope-totals answered what is no reply ({0}): bring agents and operator to the same release"
    )]
    NotAReply(String),
    /// It refused the report.
    #[error("scope-totals refused the report: {message}")]
    Refused {
        /// Why, for programs.
        reason: Reason,
        /// Why, for people.
        message: String,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
}

/// Of what somebody else says so many characters are told.
const MAX_WORDS: usize = 240;

/// What somebody else says, as one line that is not long.
pub(super) fn words(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_WORDS).collect()
}

impl ExchangeError {
    /// A word for it: part of metrics.
    pub fn label(&self) -> &'static str {
        match self {
            ExchangeError::NotPublished(_) => "not_published",
            ExchangeError::Unreadable { .. } | ExchangeError::Malformed { .. } => "credentials",
            ExchangeError::NoSample => "no_sample",
            ExchangeError::Connect { .. } => "connect",
            ExchangeError::Handshake { .. } => "handshake",
            ExchangeError::Late { .. } => "late_answer",
            ExchangeError::Cut(_) => "cut",
            ExchangeError::TooLarge => "too_large",
            ExchangeError::NotAReply(_) => "not_a_reply",
            ExchangeError::Refused { reason, .. } => match reason {
                Reason::Token => "refused_token",
                Reason::Account => "refused_account",
                Reason::Version => "refused_version",
                Reason::Syntax => "refused_syntax",
                Reason::Value => "refused_value",
                Reason::Size => "refused_size",
                Reason::Slow => "refused_slow",
                Reason::Rate => "refused_rate",
                Reason::Busy => "refused_busy",
                Reason::Standby => "refused_standby",
                Reason::Off => "refused_off",
                Reason::Other => "refused_other",
            },
        }
    }
}
