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

/// Under the IDs, labels and places of HTTP Statistics, on processes as it had them, and on what they
/// belong to.
fn http_is_shown(view: &View) {
    let all = [
        (
            "http_requests_per_second",
            "HTTP Req/Second",
            "",
            12.5,
            12.5,
        ),
        (
            "http_error_ratio",
            "HTTP errors (5xx)",
            "percent",
            24.0,
            100.0,
        ),
        (
            "http_2xx_responses_per_second",
            "HTTP Resp 2xx/Second",
            "",
            9.5,
            12.5,
        ),
        (
            "http_4xx_responses_per_second",
            "HTTP Resp 4xx/Second",
            "",
            0.0,
            12.5,
        ),
        (
            "http_5xx_responses_per_second",
            "HTTP Resp 5xx/Second",
            "",
            3.0,
            12.5,
        ),
        (
            "http_200_responses_per_second",
            "HTTP Resp 200/Second",
            "",
            9.5,
            12.5,
        ),
        (
            "http_503_responses_per_second",
            "HTTP Resp 503/Second",
            "",
            2.5,
            12.5,
        ),
        (
            "http_599_responses_per_second",
            "HTTP Resp 599/Second",
            "",
            0.5,
            12.5,
        ),
        (
            "http_OTHERS_responses_per_second",
            "HTTP Resp OTHERS/Second",
            "",
            0.25,
            12.5,
        ),
    ];
    for (tab, id) in [
        (Tab::Processes, "node1;110".to_owned()),
        (Tab::Containers, format!("{};<container>", id('b'))),
        (Tab::Pods, format!("{};<pod>", uid('1'))),
        // The one pod's, which Scope lifts.
        (Tab::Controllers, "deploy-uid;<deployment>".to_owned()),
    ] {
        let all: Vec<_> = all
            .into_iter()
            .filter(|(metric, ..)| match tab {
                Tab::Processes => !metric.contains("xx") && !metric.contains("ratio"),
                Tab::Controllers => {
                    let codes = ["200", "503", "599", "OTHERS"];
                    !codes.iter().any(|code| metric.contains(code))
                }
                _ => true,
            })
            .collect();
        let panel = panel(view, tab, &id);
        let shown: Vec<_> = panel
            .summary
            .metrics
            .iter()
            .take(all.len())
            .map(|row| (&*row.id, &*row.label, &*row.format, row.value, row.max))
            .collect();
        assert_eq!(
            shown, all,
            "{id}: before all others, without the code of rate 0"
        );
    }
    // In its container, and nowhere a second time.
    let process = view.reported(Kind::Process, "node1;110").expect("reported");
    let parents = process.parents.get("container");
    assert!(parents.is_some_and(|ids| ids.len() == 1), "{parents:?}");
    // Who does not serve has no figures, not zeros.
    for (tab, id) in [
        (Tab::Processes, "node1;111".to_owned()),
        (Tab::Containers, format!("{};<container>", id('c'))),
        (Tab::Pods, format!("{};<pod>", uid('2'))),
    ] {
        let panel = panel(view, tab, &id);
        let mut metrics = panel.summary.metrics.iter();
        assert!(metrics.all(|row| !row.id.starts_with("http")), "{id}");
    }
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
            http_is_shown(&view);
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
        let mut metrics = summary.metrics.iter();
        assert!(metrics.all(|row| !row.id.starts_with("http")));
        assert!(summary.tables.iter().all(|table| table.label != "Volumes"));
        assert_eq!(summary.value("volume_count"), None);
    }
    let node = view.reported(Kind::Pod, &format!("{};<pod>", uid('1')));
    let keys = node.expect("reported").latest.keys();
    assert!(keys.into_iter().all(|key| !key.starts_with("volume")));
}
