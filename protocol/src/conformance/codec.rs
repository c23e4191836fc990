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

use std::borrow::Cow;

use super::names;
use super::numbers::{self, Fault};
use super::walk::shown;

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

/// Why the reader cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stumble {
    /// Where in the body.
    pub(super) offset: usize,
    /// What kind of mistake it is.
    pub(super) kind: Kind,
    /// The probe's own words for it.
    pub(super) words: String,
}

/// The kinds of stumble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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

    /// An integer; in quotes it will do as well.
    pub(super) fn int(&mut self) -> Result<i64, Stumble> {
        self.number(Kind::Integer, "int", "ParseInt", numbers::int)
    }

    /// An integer that is not negative; in quotes it will do as well.
    pub(super) fn uint(&mut self) -> Result<u64, Stumble> {
        self.number(Kind::Integer, "uint", "ParseUint", numbers::uint)
    }

    /// A number; in quotes it will do as well, and then `NaN` and `Inf` are numbers, too.
    pub(super) fn float(&mut self) -> Result<f64, Stumble> {
        self.number(Kind::Number, "float", "ParseFloat", numbers::float)
    }

    fn number<N>(
        &mut self,
        kind: Kind,
        name: &str,
        function: &str,
        parse: fn(&[u8]) -> Result<N, Fault>,
    ) -> Result<N, Stumble> {
        let offset = self.offset();
        let digits = self.digits()?;
        parse(digits).map_err(|fault| {
            let digits = shown(&String::from_utf8_lossy(digits)).into_owned();
            let quoted = names::go_quoted(&digits);
            let words = format!(
                "json: decode {name} from {digits}: strconv.{function}: parsing {quoted}: {fault}"
            );
            let kind = match self.body.get(offset) {
                Some(b'{' | b'[') => Kind::Type,
                _ => kind,
            };
            Stumble {
                offset,
                ..self.stumble(kind, &words)
            }
        })
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

    /// Reads over a value of any type, which must be sound as far as the probe looks at it.
    pub(super) fn skip(&mut self) -> Result<(), Stumble> {
        #[derive(Clone, Copy)]
        enum Open {
            Array,
            /// An object, a key of which was just read.
            Key,
            /// An object, a value of which was just read, or nothing yet.
            Value,
        }
        // One byte for each level, so never more memory than the body itself.
        let mut open: Vec<Open> = Vec::new();
        loop {
            // `null` is looked for on its own, as in the probe: a NUL byte ends one look.
            if !self.null()? {
                match self.shape()? {
                    Shape::Object => {
                        self.open_object()?;
                        open.push(Open::Value);
                    }
                    Shape::Array => {
                        self.open_array()?;
                        open.push(Open::Array);
                    }
                    Shape::Null => self.literal(b"ull")?,
                    Shape::Text => drop(self.quoted()?),
                    Shape::Other => self.untyped_scalar()?,
                }
            }
            self.depth = self.depth.max(open.len());
            loop {
                match open.last_mut() {
                    None => return Ok(()),
                    Some(state @ Open::Key) => {
                        *state = Open::Value;
                        self.before_value()?;
                        break;
                    }
                    Some(Open::Array) if self.at_end()? => {
                        self.close_array()?;
                        open.pop();
                    }
                    Some(Open::Array) => {
                        self.before_element()?;
                        break;
                    }
                    Some(Open::Value) if self.at_end()? => {
                        self.close_object()?;
                        open.pop();
                    }
                    Some(state @ Open::Value) => {
                        *state = Open::Key;
                        self.before_key()?;
                        break;
                    }
                }
            }
        }
    }

    fn untyped_scalar(&mut self) -> Result<(), Stumble> {
        match self.peek()? {
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            _ => {
                let offset = self.offset();
                let digits = self.digits()?;
                if digits.is_empty() {
                    let words = "json: decode number from empty string";
                    return Err(Stumble {
                        offset,
                        ..self.stumble(Kind::Syntax, words)
                    });
                }
                match numbers::float(digits) {
                    Ok(_) => Ok(()),
                    Err(fault) => {
                        let digits = shown(&String::from_utf8_lossy(digits)).into_owned();
                        let quoted = names::go_quoted(&digits);
                        let words = format!(
                            "json: decode number from {digits}: strconv.ParseFloat: parsing \
                             {quoted}: {fault}"
                        );
                        Err(Stumble {
                            offset,
                            ..self.stumble(Kind::Number, &words)
                        })
                    }
                }
            }
        }
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
            &self.body[start..self.pos]
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

    fn quoted(&mut self) -> Result<Cow<'a, str>, Stumble> {
        self.token = 0;
        let start = self.pos;
        let mut unescaped: Option<Vec<u8>> = None;
        // A quote ends a chunk. Whether it also ends the text is known when the chunk is read;
        // escapes are looked at within one chunk, and reaching over its end is an error.
        loop {
            let chunk_start = self.pos;
            self.until_quote()?;
            let chunk = &self.body[chunk_start..self.pos];
            if !chunk.contains(&b'\\') {
                let Some(mut text) = unescaped else {
                    return Ok(self.checked_utf8(start, &chunk[..chunk.len() - 1]));
                };
                text.extend_from_slice(&chunk[..chunk.len() - 1]);
                let text = self.checked_utf8(start, &text).into_owned();
                return Ok(Cow::Owned(text));
            }
            let text = unescaped.get_or_insert_default();
            if self.unescape(chunk, text)? {
                let text = std::mem::take(text);
                let text = self.checked_utf8(start, &text).into_owned();
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Appends a chunk without its last quote. Returns whether that quote ends the text.
    fn unescape(&mut self, chunk: &[u8], text: &mut Vec<u8>) -> Result<bool, Stumble> {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'"' => return Ok(true),
                b'\\' => {}
                other => {
                    text.push(other);
                    continue;
                }
            }
            // A chunk ends with a quote, so something follows the backslash.
            let Some((&escape, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            match escape {
                b'"' | b'\\' | b'/' => text.push(escape),
                b'\'' => {
                    self.odd(self.pos - rest.len() - 2, "\\' is no escape of JSON");
                    text.push(b'\'');
                }
                b'b' => text.push(8),
                b'f' => text.push(12),
                b'n' => text.push(b'\n'),
                b'r' => text.push(b'\r'),
                b't' => text.push(b'\t'),
                b'u' => {
                    let mut code = self.four_digits(chunk, &mut rest)?;
                    if (0xd800..0xe000).contains(&code) {
                        let [b'\\', b'u', after @ ..] = rest else {
                            let words = "json: unquoteStr: invalid unicode sequence. Expecting \\u";
                            return Err(self.stumble(Kind::Syntax, words));
                        };
                        rest = after;
                        let low = self.four_digits(chunk, &mut rest)?;
                        code = match (code, low) {
                            (0xd800..0xdc00, 0xdc00..0xe000) => {
                                0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                            }
                            _ => 0xfffd,
                        };
                    }
                    let decoded = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    text.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                }
                other => {
                    let words = format!("json: unsupported escaped value: {}", char::from(other));
                    return Err(self.stumble(Kind::Syntax, &words));
                }
            }
        }
        Ok(false)
    }

    /// Four digits of a `\u` escape. The probe takes all letters for digits.
    fn four_digits(&mut self, chunk: &[u8], rest: &mut &[u8]) -> Result<u32, Stumble> {
        let Some((digits, after)) = rest.split_at_checked(4) else {
            let len = chunk.len();
            let words = format!("runtime error: index out of range [{len}] with length {len}");
            return Err(Stumble {
                offset: self.pos - 1,
                kind: Kind::Syntax,
                words,
            });
        };
        *rest = after;
        let mut code = 0;
        for &digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'z' => digit - b'a' + 10,
                b'A'..=b'Z' => digit - b'A' + 10,
                other => {
                    let words = format!(
                        "json: unquoteStr: invalid hex char in \\u unicode sequence: {:?}",
                        char::from(other)
                    );
                    return Err(self.stumble(Kind::Syntax, &words));
                }
            };
            if value > 15 {
                self.odd(self.pos, "a \\u escape with letters after f");
            }
            code = code * 16 + u32::from(value);
        }
        Ok(code)
    }

    fn checked_utf8<'t>(&mut self, offset: usize, text: &'t [u8]) -> Cow<'t, str> {
        if text.iter().any(|&b| b < 0x20) && self.body[offset..self.pos].iter().any(|&b| b < 0x20) {
            self.odd(offset, "a control character that is not escaped");
        }
        let text = String::from_utf8_lossy(text);
        if let Cow::Owned(_) = text {
            self.odd(offset, "bytes that are no UTF-8");
        }
        text
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

    fn out_of_input(&self, words: &str) -> Stumble {
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

    fn mismatch(&self, wanted: u8, found: u8) -> Stumble {
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

    fn stumble(&self, kind: Kind, words: &str) -> Stumble {
        Stumble {
            offset: self.pos.saturating_sub(usize::from(self.token != 0)),
            kind,
            words: format!("[pos {}]: {words}", self.pos),
        }
    }

    /// The kind of a stumble over the next value, which is neither object nor array.
    pub(super) fn kind_of_other(&mut self) -> Kind {
        match self.peek() {
            Ok(b'"' | b'-' | b'0'..=b'9' | b't' | b'f') => Kind::Type,
            _ => Kind::Syntax,
        }
    }

    /// A stumble about a value that was read in full.
    pub(super) fn refuse(&self, offset: usize, kind: Kind, words: &str) -> Stumble {
        Stumble {
            offset,
            kind,
            words: words.to_owned(),
        }
    }
}
