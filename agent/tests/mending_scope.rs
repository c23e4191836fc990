//! What a person sees in Scope of a node with a CRI runtime, over minutes: all of it, all the time.

mod made_node;
mod mended_world;

use std::collections::BTreeMap;
use std::time::Duration;

use made_node::{id, uid};
use mended_world::{Case, NODES, cluster, metrics_of, usual};
use scope_agent::collect::Cycle;
use scope_emulator::{Kind, Runtime, Summary, Tab, View};

/// Until every publish of the probes has been complete once.
const WARM_UP: Duration = Duration::from_secs(25);
const SECOND: Duration = Duration::from_secs(1);
/// What Scope's app remembers, and the longest time until a probe publishes.
const FORGOTTEN: Duration = Duration::from_secs(15 + 3 + 1);

fn container(digit: char) -> String {
    format!("{};<container>", id(digit))
}

fn pod(digit: char) -> String {
    format!("{};<pod>", uid(digit))
}

fn labels(nodes: &[Summary]) -> Vec<String> {
    let mut labels: Vec<String> = nodes.iter().map(|node| node.label.clone()).collect();
    labels.sort();
    labels
}

/// What is to be seen of a node that does not come from Scope's own probes, in words.
fn mended(view: &View, tab: Tab, kind: Kind, id: &str) -> String {
    let shown = view.shown(tab).expect("drawn");
    let Some(summary) = shown.get(id) else {
        return "not there".into();
    };
    let panel = view.panel(tab, id).expect("drawn").expect("is there");
    let with_values = summary.metrics.iter().filter(|metric| metric.samples > 0);
    let pods = summary
        .parents
        .iter()
        .filter(|parent| parent.tab == Some(Tab::Pods));
    let state = view
        .reported(kind, id)
        .and_then(|node| node.latest.get("docker_container_state"))
        .map_or("", |entry| &*entry.value);
    format!(
        "{}; on {:?}; pods {}; images {:?} {}; {state} {}; CPU {:?}, memory {:?}, {} metrics; \
         containers {:?}; processes {:?}",
        summary.label_minor,
        summary.parent_labels(Tab::Hosts),
        pods.count(),
        summary.parent_labels(Tab::ContainersByImage),
        summary.value("docker_image_name").unwrap_or_default(),
        summary
            .value("docker_container_state_human")
            .unwrap_or_default(),
        summary.metric("docker_cpu_total_usage").unwrap_or_default(),
        summary.metric("docker_memory_usage").unwrap_or_default(),
        with_values.count(),
        labels(panel.children(Kind::Container)),
        labels(panel.children(Kind::Process)),
    )
}

/// The buttons of a node, and whether each goes to a probe that is there.
fn buttons(view: &View, kind: Kind, id: &str) -> String {
    let shown = view.controls(kind, id);
    let probes = ["a0", "a1", "a2"];
    assert!(shown.iter().all(|shown| probes.contains(&&*shown.probe_id)));
    let ids: Vec<&str> = shown.iter().map(|shown| &*shown.control.id).collect();
    ids.join(" ")
}

const PODS: [char; 3] = ['1', '2', '3'];
const CONTAINERS: [char; 4] = ['b', 'c', 'd', 'e'];

/// All that does not come from Scope's own probes, by what it is.
fn all_mended(view: &View) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for digit in PODS {
        let is = mended(view, Tab::Pods, Kind::Pod, &pod(digit));
        seen.insert(format!("pod {digit}"), is);
    }
    for digit in CONTAINERS {
        let id = container(digit);
        let is = mended(view, Tab::Containers, Kind::Container, &id);
        seen.insert(format!("container {digit}"), is);
        let is = buttons(view, Kind::Container, &id);
        seen.insert(format!("buttons of container {digit}"), is);
    }
    for tab in [Tab::Containers, Tab::ContainersByImage] {
        seen.insert(format!("{tab:?}"), drawn(view, tab));
    }
    seen.insert("namespaces".into(), view.namespaces().join(" "));
    seen
}

fn drawn(view: &View, tab: Tab) -> String {
    let shown = view.shown(tab).expect("drawn");
    let nodes = shown
        .values()
        .map(|node| format!("{} ({})", node.label, node.label_minor));
    nodes.collect::<Vec<_>>().join(", ")
}

/// All that is to be seen.
fn all(view: &View) -> BTreeMap<String, String> {
    let mut seen = all_mended(view);
    for digit in PODS {
        let is = buttons(view, Kind::Pod, &pod(digit));
        seen.insert(format!("buttons of pod {digit}"), is);
    }
    for tab in Tab::ALL {
        seen.insert(format!("{tab:?}"), drawn(view, tab));
    }
    seen
}

/// What is seen in every look, one a second, for so long.
fn steady(
    case: Case,
    seconds: u64,
    see: fn(&View) -> BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut cluster = cluster(case);
    cluster.world.advance(WARM_UP);
    let first = see(&cluster.world.view());
    for second in 1..=seconds {
        cluster.world.advance(SECOND);
        for (what, is) in see(&cluster.world.view()) {
            assert_eq!(is, first[&what], "{what} after {second} s of {case:?}");
        }
    }
    first
}

