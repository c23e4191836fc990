//! What a person sees in Scope of traffic control: the table and the buttons, while things are set and cleared.

mod made_node;
mod mended_world;

use std::collections::BTreeMap;
use std::time::Duration;

use made_node::{id, uid};
use mended_world::{Case, cluster, usual};
use scope_agent::collect::Cycle;
use scope_agent::sample::Cause;
use scope_agent::traffic::{Features, Lack, Loss, Rate, Root, Setting};
use scope_emulator::{Kind, Tab, View};

const WARM_UP: Duration = Duration::from_secs(25);
const SECOND: Duration = Duration::from_secs(1);

fn container(digit: char) -> String {
    format!("{};<container>", id(digit))
}

/// The rows of the table on a container; `None` without one.
fn rows(view: &View, digit: char) -> Option<BTreeMap<String, String>> {
    let shown = view.shown(Tab::Containers).expect("drawn");
    let tables = &shown[&container(digit)].tables;
    let table = tables
        .iter()
        .find(|table| table.id == "traffic-control-table")?;
    assert_eq!(table.label, "Traffic Control");
    let rows = table.rows.values();
    Some(
        rows.map(|row| (row["label"].clone(), row["value"].clone()))
            .collect(),
    )
}

fn buttons(view: &View, digit: char) -> Vec<String> {
    let shown = view.controls(Kind::Container, &container(digit));
    let mut shown: Vec<_> = shown
        .iter()
        .map(|shown| (shown.control.rank, &*shown.control.id))
        .collect();
    shown.sort();
    let ours = shown
        .into_iter()
        .filter_map(|(_, id)| id.strip_prefix("nm-controls~"));
    ours.map(str::to_owned).collect()
}

fn able() -> Features {
    Features {
        netem: Ok(()),
        tbf: Ok(()),
    }
}

const ALL: [&str; 7] = [
    "restartContainer",
    "freezeContainer",
    "traffic-control-table-slow",
    "traffic-control-table-medium",
    "traffic-control-table-fast",
    "traffic-control-table-pkt-drop-low",
    "traffic-control-table-clear",
];

#[test]
fn the_table_and_the_buttons_are_there_all_the_time() {
    let cycle = Cycle::at(SECOND);
    for case in [usual(), Case { cycle, ..usual() }] {
        let mut cluster = cluster(case);
        let set = |cluster: &mended_world::Cluster, root: Root| {
            for running in &cluster.running {
                let roots = [
                    (uid('1').into(), root.clone()),
                    (uid('2').into(), Root::Default),
                ];
                let mut running = running.lock().expect("whole");
                running.traffic = Some((able(), roots.into()));
            }
        };
        set(&cluster, Root::Default);
        cluster.world.advance(WARM_UP);
        let setting = Setting {
            delay: Duration::from_secs(2),
            loss: Loss::from_milli_percent(10_000),
            rate: Rate::from_bits(8_000_000),
            ..Setting::default()
        };
        for (root, latency, loss, rate) in [
            (Root::Default, "-", "-", "-"),
            (Root::Ours(setting), "2000ms", "10%", "8mbit"),
            (Root::Default, "-", "-", "-"),
        ] {
            set(&cluster, root);
            cluster.world.advance(Duration::from_secs(8 + 6));
            for _ in 0..20 {
                let view = cluster.world.view();
                // Both containers of the pod share its network.
                for digit in ['b', 'c'] {
                    let rows = rows(&view, digit).expect("a table");
                    assert_eq!(rows["latency"], latency, "{case:?}");
                    assert_eq!((&*rows["pktloss"], &*rows["rate"]), (loss, rate));
                    assert_eq!(buttons(&view, digit), ALL);
                }
                assert_eq!(rows(&view, 'd').expect("a table")["latency"], "-");
                // On the node's own network there is nothing to shape.
                assert!(rows(&view, 'e').is_none_or(|rows| rows.is_empty()));
                assert_eq!(buttons(&view, 'e'), ALL[..2]);
                cluster.world.advance(SECOND);
            }
        }
        let click = cluster.world.click(
            Kind::Container,
            &container('b'),
            "nm-controls~traffic-control-table-slow",
            None,
        );
        assert!(click.is_some(), "the button is there");
        let clicks = cluster.clicks.lock().expect("whole");
        let (node, click) = clicks.last().expect("came");
        assert_eq!(
            (*node, &*click.control),
            ("node1", "traffic-control-table-slow")
        );
    }
}

#[test]
fn without_netem_the_table_says_why_the_buttons_are_dead() {
    let mut cluster = cluster(usual());
    let features = Features {
        netem: Err(Lack {
            words: "this node's kernel has no sch_netem".into(),
            cause: Cause::Absent,
        }),
        tbf: Ok(()),
    };
    for running in &cluster.running {
        let roots = [(uid('1').into(), Root::Default)];
        running.lock().expect("whole").traffic = Some((features.clone(), roots.into()));
    }
    cluster.world.advance(WARM_UP);
    let view = cluster.world.view();
    let rows = rows(&view, 'b').expect("a table");
    assert_eq!(
        rows["note"],
        "only a rate can be set: this node's kernel has no sch_netem"
    );
    let live = [
        "restartContainer",
        "freezeContainer",
        "traffic-control-table-clear",
    ];
    assert_eq!(buttons(&view, 'b'), live);
}
