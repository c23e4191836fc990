//! The report as a whole: its topologies, its plugins, and what only shows when all is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::codec::stumble::Stumble;
use super::names::go_quoted;
use super::rule::Rule;
use super::sections::Contents;
use super::walk::{Read, Schema, Walk, shown};
use crate::{API_VERSION, Topology};

/// The fields of a report, in the order of the Go struct.
const REPORT: Schema = Schema::of(&[
    "TS",
    "Endpoint",
    "Process",
    "Container",
    "Pod",
    "Service",
    "Deployment",
    "ReplicaSet",
    "DaemonSet",
    "StatefulSet",
    "CronJob",
    "Namespace",
    "ContainerImage",
    "Host",
    "ECSTask",
    "ECSService",
    "SwarmService",
    "Overlay",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "VolumeSnapshot",
    "VolumeSnapshotData",
    "Job",
    "DNS",
    "nodes",
    "Sampling",
    "Window",
    "Shortcut",
    "Plugins",
    "ID",
]);

const PLUGIN: Schema = Schema {
    keys: &[
        "id",
        "label",
        "description",
        "interfaces",
        "api_version",
        "status",
    ],
    misnamed: &[],
    skips_surplus: false,
};

const SAMPLING: Schema = Schema::of(&["Count", "Total"]);

const DNS_RECORD: Schema = Schema::of(&["forward", "reverse"]);

/// A member of `Plugins` as the probe reads it.
#[derive(Debug, Default)]
pub(super) struct Plugin<'a> {
    id: Cow<'a, str>,
    label: Cow<'a, str>,
    api_version: Cow<'a, str>,
    interfaces: Vec<Cow<'a, str>>,
    offset: usize,
}

impl Plugin<'_> {
    fn implements(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|i| i == interface)
    }
}

/// A report as the probe reads it.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    plugins: BTreeMap<Cow<'a, str>, Plugin<'a>>,
    plugins_offset: Option<usize>,
    topologies: BTreeMap<Topology, Contents<'a>>,
}

