//! The JSON reader of the probe, as lenient and as forgetful as Scope's
//! (`vendor/github.com/ugorji/go/codec/json.go`).
//!
//! It is no validating parser: it pulls tokens, and only what the wanted type makes it look at can
//! be wrong. So `{"label":}` is an empty label, `["a",]` has two members, `"5"` is a number, and
//! `{` where a text is wanted is found out one token later. Whoever wants Scope's verdict has to
//! read the same way; what passes here without being JSON is remembered in [`Codec::oddity`].
//!
//! After an error the reader can be used on: that is what Scope does with errors inside a node.
//! Every step forward consumes input, with one exception that has a [`Kind`] of its own, so reading
//! is linear whatever the input is; and nothing recurses over untyped values.

mod numbers;
mod quoted;
mod skip;
pub(super) mod stumble;

use std::borrow::Cow;

use stumble::{Kind, Stumble};

/// What is behind the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The body's proper end.
    Whole,
    /// The connection broke before the promised length.
    Cut,
    /// More than the probe reads.
    TooLarge,
}

/// What the next value looks like from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Text,
    Null,
    /// A number, a boolean, or nothing that starts a value.
    Other,
}

/// Which separator comes next in an open object or array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    ObjectStart,
    ArrayStart,
    Inside,
}

/// The reader.
pub(super) struct Codec<'a> {
    body: &'a [u8],
    end: End,
    pos: usize,
    /// The byte after white space that was looked at and not yet used; 0 for none. A NUL byte in
    /// the body is therefore skipped like white space.
    token: u8,
    place: Place,
    /// The last byte was put back: a second one cannot be.
    put_back: bool,
    /// Where a plain value was wanted and nothing of one was found.
    hollow: Option<usize>,
    /// The first thing that is no JSON and yet passes.
    oddity: Option<(usize, &'static str)>,
    /// The deepest nesting of untyped values so far.
    depth: usize,
}

impl<'a> Codec<'a> {
    pub(super) fn new(body: &'a [u8], end: End) -> Self {
        Codec {
            body,
            end,
            pos: 0,
            token: 0,
            place: Place::Inside,
            put_back: false,
            hollow: None,
            oddity: None,
            depth: 0,
        }
    }

    /// How many bytes were read; the offset of the byte in hand is one less.
    pub(super) fn consumed(&self) -> usize {
        self.pos
    }

    /// What passed without being JSON, with its offset.
    pub(super) fn oddity(&self) -> Option<(usize, &'static str)> {
        self.oddity
    }

    /// The deepest nesting of values that nobody wants.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The offset of the next value. Looks ahead without using anything up.
    pub(super) fn offset(&self) -> usize {
        if self.token != 0 {
            return self.pos - 1;
        }
        let rest = &self.body[self.pos..];
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        self.pos + rest.iter().take_while(|b| blank(b)).count()
    }

