//! Tokens, containers, scalars: the codec's view of JSON.

use super::feed::{Feed, Stop};
use crate::gotext::{self, NumberFault};
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

    pub(super) fn boolean(&mut self) -> Read<bool> {
        match self.peek()? {
            b'f' => self.literal(b"alse").map(|()| false),
            b't' => self.literal(b"rue").map(|()| true),
            other => {
                let other = char::from(other);
                self.fail(format_args!("json: decode bool: got first char {other}"))
            }
        }
    }

    /// The text of a number: what is in quotes, or the longest run of characters that numbers have,
    /// which may be none at all.
    fn number_text(&mut self) -> Read<Vec<u8>> {
        let mut out = Vec::new();
        if self.peek()? == b'"' {
            self.feed.until(b'"', &mut out)?;
            out.pop();
        } else {
            self.feed.unread()?;
            while let Some(byte) = self.feed.byte()? {
                if !matches!(byte, b'0'..=b'9' | b'e' | b'E' | b'.' | b'+' | b'-') {
                    self.feed.unread()?;
                    break;
                }
                out.push(byte);
            }
        }
        self.token = 0;
        Ok(out)
    }

    fn number<T>(
        &mut self,
        kind: &str,
        function: &str,
        parse: impl Fn(&str) -> Result<T, NumberFault>,
    ) -> Read<T> {
        let text = gotext::text(&self.number_text()?);
        parse(&text).or_else(|fault| {
            let words = fault.words(function, &text);
            self.fail(format_args!("json: decode {kind} from {text}: {words}"))
        })
    }

    pub(super) fn int(&mut self) -> Read<i64> {
        self.number("int", "ParseInt", gotext::parse_int)
    }

    pub(super) fn uint(&mut self) -> Read<u64> {
        self.number("uint", "ParseUint", gotext::parse_uint)
    }

    pub(super) fn float(&mut self) -> Read<f64> {
        self.number("float", "ParseFloat", gotext::parse_float)
    }

    /// A text; null, truth values and numbers are taken as well, and *anything* else counts as an
    /// empty number, with reading left before it.
    pub(super) fn text(&mut self) -> Read<String> {
        Ok(gotext::text(&self.text_bytes()?))
    }

    pub(super) fn text_bytes(&mut self) -> Read<Vec<u8>> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'n' => self.literal(b"ull").map(|()| Vec::new()),
            b'f' => self.literal(b"alse").map(|()| b"false".to_vec()),
            b't' => self.literal(b"rue").map(|()| b"true".to_vec()),
            _ => {
                let number = self.number_text()?;
                if number.len() > self.scratch {
                    let (length, capacity) = (number.len(), self.scratch);
                    return Err(Stop::Text(format!(
                        "runtime error: slice bounds out of range [:{length}] with capacity {capacity}"
                    )));
                }
                Ok(number)
            }
        }
    }

    /// A string from its opening quote on. The codec reads it in pieces that end with a quote, and
    /// an escape may not reach over the end of its piece.
    fn quoted(&mut self) -> Read<Vec<u8>> {
        self.token = 0;
        let mut out = Vec::new();
        let mut piece = Vec::new();
        let mut at = 0;
        loop {
            if at == piece.len() {
                piece.clear();
                self.feed.until(b'"', &mut piece)?;
                at = 0;
            }
            let plain = piece[at..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\'));
            let plain = plain.unwrap_or(piece.len() - at);
            out.extend_from_slice(&piece[at..at + plain]);
            at += plain;
            if piece.get(at) != Some(&b'\\') {
                break;
            }
            at += 1;
            match piece[at] {
                byte @ (b'"' | b'\\' | b'/' | b'\'') => out.push(byte),
                b'b' => out.push(8),
                b'f' => out.push(12),
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'u' => at = self.unicode(&piece, at, &mut out)?,
                other => {
                    let other = char::from(other);
                    return self.fail(format_args!("json: unsupported escaped value: {other}"));
                }
            }
            at += 1;
        }
        while self.scratch < out.len() {
            self.scratch *= 2;
        }
        Ok(out)
    }

    /// Reads `\uXXXX`, or two of them for one character; `at` is on the `u` and comes back on the
    /// last digit.
    fn unicode(&mut self, piece: &[u8], at: usize, out: &mut Vec<u8>) -> Read<usize> {
        let mut at = at + 4;
        let mut code = self.four_digits(piece, at)?;
        if (0xd800..0xe000).contains(&code) {
            if !(piece[at + 1] == b'\\' && piece[at + 2] == b'u') {
                return self.fail("json: unquoteStr: invalid unicode sequence. Expecting \\u");
            }
            at += 6;
            let low = self.four_digits(piece, at)?;
            code = if (0xd800..0xdc00).contains(&code) && (0xdc00..0xe000).contains(&low) {
                ((code - 0xd800) << 10 | (low - 0xdc00)) + 0x1_0000
            } else {
                0xfffd
            };
        }
        let c = char::from_u32(code).unwrap_or('\u{fffd}');
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(at)
    }

    /// Four digits of which the last is at `last`. The codec takes all letters for digits.
    fn four_digits(&self, piece: &[u8], last: usize) -> Read<u32> {
        let mut value = 0u32;
        for at in last - 3..=last {
            if at >= piece.len() {
                return Err(Stop::Text(format!(
                    "runtime error: index out of range [{at}] with length {}",
                    piece.len()
                )));
            }
        }
        for byte in &piece[last - 3..=last] {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                b'A'..=b'Z' => byte - b'A' + 10,
                other => {
                    let other = gotext::quote_char(char::from(*other));
                    return self.fail(format_args!(
                        "json: unquoteStr: invalid hex char in \\u unicode sequence: {other}"
                    ));
                }
            };
            value = value.wrapping_mul(16).wrapping_add(u32::from(digit));
        }
        Ok(value)
    }

    /// A time, which is read as the JSON text it is written in.
    pub(super) fn time(&mut self) -> Read<Stamp> {
        if self.token != 0 {
            self.feed.unread()?;
            self.token = 0;
        }
        self.feed.start_tracking();
        self.skip()?;
        Stamp::parse_json(&self.feed.tracked()).map_err(Stop::Text)
    }

    /// Reads a value and throws it away. Kept off the stack, so that no nesting can exhaust it.
    pub(super) fn skip(&mut self) -> Read {
        // The containers around the value: what comes next in each.
        let mut around: Vec<Step> = Vec::new();
        loop {
            if !self.try_null()? {
                match self.shape()? {
                    Shape::Map => {
                        self.open('{')?;
                        around.push(Step::Key);
                    }
                    Shape::Array => {
                        self.open('[')?;
                        around.push(Step::Item);
                    }
                    Shape::Text => drop(self.text_bytes()?),
                    Shape::Null | Shape::Other => drop(self.naked()?),
                }
            }
            loop {
                let Some(next) = around.last_mut() else {
                    return Ok(());
                };
                let (step, end) = match *next {
                    Step::Value => {
                        *next = Step::Key;
                        self.step(Step::Value)?;
                        break;
                    }
                    Step::Key => {
                        *next = Step::Value;
                        (Step::Key, Step::MapEnd)
                    }
                    other => (other, Step::ArrayEnd),
                };
                if !self.at_end()? {
                    self.step(step)?;
                    break;
                }
                self.step(end)?;
                around.pop();
            }
        }
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

    /// Reads a value of whatever type it has; containers are only announced.
    pub(super) fn naked(&mut self) -> Read<Naked> {
        use super::Value;
        match self.peek()? {
            b'n' => self.literal(b"ull").map(|()| Naked::Scalar(Value::Null)),
            b'f' | b't' => self
                .boolean()
                .map(|value| Naked::Scalar(Value::Bool(value))),
            b'"' => self.text().map(|text| Naked::Scalar(Value::Text(text))),
            b'{' => Ok(Naked::Map),
            b'[' => Ok(Naked::Array),
            _ => self.naked_number().map(Naked::Scalar),
        }
    }

    fn naked_number(&mut self) -> Read<super::Value> {
        use super::Value;
        let text = gotext::text(&self.number_text()?);
        if text.is_empty() {
            return self.fail("json: decode number from empty string");
        }
        let whole = if text.contains(['.', 'e', 'E']) {
            None
        } else if text.starts_with('-') {
            gotext::parse_int(&text).ok().map(Value::Int)
        } else {
            gotext::parse_uint(&text).ok().map(Value::Uint)
        };
        match whole {
            Some(value) => Ok(value),
            None => gotext::parse_float(&text)
                .map(Value::Float)
                .or_else(|fault| {
                    let words = fault.words("ParseFloat", &text);
                    self.fail(format_args!("json: decode number from {text}: {words}"))
                }),
        }
    }

    /// Reads a structure from an object, or from an array by the order of its fields. `set` gets the
    /// number of the field and whether it is null.
    pub(super) fn structure(
        &mut self,
        fields: &[&str],
        surplus: Surplus,
        set: &mut dyn FnMut(&mut Self, usize, bool) -> Read,
    ) -> Read {
        match self.shape()? {
            Shape::Map => {
                self.open('{')?;
                while !self.at_end()? {
                    self.step(Step::Key)?;
                    let key = self.text_bytes()?;
                    self.step(Step::Value)?;
                    match fields.iter().position(|field| field.as_bytes() == key) {
                        None => self.skip()?,
                        Some(field) => self.field(field, surplus, set)?,
                    }
                }
                self.step(Step::MapEnd)
            }
            Shape::Array => {
                self.open('[')?;
                for field in 0..fields.len() {
                    if self.at_end()? {
                        return self.step(Step::ArrayEnd);
                    }
                    self.step(Step::Item)?;
                    self.field(field, surplus, set)?;
                }
                while surplus == Surplus::Skipped && !self.at_end()? {
                    self.step(Step::Item)?;
                    self.skip()?;
                }
                self.step(Step::ArrayEnd)
            }
            _ => Err(Stop::text(
                "only encoded map or array can be decoded into a struct",
            )),
        }
    }

    fn field(
        &mut self,
        field: usize,
        surplus: Surplus,
        set: &mut dyn FnMut(&mut Self, usize, bool) -> Read,
    ) -> Read {
        // The reader that leaves surplus items unread looks for a null twice, which is two different
        // looks if there is a zero byte.
        let null = self.try_null()? || surplus == Surplus::Unread && self.try_null()?;
        set(self, field, null)
    }

    /// Reads an object whose keys are free; `set` gets the key and reads the value.
    pub(super) fn map(&mut self, set: &mut dyn FnMut(&mut Self, String) -> Read) -> Read {
        self.open('{')?;
        while !self.at_end()? {
            self.step(Step::Key)?;
            let key = self.text()?;
            self.step(Step::Value)?;
            set(self, key)?;
        }
        self.step(Step::MapEnd)
    }

    /// Reads a list of new items; null is an empty one.
    pub(super) fn list_or_null<T: Default>(
        &mut self,
        read: &mut dyn FnMut(&mut Self, &mut T) -> Read,
    ) -> Read<Vec<T>> {
        if self.try_null()? {
            Ok(Vec::new())
        } else {
            self.list(Vec::new(), read)
        }
    }

    /// Reads a list, from an array or, key after value, from an object. Items that are there already
    /// are read over, field by field.
    pub(super) fn list<T: Default>(
        &mut self,
        mut items: Vec<T>,
        read: &mut dyn FnMut(&mut Self, &mut T) -> Read,
    ) -> Read<Vec<T>> {
        let array = match self.shape()? {
            Shape::Array => true,
            Shape::Map => false,
            other => {
                // The numbers by which the codec knows these shapes.
                let number = match other {
                    Shape::Null => 1,
                    Shape::Text => 6,
                    _ => 0,
                };
                return self.fail(format_args!(
                    "only encoded map or array can be decoded into a slice ({number})"
                ));
            }
        };
        self.open(if array { '[' } else { '{' })?;
        let mut count = 0;
        while !self.at_end()? {
            if count == items.len() {
                items.push(T::default());
            }
            self.step(match (array, count % 2) {
                (true, _) => Step::Item,
                (false, 0) => Step::Key,
                (false, _) => Step::Value,
            })?;
            read(self, &mut items[count])?;
            count += 1;
        }
        items.truncate(count);
        self.step(if array { Step::ArrayEnd } else { Step::MapEnd })?;
        Ok(items)
    }
}
