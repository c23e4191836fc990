use std::collections::BTreeMap;

use super::*;

fn request(control: &str, node: &str) -> ControlRequest {
    ControlRequest {
        app_id: "40a7031ee6466403".into(),
        node_id: node.into(),
        control: control.into(),
        control_args: BTreeMap::new(),
    }
}

const OWN: OwnNode<'static> = OwnNode {
    host: "worker-1",
    uid: Some("0a1b2c3d-4e5f"),
};

fn read(control: &str, node: &str) -> Result<Click, String> {
    Click::read(
        &request(control, node),
        "5bdcc0beddf3c14",
        &BTreeSet::from([Control::DeletePod]),
        OWN,
    )
    .map_err(|e| e.to_string())
}

fn read_any(control: &str, node: &str, own: OwnNode<'_>) -> Result<Click, String> {
    let offered = BTreeSet::from(Control::ALL);
    Click::read(&request(control, node), "1", &offered, own).map_err(|e| e.to_string())
}

#[test]
fn a_click_on_a_pod() {
    let click = read("deletePod", "5aeb7ae0-1d5a-4f0e;<pod>").expect("a click");
    assert_eq!(click.kind, TargetKind::Pod);
    assert_eq!(click.uid, "5aeb7ae0-1d5a-4f0e");
    assert_eq!(click.node.as_str(), "5aeb7ae0-1d5a-4f0e;<pod>");
    assert_eq!(click.probe_id, "5bdcc0beddf3c14");
    assert_eq!(click.app_id, "40a7031ee6466403");
}

/// Each control on each kind of node: it is about an object of that kind, or it is rejected.
#[test]
fn a_click_is_about_an_object_of_the_kind_of_its_node() {
    use TargetKind::*;
    let container = format!("{};<container>", "a".repeat(64));
    let nodes = [
        (&*container, None),
        ("a-1;<pod>", Some((Pod, "a-1"))),
        ("a-2;<deployment>", Some((Deployment, "a-2"))),
        ("a-3;<statefulset>", Some((StatefulSet, "a-3"))),
        ("a-4;<daemonset>", Some((DaemonSet, "a-4"))),
        ("a-5;<cronjob>", Some((CronJob, "a-5"))),
        ("worker-1;<host>", Some((Node, "0a1b2c3d-4e5f"))),
        ("a-6;<replica_set>", None),
        ("a-7;<job>", None),
        ("a-8;<service>", None),
        ("a-9;<namespace>", None),
        ("worker-1;42", None),
    ];
    for (id, kinds, words) in [
        ("deletePod", &[Pod][..], "Pod"),
        ("evictPod", &[Pod], "Pod"),
        (
            "restartRollout",
            &[Deployment, StatefulSet, DaemonSet],
            "Deployment, StatefulSet or DaemonSet",
        ),
        (
            "scaleUp",
            &[Deployment, StatefulSet],
            "Deployment or StatefulSet",
        ),
        (
            "scaleDown",
            &[Deployment, StatefulSet],
            "Deployment or StatefulSet",
        ),
        ("pauseRollout", &[Deployment], "Deployment"),
        ("resumeRollout", &[Deployment], "Deployment"),
        ("suspendCronJob", &[CronJob], "CronJob"),
        ("resumeCronJob", &[CronJob], "CronJob"),
        ("triggerCronJob", &[CronJob], "CronJob"),
        ("cordonNode", &[Node], "Host"),
        ("uncordonNode", &[Node], "Host"),
    ] {
        for (node, target) in nodes {
            let read = read_any(id, node, OWN);
            match target.filter(|(kind, _)| kinds.contains(kind)) {
                Some((kind, uid)) => {
                    let click = read.expect(id);
                    assert_eq!((click.id, click.kind, &*click.uid), (id, kind, uid));
                    assert_eq!(click.node.as_str(), node);
                    assert!(click.control.kinds().contains(&kind), "{id} {node}");
                }
                None => {
                    let said = read.expect_err(id);
                    let on = format!("is not a node that {id} works on; it works on nodes");
                    assert!(said.contains(&on), "{said}");
                    assert!(said.ends_with(&format!("of kind {words}")), "{said}");
                }
            }
        }
    }
}

