//! A topology: its controls and templates, and how its nodes fit them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::names;
use super::rule::Rule;
use super::walk::{Read, Schema, Segment, Walk, pointer, shown};
use crate::Topology;

const TOPOLOGY: Schema = Schema {
    keys: &[
        "shape",
        "tag",
        "label",
        "label_plural",
        "nodes",
        "controls",
        "metadata_templates",
        "metric_templates",
        "table_templates",
    ],
    misnamed: &[
        ("metadata", Rule::KeyName, "\"metadata_templates\""),
        ("metrics", Rule::KeyName, "\"metric_templates\""),
        ("tables", Rule::KeyName, "\"table_templates\""),
        ("metrics_templates", Rule::KeyName, "\"metric_templates\""),
        ("tables_templates", Rule::KeyName, "\"table_templates\""),
    ],
    skips_surplus: true,
};

const CONTROL: Schema = Schema::of(&["id", "human", "icon", "confirmation", "rank"]);

const METRIC_TEMPLATE: Schema = Schema::of(&["id", "label", "format", "group", "priority"]);

const METADATA_TEMPLATE: Schema = Schema {
    keys: &["id", "label", "truncate", "dataType", "priority", "from"],
    misnamed: &[("type", Rule::KeyName, "\"dataType\"")],
    skips_surplus: true,
};

const TABLE_TEMPLATE: Schema =
    Schema::of(&["id", "label", "prefix", "type", "columns", "fixedRows"]);

const COLUMN: Schema = Schema {
    keys: &["id", "label", "dataType"],
    misnamed: &[("type", Rule::KeyName, "\"dataType\"")],
    skips_surplus: true,
};

/// A node and an offset in it.
pub(super) type Spot<'a> = (Cow<'a, str>, usize);

/// What has to be known of a topology when all of it is read.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    pub(super) controls: BTreeSet<Cow<'a, str>>,
    pub(super) controls_offset: Option<usize>,
    pub(super) nodes: usize,
    pub(super) first_node: Option<Spot<'a>>,
    /// Metrics of nodes, with the first node that has it.
    pub(super) metrics: BTreeMap<Cow<'a, str>, Spot<'a>>,
    /// `latest` keys of nodes whose tables are shown, with the first node that has it.
    pub(super) latest: BTreeMap<Cow<'a, str>, Spot<'a>>,
    /// Inner IDs of metric templates.
    metric_templates: HashSet<Cow<'a, str>>,
    /// Prefixes of multi-column tables, with the template and its offset.
    prefixes: BTreeMap<Cow<'a, str>, Spot<'a>>,
}

impl<'a> Walk<'a> {
    pub(super) fn topology(&mut self, topology: Topology, contents: &mut Contents<'a>) -> Read<()> {
        self.object(&TOPOLOGY, |walk, key| match key {
            "nodes" => walk.nodes(topology, contents),
            "controls" => {
                contents.controls_offset = Some(walk.codec.offset());
                walk.map(|walk, id, offset| {
                    contents.controls.insert(id.clone());
                    walk.control(id, offset)
                })
            }
            "metadata_templates" => walk.map(|walk, id, offset| walk.metadata_template(id, offset)),
            "metric_templates" => walk.map(|walk, id, offset| {
                let inner = walk.metric_template(id, offset)?;
                contents.metric_templates.insert(inner);
                Ok(())
            }),
            "table_templates" => walk.map(|walk, id, offset| {
                if let Some(prefix) = walk.table_template(id, offset)? {
                    contents
                        .prefixes
                        .entry(prefix)
                        .or_insert_with(|| (id.clone(), offset));
                }
                Ok(())
            }),
            _ => walk.text().map(drop),
        })
        .map(drop)
    }

