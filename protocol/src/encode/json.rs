//! Writing JSON: the few shapes that reports are made of.

use super::slots::ProbeSlots;
use crate::Timestamp;
use crate::time::TEXT_LEN;

/// Length of the fraction of a second in a timestamp's text, with its point.
const FRACTION_LEN: usize = ".764052".len();

/// Largest magnitude that is rounded to three decimals: beyond it a double has not got three
/// decimals to round, and times 1000 it would lose digits.
const ROUNDED_BELOW: f64 = 1e12;

/// The number with at most three decimals, as [`Encoder::number`] writes it.
pub(super) fn rounded(n: f64) -> f64 {
    if n.abs() < ROUNDED_BELOW {
        (n * 1000.0).round() / 1000.0
    } else {
        n
    }
}

/// Appends JSON to a buffer.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// The last timestamp and its text: nearly all stamps of a report are the same.
    stamp: Option<(Timestamp, [u8; TEXT_LEN])>,
    /// Where the asking probe's ID belongs, in what was written.
    pub(super) slots: ProbeSlots,
}

/// Whether an object or array has a member already.
pub(super) struct Members(bool);

impl Members {
    pub(super) fn none() -> Self {
        Members(false)
    }

    pub(super) fn some() -> Self {
        Members(true)
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Encoder {
            out,
            stamp: None,
            slots: ProbeSlots::default(),
        }
    }
}

impl Encoder<'_> {
    pub(super) fn open_object(&mut self) -> Members {
        self.raw(b"{");
        Members(false)
    }

    pub(super) fn close_object(&mut self) {
        self.raw(b"}");
    }

    pub(super) fn separate(&mut self, members: &mut Members) {
        if members.0 {
            self.raw(b",");
        }
        members.0 = true;
    }

    /// A key that is plain ASCII by construction.
    pub(super) fn key(&mut self, members: &mut Members, key: &'static str) {
        self.separate(members);
        self.raw(b"\"");
        self.raw(key.as_bytes());
        self.raw(b"\":");
    }

    /// A key that comes from data.
    pub(super) fn map_key(&mut self, members: &mut Members, key: &str) {
        self.separate(members);
        self.string(key);
        self.raw(b":");
    }

    pub(super) fn string_member(&mut self, members: &mut Members, key: &'static str, value: &str) {
        self.key(members, key);
        self.string(value);
    }

    pub(super) fn nonempty_member(
        &mut self,
        members: &mut Members,
        key: &'static str,
        value: &str,
    ) {
        if !value.is_empty() {
            self.string_member(members, key, value);
        }
    }

    pub(super) fn number_member(&mut self, members: &mut Members, key: &'static str, value: f64) {
        self.key(members, key);
        self.number(value);
    }

    pub(super) fn integer(&mut self, n: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.raw(digits.format(n).as_bytes());
    }

    /// At most three decimals, integers without any. JSON has no NaN or infinity; where one gets
    /// here it is a bound or a priority, and 0 is what Scope would make of `null`.
    pub(super) fn number(&mut self, n: f64) {
        let n = rounded(n);
        if !n.is_finite() {
            self.raw(b"0");
        } else if n == n.trunc() && n.abs() < 9e15 {
            // Below 2^53: the conversion is exact, and a negative zero loses its sign.
            self.integer(n as i64);
        } else {
            let mut digits = ryu::Buffer::new();
            self.raw(digits.format_finite(n).as_bytes());
        }
    }

    /// The length of what has been written, including what was there before.
    pub(super) fn written(&self) -> usize {
        self.out.len()
    }

    /// Without the zeros that end a fraction: a report has thousands of these.
    pub(super) fn timestamp(&mut self, t: Timestamp) {
        let text = match self.stamp {
            Some((at, text)) if at == t => text,
            _ => {
                let text = t.to_text();
                self.stamp = Some((t, text));
                text
            }
        };
        let fraction = &text[TEXT_LEN - 1 - FRACTION_LEN..TEXT_LEN - 1];
        let kept = match fraction.iter().rposition(|&digit| digit != b'0') {
            // The point.
            Some(0) | None => 0,
            Some(last) => last + 1,
        };
        self.raw(b"\"");
        self.raw(&text[..TEXT_LEN - 1 - FRACTION_LEN + kept]);
        self.raw(b"Z\"");
    }

    pub(super) fn string(&mut self, text: &str) {
        self.raw(b"\"");
        let bytes = text.as_bytes();
        let mut written = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.raw(&bytes[written..at]);
            written = at + 1;
            match byte {
                b'"' => self.raw(br#"\""#),
                b'\\' => self.raw(br"\\"),
                b'\n' => self.raw(br"\n"),
                b'\r' => self.raw(br"\r"),
                b'\t' => self.raw(br"\t"),
                control => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.raw(br"\u00");
                    self.raw(&[
                        HEX[usize::from(control >> 4)],
                        HEX[usize::from(control & 15)],
                    ]);
                }
            }
        }
        self.raw(&bytes[written..]);
        self.raw(b"\"");
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}
