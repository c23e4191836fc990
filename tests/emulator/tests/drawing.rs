//! The app's rules, one by one, on small reports.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use scope_emulator::{Kind, Stamp, Tab, View, decode_report};
use serde_json::{Map, Value, json};

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A report of nodes, each a topology, a key, values and parents.
fn report(nodes: &[(Kind, &str, Pairs<'_>, Pairs<'_>)]) -> Value {
    let mut report = json!({});
    for (kind, id, values, parents) in nodes {
        let latest: Map<String, Value> = values
            .iter()
            .map(|(key, value)| {
                let entry = json!({ "timestamp": "2026-01-01T00:00:00Z", "value": value });
                ((*key).to_owned(), entry)
            })
            .collect();
        let parents: Map<String, Value> = parents
            .iter()
            .map(|(kind, id)| ((*kind).to_owned(), json!([id])))
            .collect();
        report[kind.key()]["nodes"][*id] = json!({
            "id": id, "topology": kind.name(), "latest": latest, "parents": parents,
        });
    }
    report
}

fn view(report: &Value) -> View {
    View::new(decode_report(report.to_string().as_bytes(), Stamp::now()).unwrap())
}

fn ids(view: &View, tab: Tab) -> Vec<String> {
    view.shown(tab).unwrap().into_keys().collect()
}

const C: &str = "c;<container>";
const P: &str = "p;<pod>";
const STATE: &str = "docker_container_state";

#[test]
fn containers_are_hidden_by_state_and_origin() {
    let shown = |values: &[(&str, &str)]| {
        let view = view(&report(&[(Kind::Container, C, values, &[])]));
        !ids(&view, Tab::Containers).is_empty()
    };
    for (values, visible) in [
        (&[][..], true),
        (&[(STATE, "running")], true),
        (&[(STATE, "paused")], true),
        (&[(STATE, "restarting")], true),
        (&[(STATE, "exited")], false),
        (&[(STATE, "CONTAINER_RUNNING")], false),
        (&[("docker_container_name", "weavescope")], false),
        (&[("docker_image_name", "weaveworks/scope:1.13.2")], false),
        (&[("docker_image_name", "k8s.gcr.io/pause:3.1")], false),
        (&[("docker_image_name", "registry.k8s.io/pause:3.9")], true),
        (&[("docker_label_works.weave.role", "system")], false),
        (
            &[("docker_label_io.kubernetes.docker.type", "podsandbox")],
            false,
        ),
        (
            &[("docker_label_io.kubernetes.pod.namespace", "kube-system")],
            false,
        ),
        (
            &[("docker_label_io.kubernetes.pod.namespace", "demo")],
            true,
        ),
    ] {
        assert_eq!(shown(values), visible, "{values:?}");
    }
    let deleted = report(&[(Kind::Container, C, &[(STATE, "deleted")], &[])]);
    assert!(view(&deleted).all(Tab::Containers).unwrap().is_empty());
}

#[test]
fn a_pod_counts_running_containers_and_takes_what_an_only_one_has() {
    let pod = (Kind::Pod, P, &[("kubernetes_name", "web")][..], &[][..]);
    let of_pod = |id, state| {
        let values: &'static [(&str, &str)] = match state {
            "running" => &[(STATE, "running")],
            _ => &[(STATE, "exited")],
        };
        let parents = &[("pod", P), ("host", "h;<host>")][..];
        (Kind::Container, id, values, parents)
    };
    let mut one = report(&[pod, of_pod(C, "running"), of_pod("d;<container>", "exited")]);
    let metric = json!({ "m": { "samples": [{ "date": "2026-01-01T00:00:00Z", "value": 4.567 }], "max": 9 } });
    one["Container"]["nodes"][C]["metrics"] = metric;
    one["Pod"]["metric_templates"]["m"] = json!({ "id": "m", "label": "M" });
    let seen = view(&one);
    let pods = seen.shown(Tab::Pods).unwrap();
    assert_eq!(pods[P].label_minor, "1 container");
    assert_eq!(pods[P].parents[0].id, "h;<host>");
    assert_eq!(pods[P].metric("m"), Some(4.56));

    let mut two = one;
    let other = report(&[of_pod("e;<container>", "running")]);
    two["Container"]["nodes"]["e;<container>"] =
        other["Container"]["nodes"]["e;<container>"].clone();
    let pods = view(&two).shown(Tab::Pods).unwrap();
    assert_eq!(pods[P].label_minor, "2 containers");
    assert_eq!(pods[P].metric("m"), None);
}

