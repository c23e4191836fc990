//! Why scope-totals said nothing.

use std::{io, path::PathBuf, time::Duration};

use scope_totals_wire::{MAX_FLEET, Reason, VERSION};

/// Why there is no answer, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(
        "the ConfigMap {config_map} in the namespace {namespace} does not say yet how to reach scope-totals \
         ({key} is missing): see whether it runs (kubectl get pods -A -l app.kubernetes.io/name=scope-totals)"
    )]
    NotPublished {
        namespace: String,
        config_map: String,
        key: &'static str,
    },
    #[error(
        "{key} in the ConfigMap {config_map} of the namespace {namespace} is not {wanted}: delete that key, and \
         scope-totals writes it anew"
    )]
    Malformed {
        namespace: String,
        config_map: String,
        key: &'static str,
        wanted: &'static str,
    },
    #[error(
        "the operator's token for scope-totals cannot be read from {}: {source}; upgrade the chart, which mounts \
         it", path.display()
    )]
    Token { path: PathBuf, source: io::Error },
    #[error(
        "cannot connect to scope-totals at {address}: {source}; see whether it runs and whether a network policy \
         lets the operator reach its port 8443"
    )]
    Connect { address: String, source: io::Error },
    #[error(
        "what answers at {address} is not scope-totals, as far as its certificate says: {source}; see the log of \
         scope-totals for its certificate"
    )]
    Handshake { address: String, source: io::Error },
    #[error(
        "scope-totals did not {what} within {} s; see its log and its CPU", limit.as_secs()
    )]
    Late { what: &'static str, limit: Duration },
    #[error("the connection to scope-totals ended before the answer: {0}; see its log")]
    Cut(#[from] hyper::Error),
    #[error(
        "the answer of scope-totals has more than {MAX_FLEET} bytes: bring it and the operator to the same \
         release"
    )]
    TooLarge,
    #[error(
        "scope-totals answered what the operator cannot read ({0}): bring them to the same release"
    )]
    NotAnAnswer(String),
    #[error(
        "scope-totals answered in version {0}, and the operator reads {VERSION}: bring them to the same release"
    )]
    Version(u32),
    #[error("scope-totals refused to answer: {message}")]
    Refused { reason: Reason, message: String },
}

impl AskError {
    /// In one word, for the condition and the metric.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotPublished { .. } => "TotalsNotPublished",
            Self::Malformed { .. } => "TotalsMalformed",
            Self::Token { .. } => "NoToken",
            Self::Connect { .. } => "TotalsUnreachable",
            Self::Handshake { .. } => "TotalsNotTrusted",
            Self::Late { .. } => "TotalsLate",
            Self::Cut(_) => "TotalsCutOff",
            Self::TooLarge => "TotalsTooLarge",
            Self::NotAnAnswer(_) => "TotalsUnreadable",
            Self::Version(_) => "TotalsOfAnotherRelease",
            Self::Refused { reason, .. } => match reason {
                Reason::Standby => "TotalsStandby",
                _ => "TotalsRefused",
            },
        }
    }
}

/// Of what somebody else says so many characters are told.
const MAX_WORDS: usize = 240;

/// What somebody else says, as one line that is not long.
pub(super) fn words(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_WORDS).collect()
}