    fn control(&mut self, id: &str, offset: usize) -> Read<()> {
        if !names::is_control_id(id) {
            self.note(Rule::ControlId, offset, || {
                format!("the control ID {:?} does not fit into a URL", shown(id))
            });
        }
        let mut inner = Cow::Borrowed("");
        let present = self.object(&CONTROL, |walk, key| {
            match key {
                "id" => inner = walk.text()?,
                "rank" => drop(walk.integer()?),
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        if !present {
            self.null_entry(offset);
        } else if inner != id {
            self.note(Rule::ControlKey, offset, || {
                format!("the inner `id` is {:?}", shown(&inner))
            });
        }
        Ok(())
    }

    fn null_entry(&mut self, offset: usize) {
        self.note(Rule::NullValue, offset, || {
            "`null` is read as an empty entry".to_owned()
        });
    }

    fn template_key(&mut self, id: &str, inner: &str, offset: usize, present: bool) {
        if !present {
            self.null_entry(offset);
        } else if inner != id {
            self.note(Rule::TemplateKey, offset, || {
                format!("the inner `id` is {:?}", shown(inner))
            });
        }
    }

    /// Reads a word that has to be one of a few.
    fn word(&mut self, rule: Rule, known: &[&str]) -> Read<()> {
        let offset = self.codec.offset();
        let word = self.text()?;
        if !known.contains(&&*word) {
            self.note(rule, offset, || {
                format!("{:?} is none that Scope knows", shown(&word))
            });
        }
        Ok(())
    }

    fn data_type(&mut self) -> Read<()> {
        self.word(
            Rule::DataType,
            &["", "number", "ip", "datetime", "duration", "link"],
        )
    }

    fn metric_template(&mut self, id: &str, offset: usize) -> Read<Cow<'a, str>> {
        let mut inner = Cow::Borrowed("");
        let present = self.object(&METRIC_TEMPLATE, |walk, key| {
            match key {
                "id" => inner = walk.text()?,
                "format" => {
                    walk.word(Rule::MetricFormat, &["", "filesize", "integer", "percent"])?;
                }
                "priority" => drop(walk.number()?),
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        self.template_key(id, &inner, offset, present);
        Ok(inner)
    }

    fn metadata_template(&mut self, id: &str, offset: usize) -> Read<()> {
        let mut inner = Cow::Borrowed("");
        let mut priority = 0.0;
        let present = self.object(&METADATA_TEMPLATE, |walk, key| {
            match key {
                "id" => inner = walk.text()?,
                "truncate" => drop(walk.integer()?),
                "dataType" => walk.data_type()?,
                "priority" => priority = walk.number()?,
                "from" => walk.word(Rule::TemplateFrom, &["", "latest", "sets", "counters"])?,
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        self.template_key(id, &inner, offset, present);
        // An absent priority and 0 are the same on the way to the UI, where `undefined < 10` fails.
        if present && (priority == 0.0 || priority >= 10.0) {
            self.note(Rule::Priority, offset, || {
                format!("the priority is {priority}")
            });
        }
        Ok(())
    }

    /// Reads the template of a table. Returns the prefix of a multi-column one.
    fn table_template(&mut self, id: &str, offset: usize) -> Read<Option<Cow<'a, str>>> {
        let mut inner = Cow::Borrowed("");
        let mut prefix = Cow::Borrowed("");
        let mut fixed_rows = 0;
        let mut multicolumn = false;
        let present = self.object(&TABLE_TEMPLATE, |walk, key| {
            match key {
                "id" => inner = walk.text()?,
                "prefix" => prefix = walk.text()?,
                "type" => {
                    let offset = walk.codec.offset();
                    let kind = walk.text()?;
                    multicolumn = kind == "multicolumn-table";
                    if !matches!(&*kind, "" | "property-list" | "multicolumn-table") {
                        walk.note(Rule::TableType, offset, || {
                            format!("{:?} is none that Scope knows", shown(&kind))
                        });
                    }
                }
                "columns" => walk.list(|walk, _| {
                    walk.object(&COLUMN, |walk, key| match key {
                        "dataType" => walk.data_type(),
                        _ => walk.text().map(drop),
                    })
                    .map(drop)
                })?,
                "fixedRows" => walk.map(|walk, _, _| {
                    fixed_rows += 1;
                    walk.text().map(drop)
                })?,
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        self.template_key(id, &inner, offset, present);
        if present && prefix.is_empty() && (multicolumn || fixed_rows == 0) {
            self.note(Rule::TablePrefix, offset, || {
                "the table has no prefix".to_owned()
            });
        }
        Ok((multicolumn && !prefix.is_empty()).then_some(prefix))
    }

    /// Checks that nodes and templates fit, wherever in the report they stand.
    pub(super) fn finish_topology(&mut self, topology: Topology, contents: &Contents<'a>) {
        // No view draws Namespace nodes, so a template could show nothing there; a metric alone keeps
        // such a node in every publish of the probe.
        let drawn = topology != Topology::Namespace;
        for (metric, (node, offset)) in contents.metrics.iter().filter(|_| drawn) {
            if !contents.metric_templates.contains(metric)
                && !names::has_builtin_template(topology, metric)
            {
                let path = in_node(topology, node, "metrics", metric);
                let problem = format!("no metric template of {topology} has this ID");
                self.note_at(Rule::MetricTemplate, path, Some(*offset), problem);
            }
        }
        for (prefix, (table, template_offset)) in &contents.prefixes {
            for key in names::builtin_keys(topology) {
                if key
                    .strip_prefix(&**prefix)
                    .is_some_and(|rest| !rest.contains("___"))
                {
                    let path = in_topology(topology, "table_templates", table);
                    let problem =
                        format!("the prefix {prefix:?} takes in Scope's own key {key:?} of nodes");
                    self.note_at(Rule::TableKey, path, Some(*template_offset), problem);
                    break;
                }
            }
            // The keys with this prefix are next to one another. Only one is told for each table.
            let with_prefix = contents
                .latest
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&**prefix));
            let bad = with_prefix
                .into_iter()
                .find(|(key, _)| !key[prefix.len()..].contains("___"));
            if let Some((key, (node, offset))) = bad {
                let path = in_node(topology, node, "latest", key);
                let problem = format!(
                    "the key has the prefix of the table {:?} and no ___ behind it",
                    shown(table)
                );
                self.note_at(Rule::TableKey, path, Some(*offset), problem);
            }
        }
    }
}

fn in_topology(topology: Topology, section: &'static str, key: &str) -> String {
    let key = Segment::Key(Cow::Borrowed(key));
    pointer(&[Segment::Name(topology.key()), Segment::Name(section), key])
}

fn in_node(topology: Topology, node: &str, section: &'static str, key: &str) -> String {
    let (node, key) = (
        Segment::Key(Cow::Borrowed(node)),
        Segment::Key(Cow::Borrowed(key)),
    );
    let (topology, nodes) = (Segment::Name(topology.key()), Segment::Name("nodes"));
    pointer(&[topology, nodes, node, Segment::Name(section), key])
}