#[test]
fn processes_are_in_the_container_that_they_name() {
    let process = |id, values| (Kind::Process, id, values, &[("host", "h;<host>")][..]);
    let view = view(&report(&[
        process("h;1", &[("docker_container_id", "c"), ("name", "web")][..]),
        process("h;2", &[("name", "kubelet")]),
        (Kind::Container, C, &[], &[("pod", P), ("host", "h;<host>")]),
        (Kind::Pod, P, &[("kubernetes_name", "web")], &[]),
        (Kind::Host, "h;<host>", &[], &[]),
    ]));
    let inside = |tab, id: &str| {
        let panel = view.panel(tab, id).unwrap().unwrap();
        let processes = panel.children(Kind::Process).iter();
        processes
            .map(|process| process.label.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(inside(Tab::Containers, C), ["web"]);
    assert_eq!(inside(Tab::Pods, P), ["web"]);
    assert_eq!(inside(Tab::Hosts, "h;<host>"), ["web", "kubelet"]);
    // The rest stands together, and is shown only if asked for or connected.
    let uncontained = view
        .panel(Tab::Containers, "pseudo:uncontained:h")
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            uncontained.summary.label.as_str(),
            uncontained.summary.pseudo
        ),
        ("Uncontained", true)
    );
    let unmanaged = view
        .panel(Tab::Pods, "pseudo:unmanaged:h")
        .unwrap()
        .unwrap();
    assert_eq!(unmanaged.summary.label_minor, "h");
    assert_eq!(ids(&view, Tab::Containers), [C]);
}

#[test]
fn what_nobody_else_reports_stands_as_a_ghost() {
    let view = view(&report(&[
        (
            Kind::Process,
            "h;7",
            &[("docker_container_id", "gone")],
            &[],
        ),
        (Kind::Pod, "ghost;<pod>", &[], &[]),
        (
            Kind::Container,
            C,
            &[(STATE, "running")],
            &[("pod", "unknown;<pod>")],
        ),
    ]));
    // A container that only a process names, without any of its own.
    let container = &view.shown(Tab::Containers).unwrap()["gone;<container>"];
    assert_eq!(
        (container.label.as_str(), container.label_minor.as_str()),
        ("gone", "")
    );
    assert_eq!(view.all(Tab::Processes).unwrap()["h;7"].label, "7");
    let pods = view.shown(Tab::Pods).unwrap();
    assert_eq!(pods["ghost;<pod>"].label, "ghost");
    assert_eq!(pods["unknown;<pod>"].label_minor, "1 container");
    assert_eq!(ids(&view, Tab::Hosts), [""; 0]);
}

#[test]
fn pods_go_by_their_state_and_volumes_are_hidden() {
    let pod = |id, values| (Kind::Pod, id, values, &[][..]);
    let view = view(&report(&[
        pod(
            "a",
            &[
                ("kubernetes_state", "Running"),
                ("kubernetes_volume_claim", "data"),
            ][..],
        ),
        pod("b", &[("kubernetes_state", "Failed")]),
        pod("c", &[("kubernetes_state", "deleted")]),
        pod("d", &[("kubernetes_state", "Succeeded")]),
        (
            Kind::PersistentVolumeClaim,
            "pvc",
            &[("kubernetes_name", "data"), ("kubernetes_volume_name", "v")],
            &[],
        ),
        (
            Kind::PersistentVolume,
            "pv",
            &[("kubernetes_name", "v")],
            &[],
        ),
        (Kind::ReplicaSet, "rs", &[], &[]),
    ]));
    assert_eq!(ids(&view, Tab::Pods), ["a", "d"]);
    let all = view.all(Tab::Pods).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "d", "pv", "pvc"]);
    assert_eq!(
        (&all["a"].adjacency, &all["pvc"].adjacency),
        (&vec!["pvc".to_owned()], &vec!["pv".to_owned()])
    );
}

