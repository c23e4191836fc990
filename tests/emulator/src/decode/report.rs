//! Reports and topologies.

use std::collections::BTreeMap;

use super::feed::Stop;
use super::node;
use super::scanner::{Scanner, Surplus};
use crate::kind::Kind;
use crate::report::{
    Column, Control, DnsRecord, MetadataTemplate, MetricTemplate, PluginSpec, Report, Sampling,
    TableTemplate, Topology,
};
use crate::stamp::Stamp;

type Read<T = ()> = Result<T, Stop>;

/// The keys of a report, in the order in which an array would give them.
#[rustfmt::skip]
const REPORT: [&str; 31] = [
    "TS", "Endpoint", "Process", "Container", "Pod", "Service", "Deployment", "ReplicaSet",
    "DaemonSet", "StatefulSet", "CronJob", "Namespace", "ContainerImage", "Host", "ECSTask",
    "ECSService", "SwarmService", "Overlay", "PersistentVolume", "PersistentVolumeClaim",
    "StorageClass", "VolumeSnapshot", "VolumeSnapshotData", "Job", "DNS", "nodes", "Sampling",
    "Window", "Shortcut", "Plugins", "ID",
];

/// Reads over what is in `report` already, which is how a topology given twice is joined.
pub(super) fn read(scanner: &mut Scanner<'_, '_>, report: &mut Report) -> Read {
    scanner.structure(&REPORT, Surplus::Skipped, &mut |scanner, field, null| {
        match REPORT[field] {
            "TS" => report.ts = time(scanner, null)?,
            "DNS" => dns(scanner, null, &mut report.dns)?,
            "nodes" => dns(scanner, null, &mut report.misplaced_dns)?,
            "Sampling" => sampling(scanner, null, &mut report.sampling)?,
            "Window" => report.window = int(scanner, null)?,
            "Shortcut" => report.shortcut = !null && scanner.boolean()?,
            "Plugins" => plugins(scanner, null, &mut report.plugins),
            "ID" => drop(text(scanner, null)?),
            key => {
                let kind = key
                    .parse::<Kind>()
                    .expect("every other key is that of a topology");
                topology(scanner, null, report.topology_mut(kind))?;
            }
        }
        Ok(())
    })
}

pub(super) fn text(scanner: &mut Scanner<'_, '_>, null: bool) -> Read<String> {
    if null {
        Ok(String::new())
    } else {
        scanner.text()
    }
}

pub(super) fn time(scanner: &mut Scanner<'_, '_>, null: bool) -> Read<Stamp> {
    if null {
        Ok(Stamp::ZERO)
    } else {
        scanner.time()
    }
}

pub(super) fn float(scanner: &mut Scanner<'_, '_>, null: bool) -> Read<f64> {
    if null { Ok(0.0) } else { scanner.float() }
}

fn int(scanner: &mut Scanner<'_, '_>, null: bool) -> Read<i64> {
    if null { Ok(0) } else { scanner.int() }
}

fn uint(scanner: &mut Scanner<'_, '_>, null: bool) -> Read<u64> {
    if null { Ok(0) } else { scanner.uint() }
}

/// An object of structures; one given twice is read afresh, not over the first.
pub(super) fn entries<T: Default>(
    scanner: &mut Scanner<'_, '_>,
    null: bool,
    into: &mut BTreeMap<String, T>,
    read: fn(&mut Scanner<'_, '_>, &mut T) -> Read,
) -> Read {
    if null {
        into.clear();
        return Ok(());
    }
    scanner.map(&mut |scanner, key| {
        let mut value = T::default();
        if !scanner.try_null()? {
            read(scanner, &mut value)?;
        }
        into.insert(key, value);
        Ok(())
    })
}

/// A list of texts.
pub(super) fn words(scanner: &mut Scanner<'_, '_>, null: bool, into: &mut Vec<String>) -> Read {
    *into = if null {
        Vec::new()
    } else {
        scanner.list(into.clone(), &mut |scanner, word| {
            *word = scanner.text()?;
            Ok(())
        })?
    };
    Ok(())
}

fn topology(scanner: &mut Scanner<'_, '_>, null: bool, topology: &mut Topology) -> Read {
    const FIELDS: [&str; 9] = [
        "shape",
        "tag",
        "label",
        "label_plural",
        "nodes",
        "controls",
        "metadata_templates",
        "metric_templates",
        "table_templates",
    ];
    if null {
        *topology = Topology::default();
        return Ok(());
    }
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| topology.shape = text),
            1 => text(scanner, null).map(|text| topology.tag = text),
            2 => text(scanner, null).map(|text| topology.label = text),
            3 => text(scanner, null).map(|text| topology.label_plural = text),
            4 => entries(scanner, null, &mut topology.nodes, |scanner, node| {
                node::read(scanner, node);
                Ok(())
            }),
            5 => entries(scanner, null, &mut topology.controls, control),
            6 => entries(
                scanner,
                null,
                &mut topology.metadata_templates,
                metadata_template,
            ),
            7 => entries(
                scanner,
                null,
                &mut topology.metric_templates,
                metric_template,
            ),
            _ => entries(scanner, null, &mut topology.table_templates, table_template),
        },
    )
}