#[test]
fn a_click_on_a_host_is_for_its_own_agent() {
    for (node, uid, words) in [
        (
            "worker-2;<host>",
            OWN.uid,
            "\"worker-2;<host>\" is not the host of this agent, which is \"worker-1\"",
        ),
        ("WORKER-1;<host>", OWN.uid, "is not the host of this agent"),
        ("worker-1.;<host>", OWN.uid, "is not the host of this agent"),
        (
            "worker-1;<host>",
            None,
            "the Node object of \"worker-1\" has not been read yet",
        ),
        // Another host's is not known either, and never will be here.
        ("worker-2;<host>", None, "is not the host of this agent"),
        ("worker-1;<host>", Some("X"), "names no object"),
    ] {
        let said = read_any("cordonNode", node, OwnNode { uid, ..OWN });
        let said = said.expect_err("rejected");
        assert!(said.contains(words), "{node}: {said}");
    }
    // A control of pods needs no Node object.
    let unread = OwnNode { uid: None, ..OWN };
    assert!(read_any("evictPod", "a-1;<pod>", unread).is_ok());
}

#[test]
fn rejections_say_what_is_wrong() {
    for (control, node, words) in [
        (
            "evict",
            "a;<pod>",
            "there is no control \"evict\" here; the controls of this plugin are: deletePod",
        ),
        ("DeletePod", "a;<pod>", "there is no control \"DeletePod\""),
        (
            "node-metrics-controls~deletePod",
            "a;<pod>",
            "there is no control",
        ),
        (
            "deletePod",
            "a;<container>",
            "is not a node that deletePod works on; it works on nodes of kind Pod",
        ),
        (
            "deletePod",
            "host;42",
            "is not a node that deletePod works on",
        ),
        ("deletePod", "a", "is not a node"),
        ("deletePod", "A;<pod>", "names no object of Kubernetes"),
        ("deletePod", "../a;<pod>", "names no object of Kubernetes"),
    ] {
        let said = read(control, node).expect_err("rejected");
        assert!(said.contains(words), "{control} {node}: {said}");
    }
    let long = format!("{};<pod>", "a".repeat(65));
    let said = read("deletePod", &long).expect_err("rejected");
    assert!(said.contains("names no object"), "{said}");
    let huge = "é".repeat(10_000);
    assert!(read(&huge, "a;<pod>").expect_err("rejected").len() < 400);
}

#[test]
fn a_click_on_a_container() {
    let enabled = BTreeSet::from([Control::FreezeContainer]);
    let read = |node: &str| {
        let mut request = request("freezeContainer", node);
        request.control_args.insert("duration".into(), "5s".into());
        Click::read(&request, "1", &enabled, OWN).map_err(|e| e.to_string())
    };
    let id = "9ce26da262bbc84ae4df968fe038055a2363edc73207c2a6f85ef13bfbf73bd5";
    let click = read(&format!("{id};<container>")).expect("a click");
    assert_eq!(
        (click.uid.as_str(), click.args["duration"].as_str()),
        (id, "5s")
    );
    for (node, words) in [
        (format!("{id};<pod>"), "it works on nodes of kind Container"),
        (format!("{id}0;<container>"), "names no container"),
        (
            format!("{};<container>", id.to_uppercase()),
            "names no container",
        ),
        ("abc;<container>".into(), "names no container"),
        ("../etc;<container>".into(), "names no container"),
    ] {
        let said = read(&node).expect_err("rejected");
        assert!(said.contains(words), "{node}: {said}");
    }
}

#[test]
fn a_click_on_one_of_several_buttons() {
    let enabled = BTreeSet::from([Control::ShapeTraffic]);
    let node = format!("{};<container>", "a".repeat(64));
    let read = |control| Click::read(&request(control, &node), "1", &enabled, OWN);
    let click = read("traffic-control-table-fast").expect("a click");
    assert_eq!(
        (click.control, click.button, click.id),
        (
            Control::ShapeTraffic,
            Some(Button::Fast),
            "traffic-control-table-fast"
        )
    );
    let said = read("traffic-control-table-fas").expect_err("rejected");
    let said = said.to_string();
    assert!(said.contains("traffic-control-table-slow, "), "{said}");
}

#[test]
fn a_control_that_is_not_enabled_is_unknown() {
    let none = BTreeSet::new();
    let rejection = Click::read(&request("deletePod", "a;<pod>"), "1", &none, OWN);
    assert!(matches!(rejection, Err(Rejection::UnknownControl { .. })));
}

#[test]
fn ids_of_other_shapes_are_dropped() {
    let mut request = request("deletePod", "a;<pod>");
    request.app_id = "x\ny".into();
    let enabled = BTreeSet::from([Control::DeletePod]);
    let click = Click::read(&request, "not hex", &enabled, OWN).expect("a click");
    assert_eq!((click.probe_id.as_str(), click.app_id.as_str()), ("", ""));
}
