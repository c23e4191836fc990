//! Texts, numbers, truth values, times.

use super::{Naked, Read, Scanner};
use crate::decode::{Stop, Value};
use crate::gotext::{self, NumberFault};
use crate::stamp::Stamp;

impl Scanner<'_, '_> {
    pub(in crate::decode) fn boolean(&mut self) -> Read<bool> {
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

    pub(in crate::decode) fn int(&mut self) -> Read<i64> {
        self.number("int", "ParseInt", gotext::parse_int)
    }

    pub(in crate::decode) fn uint(&mut self) -> Read<u64> {
        self.number("uint", "ParseUint", gotext::parse_uint)
    }

    pub(in crate::decode) fn float(&mut self) -> Read<f64> {
        self.number("float", "ParseFloat", gotext::parse_float)
    }

    /// A text; null, truth values and numbers are taken as well, and *anything* else counts as an
    /// empty number, with reading left before it.
    pub(in crate::decode) fn text(&mut self) -> Read<String> {
        Ok(gotext::text(&self.text_bytes()?))
    }

    pub(in crate::decode) fn text_bytes(&mut self) -> Read<Vec<u8>> {
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
    pub(in crate::decode) fn time(&mut self) -> Read<Stamp> {
        if self.token != 0 {
            self.feed.unread()?;
            self.token = 0;
        }
        self.feed.start_tracking();
        self.skip()?;
        Stamp::parse_json(&self.feed.tracked()).map_err(Stop::Text)
    }

    /// Reads a value of whatever type it has; containers are only announced.
    pub(in crate::decode) fn naked(&mut self) -> Read<Naked> {
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

    fn naked_number(&mut self) -> Read<Value> {
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
}