/// What is right, as [`all_mended`] has it.
fn right() -> BTreeMap<String, String> {
    let image = |name: &str| format!("registry.example/{name}");
    let figures = |kind| format!("CPU 5.0, memory 5242880.0, {} metrics", metrics_of(kind));
    let mut right = BTreeMap::new();
    for (digit, name, node) in [
        ('b', "app", 0),
        ('c', "sidecar", 0),
        ('d', "dump", 0),
        ('e', "tail", 1),
    ] {
        let is = format!(
            "{node}; on [{node:?}]; pods 1; images [{:?}] {}:1; running Up; {}; containers []; \
             processes [{name:?}, {name:?}]",
            image(name),
            image(name),
            figures(Kind::Container),
            node = NODES[node],
        );
        right.insert(format!("container {digit}"), is);
        let buttons = "nm-controls~freezeContainer nm-controls~restartContainer";
        right.insert(format!("buttons of container {digit}"), buttons.into());
    }
    for (digit, count, node, containers) in [
        ('1', "2 containers", 0, &["app", "sidecar"][..]),
        ('2', "1 container", 0, &["dump"]),
        ('3', "1 container", 1, &["tail"]),
    ] {
        // The node's network is not the pod's.
        let metrics = metrics_of(Kind::Pod) - if digit == '3' { 2 } else { 0 };
        let processes: Vec<&str> = containers.iter().flat_map(|name| [*name; 2]).collect();
        let is = format!(
            "{count}; on [{:?}]; pods 0; images [] ;  ; CPU 5.0, memory 5242880.0, {metrics} \
             metrics; containers {containers:?}; processes {processes:?}",
            NODES[node],
        );
        right.insert(format!("pod {digit}"), is);
    }
    let names = ["app", "sidecar", "dump", "tail"];
    let containers = names.map(|name| {
        let node = if name == "tail" { "node2" } else { "node1" };
        format!("{name} ({node})")
    });
    right.insert("Containers".into(), containers.join(", "));
    let images = ["app", "dump", "sidecar", "tail"];
    let images = images.map(|name| format!("{} (1 container)", image(name)));
    right.insert("ContainersByImage".into(), images.join(", "));
    right.insert("namespaces".into(), "demo".into());
    right
}

/// As Scope's defaults have it: also what comes from Scope, and what stands beside it.
fn is_right(case: Case) {
    let seen = steady(case, 300, all);
    let mut right = right();
    for digit in PODS {
        let buttons = "kubernetes_get_logs kubernetes_delete_pod kubernetes_describe \
                       nm-controls~deletePod";
        right.insert(format!("buttons of pod {digit}"), buttons.into());
    }
    let pods = "web-5d-x (2 containers), backup-1-y (1 container), log-z (1 container)";
    right.insert("Pods".into(), pods.into());
    let controllers = "backup (CronJob of 1 pod), log (DaemonSet of 1 pod), \
                       web (Deployment of 1 pod), backup-1 (Job of 1 pod)";
    right.insert("Controllers".into(), controllers.into());
    for (what, is) in &right {
        assert_eq!(&seen[what], is, "{what} of {case:?}");
    }
}

#[test]
fn whole_reports_are_seen_at_once_and_steadily() {
    is_right(Case {
        phase: 370,
        ..usual()
    });
}

#[test]
fn whole_reports_are_seen_steadily_without_the_probes_own_containers() {
    is_right(Case {
        runtime: Runtime::Unseen,
        skew: [-5000, 5000],
        phase: 1490,
        ..usual()
    });
}

fn in_turns() -> Case {
    Case {
        cycle: Some(Cycle::SECOND),
        ..usual()
    }
}

#[test]
fn reports_in_turns_are_seen_steadily() {
    is_right(Case {
        skew: [5000, -5000],
        phase: 130,
        ..in_turns()
    });
}

#[test]
fn reports_in_turns_are_seen_steadily_without_the_probes_own_containers() {
    is_right(Case {
        runtime: Runtime::Unseen,
        skew: [-5000, 5000],
        phase: 900,
        ..in_turns()
    });
}

#[test]
fn probes_that_ask_every_other_second_see_it_steadily() {
    is_right(Case {
        spy: Duration::from_secs(2),
        cycle: Some(Cycle::TWO_SECONDS),
        skew: [5000, 5000],
        phase: 1270,
        ..usual()
    });
}

/// Eight turns of a second and nine seconds from one complete publish to the next: after this time all
/// meets as it did before.
const BEAT: u64 = 72;

/// Every phase of publish and clock with this skew.
fn no_phase_makes_a_difference(skew: [i64; 2], runtimes: [Runtime; 2]) {
    let right = right();
    for (n, phase) in [0, 290, 610, 1010, 1730, 2210].into_iter().enumerate() {
        let case = Case {
            runtime: runtimes[n % 2],
            skew,
            phase,
            ..in_turns()
        };
        let seen = steady(case, BEAT, all_mended);
        assert!(right.iter().all(|(what, is)| seen[what] == *is), "{case:?}");
    }
}

