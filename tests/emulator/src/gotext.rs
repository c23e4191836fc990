//! How Go writes things down: quoted words in error messages, JSON strings, floating-point numbers.

use std::fmt::Write as _;

/// Bytes as text, the way they look once Scope has sent them on: every byte that is not part of
/// valid UTF-8 turns into one replacement character.
pub(crate) fn text(bytes: &[u8]) -> String {
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return valid.to_owned();
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(std::iter::repeat_n('\u{fffd}', chunk.invalid().len()));
    }
    out
}

/// Go's `%q` of a string.
pub(crate) fn quote(text: &str) -> String {
    quote_with('"', text)
}

/// Go's `%q` of a character.
pub(crate) fn quote_char(c: char) -> String {
    quote_with('\'', c.encode_utf8(&mut [0; 4]))
}

fn quote_with(mark: char, text: &str) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            _ if c == mark => out.extend(['\\', c]),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if printable(c) => out.push(c),
            _ => {
                let code = u32::from(c);
                let _ = match code {
                    0..0x80 => write!(out, "\\x{code:02x}"),
                    0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(mark);
    out
}

/// Close to Go's `unicode.IsPrint`: everything but control, format and private characters, and of
/// the blanks only the ASCII one.
fn printable(c: char) -> bool {
    let hidden = c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}');
    c == ' ' || !(hidden || c.is_whitespace())
}

/// The quoting of Go's `time` package, which writes other bytes than ASCII in hexadecimal.
pub(crate) fn time_quote(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in text {
        match *byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..0x80 => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

/// A string in JSON as Scope's codec writes it: `<`, `>` and `&` are escaped too.
pub(crate) fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A float in JSON as Scope's codec writes it: the shortest digits, an exponent from 10⁶ upwards and
/// below 10⁻⁴, and never without a point or an `E`.
pub(crate) fn json_float(value: f64, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN.0");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "+Inf.0" } else { "-Inf.0" });
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let _ = write!(
            out,
            "{digits}E{}{:02}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        );
    } else {
        let plain = format!("{value}");
        out.push_str(&plain);
        if !plain.contains('.') {
            out.push_str(".0");
        }
    }
}

/// What is wrong with the text of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFault {
    Syntax,
    Range,
}

impl NumberFault {
    /// The words of Go's `strconv` package.
    pub(crate) fn words(self, function: &str, text: &str) -> String {
        let what = match self {
            NumberFault::Syntax => "invalid syntax",
            NumberFault::Range => "value out of range",
        };
        format!("strconv.{function}: parsing {}: {what}", quote(text))
    }
}

/// Go's `strconv.ParseInt` to base 10.
pub(crate) fn parse_int(text: &str) -> Result<i64, NumberFault> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let magnitude = magnitude(digits)?;
    let value = if negative {
        -i128::from(magnitude)
    } else {
        i128::from(magnitude)
    };
    i64::try_from(value).map_err(|_| NumberFault::Range)
}

/// Go's `strconv.ParseUint` to base 10, which takes no sign.
pub(crate) fn parse_uint(text: &str) -> Result<u64, NumberFault> {
    magnitude(text.as_bytes())
}

fn magnitude(digits: &[u8]) -> Result<u64, NumberFault> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Syntax);
    }
    digits
        .iter()
        .try_fold(0u64, |value, byte| {
            value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
        })
        .ok_or(NumberFault::Range)
}

/// Go's `strconv.ParseFloat`, hexadecimal numbers apart, which are refused here.
pub(crate) fn parse_float(text: &str) -> Result<f64, NumberFault> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let word = bare.to_ascii_lowercase();
    if word == "inf" || word == "infinity" {
        return Ok(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    if word == "nan" && bare.len() == text.len() {
        return Ok(f64::NAN);
    }
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-' | '_');
    // An underscore may stand between two digits.
    let apart = |part: &str| part.is_empty() || !part.ends_with(|c: char| c.is_ascii_digit());
    let mut parts = text.split('_').peekable();
    while let Some(part) = parts.next() {
        let next = parts.peek();
        if next.is_some_and(|next| apart(part) || !next.starts_with(|c: char| c.is_ascii_digit())) {
            return Err(NumberFault::Syntax);
        }
    }
    if !text.chars().all(plain) {
        return Err(NumberFault::Syntax);
    }
    let value: f64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| NumberFault::Syntax)?;
    if value.is_infinite() {
        Err(NumberFault::Range)
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        assert_eq!(
            quote("a\"b\\é\n\u{1}\u{a0}"),
            "\"a\\\"b\\\\é\\n\\x01\\u00a0\""
        );
        assert_eq!(time_quote("é\"x\"".as_bytes()), "\"\\xc3\\xa9\\\"x\\\"\"");
    }

    #[test]
    fn writes_json_like_the_codec() {
        let string = |text: &str| {
            let mut out = String::new();
            json_string(text, &mut out);
            out
        };
        assert_eq!(
            string("x;<pod>&\u{1}\n"),
            "\"x;\\u003cpod\\u003e\\u0026\\u0001\\n\""
        );
        let float = |value| {
            let mut out = String::new();
            json_float(value, &mut out);
            out
        };
        assert_eq!(float(1.0), "1.0");
        assert_eq!(float(2.5), "2.5");
        assert_eq!(float(-0.00001), "-1E-05");
        assert_eq!(float(100_000.0), "100000.0");
        assert_eq!(float(1_234_567.0), "1.234567E+06");
    }

    #[test]
    fn reads_numbers_like_strconv() {
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_int("+5"), Ok(5));
        assert_eq!(parse_int("1.0"), Err(NumberFault::Syntax));
        assert_eq!(parse_int("9223372036854775808"), Err(NumberFault::Range));
        assert_eq!(parse_uint("-1"), Err(NumberFault::Syntax));
        assert_eq!(parse_float("1e400"), Err(NumberFault::Range));
        assert_eq!(parse_float(".5"), Ok(0.5));
        assert_eq!(parse_float("5."), Ok(5.0));
        assert_eq!(parse_float("1_0.5"), Ok(10.5));
        assert_eq!(parse_float("-Inf"), Ok(f64::NEG_INFINITY));
        assert!(parse_float("nan").is_ok_and(f64::is_nan));
        for bad in [
            "", "--1", "e5", "1e", "+nan", ".", "1 ", "1__0", "_1", "1_", "1_.0",
        ] {
            assert_eq!(parse_float(bad), Err(NumberFault::Syntax), "{bad:?}");
        }
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        assert_eq!(text(b"a\xe2\x82z"), "a\u{fffd}\u{fffd}z");
    }
}