#[test]
fn images_go_by_name() {
    let image = |id, name: &'static str| {
        let values: &'static [(&str, &str)] = match name {
            "1" => &[("docker_image_name", "registry/team/web:1")],
            "2" => &[("docker_image_name", "registry/team/web:2")],
            _ => &[("docker_image_name", "unused")],
        };
        (Kind::ContainerImage, id, values, &[][..])
    };
    let container = |id, values| (Kind::Container, id, values, &[][..]);
    let view = view(&report(&[
        image("i1;<container_image>", "1"),
        image("i2;<container_image>", "2"),
        image("i3;<container_image>", "3"),
        container("a;<container>", &[("docker_image_id", "i1")][..]),
        container("b;<container>", &[("docker_image_id", "i2")]),
        container("c;<container>", &[("docker_image_id", "unknown")]),
    ]));
    let images = view.shown(Tab::ContainersByImage).unwrap();
    assert_eq!(
        images.keys().collect::<Vec<_>>(),
        ["team/web;<container_image>"]
    );
    // Two versions are one image, but only one of the counts is kept.
    assert_eq!(
        images["team/web;<container_image>"].label_minor,
        "1 container"
    );
    let containers = view.shown(Tab::Containers).unwrap();
    assert_eq!(containers["b;<container>"].parents[0].label, "team/web");
    assert_eq!(containers["b;<container>"].rank, "team/web");
    assert!(containers["c;<container>"].parents.is_empty());
}

#[test]
fn a_counter_of_its_own_kind_hides_what_a_node_shows() {
    let mut report = report(&[(Kind::Pod, P, &[("kubernetes_state", "Running")], &[])]);
    report["Pod"]["metadata_templates"]["s"] =
        json!({ "id": "kubernetes_state", "label": "State", "from": "latest", "priority": 1 });
    assert_eq!(
        view(&report).shown(Tab::Pods).unwrap()[P].value("kubernetes_state"),
        Some("Running")
    );
    report["Pod"]["nodes"][P]["counters"] = json!({ "pod": 1 });
    assert!(
        view(&report).shown(Tab::Pods).unwrap()[P]
            .metadata
            .is_empty()
    );
}

#[test]
fn tables_list_values_and_one_bad_key_takes_the_view_along() {
    let values = [
        ("tab-1___name", "x"),
        ("tab-1___size", "2"),
        ("list-a", "b"),
    ];
    let mut report = report(&[(Kind::Host, "h;<host>", &values, &[])]);
    report["Host"]["table_templates"] = json!({
        "tab": { "id": "tab", "prefix": "tab-", "type": "multicolumn-table" },
        "list": { "id": "list", "prefix": "list-" },
        "none": { "id": "none", "prefix": "" },
    });
    let tables = &view(&report).shown(Tab::Hosts).unwrap()["h;<host>"]
        .tables
        .clone();
    assert_eq!(tables[0].rows["label_a"]["value"], "b");
    assert!(tables[1].rows.is_empty());
    assert_eq!(
        (&*tables[2].rows["1"]["name"], &*tables[2].rows["1"]["size"]),
        ("x", "2")
    );

    report["Host"]["nodes"]["h;<host>"]["latest"]["tab-2"] =
        json!({ "timestamp": "2026-01-01T00:00:00Z", "value": "" });
    let broken = view(&report);
    assert!(
        broken
            .shown(Tab::Hosts)
            .unwrap_err()
            .to_string()
            .contains("tab-2")
    );
    assert!(broken.panel(Tab::Hosts, "h;<host>").is_err());
    assert!(broken.shown(Tab::Pods).is_ok());
}

#[test]
fn the_filter_of_namespaces_goes_by_what_nodes_say() {
    let view = view(&report(&[
        (Kind::Pod, P, &[("kubernetes_namespace", "demo")], &[]),
        (Kind::Pod, "q;<pod>", &[], &[]),
        (
            Kind::Container,
            C,
            &[("docker_label_io.kubernetes.pod.namespace", "demo")],
            &[],
        ),
    ]));
    let pods = view.in_namespace(Tab::Pods, "demo").unwrap();
    assert_eq!(pods.keys().collect::<Vec<_>>(), [P]);
    assert_eq!(view.in_namespace(Tab::Containers, "demo").unwrap().len(), 1);
    assert!(
        view.in_namespace(Tab::Containers, "other")
            .unwrap()
            .is_empty()
    );
}
