//! Numbers, as Go's `strconv` reads them.

use std::fmt;

use super::Codec;
use super::stumble::{Kind, Stumble};
use crate::conformance::names;
use crate::conformance::walk::shown;

impl Codec<'_> {
    /// An integer; in quotes it will do as well.
    pub(in crate::conformance) fn int(&mut self) -> Result<i64, Stumble> {
        self.number(Kind::Integer, "int", "ParseInt", int)
    }

    /// An integer that is not negative; in quotes it will do as well.
    pub(in crate::conformance) fn uint(&mut self) -> Result<u64, Stumble> {
        self.number(Kind::Integer, "uint", "ParseUint", uint)
    }

    /// A number; in quotes it will do as well, and then `NaN` and `Inf` are numbers, too.
    pub(in crate::conformance) fn float(&mut self) -> Result<f64, Stumble> {
        self.number(Kind::Number, "float", "ParseFloat", float)
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
}

/// Why a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::conformance) enum Fault {
    Syntax,
    Range,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Syntax => "invalid syntax",
            Fault::Range => "value out of range",
        })
    }
}

/// A signed integer literal in decimal.
pub(in crate::conformance) fn int(text: &[u8]) -> Result<i64, Fault> {
    let digits = text
        .strip_prefix(b"+")
        .or(text.strip_prefix(b"-"))
        .unwrap_or(text);
    literal(text, digits)
}

/// An integer literal in decimal without a sign.
pub(in crate::conformance) fn uint(text: &[u8]) -> Result<u64, Fault> {
    literal(text, text)
}

fn literal<N: std::str::FromStr>(text: &[u8], digits: &[u8]) -> Result<N, Fault> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Syntax);
    }
    // Only digits are left, so the range is all that can be wrong.
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::Range)
}

/// A floating-point number: decimal, `Inf`, `Infinity` or `NaN` in any case, with `_` between
/// digits. Hexadecimal ones, which Go reads as well, are refused here: nothing that writes JSON
/// writes them.
pub(in crate::conformance) fn float(text: &[u8]) -> Result<f64, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Syntax)?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(|c: char| c.is_ascii_alphabetic()) {
        if text.eq_ignore_ascii_case("nan") {
            return Ok(f64::NAN);
        }
        if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
            let negative = text.starts_with('-');
            return Ok(if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            });
        }
        return Err(Fault::Syntax);
    }
    let parsed: f64 = if text.contains('_') {
        let bytes = text.as_bytes();
        let between_digits = |at: usize| {
            at > 0
                && bytes[at - 1].is_ascii_digit()
                && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
        };
        if !text.match_indices('_').all(|(at, _)| between_digits(at)) {
            return Err(Fault::Syntax);
        }
        text.replace('_', "").parse().map_err(|_| Fault::Syntax)?
    } else {
        text.parse().map_err(|_| Fault::Syntax)?
    };
    if parsed.is_finite() {
        Ok(parsed)
    } else {
        Err(Fault::Range)
    }
}

/// Whether it is a number of JSON: no zero in front, no plus, digits on both sides of the point.
pub(in crate::conformance) fn is_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (number, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = match number.iter().position(|&b| b == b'.') {
        Some(at) => (&number[..at], Some(&number[at + 1..])),
        None => (number, None),
    };
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let signed = |text: &[u8]| {
        digits(
            text.strip_prefix(b"+")
                .or(text.strip_prefix(b"-"))
                .unwrap_or(text),
        )
    };
    digits(whole)
        && (whole.len() == 1 || whole[0] != b'0')
        && fraction.is_none_or(digits)
        && exponent.is_none_or(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_literals() {
        for (text, want) in [
            ("5", Ok(5)),
            ("+5", Ok(5)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Fault::Range)),
            ("1.0", Err(Fault::Syntax)),
            ("1e3", Err(Fault::Syntax)),
            (" 5", Err(Fault::Syntax)),
            ("--5", Err(Fault::Syntax)),
            ("", Err(Fault::Syntax)),
            ("-", Err(Fault::Syntax)),
        ] {
            assert_eq!(int(text.as_bytes()), want, "{text:?}");
        }
        assert_eq!(uint(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(uint(b"-1"), Err(Fault::Syntax));
        assert_eq!(uint(b"+1"), Err(Fault::Syntax));
    }

    #[test]
    fn floats_are_what_go_takes_for_one() {
        for (text, want) in [
            ("1.5", Ok(1.5)),
            (".5", Ok(0.5)),
            ("5.", Ok(5.0)),
            ("+5e-1", Ok(0.5)),
            ("1_0.5", Ok(10.5)),
            ("-inf", Ok(f64::NEG_INFINITY)),
            ("Infinity", Ok(f64::INFINITY)),
            ("1e-400", Ok(0.0)),
            ("1e400", Err(Fault::Range)),
            ("infi", Err(Fault::Syntax)),
            ("+nan", Err(Fault::Syntax)),
            ("1__0", Err(Fault::Syntax)),
            ("_1", Err(Fault::Syntax)),
            ("1e", Err(Fault::Syntax)),
            ("", Err(Fault::Syntax)),
            (".", Err(Fault::Syntax)),
            (" 5", Err(Fault::Syntax)),
        ] {
            assert_eq!(float(text.as_bytes()), want, "{text:?}");
        }
        assert!(float(b"NaN").is_ok_and(f64::is_nan));
    }
}
