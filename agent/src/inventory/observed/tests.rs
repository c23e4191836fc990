use super::*;

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn pod(json: serde_json::Value) -> NodePod {
    serde_json::from_value(json).expect("decodes")
}

fn full() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
            "annotations": {"big": "x".repeat(1000)},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u-c"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-rs",
                 "controller": true, "blockOwnerDeletion": true}]},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "app", "image": "shop/web:1", "ports": []}],
            "initContainers": [{"name": "proxy", "image": "mesh:2", "restartPolicy": "Always"}],
            "ephemeralContainers": [{"name": "debug", "image": "busybox"}]},
        "status": {
            "phase": "Running", "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "containerStatuses": [{
                "name": "app", "image": "docker.io/shop/web:1",
                "imageID": "docker.io/shop/web@sha256:abc", "ready": true,
                "containerID": format!("containerd://{CONTAINER}"),
                "state": {"running": {"startedAt": "2026-11-23T01:34:40Z"}}}],
            "initContainerStatuses": [{
                "name": "proxy", "imageID": "sha256:def",
                "containerID": format!("containerd://{}", CONTAINER.replace('0', "1")),
                "state": {"running": {}}}],
            "ephemeralContainerStatuses": [{
                "name": "debug", "containerID": format!("containerd://{}", CONTAINER.replace('0', "2")),
                "state": {"terminated": {"exitCode": 0}}}]}
    })
}

#[test]
fn keeps_what_the_inventory_needs() {
    let observed = pod(full()).observe().expect("runs");
    assert_eq!(
        observed.controller,
        Some(Owner {
            topology: Topology::ReplicaSet,
            uid: "u-rs".into(),
            name: "web".into()
        })
    );
    let pod = observed.pod;
    assert_eq!(
        (pod.id.as_str(), pod.namespace.as_str(), pod.name.as_str()),
        ("u-1", "shop", "web-1")
    );
    assert_eq!(pod.ips, ["10.0.0.1", "fd00::1"]);
    assert!(!pod.host_network);
    assert_eq!(pod.containers.len(), 2, "the ended one is left out");
    let app = &pod.containers[CONTAINER];
    assert_eq!(app.name, "app");
    assert_eq!(app.image, "shop/web:1");
    assert_eq!(app.image_id, "abc");
    assert_eq!(app.runtime, "containerd");
    assert_eq!(
        app.started.map(|t| t.to_string()).as_deref(),
        Some("2026-11-23T01:34:40.000000Z")
    );
    let proxy = &pod.containers[&CONTAINER.replace('0', "1")];
    assert_eq!(
        (proxy.name.as_str(), proxy.image_id.as_str()),
        ("proxy", "def")
    );
    assert_eq!(proxy.started, None);
}

#[test]
fn nothing_but_the_needed_metadata_is_kept() {
    let pod = pod(full());
    assert_eq!(pod.metadata.managed_fields, None);
    assert_eq!(pod.metadata.annotations, None);
    assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
}

#[test]
fn pods_that_are_over_are_none() {
    for phase in ["Succeeded", "Failed"] {
        let mut json = full();
        json["status"]["phase"] = phase.into();
        assert_eq!(pod(json).observe(), None);
    }
}

#[test]
fn sparse_and_odd_pods_decode() {
    for json in [
        serde_json::json!({"metadata": {"uid": "u"}}),
        serde_json::json!({"metadata": {"uid": "u", "annotations": null}, "spec": {"containers": null}, "status": {}}),
        serde_json::json!({"metadata": {"uid": "u"}, "status": {"containerStatuses": [
            {"name": "a", "state": {"running": {}}, "containerID": ""},
            {"name": "b", "state": {"running": {}}, "containerID": "containerd://short"},
            {"name": "c", "state": {"running": {}}},
            {"name": "d", "state": {"waiting": {"reason": "X"}}, "containerID": null}]}}),
    ] {
        let observed = pod(json).observe().expect("not over");
        assert_eq!(observed.pod.id, "u");
        assert!(observed.pod.containers.is_empty());
    }
    assert_eq!(
        pod(serde_json::json!({"metadata": {}})).observe(),
        None,
        "no UID, no node"
    );
}

