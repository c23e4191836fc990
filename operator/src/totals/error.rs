//! Why scope-totals said nothing.

use std::{error::Error, io, path::PathBuf, time::Duration};

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
    NotTrusted {
        address: String,
        source: rustls::Error,
    },
    #[error(
        "scope-totals did not {what} within {} s; see its log and its CPU", limit.as_secs()
    )]
    Late { what: &'static str, limit: Duration },
    #[error(
        "the connection to scope-totals at {address} broke off before the answer: {why}; see its log and whether \
         something stands between"
    )]
    Cut { address: String, why: String },
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
    #[error("{}: {message}; {}", refused(*reason).1, refused(*reason).2)]
    Refused { reason: Reason, message: String },
}

/// A refusal in one word for the condition and the metric, what it means, and what to do about it.
fn refused(reason: Reason) -> (&'static str, &'static str, &'static str) {
    match reason {
        Reason::Token => (
            "TotalsRefused",
            "scope-totals does not take the operator's token",
            "it has to be a token of the operator's ServiceAccount for the audience scope-totals",
        ),
        Reason::Account => (
            "TotalsRefused",
            "scope-totals does not take the operator for the operator",
            "its flag --operator-account has to name the operator's ServiceAccount",
        ),
        Reason::Busy | Reason::Rate => (
            "TotalsBusy",
            "scope-totals has no time for an answer now",
            "it is asked again in half a minute; if that lasts, give it more CPU",
        ),
        Reason::Standby => (
            "TotalsStandby",
            "the replica of scope-totals that was asked is not the active one",
            "if that does not end, see why its pods restart",
        ),
        _ => (
            "TotalsRefused",
            "scope-totals refused to answer",
            "bring it and the operator to the same release",
        ),
    }
}

impl AskError {
    /// In one word, for the condition and the metric.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotPublished { .. } => "TotalsNotPublished",
            Self::Malformed { .. } => "TotalsMalformed",
            Self::Token { .. } => "NoToken",
            Self::Connect { .. } => "TotalsUnreachable",
            Self::NotTrusted { .. } => "TotalsNotTrusted",
            Self::Late { .. } => "TotalsLate",
            Self::Cut { .. } => "TotalsCutOff",
            Self::TooLarge => "TotalsTooLarge",
            Self::NotAnAnswer(_) => "TotalsUnreadable",
            Self::Version(_) => "TotalsOfAnotherRelease",
            Self::Refused { reason, .. } => refused(*reason).0,
        }
    }

    /// The handshake failed. Whether the certificate is to blame, the TLS library says inside of the error.
    pub(super) fn handshake(address: &str, error: io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(source @ rustls::Error::InvalidCertificate(_)) => Self::NotTrusted {
                address: address.to_owned(),
                source: source.clone(),
            },
            _ => Self::cut(address, &error),
        }
    }

    /// The connection broke off.
    pub(super) fn cut(address: &str, error: &dyn Error) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_words = cause.to_string();
            // Some say what their cause says.
            if !why.ends_with(&cause_words) {
                why = format!("{why}: {cause_words}");
            }
            source = cause.source();
        }
        Self::Cut {
            address: address.to_owned(),
            why: words(&why),
        }
    }
}

/// Of what somebody else says so many characters are told.
const MAX_WORDS: usize = 240;

/// What somebody else says, as one line that is not long.
pub(super) fn words(text: &str) -> String {
    line(text, MAX_WORDS)
}

/// The first characters of what somebody else says, as one line.
pub(super) fn line(text: &str, most: usize) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(most).collect()
}
