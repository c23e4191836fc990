//! The buttons of what the operator carries out, as a person sees them in Scope beside Scope's own, and
//! what becomes of a click on each.

mod api_server;
mod desk;
mod made_node;
mod mended_world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_server::{ApiServer, Reply};
use desk::{PATH, desk, known_node, of_the_operator};
use made_node::inventory::{inventory, owner, pod};
use made_node::{id, uid};
use mended_world::{Case, Cluster, NODES, PLUGIN, cluster_of, usual};
use scope_agent::Collectors;
use scope_agent::collect::{ControlNames, Cycle, Mend};
use scope_agent::inventory::{Inventory, NodeObject};
use scope_agent::sample::Roots;
use scope_agent::serve::{self, Config};
use scope_crds::Control;
use scope_emulator::{Kind, Runtime, Tab, View};
use scope_protocol::{ControlRequest, Topology};
use serde_json::json;

/// Until every publish of the probes has been complete once.
const WARM_UP: Duration = Duration::from_secs(25);
const SECOND: Duration = Duration::from_secs(1);
/// Eight turns of a second and nine seconds from one complete publish to the next: after this time all
/// meets as it did before.
const BEAT: usize = 72;

/// A Deployment with a pod on each node, a StatefulSet and a CronJob with one on the first, a DaemonSet
/// with one on the second.
fn known() -> [Inventory; 2] {
    let of_web = || {
        vec![
            owner(Topology::ReplicaSet, &uid('a'), "web-5d"),
            owner(Topology::Deployment, &uid('5'), "web"),
        ]
    };
    let mut web = pod(&uid('1'), "web-5d-x", &[(&id('b'), "app")]);
    web.owners = of_web();
    let mut db = pod(&uid('2'), "db-0", &[(&id('c'), "db")]);
    db.owners = vec![owner(Topology::StatefulSet, &uid('6'), "db")];
    let mut backup = pod(&uid('3'), "backup-1-y", &[(&id('d'), "dump")]);
    backup.owners = vec![
        owner(Topology::Job, &uid('9'), "backup-1"),
        owner(Topology::CronJob, &uid('7'), "backup"),
    ];
    let mut other_web = pod(&uid('4'), "web-5d-z", &[(&id('e'), "app")]);
    other_web.owners = of_web();
    let mut log = pod(&uid('b'), "log-z", &[(&id('f'), "tail")]);
    log.owners = vec![owner(Topology::DaemonSet, &uid('8'), "log")];
    let of_node = |digit, pods: Vec<_>| Inventory {
        node: Some(Arc::new(NodeObject {
            uid: uid(digit),
            ..NodeObject::default()
        })),
        ..inventory(pods)
    };
    [
        of_node('e', vec![web, db, backup]),
        of_node('f', vec![other_web, log]),
    ]
}

/// What an agent names with these controls.
fn offered(controls: BTreeSet<Control>) -> ControlNames {
    let nowhere = || "/nonexistent".into();
    let config = Config {
        plugin_id: PLUGIN.into(),
        label: "Node metrics".into(),
        description: None,
        collectors: Collectors::default(),
        http_allow_sys_exit: false,
        sample_interval: SECOND,
        mend: Mend::Auto,
        host: "node1".into(),
        roots: Roots {
            proc: nowhere(),
            cgroup: nowhere(),
        },
        kubelet_dir: nowhere(),
        plugin_dir: nowhere(),
        http_listen: None,
        cluster: Some(serve::Cluster {
            node: "node1".into(),
            namespace: Some("scope-plugins".into()),
            controls,
            protected: BTreeSet::new(),
            actions_per_minute: 1,
            traffic: false,
            longest_shaping: SECOND,
            start_jitter: Duration::ZERO,
            totals_dir: None,
        }),
    };
    serve::settings(&config, None).controls
}

fn cluster(case: Case, controls: BTreeSet<Control>) -> Cluster {
    let cluster = cluster_of(case, known());
    let names = offered(controls);
    for running in &cluster.running {
        running.lock().expect("whole").offered = Some(names.clone());
    }
    cluster
}

/// A node with buttons.
struct Place {
    tab: Tab,
    kind: Kind,
    id: String,
    /// Scope's own.
    own: &'static str,
    /// Ours, in the agent's words.
    ours: &'static str,
    /// The probes that may be said to take its clicks: `a1` is the cluster's.
    probes: &'static [&'static str],
    /// The object of Kubernetes, by the last word of an action's target.
    target: (&'static str, String),
}

