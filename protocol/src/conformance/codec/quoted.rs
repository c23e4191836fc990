//! Quoted texts and their escapes.

use std::borrow::Cow;

use super::Codec;
use super::stumble::{Kind, Stumble};

impl<'a> Codec<'a> {
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Stumble> {
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
}
