//! The codec's view of JSON: tokens and places in containers here, [`scalars`] and [`containers`] in
//! files of their own.

mod containers;
mod scalars;

use super::feed::{Feed, Stop};
use crate::gotext;
use crate::stamp::Stamp;

/// How deep children and values may be nested. Scope's probe takes some 300,000 levels, slowly, and
/// dies of the next; nothing that is meant to be shown needs more than a few.
pub(crate) const MAX_DEPTH: usize = 500;

/// Room for a number given where a text is wanted, until a longer text has made more.
const SCRATCH: usize = 64;

/// Moves inside containers after the end of the body that count as going round in circles. A body cut
/// off after a comma in a list of words sends the codec into an endless loop: it takes the end for
/// an empty number, steps back onto the comma, and reads on. Whatever does end takes a few moves for
/// each level of nesting.
const ENDLESS: usize = 100 * MAX_DEPTH;

/// What the stream stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Map,
    Array,
    Text,
    Null,
    Other,
}

/// The place inside a container that reading has come to or moves on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Before everything.
    Nowhere,
    MapStart,
    ArrayStart,
    Key,
    Value,
    Item,
    MapEnd,
    ArrayEnd,
}

/// What happens to the items of an array that go beyond the fields of the structure wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Surplus {
    Skipped,
    /// The reader does not look for them and then misses the bracket.
    Unread,
}

/// A value of whatever type it has.
pub(super) enum Naked {
    Scalar(super::Value),
    Map,
    Array,
}

pub(super) struct Scanner<'a, 'b> {
    feed: &'a mut Feed<'b>,
    /// The first byte of the next token, once it has been looked at. Zero is "not yet", which makes
    /// the end of the stream, and zero bytes in it, look like "not yet" as well.
    token: u8,
    step: Step,
    scratch: usize,
    depth: usize,
    /// Moves since the body ended.
    moves: usize,
    pub(super) now: Stamp,
}

type Read<T = ()> = Result<T, Stop>;

impl<'a, 'b> Scanner<'a, 'b> {
    pub(super) fn new(feed: &'a mut Feed<'b>, now: Stamp) -> Self {
        Self {
            feed,
            token: 0,
            step: Step::Nowhere,
            scratch: SCRATCH,
            depth: 0,
            moves: 0,
            now,
        }
    }

    pub(super) fn fail<T>(&self, message: impl std::fmt::Display) -> Read<T> {
        Err(Stop::Text(format!(
            "[pos {}]: {message}",
            self.feed.position()
        )))
    }

    /// Looks at the next token.
    fn peek(&mut self) -> Read<u8> {
        if self.moves > ENDLESS {
            // Comes again and again, so that nobody can swallow it.
            return Err(Stop::Endless);
        }
        while self.token == 0 {
            match self.feed.byte()? {
                None => break,
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(0) => break,
                Some(byte) => self.token = byte,
            }
        }
        Ok(self.token)
    }

    /// Moves on inside a container, which takes a separator or bracket unless it has just begun.
    pub(super) fn step(&mut self, to: Step) -> Read {
        self.moves += usize::from(self.feed.has_ended());
        let found = self.peek()?;
        // After a swallowed error the last step may belong to quite another container.
        let wanted = match (to, self.step) {
            (Step::Key, Step::MapStart) | (Step::Item, Step::ArrayStart) => None,
            (Step::Key | Step::Item, _) => Some(','),
            (Step::Value, _) => Some(':'),
            (Step::MapEnd, _) => Some('}'),
            (Step::ArrayEnd, _) => Some(']'),
            (Step::Nowhere | Step::MapStart | Step::ArrayStart, _) => None,
        };
        if let Some(wanted) = wanted {
            self.expect(wanted, found)?;
        }
        self.step = to;
        Ok(())
    }

    fn expect(&mut self, wanted: char, found: u8) -> Read {
        let found = char::from(found);
        if found != wanted {
            return self.fail(format_args!(
                "json: expect char '{wanted}' but got char '{found}'"
            ));
        }
        self.token = 0;
        Ok(())
    }

    /// Whether a bracket of either kind comes next.
    pub(super) fn at_end(&mut self) -> Read<bool> {
        Ok(matches!(self.peek()?, b'}' | b']'))
    }

    pub(super) fn shape(&mut self) -> Read<Shape> {
        Ok(match self.peek()? {
            b'{' => Shape::Map,
            b'[' => Shape::Array,
            b'"' => Shape::Text,
            b'n' => Shape::Null,
            _ => Shape::Other,
        })
    }

    pub(super) fn open(&mut self, bracket: char) -> Read {
        let found = self.peek()?;
        self.expect(bracket, found)?;
        self.step = if bracket == '{' {
            Step::MapStart
        } else {
            Step::ArrayStart
        };
        Ok(())
    }

    fn literal<const N: usize>(&mut self, wanted: &[u8; N]) -> Read {
        let found = self.feed.exactly::<N>()?;
        self.token = 0;
        if found != *wanted {
            let (wanted, found) = (gotext::text(wanted), gotext::text(&found));
            return self.fail(format_args!("json: expecting {wanted}: got {found}"));
        }
        Ok(())
    }

    pub(super) fn try_null(&mut self) -> Read<bool> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.literal(b"ull")?;
        Ok(true)
    }

    /// Counts one level of nesting; [`Scanner::leave`] ends it.
    pub(super) fn enter(&mut self) -> Read {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format_args!(
                "nested more than {MAX_DEPTH} levels deep, where the emulator ends and Scope's probe \
                 is on the way to a stack overflow; send no such children"
            ));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }
}