fn places() -> Vec<Place> {
    let place = |tab, kind, digit, tag, own, ours, probes, target| Place {
        tab,
        kind,
        id: format!("{};<{tag}>", uid(digit)),
        own,
        ours,
        probes,
        target: (target, uid(digit)),
    };
    let pod = |digit| {
        place(
            Tab::Pods,
            Kind::Pod,
            digit,
            "pod",
            "kubernetes_get_logs kubernetes_delete_pod kubernetes_describe",
            "deletePod evictPod",
            &["a1"],
            "Pod",
        )
    };
    let host = |node: &str, digit, probes| Place {
        tab: Tab::Hosts,
        kind: Kind::Host,
        id: format!("{node};<host>"),
        own: "host_exec",
        ours: "cordonNode uncordonNode",
        probes,
        target: ("Node", uid(digit)),
    };
    let controller = |kind, digit, tag, own, ours, probes, target| {
        place(
            Tab::Controllers,
            kind,
            digit,
            tag,
            own,
            ours,
            probes,
            target,
        )
    };
    let describe = "kubernetes_describe";
    vec![
        pod('1'),
        pod('2'),
        pod('3'),
        pod('4'),
        pod('b'),
        controller(
            Kind::Deployment,
            '5',
            "deployment",
            "kubernetes_scale_up kubernetes_scale_down kubernetes_describe",
            "restartRollout scaleUp scaleDown pauseRollout resumeRollout",
            &["a1"],
            "Deployment",
        ),
        controller(
            Kind::StatefulSet,
            '6',
            "statefulset",
            describe,
            "restartRollout scaleUp scaleDown",
            &["a1"],
            "StatefulSet",
        ),
        controller(
            Kind::DaemonSet,
            '8',
            "daemonset",
            describe,
            "restartRollout",
            &["a1"],
            "DaemonSet",
        ),
        // No probe lists it, so that those that ask the agent of its pod's node take its clicks.
        controller(
            Kind::CronJob,
            '7',
            "cronjob",
            describe,
            "suspendCronJob resumeCronJob triggerCronJob",
            &["a0", "a1"],
            "CronJob",
        ),
        host("node1", 'e', &["a0"]),
        host("node2", 'f', &["a2"]),
    ]
}

/// The buttons in a node's panel.
fn shown(view: &View, place: &Place) -> String {
    let panel = view.panel(place.tab, &place.id).expect("drawn");
    let Some(panel) = panel else {
        return "not there".to_owned();
    };
    for shown in &panel.controls {
        assert!(
            place.probes.contains(&&*shown.probe_id),
            "{}: {}",
            place.id,
            shown.probe_id
        );
    }
    panel.control_ids().join(" ")
}

/// With ours behind Scope's own.
fn with_ours(own: &str, ours: &str) -> String {
    let ours = ours.split_whitespace();
    let ours = ours.map(|id| format!("{PLUGIN}-controls~{id}"));
    let own = own.split_whitespace().map(str::to_owned);
    own.chain(ours).collect::<Vec<_>>().join(" ")
}

fn labels(view: &View, tab: Tab) -> Vec<String> {
    let shown = view.shown(tab).expect("drawn");
    let labels = shown
        .values()
        .map(|node| format!("{} ({})", node.label, node.label_minor));
    let mut labels: Vec<_> = labels.collect();
    labels.sort();
    labels
}

/// In all that may come between: whole reports and such in turns, clocks that do not agree, and a
/// runtime of which Scope knows everything itself, so that nothing is mended.
fn cases() -> Vec<Case> {
    let in_turns = Case {
        cycle: Some(Cycle::SECOND),
        ..usual()
    };
    vec![
        Case {
            phase: 370,
            ..usual()
        },
        Case {
            skew: [5000, -5000],
            phase: 130,
            ..in_turns
        },
        Case {
            runtime: Runtime::Unseen,
            skew: [-5000, 5000],
            phase: 1490,
            ..in_turns
        },
        Case {
            spy: Duration::from_secs(2),
            cycle: Some(Cycle::TWO_SECONDS),
            skew: [5000, 5000],
            phase: 1270,
            ..usual()
        },
        Case {
            runtime: Runtime::Docker,
            phase: 610,
            ..usual()
        },
        Case {
            runtime: Runtime::Docker,
            skew: [-5000, 5000],
            phase: 900,
            ..in_turns
        },
    ]
}

#[test]
fn they_stand_beside_scopes_own_all_the_time() {
    for case in cases() {
        let mut cluster = cluster(case, of_the_operator());
        cluster.world.advance(WARM_UP);
        for _ in 0..BEAT {
            let view = cluster.world.view();
            for place in places() {
                let want = with_ours(place.own, place.ours);
                assert_eq!(shown(&view, &place), want, "{} of {case:?}", place.id);
            }
            cluster.world.advance(SECOND);
        }
    }
}

