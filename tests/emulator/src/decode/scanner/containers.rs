//! Objects, arrays, and values that nobody wants.

use super::{Read, Scanner, Shape, Step, Surplus};
use crate::decode::Stop;

impl Scanner<'_, '_> {
    /// Reads a value and throws it away. Kept off the stack, so that no nesting can exhaust it.
    pub(in crate::decode) fn skip(&mut self) -> Read {
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

    /// Reads a structure from an object, or from an array by the order of its fields. `set` gets the
    /// number of the field and whether it is null.
    pub(in crate::decode) fn structure(
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
    pub(in crate::decode) fn map(
        &mut self,
        set: &mut dyn FnMut(&mut Self, String) -> Read,
    ) -> Read {
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
    pub(in crate::decode) fn list_or_null<T: Default>(
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
    pub(in crate::decode) fn list<T: Default>(
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
