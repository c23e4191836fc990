//! Pods, controllers and namespaces.

use std::collections::BTreeSet;
use std::time::Duration;

use scope_agent::collect::{ControlNames, Cycle, Mend, Settings, Share};
use scope_agent::sample::Mode;
use scope_protocol::{Timestamp, Topology};

use crate::made_node::uid;
use crate::reported::{ids, known, latest, metric, node, now, parents, report, settings, usage};

#[test]
fn pods_know_what_they_belong_to() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    let all = ['1', '2', '3', '4'].map(|digit| format!("{};<pod>", uid(digit)));
    assert_eq!(ids(&report, Topology::Pod), all);
    let host = (Topology::Host, vec!["node1;<host>"]);
    let pods = all.each_ref().map(|id| node(&report, Topology::Pod, id));
    assert_eq!(
        parents(pods[0]),
        [
            (Topology::Deployment, vec!["deploy-uid;<deployment>"]),
            (Topology::ReplicaSet, vec!["rs-uid;<replica_set>"]),
            host.clone(),
        ]
    );
    assert_eq!(
        parents(pods[1]),
        [
            (Topology::CronJob, vec!["cron-uid;<cronjob>"]),
            host.clone(),
            (Topology::Job, vec!["job-uid;<job>"]),
        ]
    );
    assert_eq!(metric(pods[0], "network_rx"), Some((10_000.0, 10_000.0)));
    assert_eq!(
        metric(pods[0], "network_tx"),
        Some((1_000.0, 10_000.0)),
        "one scale for both"
    );
    assert_eq!(
        metric(pods[1], "docker_cpu_total_usage"),
        Some((75.0, 100.0))
    );
    assert_eq!(
        metric(pods[2], "network_rx"),
        None,
        "the node's network is not the pod's"
    );
    assert!(metric(pods[2], "docker_memory_usage").is_some());
    assert!(pods[3].metrics.is_empty(), "it has not started");
    for pod in pods {
        assert!(latest(pod, "kubernetes_namespace").is_none());
        assert_eq!(pod.latest.len(), 1, "only the controls");
    }
}

#[test]
fn controllers_have_templates_and_parents_but_no_metrics() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let report = report(&usage(mode), mode, &settings());
    for (topology, id, name) in [
        (Topology::ReplicaSet, "rs-uid;<replica_set>", "web-5d"),
        (Topology::Deployment, "deploy-uid;<deployment>", "web"),
        (Topology::DaemonSet, "daemon-uid;<daemonset>", "log"),
        (Topology::StatefulSet, "stateful-uid;<statefulset>", "db"),
        (Topology::Job, "job-uid;<job>", "backup-1"),
        (Topology::CronJob, "cron-uid;<cronjob>", "backup"),
    ] {
        assert_eq!(ids(&report, topology), [id]);
        let controller = node(&report, topology, id);
        assert_eq!(latest(controller, "kubernetes_name"), Some(name));
        assert!(controller.metrics.is_empty(), "{topology}");
    }
    let replica_set = node(&report, Topology::ReplicaSet, "rs-uid;<replica_set>");
    assert_eq!(
        parents(replica_set),
        [(Topology::Deployment, vec!["deploy-uid;<deployment>"])]
    );
    let host = node(&report, Topology::Host, "node1;<host>");
    assert!(host.latest.is_empty(), "the probe's own");
    assert!(host.metrics.keys().all(|id| id.starts_with("psi_")));

    let templates = |topology| {
        let templates = &report.topologies[&topology].metric_templates;
        templates
            .iter()
            .map(|(id, t)| (id.as_str(), t.label.as_str()))
            .collect::<Vec<_>>()
    };
    let all = [
        ("block_io_delay", "Block I/O delay ms/s"),
        ("cpu_limit_use", "CPU limit use"),
        ("cpu_millicores", "Millicores"),
        ("cpu_throttled", "Throttled periods"),
        ("disk_read", "Disk read B/s"),
        ("disk_write", "Disk write B/s"),
        ("docker_cpu_total_usage", "CPU"),
        ("docker_memory_usage", "Memory"),
        ("memory_limit_use", "Memory limit use"),
        ("network_rx", "Received B/s"),
        ("network_tx", "Sent B/s"),
        ("oom_kills", "OOM kills"),
        ("open_files", "Open descriptors"),
        ("processes", "Processes"),
        ("psi_cpu_full", "CPU pressure (full)"),
        ("psi_cpu_some", "CPU pressure (some)"),
        ("psi_io_full", "I/O pressure (full)"),
        ("psi_io_some", "I/O pressure (some)"),
        ("psi_memory_full", "Memory pressure (full)"),
        ("psi_memory_some", "Memory pressure (some)"),
        ("rss", "RSS"),
        ("threads", "Threads"),
    ];
    let only_pods = ["network_rx", "network_tx", "oom_kills"];
    let of_containers: Vec<_> = all
        .into_iter()
        .filter(|(id, _)| !only_pods.contains(id))
        .collect();
    assert_eq!(templates(Topology::Container), of_containers);
    for topology in [
        Topology::Pod,
        Topology::Deployment,
        Topology::DaemonSet,
        Topology::StatefulSet,
        Topology::Job,
        Topology::CronJob,
    ] {
        assert_eq!(templates(topology), all, "{topology}");
    }
}

