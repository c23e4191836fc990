//! Errors of the reader: where, of what kind, and in the probe's own words.

use super::{Codec, End};

/// Why the reader cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::conformance) struct Stumble {
    /// Where in the body.
    pub(in crate::conformance) offset: usize,
    /// What kind of mistake it is.
    pub(in crate::conformance) kind: Kind,
    /// The probe's own words for it.
    pub(in crate::conformance) words: String,
}

/// The kinds of stumble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::conformance) enum Kind {
    /// Not JSON.
    Syntax,
    /// JSON, but of another type than is wanted.
    Type,
    /// No integer literal, or out of range.
    Integer,
    /// No number, or out of range.
    Number,
    /// No time.
    Time,
    /// The body was cut.
    Cut,
    /// The body is larger than the probe reads.
    TooLarge,
    /// The probe never gets to the end.
    Endless,
}

impl Codec<'_> {
    pub(super) fn out_of_input(&self, words: &str) -> Stumble {
        let (kind, words) = match self.end {
            End::Whole => (Kind::Syntax, words),
            End::Cut => (Kind::Cut, "unexpected EOF"),
            End::TooLarge => (Kind::TooLarge, "response must be shorter than 50MB"),
        };
        Stumble {
            offset: self.body.len(),
            kind,
            words: words.to_owned(),
        }
    }

    pub(super) fn mismatch(&self, wanted: u8, found: u8) -> Stumble {
        let words = format!(
            "json: expect char '{}' but got char '{}'",
            char::from(wanted),
            char::from(found)
        );
        let at = self.pos.saturating_sub(1);
        let kind = match found {
            // The value before was looked for here and not found, since it is of another type.
            b'{' | b'[' if self.hollow == Some(at) => Kind::Type,
            b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f'
                if matches!(wanted, b'{' | b'[') =>
            {
                Kind::Type
            }
            _ => Kind::Syntax,
        };
        self.stumble(kind, &words)
    }

    pub(super) fn stumble(&self, kind: Kind, words: &str) -> Stumble {
        Stumble {
            offset: self.pos.saturating_sub(usize::from(self.token != 0)),
            kind,
            words: format!("[pos {}]: {words}", self.pos),
        }
    }

    /// The kind of a stumble over the next value, which is neither object nor array.
    pub(in crate::conformance) fn kind_of_other(&mut self) -> Kind {
        match self.peek() {
            Ok(b'"' | b'-' | b'0'..=b'9' | b't' | b'f') => Kind::Type,
            _ => Kind::Syntax,
        }
    }

    /// A stumble about a value that was read in full.
    pub(in crate::conformance) fn refuse(&self, offset: usize, kind: Kind, words: &str) -> Stumble {
        Stumble {
            offset,
            kind,
            words: words.to_owned(),
        }
    }
}