#[test]
fn a_static_pod_has_no_controller() {
    let mut json = full();
    json["metadata"]["annotations"] =
        serde_json::json!({CONFIG_HASH: "hash", CONFIG_MIRROR: "hash"});
    json["metadata"]["ownerReferences"] = serde_json::json!([
        {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-n", "controller": true}]);
    json["spec"]["hostNetwork"] = true.into();
    let observed = pod(json).observe().expect("runs");
    assert_eq!(observed.pod.id, "u-1");
    assert_eq!(observed.static_id.as_deref(), Some("hash"));
    assert!(observed.pod.mirror && observed.pod.host_network);
    assert_eq!(observed.controller, None);
}

/// A pod with one container of each kind, all of which run.
fn of_each_kind() -> serde_json::Value {
    let mut json = full();
    json["spec"]["initContainers"] = serde_json::json!([
        {"name": "setup", "restartPolicy": "OnFailure"}, {"name": "early"},
        {"name": "proxy", "restartPolicy": "Always", "livenessProbe": {"exec": {}}}]);
    let statuses = |names: &[(&str, char)]| {
        let status = |(name, c): &(&str, char)| {
            serde_json::json!({"name": name, "state": {"running": {}},
                "containerID": format!("cri-o://{}", c.to_string().repeat(64))})
        };
        names.iter().map(status).collect::<Vec<_>>()
    };
    json["status"]["containerStatuses"] = statuses(&[("app", 'a')]).into();
    json["status"]["initContainerStatuses"] =
        statuses(&[("setup", 'b'), ("early", 'c'), ("proxy", 'd')]).into();
    json["status"]["ephemeralContainerStatuses"] = statuses(&[("debug", 'e')]).into();
    json
}

#[test]
fn containers_are_told_apart_by_kind_and_probe() {
    let pod = pod(of_each_kind()).observe().expect("runs").pod;
    let kinds: Vec<_> = pod
        .containers
        .values()
        .map(|c| (c.name.as_str(), c.kind, c.liveness))
        .collect();
    assert_eq!(
        kinds,
        [
            ("app", ContainerKind::App, false),
            ("setup", ContainerKind::Init, false),
            ("early", ContainerKind::Init, false),
            ("proxy", ContainerKind::Sidecar, true),
            ("debug", ContainerKind::Ephemeral, false),
        ]
    );
}

#[test]
fn a_container_starts_until_its_startup_probe_has_succeeded() {
    for (probe, started, starting) in [
        (true, serde_json::json!(false), true),
        (true, serde_json::json!(null), true),
        (true, serde_json::json!(true), false),
        // Without such a probe the kubelet says `false` for moments only, and kills nobody.
        (false, serde_json::json!(false), false),
    ] {
        let mut json = of_each_kind();
        if probe {
            json["spec"]["initContainers"][2]["startupProbe"] = serde_json::json!({"exec": {}});
        }
        json["status"]["initContainerStatuses"][2]["started"] = started.clone();
        let pod = pod(json).observe().expect("runs").pod;
        let starting_now: Vec<_> = pod.containers.values().filter(|c| c.starting).collect();
        let names: Vec<_> = starting_now.iter().map(|c| c.name.as_str()).collect();
        let want: &[&str] = if starting { &["proxy"] } else { &[] };
        assert_eq!(names, want, "{probe} {started}");
    }
}

#[test]
fn a_user_namespace_changes_nothing() {
    let mut json = of_each_kind();
    let with_host_users = pod(json.clone()).observe();
    json["spec"]["hostUsers"] = false.into();
    assert_eq!(pod(json).observe(), with_host_users);
}

#[test]
fn the_grace_period_is_what_the_pod_says() {
    for (given, grace) in [
        (serde_json::json!(null), None),
        (serde_json::json!(0), Some(0)),
        (serde_json::json!(30), Some(30)),
        (serde_json::json!(i64::MAX), Some(i64::MAX as u64)),
        (serde_json::json!(-1), None),
    ] {
        let mut json = full();
        json["spec"]["terminationGracePeriodSeconds"] = given.clone();
        let observed = pod(json).observe().expect("runs");
        let seconds = observed.pod.grace.map(|grace| grace.as_secs());
        assert_eq!(seconds, grace, "{given}");
    }
}

#[test]
fn an_evicted_pod_is_over_and_one_that_ends_is_not() {
    let mut json = full();
    json["status"] = serde_json::json!({"phase": "Failed", "reason": "Evicted",
        "message": "The node was low on resource: memory."});
    assert_eq!(pod(json).observe(), None);

    let mut json = full();
    json["metadata"]["deletionTimestamp"] = "2026-11-23T01:34:40Z".into();
    json["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let ending = pod(json).observe().expect("its containers still run");
    assert_eq!(ending.pod.containers.len(), 2);

    let mut json = full();
    json["status"]["phase"] = "Unknown".into();
    assert!(pod(json).observe().is_some(), "the node was out of reach");
}

#[test]
fn names_may_be_as_long_as_they_can_be() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(longest.len(), 253);
    let mut json = full();
    json["metadata"]["name"] = longest.clone().into();
    json["metadata"]["namespace"] = "n".repeat(63).into();
    json["metadata"]["ownerReferences"][1]["name"] = longest.clone().into();
    let observed = pod(json).observe().expect("runs");
    assert_eq!(observed.pod.name, longest);
    assert_eq!(observed.controller.expect("drawn").name, longest);
}

#[test]
fn what_an_object_says_of_others_is_held_to_its_form() {
    let owner = |name: &str, uid: &str| {
        drawn(OwnerReference {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: name.into(),
            uid: uid.into(),
            ..OwnerReference::default()
        })
    };
    assert!(owner("web-1.example", "2804a43f-78e8-43ee-ae3f-77f071579273").is_some());
    for name in [
        "",
        "../../../../api/v1/secrets",
        "web?watch=true",
        "web/status",
        "web#",
        "web%2f..",
        "..",
        "a..b",
        "-web",
        "web-",
        "Web",
        "w\u{e9}b",
        "web\r\nHost: x",
        &"a".repeat(254),
    ] {
        assert_eq!(owner(name, "u"), None, "{name:?}");
    }
    for uid in ["", "u;<pod>", "u u", "\u{0}", "\u{202e}u", &"u".repeat(65)] {
        assert_eq!(owner("web", uid), None, "{uid:?}");
        let mut json = full();
        json["metadata"]["uid"] = uid.into();
        assert_eq!(pod(json).observe(), None, "{uid:?}");
    }
    let mut json = full();
    json["status"]["podIPs"] = serde_json::json!([
        {"ip": "10.0.0.1"}, {"ip": "10.0.0.1;<pod>"}, {"ip": ""}, {"ip": "fd00::1"}, {}]);
    let observed = pod(json).observe().expect("runs");
    assert_eq!(observed.pod.ips, ["10.0.0.1", "fd00::1"]);
}

#[test]
fn owners_of_other_groups_are_not_drawn() {
    for (api, kind, drawn_as) in [
        ("apps/v1", "StatefulSet", Some(Topology::StatefulSet)),
        ("batch/v1", "Job", Some(Topology::Job)),
        ("argoproj.io/v1alpha1", "ReplicaSet", None),
        ("argoproj.io/v1alpha1", "Rollout", None),
        ("apps.kruise.io/v1alpha1", "CloneSet", None),
        ("apps/v1", "ControllerRevision", None),
        ("v1", "ReplicationController", None),
    ] {
        let owner = drawn(OwnerReference {
            api_version: api.into(),
            kind: kind.into(),
            name: "web".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        });
        assert_eq!(owner.map(|o| o.topology), drawn_as, "{api} {kind}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_it_says_the_pod_keeps_its_form(
        text in ".{0,80}",
        other in "[a-z;<>/\\-.]{0,70}",
        number in proptest::num::i64::ANY,
    ) {
        let state = serde_json::json!({"running": {"startedAt": text},
            "terminated": {"reason": other, "finishedAt": text, "containerID": other}});
        let statuses = serde_json::json!([
            {"name": text, "image": text, "imageID": text, "restartCount": number,
             "containerID": format!("{text}://{CONTAINER}"), "state": state},
            {"name": other, "containerID": other, "state": {"waiting": {"reason": text}}}]);
        let json = serde_json::json!({
            "metadata": {"name": text, "namespace": other, "uid": other,
                "creationTimestamp": text,
                "annotations": {CONFIG_HASH: text, CONFIG_MIRROR: text},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": text, "uid": text,
                     "controller": true},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": other,
                     "uid": other, "controller": true}]},
            "spec": {"nodeName": text, "terminationGracePeriodSeconds": number,
                "initContainers": [{"name": text, "restartPolicy": other}]},
            "status": {"phase": text, "podIP": other, "podIPs": [{"ip": text}],
                "containerStatuses": statuses, "initContainerStatuses": statuses,
                "ephemeralContainerStatuses": statuses}});
        if let Some(Observed { pod, static_id, .. }) = pod(json).observe() {
            proptest::prop_assert!(is_uid(&pod.id));
            proptest::prop_assert!(static_id.is_none_or(|id| is_uid(&id)));
            proptest::prop_assert!(pod.ips.iter().all(|ip| ip.parse::<IpAddr>().is_ok()));
            proptest::prop_assert!(pod.containers.keys().all(|id| id == CONTAINER));
            let reasons = pod.stopped.values().map(|stopped| stopped.waiting.len());
            proptest::prop_assert!(reasons.max() <= Some(64));
        }
    }
}

#[test]
fn what_is_not_started_again_is_known() {
    let runs_once = |policy: Option<&str>, own: Option<&str>| -> Vec<String> {
        let mut json = of_each_kind();
        json["spec"]["restartPolicy"] = policy.into();
        json["spec"]["containers"][0]["name"] = "app".into();
        json["spec"]["containers"][0]["restartPolicy"] = own.into();
        let pod = pod(json).observe().expect("runs").pod;
        let once = pod.containers.into_values().filter(|c| c.runs_once);
        once.map(|container| container.name).collect()
    };
    for policy in [None, Some("Always"), Some("OnFailure"), Some("Other")] {
        assert_eq!(runs_once(policy, None), ["debug"], "{policy:?}");
        assert_eq!(runs_once(policy, Some("Never")), ["app", "debug"]);
    }
    // `setup` and `proxy` have policies of their own.
    assert_eq!(runs_once(Some("Never"), None), ["app", "early", "debug"]);
    assert_eq!(runs_once(Some("Never"), Some("Always")), ["early", "debug"]);
}