/// The settings with one control on each kind of controller.
fn with_controls(mend: Mend) -> Settings {
    let on = |kind: &str| vec![format!("nm-controls~{kind}")];
    Settings {
        mend,
        controls: ControlNames {
            deployment: on("d"),
            stateful_set: on("s"),
            daemon_set: on("a"),
            cron_job: on("c"),
            ..ControlNames::default()
        },
        ..settings()
    }
}

const CONTROLLERS: [(Topology, &str, &str, &str); 4] = [
    (
        Topology::Deployment,
        "deploy-uid;<deployment>",
        "web",
        "kubernetes_scale_up;kubernetes_scale_down;kubernetes_describe;nm-controls~d",
    ),
    (
        Topology::StatefulSet,
        "stateful-uid;<statefulset>",
        "db",
        "kubernetes_describe;nm-controls~s",
    ),
    (
        Topology::DaemonSet,
        "daemon-uid;<daemonset>",
        "log",
        "kubernetes_describe;nm-controls~a",
    ),
    (
        Topology::CronJob,
        "cron-uid;<cronjob>",
        "backup",
        "kubernetes_describe;nm-controls~c",
    ),
];

#[test]
fn controllers_name_scopes_own_buttons_and_ours_whether_mended_or_not() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    for mend in [Mend::Always, Mend::Never] {
        let report = report(&usage, mode, &with_controls(mend));
        for (topology, id, name, controls) in CONTROLLERS {
            assert_eq!(ids(&report, topology), [id]);
            let controller = node(&report, topology, id);
            assert_eq!(latest(controller, "active_controls"), Some(controls));
            let ahead = now().plus(Duration::from_secs(30));
            assert_eq!(controller.latest["active_controls"].timestamp, ahead);
            assert_eq!(latest(controller, "kubernetes_name"), Some(name));
            // In Scope's filter by namespace it stays where it was while it had no pods.
            let namespace = (topology == Topology::CronJob).then_some("demo");
            assert_eq!(latest(controller, "kubernetes_namespace"), namespace);
            let told = 2 + usize::from(namespace.is_some());
            assert_eq!(controller.latest.len(), told, "nothing else");
            assert!(controller.metrics.is_empty() && controller.parents.is_empty());
            // Scope's probe lists the others, and says which probe takes their clicks.
            let ours = topology == Topology::CronJob;
            let behind = ours.then(|| Timestamp::from_unix_micros(0));
            assert_eq!(controller.control_probe, behind, "{topology}");
        }
        // Those between have none of ours.
        for (topology, id) in [
            (Topology::ReplicaSet, "rs-uid;<replica_set>"),
            (Topology::Job, "job-uid;<job>"),
        ] {
            match mend {
                Mend::Never => assert!(ids(&report, topology).is_empty()),
                _ => {
                    let node = node(&report, topology, id);
                    assert_eq!(latest(node, "active_controls"), None);
                }
            }
        }
    }
    // A pod is told to be the CronJob's, which no probe can find out.
    let report = report(&usage, mode, &with_controls(Mend::Never));
    for (digit, of) in [
        ('1', vec![]),
        ('2', vec![(Topology::CronJob, vec!["cron-uid;<cronjob>"])]),
        ('3', vec![]),
    ] {
        let pod = node(&report, Topology::Pod, &format!("{};<pod>", uid(digit)));
        assert_eq!(parents(pod), of);
    }
}