impl Document<'_> {
    /// IDs of the controls of all topologies.
    pub(super) fn controls(&self) -> BTreeSet<String> {
        self.topologies
            .values()
            .flat_map(|t| &t.controls)
            .map(|id| id.clone().into_owned())
            .collect()
    }

    /// Where `Plugins` is.
    pub(super) fn plugins_offset(&self) -> Option<usize> {
        self.plugins_offset
    }

    /// The plugin that the probe takes for the sender of a shortcut report.
    pub(super) fn first_plugin(&self) -> Option<&str> {
        self.plugins.keys().next().map(|id| &**id)
    }

    /// The probe's judgement of the plugin, in its order and its words. The rule is the broken one.
    pub(super) fn judge(&self, id: &str) -> Result<(), (Rule, String)> {
        let mut plugins = self.plugins.values();
        let (Some(plugin), None) = (plugins.next(), plugins.next()) else {
            let found = self.plugins.len();
            let rule = if found == 0 {
                Rule::PluginsMissing
            } else {
                Rule::PluginsMany
            };
            return Err((
                rule,
                format!("report must contain exactly one plugin (found {found})"),
            ));
        };
        if plugin.id != id {
            let (is, wanted) = (go_quoted(&shown(&plugin.id)), go_quoted(id));
            let words = format!("plugin must not change its id (is {is}, should be {wanted})");
            return Err((Rule::PluginId, words));
        }
        if plugin.api_version != API_VERSION {
            let (wanted, got) = (
                go_quoted(API_VERSION),
                go_quoted(&shown(&plugin.api_version)),
            );
            let words = format!("incorrect API version: expected {wanted}, got {got}");
            return Err((Rule::ApiVersion, words));
        }
        if plugin.label.is_empty() {
            return Err((Rule::Label, "spec must contain a label".to_owned()));
        }
        if !plugin.implements("reporter") {
            let words = "spec must implement the \"reporter\" interface";
            return Err((Rule::Interfaces, words.to_owned()));
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// Reads a report. An error is one that makes the probe drop the answer.
    pub(super) fn document(&mut self) -> Result<Document<'a>, Stumble> {
        let mut document = Document::default();
        self.object(&REPORT, |walk, key| walk.report_member(&mut document, key))?;
        Ok(document)
    }

    fn report_member(&mut self, document: &mut Document<'a>, key: &'static str) -> Read<()> {
        if let Some(topology) = Topology::from_key(key) {
            let contents = document.topologies.entry(topology).or_default();
            return self.topology(topology, contents);
        }
        let offset = self.codec.offset();
        match key {
            "TS" => self.time().map(drop),
            "Plugins" => {
                document.plugins_offset = Some(offset);
                self.plugins(document)
            }
            "DNS" => self.dns(),
            "nodes" => {
                if self.codec.null()? {
                    return Ok(());
                }
                self.note(Rule::TopLevelNodes, offset, || {
                    "the top-level `nodes` is an old name of `DNS`".to_owned()
                });
                self.dns()
            }
            "Sampling" => {
                let present = self.object(&SAMPLING, |walk, _| {
                    if !walk.codec.null()? {
                        walk.codec.uint()?;
                    }
                    Ok(())
                })?;
                self.added_up(offset, present);
                Ok(())
            }
            "Window" => {
                let present = !self.codec.null()?;
                if present {
                    self.codec.int()?;
                }
                self.added_up(offset, present);
                Ok(())
            }
            "Shortcut" => {
                if !self.codec.null()? {
                    self.codec.boolean()?;
                }
                Ok(())
            }
            _ => self.text().map(drop),
        }
    }

    fn added_up(&mut self, offset: usize, present: bool) {
        if present {
            self.note(Rule::AddedUp, offset, || {
                "the probe adds this value to that of its other reports".to_owned()
            });
        }
    }

    fn dns(&mut self) -> Read<()> {
        self.map(|walk, _, _| {
            walk.object(&DNS_RECORD, |walk, _| walk.sorted_texts())
                .map(drop)
        })
    }

    /// Errors in here are ignored by the probe, and then no plugin is found.
    fn plugins(&mut self, document: &mut Document<'a>) -> Read<()> {
        let mut plugins = BTreeMap::new();
        let sound = self.codec.null()?
            || self.contained(|walk| {
                walk.list(|walk, _| {
                    let plugin = walk.plugin()?;
                    let offset = plugin.offset;
                    let id = plugin.id.clone();
                    if plugins.insert(id.clone(), plugin).is_some() {
                        walk.note(Rule::PluginRepeated, offset, || {
                            format!("the plugin {:?} is here for the second time", shown(&id))
                        });
                    }
                    Ok(())
                })
            })?;
        if sound {
            document.plugins = plugins;
        }
        Ok(())
    }

    fn plugin(&mut self) -> Read<Plugin<'a>> {
        let mut plugin = Plugin {
            offset: self.codec.offset(),
            ..Plugin::default()
        };
        self.object(&PLUGIN, |walk, key| {
            match key {
                "id" => plugin.id = walk.text()?,
                "label" => plugin.label = walk.text()?,
                "api_version" => plugin.api_version = walk.text()?,
                "interfaces" => {
                    plugin.interfaces.clear();
                    walk.list(|walk, _| {
                        let offset = walk.codec.offset();
                        let interface = walk.text()?;
                        if !matches!(&*interface, "reporter" | "controller") {
                            walk.note(Rule::InterfaceUnknown, offset, || {
                                format!("Scope knows no interface {:?}", shown(&interface))
                            });
                        }
                        plugin.interfaces.push(interface);
                        Ok(())
                    })?;
                }
                _ => drop(walk.text()?),
            }
            Ok(())
        })?;
        Ok(plugin)
    }

    /// Checks what only shows when all is read.
    pub(super) fn finish(&mut self, document: &Document<'a>) {
        let controller = document
            .plugins
            .values()
            .any(|p| p.implements("controller"));
        for (&topology, contents) in &document.topologies {
            self.finish_topology(topology, contents);
            if let Some((node, offset)) = &contents.first_node
                && controller
                && !self.quiet
            {
                let path = format!("/{topology}/nodes");
                let problem = format!(
                    "the controller lists {} nodes here, of which {:?} is the first",
                    contents.nodes,
                    shown(node)
                );
                self.note_at(Rule::ControllerNodes, path, Some(*offset), problem);
            }
            if let Some(offset) = contents.controls_offset
                && !controller
                && !contents.controls.is_empty()
            {
                let path = format!("/{topology}/controls");
                let problem = "the plugin lists controls and is no controller".to_owned();
                self.note_at(Rule::ControlInterface, path, Some(offset), problem);
            }
        }
    }
}
