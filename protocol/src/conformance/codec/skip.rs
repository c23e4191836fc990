//! Reading over what Scope does not know.

use super::stumble::{Kind, Stumble};
use super::{Codec, Shape, numbers};
use crate::conformance::names;
use crate::conformance::walk::shown;

impl Codec<'_> {
    /// Reads over a value of any type, which must be sound as far as the probe looks at it.
    pub(in crate::conformance) fn skip(&mut self) -> Result<(), Stumble> {
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
}
