//! HTTP over the plugin's socket, as Go 1.16's client speaks it.

mod body;
mod client;
mod connection;
mod gunzip;
mod head;
mod request;
mod watch;

pub use client::Exchange;
pub(crate) use client::{Client, Failure};
pub(crate) use request::{Request, control_body};
pub use watch::TIME_LIMIT;

/// Why an exchange failed before its body was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The time is up.
    Deadline,
    /// The connection ended before the first byte of an answer came; on a kept connection the
    /// request may be sent again.
    NoAnswer(String),
    /// Nothing could be written; on a kept connection the request is sent again.
    NothingWritten(String),
    /// Anything else, in Go's words.
    Text(String),
}

/// The words of a system error as Go writes them.
fn errno_words(error: &std::io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_ascii_lowercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}