fn control(scanner: &mut Scanner<'_, '_>, control: &mut Control) -> Read {
    const FIELDS: [&str; 5] = ["id", "human", "icon", "confirmation", "rank"];
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| control.id = text),
            1 => text(scanner, null).map(|text| control.human = text),
            2 => text(scanner, null).map(|text| control.icon = text),
            3 => text(scanner, null).map(|text| control.confirmation = text),
            _ => int(scanner, null).map(|rank| control.rank = rank),
        },
    )
}

fn metadata_template(scanner: &mut Scanner<'_, '_>, template: &mut MetadataTemplate) -> Read {
    const FIELDS: [&str; 6] = ["id", "label", "truncate", "dataType", "priority", "from"];
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| template.id = text),
            1 => text(scanner, null).map(|text| template.label = text),
            2 => int(scanner, null).map(|length| template.truncate = length),
            3 => text(scanner, null).map(|text| template.data_type = text),
            4 => float(scanner, null).map(|priority| template.priority = priority),
            _ => text(scanner, null).map(|text| template.from = text),
        },
    )
}

fn metric_template(scanner: &mut Scanner<'_, '_>, template: &mut MetricTemplate) -> Read {
    const FIELDS: [&str; 5] = ["id", "label", "format", "group", "priority"];
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| template.id = text),
            1 => text(scanner, null).map(|text| template.label = text),
            2 => text(scanner, null).map(|text| template.format = text),
            3 => text(scanner, null).map(|text| template.group = text),
            _ => float(scanner, null).map(|priority| template.priority = priority),
        },
    )
}

fn table_template(scanner: &mut Scanner<'_, '_>, template: &mut TableTemplate) -> Read {
    const FIELDS: [&str; 6] = ["id", "label", "prefix", "type", "columns", "fixedRows"];
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| template.id = text),
            1 => text(scanner, null).map(|text| template.label = text),
            2 => text(scanner, null).map(|text| template.prefix = text),
            3 => text(scanner, null).map(|text| template.kind = text),
            4 if null => {
                template.columns.clear();
                Ok(())
            }
            4 => {
                let known = std::mem::take(&mut template.columns);
                template.columns = scanner.list(known, &mut column)?;
                Ok(())
            }
            _ if null => {
                template.fixed_rows.clear();
                Ok(())
            }
            _ => scanner.map(&mut |scanner, key| {
                let label = scanner.text()?;
                template.fixed_rows.insert(key, label);
                Ok(())
            }),
        },
    )
}

fn column(scanner: &mut Scanner<'_, '_>, column: &mut Column) -> Read {
    const FIELDS: [&str; 3] = ["id", "label", "dataType"];
    if scanner.try_null()? {
        *column = Column::default();
        return Ok(());
    }
    scanner.structure(
        &FIELDS,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| column.id = text),
            1 => text(scanner, null).map(|text| column.label = text),
            _ => text(scanner, null).map(|text| column.data_type = text),
        },
    )
}

fn dns(scanner: &mut Scanner<'_, '_>, null: bool, into: &mut BTreeMap<String, DnsRecord>) -> Read {
    entries(scanner, null, into, |scanner, record| {
        scanner.structure(
            &["forward", "reverse"],
            Surplus::Skipped,
            &mut |scanner, field, null| match field {
                0 => words(scanner, null, &mut record.forward),
                _ => words(scanner, null, &mut record.reverse),
            },
        )
    })
}

fn sampling(scanner: &mut Scanner<'_, '_>, null: bool, sampling: &mut Sampling) -> Read {
    if null {
        *sampling = Sampling::default();
        return Ok(());
    }
    let fields = ["Count", "Total"];
    scanner.structure(
        &fields,
        Surplus::Skipped,
        &mut |scanner, field, null| match field {
            0 => uint(scanner, null).map(|count| sampling.count = count),
            _ => uint(scanner, null).map(|total| sampling.total = total),
        },
    )
}

/// The list of plugins. An error in it is dropped together with the whole list.
fn plugins(scanner: &mut Scanner<'_, '_>, null: bool, into: &mut BTreeMap<String, PluginSpec>) {
    if null {
        into.clear();
    } else if let Ok(specs) = scanner.list_or_null(&mut plugin) {
        *into = specs
            .into_iter()
            .map(|spec| (spec.id.clone(), spec))
            .collect();
    }
}

fn plugin(scanner: &mut Scanner<'_, '_>, spec: &mut PluginSpec) -> Read {
    const FIELDS: [&str; 6] = [
        "id",
        "label",
        "description",
        "interfaces",
        "api_version",
        "status",
    ];
    if scanner.try_null()? {
        return Ok(());
    }
    scanner.structure(
        &FIELDS,
        Surplus::Unread,
        &mut |scanner, field, null| match field {
            0 => text(scanner, null).map(|text| spec.id = text),
            1 => text(scanner, null).map(|text| spec.label = text),
            2 => text(scanner, null).map(|text| spec.description = text),
            3 => words(scanner, null, &mut spec.interfaces),
            4 => text(scanner, null).map(|text| spec.api_version = text),
            _ => text(scanner, null).map(|text| spec.status = text),
        },
    )
}
