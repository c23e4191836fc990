//! Walking through a body with the probe's types: objects with known keys, maps, lists and plain
//! values, with the path for whoever has to be told.

use std::borrow::Cow;
use std::collections::HashSet;

use super::codec::stumble::{Kind, Stumble};
use super::codec::{Codec, Shape};
use super::gotime::{self, Instant};
use super::names;
use super::rule::{Rule, Severity};
use super::verdict::{Findings, Violation};

/// The result of reading something.
pub(super) type Read<T> = Result<T, Stumble>;

/// A step of the path.
#[derive(Debug, Clone)]
pub(super) enum Segment<'a> {
    Name(&'static str),
    Key(Cow<'a, str>),
    Index(usize),
}

/// A value that the probe decodes field by field.
pub(super) struct Schema {
    /// The keys in the order of the Go struct, by which the codec reads an array in its place.
    pub(super) keys: &'static [&'static str],
    /// Keys that people write and Scope does not know, with what they mean.
    pub(super) misnamed: &'static [(&'static str, Rule, &'static str)],
    /// Whether the codec skips what an array has beyond the last key. Types without generated code
    /// stumble over it.
    pub(super) skips_surplus: bool,
}

impl Schema {
    pub(super) const fn of(keys: &'static [&'static str]) -> Self {
        Schema {
            keys,
            misnamed: &[],
            skips_surplus: true,
        }
    }
}

