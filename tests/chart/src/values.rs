//! values.yaml as a source: each value with its default and what the comment above it says.
//!
//! The reader knows the part of YAML that such a file needs and refuses the rest: block mappings down to
//! the values, which may be anything.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value as Json};

/// All of values.yaml.
#[derive(Debug)]
pub struct Values {
    /// Shapes that several values have, by name.
    pub shapes: BTreeMap<String, Json>,
    /// In the order of the file.
    pub all: Vec<Value>,
}

/// One value, which is what a person sets.
#[derive(Debug)]
pub struct Value {
    /// From the top: `["operator", "replicas"]`.
    pub path: Vec<String>,
    /// What it decides.
    pub text: String,
    /// Its default.
    pub default: Json,
    /// What the comment says of its schema.
    pub schema: Map<String, Json>,
    /// Whether null is allowed, which makes Helm leave the value out.
    pub optional: bool,
}

impl Value {
    /// As `--set` wants it: `operator.replicas`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// A comment above a key.
#[derive(Debug, Default)]
struct Comment {
    text: Option<String>,
    schema: String,
    optional: bool,
    /// Where the last line went, for the line that follows it.
    in_text: bool,
}

impl Comment {
    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        if let Some(json) = line.strip_prefix("@schema ") {
            self.schema.push_str(json.trim());
            self.in_text = false;
        } else if line == "@optional" {
            self.optional = true;
            self.in_text = false;
        } else if let Some(word) = line.strip_prefix('@') {
            bail!("`@{word}` is none of @schema, @optional, and @define at the top of the file");
        } else if let Some(text) = line.strip_prefix("-- ") {
            self.text = Some(text.trim().to_owned());
            self.in_text = true;
        } else if let (true, Some(text)) = (self.in_text, &mut self.text) {
            text.push(' ');
            text.push_str(line.trim());
        }
        Ok(())
    }
}

/// Reads values.yaml.
///
/// # Errors
/// With the line, when a comment or the file is not as described above.
pub fn parse(source: &str) -> anyhow::Result<Values> {
    let defaults: Json = serde_saphyr::from_str(source)?;
    let mut values = Values {
        shapes: shapes(source)?,
        all: Vec::new(),
    };
    let mut comment = Comment::default();
    // The keys that the present line is below of, each with its indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    // A value's own lines are deeper than its key.
    let mut inside: Option<usize> = None;
    for (number, line) in source.lines().enumerate() {
        let number = number + 1;
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.is_empty() {
            comment = Comment::default();
            continue;
        }
        if inside.is_some_and(|key| indent > key) {
            continue;
        }
        inside = None;
        if let Some(said) = line.strip_prefix('#') {
            if !said.starts_with(" @define ") {
                comment
                    .add(said.strip_prefix(' ').unwrap_or(said))
                    .with_context(|| format!("line {number}"))?;
            }
            continue;
        }
        let (key, _) = line
            .split_once(':')
            .with_context(|| format!("line {number}: neither a key nor a comment"))?;
        above.retain(|(depth, _)| *depth < indent);
        above.push((indent, key.to_owned()));
        let path: Vec<String> = above.iter().map(|(_, key)| key.clone()).collect();
        let said = std::mem::take(&mut comment);
        let pointer = format!("/{}", path.join("/"));
        let default = defaults
            .pointer(&pointer)
            .with_context(|| format!("line {number}: {pointer} is not in the file as YAML"))?;
        let Some(text) = said.text else {
            ensure!(
                default.as_object().is_some_and(|keys| !keys.is_empty()),
                "line {number}: {} is a value without a comment `# -- …`",
                path.join(".")
            );
            continue;
        };
        let schema = match said.schema.as_str() {
            "" => Map::new(),
            json => serde_json::from_str(json)
                .with_context(|| format!("line {number}: the @schema of {}", path.join(".")))?,
        };
        inside = Some(indent);
        values.all.push(Value {
            path,
            text,
            default: default.clone(),
            schema,
            optional: said.optional,
        });
    }
    Ok(values)
}

/// The `@define` lines: a name begins a shape, lines that begin with blanks go on with it.
fn shapes(source: &str) -> anyhow::Result<BTreeMap<String, Json>> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for line in source.lines().filter_map(|l| l.strip_prefix("# @define ")) {
        match (line.starts_with(' '), texts.last_mut()) {
            (true, Some((_, text))) => text.push_str(line),
            _ => {
                let (name, json) = line
                    .split_once(' ')
                    .with_context(|| format!("`@define {line}` wants a name and JSON"))?;
                texts.push((name.to_owned(), json.to_owned()));
            }
        }
    }
    texts
        .into_iter()
        .map(|(name, text)| {
            let shape = serde_json::from_str(&text).with_context(|| format!("@define {name}"))?;
            Ok((name, shape))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_all_of_a_value() {
        let values = parse(
            "# About the file.\n# @define small {\"maximum\":\n# @define  3}\n\n\
             a:\n  # A remark.\n  # -- How many,\n  # in words.\n  # @schema {\"minimum\":\n  # @schema 1}\n  # @optional\n  b: 2\n\n\
             # -- A tree.\n# @schema {\"type\": \"object\"}\nc:\n  d: e\n  # not ours\n  f: [1]\n",
        )
        .unwrap();
        assert_eq!(values.shapes["small"]["maximum"], 3);
        let names: Vec<_> = values.all.iter().map(Value::name).collect();
        assert_eq!(names, ["a.b", "c"]);
        let b = &values.all[0];
        assert_eq!((b.text.as_str(), b.optional), ("How many, in words.", true));
        assert_eq!((&b.default, &b.schema["minimum"]), (&2.into(), &1.into()));
        assert_eq!(values.all[1].default["f"][0], 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (source, words) in [
            ("a: 1\n", "line 1: a is a value without a comment"),
            ("# -- A.\n\na: 1\n", "without a comment"),
            ("# -- A.\n# @type int\na: 1\n", "`@type int` is none of"),
            ("# -- A.\n# @schema {x}\na: 1\n", "the @schema of a"),
        ] {
            let error = format!("{:#}", parse(source).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
