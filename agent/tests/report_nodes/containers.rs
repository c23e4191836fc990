//! Container, ContainerImage and Process nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_agent::attribution::{Usage, attribute};
use scope_agent::collect::{ControlNames, Cycle, Settings, Share};
use scope_agent::inventory::{Inventory, Pod};
use scope_agent::sample::Mode;
use scope_protocol::Topology;

use crate::made_node::{Class, Layout, MIB, MadeNode, id, uid};
use crate::reported::{
    ids, known, latest, metric, node, now, parents, report, settings, usage, write,
};

#[test]
fn containers_are_complete_on_their_own() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let all = [id('b'), id('c'), id('d'), id('e')].map(|id| format!("{id};<container>"));
    assert_eq!(ids(&report, Topology::Container), all);

    let app = node(&report, Topology::Container, &all[0]);
    let uid1 = uid('1');
    for (key, value) in [
        ("docker_container_id", &*id('b')),
        ("docker_container_name", "app"),
        ("docker_container_state", "running"),
        ("docker_container_state_human", "Up"),
        ("docker_container_created", "2026-11-23T01:34:40.000000Z"),
        ("docker_image_id", "appappappappappappappapp"),
        ("docker_image_name", "registry.example/app:1"),
        ("docker_label_io.kubernetes.container.name", "app"),
        ("docker_label_io.kubernetes.pod.uid", &uid1),
        ("docker_label_io.kubernetes.pod.name", "web-5d-x"),
        ("docker_label_io.kubernetes.pod.namespace", "demo"),
    ] {
        assert_eq!(latest(app, key), Some(value), "{key}");
    }
    assert_eq!(app.latest.len(), 11);
    let image = "appappappappappappappapp;<container_image>";
    assert_eq!(
        parents(app),
        [
            (Topology::ContainerImage, vec![image]),
            (Topology::Pod, vec![&*format!("{uid1};<pod>")]),
            (Topology::Host, vec!["node1;<host>"]),
        ]
    );
    assert_eq!(
        app.sets["docker_container_ips"],
        BTreeSet::from(["10.1.2.3".to_owned()])
    );
    assert_eq!(metric(app, "docker_cpu_total_usage"), Some((5.0, 100.0)));
    let five = (5 * MIB) as f64;
    assert_eq!(
        metric(app, "docker_memory_usage"),
        Some((five, (64 * MIB) as f64))
    );
    assert_eq!(metric(app, "cpu_millicores"), Some((100.0, 2000.0)));
    assert_eq!(metric(app, "threads"), Some((6.0, 6.0)));
    assert_eq!(metric(app, "processes"), Some((2.0, 2.0)));
    assert!(metric(app, "rss").unwrap().1 == (4u64 << 30) as f64);
    assert_eq!(metric(app, "memory_limit_use"), Some((7.81, 100.0)));
    assert_eq!(metric(app, "open_files"), Some((6.0, 6.0)));
    assert_eq!(metric(app, "disk_read"), Some((0.0, 1.0)));
    assert_eq!(metric(app, "network_rx"), None, "containers have none");
    assert_eq!(metric(app, "cpu_limit_use"), None, "no limit");
    // Without a limit the node's memory is the end of the scale.
    let sidecar = node(&report, Topology::Container, &all[1]);
    assert_eq!(
        metric(sidecar, "docker_memory_usage").unwrap().1,
        (4u64 << 30) as f64
    );
    assert_eq!(
        metric(sidecar, "docker_cpu_total_usage"),
        Some((0.0, 100.0)),
        "idle is a value"
    );
    // Nothing of the network that it only shares.
    let tail = node(&report, Topology::Container, &all[3]);
    assert!(tail.sets.is_empty());

    let images = ids(&report, Topology::ContainerImage);
    assert_eq!(images.len(), 4);
    let node = node(&report, Topology::ContainerImage, image);
    assert_eq!(
        latest(node, "docker_image_name"),
        Some("registry.example/app:1")
    );
    assert_eq!(
        latest(node, "docker_image_id"),
        Some("appappappappappappappapp")
    );
}

