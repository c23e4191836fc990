//! A value of any type, as a control answer may carry one to the caller.

use super::feed::Stop;
use super::scanner::{Naked, Scanner, Step};
use crate::gotext::{json_float, json_string};

/// Any JSON value. Objects keep the order in which they came; Scope writes them in random order.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the type says it")]
pub enum Value {
    Null,
    Bool(bool),
    /// A whole number with a minus sign.
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// The codec takes any value for a key.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The value as Scope's app writes it.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Uint(value) => out.push_str(&value.to_string()),
            Value::Float(value) => json_float(*value, out),
            Value::Text(text) => json_string(text, out),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    key.write(out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

pub(super) fn read(scanner: &mut Scanner<'_, '_>) -> Result<Value, Stop> {
    if scanner.try_null()? {
        return Ok(Value::Null);
    }
    scanner.enter()?;
    let value = match scanner.naked()? {
        Naked::Scalar(value) => value,
        Naked::Map => map(scanner)?,
        Naked::Array => {
            let items = scanner.list(Vec::new(), &mut |scanner, item: &mut Option<Value>| {
                *item = Some(read(scanner)?);
                Ok(())
            })?;
            Value::List(items.into_iter().flatten().collect())
        }
    };
    scanner.leave();
    Ok(value)
}

fn map(scanner: &mut Scanner<'_, '_>) -> Result<Value, Stop> {
    let mut entries: Vec<(Value, Value)> = Vec::new();
    scanner.open('{')?;
    while !scanner.at_end()? {
        scanner.step(Step::Key)?;
        let key = read(scanner)?;
        scanner.step(Step::Value)?;
        match key {
            Value::List(_) => {
                return Err(Stop::text(
                    "runtime error: hash of unhashable type []interface {}",
                ));
            }
            Value::Map(_) => {
                return Err(Stop::text(
                    "runtime error: hash of unhashable type map[interface {}]interface {}",
                ));
            }
            _ => {}
        }
        let value = read(scanner)?;
        match entries.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }
    scanner.step(Step::MapEnd)?;
    Ok(Value::Map(entries))
}