#[test]
fn a_kind_of_controller_without_a_button_of_ours_is_left_alone() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    for (left, ..) in CONTROLLERS {
        let mut settings = with_controls(Mend::Never);
        match left {
            Topology::Deployment => settings.controls.deployment.clear(),
            Topology::StatefulSet => settings.controls.stateful_set.clear(),
            Topology::DaemonSet => settings.controls.daemon_set.clear(),
            _ => settings.controls.cron_job.clear(),
        }
        let never = report(&usage, mode, &settings);
        settings.mend = Mend::Always;
        let mended = report(&usage, mode, &settings);
        for (topology, id, ..) in CONTROLLERS {
            let reported = ids(&never, topology).len();
            assert_eq!(reported, usize::from(topology != left), "{topology}");
            let node = node(&mended, topology, id);
            let named = latest(node, "active_controls").is_some();
            assert_eq!(named, topology != left, "{topology}");
        }
        let pods = &never.topologies[&Topology::Pod].nodes;
        let linked = pods.values().any(|pod| !pod.parents.is_empty());
        assert_eq!(linked, left != Topology::CronJob);
    }
}

/// Once in its turns, and each time with another mark, so that the probe leaves none of it out.
#[test]
fn controllers_take_turns_with_their_buttons() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let usage = usage(mode);
    for mend in [Mend::Always, Mend::Never] {
        for (topology, id, ..) in CONTROLLERS {
            let mut marks = BTreeSet::new();
            for number in 0..24 {
                let settings = Settings {
                    share: Share::Turn {
                        number,
                        cycle: Cycle::SECOND,
                    },
                    ..with_controls(mend)
                };
                let report = report(&usage, mode, &settings);
                let Some(node) = report.topologies[&topology].nodes.get(id) else {
                    continue;
                };
                let mark = latest(node, "t").map(str::to_owned);
                assert_eq!(latest(node, "active_controls").is_some(), mark.is_some());
                if let Some(mark) = mark {
                    assert!(marks.insert(mark), "{id} is marked alike");
                }
            }
            assert_eq!(marks.len(), 3, "{id}");
        }
    }
}

#[test]
fn each_namespace_stands_once_with_a_metric() {
    let mut known = known();
    let usage = usage(Mode::Cluster(&known));
    let turn = |number| Share::Turn {
        number,
        cycle: Cycle::SECOND,
    };
    for share in [Share::Whole, turn(0), turn(1), turn(2)] {
        let settings = Settings {
            share,
            ..settings()
        };
        let report = report(&usage, Mode::Cluster(&known), &settings);
        // The UID of `system` is not known yet; a node by its name would be the invented one.
        assert_eq!(ids(&report, Topology::Namespace), ["demo-uid;<namespace>"]);
        let demo = node(&report, Topology::Namespace, "demo-uid;<namespace>");
        assert_eq!(latest(demo, "kubernetes_name"), Some("demo"));
        assert_eq!(metric(demo, "pods"), Some((3.0, 3.0)));
        assert!(
            report.topologies[&Topology::Namespace]
                .metric_templates
                .is_empty()
        );
    }
    known
        .namespaces
        .insert("system".into(), "system-uid".into());
    let report = report(&usage, Mode::Cluster(&known), &settings());
    assert_eq!(ids(&report, Topology::Namespace).len(), 2);
}

#[test]
fn without_controls_no_controls_are_named() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let settings = Settings {
        controls: ControlNames::default(),
        ..settings()
    };
    let report = report(&usage(mode), mode, &settings);
    let pods = &report.topologies[&Topology::Pod].nodes;
    assert!(pods.values().all(|pod| pod.latest.is_empty()));
}