    /// Takes a `null` if one is next.
    pub(super) fn null(&mut self) -> Result<bool, Stumble> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.literal(b"ull")?;
        Ok(true)
    }

    pub(super) fn shape(&mut self) -> Result<Shape, Stumble> {
        Ok(match self.peek()? {
            b'{' => Shape::Object,
            b'[' => Shape::Array,
            b'"' => Shape::Text,
            b'n' => Shape::Null,
            _ => Shape::Other,
        })
    }

    pub(super) fn open_object(&mut self) -> Result<(), Stumble> {
        self.open(b'{', Place::ObjectStart)
    }

    pub(super) fn open_array(&mut self) -> Result<(), Stumble> {
        self.open(b'[', Place::ArrayStart)
    }

    fn open(&mut self, bracket: u8, place: Place) -> Result<(), Stumble> {
        let token = self.peek()?;
        if token != bracket {
            return Err(self.mismatch(bracket, token));
        }
        self.token = 0;
        self.place = place;
        Ok(())
    }

    /// Whether the open object or array ends here. Either bracket will do; the wrong one is found
    /// out by [`Codec::close_object`] or [`Codec::close_array`].
    pub(super) fn at_end(&mut self) -> Result<bool, Stumble> {
        Ok(matches!(self.peek()?, b'}' | b']'))
    }

    /// Whether the byte in hand is a comma.
    pub(super) fn at_comma(&self) -> bool {
        self.token == b','
    }

    pub(super) fn before_key(&mut self) -> Result<(), Stumble> {
        self.separator(if self.place == Place::ObjectStart {
            0
        } else {
            b','
        })
    }

    pub(super) fn before_value(&mut self) -> Result<(), Stumble> {
        self.separator(b':')
    }

    pub(super) fn before_element(&mut self) -> Result<(), Stumble> {
        self.separator(if self.place == Place::ArrayStart {
            0
        } else {
            b','
        })
    }

    pub(super) fn close_object(&mut self) -> Result<(), Stumble> {
        self.separator(b'}')
    }

    pub(super) fn close_array(&mut self) -> Result<(), Stumble> {
        self.separator(b']')
    }

    fn separator(&mut self, wanted: u8) -> Result<(), Stumble> {
        let token = self.peek()?;
        if wanted != 0 {
            if token != wanted {
                return Err(self.mismatch(wanted, token));
            }
            self.token = 0;
        }
        self.place = Place::Inside;
        Ok(())
    }

    /// A text. Numbers, `true`, `false` and even nothing at all will do.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Stumble> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'n' => self.literal(b"ull").map(|()| Cow::Borrowed("")),
            b't' => self.literal(b"rue").map(|()| Cow::Borrowed("true")),
            b'f' => self.literal(b"alse").map(|()| Cow::Borrowed("false")),
            _ => {
                let digits = self.digits()?;
                if digits.is_empty() {
                    self.nothing_found();
                }
                Ok(String::from_utf8_lossy(digits))
            }
        }
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Stumble> {
        match self.peek()? {
            b't' => self.literal(b"rue").map(|()| true),
            b'f' => self.literal(b"alse").map(|()| false),
            other => {
                let words = format!("json: decode bool: got first char {}", char::from(other));
                Err(self.stumble(Kind::Type, &words))
            }
        }
    }

    /// The bytes of a value as they are, its quotes included. The probe parses times like this,
    /// so an escape in a time is an error.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Stumble> {
        if self.token != 0 {
            self.put_back()?;
            self.token = 0;
        }
        let start = self.pos;
        self.skip()?;
        Ok(&self.body[start.min(self.pos)..self.pos])
    }

    /// The digits of a number, or what is between the next two quotes.
    fn digits(&mut self) -> Result<&'a [u8], Stumble> {
        let quoted = self.peek()? == b'"';
        let digits = if quoted {
            let start = self.pos;
            self.until_quote()?;
            &self.body[start..self.pos - 1]
        } else {
            self.put_back()?;
            let start = self.pos;
            loop {
                match self.next()? {
                    Some(b'0'..=b'9' | b'e' | b'E' | b'.' | b'+' | b'-') => {}
                    Some(_) => {
                        self.put_back()?;
                        break;
                    }
                    None => break,
                }
            }
            let digits = &self.body[start..self.pos];
            if !digits.is_empty() && !numbers::is_json(digits) {
                self.odd(start, "a number that is not written as in JSON");
            }
            digits
        };
        self.token = 0;
        Ok(digits)
    }

    fn nothing_found(&mut self) {
        self.hollow = Some(self.pos);
        if let Some(b',' | b':' | b'}' | b']') = self.body.get(self.pos) {
            self.odd(self.pos, "a value or key is missing");
        }
    }

    fn odd(&mut self, offset: usize, what: &'static str) {
        self.oddity.get_or_insert((offset, what));
    }

    /// Reads up to and with the next quote.
    fn until_quote(&mut self) -> Result<(), Stumble> {
        match self.body[self.pos..].iter().position(|&b| b == b'"') {
            Some(at) => {
                self.pos += at + 1;
                self.put_back = false;
                Ok(())
            }
            None => {
                self.pos = self.body.len();
                Err(self.out_of_input("EOF"))
            }
        }
    }

    /// Reads the rest of `null`, `true` or `false`.
    fn literal(&mut self, rest: &'static [u8]) -> Result<(), Stumble> {
        let left = &self.body[self.pos..];
        let Some(found) = left.get(..rest.len()) else {
            let words = if left.is_empty() {
                "EOF"
            } else {
                "unexpected EOF"
            };
            // What was left is gone, and the probe's count of bytes does not contain it.
            self.body = &self.body[..self.pos];
            return Err(self.out_of_input(words));
        };
        self.pos += rest.len();
        self.put_back = false;
        self.token = 0;
        if found != rest {
            let (rest, found) = (
                String::from_utf8_lossy(rest),
                String::from_utf8_lossy(found),
            );
            let words = format!("json: expecting {rest}: got {found}");
            return Err(self.stumble(Kind::Syntax, &words));
        }
        Ok(())
    }

    /// The next byte that is no white space, kept in hand; 0 at the end.
    fn peek(&mut self) -> Result<u8, Stumble> {
        while self.token == 0 {
            match self.next()? {
                None => return Ok(0),
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(0) => {
                    self.odd(self.pos - 1, "a NUL byte");
                    // In the probe this one ends the look for a token, with none found.
                    return Ok(0);
                }
                Some(token) => self.token = token,
            }
        }
        Ok(self.token)
    }

    fn next(&mut self) -> Result<Option<u8>, Stumble> {
        match self.body.get(self.pos) {
            Some(&byte) => {
                self.pos += 1;
                self.put_back = false;
                Ok(Some(byte))
            }
            None if self.end == End::Whole => Ok(None),
            None => Err(self.out_of_input("EOF")),
        }
    }

    fn put_back(&mut self) -> Result<(), Stumble> {
        let words = match (self.pos, self.put_back) {
            (0, _) => "cannot unread - nothing has been read",
            (_, true) => "cannot unread - last byte has not been read",
            (_, false) => {
                self.pos -= 1;
                self.put_back = true;
                return Ok(());
            }
        };
        Err(Stumble {
            offset: self.pos,
            kind: Kind::Syntax,
            words: words.to_owned(),
        })
    }
}
