//! What is known of agents, and what the operator hears of them.

use scope_totals_wire::{MAX_OFF, MAX_SILENT, MAX_VERSIONS, Node, Off, PluginHealth, VERSION};

use super::*;

const INTERVAL: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

pub(super) fn agent(plugin: &str, node: &str) -> Agent {
    Agent {
        plugin: plugin.into(),
        node: node.into(),
    }
}

fn nodes(names: &[&str]) -> Nodes {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub(super) fn report(boot: &str, health: Option<Health>) -> Report {
    Report {
        version: VERSION,
        boot: boot.into(),
        sequence: 1,
        sampled: None,
        node: Node { cpus: 1, memory: 1 },
        objects: Vec::new(),
        podless: None,
        server_away: false,
        watched: None,
        services: None,
        health,
        top: Vec::new(),
    }
}

pub(super) fn health(asked_ms_ago: Option<u64>) -> Option<Health> {
    Some(Health {
        asked_ms_ago,
        version: "1".into(),
        ..Health::default()
    })
}

fn off(collector: &str, why: &str) -> Off {
    Off {
        collector: collector.into(),
        why: why.into(),
    }
}

fn one(fleet: &Fleet, seconds: u64) -> PluginHealth {
    let mut plugins = fleet.tally(at(seconds), INTERVAL);
    assert_eq!(plugins.len(), 1);
    plugins.remove(0)
}

#[test]
fn the_server_is_away_if_it_is_by_the_last_word_of_all() {
    let mut fleet = Fleet::default();
    assert!(!fleet.server_is_away(), "nobody says so");
    let mut says = |plugin: &str, node: &str, server_away| {
        let told = Report {
            server_away,
            ..report("x", None)
        };
        fleet.take(&agent(plugin, node), &told, at(10));
        fleet.server_is_away()
    };
    assert!(says("p", "a", true));
    assert!(!says("p", "b", false));
    assert!(!says("p", "a", true) && !says("p", "b", false));
    assert!(says("p", "b", true));
    assert!(!says("q", "c", false) && !says("p", "b", true));
    // It may be heard no more since it has found another replica; as a node that there is no more it says nothing.
    fleet.forget(&nodes(&["a", "b", "c"]));
    assert!(!fleet.server_is_away());
    fleet.forget(&nodes(&["a", "b"]));
    assert!(fleet.server_is_away());
    fleet.forget(&Nodes::default());
    assert!(!fleet.server_is_away());
}

#[test]
fn an_agent_is_asked_silent_or_unknown() {
    // What it says, and how many seconds after it was heard of first.
    for (told, age, wanted) in [
        (health(Some(0)), 0, Standing::Asked),
        (health(Some(59_999)), 100, Standing::Asked),
        (health(Some(60_000)), 0, Standing::Silent),
        (health(Some(u64::MAX)), 0, Standing::Silent),
        (health(None), 59, Standing::Unknown),
        (health(None), 60, Standing::Silent),
        (None, 1000, Standing::Unknown),
    ] {
        let mut fleet = Fleet::default();
        let told = report("x", told);
        fleet.take(&agent("p", "a"), &told, at(10));
        fleet.take(&agent("p", "a"), &told, at(10 + age));
        let standing = fleet.plugins["p"]["a"].standing(at(10 + age));
        assert_eq!(standing, wanted, "{told:?} after {age} s");
        // Another process is given its time, too.
        fleet.take(&agent("p", "a"), &report("y", health(None)), at(200));
        let standing = fleet.plugins["p"]["a"].standing(at(200));
        assert_eq!(standing, Standing::Unknown);
    }
}

#[test]
fn only_who_was_heard_of_lately_is_counted() {
    let mut fleet = Fleet::default();
    fleet.take(&agent("p", "a"), &report("x", health(Some(1))), at(10));
    fleet.take(&agent("p", "b"), &report("x", health(Some(1))), at(20));
    assert_eq!(one(&fleet, 24).asked, 2);
    let later = one(&fleet, 25);
    assert_eq!((later.nodes, later.asked), (1, 1));
    assert_eq!(
        one(&fleet, 35).nodes,
        0,
        "the plugin is told, without nodes"
    );
    fleet.forget(&nodes(&["b"]));
    assert_eq!(one(&fleet, 24).nodes, 1);
    fleet.forget(&Nodes::default());
    assert_eq!(fleet.tally(at(24), INTERVAL), []);
}

#[test]
fn the_operator_hears_counts_and_a_few_names() {
    let mut fleet = Fleet::default();
    let mut take = |number: usize, health: Option<Health>| {
        let node = agent("p", &format!("node-{number:03}"));
        fleet.take(&node, &report("x", health), at(10));
    };
    for number in 0..30 {
        let mut health = health(Some(if number < 15 { 100 } else { 70_000 })).unwrap();
        health.collectors_off = vec![off("HTTPStatistics", "no BTF"), off("a", "x")];
        if number % 2 == 1 {
            // Twice the same is once.
            health.collectors_off = vec![off("HTTPStatistics", "no BTF"); 2];
        }
        health.version = if number < 10 { "2" } else { "1" }.into();
        health.millicores = (number < 2).then_some(10.0 * (1 + number) as f64);
        health.memory = Some(if number == 7 { 300 } else { 10 });
        take(number, Some(health));
    }
    take(30, None);
    take(31, health(None));
    let told = one(&fleet, 12);
    assert_eq!(
        (told.nodes, told.asked, told.silent, told.unknown),
        (32, 15, 15, 2)
    );
    let names: Vec<String> = (15..15 + MAX_SILENT)
        .map(|number| format!("node-{number:03}"))
        .collect();
    assert_eq!(told.silent_nodes, names);
    let rows: Vec<_> = told
        .off
        .iter()
        .map(|off| (&*off.collector, &*off.why, off.nodes, &*off.example))
        .collect();
    assert_eq!(
        rows,
        [
            ("HTTPStatistics", "no BTF", 30, "node-000"),
            ("a", "x", 15, "node-000"),
        ]
    );
    let versions: Vec<_> = told
        .versions
        .iter()
        .map(|row| (&*row.version, row.nodes))
        .collect();
    assert_eq!(versions, [("1", 21), ("2", 10)]);
    let millicores = told.millicores.unwrap();
    assert_eq!((millicores.mean, millicores.most), (15.0, 20.0));
    assert_eq!(millicores.node, "node-001");
    let memory = told.memory.unwrap();
    assert_eq!((memory.most, &*memory.node), (300.0, "node-007"));
}

#[test]
fn what_there_are_too_many_of_is_cut_and_counted() {
    let mut fleet = Fleet::default();
    for number in 0..40 {
        let mut health = health(Some(1)).unwrap();
        health.version = format!("v{number:02}");
        health.collectors_off = vec![off("TrafficControl", &format!("pid {number:02}"))];
        let node = agent("p", &format!("n{number:02}"));
        fleet.take(&node, &report("x", Some(health)), at(10));
    }
    let told = one(&fleet, 10);
    assert_eq!(told.off.len(), MAX_OFF);
    assert_eq!(told.off_left_out as usize, 40 - MAX_OFF);
    assert_eq!(
        (&*told.off[0].why, &*told.off[0].example),
        ("pid 00", "n00")
    );
    assert_eq!(told.versions.len(), MAX_VERSIONS);
    assert_eq!(told.versions_left_out as usize, 40 - MAX_VERSIONS);
    assert_eq!((told.millicores, told.memory), (None, None));
}

#[test]
fn somebody_looks_if_one_agent_says_so_or_does_not_tell() {
    let mut fleet = Fleet::default();
    let mut says = |node: &str, watched, seconds| {
        let told = Report {
            watched,
            ..report("x", None)
        };
        fleet.take(&agent("p", node), &told, at(seconds));
        fleet.is_watched(at(seconds), INTERVAL)
    };
    assert!(!says("a", Some(false), 0));
    assert!(says("b", Some(true), 0));
    assert!(says("a", Some(false), 14), "b has said so lately");
    assert!(!says("a", Some(false), 15));
    assert!(says("c", None, 16), "it is of a version that cannot tell");
    assert!(!says("c", Some(false), 17));
}
