//! Volumes of containers and pods: how many, of which kinds, and how full they are.

use std::collections::{BTreeMap, BTreeSet};

use scope_crds::Collector;
use scope_protocol::report::{DataType, From, TableKind, TableTemplate};
use scope_protocol::{MetadataTemplate, Node, Topology};

use super::composer::Composer;
use crate::inventory::{Container, Pod, VolumeKind};
use crate::text_table::bytes;
use crate::volumes::{Space, Standing, VolumeUse};

/// The number of volumes: the key of Scope's own VolumeCount plugin.
const COUNT: &str = "volume_count";
/// How many of which kind.
const KINDS: &str = "volume_kinds";
/// Begins the keys of the table of a pod's volumes, and is its ID. The rest of a key is a volume's name.
const TABLE: &str = "volumes_";

/// Rows of the table. Scope shows twenty and says how many more there are; this bounds the report.
const MAX_ROWS: usize = 64;

/// Gives the topology the templates.
pub(super) fn add_templates(composer: &mut Composer<'_>, topology: Topology) {
    if !composer.settings.collectors.has(Collector::VolumeCount) {
        return;
    }
    let content = composer.report.topology(topology);
    for (id, label, priority) in [(COUNT, "# Volumes", 0.1), (KINDS, "Volume kinds", 0.2)] {
        let template = MetadataTemplate {
            label: label.to_owned(),
            truncate: 0,
            data_type: DataType::Text,
            priority,
            from: From::Latest,
        };
        content.metadata_templates.insert(id.to_owned(), template);
    }
    if topology == Topology::Pod {
        let template = TableTemplate {
            label: "Volumes".to_owned(),
            prefix: TABLE.to_owned(),
            kind: TableKind::PropertyList {
                fixed_rows: BTreeMap::new(),
            },
        };
        content.table_templates.insert(TABLE.to_owned(), template);
    }
}

/// Says which of the pod's volumes the container has.
pub(super) fn describe_container(
    composer: &Composer<'_>,
    node: &mut Node,
    pod: &Pod,
    container: &Container,
) {
    if !composer.settings.collectors.has(Collector::VolumeCount) {
        return;
    }
    let names: BTreeSet<&str> = container
        .volumes
        .iter()
        .map(|mounted| &*mounted.volume)
        .collect();
    let volumes = pod
        .volumes
        .iter()
        .filter(|volume| names.contains(&*volume.name));
    count(composer, node, volumes.map(|volume| volume.kind));
}

/// Says which volumes the pod has.
pub(super) fn describe_pod(composer: &Composer<'_>, node: &mut Node, pod: &Pod) {
    if !composer.settings.collectors.has(Collector::VolumeCount) {
        return;
    }
    count(composer, node, pod.volumes.iter().map(|volume| volume.kind));
    let uses = composer.usage.volumes.get(&pod.id);
    for volume in pod.volumes.iter().take(MAX_ROWS) {
        let used = uses.and_then(|uses| uses.get(&volume.name));
        let key = format!("{TABLE}{}", volume.name);
        node.set(key, composer.stamp, row(volume.kind, used));
    }
}

fn count(composer: &Composer<'_>, node: &mut Node, kinds: impl Iterator<Item = VolumeKind>) {
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in kinds {
        *by_kind.entry(kind.as_str()).or_default() += 1;
    }
    let all: usize = by_kind.values().sum();
    node.set(COUNT, composer.stamp, all.to_string());
    if all > 0 {
        let each: Vec<String> = by_kind
            .into_iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        node.set(KINDS, composer.stamp, each.join(", "));
    }
}

/// A volume in words. Coarse ones: a value that changes makes the probe tell the whole node again.
fn row(kind: VolumeKind, used: Option<&VolumeUse>) -> String {
    let Some(VolumeUse { space, standing }) = used else {
        return kind.to_string();
    };
    let now = match standing {
        Standing::Answers => None,
        Standing::Silent => Some("does not answer".to_owned()),
        Standing::Refuses(why) => Some(format!("cannot be asked: {why}")),
        Standing::NotAsked => Some("not asked at present".to_owned()),
    };
    match (space, now) {
        (None, None) => kind.to_string(),
        (None, Some(now)) => format!("{kind}, {now}"),
        (Some(space), None) => format!("{kind}, {}", how_full(space)),
        (Some(space), Some(now)) => format!("{kind}, {now}; was {}", how_full(space)),
    }
}

fn how_full(space: &Space) -> String {
    let percent = |percent: f64| format!("{percent:.0}%");
    let share = space.percent().map(percent).unwrap_or_default();
    let mut text = format!("{} of {}", bytes(space.used), bytes(space.capacity));
    if !share.is_empty() {
        text.push_str(&format!(" ({share})"));
    }
    if let Some(files) = space.files {
        text.push_str(&format!(", {} of inodes", percent(files.percent())));
    }
    text
}

/// Percent in use of the fullest of the pod's volumes that say so at present.
pub(super) fn fullest(composer: &Composer<'_>, pod: &Pod) -> Option<f64> {
    let uses = composer.usage.volumes.get(&pod.id)?;
    uses.values()
        .filter_map(|used| used.fresh()?.percent())
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::Files;

    #[test]
    fn a_row_says_what_is_known() {
        let space = Space {
            capacity: 64 << 20,
            used: 12 << 20,
            available: 52 << 20,
            files: Some(Files {
                most: 1000,
                used: 34,
            }),
        };
        let known = |space, standing| Some(VolumeUse { space, standing });
        let refuses = Standing::Refuses(std::io::ErrorKind::PermissionDenied);
        let kind = VolumeKind::EmptyDirInMemory;
        for (used, text) in [
            (None, "emptyDir (memory)"),
            (
                known(Some(space), Standing::Answers),
                "emptyDir (memory), 12.0 MiB of 64.0 MiB (19%), 3% of inodes",
            ),
            (
                known(Some(space), Standing::Silent),
                "emptyDir (memory), does not answer; was 12.0 MiB of 64.0 MiB (19%), 3% of inodes",
            ),
            (
                known(None, Standing::Silent),
                "emptyDir (memory), does not answer",
            ),
            (
                known(None, refuses),
                "emptyDir (memory), cannot be asked: permission denied",
            ),
            (
                known(Some(space), Standing::NotAsked),
                "emptyDir (memory), not asked at present; was 12.0 MiB of 64.0 MiB (19%), 3% of inodes",
            ),
        ] {
            assert_eq!(row(kind, used.as_ref()), text);
        }
        let without = Space {
            available: 0,
            used: 0,
            files: None,
            ..space
        };
        assert_eq!(how_full(&without), "0 B of 64.0 MiB");
    }
}