#[test]
fn what_must_win_over_the_probe_is_stamped_ahead() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    for (cadence, lead) in [(1, 15), (5, 15), (15, 35), (60, 125)] {
        let settings = Settings {
            cadence: Duration::from_secs(cadence),
            ..settings()
        };
        let report = report(&usage, mode, &settings);
        let app = node(
            &report,
            Topology::Container,
            &format!("{};<container>", id('b')),
        );
        let stamp = |key: &str| app.latest[key].timestamp;
        let ahead = now().plus(Duration::from_secs(lead));
        for key in [
            "docker_container_state",
            "docker_container_state_human",
            "docker_image_id",
            "docker_image_name",
        ] {
            assert_eq!(stamp(key), ahead, "{key} at a cadence of {cadence} s");
        }
        assert_eq!(stamp("docker_container_id"), now());
        let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid('1')));
        let controls = &pod.latest["active_controls"];
        let ahead = now().plus(Duration::from_secs(lead.max(30)));
        assert_eq!(controls.timestamp, ahead);
        assert_eq!(
            controls.value,
            "kubernetes_get_logs;kubernetes_delete_pod;kubernetes_describe;\
             node-metrics-controls~deletePod"
        );
    }
}

#[test]
fn a_container_that_does_not_run_is_not_reported() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    let path = made.container_path(Class::BestEffort, &uid('2'), &id('d'));
    made.remove_cgroup(&path);
    made.remove_process(105);
    made.remove_process(106);
    let sample = made.sampler().take(mode);
    let report = report(&attribute(None, &sample, mode), mode, &settings());
    assert_eq!(ids(&report, Topology::Container).len(), 3);
    assert!(
        ids(&report, Topology::Process)
            .iter()
            .all(|id| !id.starts_with("node1;105"))
    );
    let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid('2')));
    assert!(pod.metrics.is_empty() && !pod.parents.is_empty());
}

#[test]
fn processes_are_linked_and_nothing_else() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let expected: Vec<String> = (101..=108).map(|pid| format!("node1;{pid}")).collect();
    assert_eq!(
        ids(&report, Topology::Process),
        expected,
        "none of the host's own"
    );
    let process = node(&report, Topology::Process, "node1;101");
    assert_eq!(latest(process, "docker_container_id"), Some(&*id('b')));
    assert_eq!(process.latest.len(), 1);
    assert!(process.metrics.is_empty());
    let container = format!("{};<container>", id('b'));
    assert_eq!(parents(process), [(Topology::Container, vec![&*container])]);
    assert!(
        report.topologies[&Topology::Process]
            .metric_templates
            .is_empty()
    );
}

#[test]
fn before_the_second_sample_there_is_no_cpu() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    let usage = attribute(None, &made.sampler().take(mode), mode);
    let report = report(&usage, mode, &settings());
    let app = node(
        &report,
        Topology::Container,
        &format!("{};<container>", id('b')),
    );
    assert!(metric(app, "docker_cpu_total_usage").is_none());
    assert!(metric(app, "docker_memory_usage").is_some());
}

/// The settings with controls on containers too.
fn with_controls() -> Settings {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Settings {
        controls: ControlNames {
            container: names(&["nm-controls~freezeContainer"]),
            frozen_container: names(&["nm-controls~thawContainer"]),
            network: Vec::new(),
            ..settings().controls
        },
        ..settings()
    }
}

#[test]
fn a_frozen_container_is_paused_and_has_other_buttons() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let mut usage = usage(mode);
    let [running, frozen] = [id('b'), id('c')];
    usage.containers.get_mut(&*frozen).unwrap().frozen = Some(true);
    let report = report(&usage, mode, &with_controls());
    for (id, state, human, controls) in [
        (&running, "running", "Up", "nm-controls~freezeContainer"),
        (&frozen, "paused", "Paused", "nm-controls~thawContainer"),
    ] {
        let id = format!("{id};<container>");
        let node = node(&report, Topology::Container, &id);
        assert_eq!(latest(node, "docker_container_state"), Some(state));
        assert_eq!(latest(node, "docker_container_state_human"), Some(human));
        // Scope has none of its own on a CRI container, and names no probe that takes clicks.
        assert_eq!(latest(node, "active_controls"), Some(controls));
        assert_eq!(node.control_probe, Some(now()));
        let ahead = now().plus(Duration::from_secs(30));
        assert_eq!(node.latest["active_controls"].timestamp, ahead);
    }
    // Without one for its state it says so: the old ones would stay until Scope forgets them.
    let settings = Settings {
        controls: ControlNames {
            frozen_container: Vec::new(),
            network: Vec::new(),
            ..with_controls().controls
        },
        ..settings()
    };
    let report = crate::reported::report(&usage, mode, &settings);
    let frozen = format!("{frozen};<container>");
    let frozen = node(&report, Topology::Container, &frozen);
    assert_eq!(latest(frozen, "active_controls"), Some(""));
}

