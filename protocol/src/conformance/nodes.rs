//! Nodes. Whatever the decoder stumbles over in here, the probe ignores and then reads on from the
//! middle (`report/backcompat.go`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::names;
use super::rule::Rule;
use super::sections::Contents;
use super::walk::{Read, Schema, Walk, shown};
use crate::{NodeId, Topology};

const NODE: Schema = Schema {
    keys: &[
        "id",
        "topology",
        "sets",
        "adjacency",
        "latest",
        "metrics",
        "parents",
        "children",
        "latestControls",
        "counters",
    ],
    misnamed: &[("controls", Rule::NodeControls, "\"latestControls\"")],
    skips_surplus: true,
};

const LATEST: Schema = Schema::of(&["timestamp", "value"]);

const DEAD: Schema = Schema::of(&["dead"]);

const METRIC: Schema = Schema::of(&["samples", "min", "max"]);

const SAMPLE: Schema = Schema::of(&["date", "value"]);

/// How deep `children` are read as nodes. Plugins have none at all; what is deeper is read over,
/// so that no input exhausts the stack.
const MAX_GENERATIONS: usize = 16;

/// What has to be known of a node when all of it is read.
#[derive(Default)]
struct Seen<'a> {
    id: Cow<'a, str>,
    id_offset: Option<usize>,
    /// A counter named like the topology: the app shows no metrics and tables of this node.
    taken_for_group: bool,
    latest: BTreeMap<Cow<'a, str>, usize>,
    metrics: BTreeMap<Cow<'a, str>, usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn nodes(&mut self, topology: Topology, contents: &mut Contents<'a>) -> Read<()> {
        self.map(|walk, key, offset| {
            contents.nodes += 1;
            contents
                .first_node
                .get_or_insert_with(|| (key.clone(), offset));
            if let Err(e) = NodeId::parse_in(topology, &shown(key)) {
                walk.note(Rule::NodeKey, offset, || e.to_string());
            } else if topology == Topology::Container && key.contains("://") {
                walk.note(Rule::NodeKey, offset, || {
                    "the container's ID begins with its runtime's scheme".to_owned()
                });
            }
            let mut seen = Seen::default();
            if !walk.codec.null()? {
                walk.contained(|walk| walk.node(Some(topology), &mut seen, 0))?;
            }
            if seen.id.is_empty() {
                walk.note(Rule::NodeId, seen.id_offset.unwrap_or(offset), || {
                    "the node has no `id`".to_owned()
                });
            } else if seen.id != *key {
                walk.note(
                    Rule::NodeIdDiffers,
                    seen.id_offset.unwrap_or(offset),
                    || format!("the node's `id` is {:?}", shown(&seen.id)),
                );
            }
            for (metric, offset) in seen.metrics {
                contents
                    .metrics
                    .entry(metric)
                    .or_insert_with(|| (key.clone(), offset));
            }
            if !seen.taken_for_group {
                for (latest, offset) in seen.latest {
                    contents
                        .latest
                        .entry(latest)
                        .or_insert_with(|| (key.clone(), offset));
                }
            }
            Ok(())
        })
    }

    /// Reads a node; a child has no topology that its members could be checked against.
    fn node(
        &mut self,
        topology: Option<Topology>,
        seen: &mut Seen<'a>,
        generation: usize,
    ) -> Read<()> {
        self.object(&NODE, |walk, key| {
            let offset = walk.codec.offset();
            match key {
                "id" => {
                    seen.id = walk.text()?;
                    seen.id_offset = Some(offset);
                }
                "topology" => {
                    let name = walk.text()?;
                    if let Some(topology) = topology
                        && !name.is_empty()
                        && name != topology.name()
                    {
                        walk.note(Rule::NodeTopology, offset, || {
                            format!("a node of {topology} claims to be a {:?}", shown(&name))
                        });
                    }
                }
                "latest" => walk.latest(seen)?,
                "latestControls" => walk.latest_controls(seen, offset)?,
                "metrics" => walk.map(|walk, id, offset| {
                    seen.metrics.entry(id.clone()).or_insert(offset);
                    walk.metric(offset)
                })?,
                "sets" => walk.map(|walk, _, _| walk.contained_texts())?,
                "parents" => walk.parents()?,
                "adjacency" => walk.adjacency(topology, offset)?,
                "counters" => walk.counters(topology, seen)?,
                _ => walk.children(offset, generation)?,
            }
            Ok(())
        })
        .map(drop)
    }

    fn latest(&mut self, seen: &mut Seen<'a>) -> Read<()> {
        self.map(|walk, key, offset| {
            seen.latest.entry(key.clone()).or_insert(offset);
            let mut time = None;
            let mut value = Cow::Borrowed("");
            walk.object(&LATEST, |walk, member| {
                match member {
                    "timestamp" => time = walk.time()?,
                    _ => {
                        let offset = walk.codec.offset();
                        if walk.codec.null()? {
                            walk.note(Rule::NullValue, offset, || {
                                "`null` is read as an empty text".to_owned()
                            });
                        } else {
                            value = walk.text()?;
                        }
                    }
                }
                Ok(())
            })?;
            walk.stamped(time.is_some(), offset);
            if key == "active_controls" {
                walk.active_controls(value.split(';').filter(|id| !id.is_empty()), offset);
            }
            Ok(())
        })
    }

    fn stamped(&mut self, stamped: bool, offset: usize) {
        if !stamped {
            self.note(Rule::TimeMissing, offset, || "there is no time".to_owned());
        }
    }

    fn active_controls<'i>(&mut self, ids: impl Iterator<Item = &'i str>, offset: usize) {
        for id in ids {
            if !names::is_active_control(id) {
                self.note(Rule::ControlId, offset, || {
                    format!("the control ID {:?} does not fit into a URL", shown(id))
                });
            }
        }
    }

    /// The probe makes one `latest` value of them.
    fn latest_controls(&mut self, seen: &mut Seen<'a>, offset: usize) -> Read<()> {
        self.map(|walk, id, at| {
            seen.latest
                .entry(Cow::Borrowed("active_controls"))
                .or_insert(offset);
            walk.active_controls(std::iter::once(&**id), at);
            let mut time = None;
            walk.object(&LATEST, |walk, member| {
                match member {
                    "timestamp" => time = walk.time()?,
                    _ => drop(walk.object(&DEAD, |walk, _| {
                        if !walk.codec.null()? {
                            walk.codec.boolean()?;
                        }
                        Ok(())
                    })?),
                }
                Ok(())
            })?;
            walk.stamped(time.is_some(), at);
            Ok(())
        })
    }

    fn metric(&mut self, offset: usize) -> Read<()> {
        let mut samples = 0;
        let mut highest = f64::NEG_INFINITY;
        let mut max = 0.0;
        let present = self.object(&METRIC, |walk, key| {
            match key {
                "samples" => {
                    let mut last = None;
                    samples = 0;
                    highest = f64::NEG_INFINITY;
                    walk.list(|walk, _| {
                        samples += 1;
                        let offset = walk.codec.offset();
                        let mut date = None;
                        let mut value: f64 = 0.0;
                        walk.object(&SAMPLE, |walk, key| {
                            match key {
                                "date" => date = walk.time()?,
                                _ => value = walk.number()?,
                            }
                            Ok(())
                        })?;
                        walk.stamped(date.is_some(), offset);
                        if last.is_some() && date <= last {
                            walk.note(Rule::SampleOrder, offset, || {
                                "the sample is not later than the one before".to_owned()
                            });
                        }
                        last = date.or(last);
                        highest = highest.max(value);
                        Ok(())
                    })?;
                }
                "max" => max = walk.number()?,
                _ => drop(walk.number()?),
            }
            Ok(())
        })?;
        if !present || samples == 0 {
            self.note(Rule::MetricEmpty, offset, || {
                "the metric has no sample".to_owned()
            });
        } else if max <= 0.0 {
            self.note(Rule::MetricMax, offset, || format!("`max` is {max}"));
        } else if max < highest && highest.is_finite() {
            self.note(Rule::MetricMax, offset, || {
                format!("`max` is {max}, and the highest sample is {highest}")
            });
        }
        Ok(())
    }

    /// A set inside a node: its errors are ignored, too.
    fn contained_texts(&mut self) -> Read<()> {
        if !self.codec.null()? {
            self.contained(Walk::sorted_texts)?;
        }
        Ok(())
    }

    /// Texts that have to be sorted and unique.
    pub(super) fn sorted_texts(&mut self) -> Read<()> {
        self.checked_texts(|_, _, _| {})
    }

    fn checked_texts(&mut self, mut check: impl FnMut(&mut Self, &str, usize)) -> Read<()> {
        let mut before: Option<Cow<'a, str>> = None;
        self.list(|walk, _| {
            let offset = walk.codec.offset();
            let text = walk.text()?;
            check(walk, &text, offset);
            if let Some(before) = &before
                && text <= *before
            {
                let what = if text == *before {
                    "repeated"
                } else {
                    "not in order"
                };
                walk.note(Rule::SetOrder, offset, || {
                    format!("{:?} is {what}", shown(&text))
                });
            }
            before = Some(text);
            Ok(())
        })
    }

    fn parents(&mut self) -> Read<()> {
        self.map(|walk, key, offset| {
            let topology = Topology::from_name(key);
            if topology.is_none() {
                walk.note(Rule::ParentTopology, offset, || {
                    let written = shown(key);
                    match names::topology_alike(key) {
                        Some(t) => {
                            format!("{written:?} is no topology's name; it is {:?}", t.name())
                        }
                        None => format!("{written:?} is no topology's name"),
                    }
                });
            }
            if walk.codec.null()? {
                return Ok(());
            }
            walk.contained(|walk| {
                walk.checked_texts(|walk, id, offset| {
                    if let Some(topology) = topology
                        && let Err(e) = NodeId::parse_in(topology, &shown(id))
                    {
                        walk.note(Rule::ParentId, offset, || e.to_string());
                    }
                })
            })?;
            Ok(())
        })
    }

    fn adjacency(&mut self, topology: Option<Topology>, offset: usize) -> Read<()> {
        let mut members = 0;
        self.checked_texts(|_, _, _| members += 1)?;
        if let Some(topology) = topology
            && members > 0
            && !matches!(topology, Topology::Endpoint | Topology::Overlay)
        {
            self.note(Rule::AdjacencyTopology, offset, || {
                format!("Scope draws no edges between nodes of {topology}")
            });
        }
        Ok(())
    }

    fn counters(&mut self, topology: Option<Topology>, seen: &mut Seen<'a>) -> Read<()> {
        self.map(|walk, name, offset| {
            // `null` is no integer here, other than in the fields of an object.
            walk.codec.int()?;
            if topology.is_some_and(|t| t.name() == name) {
                seen.taken_for_group = true;
                walk.note(Rule::CounterName, offset, || {
                    "the counter is named like the node's own topology".to_owned()
                });
            }
            seen.latest
                .entry(Cow::Owned(format!("count_{name}")))
                .or_insert(offset);
            Ok(())
        })
    }

    fn children(&mut self, offset: usize, generation: usize) -> Read<()> {
        if self.codec.null()? {
            return Ok(());
        }
        self.note(Rule::Children, offset, || {
            "the node brings `children`".to_owned()
        });
        if generation >= MAX_GENERATIONS {
            return self.skip();
        }
        let before = std::mem::replace(&mut self.quiet, true);
        self.contained(|walk| {
            walk.list(|walk, _| {
                if !walk.codec.null()? {
                    let mut seen = Seen::default();
                    walk.contained(|walk| walk.node(None, &mut seen, generation + 1))?;
                }
                Ok(())
            })
        })?;
        self.quiet = before;
        Ok(())
    }
}
