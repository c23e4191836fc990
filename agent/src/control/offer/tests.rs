use super::*;

#[test]
fn lists_controls_and_no_nodes() {
    let report = controls_report(
        "node-metrics",
        "Node metrics",
        &BTreeSet::from(Control::ALL),
    );
    assert_eq!(report.plugin.id, "node-metrics-controls");
    assert_eq!(report.plugin.label, "Node metrics (actions)");
    assert!(report.plugin.controller);
    for topology in report.topologies.values() {
        assert!(topology.nodes.is_empty());
        for control in topology.controls.values() {
            assert!(control.rank >= 10);
            assert!(control.icon.starts_with("fa fa-"));
            assert!(!control.human.is_empty());
        }
    }
}

/// Icon and whether a person is asked first, by topology and in the order in which Scope shows
/// them: no two of a kind of node have one rank.
#[test]
fn each_kind_of_node_has_its_buttons_in_order() {
    let report = controls_report("p", "P", &BTreeSet::from(Control::ALL));
    let told = |topology: Topology| -> Vec<(i32, &str, &str, bool)> {
        let controls = report.topologies[&topology].controls.iter();
        let mut told: Vec<_> = controls
            .map(|(id, control)| {
                let icon = control.icon.strip_prefix("fa ").expect("an icon");
                (control.rank, &**id, icon, control.confirmation.is_some())
            })
            .collect();
        told.sort();
        told
    };
    let scaling = [
        (10, "restartRollout", "fa-refresh", true),
        (11, "scaleDown", "fa-minus-square", true),
        (12, "scaleUp", "fa-plus-square", false),
    ];
    let rollout = [
        (13, "pauseRollout", "fa-pause", true),
        (14, "resumeRollout", "fa-play", true),
    ];
    let all = [
        (
            Topology::Container,
            vec![
                (11, "restartContainer", "fa-repeat", true),
                (12, "freezeContainer", "fa-pause", true),
                (13, "thawContainer", "fa-play", false),
                (20, "traffic-control-table-slow", "fa-hourglass-1", false),
                (21, "traffic-control-table-medium", "fa-hourglass-2", false),
                (22, "traffic-control-table-fast", "fa-hourglass-3", false),
                (23, "traffic-control-table-pkt-drop-low", "fa-cut", false),
                (24, "traffic-control-table-clear", "fa-times-circle", false),
                (25, "traffic-control-table-set", "fa-sliders", false),
            ],
        ),
        (
            Topology::Pod,
            vec![
                (10, "deletePod", "fa-trash-o", true),
                (11, "evictPod", "fa-eject", true),
            ],
        ),
        (Topology::Deployment, [&scaling[..], &rollout].concat()),
        (Topology::DaemonSet, scaling[..1].to_vec()),
        (Topology::StatefulSet, scaling.to_vec()),
        (
            Topology::CronJob,
            vec![
                (10, "triggerCronJob", "fa-bolt", true),
                (11, "suspendCronJob", "fa-pause", true),
                (12, "resumeCronJob", "fa-play", false),
            ],
        ),
        (
            Topology::Host,
            vec![
                (10, "cordonNode", "fa-ban", true),
                (11, "uncordonNode", "fa-check-circle", false),
            ],
        ),
    ];
    let topologies: Vec<_> = report.topologies.keys().copied().collect();
    assert_eq!(topologies, all.each_ref().map(|(topology, _)| *topology));
    for (topology, buttons) in all {
        assert_eq!(told(topology), buttons, "{topology}");
        let mut ranks: Vec<i32> = buttons.iter().map(|(rank, ..)| *rank).collect();
        ranks.dedup();
        assert_eq!(ranks.len(), buttons.len(), "{topology}");
    }
}

#[test]
fn only_what_is_enabled_is_offered() {
    let report = controls_report("p", "P", &BTreeSet::from([Control::ScaleUp]));
    let offered: Vec<_> = report
        .topologies
        .iter()
        .flat_map(|(topology, content)| content.controls.keys().map(|id| (*topology, &**id)))
        .collect();
    assert_eq!(
        offered,
        [
            (Topology::Deployment, "scaleUp"),
            (Topology::StatefulSet, "scaleUp")
        ]
    );
}

#[test]
fn a_container_shows_what_makes_sense_on_it() {
    use Control::*;
    let all = BTreeSet::from(Control::ALL);
    for (frozen, enabled, active) in [
        (false, &all, vec![RestartContainer, FreezeContainer]),
        (true, &all, vec![ThawContainer]),
        (
            true,
            &BTreeSet::from([RestartContainer, FreezeContainer]),
            vec![],
        ),
        (false, &BTreeSet::from([DeletePod, ThawContainer]), vec![]),
        (false, &BTreeSet::new(), vec![]),
    ] {
        let active: BTreeSet<_> = active.into_iter().collect();
        assert_eq!(
            active_on_container(frozen, enabled),
            active,
            "{frozen} {enabled:?}"
        );
    }
}

#[test]
fn without_netem_its_presets_are_dead() {
    use crate::sample::Cause;
    use crate::traffic::Lack;
    let lack = || {
        Err(Lack {
            words: "none".into(),
            cause: Cause::Absent,
        })
    };
    let on = BTreeSet::from([Control::ShapeTraffic]);
    let all = Button::ALL[..5].to_vec();
    for (netem, tbf, active) in [
        (Ok(()), Ok(()), all.clone()),
        (Ok(()), lack(), all),
        (lack(), Ok(()), vec![Button::Clear]),
        (lack(), lack(), vec![]),
    ] {
        let features = Features { netem, tbf };
        assert_eq!(active_on_network(&on, &features), active);
        assert_eq!(active_on_network(&BTreeSet::new(), &features), []);
    }
}

#[test]
fn ids_are_safe_in_a_url_and_lead_back() {
    for control in Control::ALL {
        for id in control_ids(control) {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            assert!(id.bytes().all(plain), "{id}");
            assert_eq!(parse_control(id), Some((control, id)));
        }
    }
    assert_eq!(
        scope_control_id("a-b", "deletePod"),
        "a-b-controls~deletePod"
    );
}