#[test]
fn a_container_that_is_never_touched_has_no_buttons() {
    let spare: [fn(&mut Settings, &mut Pod); 3] = [
        |settings, pod| settings.spared.own_namespace.clone_from(&pod.namespace),
        |settings, pod| {
            settings.spared.protected.insert(pod.namespace.clone());
        },
        |_, pod| pod.mirror = true,
    ];
    let first = known();
    let touchable = usage(Mode::Cluster(&first));
    let id = format!("{};<container>", id('b'));
    let told = |known: &Inventory, settings: &Settings| {
        let report = report(&touchable, Mode::Cluster(known), settings);
        let node = node(&report, Topology::Container, &id);
        let controls = latest(node, "active_controls").map(str::to_owned);
        (controls, node.control_probe.is_some())
    };
    let freeze = || Some("nm-controls~freezeContainer".to_owned());
    assert_eq!(told(&first, &with_controls()), (freeze(), true));
    for spare in spare {
        let (mut known, mut settings) = (known(), with_controls());
        for pod in known.pods.values_mut() {
            spare(&mut settings, pod);
        }
        assert_eq!(told(&known, &settings), (None, false));
    }
    // Nor one of which it is not known yet whose it is.
    let mut known = known();
    known
        .pods
        .values_mut()
        .for_each(|pod| pod.containers.clear());
    assert_eq!(told(&known, &with_controls()), (None, false));
}

#[test]
fn a_container_that_froze_does_not_wait_for_its_turn() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let mut usage = usage(mode);
    let frozen = id('c');
    let node_id = format!("{frozen};<container>");
    let told = |usage: &Usage| -> Vec<(bool, bool)> {
        let in_turn = |number| {
            let settings = Settings {
                share: Share::Turn {
                    number,
                    cycle: Cycle::SECOND,
                },
                ..with_controls()
            };
            let report = report(usage, mode, &settings);
            let node = node(&report, Topology::Container, &node_id);
            let controls = latest(node, "active_controls");
            let state = latest(node, "docker_container_state");
            (
                state == Some("paused"),
                controls == Some("nm-controls~thawContainer"),
            )
        };
        (0..24).map(in_turn).collect()
    };
    let container = usage.containers.get_mut(&*frozen).unwrap();
    container.frozen = Some(true);
    let count = |told: Vec<(bool, bool)>| {
        let states = told.iter().filter(|told| told.0).count();
        (states, told.iter().filter(|told| told.1).count())
    };
    assert_eq!(count(told(&usage)), (8, 3), "in its turns");
    usage.containers.get_mut(&*frozen).unwrap().frozen_changed = true;
    assert_eq!(count(told(&usage)), (24, 24), "always");
}

#[test]
fn docker_containers_keep_scopes_own_buttons_beside_ours() {
    let mut known = known();
    for pod in known.pods.values_mut() {
        let containers = pod.containers.values_mut();
        containers.for_each(|container| container.runtime = "docker".into());
    }
    let mode = Mode::Cluster(&known);
    let mut usage = usage(mode);
    let [running, frozen] = [id('b'), id('c')];
    usage.containers.get_mut(&*frozen).unwrap().frozen = Some(true);
    let report = report(&usage, mode, &with_controls());
    for (id, controls) in [
        (
            &running,
            "docker_restart_container;docker_stop_container;docker_pause_container;\
             docker_attach_container;docker_exec_container;nm-controls~freezeContainer",
        ),
        (
            &frozen,
            "docker_restart_container;docker_stop_container;docker_pause_container;\
             docker_unpause_container;docker_attach_container;docker_exec_container;\
             nm-controls~thawContainer",
        ),
    ] {
        let node = node(&report, Topology::Container, &format!("{id};<container>"));
        assert_eq!(latest(node, "active_controls"), Some(controls));
        assert_eq!(node.latest.len(), 1, "nothing that mends");
        assert_eq!(node.control_probe, None, "the probe says it itself");
    }
}