/// What carries a button is the node that Scope has anyway, under its name.
#[test]
fn nothing_is_drawn_twice_or_without_a_name() {
    for case in cases() {
        let mut cluster = cluster(case, of_the_operator());
        cluster.world.advance(WARM_UP);
        let mut controllers = vec![
            "backup (CronJob of 1 pod)",
            "db (StatefulSet of 1 pod)",
            "log (DaemonSet of 1 pod)",
            "web (Deployment of 2 pods)",
        ];
        if case.runtime != Runtime::Docker {
            controllers.insert(1, "backup-1 (Job of 1 pod)");
        }
        for _ in 0..BEAT {
            let view = cluster.world.view();
            assert_eq!(labels(&view, Tab::Controllers), controllers, "{case:?}");
            assert_eq!(labels(&view, Tab::Hosts).len(), 2, "{case:?}");
            assert_eq!(labels(&view, Tab::Pods).len(), 5, "{case:?}");
            assert_eq!(view.namespaces(), ["demo"], "{case:?}");
            cluster.world.advance(SECOND);
        }
    }
}

#[test]
fn only_what_is_enabled_is_shown_and_other_nodes_are_left_alone() {
    for case in cases() {
        let mut cluster = cluster(case, BTreeSet::from([Control::ScaleUp]));
        cluster.world.advance(WARM_UP);
        let view = cluster.world.view();
        for place in places() {
            let (own, ours) = match place.kind {
                Kind::Deployment | Kind::StatefulSet => (place.own, "scaleUp"),
                // Nobody lists it.
                Kind::CronJob => ("", ""),
                _ => (place.own, ""),
            };
            let there = place.kind != Kind::CronJob || case.runtime != Runtime::Docker;
            let want = match there {
                true => with_ours(own, ours),
                false => "not there".to_owned(),
            };
            assert_eq!(shown(&view, &place), want, "{} of {case:?}", place.id);
            let node = view.reported(place.kind, &place.id);
            let active = node.and_then(|node| node.latest("active_controls"));
            let told_by_us = active.is_some_and(|ids| ids.contains(PLUGIN));
            assert_eq!(told_by_us, !ours.is_empty(), "{} of {case:?}", place.id);
        }
    }
}

#[tokio::test]
async fn a_click_becomes_an_action_on_the_object_of_the_node() {
    let server = ApiServer::start(|seen| {
        assert!(seen.is("POST", PATH), "{seen:?}");
        let mut action = seen.body.clone();
        action["metadata"]["name"] = "node-metrics-1".into();
        action["metadata"]["resourceVersion"] = "7".into();
        action["status"] = json!({"phase": "Succeeded", "message": "done"});
        Reply::Json(201, action)
    })
    .await;
    let desk_of = |n: usize, digit| {
        let known = known_node(&uid(digit));
        desk(
            &server.access(),
            NODES[n],
            known,
            of_the_operator(),
            Duration::from_secs(10),
        )
        .0
    };
    let desks = [desk_of(0, 'e'), desk_of(1, 'f')];
    let mut cluster = cluster(usual(), of_the_operator());
    cluster.world.advance(WARM_UP);
    let mut made = 0;
    for place in places() {
        for button in place.ours.split_whitespace() {
            let public = format!("{PLUGIN}-controls~{button}");
            let outcome = cluster.world.click(place.kind, &place.id, &public, None);
            let outcome = outcome.expect("the button is there");
            assert_eq!(outcome.error, None, "{}", place.id);
            let (node, click) = {
                let clicks = cluster.clicks.lock().expect("whole");
                clicks.last().expect("came").clone()
            };
            // As any probe on that machine sends it.
            let n = NODES.iter().position(|of| *of == node).expect("a node");
            let request = ControlRequest {
                app_id: click.app_id,
                node_id: click.node_id,
                control: click.control,
                control_args: click.args.unwrap_or_default(),
            };
            let answer = desks[n].take(&request, "a1").await;
            assert_eq!(answer.error, None, "{button} on {}", place.id);
            let seen = server.seen();
            made += 1;
            assert_eq!(seen.len(), made, "one action a click");
            let spec = &seen[made - 1].body["spec"];
            let (kind, uid) = &place.target;
            assert_eq!(spec["target"], json!({"kind": kind, "uid": uid}));
            let control: Control = spec["control"]
                .as_str()
                .and_then(|control| control.parse().ok())
                .expect("a control");
            assert!(control.to_string().eq_ignore_ascii_case(button));
        }
    }
    assert_eq!(made, 2 * 5 + 5 + 3 + 1 + 3 + 2 * 2);
}
