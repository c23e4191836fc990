//! Decoding a plugin's answer the way Scope's codec does (`ugorji/go` of September 2017).
//!
//! That codec is not a JSON parser in the usual sense. It reads the stream token by token into the
//! type it expects, asks for a separator only where one of its own containers needs it, takes almost
//! any scalar for a text, and recovers from an error at several places *inside* the document: a node,
//! the list of plugins, the children of a node and the words of a set swallow their own errors, after
//! which reading goes on wherever the stream happened to stand. What then comes out, another error or
//! a garbled report, follows from the exact order of reads, so that order is kept here:
//!
//! * [`feed`]: bytes, one by one, with the codec's single step back;
//! * [`scanner`]: tokens, containers, and skipping;
//! * [`report`], [`node`], [`answer`]: the types.
//!
//! Known to differ: numbers in hexadecimal (in quotes) are refused; a control answer's `value`, or a
//! key inside it, that is given twice is replaced, where Scope insists on the type of the first; more than [`MAX_DEPTH`](scanner::MAX_DEPTH) levels of children are refused in words of the
//! emulator's own.

mod answer;
mod feed;
mod node;
mod report;
mod scanner;
mod value;

pub use answer::Answer;
pub(crate) use feed::{Feed, Source, Stop};
pub use value::Value;

use crate::report::Report;
use crate::stamp::Stamp;
use scanner::Scanner;

/// Why an answer could not be decoded, in Scope's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body has more than 50 MB.
    #[error("response must be shorter than 50MB")]
    TooLarge,
    /// The decoder never comes back. Scope's probe then takes more and more memory until the system
    /// kills it.
    #[error(
        "the probe's decoder goes round in circles for ever: a list of words ends after a comma"
    )]
    Endless,
    /// Anything else.
    #[error("decoding error: {0}")]
    Malformed(String),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TooLarge => Refusal::TooLarge,
            Stop::Endless => Refusal::Endless,
            Stop::Text(text) => Refusal::Malformed(text),
        }
    }
}

/// Stack for decoding: [`scanner::MAX_DEPTH`] levels of children need about 3 MiB of it without optimisation.
const STACK: usize = 16 << 20;

/// Decodes on a stack that is large enough, whoever calls.
fn on_own_stack<T: Send>(decode: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("scope-decode".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, decode);
        match worker.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(decoded)) => decoded,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => panic!("no thread to decode in: {error}"),
        }
    })
}

/// Decodes the body of a report into Scope's pre-filled empty one. `now` is the time that counters
/// are stamped with.
pub(crate) fn read_report(feed: &mut Feed<'_>, now: Stamp) -> Result<Report, Refusal> {
    on_own_stack(move || {
        let mut scanner = Scanner::new(feed, now);
        let mut report = Report::empty();
        if !scanner.try_null()? {
            report::read(&mut scanner, &mut report)?;
        }
        Ok(report)
    })
    .map_err(Stop::into)
}

/// Decodes the body of a control answer.
pub(crate) fn read_answer(feed: &mut Feed<'_>, now: Stamp) -> Result<Answer, Refusal> {
    on_own_stack(move || {
        let mut scanner = Scanner::new(feed, now);
        let mut answer = Answer::default();
        if !scanner.try_null()? {
            answer::read(&mut scanner, &mut answer)?;
        }
        Ok(answer)
    })
    .map_err(Stop::into)
}

/// Decodes a report's body that is all there.
///
/// # Errors
///
/// What the probe would show as the plugin's status, without the leading `error: `.
pub fn decode_report(body: &[u8], now: Stamp) -> Result<Report, Refusal> {
    read_report(&mut Feed::new(&mut feed::Whole::new(body)), now)
}

/// Decodes a control answer's body that is all there.
///
/// # Errors
///
/// What the user would see after a click.
pub fn decode_answer(body: &[u8], now: Stamp) -> Result<Answer, Refusal> {
    read_answer(&mut Feed::new(&mut feed::Whole::new(body)), now)
}

#[cfg(test)]
mod tests;