/// Reads a body and collects what is wrong with it.
pub(super) struct Walk<'a> {
    pub(super) codec: Codec<'a>,
    pub(super) findings: Findings,
    pub(super) path: Vec<Segment<'a>>,
    /// Whether rules are left unchecked, as inside `children`. Errors of the decoder still count.
    pub(super) quiet: bool,
    /// An error was ignored, as Scope ignores those inside a node. From here on the probe reads
    /// from the middle of something; so does this, for the outcome, and keeps silent.
    lost: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(codec: Codec<'a>, findings: Findings) -> Self {
        Walk {
            codec,
            findings,
            path: Vec::new(),
            quiet: false,
            lost: false,
        }
    }

    /// Notes a violation at the current path.
    pub(super) fn note(&mut self, rule: Rule, offset: usize, problem: impl FnOnce() -> String) {
        if self.lost || self.quiet {
            return;
        }
        if rule.severity() == Severity::ShowsWrong && self.findings.full() {
            self.findings.count();
            return;
        }
        let path = pointer(&self.path);
        self.findings.add(Violation {
            rule,
            path,
            offset: Some(offset),
            problem: problem(),
        });
    }

    /// Notes a violation at another path.
    pub(super) fn note_at(
        &mut self,
        rule: Rule,
        path: String,
        offset: Option<usize>,
        problem: String,
    ) {
        if !self.lost {
            self.findings.add(Violation {
                rule,
                path,
                offset,
                problem,
            });
        }
    }

    /// Notes what is so even after an error that was ignored.
    pub(super) fn note_always(
        &mut self,
        rule: Rule,
        path: String,
        offset: Option<usize>,
        problem: String,
    ) {
        self.findings.add(Violation {
            rule,
            path,
            offset,
            problem,
        });
    }

    /// Notes a stumble at the path where it happened.
    pub(super) fn stumbled(&mut self, stumble: &Stumble) {
        let rule = match stumble.kind {
            Kind::Syntax => Rule::JsonSyntax,
            Kind::Type => Rule::ValueType,
            Kind::Integer => Rule::Integer,
            Kind::Number => Rule::Number,
            Kind::Time => Rule::Time,
            Kind::Cut => Rule::BodyIncomplete,
            Kind::TooLarge => Rule::BodyTooLarge,
            Kind::Endless => Rule::JsonEndless,
        };
        if stumble.kind == Kind::Endless {
            // It is not taken either.
            let problem = "the body ends in the middle".to_owned();
            self.note_at(
                Rule::JsonSyntax,
                pointer(&self.path),
                Some(stumble.offset),
                problem,
            );
        }
        let problem = format!("Scope's decoder stumbles: {}", stumble.words);
        self.note_at(rule, pointer(&self.path), Some(stumble.offset), problem);
    }

    /// Reads something whose errors Scope ignores. Returns whether there was none.
    pub(super) fn contained(&mut self, read: impl FnOnce(&mut Self) -> Read<()>) -> Read<bool> {
        let depth = self.path.len();
        match read(self) {
            Ok(()) => Ok(true),
            Err(stumble) if stumble.kind == Kind::Endless => Err(stumble),
            Err(stumble) => {
                self.stumbled(&stumble);
                self.lost = true;
                self.path.truncate(depth);
                Ok(false)
            }
        }
    }

    /// Reads an object with known keys. `visit` gets each known key and must read its value.
    /// Returns false for `null`.
    pub(super) fn object(
        &mut self,
        schema: &Schema,
        mut visit: impl FnMut(&mut Self, &'static str) -> Read<()>,
    ) -> Read<bool> {
        if self.codec.null()? {
            return Ok(false);
        }
        match self.codec.shape()? {
            Shape::Object => {
                self.codec.open_object()?;
                let mut seen: u64 = 0;
                while !self.codec.at_end()? {
                    self.codec.before_key()?;
                    let offset = self.codec.offset();
                    let key = self.codec.text()?;
                    self.codec.before_value()?;
                    let Some(at) = schema.keys.iter().position(|known| *known == key) else {
                        self.unknown_key(schema, &key, offset);
                        self.path.push(Segment::Key(key));
                        self.codec.skip()?;
                        self.path.pop();
                        continue;
                    };
                    self.path.push(Segment::Name(schema.keys[at]));
                    if seen & (1 << at) != 0 {
                        self.note(Rule::DuplicateKey, offset, || {
                            format!("the key {:?} is here for the second time", shown(&key))
                        });
                    }
                    seen |= 1 << at;
                    visit(self, schema.keys[at])?;
                    self.path.pop();
                }
                self.codec.close_object()?;
            }
            Shape::Array => {
                self.codec.open_array()?;
                let mut keys = schema.keys.iter();
                while !self.codec.at_end()? {
                    match keys.next() {
                        Some(key) => {
                            self.codec.before_element()?;
                            self.path.push(Segment::Name(key));
                            visit(self, key)?;
                            self.path.pop();
                        }
                        None if schema.skips_surplus => {
                            self.codec.before_element()?;
                            self.codec.skip()?;
                        }
                        None => break,
                    }
                }
                self.codec.close_array()?;
            }
            _ => {
                let words = "only encoded map or array can be decoded into a struct";
                let offset = self.codec.offset();
                let kind = self.codec.kind_of_other();
                return Err(self.codec.refuse(offset, kind, words));
            }
        }
        Ok(true)
    }

    fn unknown_key(&mut self, schema: &Schema, key: &str, offset: usize) {
        let key = &shown(key);
        if let Some((_, rule, meant)) = schema.misnamed.iter().find(|(wrong, ..)| wrong == key) {
            self.note(*rule, offset, || {
                format!("Scope ignores the key {key:?}; {meant} is meant")
            });
        } else if let Some(known) = schema.keys.iter().find(|k| k.eq_ignore_ascii_case(key)) {
            self.note(Rule::KeyCase, offset, || {
                format!("Scope ignores the key {key:?}: it is written {known:?}")
            });
        } else if let Some(known) = schema.keys.iter().find(|k| names::alike(k, key)) {
            self.note(Rule::KeyName, offset, || {
                format!("Scope ignores the key {key:?}; {known:?} is meant")
            });
        }
    }

    /// Reads an object whose keys are data. `visit` gets each key with its offset and must read
    /// the value.
    pub(super) fn map(
        &mut self,
        mut visit: impl FnMut(&mut Self, &Cow<'a, str>, usize) -> Read<()>,
    ) -> Read<()> {
        if self.codec.null()? {
            return Ok(());
        }
        self.codec.open_object()?;
        let mut seen = HashSet::new();
        while !self.codec.at_end()? {
            self.codec.before_key()?;
            let offset = self.codec.offset();
            let key = self.codec.text()?;
            self.codec.before_value()?;
            self.path.push(Segment::Key(key.clone()));
            if !seen.insert(key.clone()) {
                self.note(Rule::DuplicateKey, offset, || {
                    format!("the key {:?} is here for the second time", shown(&key))
                });
            }
            visit(self, &key, offset)?;
            self.path.pop();
        }
        self.codec.close_object()
    }

    /// Reads an array. `visit` must read one element. The codec takes an object for the array of
    /// its keys and values.
    pub(super) fn list(&mut self, mut visit: impl FnMut(&mut Self, usize) -> Read<()>) -> Read<()> {
        if self.codec.null()? {
            return Ok(());
        }
        let object = match self.codec.shape()? {
            Shape::Array => {
                self.codec.open_array()?;
                false
            }
            Shape::Object => {
                self.codec.open_object()?;
                true
            }
            shape => {
                // The numbers are those of the codec's own enumeration of types.
                let number = if shape == Shape::Text { 6 } else { 0 };
                let offset = self.codec.offset();
                let kind = self.codec.kind_of_other();
                let words = format!(
                    "[pos {}]: only encoded map or array can be decoded into a slice ({number})",
                    self.codec.consumed()
                );
                return Err(self.codec.refuse(offset, kind, &words));
            }
        };
        let mut index = 0;
        let mut reached = 0;
        while !self.codec.at_end()? {
            // At the end of the body the codec puts the last byte back. If that is the comma before
            // a text, it takes it for the comma before the next one, and so forth. The first two
            // rounds can end where they began otherwise: no comma is used up before an element.
            if index > 1 && self.codec.consumed() <= reached && self.codec.at_comma() {
                let words = "the list of texts ends behind a comma, which is read for ever";
                return Err(self.codec.refuse(reached, Kind::Endless, words));
            }
            reached = self.codec.consumed();
            match (object, index % 2) {
                (false, _) => self.codec.before_element()?,
                (true, 0) => self.codec.before_key()?,
                (true, _) => self.codec.before_value()?,
            }
            self.path.push(Segment::Index(index));
            visit(self, index)?;
            self.path.pop();
            index += 1;
        }
        if object {
            self.codec.close_object()
        } else {
            self.codec.close_array()
        }
    }

    /// Reads a text; `null` is an empty one.
    pub(super) fn text(&mut self) -> Read<Cow<'a, str>> {
        self.codec.text()
    }

    /// Reads a number; `null` is reported and 0.
    pub(super) fn number(&mut self) -> Read<f64> {
        let offset = self.codec.offset();
        if self.codec.null()? {
            self.note(Rule::NullValue, offset, || "`null` is read as 0".to_owned());
            return Ok(0.0);
        }
        let number = self.codec.float()?;
        if !number.is_finite() {
            self.note(Rule::NotFinite, offset, || {
                format!("the number is {number}")
            });
        }
        Ok(number)
    }

    /// Reads an integer; `null` is reported and 0.
    pub(super) fn integer(&mut self) -> Read<i64> {
        let offset = self.codec.offset();
        if self.codec.null()? {
            self.note(Rule::NullValue, offset, || "`null` is read as 0".to_owned());
            return Ok(0);
        }
        self.codec.int()
    }

    /// Reads a time; `null` is none.
    pub(super) fn time(&mut self) -> Read<Option<Instant>> {
        if self.codec.null()? {
            return Ok(None);
        }
        let offset = self.codec.offset();
        let raw = self.codec.raw()?;
        match gotime::parse(raw) {
            Some(time) => Ok(Some(time)),
            None => {
                let words = format!("parsing time {}", shown(&String::from_utf8_lossy(raw)));
                Err(self.codec.refuse(offset, Kind::Time, &words))
            }
        }
    }

    /// Reads over a value.
    pub(super) fn skip(&mut self) -> Read<()> {
        self.codec.skip()
    }
}

/// Longest part of a body that is quoted in a problem or a path. Far longer than any ID, and short
/// enough for a hundred violations not to hold copies of the body.
const MAX_SHOWN: usize = 200;

/// A text, cut if it is very long.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// A path as a JSON pointer.
pub(super) fn pointer(path: &[Segment<'_>]) -> String {
    let mut text = String::new();
    for segment in path {
        text.push('/');
        match segment {
            Segment::Name(name) => text.push_str(name),
            Segment::Index(index) => text.push_str(&index.to_string()),
            Segment::Key(key) => {
                for c in shown(key).chars() {
                    match c {
                        '~' => text.push_str("~0"),
                        '/' => text.push_str("~1"),
                        c => text.push(c),
                    }
                }
            }
        }
    }
    text
}
