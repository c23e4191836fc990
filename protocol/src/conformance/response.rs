//! The answer to a control (`PluginResponse` in `registry.go`, `Response` in `common/xfer`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::codec::stumble::Stumble;
use super::document::Document;
use super::rule::Rule;
use super::walk::{Schema, Segment, Walk, shown};

/// The fields of an answer, in the order of the Go struct.
const RESPONSE: Schema = Schema {
    keys: &[
        "value",
        "error",
        "pipe",
        "raw_tty",
        "resize_tty_control",
        "removedNode",
        "shortcutReport",
    ],
    misnamed: &[],
    skips_surplus: false,
};

impl<'a> Walk<'a> {
    /// Reads an answer. Returns its shortcut report.
    pub(super) fn response(&mut self) -> Result<Option<Document<'a>>, Stumble> {
        let mut shortcut = None;
        self.object(&RESPONSE, |walk, key| {
            let offset = walk.codec.offset();
            match key {
                "value" => walk.skip()?,
                "raw_tty" => {
                    if !walk.codec.null()? && walk.codec.boolean()? {
                        walk.pipe(offset);
                    }
                }
                "pipe" | "resize_tty_control" => {
                    if !walk.text()?.is_empty() {
                        walk.pipe(offset);
                    }
                }
                "shortcutReport" => {
                    shortcut = None;
                    if !walk.codec.null()? {
                        shortcut = Some(walk.document()?);
                    }
                }
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        Ok(shortcut)
    }

    fn pipe(&mut self, offset: usize) {
        self.note(Rule::ControlPipe, offset, || {
            "the answer names a terminal that does not exist".to_owned()
        });
    }

    /// Checks a shortcut report of the plugin with this ID, whose last report listed these
    /// controls.
    pub(super) fn finish_shortcut(
        &mut self,
        shortcut: &Document<'a>,
        id: &str,
        listed: &BTreeSet<String>,
    ) {
        let at = |key: &'static str| {
            let path = [Segment::Name("shortcutReport"), Segment::Name(key)];
            super::walk::pointer(&path)
        };
        let offset = shortcut.plugins_offset();
        match shortcut.first_plugin() {
            None => {
                let problem = "the shortcut report contains no plugin".to_owned();
                self.note_always(Rule::ShortcutPlugins, at("Plugins"), offset, problem);
            }
            Some(first) if first != id => {
                let problem = format!("the plugin is {:?} and should be {id:?}", shown(first));
                self.note_at(Rule::ShortcutId, at("Plugins"), offset, problem);
            }
            Some(_) => {}
        }
        let here = shortcut.controls();
        let missing: Vec<Cow<'_, str>> = listed
            .difference(&here)
            .map(|control| shown(control))
            .collect();
        if !missing.is_empty() {
            let path = "/shortcutReport".to_owned();
            let problem = format!("the controls {} are missing", shown(&missing.join(", ")));
            self.note_at(Rule::ShortcutControls, path, None, problem);
        }
    }
}
