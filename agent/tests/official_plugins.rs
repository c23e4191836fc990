//! What a person sees in Scope of the collectors that do the jobs of Scope's own plugins.

mod made_node;
mod mended_world;

use std::time::Duration;

use made_node::{id, uid};
use mended_world::{Case, cluster, usual};
use scope_agent::Collectors;
use scope_agent::collect::Cycle;
use scope_emulator::{Kind, MetricRow, Panel, Tab, Table, View};

/// Until every publish of the probes has been complete once.
const WARM_UP: Duration = Duration::from_secs(25);

fn panel(view: &View, tab: Tab, id: &str) -> Panel {
    view.panel(tab, id).expect("drawn").expect("is there")
}

fn metric<'a>(panel: &'a Panel, id: &str) -> &'a MetricRow {
    let mut rows = panel.summary.metrics.iter();
    rows.find(|row| row.id == id)
        .unwrap_or_else(|| panic!("{id}"))
}

fn rows(table: &Table) -> Vec<(&str, &str)> {
    table
        .rows
        .values()
        .map(|row| (&*row["label"], &*row["value"]))
        .collect()
}

/// As IOWait had them, but both of them at any time.
fn waiting_is_shown(view: &View) {
    let panel = panel(view, Tab::Hosts, "node1;<host>");
    for (id, label, value) in [("iowait", "IO Wait", 12.5), ("idle", "Idle", 50.0)] {
        let row = metric(&panel, id);
        assert_eq!(
            (&*row.label, &*row.format, row.value, row.min, row.max),
            (label, "percent", value, 0.0, 100.0)
        );
        assert!(row.samples > 0, "{id}");
    }
    let first: Vec<&str> = panel
        .summary
        .metrics
        .iter()
        .map(|row| &*row.id)
        .take(2)
        .collect();
    assert_eq!(first, ["iowait", "idle"], "before all others");
}

fn volumes_are_shown(view: &View) {
    let containers = panel(view, Tab::Containers, &format!("{};<container>", id('b')));
    let pod = panel(view, Tab::Pods, &format!("{};<pod>", uid('1')));
    for panel in [&containers, &pod] {
        let cells = &panel.summary.metadata;
        let shown: Vec<(&str, &str)> = cells
            .iter()
            .take(2)
            .map(|cell| (&*cell.label, &*cell.value))
            .collect();
        let kinds = "PVC 1, emptyDir 2";
        assert_eq!(shown, [("# Volumes", "3"), ("Volume kinds", kinds)]);
    }
    assert!(
        containers
            .summary
            .tables
            .iter()
            .all(|t| t.label != "Volumes"),
        "of pods only"
    );
    let mut tables = pod.summary.tables.iter();
    let table = tables.find(|table| table.label == "Volumes");
    assert_eq!(
        rows(table.expect("a table")),
        [
            (
                "cache",
                "emptyDir (memory), 3.0 MiB of 100.0 MiB (3%), 3% of inodes"
            ),
            (
                "data",
                "PVC, does not answer; was 70.0 MiB of 100.0 MiB (70%), 70% of inodes"
            ),
            ("scratch", "emptyDir"),
        ]
    );
    let fullest = metric(&pod, "volume_use");
    assert_eq!(
        (
            &*fullest.label,
            &*fullest.format,
            fullest.value,
            fullest.max
        ),
        ("Fullest volume", "percent", 3.0, 100.0)
    );
    // Without volumes that is known too, and nothing is said of their use.
    let without = panel_of_backup(view);
    assert_eq!(without.summary.value("volume_count"), Some("0"));
    assert_eq!(without.summary.value("volume_kinds"), None);
    let rows = without
        .summary
        .tables
        .iter()
        .filter(|t| t.label == "Volumes");
    assert!(rows.into_iter().all(|table| table.rows.is_empty()));
}

fn panel_of_backup(view: &View) -> Panel {
    panel(view, Tab::Pods, &format!("{};<pod>", uid('2')))
}

/// All the time: reports that go out whole, and those that go out in turns.
#[test]
fn what_they_tell_is_seen_steadily() {
    for (cycle, phase) in [(None, 370), (Some(Cycle::SECOND), 130)] {
        let mut cluster = cluster(Case {
            cycle,
            phase,
            collectors: Collectors::ALL,
            ..usual()
        });
        cluster.world.advance(WARM_UP);
        for _ in 0..60 {
            cluster.world.advance(Duration::from_secs(1));
            let view = cluster.world.view();
            waiting_is_shown(&view);
            volumes_are_shown(&view);
        }
    }
}

/// Nobody who does not ask for them sees anything of them.
#[test]
fn without_them_nothing_is_shown() {
    let mut cluster = cluster(usual());
    cluster.world.advance(WARM_UP);
    let view = cluster.world.view();
    let pod = panel(&view, Tab::Pods, &format!("{};<pod>", uid('1')));
    let host = panel(&view, Tab::Hosts, "node1;<host>");
    for panel in [&pod, &host] {
        let summary = &panel.summary;
        let ours = ["iowait", "idle", "volume_use"];
        assert!(summary.metrics.iter().all(|row| !ours.contains(&&*row.id)));
        assert!(summary.tables.iter().all(|table| table.label != "Volumes"));
        assert_eq!(summary.value("volume_count"), None);
    }
    let node = view.reported(Kind::Pod, &format!("{};<pod>", uid('1')));
    let keys = node.expect("reported").latest.keys();
    assert!(keys.into_iter().all(|key| !key.starts_with("volume")));
}
