//! The answer to a click.

use super::feed::Stop;
use super::report::{self, text};
use super::scanner::{Scanner, Surplus};
use super::value::{self, Value};
use crate::gotext::json_string;
use crate::report::Report;

/// What a plugin answers to `POST /control`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Passed through to whoever called the app.
    pub value: Option<Value>,
    /// Shown to the user; not empty means that the action failed.
    pub error: String,
    /// A terminal's pipe, which only a probe can make.
    pub pipe: String,
    /// Part of `pipe`.
    pub raw_tty: bool,
    /// Part of `pipe`.
    pub resize_tty_control: String,
    /// Not empty: the panel of the node is closed.
    pub removed_node: String,
    /// A report to be published at once.
    pub shortcut: Option<Report>,
}

pub(super) fn read(scanner: &mut Scanner<'_, '_>, answer: &mut Answer) -> Result<(), Stop> {
    const FIELDS: [&str; 7] = [
        "value",
        "error",
        "pipe",
        "raw_tty",
        "resize_tty_control",
        "removedNode",
        "shortcutReport",
    ];
    scanner.structure(
        &FIELDS,
        Surplus::Unread,
        &mut |scanner, field, null| match field {
            0 => {
                answer.value = if null {
                    None
                } else {
                    Some(value::read(scanner)?)
                };
                Ok(())
            }
            1 => text(scanner, null).map(|text| answer.error = text),
            2 => text(scanner, null).map(|text| answer.pipe = text),
            3 => {
                answer.raw_tty = !null && scanner.boolean()?;
                Ok(())
            }
            4 => text(scanner, null).map(|text| answer.resize_tty_control = text),
            5 => text(scanner, null).map(|text| answer.removed_node = text),
            _ if null => {
                answer.shortcut = None;
                Ok(())
            }
            _ => report::read(scanner, answer.shortcut.get_or_insert_with(Report::zero)),
        },
    )
}

impl Answer {
    /// The body with which Scope's app answers when there is no error.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        let text = |name: &str, value: &str, out: &mut String| {
            if !value.is_empty() {
                out.push_str(&format!(",\"{name}\":"));
                json_string(value, out);
            }
        };
        text("pipe", &self.pipe, &mut out);
        if self.raw_tty {
            out.push_str(",\"raw_tty\":true");
        }
        text("removedNode", &self.removed_node, &mut out);
        text("resize_tty_control", &self.resize_tty_control, &mut out);
        if let Some(value) = self.value.as_ref().filter(|value| **value != Value::Null) {
            out.push_str(",\"value\":");
            value.write(&mut out);
        }
        format!("{{{}}}", out.trim_start_matches(','))
    }
}