#[test]
fn no_phase_makes_a_difference_where_clocks_agree() {
    no_phase_makes_a_difference([0, 0], [Runtime::Cri, Runtime::Unseen]);
}

#[test]
fn no_phase_makes_a_difference_where_the_first_clock_is_ahead() {
    no_phase_makes_a_difference([5000, -5000], [Runtime::Unseen, Runtime::Cri]);
}

#[test]
fn no_phase_makes_a_difference_where_the_second_clock_is_ahead() {
    no_phase_makes_a_difference([-5000, 5000], [Runtime::Cri, Runtime::Unseen]);
}

/// With publishes every 4.5 s, as Scope's hosted manifests had them, complete ones are 13.5 s apart,
/// and Scope forgets the names that its own probes give pods for some seconds. What we tell stays.
#[test]
fn slower_publishes_take_nothing_of_ours_away() {
    let right = right();
    for (spy, cycle, phase) in [
        (1, None, 610),
        (1, Some(Cycle::SECOND), 0),
        (1, Some(Cycle::SECOND), 1490),
        (2, Some(Cycle::TWO_SECONDS), 900),
    ] {
        let case = Case {
            spy: Duration::from_secs(spy),
            publish: Duration::from_millis(4500),
            skew: [5000, -5000],
            phase,
            cycle,
            ..usual()
        };
        let seen = steady(case, 60, all_mended);
        for (what, is) in &right {
            assert_eq!(&seen[what], is, "{what} of {case:?}");
        }
    }
}

#[test]
fn a_container_that_stopped_is_gone_when_scope_has_forgotten_it() {
    for case in [
        usual(),
        in_turns(),
        Case {
            runtime: Runtime::Unseen,
            skew: [5000, -5000],
            ..in_turns()
        },
    ] {
        let mut cluster = cluster(case);
        cluster.world.advance(WARM_UP);
        cluster.stop(0, &id('c'));
        cluster.world.advance(FORGOTTEN);
        for _ in 0..20 {
            let view = cluster.world.view();
            assert_eq!(
                drawn(&view, Tab::Containers),
                "app (node1), dump (node1), tail (node2)",
                "{case:?}"
            );
            let web = mended(&view, Tab::Pods, Kind::Pod, &pod('1'));
            assert!(web.starts_with("1 container; on [\"node1\"]"), "{web}");
            assert!(web.ends_with("processes [\"app\", \"app\"]"), "{web}");
            cluster.world.advance(SECOND);
        }
    }
}

#[test]
fn a_frozen_container_is_paused_and_counts() {
    let mut cluster = cluster(in_turns());
    cluster.world.advance(WARM_UP);
    let running = all(&cluster.world.view());
    for (frozen, state, button) in [
        (true, "; paused Paused; ", "nm-controls~thawContainer"),
        (
            false,
            "; running Up; ",
            "nm-controls~freezeContainer nm-controls~restartContainer",
        ),
    ] {
        cluster.freeze(0, &id('c'), frozen);
        // Nothing of ours is older than a cycle and two publishes.
        cluster.world.advance(Duration::from_secs(8 + 6));
        for _ in 0..20 {
            let mut now = all(&cluster.world.view());
            assert!(now["container c"].contains(state), "{}", now["container c"]);
            assert_eq!(now["buttons of container c"], button);
            now.insert("container c".into(), running["container c"].clone());
            let before = running["buttons of container c"].clone();
            now.insert("buttons of container c".into(), before);
            assert!(now == running, "nothing else changes");
            cluster.world.advance(SECOND);
        }
    }
}

#[test]
fn a_click_on_a_container_reaches_the_agent_of_its_node() {
    let mut cluster = cluster(in_turns());
    cluster.world.advance(WARM_UP);
    for (digit, node) in [('b', "node1"), ('e', "node2")] {
        let id = container(digit);
        let button = "nm-controls~freezeContainer";
        let outcome = cluster.world.click(Kind::Container, &id, button, None);
        assert!(outcome.is_some(), "the button is there");
        let clicks = cluster.clicks.lock().expect("whole");
        let (got, click) = clicks.last().expect("came");
        assert_eq!((*got, &*click.node_id), (node, &*id));
        assert_eq!(click.control, "freezeContainer");
    }
}

#[test]
fn docker_is_left_to_scope_and_keeps_its_buttons_beside_ours() {
    let seen = steady(
        Case {
            runtime: Runtime::Docker,
            phase: 370,
            ..usual()
        },
        60,
        all,
    );
    for digit in CONTAINERS {
        assert_eq!(
            seen[&format!("buttons of container {digit}")],
            "docker_restart_container docker_stop_container docker_pause_container \
             docker_attach_container docker_exec_container nm-controls~freezeContainer \
             nm-controls~restartContainer"
        );
    }
}
